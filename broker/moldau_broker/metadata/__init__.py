"""Cluster metadata: records, the immutable image, the pure controller core, the publisher.

Only `runtime` and `publisher` meet the event loop; everything else here is pure: no I/O, no clock, no
randomness of its own.
"""
