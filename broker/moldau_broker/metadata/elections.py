"""One change of one partition: who leads, who is in sync, who may lead later. Pure.

Every change the controller makes to an existing partition is built here, so the rules hold whoever asks:

- A leader comes from the ISR; where the ISR is empty, from the ELR (KIP-966); where that is empty too, it is the last
  known leader, which is an unclean election; anybody else only where `unclean.leader.election.enable` says so.
- An unclean leader is alone in the ISR and RECOVERING (KIP-704); the ELR, which promised more, is empty then.
- The ELR holds those who left the ISR while it was below min(min.insync.replicas, RF): the high watermark does not
  move then, so they have everything that was committed. It ends as soon as the ISR is large enough again.
- A reassignment (KIP-455) completes with the change that brings the last added replica into the ISR.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from moldau_broker.base.config_types import SettingError
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.base.topic_config import TopicConfig, resolve_topic_config
from moldau_broker.metadata.image import (
    NO_LEADER,
    RECOVERED,
    RECOVERING,
    MetadataImage,
    PartitionImage,
    ResourceType,
    TopicImage,
)
from moldau_broker.metadata.live_brokers import LiveBrokers
from moldau_broker.metadata.operation import View
from moldau_broker.wire.messages.metadata_records import PartitionChangeRecord
from moldau_broker.wire.schema import Struct

ELR_FEATURE: Final = "eligible.leader.replicas.version"
ELR_LEVEL: Final = 1
"""The level from which eligible leader replicas are kept; a cluster of an older version has none until upgraded."""

MIN_INSYNC: Final = "min.insync.replicas"
_UNCLEAN: Final = "unclean.leader.election.enable"
ELECTION_SETTINGS: Final = frozenset({MIN_INSYNC, _UNCLEAN})
"""Settings that elections go by: a change of one may change partitions at once."""


class Election(Enum):
    """How far an election goes."""

    ONLINE = "keep the leader, else the first eligible replica"
    PREFERRED = "the first replica of the list if it is eligible, else as ONLINE"
    UNCLEAN = "as ONLINE, and any live replica rather than none"


class TopicRules(NamedTuple):
    """What a topic's settings say to elections.

    Attributes:
        min_insync: `min.insync.replicas`; an ISR never needs more members than the partition has replicas.
        unclean: `unclean.leader.election.enable`.
        elr: whether eligible leader replicas are kept (the feature's level is at least 1).
    """

    min_insync: int
    unclean: bool
    elr: bool

    @property
    def election(self) -> Election:
        """How far an election goes that nobody asked for."""
        return Election.UNCLEAN if self.unclean else Election.ONLINE


class RulesInForce:
    """The rules of each topic, looked up once."""

    __slots__ = ("_defaults", "_elr", "_known", "_overrides")

    def __init__(self, view: View) -> None:
        self._defaults = view.broker_defaults()
        self._elr = elr_enabled(view.image)
        self._overrides = view.image.configs
        self._known: dict[tuple[str | None, str | None], TopicRules] = {}

    def of(self, topic: str) -> TopicRules:
        """The rules in force for the topic of that name."""
        own = self._overrides.get((int(ResourceType.TOPIC), topic), {})
        key = (own.get(MIN_INSYNC), own.get(_UNCLEAN))
        rules = self._known.get(key)
        if rules is None:
            config = self._config(own)
            rules = self._known[key] = TopicRules(
                config.min_insync_replicas, config.unclean_leader_election_enable, self._elr
            )
        return rules

    def _config(self, own: Mapping[str, str]) -> TopicConfig:
        overrides = {name: own[name] for name in (MIN_INSYNC, _UNCLEAN) if name in own}
        try:
            return resolve_topic_config(overrides, self._defaults)
        except SettingError:
            # Refused where it is set; whatever the log says, partitions must find leaders.
            return TopicConfig()


def elr_enabled(image: MetadataImage) -> bool:
    """Whether eligible leader replicas are kept."""
    return image.features.get(ELR_FEATURE, 0) > 0


class PartitionChange:
    """A change in the making: set what shall be, then `build` finds out what follows from it.

    Attributes:
        isr, replicas, adding, removing, directories, recovery: what the partition shall have.
        new_epoch: whether a leader that stays begins a new epoch.
        unclean_restart: brokers that may have lost records they once had; they leave the ELR.
        election: how far an election may go.
    """

    __slots__ = (
        "_elr",
        "_last_known",
        "_last_known_usable",
        "_live",
        "_rules",
        "_unclean",
        "adding",
        "before",
        "directories",
        "election",
        "index",
        "isr",
        "new_epoch",
        "recovery",
        "removing",
        "replicas",
        "topic_id",
        "unclean_restart",
    )

    def __init__(self, topic: TopicImage, index: int, live: LiveBrokers, rules: TopicRules) -> None:
        before = topic.partitions[index]
        self.topic_id = topic.topic_id
        self.index = index
        self.before = before
        self.isr = before.isr
        self.replicas = before.replicas
        self.adding = before.adding
        self.removing = before.removing
        self.directories = dict(zip(before.replicas, before.directories, strict=True))
        self.recovery = before.leader_recovery_state
        self.new_epoch = False
        self.unclean_restart: frozenset[int] = frozenset()
        self.election = rules.election
        self._elr = before.elr
        self._last_known = before.last_known_elr
        self._last_known_usable = True
        self._live = live
        self._unclean = False
        self._rules = rules

    def leave(self, broker_id: int, *, unclean: bool = False) -> None:
        """Take a broker out of the ISR; out of the ELR as well if it may have lost records."""
        self.isr = tuple(replica for replica in self.isr if replica != broker_id)
        if unclean:
            self.unclean_restart |= {broker_id}

    def lose(self, broker_id: int) -> None:
        """A broker came back without the directory of its replica: it begins again, with nothing.

        The replica's directory is null until it is in sync, which tells it from those that have something.
        """
        self.leave(broker_id, unclean=True)
        self.directories[broker_id] = NULL_UUID
        self._last_known_usable = broker_id not in self.before.last_known_elr

    def build(self) -> PartitionChangeRecord | None:
        """The record, None if nothing changes."""
        self._complete_reassignment()
        self._keep_elr()
        leader = self._elect()
        self._remember_leader(leader)
        return self._record(leader)

    # -- steps --------------------------------------------------------------------------------------------

    def _complete_reassignment(self) -> None:
        done = completed(
            self.before, self.isr, self.replicas, self.adding, self.removing, self._rules.min_insync
        )
        if done is not None:
            self.replicas, self.isr = done
            self.adding = self.removing = ()

    @property
    def _enough(self) -> int:
        """ISR members with which the high watermark moves.

        Never more than the leader asks for, which counts the replicas that are being removed as well.
        """
        return min(self._rules.min_insync, len(self.replicas) - len(self.removing))

    def _keep_elr(self) -> None:
        if not self._rules.elr or len(self.isr) >= self._enough:
            self._elr = ()
            return
        candidates = dict.fromkeys((*self.before.elr, *self.before.isr))
        self._elr = tuple(
            replica
            for replica in candidates
            if replica in self.replicas and replica not in self.isr and replica not in self.unclean_restart
        )

    def _can_lead(self, replica: int) -> bool:
        return self._live.can_lead(replica, self.directories.get(replica, NULL_UUID))

    def _eligible(self, replica: int) -> bool:
        in_sync = replica in self.isr or (not self.isr and replica in self._elr)
        return in_sync and self._can_lead(replica)

    def _elect(self) -> int:
        """The leader from now on; the ISR and the ELR follow from how it was found."""
        chosen = self._choose_clean()
        if chosen is not None:
            if chosen in self._elr:
                self.isr = (chosen,)
                self._elr = tuple(replica for replica in self._elr if replica != chosen)
                if len(self.isr) >= self._enough:
                    self._elr = ()
            return chosen
        chosen = self._choose_unclean()
        if chosen is None:
            if not self._rules.elr and not self.isr:
                # Without the ELR the last member stays: the ISR is all that says who has the records.
                self.isr = tuple(
                    replica
                    for replica in self.before.isr
                    if replica not in self.unclean_restart and replica in self.replicas
                )
            return NO_LEADER
        self.isr, self._elr, self._last_known = (chosen,), (), ()
        self.recovery = RECOVERING
        self._unclean = True
        return chosen

    def _choose_clean(self) -> int | None:
        order = [*self.replicas]
        if self.before.leader in order:
            order.insert(1 if self.election is Election.PREFERRED else 0, self.before.leader)
        eligible = [replica for replica in order if self._eligible(replica)]
        # A leader that stays is no new one.
        return min(eligible, key=self._is_reluctant, default=None)

    def _is_reluctant(self, replica: int) -> bool:
        return replica != self.before.leader and self._live.is_reluctant(replica)

    def _choose_unclean(self) -> int | None:
        if not self.isr and not self._elr and self._last_known_usable and self._rules.elr:
            for replica in self.before.last_known_elr:
                if replica in self.replicas and self._can_lead(replica):
                    return replica
        if self.election is Election.UNCLEAN:
            able = [replica for replica in self.replicas if self._can_lead(replica)]
            # Who began again with nothing is the last choice.
            able.sort(
                key=lambda replica: (self.directories.get(replica) == NULL_UUID, self._is_reluctant(replica))
            )
            return able[0] if able else None
        return None

    def _remember_leader(self, leader: int) -> None:
        """The last known leader is remembered from when the ISR became empty until somebody leads again."""
        if leader != NO_LEADER or not self._rules.elr or not self._last_known_usable:
            self._last_known = ()
        elif not self.isr and self.before.leader != NO_LEADER:
            self._last_known = (self.before.leader,)

    def _directory(self, replica: int) -> Uuid:
        known = self.directories.get(replica, NULL_UUID)
        return self._live.home(replica) if known == NULL_UUID and replica in self.isr else known

    def _record(self, leader: int) -> PartitionChangeRecord | None:
        before = self.before
        directories = tuple(self._directory(replica) for replica in self.replicas)
        values = {
            "isr": (self.isr, before.isr),
            "replicas": (self.replicas, before.replicas),
            "removing_replicas": (self.removing, before.removing),
            "adding_replicas": (self.adding, before.adding),
            "directories": (directories, before.directories),
            "leader_recovery_state": (self.recovery, before.leader_recovery_state),
            "eligible_leader_replicas": (self._elr, before.elr),
            "last_known_elr": (self._last_known, before.last_known_elr),
        }
        changed: dict[str, Any] = {name: value for name, (value, old) in values.items() if value != old}
        # A replica that is no longer one must not go on under the old epoch.
        removed = not set(before.replicas) <= set(self.replicas)
        if leader != before.leader or self.new_epoch or removed:
            changed["leader"] = leader
        if self._unclean:
            # Also where it was recovering already: every such election can be seen in its record, and counted.
            changed["leader_recovery_state"] = RECOVERING
        if not changed:
            return None
        return PartitionChangeRecord(partition_id=self.index, topic_id=self.topic_id, **changed)


def completed(
    before: PartitionImage,
    isr: tuple[int, ...],
    replicas: tuple[int, ...],
    adding: tuple[int, ...],
    removing: tuple[int, ...],
    min_insync: int,
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(replicas, ISR) after a reassignment that this ISR completes, None if it does not or if there is none.

    All added replicas must be in sync, and those that stay must be enough to write to; Kafka is content with one
    of them, and a partition that was writable may then stop being so.
    """
    if not adding and not removing:
        return None
    if not set(adding) <= set(isr):
        return None
    staying = tuple(replica for replica in replicas if replica not in removing)
    in_sync = tuple(replica for replica in isr if replica not in removing)
    enough = min(min_insync, len(staying), max(len(isr), 1))
    if not in_sync or len(in_sync) < enough:
        return None
    return staying, in_sync


def partition_changes(
    view: View,
    wanted: Callable[[PartitionImage], bool],
    changed: Callable[[PartitionChange], None],
    live: LiveBrokers,
    topics: Collection[str] | None = None,
) -> list[Struct]:
    """Records of the `wanted` partitions, each changed by `changed`; those that stay as they are have none.

    Args:
        view: the state, and the settings in force.
        wanted: which partitions to look at.
        changed: sets what shall be.
        live: who can lead.
        topics: names of the topics to look at; None is all.
    """
    rules = RulesInForce(view)
    found: list[Struct] = []
    for topic in view.image.topics.values():
        if topics is not None and topic.name not in topics:
            continue
        for index, partition in enumerate(topic.partitions):
            if wanted(partition):
                change = PartitionChange(topic, index, live, rules.of(topic.name))
                changed(change)
                record = change.build()
                if record is not None:
                    found.append(record)
    return found


def unclean_elections(records: Iterable[Struct]) -> int:
    """How many of these records elect a leader that may lack committed records."""
    return sum(
        1
        for record in records
        if isinstance(record, PartitionChangeRecord)
        and record.leader_recovery_state == RECOVERING
        and record.leader >= 0
    )


def is_recovered(partition: PartitionImage) -> bool:
    """Whether the leader has recovered from an unclean election, or never had to."""
    return partition.leader_recovery_state == RECOVERED
