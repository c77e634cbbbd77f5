"""Scenarios of the controller as text, in `tests/transcripts/controller`: see `moldau_broker.testing.transcript`.

Commands stand in `COMMANDS`; a line is made for every record, and for every answer that is not plain success.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.drain import drain_broker
from moldau_broker.metadata.image import NO_LEADER, RECOVERING, MetadataImage, PartitionImage
from moldau_broker.testing.control import ControlBench
from moldau_broker.testing.transcript import check_transcript
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages import metadata_records as records
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from moldau_broker.wire.messages.elect_leaders import ElectLeadersRequest, TopicPartitions
from moldau_broker.wire.schema import Struct

FOLDER: Final = Path(__file__).parents[2] / "transcripts" / "controller"
FILES: Final = sorted(FOLDER.glob("*.txt"))


class Stage:
    """A controller and the words that move it."""

    def __init__(self) -> None:
        self.bench = ControlBench()
        self.bench.observe = self.wrote
        self.lines: list[str] = []

    def run(self, line: str) -> list[str]:
        """Carry out a command; the lines it made."""
        self.lines = []
        words = line.split()
        COMMANDS[words[0]](self, words[1:])
        return self.lines

    def wrote(self, before: MetadataImage, written: tuple[Struct, ...], after: MetadataImage) -> None:
        for record in written:
            self.lines.append(describe(record, before, after))

    def say(self, what: str, error: int, message: str | None = None) -> None:
        if error:
            self.lines.append(f"{what}: {ErrorCode(error).name}{f' ({message})' if message else ''}")

    # -- commands -----------------------------------------------------------------------------------------

    def brokers(self, words: list[str]) -> None:
        """`brokers 1 2 3@rack`: they come, and are unfenced."""
        for word in words:
            broker, _, rack = word.partition("@")
            self.bench.add_brokers(int(broker), racks={int(broker): rack} if rack else {})

    def topic(self, words: list[str]) -> None:
        """`topic t 1,2,3 2,3,1 min=2 unclean=true`: created with these replicas."""
        settings = dict(word.split("=") for word in words[1:] if "=" in word)
        configs = {NAMES[key]: value for key, value in settings.items()}
        self.bench.create_topic(words[0], [numbers(w) for w in words[1:] if "=" not in w], **configs)

    def kill(self, words: list[str]) -> None:
        """`kill 1`: the process is gone, and the controller is told."""
        self.bench.kill(int(words[0]))

    def start(self, words: list[str]) -> None:
        """`start 1 [clean] [wiped]`: a new incarnation registers and is unfenced."""
        broker = int(words[0])
        directory = broker + 100 if "wiped" in words else None
        self.say(
            "register", self.bench.register(broker, clean="clean" in words, directory=directory).error_code
        )
        self.bench.heartbeat(broker)

    def stop(self, words: list[str]) -> None:
        """`stop 1`: heartbeats that want to shut down, while the others learn what happens."""
        broker = int(words[0])
        for _ in range(3):
            answer = self.bench.heartbeat(broker, want_shut_down=True)
            if answer.should_shut_down:
                self.lines.append(f"{broker} may stop")
                return
            self.lines.append(f"{broker} must wait")
            for other in self.bench.image.brokers.values():
                if other.active:
                    self.bench.heartbeat(other.id)

    def isr(self, words: list[str]) -> None:
        """`isr t-0 1,2`: the leader asks for that ISR."""
        topic, index = place(words[0])
        answer = self.bench.alter_isr(topic, numbers(words[1]), index)
        self.say("AlterPartition", answer.error_code)

    def move(self, words: list[str]) -> None:
        """`move t-0 4,5,6` or `move t-0 cancel`."""
        topic, index = place(words[0])
        replicas = None if words[1] == "cancel" else numbers(words[1])
        partition = ReassignablePartition(partition_index=index, replicas=replicas)
        request = AlterPartitionReassignmentsRequest(
            topics=[ReassignableTopic(name=topic, partitions=[partition])]
        )
        answer = self.bench.ask(ApiKey.ALTER_PARTITION_REASSIGNMENTS, request).responses[0].partitions[0]
        self.say("AlterPartitionReassignments", answer.error_code, answer.error_message)

    def elect(self, words: list[str]) -> None:
        """`elect preferred t-0`."""
        topic, index = place(words[1])
        request = ElectLeadersRequest(
            election_type=["preferred", "unclean"].index(words[0]),
            topic_partitions=[TopicPartitions(topic=topic, partitions=[index])],
        )
        response = self.bench.ask(ApiKey.ELECT_LEADERS, request)
        answer = response.replica_election_results[0].partition_result[0]
        self.say("ElectLeaders", answer.error_code, answer.error_message)

    def drain(self, words: list[str]) -> None:
        """`drain 1`: move everything off it."""
        outcome = self.bench.run(lambda view: drain_broker(view, int(words[0])))
        if outcome.refused:
            self.lines.append(f"refused: {outcome.refused}")
        elif outcome.done:
            self.lines.append("done")

    def show(self, words: list[str]) -> None:
        """`show t-0`: how it is."""
        topic, index = place(words[0])
        self.lines.append(f"{words[0]} {whole(self.bench.partition(topic, index))}")


NAMES: Final = {"min": "min_insync_replicas", "unclean": "unclean_leader_election_enable"}
COMMANDS: Final[dict[str, Callable[[Stage, list[str]], None]]] = {
    "brokers": Stage.brokers,
    "drain": Stage.drain,
    "elect": Stage.elect,
    "isr": Stage.isr,
    "kill": Stage.kill,
    "move": Stage.move,
    "show": Stage.show,
    "start": Stage.start,
    "stop": Stage.stop,
    "topic": Stage.topic,
}


def numbers(word: str) -> list[int]:
    return [int(one) for one in word.split(",")]


def place(word: str) -> tuple[str, int]:
    topic, _, index = word.rpartition("-")
    return topic, int(index)


def many(ids: Any) -> str:
    return ",".join(map(str, ids)) or "nobody"


def whole(partition: PartitionImage) -> str:
    """A partition in one line; what is empty is left out."""
    leader = "no leader" if partition.leader == NO_LEADER else f"leader {partition.leader}"
    parts = [f"{leader} in epoch {partition.leader_epoch}"]
    parts.append(f"replicas {many(partition.replicas)}")
    parts.append(f"isr {many(partition.isr)}")
    lists = {name: getattr(partition, name) for name in ("adding", "removing", "elr", "last_known_elr")}
    parts += [f"{name} {many(value)}" for name, value in lists.items() if value]
    if partition.leader_recovery_state == RECOVERING:
        parts.append("RECOVERING")
    return ", ".join(parts)


def describe(record: Struct, before: MetadataImage, after: MetadataImage) -> str:
    match record:
        case records.RegisterBrokerRecord():
            return f"broker {record.broker_id} registered, fenced"
        case records.BrokerRegistrationChangeRecord(fenced=fenced, in_controlled_shutdown=leaving):
            words = {1: "fenced", -1: "unfenced"}.get(fenced, "leaving" if leaving else "?")
            return f"broker {record.broker_id} {words}"
        case records.UnregisterBrokerRecord():
            return f"broker {record.broker_id} unregistered"
        case records.TopicRecord():
            return f"topic {record.name}"
        case records.ConfigRecord():
            return f"{record.resource_name}: {record.name}={record.value}"
        case records.PartitionRecord() | records.PartitionChangeRecord():
            topic = after.topics_by_id[Uuid(record.topic_id)]
            verb = "made" if isinstance(record, records.PartitionRecord) else "changed"
            return (
                f"{topic.name}-{record.partition_id} {verb}: {whole(topic.partitions[record.partition_id])}"
            )
        case _:
            return type(record).__name__


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript_is_what_happens(path: Path) -> None:
    """The lines of the commands are the recorded ones."""
    check_transcript(path, Stage().run)


def test_transcripts_are_there() -> None:
    """A folder that was moved must not pass by holding nothing."""
    assert len(FILES) >= 4
