"""Group APIs held against an Apache Kafka 4.3.1 broker, answer by answer, in every version.

`tests/data/kafka/group_transcript.txt` is what Kafka answered to the requests below. To record it anew, start a Kafka
with `group.initial.rebalance.delay.ms=300` and `auto.create.topics.enable=false`, set MOLDAU_COMPAT_ORACLE=host:port
and MOLDAU_RECORD_TRANSCRIPT=1, run this module, and review the difference. Only what may differ between two Kafkas is
evened out: random parts of ids, addresses, topic ids, and the order of entries where Kafka's comes from a hash map.
"""

import os
import re
import socket
import time
import uuid
from pathlib import Path

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.groups import subscription
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.codec import decode
from moldau_broker.wire.framing import decode_response_header, encode_request
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.delete_groups import DeleteGroupsRequest
from moldau_broker.wire.messages.describe_groups import DescribeGroupsRequest
from moldau_broker.wire.messages.find_coordinator import FindCoordinatorRequest
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from moldau_broker.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from moldau_broker.wire.messages.list_groups import ListGroupsRequest
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
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
from moldau_broker.wire.schema import Struct

pytestmark = pytest.mark.compat

TRANSCRIPT = Path(__file__).parent.parent / "data" / "kafka" / "group_transcript.txt"
IN_ORDER_S = 0.05
"""Kafka answers connections on several threads: requests that must arrive in order are sent this far apart."""
UNKNOWN_ID = bytes(15) + b"\x07"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEYED = ("topics", "partitions", "groups", "results")
"""Lists whose order Kafka takes from hash maps, at times."""


class Connection:
    """A client's connection: requests out, responses in, any number under way."""

    def __init__(self, address, client_id="app"):
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 15)
        self._client_id = client_id
        self._sent = []
        self._correlation_id = 0

    def send(self, key, version, request):
        self._correlation_id += 1
        self._sent.append((key, version))
        self._socket.sendall(encode_request(key, version, self._correlation_id, self._client_id, request))

    def receive(self):
        key, version = self._sent.pop(0)
        frame = self._exactly(int.from_bytes(self._exactly(4), "big"))
        _, at = decode_response_header(key, version, frame)
        response, end = decode(API_SCHEMAS[key].response, version, frame, at)
        assert end == len(frame)
        return response

    def call(self, key, version, request):
        self.send(key, version, request)
        return self.receive()

    def is_waiting(self, seconds=0.15):
        """Whether no answer comes for a while."""
        self._socket.settimeout(seconds)
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(15)

    def close(self):
        self._socket.close()

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            assert more, "the broker closed the connection"
            data += more
        return data


