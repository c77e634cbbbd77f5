"""`moldau up`, `status` and `down` as people and scripts use them: real processes, a real broker, a real client."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    ConfigResource,
    ResourceType,
)
from tests.compat.desk import PATIENCE_S, Desk, at_a_desk, is_alive, wait_until_gone

pytestmark = pytest.mark.compat


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A cluster of one node."""
    with at_a_desk(tmp_path) as desk:
        yield desk


def test_everything_serves_when_up_returns(desk: Desk) -> None:
    """The quickstart on one node: topics exist, the documented status shape, and `up` left no pipe open."""
    done = desk.up()
    assert done.stdout.splitlines()[-1] == f"demo serves at 127.0.0.1:{desk.port}"
    status = desk.status()
    pid = status["nodes"][0]["pid"]
    assert status["bootstrap"] == f"127.0.0.1:{desk.port}"
    total = status["partitions"]["total"]
    assert total >= 9, "the brokers' own count as well"
    assert status["nodes"] == [
        {
            "id": 0,
            "pid": pid,
            "kafka": f"127.0.0.1:{desk.port}",
            "http": f"127.0.0.1:{desk.port - 1000}",
            "state": "serving",
            "roles": ["broker", "controller"],
            "leaders": total,
            "replicas": total,
            "in_sync": total,
        }
    ]
    topics = [("orders", 6), ("payments", 3)]
    assert status["topics"] == [
        {
            "name": name,
            "partitions": partitions,
            "replicas": 1,
            "state": "ready",
            "under_replicated": 0,
            "offline": 0,
        }
        for name, partitions in topics
    ]
    assert status["groups"] == [{"id": "billing", "state": "Dead", "members": 0, "lag": None}]
    assert status["partitions"] == {"total": total, "under_replicated": 0, "offline": 0}
    assert b"moldau_broker.server" in Path(f"/proc/{pid}/cmdline").read_bytes(), "the broker process itself"
    metadata = desk.admin().list_topics(timeout=10)
    assert set(metadata.brokers) == {0}
    assert {"orders": 6, "payments": 3}.items() <= {
        name: len(topic.partitions) for name, topic in metadata.topics.items()
    }.items()
    assert desk.setting("payments", "cleanup.policy") == "compact"


def test_a_declared_group_shows_members_and_lag(desk: Desk) -> None:
    """Figures are fresh at every look."""
    desk.up()
    desk.produce("orders", 10)
    desk.consume(10)
    assert desk.group() == {"id": "billing", "state": "Empty", "members": 0, "lag": 0}
    desk.produce("orders", 5)
    assert desk.group()["lag"] == 5
    consumer = desk.consumer(desk.status()["bootstrap"])
    consumer.subscribe(["orders"])
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (group := desk.group())["state"] != "Stable":
            assert time.monotonic() < deadline, group
            consumer.poll(0.2)
        assert group["members"] == 1
    finally:
        consumer.close()


def test_an_edited_file_converges(desk: Desk) -> None:
    """More partitions, another setting, one removed, a topic added, one kept though it is not declared any more."""
    desk.up()
    desk.edit("orders", partitions=8, config={"retention.ms": 1000, "segment.ms": 60000})
    extra = {
        "apiVersion": "moldau.dev/v1alpha1",
        "kind": "Topic",
        "metadata": {"name": "refunds"},
        "spec": {"cluster": "demo", "partitions": 2},
    }
    desk.write([one for one in desk.documents if one["metadata"]["name"] != "payments"] + [extra])
    done = desk.up()
    assert "grow topic orders: partitions 6 -> 8" in done.stdout
    assert "topic payments is kept (deletionPolicy: Retain)" in done.stdout
    topics = {topic["name"]: (topic["partitions"], topic["state"]) for topic in desk.status()["topics"]}
    assert topics == {"orders": (8, "ready"), "refunds": (2, "ready"), "payments": (3, "unmanaged")}
    assert desk.setting("orders", "segment.ms") == "60000"
    desk.edit("orders", config={"retention.ms": 1000})
    desk.up()
    assert desk.setting("orders", "segment.ms") == "604800000"
    again = desk.up()
    assert again.stdout.splitlines() == [f"demo serves at 127.0.0.1:{desk.port}; nothing to change"]


def test_a_topic_with_delete_goes_with_its_resource(desk: Desk) -> None:
    """Only where the policy said so before."""
    desk.edit("payments", deletionPolicy="Delete")
    desk.up()
    desk.write([one for one in desk.documents if one["metadata"]["name"] != "payments"])
    desk.up()
    assert [topic["name"] for topic in desk.status()["topics"]] == ["orders"]


