"""A broker that answers what a test scripts: real sockets, the real codec, no logic of its own."""

from __future__ import annotations

import asyncio
import socket
import sys
import weakref
from collections.abc import Callable
from typing import Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.wire import codec, framing
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.messages.api_versions import ApiVersion, ApiVersionsResponse
from moldau_broker.wire.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from moldau_broker.wire.messages.metadata import (
    MetadataRequest,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from moldau_broker.wire.schema import Struct

HOST: Final = "127.0.0.1"

Script = Callable[[Any, int], Struct | bytes | None]
"""Gives the answer to (request, version): a message, raw bytes to send, or None to stay silent."""


class Close(Exception):
    """Raised by a script: close the connection instead of answering."""


class ScriptedBroker:
    """Serves ApiVersions, Metadata and FindCoordinator from its attributes, and everything else from `scripts`."""

    def __init__(self, node_id: int = 1) -> None:
        """Does not listen before `start`."""
        self.node_id = node_id
        self.port = 0
        self.served = {key: (s.first_version, s.last_version) for key, s in API_SCHEMAS.items()}
        self.scripts: dict[ApiKey, Script] = {}
        self.requests: list[tuple[ApiKey, int, Any]] = []
        self.connections = 0
        self.nodes: list[ScriptedBroker] = [self]
        self.topics: dict[str, list[int]] = {}
        """Topic to the leader of each partition; -1 is none."""
        self._held: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def bootstrap(self) -> str:
        """Its address, for `bootstrap.servers`."""
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        """Listen: on a free port the first time, on the same one again."""
        if self._held is None and sys.platform == "linux":
            self._held = self._hold_port()
            self.port = self._held.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _hold_port(self) -> socket.socket:
        """Choose a port and keep it as long as this object lives: nobody else is given it while this broker is down.

        A socket that is bound and never listens is enough: connections are refused, and on Linux the broker may listen
        beside it.
        """
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        weakref.finalize(self, holder.close)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, 0))
        return holder

    async def stop(self) -> None:
        """Close the listening socket and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_connections()

    def drop_connections(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def script(self, key: ApiKey, *answers: Struct | bytes | BaseException | None) -> None:
        """Answer requests of an API with these in turn, the last one for ever. An exception is raised."""
        left = list(answers)

        def next_answer(_request: Any, _version: int) -> Struct | bytes | None:
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        self.scripts[key] = next_answer

    def seen(self, key: ApiKey) -> list[Any]:
        """The requests of one API, in order."""
        return [request for seen, _, request in self.requests if seen is key]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                answer = self._answer(await reader.readexactly(size))
                if answer is not None:
                    writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError, Close):
            writer.transport.abort()

    def _answer(self, frame: bytes) -> bytes | None:
        header = framing.decode_request_header(frame)
        key, version = ApiKey(header.api_key), header.api_version
        lowest, highest = self.served[key]
        if key is ApiKey.API_VERSIONS and not lowest <= version <= highest:
            refusal = ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=self._versions())
            return b"".join(framing.encode_response(header.correlation_id, key, 0, refusal))
        assert lowest <= version <= highest, f"{key.name} version {version} is not served"
        request, _ = codec.decode(API_SCHEMAS[key].request, version, frame, header.end)
        self.requests.append((key, version, request))
        answer = self.scripts.get(key, self._usual)(request, version)
        if answer is None or isinstance(answer, bytes):
            return answer
        return b"".join(framing.encode_response(header.correlation_id, key, version, answer))

    def _usual(self, request: Any, _version: int) -> Struct | None:
        match type(request).__name__:
            case "ApiVersionsRequest":
                return ApiVersionsResponse(api_keys=self._versions())
            case "MetadataRequest":
                return self._metadata(request)
            case "FindCoordinatorRequest":
                coordinators = [
                    Coordinator(key=group, node_id=self.node_id, host=HOST, port=self.port)
                    for group in request.coordinator_keys
                ]
                return FindCoordinatorResponse(coordinators=coordinators)
        raise AssertionError(f"no script for {type(request).__name__}")

    def _versions(self) -> list[ApiVersion]:
        return [
            ApiVersion(api_key=key, min_version=lo, max_version=hi) for key, (lo, hi) in self.served.items()
        ]

    def _metadata(self, request: MetadataRequest) -> MetadataResponse:
        names = self.topics if request.topics is None else [topic.name or "" for topic in request.topics]
        return MetadataResponse(
            brokers=[
                MetadataResponseBroker(node_id=node.node_id, host=HOST, port=node.port) for node in self.nodes
            ],
            cluster_id="scripted",
            controller_id=self.node_id,
            topics=[self._topic(name) for name in names],
        )

    def _topic(self, name: str) -> MetadataResponseTopic:
        if name not in self.topics:
            return MetadataResponseTopic(name=name, error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        partitions = [
            MetadataResponsePartition(
                partition_index=number, leader_id=leader, leader_epoch=0, replica_nodes=[1], isr_nodes=[1]
            )
            for number, leader in enumerate(self.topics[name])
        ]
        return MetadataResponseTopic(name=name, topic_id=topic_id(name), partitions=partitions)


def topic_id(name: str) -> bytes:
    """The id scripted brokers give a topic."""
    return name.encode().ljust(16, b"\1")[:16]
