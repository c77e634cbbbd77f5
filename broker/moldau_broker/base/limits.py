"""Every limit that is not a setting, and the defaults of those that are, each with its reason. Pure.

A limit ends in its unit and bound. Where an operator may need another value there is a setting in
`broker_config`, and the constant here is its default; the rest are fixed on purpose: they only bound what
a peer can cost us, and no honest peer meets them.
"""

from __future__ import annotations

from typing import Final

_KIB: Final = 1024
_MIB: Final = 1024 * 1024

# --- frames and connections ------------------------------------------------------------------------------

FRAME_BYTES_MAX: Final = 16 * _MIB
"""Default of socket.request.max.bytes. Clients send at most one max.message.bytes batch per partition and
about 1 MiB per request; Kafka's 100 MiB lets one connection take a whole small broker."""

FRAME_OVERHEAD_BYTES_MAX: Final = 64 * _KIB
"""What a frame may hold besides one batch: the frame limit is never below max.message.bytes plus this."""

HEADER_BYTES_MAX: Final = 64 * _KIB
"""A request header: two int16, an int32, a client id (int16 length) and tagged fields nobody sends yet."""

TAGGED_FIELD_BYTES_MAX: Final = 128 * _KIB
"""Tagged fields of one structure. They are skipped unread, so their size is the only thing they can do to us
(Redpanda met this by fuzzing and chose the same bound)."""

SHARED_RECEIVE_BYTES: Final = 256 * _KIB
"""The receive buffer all connections share: one read event's worth; larger gains nothing on loopback."""

POOLED_BUFFER_BYTES_MAX: Final = 2 * _MIB
"""Largest incomplete-frame buffer kept for reuse: the power of two above a default max.message.bytes."""

IN_FLIGHT_FRAME_BYTES_MAX: Final = 64 * _MIB
"""Default of queued.max.request.bytes: what all incomplete frames may hold together. Kafka's is unbounded;
64 MiB is four of the largest frames at once, and the rest wait in the kernel's buffers."""

CONNECTION_REQUESTS_IN_FLIGHT_MAX: Final = 128
"""Unanswered requests of one connection before we stop reading it. Java and kafka-python send 5, librdkafka
as many as it likes; enough to keep a fast link busy, too few to fill memory with waiting fetches."""

ANSWER_BYTES_GATHERED_MAX: Final = 1 * _MIB
"""Answers of one read event leave in one write, but no more than this at once: a socket that is full then stops
the handling of what else has arrived, before memory is full of answers nobody reads."""

FRAME_COMPLETION_MS_MAX: Final = 30_000
"""A begun frame must be complete by then: 16 MiB at 5 Mbit/s takes 27 s, a byte a second never ends."""

WRITE_STALL_MS_MAX: Final = 60_000
"""A peer that takes no byte of its answers for this long is gone; a consumer in a long GC pause is not."""

SWEEP_INTERVAL_MS: Final = 1_000
"""How often connections are checked against their times; the shortest such time is many sweeps."""

CONNECTIONS_MAX: Final = 10_000
"""Default of max.connections: about 10 KiB each, so 100 MiB at the limit. Per address there is no limit by
default: behind NAT a whole company is one address."""

DESCRIPTORS_WANTED: Final = 65_536
"""Open files the process asks for: ten thousand connections, and several files for each of 4,000 partitions."""

DESCRIPTORS_RESERVED: Final = 48
"""Descriptors that are neither logs' nor connections': listeners, probes, checkpoints, the cleaner, libraries."""

LISTEN_BACKLOG: Final = 1024
"""Default of socket.listen.backlog.size: a reconnect storm after a restart should queue, not be refused."""

# --- records ---------------------------------------------------------------------------------------------

DECOMPRESSED_BYTES_MAX: Final = 64 * _MIB
"""Largest decompressed batch that is ever built in memory (only where bodies are opened)."""

DECOMPRESSED_RATIO_MAX: Final = 200
"""Largest decompressed size per compressed byte. Real data stays below 50; bombs start at 1,000."""

DECOMPRESSED_FREE_BYTES: Final = 1 * _MIB
"""Below this the ratio is not looked at: a short run of equal bytes compresses a thousandfold, honestly."""

OPENED_ITEMS_MAX: Final = 250_000
"""Records and headers together in a batch that is opened while clients wait: 0.2 s and 50 MiB. An empty header
takes two bytes, so one batch within the bounds above could hold tens of millions. Java splits a batch that is
refused for its size; librdkafka makes none above 10,000 records unless told to."""

CLEANER_BATCH_BYTES_MAX: Final = 16 * _MIB
"""Largest decompressed batch the cleaner opens: its whole memory budget is 64 MiB (issue: bounded cleaning).
A larger batch is kept as it is."""

CLEANER_BATCH_RATIO_MAX: Final = 1_000
"""The cleaner reads what was accepted once, under looser topic settings perhaps, so it is more patient."""

