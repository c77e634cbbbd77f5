"""The command people type, against a running broker: what it prints, where, and how it exits."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from moldau_broker.client.admin.topics import NewTopic, create_topics
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError
from moldau_broker.testing.cluster import ProcessCluster


@dataclass
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """JSON lines, one record each."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Cli:
    """Runs `moldau` as a process of its own, with a broker as its local cluster."""

    bootstrap: str

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "moldau_cli", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MOLDAU_BOOTSTRAP_SERVER": self.bootstrap, "PYTHONWARNINGS": "error"},
        )

    def __call__(self, *arguments: str, text: str = "", code: int = 0) -> Done:
        """Run to the end with `text` as input, and expect the exit code."""
        process = self.start(*arguments)
        out, err = process.communicate(text, timeout=60)
        assert process.returncode == code, f"moldau {' '.join(arguments)}\n{out}\n{err}"
        assert "Traceback" not in err
        return Done(process.returncode, out, err)


@pytest.fixture
def cli(shared_broker: Any) -> Cli:
    return Cli(shared_broker.bootstrap)


_names = count(1)


@pytest.fixture
def topic(cli: Cli) -> str:
    """A fresh topic of three partitions."""
    name = f"cli-{next(_names)}"
    cli("topic", "create", name, "--partitions", "3")
    return name


