"""The group APIs as clients see them: through the wire, in every version served.

What the coordinator decides is specified in tests/unit/coordinator; here it is what each version says and how.
Answers are held against what an Apache Kafka 4.3.1 broker answered to the same requests.
"""

import asyncio
import inspect
from types import SimpleNamespace

import pytest

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.metadata.image import BrokerImage, Endpoint, MetadataImage, PartitionImage, TopicImage
from moldau_broker.server.handlers import (
    delete_groups,
    describe_groups,
    find_coordinator,
    heartbeat,
    join_group,
    leave_group,
    list_groups,
    offset_commit,
    offset_delete,
    offset_fetch,
    sync_group,
)
from moldau_broker.testing.coordinator import CoordinatorBench
from moldau_broker.testing.groups import subscription
from moldau_broker.wire.apis import API_SCHEMAS
from moldau_broker.wire.codec import decode, encode
from moldau_broker.wire.messages.create_topics import CreatableTopicResult, CreateTopicsResponse
from moldau_broker.wire.messages.delete_groups import DeleteGroupsRequest
from moldau_broker.wire.messages.describe_groups import DescribeGroupsRequest
from moldau_broker.wire.messages.find_coordinator import FindCoordinatorRequest
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from moldau_broker.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from moldau_broker.wire.messages.list_groups import ListGroupsRequest
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from moldau_broker.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from moldau_broker.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
)
from moldau_broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

T_ID, U_ID, UNKNOWN_ID = (Uuid(bytes(15) + bytes([n])) for n in (1, 2, 9))


def _topic(name, topic_id, partitions):
    return TopicImage(name, topic_id, (PartitionImage((0,), (), (0,), 0, 0, 0),) * partitions)


class Node:
    """A broker with topics t (2 partitions) and u (1); `call` is a client's round trip."""

    def __init__(self, config=None, *, with_offsets_topic=True):
        self.bench = CoordinatorBench(config or GroupConfig(initial_rebalance_delay_ms=0))
        self.bench.elect_all()
        self.created = []
        topics = [_topic("t", T_ID, 2), _topic("u", U_ID, 1)]
        if with_offsets_topic:
            topics.append(self.bench.image.topics[CONSUMER_OFFSETS])
        self.broker = SimpleNamespace(
            groups=self.bench.coordinator,
            metadata=SimpleNamespace(image=self._image(topics)),
            controller=SimpleNamespace(auto_create_topics=self._create),
        )

    def _image(self, topics, *, fenced=False):
        endpoints = {"PLAIN": Endpoint("h1", 1111), "OTHER": Endpoint("h2", 2222)}
        return MetadataImage(
            "c",
            topics={topic.name: topic for topic in topics},
            topics_by_id={topic.topic_id: topic for topic in topics},
            brokers={0: BrokerImage(0, 0, Uuid(bytes(16)), fenced, False, None, endpoints)},
        )

    async def _create(self, names):
        self.created += names
        asyncio.get_running_loop().call_later(0.02, self._learn)
        return CreateTopicsResponse(topics=[CreatableTopicResult(name=name) for name in names])

    def _learn(self):
        """What the controller has written arrives after its answer."""
        topics = [*self.broker.metadata.image.topics.values(), self.bench.image.topics[CONSUMER_OFFSETS]]
        self.broker.metadata.image = self._image(topics)

    def send(self, module, request, version, listener="PLAIN"):
        """What the handler gives, its request decoded from bytes."""
        schema = API_SCHEMAS[module.HANDLER.api]
        wire, _ = decode(schema.request, version, encode(request, version))
        context = SimpleNamespace(
            api_version=version, client_id="app", listener=listener, peer_host="10.0.0.7"
        )
        return module.HANDLER.handle(self.broker, context, wire)

    def call(self, module, request, version, listener="PLAIN"):
        """The response after everything has been stored, decoded from bytes."""
        outcome = self.send(module, request, version, listener)
        self.bench.run()
        response = outcome.value if isinstance(outcome, Deferred) else outcome
        schema = API_SCHEMAS[module.HANDLER.api]
        return decode(schema.response, version, encode(response, version))[0]

    def stable(self, group_id="g"):
        """A Stable group of one; gives the member id."""
        member_id = self.call(join_group, _join(group_id), 9).member_id
        reply = self.send(join_group, _join(group_id, member_id), 9)
        self.bench.advance(0)
        sync = SyncGroupRequest(
            group_id=group_id,
            generation_id=reply.value.generation_id,
            member_id=member_id,
            protocol_type="consumer",
            protocol_name="range",
            assignments=[SyncGroupRequestAssignment(member_id=member_id, assignment=b"A")],
        )
        assert self.call(sync_group, sync, 5).assignment == b"A"
        return member_id