def test_fewer_partitions_are_refused_and_nothing_is_touched(desk: Desk) -> None:
    """One line says what and what to do; the rest of the file is carried out."""
    desk.up()
    pid = desk.node()["pid"]
    desk.edit("orders", partitions=2)
    desk.edit("payments", partitions=4)
    done = desk.up(code=1)
    assert "error: Topic orders: partitions is 2, but the topic has 6" in done.stderr
    assert (desk.topic("orders")["partitions"], desk.topic("orders")["state"]) == (6, "stalled")
    assert desk.topic("payments") == {"name": "payments", "partitions": 4, "replicas": 1, "state": "ready"}
    assert desk.node()["pid"] == pid


def test_a_bad_file_never_reaches_a_running_cluster(desk: Desk) -> None:
    """Exit 2, file and line; the instance goes on as it was."""
    desk.up()
    pid, good = desk.node()["pid"], desk.file.read_text()
    desk.file.write_text(good.replace("  partitions: 6", "  partitons: 6"))
    done = desk.up(code=2)
    line = next(
        number
        for number, text in enumerate(desk.file.read_text().splitlines(), 1)
        if text == "  partitons: 6"
    )
    assert done.stderr == (
        f"error: {desk.file}:{line}: Topic orders spec: partitons is not a known field; did you mean partitions?\n"
    )
    assert desk.node()["pid"] == pid
    assert desk.topic("orders")["state"] == "ready"


def test_too_many_nodes_are_refused_in_words(desk: Desk) -> None:
    """At the line that asks for them, before anything starts."""
    desk.edit("demo", replicas=17)
    done = desk.up(code=2)
    assert "Cluster demo spec.replicas: is 17, but more than 16 nodes" in done.stderr
    assert not desk.folder.exists()


def test_drift_is_reported_and_corrected(desk: Desk) -> None:
    """Somebody changes a setting behind the file: it is shown, then brought back."""
    desk.up()
    desk.set("orders", "retention.ms", "1000")
    assert desk.topic("orders")["state"] == "drifted"
    assert "changed behind its resource: retention.ms 1000 -> 604800000" in desk.moldau("status").stdout
    desk.eventually(lambda: desk.topic("orders")["state"] == "ready", "corrected")
    assert desk.setting("orders", "retention.ms") == "604800000"


def test_a_topic_deleted_behind_the_file_is_made_again_only_by_opt_in(desk: Desk) -> None:
    """First it is only said; with recreate it comes back, empty."""
    desk.up()
    admin = desk.admin()
    admin.delete_topics(["orders"])["orders"].result(10)
    assert (desk.topic("orders")["state"], desk.topic("orders")["partitions"]) == ("stalled", 0)
    done = desk.up(code=1)
    assert "topic orders was deleted behind its resource; set recreate: true" in done.stderr
    desk.edit("orders", recreate=True)
    desk.up()
    assert desk.topic("orders") == {"name": "orders", "partitions": 6, "replicas": 1, "state": "ready"}


def test_two_resources_that_claim_one_topic(desk: Desk) -> None:
    """The first in the file has it, the other says so."""
    rival = {
        "apiVersion": "moldau.dev/v1alpha1",
        "kind": "Topic",
        "metadata": {"name": "orders-again"},
        "spec": {"cluster": "demo", "topicName": "orders", "partitions": 9},
    }
    desk.write([*desk.documents, rival])
    done = desk.up(code=1)
    assert "Topic orders-again: topic orders belongs to Topic orders, which is older" in done.stderr
    assert desk.topic("orders")["partitions"] == 6


def test_a_killed_broker_comes_back_with_its_records(desk: Desk) -> None:
    """Same id, same address, another process; what was acknowledged is there."""
    desk.up()
    desk.produce("orders", 20)
    before = desk.node()
    os.kill(before["pid"], signal.SIGKILL)
    desk.eventually(
        lambda: desk.node()["state"] == "serving" and desk.node()["pid"] != before["pid"],
        "the broker is back",
    )
    after = desk.node()
    assert {**after, "pid": 0} == {**before, "pid": 0}
    desk.consume(20)