@pytest.fixture
def background(cli: Cli) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts commands that go on for ever; they end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        started.append(cli.start(*arguments))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def eventually(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


# topics


def test_topic_life(cli: Cli) -> None:
    """Create, see, alter, delete."""
    made = cli("topic", "create", "life", "-p", "2", "--set", "retention.ms=1000000")
    assert made.out == "topic life created: 2 partitions, replication factor 1\n"
    assert {t["name"]: t["state"] for t in cli("topic", "list", "-o", "json").json}["life"] == "ok"
    cli("topic", "alter", "life", "-p", "4", "--set", "segment.bytes=2000000", "--unset", "retention.ms")
    [about] = cli("topic", "describe", "life", "-o", "json").json
    assert about["settings"] == {"segment.bytes": "2000000"}
    assert [(p["partition"], p["leader"], p["in_sync"], p["troubles"]) for p in about["partitions"]] == [
        (number, 1, [1], []) for number in range(4)
    ]
    assert cli("topic", "delete", "life").out == "topic life deleted\n"
    assert "life" not in cli("topic", "list").out


def test_topic_create_reports_each_name(cli: Cli, topic: str) -> None:
    """What can be made is made; the exit code says that something was not."""
    done = cli("topic", "create", topic, "bad name", "cli-new", code=1)
    assert done.out == "topic cli-new created: 1 partition, replication factor 1\n"
    assert f"topic {topic} exists already" in done.err
    assert "bad name" in done.err
    assert len(done.err.splitlines()) == 2
    assert cli("topic", "create", topic, "--if-not-exists").out == f"topic {topic} exists\n"


def test_topic_dry_runs_change_nothing(cli: Cli, topic: str) -> None:
    """--dry-run asks the broker and leaves it at that."""
    assert "could be created" in cli("topic", "create", "cli-dry", "--dry-run").out
    cli("topic", "describe", "cli-dry", code=1)
    assert "could be altered" in cli("topic", "alter", topic, "-p", "9", "--dry-run").out
    [about] = cli("topic", "describe", topic, "-o", "json").json
    assert len(about["partitions"]) == 3


def test_topic_describe_for_people(cli: Cli, topic: str) -> None:
    """Facts, then a table; missing topics are told after what was found."""
    cli("produce", topic, "-p", "1", text="a\nb\n")
    done = cli("topic", "describe", topic, "nowhere", code=1)
    assert "records     2\n" in done.out
    row = next(line.split() for line in done.out.splitlines() if line.startswith("1 "))
    assert row[:7] == ["1", "1", "1", "1", "0", "2", "2"]
    assert row[-1] == "ok"
    assert done.err == "error: topic nowhere does not exist; see: moldau topic list\n"


@pytest.mark.timeout(180)
def test_topic_describe_says_since_when_a_replica_is_out_of_sync() -> None:
    """As its leader knows: from when it last had everything; after another was elected, only that it was before."""
    with ProcessCluster(roles=["controller", "broker", "broker", "broker"]) as cluster:
        cli = Cli(cluster.bootstrap)
        asyncio.run(_create_at(cluster.bootstrap, "t", [2, 3, 4]))
        cli("produce", "t", text="a\nb\n")

        def about() -> dict[str, Any]:
            [found] = cli("topic", "describe", "t", "-o", "json").json
            partition: dict[str, Any] = found["partitions"][0]
            return partition

        eventually(lambda: about()["in_sync"] == [2, 3, 4])
        assert about()["out_of_sync"] == {}
        cluster.kill(4)
        eventually(lambda: len(about()["in_sync"]) == 2)
        killed = datetime.now(UTC)
        cli("produce", "t", text="c\nd\ne\n")
        found = about()
        assert found["leader"] == 2
        one = found["out_of_sync"]["4"]
        assert datetime.fromisoformat(one["since"]) <= killed
        assert (one["since_before"], one["lag_records"]) == (None, 3)
        words = (
            f"broker 4 is down, out of sync for .* \\(since {one['since'][11:19]} UTC\\), 3 records behind"
        )
        assert re.search(words, cli("topic", "describe", "t").out)

        cluster.stop(2)
        cli = Cli(cluster.node(3).bootstrap)
        eventually(lambda: about()["leader"] == 3)
        one = about()["out_of_sync"]["4"]
        assert (one["since"], one["seconds"]) == (None, None)
        assert datetime.fromisoformat(one["since_before"]) > killed
        words = r"broker 4 is down, out of sync since before \d\d:\d\d:\d\d UTC, when broker 3 began to lead"
        assert re.search(words, cli("topic", "describe", "t").out)


async def _create_at(bootstrap: str, name: str, brokers: list[int]) -> None:
    async with Cluster(bootstrap) as cluster:
        made = await create_topics(cluster, [NewTopic(name=name, assignment={0: brokers})])
        assert not isinstance(made[name], ClientError)


def test_topic_settings_are_all_listed(cli: Cli, topic: str) -> None:
    """With value and source."""
    settings = cli("topic", "describe", topic, "--settings", "-o", "json").json[topic]
    assert settings["retention.ms"] == {"value": "604800000", "source": "DEFAULT"}
    assert "cleanup.policy" in cli("topic", "describe", topic, "--settings").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("topic", "alter", "{topic}", "-p", "2"), "INVALID_PARTITIONS"),
        (("topic", "alter", "{topic}", "--set", "no.such=1"), "no.such"),
        (("topic", "alter", "nowhere", "--set", "retention.ms=1"), "nowhere"),
        (("topic", "create", "cli-rf", "-r", "3"), "INVALID_REPLICATION_FACTOR"),
        (("topic", "delete", "nowhere"), "topic nowhere does not exist"),
        (("group", "describe", "nowhere"), "group nowhere does not exist"),
        (("group", "delete", "nowhere"), "group nowhere does not exist"),
        (("group", "reset", "nowhere", "--to", "latest"), "say where it shall stand with --topic"),
        (("group", "reset", "g", "--to", "latest", "--topic", "nowhere"), "topic nowhere does not exist"),
        (("consume", "nowhere"), "topic nowhere does not exist"),
        (("consume", "{topic}", "-p", "7"), "partition 7 of topic {topic} does not exist"),
        (("produce", "nowhere"), "topic nowhere does not exist; create it with moldau topic create nowhere"),
    ],
)
def test_failures_are_one_line_and_exit_1(
    cli: Cli, topic: str, arguments: tuple[str, ...], words: str
) -> None:
    """The line says what failed and what to do next."""
    done = cli(*(a.format(topic=topic) for a in arguments), text="x\n", code=1)
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert words.format(topic=topic) in done.err


# records


def test_produce_and_consume_lines(cli: Cli, topic: str) -> None:
    """What goes in comes out; without keys lines take turns over the partitions."""
    done = cli("produce", topic, text="a\nb\r\nc\nd")
    assert done.out == ""
    assert done.err.startswith(f"4 records written to {topic} in ")
    assert sorted(cli("consume", topic).out.split()) == ["a", "b", "c", "d"]
    spread = [r["partition"] for r in cli("consume", topic, "-o", "json").lines]
    assert sorted(spread) in ([0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2])