def _join(group_id="g", member_id="", **fields):
    request = {
        "group_id": group_id,
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 20_000,
        "member_id": member_id,
        "protocol_type": "consumer",
        "protocols": [JoinGroupRequestProtocol(name="range", metadata=subscription("t"))],
    }
    return JoinGroupRequest(**(request | fields))


def _commit(offsets, group_id="g", by_id=False, **fields):
    """Offsets by (topic, partition)."""
    ids = {"t": T_ID, "u": U_ID}
    topics = [
        OffsetCommitRequestTopic(
            topic_id=ids.get(topic, UNKNOWN_ID) if by_id else bytes(16),
            name="" if by_id else topic,
            partitions=[OffsetCommitRequestPartition(partition_index=index, committed_offset=offset)],
        )
        for (topic, index), offset in offsets.items()
    ]
    return OffsetCommitRequest(group_id=group_id, topics=topics, **fields)


@pytest.mark.parametrize(
    ("module", "versions"),
    [
        (offset_commit, (2, 10)),
        (offset_fetch, (1, 10)),
        (find_coordinator, (0, 6)),
        (join_group, (0, 9)),
        (heartbeat, (0, 4)),
        (leave_group, (0, 5)),
        (sync_group, (0, 5)),
        (describe_groups, (0, 6)),
        (list_groups, (0, 5)),
        (delete_groups, (0, 2)),
        (offset_delete, (0, 0)),
    ],
)
def test_group_apis_serve_the_versions_of_a_4_3_broker(module, versions):
    """As its own ApiVersions answers."""
    assert module.HANDLER.versions == versions


# -- JoinGroup, SyncGroup, Heartbeat, LeaveGroup -------------------------------------------------------------------


@pytest.mark.parametrize("version", range(10))
def test_join_group_in_every_version(version):
    """v0-3 join at once, v4+ come back with an id; the answer has a protocol name in every version."""
    node = Node()
    member_id = ""
    if version >= 4:
        first = node.call(join_group, _join(), version)
        assert first.error_code == ErrorCode.MEMBER_ID_REQUIRED
        assert first.protocol_name == (None if version >= 7 else "")
        member_id = first.member_id
        assert member_id.startswith("app-")
    reply = node.send(join_group, _join("g", member_id), version)
    node.bench.advance(0)
    assert (reply.value.error_code, reply.value.protocol_name) == (ErrorCode.NONE, "range")
    assert encode(reply.value, version)
    described = node.call(describe_groups, DescribeGroupsRequest(groups=["g"]), 6).groups[0]
    assert described.members[0].client_host == "/10.0.0.7"


def test_join_group_v0_uses_the_session_timeout_for_the_rebalance():
    """There is no other in its request."""
    node = Node()
    node.send(join_group, _join(session_timeout_ms=12_345), 0)
    member = next(iter(node.bench.coordinator._shards[0].shard._state.groups["g"].members.values()))
    assert member.rebalance_timeout_ms == 12_345


@pytest.mark.parametrize("version", range(10))
def test_join_group_errors_can_be_said_in_every_version(version):
    """No null where a version has none."""
    node = Node()
    reply = node.call(join_group, _join("g", "stranger"), version)
    assert reply.error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert reply.protocol_name == (None if version >= 7 else "")
    assert reply.member_id == "stranger"


