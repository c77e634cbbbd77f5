"""The embedded platform behind `moldau up`: composition only, no Kubernetes.

One instance is one folder: its YAML, what is remembered of it, its nodes' data, and the socket of the
process that looks after it.
"""
