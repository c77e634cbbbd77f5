"""What one shard of the group coordinator holds, and the few verbs everything else is made of. Pure.

A shard is one partition of the offsets topic: the groups that hash to it and their offsets. Answers are not given
while a request is being worked on but when it is done (`settle`), because an answer may at once bring the next
request of the same connection, and that one must find the shard in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.notices import Notice, Notify
from moldau_broker.coordinator.offsets import OffsetTable
from moldau_broker.coordinator.records import (
    EncodedRecord,
    GroupRecord,
    committed_offset,
    encode_record,
    restored_group,
)
from moldau_broker.coordinator.subscriptions import SubscriptionIndex
from moldau_broker.coordinator.timers import Timers
from moldau_broker.wire.messages.group_records import GroupMetadataValue, OffsetCommitKey, OffsetCommitValue

T = TypeVar("T")
Stored = Callable[[ErrorCode], None]
Undo = Callable[[], None]


class Now(NamedTuple):
    """One moment on both clocks: timeouts use the first, timestamps in records the second."""

    monotonic_ms: int
    wall_ms: int


class Client(NamedTuple):
    """Who sends a request, as far as groups care."""

    client_id: str
    host: str
    api_version: int


class Write:
    """Records that go into the log together, and what to do when they are there (or will never be).

    Attributes:
        size_max: most bytes they take in a batch.
        stored: hears NONE, or why they will never be there.
        undo: takes back what they changed already, last change first; None if that cannot be.
    """

    __slots__ = ("records", "size_max", "stored", "undo")

    def __init__(
        self, records: Sequence[EncodedRecord], size_max: int, stored: Stored, undo: list[Undo] | None
    ) -> None:
        self.records = records
        self.size_max = size_max
        self.stored = stored
        self.undo = undo


_REPLY_ERRORS: Final = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.REQUEST_TIMED_OUT: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_LEADER_OR_FOLLOWER: ErrorCode.NOT_COORDINATOR,
    ErrorCode.KAFKA_STORAGE_ERROR: ErrorCode.NOT_COORDINATOR,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
}


def reply_error(append_error: ErrorCode) -> ErrorCode:
    """What a group's client is told when its records could not be stored."""
    return _REPLY_ERRORS.get(append_error, append_error)


class ShardState:
    """See the module.

    Attributes:
        new_uuid: gives the random part of a new member id.
        notify: takes what there is to say of a group.
        now: the moment of the request being worked on.
        resets: group -> name of the last reset of its offsets, as far as this broker has seen it.
        writes: what the shell has to append, in this order.
    """

    __slots__ = (
        "_answers",
        "_settling",
        "config",
        "groups",
        "new_uuid",
        "notify",
        "now",
        "offsets",
        "resets",
        "subscriptions",
        "timers",
        "writes",
    )

    def __init__(self, config: GroupConfig, new_uuid: Callable[[], str], notify: Notify) -> None:
        self.config = config
        self.new_uuid = new_uuid
        self.notify = notify
        self.now = Now(0, 0)
        self.groups: dict[str, Group] = {}
        self.offsets = OffsetTable()
        self.resets: dict[str, str] = {}
        self.subscriptions = SubscriptionIndex()
        self.timers = Timers()
        self.writes: list[Write] = []
        self._answers: list[tuple[Deferred[Any], Any]] = []
        self._settling = False

    def notice(self, event: str, group: Group | None = None, **fields: str | int) -> None:
        """Tell of an event, with the group's id and generation where it is one group's."""
        about: dict[str, str | int] = {}
        if group is not None:
            about = {"group": group.group_id, "generation": group.generation}
        self.notify(Notice(event, {**about, **fields}))

    def answer(self, reply: Deferred[T], value: T) -> None:
        """Give `reply` its value as soon as the request being worked on is done."""
        self._answers.append((reply, value))

    def settle(self) -> None:
        """The request is done: give the answers. Nothing of the shard may be touched by the caller after this."""
        if self._settling:
            return
        self._settling = True
        try:
            while self._answers:
                answers, self._answers = self._answers, []
                for reply, value in answers:
                    reply.complete(value)
        finally:
            self._settling = False

    def write(self, records: Sequence[GroupRecord], stored: Stored, *, replay: bool) -> None:
        """Have `records` appended as one; `stored(error)` is called when they are durable, or cannot be.

        With `replay` they take effect at once: later requests see them, and whoever learns of them is answered only
        after they are stored. If they cannot be, they are taken back, or the shell reloads the shard from its log.
        """
        encoded = [encode_record(record) for record in records]
        size_max = sum(record.size_max for record in encoded)
        if size_max > self.config.write_bytes_max:
            stored(ErrorCode.MESSAGE_TOO_LARGE)
            return
        undo: list[Undo] | None = []
        if replay:
            for record in records:
                step = self._undo_of(record)
                if step is None:
                    undo = None
                elif undo is not None:
                    undo.append(step)
                self.replay(record)
        self.writes.append(Write(encoded, size_max, stored, undo))

    def replay(self, record: GroupRecord) -> None:
        """Let a record take effect: on loading for every kind, later for offsets and for deletions."""
        key, value = record
        if isinstance(key, OffsetCommitKey):
            if value is None:
                self.offsets.remove(key.group, key.topic, key.partition)
            else:
                assert isinstance(value, OffsetCommitValue)
                if key.group not in self.groups:
                    # Offsets without a group: a client that only stores offsets here ("simple consumer").
                    self.groups[key.group] = Group(key.group, self.now.wall_ms)
                self.offsets.put(key.group, key.topic, key.partition, committed_offset(value))
        elif value is None:
            self._drop(key.group)
        else:
            assert isinstance(value, GroupMetadataValue)
            self.groups[key.group] = restored_group(key.group, value)
            self.note_subscription(self.groups[key.group])

    def _undo_of(self, record: GroupRecord) -> Undo | None:
        """What takes the record back; None for the end of a group, whose members' ids are gone with it."""
        key = record.key
        if not isinstance(key, OffsetCommitKey):
            return None
        group_id, topic, partition = key.group, key.topic, key.partition
        before = self.offsets.get(group_id, topic, partition)
        is_new_group = group_id not in self.groups

        def undo() -> None:
            if before is None:
                self.offsets.remove(group_id, topic, partition)
            else:
                self.offsets.put(group_id, topic, partition, before)
            group = self.groups.get(group_id)
            if is_new_group and group is not None and group.is_untouched:
                self._drop(group_id)

        return undo

    def note_subscription(self, group: Group) -> None:
        """The group's topics may have changed."""
        self.subscriptions.update(group.group_id, group.topics)

    def _drop(self, group_id: str) -> None:
        group = self.groups.pop(group_id, None)
        self.resets.pop(group_id, None)
        self.subscriptions.update(group_id, None)
        if group is not None:
            for member_id in (*group.members, *group.pending_join):
                self.timers.cancel(("member", group_id, member_id))
            self.timers.cancel(("join", group_id))
            self.timers.cancel(("sync", group_id))
            group.become(GroupState.DEAD, self.now.wall_ms)