def test_sync_group_v5_must_name_the_protocol():
    """INCONSISTENT_GROUP_PROTOCOL before anything else is looked at (KIP-559)."""
    node = Node()
    request = SyncGroupRequest(group_id="nowhere", member_id="m", protocol_type="consumer")
    assert node.call(sync_group, request, 5).error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert node.call(sync_group, request, 4).error_code == ErrorCode.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", range(5))
def test_heartbeat_in_every_version(version):
    """The generation counts, and who asks."""
    node = Node()
    member_id = node.stable()
    for generation, error in ((1, ErrorCode.NONE), (2, ErrorCode.ILLEGAL_GENERATION)):
        request = HeartbeatRequest(group_id="g", generation_id=generation, member_id=member_id)
        assert node.call(heartbeat, request, version).error_code == error


@pytest.mark.parametrize("version", range(6))
def test_leave_group_in_every_version(version):
    """To v2 one member and one error on top, since v3 a list with an error each."""
    node = Node()
    member_id = node.stable()
    batched = version >= 3

    def leave(who):
        if batched:
            return LeaveGroupRequest(group_id="g", members=[MemberIdentity(member_id=who)])
        return LeaveGroupRequest(group_id="g", member_id=who)

    for who, error in (("stranger", ErrorCode.UNKNOWN_MEMBER_ID), (member_id, ErrorCode.NONE)):
        response = node.call(leave_group, leave(who), version)
        if batched:
            assert response.error_code == ErrorCode.NONE
            assert [(m.member_id, m.error_code) for m in response.members] == [(who, error)]
        else:
            assert response.error_code == error


# -- offsets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(2, 11))
def test_offset_commit_in_every_version(version):
    """Known partitions are stored, the others told so; topics come back as they were named, in their order."""
    by_id = version >= 10
    node = Node()
    request = _commit({("nope", 0): 1, ("t", 1): 5, ("u", 7): 2}, by_id=by_id)
    response = node.call(offset_commit, request, version)
    unknown = ErrorCode.UNKNOWN_TOPIC_ID if by_id else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert [topic.partitions[0].error_code for topic in response.topics] == [
        unknown,
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ]
    if by_id:
        assert [topic.topic_id for topic in response.topics] == [UNKNOWN_ID, T_ID, U_ID]
    else:
        assert [topic.name for topic in response.topics] == ["nope", "t", "u"]
    offsets = node.bench.coordinator.group("g").offsets
    assert {key: value.offset for key, value in offsets.items()} == {("t", 1): 5}
    assert offsets["t", 1].topic_id == T_ID, "also where the client named no id"


def test_offset_commit_of_nothing_that_exists_never_reaches_the_coordinator():
    """No group comes of it."""
    node = Node()
    response = node.call(offset_commit, _commit({("nope", 0): 1}), 8)
    assert response.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert node.bench.coordinator.group_ids() == []


def test_offset_commit_of_several_partitions_of_a_topic_tells_each():
    """One unknown among known ones."""
    node = Node()
    request = OffsetCommitRequest(
        group_id="g",
        topics=[
            OffsetCommitRequestTopic(
                name="t",
                partitions=[
                    OffsetCommitRequestPartition(partition_index=i, committed_offset=i) for i in (1, 5, 0, -1)
                ],
            )
        ],
    )
    (topic,) = node.call(offset_commit, request, 9).topics
    missing = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert [(p.partition_index, p.error_code) for p in topic.partitions] == [
        (1, 0),
        (5, missing),
        (0, 0),
        (-1, missing),
    ]


def _fetch_v(version, topics, group_id="g", **fields):
    """An OffsetFetch for {topic: partitions}, or for all topics (None), in the form of the version."""
    ids = {"t": T_ID, "u": U_ID}
    if version < 8:
        old = None
        if topics is not None:
            old = [OffsetFetchRequestTopic(name=n, partition_indexes=p) for n, p in topics.items()]
        return OffsetFetchRequest(group_id=group_id, topics=old, **fields)
    new = None
    if topics is not None:
        new = [
            OffsetFetchRequestTopics(
                name="" if version >= 10 else name,
                topic_id=ids.get(name, UNKNOWN_ID) if version >= 10 else bytes(16),
                partition_indexes=partitions,
            )
            for name, partitions in topics.items()
        ]
    return OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=group_id, topics=new)], **fields)