class Scene:
    """One section of the transcript: connections, names of its own, and what was answered."""

    def __init__(self, address):
        self.address = address
        self.lines = []
        self.connections = []
        self.prefix = f"x{uuid.uuid4().hex[:8]}."
        self.c = self.connect()
        self._names = {}
        topics = [
            CreatableTopic(name=self.prefix + name, num_partitions=count, replication_factor=1)
            for name, count in (("t", 3), ("u", 1))
        ]
        self.c.call(ApiKey.CREATE_TOPICS, 7, CreateTopicsRequest(timeout_ms=10_000, topics=topics))
        asked = [MetadataRequestTopic(name=topic.name) for topic in topics]
        found = self.c.call(ApiKey.METADATA, 12, MetadataRequest(topics=asked)).topics
        self.ids = {topic.name.removeprefix(self.prefix): topic.topic_id for topic in found}

    def connect(self, client_id="app"):
        self.connections.append(Connection(self.address, client_id))
        return self.connections[-1]

    def close(self):
        for connection in self.connections:
            connection.close()

    def note(self, label, what):
        """Write an answer (or any value) down."""
        self.lines.append(f"{label}: {self._even(what)}")

    def ask(self, label, key, version, request, on=None):
        """Ask, note the answer, give it."""
        response = (on or self.c).call(key, version, request)
        self.note(f"{label} v{version}", response)
        return response

    def warm_up(self, *groups):
        """Wait until the coordinator of these groups answers (Kafka loads for a moment after the topic is made)."""
        deadline = time.monotonic() + 20
        for group in groups:
            request = DescribeGroupsRequest(groups=[self.prefix + group])
            while self.c.call(ApiKey.DESCRIBE_GROUPS, 5, request).groups[0].error_code:
                self.c.call(ApiKey.FIND_COORDINATOR, 4, FindCoordinatorRequest(coordinator_keys=[group]))
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def _even(self, what):
        text = self._show(what)
        text = text.replace(self.prefix, "").replace(self.address.rpartition(":")[2], "PORT")
        return _UUID.sub(lambda match: self._names.setdefault(match[0], f"id{len(self._names)}"), text)

    def _show(self, what, field=""):
        """Only what differs from the default; errors by name."""
        if isinstance(what, Struct):
            fields = {name: getattr(what, name) for name in what.__schema__.declared}
            defaults = {name: declared.default for name, declared in what.__schema__.declared.items()}
            shown = [
                f"{name}={self._show(value, name)}"
                for name, value in fields.items()
                if value != defaults[name] and not (value == [] and defaults[name] == ())
            ]
            return f"({', '.join(shown)})"
        if isinstance(what, (list, tuple)):
            items = [self._show(item) for item in what]
            return f"[{', '.join(sorted(items) if field in _KEYED else items)}]"
        if field == "error_code":
            return ErrorCode(what).name
        if field == "topic_id":
            names = {topic_id: name for name, topic_id in self.ids.items()}
            return names.get(what, "unknown")
        if field == "error_message" and what and "Group" not in what:
            return "..."
        if isinstance(what, str) and len(what) > 100:
            return f"{len(what)} characters"
        return repr(what)

    # -- requests ------------------------------------------------------------------------------------------------

    def join_request(self, group, member_id="", **fields):
        request = {
            "group_id": self.prefix + group if group else "",
            "session_timeout_ms": 60_000,
            "rebalance_timeout_ms": 30_000,
            "member_id": member_id,
            "protocol_type": "consumer",
            "protocols": [self.protocol("range", "t")],
        }
        return JoinGroupRequest(**(request | fields))

    def protocol(self, name, *topics):
        return JoinGroupRequestProtocol(
            name=name, metadata=subscription(*(self.prefix + topic for topic in topics))
        )

    def join(self, label, group, member_id="", version=9, on=None, **fields):
        return self.ask(label, ApiKey.JOIN_GROUP, version, self.join_request(group, member_id, **fields), on)

    def send_join(self, on, group, member_id="", version=9, **fields):
        on.send(ApiKey.JOIN_GROUP, version, self.join_request(group, member_id, **fields))

    def sync_request(self, group, generation, member_id, shares=None, **fields):
        request = {
            "group_id": self.prefix + group if group else "",
            "generation_id": generation,
            "member_id": member_id,
            "protocol_type": "consumer",
            "protocol_name": "range",
            "assignments": [
                SyncGroupRequestAssignment(member_id=who, assignment=share)
                for who, share in (shares or {}).items()
            ],
        }
        return SyncGroupRequest(**(request | fields))

    def sync(self, label, group, generation, member_id, shares=None, version=5, on=None, **fields):
        request = self.sync_request(group, generation, member_id, shares, **fields)
        return self.ask(label, ApiKey.SYNC_GROUP, version, request, on)

    def heartbeat(self, label, group, generation, member_id, version=4, instance_id=None):
        request = HeartbeatRequest(
            group_id=self.prefix + group if group else "",
            generation_id=generation,
            member_id=member_id,
            group_instance_id=instance_id,
        )
        self.ask(label, ApiKey.HEARTBEAT, version, request)

    def leave(self, label, group, *members, version=5):
        identities = [
            who if isinstance(who, MemberIdentity) else MemberIdentity(member_id=who) for who in members
        ]
        request = LeaveGroupRequest(
            group_id=self.prefix + group if group else "",
            member_id=identities[0].member_id,
            members=identities,
        )
        self.ask(label, ApiKey.LEAVE_GROUP, version, request)

    def commit(self, label, group, offsets, version=9, **fields):
        """Offsets as {topic: [(partition, offset, metadata, leader epoch), ...]}."""
        by_id = version >= 10
        topics = [
            OffsetCommitRequestTopic(
                topic_id=self.ids.get(topic, UNKNOWN_ID) if by_id else bytes(16),
                name="" if by_id else self.prefix + topic,
                partitions=[
                    OffsetCommitRequestPartition(
                        partition_index=index,
                        committed_offset=offset,
                        committed_metadata=metadata,
                        committed_leader_epoch=epoch,
                    )
                    for index, offset, metadata, epoch in partitions
                ],
            )
            for topic, partitions in offsets.items()
        ]
        request = OffsetCommitRequest(group_id=self.prefix + group, topics=topics, **fields)
        self.ask(label, ApiKey.OFFSET_COMMIT, version, request)

    def fetch(self, label, group, topics, version, **fields):
        """Topics as {topic: [partition, ...]}, or None for all."""
        by_id = version >= 10
        if version < 8:
            old = topics and [
                OffsetFetchRequestTopic(name=self.prefix + name, partition_indexes=indexes)
                for name, indexes in topics.items()
            ]
            request = OffsetFetchRequest(
                group_id=self.prefix + group, topics=[] if topics == {} else old, **fields
            )
        else:
            new = topics and [
                OffsetFetchRequestTopics(
                    topic_id=self.ids.get(name, UNKNOWN_ID) if by_id else bytes(16),
                    name="" if by_id else self.prefix + name,
                    partition_indexes=indexes,
                )
                for name, indexes in topics.items()
            ]
            asked = OffsetFetchRequestGroup(group_id=self.prefix + group, topics=[] if topics == {} else new)
            request = OffsetFetchRequest(groups=[asked], **fields)
        self.ask(label, ApiKey.OFFSET_FETCH, version, request)

    def delete_offsets(self, label, group, topics):
        request = OffsetDeleteRequest(
            group_id=self.prefix + group if group else "",
            topics=[
                OffsetDeleteRequestTopic(
                    name=self.prefix + name,
                    partitions=[OffsetDeleteRequestPartition(partition_index=index) for index in indexes],
                )
                for name, indexes in topics.items()
            ],
        )
        self.ask(label, ApiKey.OFFSET_DELETE, 0, request)

    def delete_groups(self, label, *groups, version=2):
        request = DeleteGroupsRequest(groups_names=[self.prefix + group for group in groups])
        self.ask(label, ApiKey.DELETE_GROUPS, version, request)

    def describe(self, label, group, version=6, *, operations=False):
        """The group; its members by what they were assigned, as their order is a hash map's."""
        request = DescribeGroupsRequest(
            groups=[self.prefix + group], include_authorized_operations=operations
        )
        (found,) = self.c.call(ApiKey.DESCRIBE_GROUPS, version, request).groups
        members = sorted(
            (
                member.member_assignment,
                member.member_metadata.replace(self.prefix.encode(), b""),
                member.client_id,
                member.client_host,
                member.group_instance_id,
            )
            for member in found.members
        )
        error = (found.error_code, found.error_message, found.authorized_operations)
        state = (found.group_state, found.protocol_type, found.protocol_data)
        self.note(f"{label} v{version}", (*error, *state, members))

    def list_groups(self, label, version=5, states=(), types=()):
        request = ListGroupsRequest(states_filter=states, types_filter=types)
        response = self.c.call(ApiKey.LIST_GROUPS, version, request)
        ours = [group for group in response.groups if group.group_id.startswith(self.prefix)]
        self.note(f"{label} v{version}", (response.error_code, sorted(ours, key=lambda g: g.group_id)))

    # -- whole groups --------------------------------------------------------------------------------------------

    def generation(self, label, group, connections, ids, **fields):
        """Everybody joins; gives the answers, the leader's first, and brings connections and ids into that order."""
        for connection, member_id in zip(connections, ids, strict=True):
            self.send_join(connection, group, member_id, **fields)
            time.sleep(IN_ORDER_S)
        answers = [connection.receive() for connection in connections]
        order = sorted(range(len(ids)), key=lambda at: answers[at].leader != answers[at].member_id)
        connections[:], ids[:] = [connections[at] for at in order], [answers[at].member_id for at in order]
        answers = [answers[at] for at in order]
        for at, answer in enumerate(answers):
            protocol = (answer.protocol_type, answer.protocol_name)
            leads = (answer.leader == ids[0], answer.skip_assignment, len(answer.members))
            self.note(f"{label} member {at}", (answer.error_code, answer.generation_id, *protocol, *leads))
        return answers

    def stable(self, group, count=2):
        """A Stable group in generation 1: connections and ids, the leader's first."""
        connections = [self.connect() for _ in range(count)]
        ids = [self.join("new member", group, on=one).member_id for one in connections]
        self.generation("joined", group, connections, ids)
        shares = {member_id: b"share %d" % at for at, member_id in enumerate(ids)}
        for at, (one, member_id) in enumerate(zip(connections, ids, strict=True)):
            one.send(ApiKey.SYNC_GROUP, 5, self.sync_request(group, 1, member_id, {} if at else shares))
        for at, one in enumerate(connections):
            self.note(f"synced member {at}", one.receive())
        return connections, ids


