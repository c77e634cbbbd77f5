"""What each broker should carry where racks decide how much a rack has to hold. Pure.

With as many replicas as racks every rack holds one replica of each partition, however many brokers stand in it: two
brokers that share a rack carry half of what the one broker of another rack carries, and no plan changes that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple


class Share(NamedTuple):
    """What one broker should carry: bytes and replicas."""

    size: float
    replicas: float


def fair_shares(partitions: Iterable[tuple[int, int]], racks: Mapping[int, str | None]) -> dict[int, Share]:
    """As even as replicas can lie, by broker.

    Args:
        partitions: replicas of each, and the bytes of one replica.
        racks: of the brokers there are.
    """
    size, count = Counter[int](), Counter[int]()
    for replicas, of_one in partitions:
        size[replicas] += of_one
        count[replicas] += 1
    brokers = Counter(racks.values())
    sizes, counts = _by_rack(size, brokers), _by_rack(count, brokers)
    return {broker: Share(sizes[rack], counts[rack]) for broker, rack in racks.items()}


def rack_max(replicas: int, brokers: Collection[int]) -> int:
    """Replicas of one partition that a rack may hold: the least with which racks have room for all of them.

    Four on racks of three brokers and one are three and one, as two in each have no room.

    Args:
        replicas: of the partition.
        brokers: how many stand in each rack.
    """
    allowed = -(-replicas // max(1, len(brokers)))
    while allowed < replicas and sum(min(allowed, here) for here in brokers) < replicas:
        allowed += 1
    return allowed


def rack_limits(replicas: Iterable[int], brokers: Collection[int]) -> dict[int, int]:
    """`rack_max` by each number of replicas that there is."""
    return {many: rack_max(many, brokers) for many in set(replicas)}


def _by_rack(weights: Mapping[int, int], brokers: Mapping[str | None, int]) -> dict[str | None, float]:
    """The share of a broker in each rack; `weights` of one replica, by the number of replicas."""
    total = sum(replicas * weight for replicas, weight in weights.items())
    least: dict[str | None, float] = {}
    most: dict[str | None, float] = {}
    for rack, here in brokers.items():
        least[rack] = most[rack] = 0
        for replicas, weight in weights.items():
            allowed = rack_max(replicas, brokers.values())
            elsewhere = sum(min(allowed, many) for other, many in brokers.items() if other != rack)
            least[rack] += weight * max(0, replicas - elsewhere)
            most[rack] += weight * min(allowed, here)
    if (
        not sum(least.values()) <= total <= sum(most.values())
    ):  # more replicas than brokers: racks mean nothing
        return dict.fromkeys(brokers, total / max(1, sum(brokers.values())))
    return _levelled(total, brokers, least, most)


def _levelled(
    total: float,
    brokers: Mapping[str | None, int],
    least: Mapping[str | None, float],
    most: Mapping[str | None, float],
) -> dict[str | None, float]:
    """One level for all racks but those whose bounds are in the way. Exact: no level is searched for.

    Round by round those are settled whose bound is violated in the direction in which the sum is off, as the others
    may yet come to lie within theirs (the way CSS' flexible boxes are resolved, css-flexbox-1, 9.7).
    """
    settled: dict[str | None, float] = {}
    while len(settled) < len(brokers):
        free = [rack for rack in brokers if rack not in settled]
        level = (total - sum(settled.values())) / sum(brokers[rack] for rack in free)
        clamped = {rack: min(max(level * brokers[rack], least[rack]), most[rack]) for rack in free}
        off = sum(clamped[rack] - level * brokers[rack] for rack in free)
        for rack in free:
            violation = clamped[rack] - level * brokers[rack]
            if off == 0 or violation * off > 0:
                settled[rack] = clamped[rack]
        if off and not any(rack in settled for rack in free):  # off by rounding alone
            settled |= clamped
    return {rack: held / brokers[rack] for rack, held in settled.items()}