def _found(response, version):
    """{(topic name or id, partition): (offset, error)}"""
    topics = response.topics if version < 8 else response.groups[0].topics
    return {
        (topic.topic_id if version >= 10 else topic.name, partition.partition_index): (
            partition.committed_offset,
            partition.error_code,
        )
        for topic in topics
        for partition in topic.partitions
    }


@pytest.mark.parametrize("version", range(1, 11))
def test_offset_fetch_in_every_version(version):
    """What was committed, -1 where nothing was; unknown topics are -1 by name and UNKNOWN_TOPIC_ID by id."""
    node = Node()
    node.call(offset_commit, _commit({("t", 0): 5}), 9)
    response = node.call(offset_fetch, _fetch_v(version, {"t": [0, 1], "nope": [0]}), version)
    t, nope = (T_ID, UNKNOWN_ID) if version >= 10 else ("t", "nope")
    unknown = ErrorCode.UNKNOWN_TOPIC_ID if version >= 10 else ErrorCode.NONE
    assert _found(response, version) == {(t, 0): (5, 0), (t, 1): (-1, 0), (nope, 0): (-1, unknown)}


@pytest.mark.parametrize("version", range(2, 11))
def test_offset_fetch_of_all_topics_in_every_version_that_can(version):
    """By id, topics that are gone cannot be told and are left out."""
    node = Node()
    node.call(offset_commit, _commit({("t", 0): 5, ("u", 0): 6}), 9)
    image = node.broker.metadata.image
    node.broker.metadata.image = node._image([image.topics["t"], image.topics[CONSUMER_OFFSETS]])
    found = _found(node.call(offset_fetch, _fetch_v(version, None), version), version)
    assert found == ({(T_ID, 0): (5, 0)} if version >= 10 else {("t", 0): (5, 0), ("u", 0): (6, 0)})


def test_offset_fetch_of_several_groups_answers_each():
    """v8+: errors are the group's own."""
    node = Node()
    node.call(offset_commit, _commit({("t", 0): 5}, "a"), 9)
    topics = [OffsetFetchRequestTopics(name="t", partition_indexes=[0])]
    request = OffsetFetchRequest(
        groups=[OffsetFetchRequestGroup(group_id=group_id, topics=topics) for group_id in ("a", "b")]
    )
    response = node.call(offset_fetch, request, 9)
    assert [
        (group.group_id, group.error_code, group.topics[0].partitions[0].committed_offset)
        for group in response.groups
    ] == [("a", 0, 5), ("b", 0, -1)]


@pytest.mark.parametrize("version", [1, 2, 7, 8, 10])
def test_offset_fetch_says_errors_of_the_group_where_the_version_has_room(version):
    """v1 at each partition, v2-7 on top, v8+ at the group."""
    node = Node()
    node.bench.coordinator.on_resigned(0, 0)
    response = node.call(offset_fetch, _fetch_v(version, {"t": [0]}), version)
    wrong = ErrorCode.NOT_COORDINATOR
    if version == 1:
        assert _found(response, version) == {("t", 0): (-1, wrong)}
    elif version < 8:
        assert (response.error_code, response.topics) == (wrong, [])
    else:
        assert (response.groups[0].error_code, response.groups[0].topics) == (wrong, [])


def test_offset_delete_keeps_the_order_and_tells_what_does_not_exist():
    """UNKNOWN_TOPIC_OR_PARTITION beside what was deleted."""
    node = Node()
    node.call(offset_commit, _commit({("t", 0): 5, ("u", 0): 6}), 9)
    request = OffsetDeleteRequest(
        group_id="g",
        topics=[
            OffsetDeleteRequestTopic(
                name=name, partitions=[OffsetDeleteRequestPartition(partition_index=i) for i in indexes]
            )
            for name, indexes in (("nope", [0]), ("t", [7, 0]))
        ],
    )
    response = node.call(offset_delete, request, 0)
    missing = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert [[(p.partition_index, p.error_code) for p in topic.partitions] for topic in response.topics] == [
        [(0, missing)],
        [(7, missing), (0, 0)],
    ]
    assert set(node.bench.coordinator.group("g").offsets) == {("u", 0)}