def test_produce_with_keys_keeps_them_together(cli: Cli, topic: str) -> None:
    """One key, one partition, in order; headers go with every record."""
    lines = "".join(f"k{n % 2}:v{n}\n" for n in range(10))
    cli("produce", topic, "-K", ":", "-H", "trace=1", text=lines)
    records = cli("consume", topic, "-o", "json").lines
    for key in ("k0", "k1"):
        mine = [r for r in records if r["key"] == key]
        assert len({r["partition"] for r in mine}) == 1
        assert [r["value"] for r in mine] == [f"v{n}" for n in range(int(key[1]), 10, 2)]
    assert all(r["headers"] == [{"key": "trace", "value": "1"}] for r in records)
    assert "k0=v0" in cli("consume", topic, "-K", "=").out


def test_json_lines_copy_a_topic(cli: Cli, topic: str) -> None:
    """Keys, nulls, bytes, headers, partitions and times survive consume | produce."""
    source = [
        {"key": "k", "value": "v", "headers": [{"key": "h", "value": "1"}], "partition": 0, "timestamp": 1},
        {"key": "k", "value": None, "headers": [], "partition": 1, "timestamp": 2},
        {"key": None, "value": {"base64": "/w=="}, "headers": [], "partition": 2, "timestamp": 3},
    ]
    cli("produce", topic, "--json", text="".join(json.dumps(line) + "\n" for line in source))
    copied = cli("consume", topic, "-o", "json").out
    cli("topic", "create", f"{topic}-copy", "-p", "3")
    cli("produce", f"{topic}-copy", "--json", "-z", "lz4", text=copied)
    again = cli("consume", f"{topic}-copy", "-o", "json").lines
    assert sorted(again, key=lambda r: r["partition"]) == [
        {"topic": f"{topic}-copy", "offset": 0, **line} for line in source
    ]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_produce_with_every_codec(cli: Cli, topic: str, codec: str) -> None:
    """The broker takes it and consume opens it."""
    lines = [f"value {n}" for n in range(500)]
    cli("produce", topic, "-p", "0", "-z", codec, text="\n".join(lines))
    assert cli("consume", topic, "-p", "0").out.splitlines() == lines


@pytest.mark.parametrize("acks", ["all", "1", "0"])
def test_produce_with_every_acks(cli: Cli, topic: str, acks: str) -> None:
    """Each way of asking for acknowledgement delivers."""
    cli("produce", topic, "--acks", acks, text="a\n")
    eventually(lambda: cli("consume", topic).out == "a\n")


def test_produce_auto_create_is_asked_for(cli: Cli) -> None:
    """A typing error makes no topic; --auto-create does."""
    cli("produce", "cli-auto", text="a\n", code=1)
    cli("produce", "cli-auto", "--auto-create", text="a\n")
    assert cli("consume", "cli-auto").out == "a\n"


def test_produce_names_the_bad_line(cli: Cli, topic: str) -> None:
    """Lines before it are written, the error says which one it was."""
    done = cli("produce", topic, "--json", text='{"value": "a"}\n{"valu": 1}\n', code=1)
    assert "line 2" in done.err
    assert cli("consume", topic).out == "a\n"


def test_produce_says_how_to_send_larger_records(cli: Cli, topic: str) -> None:
    """A record above the topic's limit is refused by the broker."""
    done = cli("produce", topic, text="x" * 2_000_000, code=1)
    assert "1 record not acknowledged" in done.err
    assert "--set max.message.bytes" in done.err


def test_consume_from_anywhere(cli: Cli, topic: str) -> None:
    """Offsets from both ends, times, partitions and a number of records."""
    lines = "".join(
        json.dumps({"value": f"v{n}", "partition": 0, "timestamp": 1_000_000_000_000 + n}) + "\n"
        for n in range(6)
    )
    cli("produce", topic, "--json", text=lines)
    one = ("consume", topic, "-p", "0")
    assert cli(*one, "--offset", "4").out.split() == ["v4", "v5"]
    assert cli(*one, "--offset", "-1").out.split() == ["v5"]
    assert cli(*one, "--offset", "latest").out == ""
    assert cli(*one, "--from-beginning", "-n", "2").out.split() == ["v0", "v1"]
    assert cli(*one, "--timestamp", "1000000000003").out.split() == ["v3", "v4", "v5"]
    assert cli(*one, "--timestamp", "2001-09-09T01:46:40.005Z").out.split() == ["v5"]
    assert cli("consume", topic, "-p", "1,2").out == ""