# -- the sections ------------------------------------------------------------------------------------------------


def refusals(s):
    """Requests to groups without a name, to unknown groups, with senseless values; in every version."""
    s.warm_up("nowhere", "bad")
    for version in range(10):
        s.join("join unknown", "nowhere", "m", version)
        s.join("join nameless", "", version=version)
        s.join("join short session", "bad", version=version, session_timeout_ms=10)
    s.join("join without protocols", "bad", protocols=[])
    s.join("join without type", "bad", protocol_type="")
    for version in range(6):
        s.sync("sync unknown", "nowhere", 1, "m", version=version)
        s.sync("sync nameless", "", 1, "m", version=version)
        s.leave("leave unknown", "nowhere", "m", *(["n"] if version > 2 else []), version=version)
        s.leave("leave nameless", "", "m", version=version)
    s.sync("sync without protocol", "nowhere", 1, "m", protocol_type=None)
    for version in range(5):
        s.heartbeat("heartbeat unknown", "nowhere", 1, "m", version)
        s.heartbeat("heartbeat nameless", "", 1, "m", version)
    for version in range(7):
        s.describe("describe unknown", "nowhere", version)
    for version in range(3):
        s.delete_groups("delete unknown", "nowhere", "nowhere", version=version)
    s.delete_offsets("delete offsets unknown", "nowhere", {"t": [0]})
    s.delete_offsets("delete offsets nameless", "", {})


