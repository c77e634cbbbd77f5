"""Admin requests to the controller, whichever node that is, each answered in its own response type whatever happens."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Final, cast

from moldau_broker.base.config_types import clip
from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.errors import ControllerUnavailable
from moldau_broker.metadata.id_allocator import ProducerIdAllocator
from moldau_broker.metadata.operation import Refusal
from moldau_broker.metadata.producer_ids import ProducerIdBlock
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages import alter_configs as replacing
from moldau_broker.wire.messages import incremental_alter_configs as incremental
from moldau_broker.wire.messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)
from moldau_broker.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsResponse
from moldau_broker.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse
from moldau_broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from moldau_broker.wire.schema import Struct

logger = logging.getLogger(__name__)

_REFUSED_NAMES_MAX: Final = 1_000
"""Names remembered so as to log each refusal once; 250 KB at worst."""
_EXPECTED: Final = frozenset({ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS})
"""How a background creation ends when nothing is wrong: somebody else may have been faster."""


class ControllerAdmin(ABC):
    """What may be asked of the controller, on top of an `ask` that knows where it is.

    Nothing here raises `ControllerUnavailable`: where there is no controller, each item of the request is answered
    with that error.

    Attributes:
        producer_ids: hands out producer ids.
    """

    def __init__(self, node_id: int) -> None:
        self.producer_ids = ProducerIdAllocator(self._allocate_producer_ids)
        self._broker_id = node_id
        self._being_created: set[str] = set()
        self._refused: set[str] = set()
        self._background: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def ask(self, key: ApiKey, request: Struct, version: int | None = None) -> Any:
        """The active controller's answer; `version` is the request's, None the newest."""

    @property
    @abstractmethod
    def broker_epoch(self) -> int:
        """Of this broker's registration, -1 while it has none."""

    @abstractmethod
    def auto_topics_request(self, names: Iterable[str]) -> CreateTopicsRequest:
        """What creates these topics with default settings; `__consumer_offsets` with its own."""

    async def create_topics(
        self, request: CreateTopicsRequest, version: int | None = None
    ) -> CreateTopicsResponse:
        """CreateTopics."""
        return cast("CreateTopicsResponse", await self.ask(ApiKey.CREATE_TOPICS, request, version))

    async def delete_topics(
        self, request: DeleteTopicsRequest, version: int | None = None
    ) -> DeleteTopicsResponse:
        """DeleteTopics."""
        return cast("DeleteTopicsResponse", await self.ask(ApiKey.DELETE_TOPICS, request, version))

    async def create_partitions(
        self, request: CreatePartitionsRequest, version: int | None = None
    ) -> CreatePartitionsResponse:
        """CreatePartitions."""
        return cast("CreatePartitionsResponse", await self.ask(ApiKey.CREATE_PARTITIONS, request, version))

    async def incremental_alter_configs(
        self, request: incremental.IncrementalAlterConfigsRequest, version: int | None = None
    ) -> incremental.IncrementalAlterConfigsResponse:
        """IncrementalAlterConfigs for topics and brokers."""
        answer = await self.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, request, version)
        return cast("incremental.IncrementalAlterConfigsResponse", answer)

    async def alter_configs(
        self, request: replacing.AlterConfigsRequest, version: int | None = None
    ) -> replacing.AlterConfigsResponse:
        """AlterConfigs for topics and brokers."""
        return cast("replacing.AlterConfigsResponse", await self.ask(ApiKey.ALTER_CONFIGS, request, version))

    async def auto_create_topics(self, names: Iterable[str]) -> CreateTopicsResponse:
        """Create topics that somebody uses, with default settings; `__consumer_offsets` with its own."""
        return await self.create_topics(self.auto_topics_request(names))

    async def _allocate_producer_ids(self) -> ProducerIdBlock | Refusal:
        epoch = self.broker_epoch
        if epoch < 0:
            raise ControllerUnavailable(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, "the broker is starting")
        request = AllocateProducerIdsRequest(broker_id=self._broker_id, broker_epoch=epoch)
        answer = cast("AllocateProducerIdsResponse", await self.ask(ApiKey.ALLOCATE_PRODUCER_IDS, request))
        if answer.error_code:
            return Refusal(ErrorCode(answer.error_code))
        first = answer.producer_id_start
        return ProducerIdBlock(first, first + answer.producer_id_len)

    def create_soon(self, names: Iterable[str]) -> None:
        """`auto_create_topics` in the background; a name that is being created already is left out."""
        wanted = [name for name in names if name not in self._being_created]
        if not wanted:
            return
        self._being_created.update(wanted)
        task = asyncio.get_running_loop().create_task(self._create_in_background(wanted))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _first_refusal(self, name: str) -> bool:
        """Whether to log it: clients ask again every 100 ms, and one line says it all."""
        if name in self._refused:
            return False
        if len(self._refused) >= _REFUSED_NAMES_MAX:
            self._refused.clear()
        self._refused.add(name)
        return True

    async def finish_background(self) -> None:
        """Wait for creations begun by `create_soon`."""
        if self._background:
            await asyncio.wait(self._background)

    async def _create_in_background(self, names: list[str]) -> None:
        try:
            response = await self.auto_create_topics(names)
        finally:
            self._being_created.difference_update(names)
        for topic in response.topics:
            if topic.error_code not in _EXPECTED and self._first_refusal(topic.name):
                logger.warning(
                    "topic.auto_create_refused",
                    extra={
                        "topic": clip(topic.name),
                        "error": topic.error_code,
                        "reason": topic.error_message,
                    },
                )
