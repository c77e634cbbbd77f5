"""Moves that no plan of balance carries (a replication factor, a node that leaves), throttled like those that one does.

Nothing is remembered: that a rate stands which is ours, and nothing moves any more, says that there is something to
clean up, to whichever process looks. A rate that a person gave all brokers is another number, and is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from moldau_operator.errors import AdminError
from moldau_operator.plan.throttles import RATES, rate_change, throttled_topics, topic_changes
from moldau_operator.resources.balance_status import THROTTLE_BYTES
from moldau_operator.resources.cluster import Cluster
from moldau_operator.seams.broker_admin import BrokerAdmin, ConfigChange, MoveView, Partition

BATCH: Final = 500
"""Topics whose settings are asked for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """What moves may take of a broker.

    Attributes:
        bytes_per_second: sent by it, and taken by it.
        declared: names of broker settings that the Cluster gives itself: never touched.
        overrides: settings that all brokers were given while they run, as this pass has found them.
    """

    bytes_per_second: int = THROTTLE_BYTES
    declared: Collection[str] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster: Cluster, overrides: Mapping[str, str] | None) -> Throttle:
        """What a Cluster says of it."""
        return cls(
            bytes_per_second=cluster.spec.balance.throttle_bytes or THROTTLE_BYTES,
            declared=frozenset(cluster.spec.config),
            overrides=overrides or {},
        )

    @property
    def stands(self) -> bool:
        """Whether brokers have a rate now that is ours."""
        ours = str(self.bytes_per_second)
        return any(self.overrides.get(name) == ours for name in RATES if name not in self.declared)

    def set_rates(self) -> ConfigChange | None:
        """What gives all brokers the rate; None where they have it."""
        return rate_change(self.bytes_per_second, self.overrides, self.declared)

    def unset_rates(self) -> ConfigChange | None:
        """What takes it back; None where they have none."""
        return rate_change(None, self.overrides, self.declared)


async def move_throttled(
    admin: BrokerAdmin, targets: Mapping[Partition, Sequence[int]], throttle: Throttle
) -> dict[Partition, AdminError | None]:
    """The rates, then the topics' throttles, then the moves: none of them begins without its throttle.

    What copies nothing (fewer replicas, another order of them) is not throttled.

    Raises:
        AdminError: nothing has begun.
    """
    topics = await admin.describe_topics(sorted({place.topic for place in targets}))
    coming = {
        place: adding
        for place, target in targets.items()
        if place.topic in topics and place.number < len(topics[place.topic].placement)
        if (adding := frozenset(target) - set(topics[place.topic].placement[place.number].replicas))
    }
    if coming:
        await alter_rates(admin, throttle.set_rates())
        under_way = adding_of(await admin.list_moves())
        changes = topic_changes(throttled_topics({**under_way, **coming}, topics), topics, ours=())
        if changes:
            _raise(*(await admin.alter_topics(changes)).values())
    return await admin.move_replicas(targets)


async def release_throttles(admin: BrokerAdmin, throttle: Throttle) -> None:
    """Take rates and throttles back where nothing moves any more; asks nothing where no rate of ours stands.

    Raises:
        AdminError: the brokers could not be asked; the next pass goes on.
    """
    if throttle.stands and not await admin.list_moves():
        await take_back(admin, throttle)


async def take_back(admin: BrokerAdmin, throttle: Throttle) -> None:
    """Every topic's throttle first, the rates last: as long as a rate is there, there may be something left.

    Raises:
        AdminError: the brokers could not be asked; what was not taken back stays.
    """
    await alter_throttles(admin, sorted(await admin.list_topics()), {})
    await alter_rates(admin, throttle.unset_rates())


async def alter_rates(admin: BrokerAdmin, change: ConfigChange | None) -> None:
    """Give all brokers what `Throttle.set_rates` or `unset_rates` says.

    Raises:
        AdminError: they have not got it.
    """
    if change is not None:
        _raise(await admin.alter_brokers(change))


async def alter_throttles(
    admin: BrokerAdmin, names: Sequence[str], wanted: Mapping[str, Mapping[str, str]]
) -> None:
    """Bring the throttles of these topics, which are ours to change, to what is wanted; to none where nothing is.

    Raises:
        AdminError: some may be as they were.
    """
    for start in range(0, len(names), BATCH):
        observed = await admin.describe_topics(names[start : start + BATCH])
        changes = topic_changes(wanted, observed, observed.keys())
        if changes:
            _raise(*(await admin.alter_topics(changes)).values())


def adding_of(moves: Mapping[Partition, MoveView]) -> dict[Partition, frozenset[int]]:
    """The brokers that come to each partition that is moving."""
    return {place: frozenset(move.adding) for place, move in moves.items() if move.adding}


def _raise(*outcomes: AdminError | None) -> None:
    """The first thing that failed, if any."""
    for failed in outcomes:
        if failed is not None:
            raise failed
