"""Typed Cluster, Topic and ConsumerGroup resources: defaults and validation. Pure."""
