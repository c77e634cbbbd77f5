"""The admin API of a running broker: every answer is what `docs/admin-api.yaml` says, every bad request is refused."""

import asyncio
import contextlib
import io
import json
import socket
import time
from pathlib import Path

import aiohttp
import pytest
import yaml
from yarl import URL

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import ADMIN_BODY_BYTES_MAX
from moldau_broker.client.admin.offsets import CommittedOffset, commit_offsets
from moldau_broker.client.admin_api import AdminApi, segment
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import BrokerUnreachable, RequestFailed
from moldau_broker.client.group_consumer import GroupConsumer
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.client.producer import Producer
from moldau_broker.server.admin_api.api import ROUTES
from moldau_broker.testing.broker import EmbeddedBroker
from moldau_broker.testing.json_schema import SchemaMismatch, check, resolve

SCHEMA = yaml.safe_load((Path(__file__).parents[4] / "docs/admin-api.yaml").read_text())
GROUP = "orders/of: ünïcode.."
"""A name with everything that paths do not like."""
ORDERS = TopicPartition("orders", 0)
RESET = f"/admin/v1/groups/{segment(GROUP)}/offsets/reset"
POSITIONS = "/admin/v1/partitions/positions"


@pytest.fixture(scope="module")
def broker():
    """A broker with its HTTP port, ten batches of ten records, one every 100 ms, and a group at the 41st."""
    with EmbeddedBroker(http=True) as running:
        running.create_topic("orders", partitions=2)
        running.began_ms = int(time.time() * 1000) - 10_000
        asyncio.run(_fill(running))
        yield running


async def _fill(broker):
    async with Cluster(broker.bootstrap) as cluster:
        async with Producer(cluster) as producer:
            for at in range(100):
                timestamp = broker.began_ms + 100 * at
                await producer.send("orders", value=b"x", partition=0, timestamp_ms=timestamp)
                if at % 10 == 9:
                    await producer.flush()
        await commit_offsets(cluster, GROUP, {ORDERS: CommittedOffset(41)})


@pytest.fixture
async def admin(broker):
    """The typed client, patient."""
    async with AdminApi(("127.0.0.1", broker.ports["http"]), timeout_ms=30_000) as client:
        yield client


async def _raw(broker, method, path, body=None, content_type="application/json"):
    """A request as it is: (status, document)."""
    url = URL(f"http://127.0.0.1:{broker.ports['http']}{path}", encoded=True)
    headers = {} if body is None else {"Content-Type": content_type}
    data = io.BytesIO(body) if isinstance(body, bytes) else None if body is None else json.dumps(body)
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=data, headers=headers) as answer,
    ):
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        return answer.status, await answer.json()


@contextlib.asynccontextmanager
async def _member(broker, group):
    """A consumer of `group` that has joined, and stays until the end."""
    async with Cluster(broker.bootstrap) as cluster:
        consumer = GroupConsumer(cluster, group, ["orders"])
        try:
            await consumer.poll(timeout_ms=30_000)
            yield
        finally:
            await consumer.close()


def _schema_of(method, template, status):
    responses = SCHEMA["paths"][template][method.lower()]["responses"]
    response = responses.get(str(status), responses["default"])
    found = resolve(response["$ref"], SCHEMA)
    return found["content"]["application/json"]["schema"]


# -- the schema --------------------------------------------------------------------------------------------------


