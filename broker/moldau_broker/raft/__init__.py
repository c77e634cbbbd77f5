"""The metadata quorum: KRaft's pull-based Raft on the partition `__cluster_metadata-0`.

Everything is pure (no I/O, no clock, no event loop) but three modules: `store` meets the disk, `driver` carries
out what the core decides, `transport` brings requests to peers and time to the driver under asyncio.

The core is `node.RaftNode`, put together from `core`, `election`, `following`, `leading`, `membership` and
`description`; what goes in and comes out stands in `messages`.
"""
