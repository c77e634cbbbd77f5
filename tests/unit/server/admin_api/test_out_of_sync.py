"""GET replicas/out-of-sync: times on the wall's clock, and what is not known is not there."""

from __future__ import annotations

from moldau_broker.client.admin_api_answers import OutOfSyncReport, ReplicaOutOfSync, read_answer
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.server.admin_api.out_of_sync import describe
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.replicas import ReplicaBench

BOOT_MS = 1_700_000_000_000


def test_out_of_sync_tells_times_of_the_wall_clock_and_leaves_out_what_is_not_known() -> None:
    """Replica 3 was out of sync before this leader's term; replica 2 fell out in it, 5 records behind."""
    bench = ReplicaBench()
    bench.publish(bench.topic("t", replicas=(1, 2, 3), isr=(1, 2), epoch=1))
    partition, began = bench.partition("t"), bench.clock.now_ms
    bench.clock.now_ms += 2_000
    partition.fetched_by(2, -1, 0, 0)
    batch = bench.accepted(make_batch([b"x"] * 5))
    assert not partition.append(batch, bench.clock.wall_ms(), all_in_sync=False).error
    bench.clock.now_ms += 60_000
    bench.publish(bench.topic("t", replicas=(1, 2, 3), isr=(1,), epoch=2))
    items = describe(partition, BOOT_MS)
    leader_since = BOOT_MS + began
    assert items == [
        {
            "topic": "t",
            "partition": 0,
            "brokerId": 2,
            "leaderEpoch": 2,
            "leaderSinceMs": leader_since,
            "sinceMs": leader_since + 2_000,
            "lagRecords": 5,
        },
        {"topic": "t", "partition": 0, "brokerId": 3, "leaderEpoch": 2, "leaderSinceMs": leader_since},
    ]
    place = TopicPartition("t", 0)
    document = {"nodeId": 1, "nowMs": leader_since + 62_000, "replicas": items}
    assert read_answer(OutOfSyncReport.read, document) == OutOfSyncReport(
        1,
        leader_since + 62_000,
        (
            ReplicaOutOfSync(place, 2, 2, leader_since, leader_since + 2_000, 5),
            ReplicaOutOfSync(place, 3, 2, leader_since, None, None),
        ),
    )


def test_a_follower_has_nothing_to_tell() -> None:
    """Only the leader hears of the others."""
    bench = ReplicaBench()
    bench.publish(bench.topic("t", replicas=(1, 2), isr=(2,), leader=2, epoch=1))
    assert describe(bench.partition("t"), BOOT_MS) == []