def stability(s):
    """A Stable group and everything one may ask of it."""
    s.warm_up("g")
    _, (leader, follower) = s.stable("g")
    for version in range(7):
        s.describe("describe", "g", version)
        s.describe("describe with operations", "g", version, operations=True)
    s.describe("describe unknown with operations", "nowhere", operations=True)
    s.heartbeat("heartbeat", "g", 1, leader)
    s.heartbeat("heartbeat next generation", "g", 2, leader)
    s.heartbeat("heartbeat stranger", "g", 1, "stranger")
    s.heartbeat("heartbeat of no instance", "g", 1, leader, instance_id="i")
    for version in range(6):
        s.sync("sync again", "g", 1, follower, version=version)
    s.sync("sync last generation", "g", 0, follower)
    s.sync("sync other protocol", "g", 1, follower, protocol_name="sticky")
    s.sync("sync other type", "g", 1, follower, protocol_type="connect")
    s.join("join other protocol", "g", protocols=[s.protocol("sticky", "t")])
    s.join("join other type", "g", protocol_type="connect")
    s.join("join stranger", "g", "stranger")
    s.join("join of no instance", "g", leader, group_instance_id="i")
    answer = s.c.call(ApiKey.JOIN_GROUP, 9, s.join_request("g", follower))
    s.note("follower joins again", (answer.error_code, answer.generation_id, answer.leader == leader))
    s.note("follower joins again", (answer.protocol_type, answer.protocol_name, len(answer.members)))
    s.delete_groups("delete busy", "g")
    s.delete_offsets("delete offsets in use", "g", {"t": [0, 1], "u": [0]})