def test_consume_wide_shows_place_and_time(cli: Cli, topic: str) -> None:
    """One line for people with everything in it."""
    cli("produce", topic, "--json", text='{"key": "k", "value": "v", "partition": 2, "timestamp": 0}\n')
    assert cli("consume", topic, "-o", "wide").out == f"{topic}-2@0\t1970-01-01T00:00:00.000Z\tk\tv\n"


def test_consume_several_topics(cli: Cli, topic: str) -> None:
    """All there is in each."""
    cli("topic", "create", f"{topic}-b")
    cli("produce", topic, text="a\n")
    cli("produce", f"{topic}-b", text="b\n")
    assert sorted(cli("consume", topic, f"{topic}-b").out.split()) == ["a", "b"]


def test_consume_follows_until_interrupted(
    cli: Cli, topic: str, background: Callable[..., subprocess.Popen[str]]
) -> None:
    """--follow waits for new records, and Ctrl-C ends it with 130 and without a word."""
    cli("produce", topic, text="old\n")
    following = background("consume", topic, "--follow", "--from-beginning")
    assert following.stdout is not None
    assert following.stdout.readline() == "old\n"
    cli("produce", topic, text="new\n")
    assert following.stdout.readline() == "new\n"
    following.send_signal(signal.SIGINT)
    out, err = following.communicate(timeout=60)
    assert (following.returncode, out, err.strip()) == (130, "", "")


def test_consume_follows_new_partitions_too(
    cli: Cli, topic: str, background: Callable[..., subprocess.Popen[str]]
) -> None:
    """Following with a limit ends by itself when it is reached."""
    following = background("consume", topic, "--follow", "--from-beginning", "-n", "3")
    cli("produce", topic, text="a\nb\nc\nd\n")
    out, _ = following.communicate(timeout=60)
    assert following.returncode == 0
    assert len(out.split()) == 3


def test_consume_into_a_closed_pipe_is_no_error(cli: Cli, topic: str) -> None:
    """`moldau consume t | head -1` ends well."""
    cli("produce", topic, text="".join(f"value {n}\n" for n in range(50_000)))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m moldau_cli consume {topic} | head -1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "MOLDAU_BOOTSTRAP_SERVER": cli.bootstrap},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("value ")


# groups


def test_group_reads_on_where_it_stopped(cli: Cli, topic: str) -> None:
    """What was printed is committed, and nothing else."""
    cli("produce", topic, text="".join(f"v{n}\n" for n in range(9)))
    group = f"{topic}-g"
    first = cli("consume", topic, "-g", group, "-n", "4").out.split()
    [about] = cli("group", "describe", group, "-o", "json").json
    assert about["lag"] == 5
    assert about["lag_seconds"] > 0
    assert "5 records, " in cli("group", "describe", group).out
    second = cli("consume", topic, "-g", group).out.split()
    assert (len(first), sorted(first + second)) == (4, [f"v{n}" for n in range(9)])
    assert cli("consume", topic, "-g", group).out == ""


def test_top_shows_brokers_partitions_and_groups(cli: Cli, topic: str) -> None:
    """Without a terminal it prints once: what was just written is there, and so is the lag of who reads it."""
    cli("produce", topic, text="".join(f"v{n}\n" for n in range(9)))
    group = f"{topic}-g"
    cli("consume", topic, "-g", group, "-n", "4")
    report = cli("top", "-o", "json").json
    assert [broker["state"] for broker in report["brokers"]] == ["serving"] * len(report["brokers"])
    assert all(broker["memory_bytes"] > 2**20 for broker in report["brokers"])
    assert all(broker["cpu_percent"] >= 0 for broker in report["brokers"])
    assert report["under_replicated"] == report["offline"] == 0
    (about,) = [one for one in report["groups"] if one["group"] == group]
    assert about["lag_records"] == 5
    assert about["lag_seconds"] > 0
    assert group in cli("top").out


