"""What an administrator asks of a cluster, as functions of a `Cluster`. One module per kind of thing.

Functions about several things give an outcome for each, so that one bad name spoils nothing; `settle`
turns outcomes into an exception for callers who want all or nothing. No connections are made here.
"""
