"""A Kafka-protocol broker: stores logs, keeps metadata in a Raft quorum, coordinates groups."""