def test_schema_and_routes_are_the_same():
    """Every route is in the document, and nothing else is."""
    written = {
        (method.upper(), path)
        for path, item in SCHEMA["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert written == {(route.method, route.template) for route in ROUTES}


CALLS = [
    ("GET", "/admin/v1/cluster", None),
    ("GET", "/admin/v1/load", None),
    ("GET", "/admin/v1/replicas", None),
    ("GET", "/admin/v1/replicas/out-of-sync", None),
    ("GET", "/admin/v1/replicas/out-of-sync?topic=orders&topic=nowhere", None),
    ("GET", "/admin/v1/brokers/1/may-stop", None),
    ("GET", "/admin/v1/brokers/7/may-stop", None),
    ("POST", "/admin/v1/brokers/1/drain", None),
    ("GET", "/admin/v1/brokers/1/drain", None),
    ("DELETE", "/admin/v1/brokers/1/drain", None),
    ("GET", "/admin/v1/groups", None),
    ("GET", "/admin/v1/groups?all=true&id=a&id=b", None),
    ("GET", f"/admin/v1/groups/{segment(GROUP)}", None),
    ("GET", "/admin/v1/groups/unknown", None),
    ("POST", RESET, {"to": "earliest", "dryRun": True}),
    ("POST", RESET, {"to": {"timestampMs": 0}, "topics": ["orders"], "dryRun": True, "force": True}),
    ("POST", RESET, {"to": {"offsets": {"orders": {"1": 0}}}, "dryRun": True, "resetId": "r"}),
    (
        "POST",
        POSITIONS,
        {
            "partitions": [
                {"topic": "orders", "partition": 0, "offset": 41, "timestampMs": 0},
                {"topic": "nowhere", "partition": 0},
            ]
        },
    ),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_answers_are_as_the_schema_says(broker, method, path, body):
    """Live answers, good and bad, validate; so do the requests that get them."""
    status, document = await _raw(broker, method, path, body)
    (template,) = [
        route.template
        for route in ROUTES
        if route.method == method and _fits(route.template, path.partition("?")[0])
    ]
    check(document, _schema_of(method, template, status), SCHEMA)
    if body is not None:
        assert status == 200
        check(body, _request_schema(template), SCHEMA)


def _fits(template, path):
    parts, names = path.split("/"), template.split("/")
    return len(parts) == len(names) and all(
        name == part or name.startswith("{") for name, part in zip(names, parts, strict=True)
    )


def _request_schema(template):
    return SCHEMA["paths"][template]["post"]["requestBody"]["content"]["application/json"]["schema"]


def test_every_route_is_tried():
    """So that no answer goes unchecked."""
    tried = {
        (method, route.template)
        for method, path, _ in CALLS
        for route in ROUTES
        if route.method == method and _fits(route.template, path.partition("?")[0])
    }
    assert tried == {(route.method, route.template) for route in ROUTES}


# -- bad input ---------------------------------------------------------------------------------------------------

BAD_RESETS = [
    [],
    "earliest",
    {},
    {"to": None},
    {"to": "middle"},
    {"to": 5},
    {"to": {}},
    {"to": []},
    {"to": {"timestampMs": -1}},
    {"to": {"timestampMs": "now"}},
    {"to": {"timestampMs": True}},
    {"to": {"timestampMs": 1.5}},
    {"to": {"timestampMs": 2**63}},
    {"to": {"timestampMs": 1, "offsets": {"orders": {"0": 1}}}},
    {"to": {"offsets": {}}},
    {"to": {"offsets": {"orders": {}}}},
    {"to": {"offsets": {"orders": 5}}},
    {"to": {"offsets": {"orders": {"0": -1}}}},
    {"to": {"offsets": {"orders": {"0": None}}}},
    {"to": {"offsets": []}},
    {"to": "earliest", "topics": "orders"},
    {"to": "earliest", "topics": [""]},
    {"to": "earliest", "topics": [1]},
    {"to": "earliest", "topics": ["orders", "orders"]},
    {"to": "earliest", "force": "yes"},
    {"to": "earliest", "dryRun": 1},
    {"to": "earliest", "resetId": ""},
    {"to": "earliest", "resetId": "x" * 256},
    {"to": "earliest", "resetId": 7},
    {"to": "earliest", "unknown": 1},
]


@pytest.mark.parametrize("body", BAD_RESETS, ids=json.dumps)
async def test_bad_resets_are_refused(broker, body):
    """By the broker and by the schema alike, with a sentence, and without any effect."""
    status, document = await _raw(broker, "POST", RESET, body)
    assert (status, document["error"]) == (400, "INVALID_REQUEST")
    assert document["message"]
    with pytest.raises(SchemaMismatch):
        check(body, _request_schema("/admin/v1/groups/{groupId}/offsets/reset"), SCHEMA)


BAD_POSITIONS = [
    {},
    {"partitions": {}},
    {"partitions": [[]]},
    {"partitions": [{"topic": "orders"}]},
    {"partitions": [{"partition": 0}]},
    {"partitions": [{"topic": "", "partition": 0}]},
    {"partitions": [{"topic": "orders", "partition": -1}]},
    {"partitions": [{"topic": "orders", "partition": 2**31}]},
    {"partitions": [{"topic": "orders", "partition": "0"}]},
    {"partitions": [{"topic": "orders", "partition": 0, "offset": -1}]},
    {"partitions": [{"topic": "orders", "partition": 0, "offset": 2**63}]},
    {"partitions": [{"topic": "orders", "partition": 0, "time": 1}]},
    {"partitions": [{"topic": "t", "partition": 0}] * 10_001},
]


@pytest.mark.parametrize("body", BAD_POSITIONS, ids=lambda body: json.dumps(body)[:60])
async def test_bad_positions_are_refused(broker, body):
    """By the broker and by the schema alike."""
    status, document = await _raw(broker, "POST", POSITIONS, body)
    assert (status, document["error"]) == (400, "INVALID_REQUEST")
    with pytest.raises(SchemaMismatch):
        check(body, _request_schema(POSITIONS), SCHEMA)


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/admin/v1/nothing", 404, "RESOURCE_NOT_FOUND"),
        ("GET", "/admin/v2/cluster", 404, "RESOURCE_NOT_FOUND"),
        ("GET", "/admin/v1/cluster/", 404, "RESOURCE_NOT_FOUND"),
        ("GET", "/admin/", 404, "RESOURCE_NOT_FOUND"),
        ("GET", "/admin/v1/groups/", 404, "RESOURCE_NOT_FOUND"),
        ("GET", "/admin/v1/groups/a/b", 404, "RESOURCE_NOT_FOUND"),
        ("POST", "/admin/v1/cluster", 405, "INVALID_REQUEST"),
        ("DELETE", "/admin/v1/groups/a", 405, "INVALID_REQUEST"),
        ("GET", POSITIONS, 405, "INVALID_REQUEST"),
        ("GET", "/admin/v1/cluster?x=1", 400, "INVALID_REQUEST"),
        ("GET", "/admin/v1/groups?all=yes", 400, "INVALID_REQUEST"),
        ("GET", "/admin/v1/groups?all=true&all=true", 400, "INVALID_REQUEST"),
        ("GET", "/admin/v1/groups?" + "&".join(["id=g"] * 1_001), 400, "INVALID_REQUEST"),
        ("GET", "/admin/v1/groups/%FF", 400, "INVALID_REQUEST"),
        ("GET", "/admin/v1/brokers/one/may-stop", 400, "INVALID_REQUEST"),
        ("GET", "/admin/v1/brokers/-1/may-stop", 400, "INVALID_REQUEST"),
        ("GET", "/admin/v1/brokers/99999999999/may-stop", 400, "INVALID_REQUEST"),
        ("GET", "/admin/v1/brokers/%D9%A1/may-stop", 400, "INVALID_REQUEST"),
        ("GET", "/admin/v1/brokers/7/may-stop", 404, "BROKER_ID_NOT_REGISTERED"),
        ("POST", "/admin/v1/brokers/7/drain", 404, "BROKER_ID_NOT_REGISTERED"),
        ("POST", "/admin/v1/brokers/1/drain", 409, "INVALID_REPLICA_ASSIGNMENT"),
        ("GET", "/admin/v1/groups/unknown", 404, "GROUP_ID_NOT_FOUND"),
    ],
)
async def test_bad_requests_are_refused(broker, method, path, status, error):
    """Each with its status and the name of an error."""
    found, document = await _raw(broker, method, path)
    assert (found, document["error"]) == (status, error)
    check(document, SCHEMA["components"]["schemas"]["Error"], SCHEMA)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"to": NaN}', "application/json", 400),
        (b'{"to": "earliest", "to": "latest"}', "application/json", 400),
        (b'{"to": "earliest"}', "text/plain", 415),
        (b'{"to": "earliest"}', "application/x-www-form-urlencoded", 415),
        (b" " * (ADMIN_BODY_BYTES_MAX + 1), "application/json", 413),
    ],
    ids=["cut short", "no text", "empty", "deep", "NaN", "twice", "plain text", "form", "too large"],
)
async def test_bodies_that_are_no_json_are_refused(broker, body, content_type, status):
    """Bounded, and of the one type that a web page cannot send from elsewhere."""
    found, document = await _raw(broker, "POST", RESET, body, content_type)
    assert found == status
    check(document, SCHEMA["components"]["schemas"]["Error"], SCHEMA)


