"""The metadata quorum: a pure core and the store of its log, state and snapshots."""
