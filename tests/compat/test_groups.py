"""Classic consumer groups of real clients: joining, leaving, crashing, every assignor, mixed families."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, Producer
from confluent_kafka.admin import AdminClient
from tests.compat.conftest import Broker, BrokerProcess
from tests.compat.members import ASSIGNORS, Member, eventually, start_member

pytestmark = pytest.mark.compat

PARTITIONS = 6
SHORT_SESSION_MS = 1_500
"""Of a member that is killed only: beside other tests one may get no processor for longer, and be taken for dead."""

SILENCE_MS = 120_000
"""For a member that says nothing while others go on: its session must not end before the test."""

Start = Callable[..., Member]


def marked(client: str, *rest: object) -> Any:
    return pytest.param(client, *rest, marks=[pytest.mark.java] if client == "java" else [])


@pytest.fixture(scope="module")
def broker_settings() -> dict[str, str]:
    """Sessions may be short, so that crashes are seen soon."""
    return {"group.min.session.timeout.ms": "1000"}


class Group:
    """One group on one topic, and the members a test starts in it."""

    def __init__(self, broker: Broker, folder: Path, tools: Callable[[], Any]) -> None:
        self.broker = broker
        self.name = f"group-{uuid.uuid4().hex[:8]}"
        self.topic = broker.create_topic(PARTITIONS)
        self.members: list[Member] = []
        self.sent: list[tuple[int, int]] = []
        self.admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        self._folder = folder
        self._tools = tools
        self._producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})

    def start(self, client: str, assignor: str, **options: Any) -> Member:
        member = start_member(
            client,
            self.broker.bootstrap,
            group=self.name,
            topic=self.topic,
            assignor=assignor,
            folder=self._folder,
            tools=self._tools() if client == "java" else None,
            **options,
        )
        self.members.append(member)
        return member

    def produce(self, each: int = 5) -> None:
        """So many records to every partition."""
        for partition in range(PARTITIONS):
            for _ in range(each):
                self._producer.produce(self.topic, b"x", partition=partition, on_delivery=self._delivered)
        assert self._producer.flush(20) == 0

    def _delivered(self, error: Any, message: Any) -> None:
        assert error is None
        self.sent.append((message.partition(), message.offset()))

    def shared_by(self, *members: Member, patience_s: float = 60) -> None:
        """Wait until these hold all partitions, each exactly one, and as evenly as may be."""

        def shared() -> bool:
            held = [member.assignment for member in members]
            sizes = sorted(map(len, held))
            return (
                sum(sizes) == PARTITIONS
                and len(frozenset().union(*held)) == PARTITIONS
                and sizes[-1] - sizes[0] <= 1
            )

        self.wait("partitions shared", shared, patience_s)

    def wait(self, what: str, condition: Callable[[], Any], patience_s: float = 60) -> None:
        """Wait for something; fails at once when a member ends by itself, and tells what the members said."""

        def healthy_and() -> bool:
            assert not [m.name for m in self.members if m.ended_by_itself]
            return bool(condition())

        try:
            eventually(what, healthy_and, patience_s)
        except AssertionError as error:
            told = "\n".join(
                f"{m.name}: {sorted(m.assignment)} {m.events[-8:]} {''.join(m.other_output[-8:])}"
                for m in self.members
            )
            raise AssertionError(f"{error}\n{told}") from None

    def all_read(self) -> None:
        """Wait until every record was read by somebody, and the group's positions say so.

        Members tell what they have read before they commit it: who is next must not begin in between.
        """
        self.wait("every record read", lambda: set(self.sent) <= {at for m in self.members for at in m.read})
        self.wait("commits at the end of each partition", lambda: self.committed() == self.ends())

    def ends(self) -> dict[int, int]:
        """The offset behind the last record of each partition that has any."""
        ends: dict[int, int] = {}
        for partition, offset in self.sent:
            ends[partition] = max(ends.get(partition, 0), offset + 1)
        return ends

    def committed(self) -> dict[int, int]:
        answer = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(self.name)])
        return {p.partition: p.offset for p in answer[self.name].result(20).topic_partitions}

    def state(self) -> ConsumerGroupState:
        return self.admin.describe_consumer_groups([self.name])[self.name].result(20).state


@pytest.fixture
def group(shared_broker: BrokerProcess, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Group]:
    made = Group(shared_broker, tmp_path, lambda: request.getfixturevalue("kafka_tools"))
    yield made
    for member in made.members:
        member.close()


@pytest.mark.parametrize(
    ("client", "assignor"), [marked(client, name) for client, names in ASSIGNORS.items() for name in names]
)
def test_members_join_leave_and_crash(group: Group, client: str, assignor: str) -> None:
    """Partitions follow the members; a clean leave loses and repeats nothing, a crash is seen by its session."""
    first = group.start(client, assignor)
    group.shared_by(first)
    group.produce()
    group.all_read()

    second = group.start(client, assignor)
    group.shared_by(first, second)
    group.produce()
    group.all_read()

    second.leave()
    group.shared_by(first)
    group.produce()
    group.all_read()
    assert Counter(at for member in group.members for at in member.read) == Counter(group.sent)

    third = group.start(client, assignor, session_ms=SHORT_SESSION_MS)
    group.shared_by(first, third)
    third.crash()
    group.shared_by(first)
    group.produce()
    group.all_read()
    first.leave()
    group.wait("the group is empty", lambda: group.state() == ConsumerGroupState.EMPTY)


@pytest.mark.java
@pytest.mark.parametrize(
    ("assignor", "clients"),
    [
        ("range", ("librdkafka", "aiokafka", "kafka-python", "java")),
        ("roundrobin", ("java", "librdkafka", "aiokafka", "kafka-python")),
        ("sticky", ("kafka-python", "java", "aiokafka")),
        ("cooperative-sticky", ("librdkafka", "java", "kafka-python")),
    ],
)
def test_families_share_one_group(group: Group, assignor: str, clients: tuple[str, ...]) -> None:
    """Members of different families split one topic, whoever of them leads, and hand over when the leader goes."""
    members = []
    for client in clients:
        members.append(group.start(client, assignor))
        group.wait("it has joined", lambda: group.members[-1].assignment)
    group.shared_by(*members)
    group.produce()
    group.all_read()

    members.pop(0).leave()
    group.shared_by(*members)
    group.produce()
    group.all_read()
    assert Counter(at for member in group.members for at in member.read) == Counter(group.sent)


# kafka-python waits for the join before it fetches again; Java's consumer fetches on but does not commit.
@pytest.mark.parametrize(("client", "commits"), [("librdkafka", True), marked("java", False)])
def test_cooperative_members_keep_working_during_a_rebalance(
    group: Group, client: str, commits: bool
) -> None:
    """While the group waits for a silent member to join, the others read and commit what they hold."""
    first = group.start(client, "cooperative-sticky")
    silent = group.start(client, "cooperative-sticky", session_ms=SILENCE_MS)
    group.shared_by(first, silent)
    kept = first.assignment

    silent.pause()
    third = group.start("librdkafka", "cooperative-sticky")
    group.wait("a rebalance begins", lambda: group.state() == ConsumerGroupState.PREPARING_REBALANCING)
    before = group.committed()
    group.produce()
    wanted = {at for at in group.sent if at[0] in kept}
    group.wait("records read during the rebalance", lambda: wanted <= set(first.read))
    if commits:
        group.wait(
            "commits during the rebalance",
            lambda: all(group.committed().get(p, 0) > before.get(p, 0) for p in kept),
        )
    assert group.state() == ConsumerGroupState.PREPARING_REBALANCING
    assert first.assignment == kept

    silent.resume()
    group.shared_by(first, silent, third)
    group.produce()
    group.all_read()


@pytest.mark.parametrize("client", ["librdkafka", "aiokafka", "kafka-python", marked("java")])
def test_static_member_returns_without_a_rebalance(group: Group, client: str) -> None:
    """Killed and started again within its session, it gets its partitions back and the others notice nothing."""
    assignor = "range"
    stays = group.start(client, assignor, instance="stays")
    returns = group.start(client, assignor, instance="returns")
    group.shared_by(stays, returns)
    held, events = returns.assignment, len(stays.said("partitions_assigned"))

    returns.crash()
    again = group.start(client, assignor, instance="returns")
    group.wait("its partitions are back", lambda: again.assignment == held)
    group.produce()
    group.all_read()
    assert len(stays.said("partitions_assigned")) == events
    assert {at for at in group.sent if at[0] in held} <= set(again.read)


def test_second_member_of_an_instance_fences_the_first(group: Group) -> None:
    """Two processes with one group.instance.id: the newer has it, the older is told so."""
    older = group.start("librdkafka", "range", instance="twin")
    group.shared_by(older)
    newer = group.start("librdkafka", "range", instance="twin")
    group.wait("the older is fenced", lambda: {"_FATAL"} & {event["error"] for event in older.said("error")})
    older.crash()
    group.shared_by(newer)