@pytest.mark.parametrize("path", ["/admin/v1/cluster", "/admin/v1/brokers/1/drain"])
async def test_bodies_nobody_asked_for_are_refused(broker, path):
    """What would be ignored is refused."""
    status, _ = await _raw(broker, "GET", path, {"x": 1})
    assert status == 400


# -- groups ------------------------------------------------------------------------------------------------------


async def test_group_shows_lag_in_records_and_seconds(broker, admin):
    """The 42nd record, in the middle of a batch, was made 4.1 s after the first."""
    asked = time.time()
    report = await admin.group(GROUP)
    told = time.time()
    made = (broker.began_ms + 4_100) / 1000
    (offset,) = report.offsets
    assert (report.id, report.state, report.coordinator_id) == (GROUP, "Empty", 1)
    assert (offset.committed_offset, offset.log_start_offset, offset.high_watermark) == (41, 0, 100)
    assert (report.lag_records, offset.lag_records) == (59, 59)
    assert asked - made - 0.01 <= report.lag_seconds <= told - made + 0.01
    assert offset.lag_seconds == report.lag_seconds


async def test_group_that_has_caught_up_has_no_lag(broker, admin):
    """Zero records and zero seconds, however old the last record is."""
    async with Cluster(broker.bootstrap) as cluster:
        await commit_offsets(cluster, "reader", {ORDERS: CommittedOffset(100)})
    report = await admin.group("reader")
    assert (report.lag_records, report.lag_seconds) == (0, 0.0)