def test_group_describe_shows_who_reads_what(
    cli: Cli, topic: str, background: Callable[..., subprocess.Popen[str]]
) -> None:
    """A live member with its partitions; a group with members cannot be reset or deleted."""
    cli("produce", topic, text="a\nb\nc\n")
    group = f"{topic}-g"
    member = background("consume", topic, "-g", group, "--follow", "--from-beginning")
    assert member.stdout is not None
    for _ in range(3):
        member.stdout.readline()

    def settled() -> bool:
        [about] = cli("group", "describe", group, "-o", "json").json
        return about["state"] == "Stable" and about["lag"] == 0

    eventually(settled)
    [about] = cli("group", "describe", group, "-o", "json").json
    assert [p["partition"] for p in about["members"][0]["partitions"]] == [0, 1, 2]
    assert {o["trouble"] for o in about["offsets"]} == {None}
    table = cli("group", "describe", group).out
    assert "Stable" in table
    assert about["members"][0]["id"] in table
    refused = cli("group", "reset", group, "--to", "earliest", "--execute", code=1)
    assert "is stable with 1 member; stop its consumers first" in refused.err
    assert "still has members" in cli("group", "delete", group, code=1).err
    member.send_signal(signal.SIGTERM)
    assert member.wait(60) == 130
    eventually(lambda: cli("group", "describe", group, "-o", "json").json[0]["state"] == "Empty")


def test_group_reset(cli: Cli, topic: str) -> None:
    """Shown first, done with --execute; offsets outside the log move to its nearer end."""
    lines = "".join(
        json.dumps({"value": f"v{n}", "partition": n % 3, "timestamp": 1_000_000_000_000 + n}) + "\n"
        for n in range(9)
    )
    cli("produce", topic, "--json", text=lines)
    group = f"{topic}-g"
    cli("consume", topic, "-g", group)

    def reset(*arguments: str) -> list[tuple[int, int | None, int]]:
        done = cli("group", "reset", group, "-o", "json", *arguments)
        assert done.json["executed"] is ("--execute" in arguments)
        return [(o["partition"], o["from"], o["to"]) for o in done.json["offsets"]]

    assert reset("--to", "earliest") == [(0, 3, 0), (1, 3, 0), (2, 3, 0)]
    assert reset("--to", "99", "--topic", f"{topic}:1") == [(1, 3, 3)]
    assert reset("--to", "timestamp:1000000000004", "--execute") == [(0, 3, 2), (1, 3, 1), (2, 3, 1)]
    assert sorted(cli("consume", topic, "-g", group).out.split()) == ["v4", "v5", "v6", "v7", "v8"]
    shown = cli("group", "reset", group, "--to", "1", "--topic", f"{topic}:0")
    assert shown.out.splitlines()[1].split() == [topic, "0", "3", "1", "-2"]
    assert shown.err == "nothing was changed; to do it, add --execute\n"
    fresh = cli("group", "reset", f"{topic}-new", "--to", "latest", "--topic", topic, "--execute")
    assert fresh.err == f"group {topic}-new was reset\n"
    assert cli("consume", topic, "-g", f"{topic}-new").out == ""


def test_group_list_and_delete(cli: Cli, topic: str) -> None:
    """Listed with lag on demand; gone after delete."""
    group = f"{topic}-g"
    cli("produce", topic, text="a\nb\n")
    cli("consume", topic, "-g", group, "-n", "1")
    [listed] = [g for g in cli("group", "list", "--lag", "-o", "json").json if g["group"] == group]
    assert (listed["state"], listed["members"], listed["lag"]) == ("Empty", 0, 1)
    assert group in cli("group", "list").out
    assert cli("group", "delete", group, "-y").out == f"group {group} deleted\n"
    assert group not in cli("group", "list").out


def test_members_of_a_group_share(
    cli: Cli, topic: str, background: Callable[..., subprocess.Popen[str]]
) -> None:
    """Two members read every record once between them, and the one left takes over."""
    group = f"{topic}-g"
    members = [background("consume", topic, "-g", group, "-f", "--from-beginning") for _ in range(2)]

    def shared_out() -> bool:
        done = cli.start("group", "describe", group, "-o", "json").communicate(timeout=60)[0]
        about = json.loads(done)[0] if done else {"state": "", "members": []}
        shares = sorted(len(member["partitions"]) for member in about["members"])
        return about["state"] == "Stable" and shares == [1, 2]

    eventually(shared_out)
    cli("produce", topic, text="".join(f"v{n}\n" for n in range(30)))
    eventually(lambda: cli("group", "describe", group, "-o", "json").json[0]["lag"] == 0)
    for member in members:
        member.send_signal(signal.SIGINT)
    read = [line for member in members for line in member.communicate(timeout=60)[0].split()]
    assert sorted(read) == sorted(f"v{n}" for n in range(30))
