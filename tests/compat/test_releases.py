"""What earlier releases left on a disk is opened by the code of today: everything is there, and it serves."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from confluent_kafka import Producer
from tests.compat.release_data import (
    RELEASES,
    pack,
    read_commits,
    read_records,
    read_topics,
    unpack,
    write_contents,
)

from moldau_broker.testing.broker import EmbeddedBroker, SkewedClock

pytestmark = pytest.mark.compat

ARCHIVES = sorted(RELEASES.glob("*.tar.xz"))
FOR_EVER = {"offsets.retention.minutes": str((1 << 31) - 1)}
YEARS_MS = 3 * 365 * 24 * 3_600_000
"""The fixture is opened as if it were years old, so that no release's stops to hold what it holds now."""


def aged() -> SkewedClock:
    clock = SkewedClock()
    clock.ahead_ms = YEARS_MS
    return clock


def test_this_release_is_among_them() -> None:
    """A release without its folder could never be tried again (CONTRIBUTING says how one is added)."""
    assert f"{version('moldau')}.tar.xz" in {archive.name for archive in ARCHIVES}


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda one: one.name.removesuffix(".tar.xz"))
def test_a_folder_of_an_earlier_release_is_opened_whole_and_serves(archive: Path, tmp_path: Path) -> None:
    """Cluster, topics, ids, every record byte for byte, commits; then new records, and a start after that."""
    folder, expected = unpack(archive, tmp_path)
    with EmbeddedBroker(FOR_EVER, data_dir=folder, clock=aged()) as broker:
        assert broker.cluster_id == expected["cluster_id"]
        assert read_topics(broker) == expected["topics"]
        assert {group: read_commits(broker, group) for group in expected["groups"]} == expected["groups"]
        before = broker.end_offset("orders", 1)
        producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True})
        producer.produce("orders", b"of today", partition=1)
        assert producer.flush(20) == 0
        broker.restart()
        records = read_records(broker, "orders", 1)
        assert [record[0] for record in records] == list(range(before + 1))
        assert records[-1][3] == "of today"
        assert records[:-1] == expected["topics"]["orders"]["partitions"][1]


def test_an_archive_holds_what_was_written(tmp_path: Path) -> None:
    """What makes archives works with the code of today too, so that the next release has one."""
    data = tmp_path / "made"
    data.mkdir()
    contents = write_contents(data)
    orders = contents["topics"]["orders"]["partitions"]
    assert sum(map(len, orders)) == 200
    assert contents["groups"]["billing"] == {"orders-0": 7, "orders-2": 21}
    pack(data, contents, tmp_path / "x.tar.xz")
    folder, expected = unpack(tmp_path / "x.tar.xz", tmp_path / "opened")
    assert expected == contents
    with EmbeddedBroker(FOR_EVER, data_dir=folder) as broker:
        assert read_topics(broker) == expected["topics"]