async def test_group_with_a_member_shows_what_it_has_not_committed(broker, admin):
    """Partitions that are subscribed to and not committed are there, without lag."""
    async with _member(broker, "live"):
        report = await admin.group("live")
        assert (report.state, len(report.members)) == ("Stable", 1)
        assert [offset.partition.partition for offset in report.offsets] == [0, 1]
        assert {(offset.committed_offset, offset.lag_records) for offset in report.offsets} == {(None, None)}
        assert (report.lag_records, report.lag_seconds) == (None, None)


async def test_groups_lists_all_or_those_named(admin):
    """A name nobody uses is left out."""
    found = await admin.groups()
    assert GROUP in {report.id for report in found.groups}
    assert found.incomplete == {}
    found = await admin.groups([GROUP, "unknown"])
    assert [report.id for report in found.groups] == [GROUP]
    assert (await admin.groups([GROUP], everywhere=False)).groups[0].lag_records is not None


async def test_positions_are_found_with_at_most_one_batch_each(admin):
    """By offset and by time; a partition that is not here says so."""
    found = await admin.positions({ORDERS: 45, TopicPartition("orders", 1): 0, TopicPartition("no", 0): 0})
    assert [one.error for one in found] == [None, None, "UNKNOWN_TOPIC_OR_PARTITION"]
    first, second, _ = found
    assert (first.log_start_offset, first.high_watermark) == (0, 100)
    assert first.timestamp_ms is not None
    assert (second.high_watermark, second.timestamp_ms) == (0, None)
    (at,) = await admin.positions({ORDERS: None}, at_timestamp_ms=first.timestamp_ms)
    assert at.offset_at_timestamp == 45
    (late,) = await admin.positions({ORDERS: None}, at_timestamp_ms=2**62)
    assert late.offset_at_timestamp == 100


# -- resets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "offset"),
    [("earliest", 0), ("latest", 100), ("time", 30), ({ORDERS: 77}, 77)],
    ids=["earliest", "latest", "time", "offsets"],
)
async def test_reset_moves_a_group(broker, admin, to, offset):
    """The dry run tells what the reset then does."""
    group = f"moved-{offset}"
    async with Cluster(broker.bootstrap) as cluster:
        await commit_offsets(cluster, group, {ORDERS: CommittedOffset(50)})
    to = broker.began_ms + 2_950 if to == "time" else to
    planned = await admin.reset_offsets(group, to, dry_run=True)
    assert (planned.applied, planned.moves[0].old_offset, planned.moves[0].new_offset) == (False, 50, offset)
    assert (await admin.group(group)).offsets[0].committed_offset == 50
    done = await admin.reset_offsets(group, to)
    assert done.applied
    assert done.moves == planned.moves
    assert (await admin.group(group)).offsets[0].committed_offset == offset