def offsets(s):
    """Commits that are taken and refused, and what comes back; in every version."""
    s.warm_up("g", *(f"s{version}" for version in range(2, 11)))
    _, (leader, _) = s.stable("g")
    member = {"generation_id_or_member_epoch": 1, "member_id": leader}
    one = {"t": [(0, 1, "", 0)]}
    for version in range(2, 11):
        many = {
            "t": [(0, 10 + version, f"m{version}", version), (1, 1, None, -1), (9, 1, "", 0)],
            "nope": [(0, 1, "", 0)],
            "u": [(0, 5, "x" * 4096, 0)],
        }
        s.commit("commit", "g", many, version, **member)
        s.commit(
            "commit much metadata", "g", {"t": [(0, 99, "x" * 4097, 0), (2, 7, "", 0)]}, version, **member
        )
        s.commit(
            "commit next generation", "g", one, version, **(member | {"generation_id_or_member_epoch": 2})
        )
        s.commit("commit stranger", "g", one, version, **(member | {"member_id": "stranger"}))
        s.commit("commit simple", "g", one, version)
        s.commit("commit without generation", "g", one, version, member_id=leader)
        s.commit("commit without member", "g", one, version, generation_id_or_member_epoch=1)
        s.commit("commit unknown group", "nowhere", one, version, **member)
        s.commit("commit nothing known", "nowhere", {"nope": [(0, 1, "", 0)]}, version)
        s.commit("commit makes a group", f"s{version}", {"t": [(0, version, "", 0)]}, version)
    for version in range(1, 11):
        s.fetch("fetch", "g", {"t": [0, 1, 2, 9], "nope": [0], "u": [0]}, version)
        s.fetch("fetch stable", "g", {"t": [0]}, version, require_stable=True)
        s.fetch("fetch unknown", "nowhere", {"t": [0]}, version)
        s.fetch("fetch no topics", "g", {}, version)
        if version >= 2:
            s.fetch("fetch all", "g", None, version)
            s.fetch("fetch all unknown", "nowhere", None, version)


def rebalances(s):
    """A leader joins again, a stranger joins between join and sync, members change their minds."""
    s.warm_up("g")
    (one, two), (leader, follower) = s.stable("g")
    s.send_join(one, "g", leader)
    s.note("leader waits", one.is_waiting())
    s.heartbeat("heartbeat preparing", "g", 1, follower)
    s.sync("sync preparing", "g", 1, follower)
    commit = {"t": [(0, 77, "", 0)]}
    s.commit("commit preparing", "g", commit, generation_id_or_member_epoch=1, member_id=follower)
    s.describe("describe preparing", "g")
    s.send_join(two, "g", follower)
    answers = [one.receive(), two.receive()]
    s.note("generation", [(a.generation_id, a.leader == leader, len(a.members)) for a in answers])
    s.commit("commit completing", "g", commit, generation_id_or_member_epoch=2, member_id=follower)
    s.commit("commit of last generation", "g", commit, generation_id_or_member_epoch=1, member_id=follower)
    s.heartbeat("heartbeat completing", "g", 2, follower)
    for who, member_id in (("follower", follower), ("leader", leader)):
        a = s.c.call(ApiKey.JOIN_GROUP, 9, s.join_request("g", member_id))
        s.note(f"{who} joins again", (a.error_code, a.generation_id, a.leader == leader, len(a.members)))
    two.send(ApiKey.SYNC_GROUP, 5, s.sync_request("g", 2, follower))
    s.note("sync waits", two.is_waiting())
    s.describe("describe completing", "g")
    three = s.connect()
    new_id = s.join("new member", "g", on=three).member_id
    s.send_join(three, "g", new_id)
    s.note("waiting sync", two.receive())
    s.send_join(one, "g", leader)
    s.send_join(two, "g", follower, protocols=[s.protocol("range", "u")])
    answers = [connection.receive() for connection in (one, two, three)]
    s.note("generation", [(a.error_code, a.generation_id, len(a.members)) for a in answers])
    s.sync("leader syncs", "g", 3, leader, {leader: b"L", new_id: b"N", "ghost": b"G"}, on=one)
    s.sync("forgotten member syncs", "g", 3, follower, on=two)
    s.sync("new member syncs", "g", 3, new_id, on=three)


def departures(s):
    """Members leave; the group empties; its offsets and itself are deleted."""
    s.warm_up("g", "simple")
    (one, _, three), (leader, follower, third) = s.stable("g", 3)
    absent = MemberIdentity(member_id="", group_instance_id="none")
    s.leave("leave", "g", MemberIdentity(member_id=follower, reason="bye"), "stranger", absent)
    s.heartbeat("heartbeat of who left", "g", 1, follower)
    s.heartbeat("heartbeat of who stays", "g", 1, leader)
    s.generation("joined", "g", [one, three], [leader, third])
    s.leave("leave", "g", leader, version=0)
    s.leave("leave twice", "g", leader, version=2)
    s.leave("leave last", "g", third, version=4)
    s.describe("describe empty", "g")
    s.heartbeat("heartbeat empty", "g", 2, third)
    s.sync("sync empty", "g", 2, third)
    s.join("join empty with an id", "g", third)
    commit = {"t": [(0, 80, "", 0)], "u": [(0, 81, "", 0)]}
    s.commit("commit empty with a generation", "g", commit, generation_id_or_member_epoch=3, member_id=third)
    s.commit("commit empty", "g", commit)
    s.commit("commit simple", "simple", commit)
    s.delete_offsets("delete offsets", "g", {"t": [0, 1, 9], "nope": [0]})
    s.fetch("fetch all", "g", None, 9)
    for version in range(6):
        s.list_groups("list", version)
    s.delete_groups("delete", "g", "simple", "nowhere")
    s.describe("describe deleted", "g")
    s.fetch("fetch deleted", "simple", {"t": [0]}, 9)