# --- fetches ---------------------------------------------------------------------------------------------

FETCH_BYTES_MAX: Final = 50 * _MIB
"""Default of fetch.max.bytes and the cap on what one answer holds: the consumers' own default. A request may
ask for 2 GiB; it gets this."""

FETCH_ANSWER_BYTES_ENOUGH: Final = 1 * _MIB
"""An answer that has this much (and the reader's min_bytes) is sent, whatever more the reader would take. Reading
and sending one large answer do not overlap: 1 MiB answers reach 2.0 GB/s where 24 MiB ones reach 1.2 (measured).
Followers are given more, `server.fetch_budget` says when."""

FETCH_SESSION_SLOTS_MAX: Final = 1_000
"""Default of max.incremental.fetch.session.cache.slots (Kafka's)."""

FETCH_SESSION_PARTITIONS_MAX: Final = 10_000
"""Partitions one fetch session remembers, some 200 bytes each. A larger fetch is served without a session."""

FETCH_SESSION_PARTITIONS_TOTAL_MAX: Final = 100_000
"""Partitions all sessions remember together: 20 MiB."""

WAITING_FETCHES_MAX: Final = 20_000
"""Fetches that wait for data at once, over all connections: two for each possible connection."""

# --- topics and groups -----------------------------------------------------------------------------------

TOPIC_NAME_CHARS_MAX: Final = 249
"""Kafka's: a folder `<name>-<partition>` must fit the 255 bytes of a file name."""

PARTITIONS_PER_BROKER_MAX: Final = 4_000
"""Default of max.partitions.per.broker. Each is budgeted at 32 KiB of memory and a few
open files; 4,000 is also what Kafka's operators are told, and an accidental 10^6 must not end the node."""

TOPICS_PER_REQUEST_MAX: Final = 10_000
"""Topics or resources in one admin request: each becomes records of one atomic metadata write."""

DESCRIBED_SETTINGS_MAX: Final = 200_000
"""Settings in one DescribeConfigs answer: all of 5,000 topics, one more than a broker may hold. Naming one broker a
million times would otherwise fill memory with copies of its 340 settings."""

CONFIG_VALUE_CHARS_MAX: Final = 32_767
"""Longest value of a dynamic setting (Kafka's controller has the same bound: Short.MAX_VALUE)."""

GROUP_MEMBERS_MAX: Final = 1_000
"""Default of group.max.size. Kafka's default has no bound, so one loop of joining clients fills the heap."""

GROUP_METADATA_BYTES_MAX: Final = 1 * _MIB
"""Subscription metadata of one member: kept in memory and, once per member, written to the group's record."""

OFFSET_METADATA_BYTES_MAX: Final = 4_096
"""Default of offset.metadata.max.bytes (Kafka's)."""

GROUPS_PER_SHARD_MAX: Final = 20_000
"""Groups in one partition of the offsets topic. Anybody may name one and an empty one costs 2 KiB: 40 MiB."""

GROUP_TOMBSTONES_PER_WRITE_MAX: Final = 1_000
"""Deletions of many committed offsets are cut into writes of this size, so that none outgrows a batch."""

GROUP_LOAD_SLICE_MS_MAX: Final = 4
"""How long replaying the offsets topic may hold the event loop before others get their turn."""

GROUP_READY_CHECK_MS: Final = 20
"""How often a new coordinator looks whether its log is committed: members wait for it, and a look costs nothing."""

GROUP_LOAD_READ_BYTES_MAX: Final = 256 * _KIB
"""How much of the offsets topic is read at once while it is replayed; larger reads only wait longer."""

GROUP_BATCH_BYTES_MAX: Final = 256 * _KIB
"""Writes of one turn share a batch of the offsets topic up to this size: a batch is opened whole when it is
read back, and that must not hold the event loop."""

# --- the admin API over HTTP -----------------------------------------------------------------------------

ADMIN_BODY_BYTES_MAX: Final = 1 * _MIB
"""Body of a request to the admin API: positions of 10,000 partitions take 0.7 MiB."""

ADMIN_ANSWER_BYTES_MAX: Final = 32 * _MIB
"""What is read of another broker's answer: groups with 100,000 committed partitions take 16 MiB."""

ADMIN_PARTITIONS_MAX: Final = 10_000
"""Partitions in one request or one list of problems of the admin API; an answer says how many were left out."""

ADMIN_GROUPS_MAX: Final = 1_000
"""Groups that one request to the admin API may name."""

POSITIONS_CACHE_MAX: Final = 10_000
"""Timestamps of first unconsumed records that a leader remembers, 200 bytes each: a group that stands still is asked
about every few seconds, and its batch need not be opened again for that."""

ADMIN_PEER_TIMEOUT_MS: Final = 5_000
"""How long a broker waits for another's answer before it leaves that part out: operators ask every few seconds."""
