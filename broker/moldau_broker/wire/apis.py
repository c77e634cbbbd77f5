"""The APIs moldau knows: key, name, message classes, versions. Pure.

Which of them a listener serves, and which it only advertises, is the server's matter. Message modules are
imported when a schema is first asked for its classes.
"""

from __future__ import annotations

import importlib
from enum import IntEnum
from typing import Final

from moldau_broker.wire.schema import Struct


class ApiKey(IntEnum):
    """The request types of the protocol; the values are those of the protocol guide, "Api Keys"."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    DESCRIBE_GROUPS = 15
    LIST_GROUPS = 16
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DELETE_RECORDS = 21
    INIT_PRODUCER_ID = 22
    OFFSET_FOR_LEADER_EPOCH = 23
    DESCRIBE_CONFIGS = 32
    ALTER_CONFIGS = 33
    DESCRIBE_LOG_DIRS = 35
    CREATE_PARTITIONS = 37
    DELETE_GROUPS = 42
    ELECT_LEADERS = 43
    INCREMENTAL_ALTER_CONFIGS = 44
    ALTER_PARTITION_REASSIGNMENTS = 45
    LIST_PARTITION_REASSIGNMENTS = 46
    OFFSET_DELETE = 47
    VOTE = 52
    BEGIN_QUORUM_EPOCH = 53
    END_QUORUM_EPOCH = 54
    DESCRIBE_QUORUM = 55
    ALTER_PARTITION = 56
    UPDATE_FEATURES = 57
    ENVELOPE = 58
    FETCH_SNAPSHOT = 59
    DESCRIBE_CLUSTER = 60
    DESCRIBE_PRODUCERS = 61
    BROKER_REGISTRATION = 62
    BROKER_HEARTBEAT = 63
    UNREGISTER_BROKER = 64
    ALLOCATE_PRODUCER_IDS = 67
    CONSUMER_GROUP_HEARTBEAT = 68
    ASSIGN_REPLICAS_TO_DIRS = 73
    LIST_CONFIG_RESOURCES = 74
    DESCRIBE_TOPIC_PARTITIONS = 75
    ADD_RAFT_VOTER = 80
    REMOVE_RAFT_VOTER = 81
    UPDATE_RAFT_VOTER = 82


UNSTABLE_VERSIONS: Final = {ApiKey.INIT_PRODUCER_ID: 6}
"""Versions with a schema that Apache Kafka 4.3 marks as not stable: no broker advertises or serves them."""


class ApiSchema:
    """One API: its name as Kafka spells it, its message classes and its stable versions."""

    __slots__ = ("_classes", "key", "name")

    def __init__(self, key: ApiKey) -> None:
        self.key = key
        self.name = "".join(word.capitalize() for word in key.name.split("_"))
        self._classes: tuple[type[Struct], type[Struct]] | None = None

    def _load(self) -> tuple[type[Struct], type[Struct]]:
        if self._classes is None:
            module = importlib.import_module(f"moldau_broker.wire.messages.{self.key.name.lower()}")
            self._classes = (getattr(module, self.name + "Request"), getattr(module, self.name + "Response"))
        return self._classes

    @property
    def request(self) -> type[Struct]:
        """The request's class."""
        return self._load()[0]

    @property
    def response(self) -> type[Struct]:
        """The response's class."""
        return self._load()[1]

    @property
    def first_version(self) -> int:
        """The lowest version with a schema."""
        return self._versions[0]

    @property
    def last_version(self) -> int:
        """The highest stable version."""
        unstable = UNSTABLE_VERSIONS.get(self.key)
        return self._versions[1] if unstable is None else unstable - 1

    @property
    def flexible_from(self) -> int | None:
        """The first flexible version (KIP-482), or None."""
        return self.request.__schema__.flexible

    @property
    def _versions(self) -> tuple[int, int]:
        versions = self.request.__schema__.versions
        assert versions is not None
        return versions

    def __repr__(self) -> str:
        return f"ApiSchema({self.name})"


API_SCHEMAS: Final = {key: ApiSchema(key) for key in ApiKey}