def static_members(s):
    """Instances that come back, are fenced, lead and are removed (KIP-345, KIP-814)."""
    s.warm_up("g", "twice")
    one, two = s.connect(), s.connect()
    s.send_join(one, "g", group_instance_id="a")
    time.sleep(IN_ORDER_S)
    s.send_join(two, "g", group_instance_id="b")
    answers = {"a": one.receive(), "b": two.receive()}
    lead = next(name for name, a in answers.items() if a.leader == a.member_id)
    follow = "b" if lead == "a" else "a"
    leader, follower = answers[lead].member_id, answers[follow].member_id
    s.note("ids begin", [leader.startswith(lead + "-"), follower.startswith(follow + "-")])
    s.sync("leader", "g", 1, leader, {leader: b"L", follower: b"F"}, on=one, group_instance_id=lead)
    s.sync("follower", "g", 1, follower, on=two, group_instance_id=follow)
    for version in (9, 8, 6, 5):
        a = s.c.call(ApiKey.JOIN_GROUP, version, s.join_request("g", group_instance_id=follow))
        s.note(f"follower back v{version}", (a.error_code, a.generation_id, a.leader == leader))
        s.note(f"follower back v{version}", (len(a.members), a.skip_assignment, a.protocol_name))
        s.heartbeat("old heartbeat", "g", 1, follower, instance_id=follow)
        s.sync("old sync", "g", 1, follower, group_instance_id=follow)
        s.join("old join", "g", follower, group_instance_id=follow)
        s.heartbeat("old heartbeat without instance", "g", 1, follower)
        fields = {"generation_id_or_member_epoch": 1, "member_id": follower, "group_instance_id": follow}
        s.commit("old commit", "g", {"t": [(0, 1, "", 0)]}, **fields)
        identity = MemberIdentity(member_id=follower, group_instance_id=follow)
        error = s.c.call(
            ApiKey.LEAVE_GROUP, 5, LeaveGroupRequest(group_id=s.prefix + "g", members=[identity])
        ).members[0]
        s.note("old leave", ErrorCode(error.error_code).name)
        follower = a.member_id
        s.sync("new sync", "g", 1, follower, group_instance_id=follow)
    for version in (9, 8, 5):
        a = s.c.call(ApiKey.JOIN_GROUP, version, s.join_request("g", group_instance_id=lead))
        s.note(f"leader back v{version}", (a.error_code, a.generation_id, a.leader == a.member_id))
        s.note(f"leader back v{version}", (a.leader == leader, len(a.members), a.skip_assignment))
        leader = a.member_id
        s.sync("leader syncs", "g", 1, leader, {}, group_instance_id=lead)
    s.heartbeat("unknown instance", "g", 1, leader, instance_id="zzz")
    request = LeaveGroupRequest(
        group_id=s.prefix + "g",
        members=[MemberIdentity(group_instance_id=name) for name in (follow, "zzz")],
    )
    gone = s.c.call(ApiKey.LEAVE_GROUP, 5, request)
    s.note("removed by instance", [ErrorCode(member.error_code).name for member in gone.members])
    s.send_join(one, "twice", group_instance_id="i")
    time.sleep(IN_ORDER_S)
    s.send_join(two, "twice", group_instance_id="i")
    fenced, winner = one.receive(), two.receive()
    s.note("older of two", (ErrorCode(fenced.error_code).name, fenced.leader, fenced.protocol_name))
    s.note("younger of two", (winner.error_code, winner.generation_id, len(winner.members)))


