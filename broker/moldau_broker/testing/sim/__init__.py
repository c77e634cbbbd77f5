"""Whole clusters in one process under one seed: real cores, simulated clock, network, disks and clients.

Nothing here meets a socket, a file, a thread or the machine's clock; one seed gives one history, and a red seed
is replayed by its number. Invariants are checked by ghosts that see what no node may see.

    python -m moldau_broker.testing.sim --seeds 0..999 --jobs 2
    python -m moldau_broker.testing.sim --seeds 17 --trace
"""
