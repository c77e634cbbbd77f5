"""A controller without a log: what it writes is encoded, decoded and replayed at once.

cluster = ControlBench()
cluster.add_brokers(1, 2, 3)
cluster.create_topic("t", [[1, 2, 3]])
cluster.kill(1)
assert cluster.partition("t").leader == 2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, TypeVar

from moldau_broker.base.ids import Uuid, random_uuid
from moldau_broker.metadata.controller import ControllerCore
from moldau_broker.metadata.features import SUPPORTED, bootstrap_records
from moldau_broker.metadata.image import MetadataImage, PartitionImage
from moldau_broker.metadata.operation import ControllerSettings, Result, View
from moldau_broker.metadata.records import decode, encode
from moldau_broker.metadata.replay import ImageReplay
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionRequestPartitionData,
    AlterPartitionRequestTopicData,
    AlterPartitionResponsePartitionData,
    BrokerState,
)
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from moldau_broker.wire.messages.broker_registration import (
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
    Feature,
    Listener,
)
from moldau_broker.wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from moldau_broker.wire.schema import Struct, replace

T = TypeVar("T")


class ControlBench:
    """One controller and the brokers that speak to it.

    Attributes:
        core: the controller, active.
        image: everything written, which is at once committed.
        written: the records of the last operation.
        now_ms: the clock; moved by hand.
        observe: called with (before, records, after) for each operation that wrote.
    """

    def __init__(
        self, settings: ControllerSettings | None = None, *, seed: int = 0, elr: bool = True
    ) -> None:
        self.rng = Random(seed)  # noqa: S311 - reproducible on purpose
        self.settings = settings or ControllerSettings(node_id=100)
        self.image = MetadataImage("cluster")
        self.now_ms = 1_000_000
        self.written: tuple[Struct, ...] = ()
        self.observe: Callable[[MetadataImage, tuple[Struct, ...], MetadataImage], None] | None = None
        self.core = ControllerCore()
        records = bootstrap_records()
        self.run(lambda _: Result(None, records if elr else records[:1]))
        self.core.activate(self.now_ms, self.view)

    # -- the controller -----------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """What the next operation sees."""
        return View(self.image, self.image.offset + 1, self.settings, self.rng)

    def run(self, operation: Callable[[View], Result[T]]) -> T:
        """Write an operation's records; its response."""
        result = operation(self.view)
        self.written = tuple(decode(encode(record)) for record in result.records)
        if self.written:
            before, replay = self.image, ImageReplay(self.image)
            for record in self.written:
                replay.replay(record)
            self.image = replay.image(before.offset + len(self.written), 1)
            if self.observe is not None:
                self.observe(before, self.written, self.image)
        return result.response

    def ask(self, key: ApiKey, request: Struct, version: int | None = None) -> Any:
        """The controller's answer; its records are written."""
        asked = API_SCHEMAS[key].last_version if version is None else version
        return self.run(lambda view: self.core.handle(key, request, asked, view, self.now_ms))

    def tick(self) -> None:
        """Do what is due."""
        for operation in self.core.tick(self.now_ms, self.view):
            self.run(operation)

    def advance(self, ms: int, *, alive: Sequence[int] = ()) -> None:
        """Let time pass and do what falls due on the way; brokers in `alive` heartbeat every half second."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + 500)
            for broker_id in alive:
                self.heartbeat(broker_id)
            self.tick()

    def fail_over(self) -> None:
        """Another controller takes over: all soft state is gone."""
        self.core.deactivate()
        self.core = ControllerCore()
        self.core.activate(self.now_ms, self.view)

    # -- brokers ------------------------------------------------------------------------------------------

    def add_brokers(self, *ids: int, racks: Mapping[int, str] = MappingProxyType({})) -> None:
        """Register and unfence brokers."""
        for broker_id in ids:
            self.register(broker_id, rack=racks.get(broker_id))
            self.heartbeat(broker_id)

    def register(
        self,
        broker_id: int,
        *,
        clean: bool = False,
        rack: str | None = None,
        directory: int | None = None,
        **changes: object,
    ) -> BrokerRegistrationResponse:
        """A broker starts: a new incarnation, in the same directory unless told otherwise."""
        known = self.image.brokers.get(broker_id)
        if rack is None and known is not None:
            rack = known.rack
        request = BrokerRegistrationRequest(
            broker_id=broker_id,
            cluster_id=self.image.cluster_id,
            incarnation_id=random_uuid(self.rng),
            listeners=[Listener(name="CLIENT", host=f"broker-{broker_id}", port=9092)],
            features=[
                Feature(name=name, min_supported_version=levels.lowest, max_supported_version=levels.highest)
                for name, levels in SUPPORTED.items()
            ],
            rack=rack,
            log_dirs=(directory_id(broker_id if directory is None else directory),),
            previous_broker_epoch=known.epoch if clean and known is not None else -1,
        )
        response = self.ask(ApiKey.BROKER_REGISTRATION, replace(request, **changes))
        assert isinstance(response, BrokerRegistrationResponse)
        return response

    def heartbeat(
        self, broker_id: int, *, offset: int | None = None, **wants: bool
    ) -> BrokerHeartbeatResponse:
        """A heartbeat of a broker that has published everything, or up to `offset`."""
        response = self.ask(
            ApiKey.BROKER_HEARTBEAT,
            BrokerHeartbeatRequest(
                broker_id=broker_id,
                broker_epoch=self.image.brokers[broker_id].epoch,
                current_metadata_offset=self.image.offset if offset is None else offset,
                **wants,  # type: ignore[arg-type]
            ),
        )
        assert isinstance(response, BrokerHeartbeatResponse)
        return response

    def kill(self, broker_id: int) -> None:
        """Its process is gone, and the controller is told so."""
        self.core.report_dead(broker_id, self.image.brokers[broker_id].epoch)
        self.tick()

    def restart(self, broker_id: int, *, clean: bool = False, directory: int | None = None) -> None:
        """A new incarnation registers and is unfenced."""
        self.register(broker_id, clean=clean, directory=directory)
        self.heartbeat(broker_id)

    # -- topics -------------------------------------------------------------------------------------------

    def create_topic(self, name: str, assignment: Sequence[Sequence[int]], **configs: str) -> None:
        """A topic with these replicas; settings with underscores for dots."""
        response = self.ask(
            ApiKey.CREATE_TOPICS,
            CreateTopicsRequest(
                topics=[
                    CreatableTopic(
                        name=name,
                        num_partitions=-1,
                        replication_factor=-1,
                        assignments=[
                            CreatableReplicaAssignment(partition_index=index, broker_ids=replicas)
                            for index, replicas in enumerate(assignment)
                        ],
                        configs=[
                            CreatableTopicConfig(name=key.replace("_", "."), value=value)
                            for key, value in configs.items()
                        ],
                    )
                ]
            ),
        )
        assert response.topics[0].error_code == 0, response

    def partition(self, topic: str, index: int = 0) -> PartitionImage:
        """How a partition is now."""
        found = self.image.partition(topic, index)
        assert found is not None, "it was created"
        return found

    def alter_isr(
        self, topic: str, isr: Sequence[int], index: int = 0, **changes: Any
    ) -> AlterPartitionResponsePartitionData:
        """The leader asks for that ISR, with the epochs as they are unless told otherwise."""
        partition = self.partition(topic, index)
        broker_id = changes.pop("broker_id", partition.leader)
        epochs = changes.pop("epochs", {})
        version = changes.pop("version", 3)
        members = [
            BrokerState(broker_id=one, broker_epoch=epochs.get(one, self.image.brokers[one].epoch))
            for one in isr
        ]
        wanted = AlterPartitionRequestPartitionData(
            partition_index=index,
            leader_epoch=partition.leader_epoch,
            partition_epoch=partition.partition_epoch,
            leader_recovery_state=0,
            new_isr_with_epochs=members if version >= 3 else (),
            new_isr=isr if version < 3 else (),
        )
        response = self.ask(
            ApiKey.ALTER_PARTITION,
            AlterPartitionRequest(
                broker_id=broker_id,
                broker_epoch=self.image.brokers[broker_id].epoch,
                topics=[
                    AlterPartitionRequestTopicData(
                        topic_id=self.image.topics[topic].topic_id, partitions=[replace(wanted, **changes)]
                    )
                ],
            ),
            version,
        )
        assert response.error_code == 0, response
        answer = response.topics[0].partitions[0]
        assert isinstance(answer, AlterPartitionResponsePartitionData)
        return answer


def directory_id(number: int) -> Uuid:
    """The id of a test's log directory."""
    return Uuid(b"dir" + number.to_bytes(13, "big"))
