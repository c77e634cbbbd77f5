"""Client of the brokers' admin API over HTTP (`docs/admin-api.yaml`): for brokers, the operator, the command, tests.

    async with AdminApi(("127.0.0.1", 9644)) as admin:
        print(await admin.may_stop(2))

Any broker answers: what belongs to a group's coordinator or to the controller is passed on. aiohttp is imported with
the first request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from urllib.parse import quote, urlencode

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import ADMIN_ANSWER_BYTES_MAX, ADMIN_PEER_TIMEOUT_MS
from moldau_broker.client.admin_api_answers import (
    BrokerLoad,
    DrainProgress,
    GroupReport,
    GroupReports,
    HostedReplica,
    MayStop,
    MetadataDamage,
    OutOfSyncReport,
    PartitionPosition,
    ResetReport,
    read_answer,
)
from moldau_broker.client.admin_api_cluster import ClusterReport
from moldau_broker.client.errors import (
    BrokerUnreachable,
    ConnectionLost,
    ProtocolViolation,
    RequestFailed,
    RequestTimedOut,
)
from moldau_broker.client.partitions import TopicPartition

if TYPE_CHECKING:
    import aiohttp

PREFIX: Final = "/admin/v1/"
FORWARDED_HEADER: Final = "X-Moldau-Forwarded"
"""Set by a broker that passes a request on, so that it is not passed on again."""
_READ_BYTES: Final = 256 * 1024
_OK: Final = 200

ResetTo = str | int | Mapping[TopicPartition, int]
"""Where to reset to: "earliest", "latest", a timestamp in ms, or an offset for each partition."""


class RawAnswer(NamedTuple):
    """A status and the JSON document with it, unread."""

    status: int
    body: bytes


class AdminApi:
    """One broker's admin API."""

    def __init__(
        self, address: tuple[str, int], *, timeout_ms: int = ADMIN_PEER_TIMEOUT_MS, forwarded: bool = False
    ) -> None:
        """Nothing is connected before the first request.

        Args:
            address: host and HTTP port.
            timeout_ms: for a whole request; brokers give each other 5 s, so a client that wants to know waits longer.
            forwarded: the caller is a broker that passes requests on.
        """
        host, port = address
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._timeout_s = timeout_ms / 1000
        self._headers = {FORWARDED_HEADER: "true"} if forwarded else {}
        self._session: aiohttp.ClientSession | None = None
        self._yarl: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- the calls -----------------------------------------------------------------------------------------------

    async def load(self) -> BrokerLoad:
        """Moving averages of the partitions this broker leads."""
        return read_answer(BrokerLoad.read, await self._ask("GET", "load"))

    async def replicas(self) -> tuple[HostedReplica, ...]:
        """What this broker hosts, leaders and followers."""
        return read_answer(HostedReplica.read_all, await self._ask("GET", "replicas"))

    async def metadata_damage(self) -> tuple[MetadataDamage, ...]:
        """What this broker's scrubber has found damaged in its metadata log and the snapshots beside it."""
        return read_answer(MetadataDamage.read_all, await self._ask("GET", "replicas"))

    async def out_of_sync(self, topics: Iterable[str] = ()) -> OutOfSyncReport:
        """Replicas out of sync of the partitions this broker leads, of all topics or of those named."""
        query = urlencode([("topic", topic) for topic in topics])
        path = f"replicas/out-of-sync?{query}" if query else "replicas/out-of-sync"
        return read_answer(OutOfSyncReport.read, await self._ask("GET", path))

    async def may_stop(self, broker_id: int) -> MayStop:
        """Whether that broker may be stopped now, and if not why."""
        return read_answer(MayStop.read, await self._ask("GET", f"brokers/{broker_id}/may-stop"))

    async def cluster(self) -> ClusterReport:
        """Quorum, brokers, partitions in trouble."""
        return read_answer(ClusterReport.read, await self._ask("GET", "cluster"))

    async def groups(
        self, group_ids: Iterable[str] | None = None, *, everywhere: bool = True
    ) -> GroupReports:
        """Groups with their lag, all or those named, of every coordinator or of this broker alone."""
        parameters = [
            ("all", "true" if everywhere else "false"),
            *(("id", group) for group in group_ids or ()),
        ]
        return read_answer(GroupReports.read, await self._ask("GET", f"groups?{urlencode(parameters)}"))

    async def group(self, group_id: str) -> GroupReport:
        """One group with its lag; RequestFailed with GROUP_ID_NOT_FOUND where there is none."""
        return read_answer(GroupReport.read, await self._ask("GET", f"groups/{segment(group_id)}"))

    async def reset_offsets(
        self,
        group_id: str,
        to: ResetTo,
        *,
        topics: Sequence[str] = (),
        reset_id: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> ResetReport:
        """Move a group's offsets under the coordinator's fence.

        Args:
            group_id: whose.
            to: see `ResetTo`.
            topics: only these; none are all the group has committed or subscribes to.
            reset_id: names the reset, so that asking again after a lost answer does nothing twice.
            force: remove active members first; else they make the answer NON_EMPTY_GROUP.
            dry_run: only say what would move.
        """
        body: dict[str, Any] = {"to": _target(to), "force": force, "dryRun": dry_run}
        if topics:
            body["topics"] = list(topics)
        if reset_id:
            body["resetId"] = reset_id
        path = f"groups/{segment(group_id)}/offsets/reset"
        return read_answer(ResetReport.read, await self._ask("POST", path, body))

    async def positions(
        self, offsets: Mapping[TopicPartition, int | None], *, at_timestamp_ms: int | None = None
    ) -> tuple[PartitionPosition, ...]:
        """Log ends of partitions this broker leads, the timestamp of the record at an offset, the offset at a time."""
        items = []
        for place, offset in offsets.items():
            item: dict[str, Any] = {"topic": place.topic, "partition": place.partition}
            if offset is not None:
                item["offset"] = offset
            if at_timestamp_ms is not None:
                item["timestampMs"] = at_timestamp_ms
            items.append(item)
        found = await self._ask("POST", "partitions/positions", {"partitions": items})
        return read_answer(PartitionPosition.read_all, found)

    async def drain(self, broker_id: int) -> DrainProgress:
        """Begin to move every replica off a broker; asking again changes nothing."""
        return read_answer(DrainProgress.read, await self._ask("POST", f"brokers/{broker_id}/drain"))

    async def drain_progress(self, broker_id: int) -> DrainProgress:
        """How far that is."""
        return read_answer(DrainProgress.read, await self._ask("GET", f"brokers/{broker_id}/drain"))

    async def cancel_drain(self, broker_id: int) -> DrainProgress:
        """Stop moving replicas off a broker; what has moved stays where it is."""
        return read_answer(DrainProgress.read, await self._ask("DELETE", f"brokers/{broker_id}/drain"))

    # -- beneath them --------------------------------------------------------------------------------------------

    async def _ask(self, method: str, path: str, body: object = None) -> object:
        answer = await self.send(
            method, PREFIX + path, None if body is None else json.dumps(body, separators=(",", ":")).encode()
        )
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise ProtocolViolation(f"{self._address} does not answer with JSON: {error}") from error
        if answer.status == _OK:
            return document
        name = document.get("error") if isinstance(document, dict) else None
        if not isinstance(name, str):
            raise ProtocolViolation(f"{self._address} answers {answer.status} without an error")
        code = ErrorCode.__members__.get(name, ErrorCode.UNKNOWN_SERVER_ERROR)
        raise RequestFailed(code, f"{method} {path.partition('?')[0]}", str(document.get("message", "")))

    async def send(self, method: str, target: str, body: bytes | None = None) -> RawAnswer:
        """One request as it is, and its answer.

        Raises:
            BrokerUnreachable, ConnectionLost, RequestTimedOut: no answer.
            ProtocolViolation: an answer that is too large, or no HTTP.
        """
        if self._session is None:
            self._start(await asyncio.to_thread(import_module, "aiohttp"))
        assert self._session is not None
        client = import_module("aiohttp")
        headers = {**self._headers, "Content-Type": "application/json"} if body is not None else self._headers
        url = self._yarl.URL(f"http://{self._address}{target}", encoded=True)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.request(
                    method, url, data=body, headers=headers, allow_redirects=False
                ) as answer,
            ):
                return RawAnswer(answer.status, await self._read(answer))
        except TimeoutError as error:
            raise RequestTimedOut(f"{self._address} has not answered in {self._timeout_s} s") from error
        except client.ClientConnectorError as error:
            raise BrokerUnreachable(self._address, str(error.os_error)) from error
        except (client.ClientOSError, client.ServerConnectionError, client.ClientPayloadError) as error:
            raise ConnectionLost(f"{self._address}: {error}") from error
        except client.ClientError as error:
            raise ProtocolViolation(f"{self._address}: {error}") from error

    def _start(self, client: Any) -> None:
        if self._session is None:  # somebody else may have waited for the same import
            self._yarl = import_module("yarl")
            self._session = client.ClientSession(
                auto_decompress=False, cookie_jar=client.DummyCookieJar(), trust_env=False
            )

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in answer.content.iter_chunked(_READ_BYTES):
            size += len(part)
            if size > ADMIN_ANSWER_BYTES_MAX:
                raise ProtocolViolation(
                    f"{self._address} answers with more than {ADMIN_ANSWER_BYTES_MAX} bytes"
                )
            parts.append(part)
        return b"".join(parts)


def segment(name: str) -> str:
    """A name as one segment of a path, dots included: nobody on the way may take them for folders."""
    return quote(name, safe="").replace(".", "%2E")


def _target(to: ResetTo) -> object:
    if isinstance(to, str):
        return to
    if isinstance(to, int):
        return {"timestampMs": to}
    offsets: dict[str, dict[str, int]] = {}
    for place, offset in to.items():
        offsets.setdefault(place.topic, {})[str(place.partition)] = offset
    return {"offsets": offsets}