def test_offset_delete_of_an_unknown_group_is_an_error_alone():
    """No topics beside it."""
    node = Node()
    request = OffsetDeleteRequest(
        group_id="nowhere",
        topics=[OffsetDeleteRequestTopic(name="t", partitions=[OffsetDeleteRequestPartition()])],
    )
    response = node.call(offset_delete, request, 0)
    assert (response.error_code, response.topics) == (ErrorCode.GROUP_ID_NOT_FOUND, [])


# -- groups ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(7))
def test_describe_groups_in_every_version(version):
    """In the order asked for; unknown groups are Dead, and an error since v6."""
    node = Node()
    node.stable("b")
    response = node.call(describe_groups, DescribeGroupsRequest(groups=["nowhere", "b"]), version)
    error = ErrorCode.GROUP_ID_NOT_FOUND if version >= 6 else ErrorCode.NONE
    assert [(group.group_id, group.group_state, group.error_code) for group in response.groups] == [
        ("nowhere", "Dead", error),
        ("b", "Stable", ErrorCode.NONE),
    ]
    assert response.groups[1].members[0].member_assignment == b"A"


@pytest.mark.parametrize("version", range(6))
def test_list_groups_in_every_version(version):
    """State since v4, type since v5, and filters with them."""
    node = Node()
    node.stable("a")
    node.call(offset_commit, _commit({("t", 0): 5}, "b"), 9)
    groups = node.call(list_groups, ListGroupsRequest(), version).groups
    assert [(group.group_id, group.protocol_type) for group in groups] == [("a", "consumer"), ("b", "")]
    if version >= 4:
        assert [group.group_state for group in groups] == ["Stable", "Empty"]
        filtered = node.call(list_groups, ListGroupsRequest(states_filter=["empty"]), version).groups
        assert [group.group_id for group in filtered] == ["b"]
    if version >= 5:
        assert {group.group_type for group in groups} == {"classic"}


@pytest.mark.parametrize("version", range(3))
def test_delete_groups_in_every_version(version):
    """A group named twice is answered once."""
    node = Node()
    node.stable("busy")
    node.call(offset_commit, _commit({("t", 0): 5}, "idle"), 9)
    request = DeleteGroupsRequest(groups_names=["idle", "busy", "nowhere", "idle"])
    response = node.call(delete_groups, request, version)
    assert [(result.group_id, result.error_code) for result in response.results] == [
        ("idle", ErrorCode.NONE),
        ("busy", ErrorCode.NON_EMPTY_GROUP),
        ("nowhere", ErrorCode.GROUP_ID_NOT_FOUND),
    ]


# -- FindCoordinator ---------------------------------------------------------------------------------------------


def _find(version, *keys, key_type=0):
    if version < 4:
        return FindCoordinatorRequest(key=keys[0], key_type=key_type)
    return FindCoordinatorRequest(coordinator_keys=list(keys), key_type=key_type)


def _places(response, version):
    """[(error, node, host, port)]"""
    entries = [response] if version < 4 else response.coordinators
    return [(entry.error_code, entry.node_id, entry.host, entry.port) for entry in entries]


@pytest.mark.parametrize("version", range(7))
def test_find_coordinator_in_every_version(version):
    """The leader of the group's partition, by the address of the listener that was asked."""
    node = Node()
    for listener, place in (("PLAIN", ("h1", 1111)), ("OTHER", ("h2", 2222))):
        response = node.call(find_coordinator, _find(version, "g"), version, listener)
        assert _places(response, version) == [(ErrorCode.NONE, 0, *place)]


def test_find_coordinator_of_several_keys_answers_each():
    """v4+ (KIP-699)."""
    node = Node()
    response = node.call(find_coordinator, _find(6, "a", "b"), 6)
    assert [entry.key for entry in response.coordinators] == ["a", "b"]


