"""Kafka's on-disk formats: segments, indexes, checkpoints. Only disk.py touches data files. No sockets."""
