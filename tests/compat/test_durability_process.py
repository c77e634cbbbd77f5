"""The process itself: how it stops, what it says while it recovers, and how it ends when it cannot run."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.compat.conftest import BrokerProcess
from tests.compat.hostile import fetch, produce, records

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.exit_codes import ExitCode
from moldau_broker.testing.broker import EmbeddedBroker
from moldau_broker.testing.raw import RawClient

MARKER = ".kafka_cleanshutdown"


def run(*settings: str) -> tuple[int, str]:
    """A broker that is expected to end by itself: exit status and what it said."""
    sets = [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "moldau_broker.server", *sets],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def anywhere(data: Path, **others: str) -> list[str]:
    settings = {
        "log.dirs": str(data),
        "listeners": "CLIENT://127.0.0.1:0,INTERNAL://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
        "http.port": "-1",
        **others,
    }
    return [f"{name}={value}" for name, value in settings.items()]


def test_an_orderly_stop_leaves_nothing_to_recover(make_broker: Callable[..., BrokerProcess]) -> None:
    """SIGTERM: exit status 0 and the clean marker; the next start takes it and scans nothing."""
    broker = make_broker()
    topic = broker.create_topic()
    with RawClient.to(broker.bootstrap) as client:
        for at in range(50):
            assert produce(client, topic, records(b"%d" % at), acks=1).error_code == ErrorCode.NONE
    assert not (broker.data / MARKER).exists()
    assert broker.stop() == ExitCode.CLEAN
    assert (broker.data / MARKER).exists()
    with EmbeddedBroker(data_dir=broker.data) as embedded:
        assert not (broker.data / MARKER).exists()
        report = embedded.ask(lambda inside: inside.replicas.partition(topic, 0).log.recovery)  # type: ignore[union-attr]
        assert report is not None
        assert (report.clean, report.scanned_bytes, report.cut_bytes) == (True, 0, 0)
        assert embedded.end_offset(topic) == 50
    broker.start()
    broker.kill()
    assert not (broker.data / MARKER).exists()
    with EmbeddedBroker(data_dir=broker.data) as embedded:
        report = embedded.ask(lambda inside: inside.replicas.partition(topic, 0).log.recovery)  # type: ignore[union-attr]
        assert report is not None
        assert not report.clean


def test_a_second_process_on_the_same_data_is_refused(make_broker: Callable[..., BrokerProcess]) -> None:
    """Exit status 3, and the first one goes on."""
    broker = make_broker()
    code, said = run(*anywhere(broker.data))
    assert code == ExitCode.DATA_LOCKED
    assert "in use" in said
    with RawClient.to(broker.bootstrap) as client:
        assert produce(client, broker.create_topic(), records()).error_code == ErrorCode.NONE


def test_a_taken_port_is_named(make_broker: Callable[..., BrokerProcess], tmp_path: Path) -> None:
    """Exit status 4, for a Kafka listener and for HTTP."""
    broker = make_broker()
    listeners = f"CLIENT://127.0.0.1:{broker.port},INTERNAL://127.0.0.1:0,CONTROLLER://127.0.0.1:0"
    for other in ({"listeners": listeners}, {"http.port": str(broker.http_port)}):
        code, said = run(*anywhere(tmp_path / "other", **other))
        assert code == ExitCode.PORT_TAKEN
        assert str(broker.port if "listeners" in other else broker.http_port) in said
        assert "Traceback" not in said


def test_bad_settings_are_all_named(tmp_path: Path) -> None:
    """Exit status 2: an unknown name with the nearest one, a bad value, several nodes; and nothing is created."""
    code, said = run(
        *anywhere(tmp_path / "data"),
        "num.partition=3",
        "log.retention.ms=soon",
        "controller.quorum.voters=1@localhost:1,2@localhost:2",
    )
    assert code == ExitCode.USAGE
    assert "num.partitions" in said
    assert "log.retention.ms" in said
    assert "more than one node" in said
    assert not (tmp_path / "data").exists()
    assert run("nothing")[0] == ExitCode.USAGE


def test_data_of_another_node_or_cluster_is_refused(make_broker: Callable[..., BrokerProcess]) -> None:
    """Exit status 5: a mistaken volume must not be written to."""
    broker = make_broker()
    broker.stop()
    for other in ({"node.id": "2"}, {"cluster.id": "MkU3OEVBNTcwNTJENDM2Qk"}):
        code, said = run(*anywhere(broker.data, **other))
        assert code == ExitCode.DATA_UNUSABLE, said
        assert "belongs to" in said
        assert "Traceback" not in said


def ready(port: int) -> tuple[int, Any] | None:
    """(status, body) of /readyz; None while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except OSError:
        return None
    finally:
        connection.close()


def grow(log: Path) -> int:
    """Fill a log that nobody has open with 120 MB of tiny batches, as some seconds of load would; gives the count.

    So much because the first page of a broker waits for its HTTP server's modules, which takes as long as half of it.
    """
    batch = records(bytes(70))
    count = 120_000_000 // len(batch)
    data = bytearray(batch * count)
    for at in range(count):
        data[at * len(batch) : at * len(batch) + 8] = at.to_bytes(8, "big")
    log.write_bytes(data)
    return count


def test_readyz_shows_how_recovery_comes_along(make_broker: Callable[..., BrokerProcess]) -> None:
    """503 with bytes scanned of bytes to scan, rising; then 200. Clients are served only then."""
    broker = make_broker()
    topic = broker.create_topic(1, segment_bytes=str(1 << 30))
    assert ready(broker.http_port) == (200, {"state": "serving", "ready": True})
    broker.kill()
    count = grow(broker.data / f"{topic}-0" / "00000000000000000000.log")
    # Below us in priority, so that we see it at work also where there is little processor for both.
    with broker.log.open("ab") as log:
        broker.process = subprocess.Popen(["nice", "-n", "10", *broker.command()], stdout=log, stderr=log)
    seen: list[Any] = []
    deadline = time.monotonic() + 60
    while not seen or not seen[-1]["ready"]:
        assert time.monotonic() < deadline
        answer = ready(broker.http_port)
        if answer is not None:
            status, body = answer
            # It serves a moment before its registration has come back in the metadata log, and says so.
            assert (status == 200) == body["ready"] == (body["state"] == "serving" and "reason" not in body)
            seen.append(body)
    recovering = [body["recovery"] for body in seen if body["state"] == "recovering" and "recovery" in body]
    assert recovering, f"only {seen}"
    scanned = [one["bytes_scanned"] for one in recovering if one["log"] == f"{topic}-0"]
    assert scanned == sorted(scanned)
    assert recovering[-1]["bytes"] >= scanned[-1] > 0
    with RawClient.to(broker.bootstrap) as client:
        assert fetch(client, topic, count - 1).records
        assert produce(client, topic, records()).base_offset == count