def test_find_coordinator_names_other_brokers_by_the_callers_listener():
    """Each group is where its partition of the offsets topic is led; without a leader it is nowhere for now."""
    node = Node()
    offsets = node.bench.image.topics[CONSUMER_OFFSETS]
    partitions = [offsets.partitions[0]._replace(leader=leader) for leader in (0, 1, -1)]
    image = node.broker.metadata.image
    other = image.brokers[0]._replace(
        id=1, endpoints={"PLAIN": Endpoint("h3", 3333), "OTHER": Endpoint("h4", 4444)}
    )
    node.broker.metadata.image = node.bench.image = image._replace(
        topics={**image.topics, CONSUMER_OFFSETS: offsets._replace(partitions=tuple(partitions))},
        brokers={**image.brokers, 1: other},
    )
    places = [(0, 0, "h2", 2222), (0, 1, "h4", 4444), (ErrorCode.COORDINATOR_NOT_AVAILABLE, -1, "", -1)]
    keys = [f"group-{at}" for at in range(20)]
    response = node.call(find_coordinator, _find(6, *keys), 6, "OTHER")
    expected = [places[node.broker.groups.partition_for(key)] for key in keys]
    assert set(expected) == set(places)
    assert _places(response, 6) == expected


@pytest.mark.parametrize("version", [0, 3, 4, 6])
async def test_find_coordinator_makes_the_offsets_topic_for_the_first_who_asks(version):
    """And waits for it; whoever asks later is answered at once."""
    node = Node(with_offsets_topic=False)
    outcome = node.send(find_coordinator, _find(version, "g"), version)
    assert inspect.iscoroutine(outcome)
    assert _places(await outcome, version) == [(ErrorCode.NONE, 0, "h1", 1111)]
    assert node.created == [CONSUMER_OFFSETS]
    assert _places(node.call(find_coordinator, _find(version, "g"), version), version)[0][0] == 0


async def test_find_coordinator_says_not_available_if_the_topic_cannot_be_made():
    """The client asks again."""
    node = Node(with_offsets_topic=False)

    async def refuse(names):
        error = ErrorCode.INVALID_REPLICATION_FACTOR
        return CreateTopicsResponse(topics=[CreatableTopicResult(name=names[0], error_code=error)])

    node.broker.controller.auto_create_topics = refuse
    response = await node.send(find_coordinator, _find(6, "g"), 6)
    assert _places(response, 6) == [(ErrorCode.COORDINATOR_NOT_AVAILABLE, -1, "", -1)]


def test_find_coordinator_does_not_send_clients_to_a_fenced_broker_or_an_unknown_listener():
    """COORDINATOR_NOT_AVAILABLE until there is somewhere to go."""
    node = Node()
    unavailable = [(ErrorCode.COORDINATOR_NOT_AVAILABLE, -1, "", -1)]
    assert _places(node.call(find_coordinator, _find(4, "g"), 4, "NOPE"), 4) == unavailable
    topics = list(node.broker.metadata.image.topics.values())
    node.broker.metadata.image = node._image(topics, fenced=True)
    assert _places(node.call(find_coordinator, _find(4, "g"), 4), 4) == unavailable


@pytest.mark.parametrize("version", range(1, 7))
def test_find_coordinator_refuses_transactions_for_good(version):
    """An error that Java and librdkafka both take as final, with words that say what is missing."""
    node = Node()
    response = node.call(find_coordinator, _find(version, "txn", key_type=1), version)
    assert _places(response, version) == [(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, -1, "", -1)]
    entry = response if version < 4 else response.coordinators[0]
    assert "Transactions are not served" in entry.error_message


@pytest.mark.parametrize("key_type", [2, 3, -1])
def test_find_coordinator_refuses_other_kinds_of_keys(key_type):
    """INVALID_REQUEST, as Kafka for a kind it does not know."""
    node = Node()
    response = node.call(find_coordinator, _find(6, "x", key_type=key_type), 6)
    assert _places(response, 6) == [(ErrorCode.INVALID_REQUEST, -1, "", -1)]
