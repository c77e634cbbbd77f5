"""Admin requests to the controller, each answered in its own response type whatever happens."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from typing import Final, TypeVar

from moldau_broker.base.config_types import clip
from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata import configs_control, topics_control
from moldau_broker.metadata.auto_topics import auto_create_topics
from moldau_broker.metadata.errors import ControllerUnavailable
from moldau_broker.metadata.operation import Operation
from moldau_broker.wire.messages import alter_configs as replacing
from moldau_broker.wire.messages import incremental_alter_configs as incremental
from moldau_broker.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopicResult,
)
from moldau_broker.wire.messages.create_topics import (
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from moldau_broker.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

_REFUSED_NAMES_MAX: Final = 1_000
"""Names remembered so as to log each refusal once; 250 KB at worst."""
_EXPECTED: Final = frozenset({ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS})
"""How a background creation ends when nothing is wrong: somebody else may have been faster."""


class ControllerAdmin(ABC):
    """The admin operations, on top of a `write` that knows how operations become committed records.

    None of them raises `ControllerUnavailable`: where there is no controller, each item of the request is
    answered with that error.
    """

    def __init__(self) -> None:
        self._being_created: set[str] = set()
        self._refused: set[str] = set()
        self._background: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def write(self, operation: Operation[T]) -> T:
        """Decide, append, wait for the commit, answer. Raises ControllerUnavailable."""

    async def create_topics(self, request: CreateTopicsRequest) -> CreateTopicsResponse:
        """CreateTopics."""
        try:
            return await self.write(partial(topics_control.create_topics, request=request))
        except ControllerUnavailable as error:
            return _no_topics(error, (topic.name for topic in request.topics))

    async def auto_create_topics(self, names: Iterable[str]) -> CreateTopicsResponse:
        """Create topics that somebody uses, with default settings; `__consumer_offsets` with its own."""
        wanted = list(names)
        try:
            return await self.write(partial(auto_create_topics, names=wanted))
        except ControllerUnavailable as error:
            return _no_topics(error, wanted)

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

    async def delete_topics(self, request: DeleteTopicsRequest) -> DeleteTopicsResponse:
        """DeleteTopics."""
        try:
            return await self.write(partial(topics_control.delete_topics, request=request))
        except ControllerUnavailable as error:
            states = [*request.topics, *(DeleteTopicState(name=name) for name in request.topic_names)]
            return DeleteTopicsResponse(
                responses=[
                    DeletableTopicResult(
                        name=state.name,
                        topic_id=state.topic_id,
                        error_code=error.error,
                        error_message=str(error),
                    )
                    for state in states
                ]
            )

    async def create_partitions(self, request: CreatePartitionsRequest) -> CreatePartitionsResponse:
        """CreatePartitions."""
        try:
            return await self.write(partial(topics_control.create_partitions, request=request))
        except ControllerUnavailable as error:
            return CreatePartitionsResponse(
                results=[
                    CreatePartitionsTopicResult(
                        name=topic.name, error_code=error.error, error_message=str(error)
                    )
                    for topic in request.topics
                ]
            )

    async def incremental_alter_configs(
        self, request: incremental.IncrementalAlterConfigsRequest
    ) -> incremental.IncrementalAlterConfigsResponse:
        """IncrementalAlterConfigs for topics and brokers."""
        try:
            return await self.write(partial(configs_control.incremental_alter_configs, request=request))
        except ControllerUnavailable as error:
            return incremental.IncrementalAlterConfigsResponse(
                responses=[
                    incremental.AlterConfigsResourceResponse(
                        error_code=error.error,
                        error_message=str(error),
                        resource_type=resource.resource_type,
                        resource_name=resource.resource_name,
                    )
                    for resource in request.resources
                ]
            )

    async def alter_configs(self, request: replacing.AlterConfigsRequest) -> replacing.AlterConfigsResponse:
        """AlterConfigs for topics and brokers."""
        try:
            return await self.write(partial(configs_control.alter_configs, request=request))
        except ControllerUnavailable as error:
            return replacing.AlterConfigsResponse(
                responses=[
                    replacing.AlterConfigsResourceResponse(
                        error_code=error.error,
                        error_message=str(error),
                        resource_type=resource.resource_type,
                        resource_name=resource.resource_name,
                    )
                    for resource in request.resources
                ]
            )


def _no_topics(error: ControllerUnavailable, names: Iterable[str]) -> CreateTopicsResponse:
    return CreateTopicsResponse(
        topics=[
            CreatableTopicResult(name=name, error_code=error.error, error_message=str(error))
            for name in names
        ]
    )
