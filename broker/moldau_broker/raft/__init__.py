"""The metadata quorum: KRaft's pull-based Raft on the partition `__cluster_metadata-0`.

`quorum`, `state`, `progress`, `messages`, `node` and `snapshot` are pure: no I/O, no clock, no event loop.
`store` is the only module that meets the disk, `driver` the only one that carries out what the core
decides.
"""
