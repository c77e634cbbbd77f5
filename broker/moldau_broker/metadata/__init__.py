"""Cluster metadata: records, the immutable image, the pure controller core, the publisher."""