def test_status_while_the_broker_is_down(desk: Desk) -> None:
    """Exit 0, and an honest state: the broker hangs, and nothing is claimed of what it alone could tell.

    Its keeper ends it after 20 s, within which a busy machine may not have shown a status: the next one is stopped too.
    """
    desk.up()
    stopped: set[int] = set()
    shown: list[dict[str, Any]] = []

    def is_down() -> bool:
        shown.append(desk.status())
        node = shown[-1]["nodes"][0]
        if node["state"] != "down" and node["pid"] not in {None, *stopped}:
            stopped.add(node["pid"])
            with suppress(ProcessLookupError):
                os.kill(node["pid"], signal.SIGSTOP)
        return bool(stopped) and node["state"] == "down"

    desk.eventually(is_down, "the hang is noticed")
    (orders,) = (one for one in shown[-1]["topics"] if one["name"] == "orders")
    known = {name: orders[name] for name in ("name", "partitions", "replicas", "state")}
    assert known == {"name": "orders", "partitions": 6, "replicas": 1, "state": "unavailable"}
    (billing,) = (one for one in shown[-1]["groups"] if one["id"] == "billing")
    assert billing == {"id": "billing", "state": "Unknown", "members": 0, "lag": None}
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    desk.eventually(lambda: desk.node()["state"] == "serving", "it goes on")


def test_no_broker_survives_its_killed_keeper(desk: Desk) -> None:
    """kill -9 of the background process: the broker stops by itself, and the next `up` has its records."""
    desk.up()
    desk.produce("orders", 5)
    pid = desk.node()["pid"]
    os.kill(desk.keeper(), signal.SIGKILL)
    wait_until_gone(pid)
    assert desk.node() == {**desk.node(), "pid": None, "state": "down"}
    desk.up()
    desk.consume(5)


def test_a_changed_broker_setting_restarts_the_broker(desk: Desk) -> None:
    """With its reason, and only then."""
    desk.up()
    pid = desk.node()["pid"]
    desk.edit("demo", config={**desk.documents[0]["spec"]["config"], "fetch.max.bytes": 12345678})
    done = desk.up()
    assert "fetch.max.bytes unset -> 12345678" in done.stdout
    assert desk.node()["pid"] != pid
    resource, admin = ConfigResource(ResourceType.BROKER, "0"), desk.admin()
    assert admin.describe_configs([resource])[resource].result(10)["fetch.max.bytes"].value == "12345678"
    pid = desk.node()["pid"]
    desk.up()
    assert desk.node()["pid"] == pid


def test_offsets_are_reset_once(desk: Desk) -> None:
    """The wish is granted when it is new, and never again."""
    desk.up()
    desk.produce("orders", 10)
    desk.consume(10)
    desk.edit("billing", offsets={"reset": {"id": "again", "to": "earliest"}})
    done = desk.up()
    assert "reset offsets of group billing: reset again to earliest" in done.stdout
    assert desk.group()["lag"] == 10
    desk.consume(10)
    desk.up()
    assert desk.group()["lag"] == 0


def test_lag_has_an_age_and_force_resets_under_a_member(desk: Desk) -> None:
    """The brokers tell how long a record waits; a reset is refused while a member is active, unless it is forced."""
    desk.up()
    desk.produce("orders", 10)
    desk.consume(10)
    desk.produce("orders", 5)
    desk.edit("billing", maxLag={"seconds": 1})
    desk.up()
    desk.eventually(lambda: "seconds behind, allowed 1" in desk.kept(), "a lag older than a second")
    consumer = desk.consumer(desk.status()["bootstrap"])
    consumer.subscribe(["orders"])
    try:
        seen = consumer.consume(5, timeout=20)
        assert len(seen) == 5
        consumer.commit(asynchronous=False)
        desk.edit("billing", maxLag={"seconds": 3600}, offsets={"reset": {"id": "back", "to": "earliest"}})
        desk.up()
        desk.eventually(lambda: "stop its consumers to let reset back happen" in desk.kept(), "the refusal")
        assert (desk.group()["lag"], desk.group()["members"]) == (0, 1)
        desk.edit("billing", offsets={"reset": {"id": "back", "to": "earliest", "force": True}})
        desk.up()
        desk.eventually(lambda: desk.group()["lag"] == 15, "a forced reset")
    finally:
        consumer.close()