async def test_reset_is_refused_while_a_member_is_active_unless_forced(broker, admin):
    """The reason names the member; forced, it is removed first and joins again where the reset says."""
    async with _member(broker, "busy"):
        (member,) = (await admin.group("busy")).members
        with pytest.raises(RequestFailed, match=member.id) as refused:
            await admin.reset_offsets("busy", "latest")
        assert refused.value.code is ErrorCode.NON_EMPTY_GROUP
        done = await admin.reset_offsets("busy", "latest", force=True, reset_id="monday")
        assert (done.applied, done.members_removed) == (True, (member.id,))
    assert [offset.committed_offset for offset in (await admin.group("busy")).offsets] == [100, 0]


@pytest.mark.parametrize(
    ("group", "to", "topics", "error"),
    [
        (GROUP, {ORDERS: 101}, (), ErrorCode.OFFSET_OUT_OF_RANGE),
        (GROUP, {TopicPartition("orders", 2): 0}, (), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (GROUP, {TopicPartition("nowhere", 0): 0}, (), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (GROUP, "latest", ("nowhere",), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (GROUP, {ORDERS: 1}, ("orders",), ErrorCode.INVALID_REQUEST),
        ("nobody", "latest", (), ErrorCode.INVALID_REQUEST),
    ],
    ids=["beyond the end", "no partition", "no topic", "no topic named", "topics twice", "no topics known"],
)
async def test_reset_to_nowhere_is_refused(admin, group, to, topics, error):
    """Nothing is clipped in silence, and nothing has moved."""
    before = (await admin.group(GROUP)).offsets
    with pytest.raises(RequestFailed) as refused:
        await admin.reset_offsets(group, to, topics=topics)
    assert refused.value.code is error
    assert [one.committed_offset for one in (await admin.group(GROUP)).offsets] == [
        one.committed_offset for one in before
    ]


async def test_reset_of_a_group_nobody_has_used(admin):
    """Where its first consumer shall begin."""
    done = await admin.reset_offsets("to come", "latest", topics=["orders"])
    assert done.applied
    assert [(move.old_offset, move.new_offset) for move in done.moves] == [(None, 100), (None, 0)]


# -- the rest ----------------------------------------------------------------------------------------------------


async def test_one_broker_may_not_stop(admin):
    """It has everything there is, and the answer says so in words and in a list."""
    verdict = await admin.may_stop(1)
    assert not verdict.allowed
    assert not verdict.quorum_kept
    assert {"orders", "__consumer_offsets"} <= {one.partition.topic for one in verdict.partitions}
    assert {one.obstacle for one in verdict.partitions} == {"only-in-sync-replica"}
    assert len(verdict.reasons) == 2


async def test_cluster_shows_quorum_and_brokers(admin):
    """One of each, and nothing in trouble."""
    report = await admin.cluster()
    assert (report.leader_id, [one.node_id for one in report.voters]) == (1, [1])
    assert [(one.id, one.fenced, one.stopping) for one in report.brokers] == [(1, False, False)]
    assert report.under_replicated.count == report.offline.count == report.under_min_isr.count == 0
    assert report.recovering.count == 0


async def test_replicas_shows_what_is_on_the_disk(admin):
    """With sizes and ends."""
    (orders,) = [one for one in await admin.replicas() if one.partition == ORDERS]
    assert orders.leads
    assert (orders.log_start_offset, orders.log_end_offset, orders.high_watermark) == (0, 100, 100)
    assert orders.size_bytes > 100


async def test_drain_of_the_only_broker_is_refused(admin):
    """With the reason; progress and cancelling say that nothing moves."""
    with pytest.raises(RequestFailed, match="cannot leave it") as refused:
        await admin.drain(1)
    assert refused.value.code is ErrorCode.INVALID_REPLICA_ASSIGNMENT
    for progress in (await admin.drain_progress(1), await admin.cancel_drain(1)):
        assert not progress.draining
        assert progress.replicas_left >= 3
        assert progress.bytes_left is not None


async def test_nobody_listens():
    """A port without a broker is unreachable, and that may pass."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with AdminApi(unused.getsockname()) as admin:
            with pytest.raises(BrokerUnreachable) as failed:
                await admin.cluster()
    assert failed.value.retriable
