"""Consumer groups (later: transactions): pure cores, and the runtime that writes their records. No sockets here.

Everything but `runtime`, `shard_writer`, `shard_loader` and `offsets_topic` is pure: time, randomness and the log
are arguments. The rules are those of Apache Kafka 4.3's classic groups; see docs/adr/0006-group-coordinator.md.
"""
