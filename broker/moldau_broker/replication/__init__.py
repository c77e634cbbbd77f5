"""Partitions: leader append, high watermark, waiting produce and fetch."""