def test_two_instances_side_by_side(desk: Desk) -> None:
    """The second skips the first one's port and says so; without --data-dir both could be meant."""
    desk.up()
    desk.file.write_text(desk.file.read_text().replace("demo", "second"))
    second = desk.root / "moldau" / "second"
    done = desk.moldau("up", "-f", str(desk.file), "--detach", "--port", str(desk.port))
    assert done.returncode == 0, done.stderr
    assert f"port {desk.port} taken; node 0 listens on {desk.port + 1}" in done.stdout
    assert desk.moldau("status").returncode == 1
    assert "several instances run; choose one with --data-dir" in desk.moldau("status").stderr
    assert desk.status("--data-dir", str(second))["bootstrap"] == f"127.0.0.1:{desk.port + 1}"
    assert desk.status("--data-dir", str(desk.folder))["bootstrap"] == f"127.0.0.1:{desk.port}"


def test_a_deep_data_dir_works(desk: Desk, tmp_path: Path) -> None:
    """Deeper than a unix socket's path may be long."""
    deep = tmp_path.joinpath(*["deep-folder"] * 12)
    desk.moldau("up", "-f", str(desk.file), "--detach", "--data-dir", str(deep), "--port", str(desk.port))
    try:
        assert desk.status("--data-dir", str(deep))["nodes"][0]["state"] == "serving"
    finally:
        done = desk.moldau("down", "--wipe", "--data-dir", str(deep))
    assert done.returncode == 0, done.stderr
    assert not deep.exists()


def test_down_stops_and_wipe_removes(desk: Desk) -> None:
    """Down twice is fine; data stays until it is wiped; afterwards there is nothing."""
    desk.up()
    pid, keeper = desk.node()["pid"], desk.keeper()
    assert desk.moldau("down").stdout.startswith("demo is stopped\n")
    assert not is_alive(pid)
    assert not is_alive(keeper)
    assert desk.moldau("down").stdout.startswith("demo was not running\n")
    assert desk.node()["state"] == "down"
    desk.up()
    assert desk.topic("orders")["state"] == "ready"
    assert desk.moldau("down", "--wipe").returncode == 0
    assert not desk.folder.exists()
    missing = desk.moldau("status")
    assert missing.returncode == 1
    assert "there is no instance in" in missing.stderr


def test_a_broker_that_cannot_start_is_said_at_once(desk: Desk) -> None:
    """Exit 1 with its last words, and nothing left running."""
    desk.up()
    desk.moldau("down")
    (desk.folder / "nodes" / "0" / "data" / "meta.properties").write_text("version=1\nnode.id=77\n")
    done = desk.up(code=1)
    assert "node 0 does not start: it stopped with exit status 5" in done.stderr
    assert desk.node()["pid"] is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_foreground_prints_lines_and_stops_on_a_signal(desk: Desk, number: signal.Signals) -> None:
    """Without a terminal: plain lines, exit 0, nothing left."""
    command = [sys.executable, "-m", "moldau_cli", "up", "-f", str(desk.file), "--port", str(desk.port)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=desk.environment
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "serves at" in line:
                break
        pid = desk.node()["pid"]
        process.send_signal(number)
        rest, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, "".join(lines) + rest
    assert rest.splitlines()[-1] == f"demo is stopped; its data stays in {desk.folder}"
    assert not is_alive(pid)
    assert "\x1b" not in "".join(lines) + rest, "no terminal, no colours"


def test_a_second_up_hands_its_file_to_the_foreground_one(desk: Desk) -> None:
    """And returns; `down` from elsewhere ends the first one with exit 0."""
    command = [sys.executable, "-m", "moldau_cli", "up", "-f", str(desk.file), "--port", str(desk.port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=desk.environment)
    try:
        assert process.stdout is not None
        assert any("serves at" in line for line in iter(process.stdout.readline, ""))
        desk.edit("orders", partitions=7)
        done = desk.moldau("up", "-f", str(desk.file))
        assert done.returncode == 0, done.stderr
        assert desk.topic("orders")["partitions"] == 7
        assert desk.moldau("down").returncode == 0
        rest, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "grow topic orders: partitions 6 -> 7" in rest


def test_a_terminal_gets_a_live_view(desk: Desk) -> None:
    """Nodes, topics and groups are drawn; Ctrl-C ends it with exit 0."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "moldau_cli", "up", "-f", str(desk.file), "--port", str(desk.port)],
        stdin=child,
        stdout=child,
        stderr=child,
        env=desk.environment,
        start_new_session=True,
    )
    os.close(child)
    seen = b""
    try:
        while not all(word in seen for word in (b"serving", b"orders", b"billing", b"Ctrl-C stops")):
            seen += os.read(parent, 65536)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                seen += os.read(parent, 65536)
            except OSError:  # how Linux says that the terminal's other side is closed
                break
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    assert b"demo is stopped" in seen
