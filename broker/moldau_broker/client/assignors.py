"""How the leader of a classic group shares partitions out. Pure.

Source: `org.apache.kafka.clients.consumer.RangeAssignor` without racks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moldau_broker.client.partitions import TopicPartition


def assign_range(
    subscriptions: Mapping[str, Sequence[str]], partition_counts: Mapping[str, int]
) -> dict[str, list[TopicPartition]]:
    """Consecutive ranges of each topic's partitions to its subscribers.

    Args:
        subscriptions: member id to the topics it wants; earlier members get the earlier, longer ranges.
        partition_counts: topic to number of partitions; topics absent here are shared out to no one.
    """
    assignment: dict[str, list[TopicPartition]] = {member: [] for member in subscriptions}
    for topic in sorted({topic for topics in subscriptions.values() for topic in topics}):
        members = [member for member, topics in subscriptions.items() if topic in topics]
        each, extra = divmod(partition_counts.get(topic, 0), len(members))
        start = 0
        for position, member in enumerate(members):
            count = each + (position < extra)
            assignment[member].extend(TopicPartition(topic, p) for p in range(start, start + count))
            start += count
    return assignment