def old_and_other_clients(s):
    """Joins before v4, and a group that is no consumer group."""
    s.warm_up("c", *(f"old{version}" for version in range(4)))
    for version in range(4):
        group = f"old{version}"
        one = s.connect()
        s.send_join(one, group, version=version)
        a = one.receive()
        s.note(f"join v{version}", (a.error_code, a.generation_id, a.leader == a.member_id, a.protocol_name))
        s.sync("sync", group, 1, a.member_id, {a.member_id: b"O"}, version=version)
        s.leave("leave", group, a.member_id, version=version)
    fields = {
        "protocol_type": "connect",
        "protocols": [JoinGroupRequestProtocol(name="default", metadata=b"raw")],
    }
    one = s.connect()
    member_id = s.join("worker", "c", on=one, **fields).member_id
    s.send_join(one, "c", member_id, **fields)
    s.note("worker generation", one.receive().generation_id)
    fields = {"protocol_type": "connect", "protocol_name": "default"}
    s.sync("worker syncs", "c", 1, member_id, {member_id: b"W"}, **fields)
    s.delete_offsets("delete offsets", "c", {"t": [0]})
    s.list_groups("list all")
    for states, types in (
        (["stable"], []),
        (["Empty"], ["classic"]),
        ([], ["consumer"]),
        (["nonsense"], []),
        ([], ["nonsense"]),
        (["STABLE", "empty"], ["CLASSIC"]),
    ):
        s.list_groups(f"list {states} {types}", states=states, types=types)


def protocol_choice(s):
    """The assignor that most members like best among those all of them speak."""
    s.warm_up("g")
    connections, ids = [], []
    offers = [["a", "b", "c"], ["c", "b", "a"], ["d", "b", "c"]]
    for offer in offers:
        connections.append(s.connect())
        protocols = [s.protocol(name, "t") for name in offer]
        ids.append(s.join("new member", "g", on=connections[-1], protocols=protocols).member_id)
    for connection, member_id, offer in zip(connections, ids, offers, strict=True):
        s.send_join(connection, "g", member_id, protocols=[s.protocol(name, "t") for name in offer])
    s.note("chosen", [connection.receive().protocol_name for connection in connections])


def coordinators(s):
    """Where groups are found, and unknown kinds of keys."""
    s.warm_up("g")
    for version in range(7):
        for kind in (0,) if version == 0 else (0, 3, -1):
            request = FindCoordinatorRequest(key="g", key_type=kind)
            if version >= 4:
                request = FindCoordinatorRequest(coordinator_keys=["g", ""], key_type=kind)
            s.ask(f"find kind {kind}", ApiKey.FIND_COORDINATOR, version, request)


SECTIONS = {
    section.__name__: section
    for section in (
        refusals,
        stability,
        offsets,
        rebalances,
        departures,
        static_members,
        old_and_other_clients,
        protocol_choice,
        coordinators,
    )
}


def _recorded():
    """Section -> its lines."""
    sections = {}
    for line in TRANSCRIPT.read_text().splitlines():
        if line.startswith("== "):
            lines = sections[line.removeprefix("== ")] = []
        else:
            lines.append(line)
    return sections


def _play(address, section):
    scene = Scene(address)
    try:
        SECTIONS[section](scene)
    finally:
        scene.close()
    return scene.lines


ALONE = {"refusals", "old_and_other_clients", "coordinators"}
"""Sections in which no two members found a group together."""


@pytest.fixture
def address(make_broker, section):
    """A broker whose groups wait long enough for more members, also beside other tests on a busy machine."""
    oracle = os.environ.get("MOLDAU_COMPAT_ORACLE")
    if oracle:
        return oracle
    delay_ms = "300" if section in ALONE else "2500"
    settings = {"group_initial_rebalance_delay_ms": delay_ms, "auto_create_topics_enable": "false"}
    return make_broker(**settings).bootstrap


@pytest.mark.parametrize("section", list(SECTIONS))
def test_group_answers_are_those_of_kafka(address, section):
    """Request by request, version by version."""
    if os.environ.get("MOLDAU_RECORD_TRANSCRIPT"):
        sections = _recorded() if TRANSCRIPT.exists() else {}
        sections[section] = _play(address, section)
        TRANSCRIPT.write_text(
            "".join(
                f"== {name}\n" + "".join(f"{line}\n" for line in lines) for name, lines in sections.items()
            )
        )
    assert _play(address, section) == _recorded()[section]
