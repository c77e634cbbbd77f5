"""What the log tells of recovery and of the controller's decisions."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import BrokerImage, MetadataImage
from moldau_broker.server.events import ChangeLog, log_recovery
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.recovery import RecoveryReport

ID = Uuid(bytes([7]) * 16)


def _image(offset: int, *, fenced: bool) -> MetadataImage:
    return MetadataImage("c", offset, brokers={1: BrokerImage(1, 5, ID, fenced, False, None, {})})


@pytest.mark.parametrize(("active", "offset", "lines"), [(True, 3, 1), (False, 3, 0), (True, -1, 0)])
def test_change_log_is_kept_by_the_active_controller_alone(
    caplog: pytest.LogCaptureFixture, active: bool, offset: int, lines: int
) -> None:
    """Three nodes replay the same records; one tells of them, and only of what changed."""
    caplog.set_level(logging.INFO)
    after = _image(4, fenced=True)
    ChangeLog(lambda: active).follow(MetadataDelta(_image(offset, fenced=False), after), after)
    told = [record for record in caplog.records if record.getMessage() == "broker.fenced"]
    assert len(told) == lines
    assert all(record.levelno == logging.WARNING and vars(record)["broker"] == 1 for record in told)


def test_log_recovery_tells_cut_logs_and_the_whole(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each log that lost a torn tail, one for each that is out, and one for all."""
    caplog.set_level(logging.INFO)
    torn = RecoveryReport(clean=False, scanned_bytes=900, cut_bytes=40, cut_at=12, reason="torn")
    logs = {
        ("a", 0): SimpleNamespace(recovery=torn),
        ("a", 1): SimpleNamespace(recovery=RecoveryReport(clean=False, scanned_bytes=100)),
        ("a", 2): SimpleNamespace(recovery=None),
    }
    log_dir = SimpleNamespace(
        logs=logs, offline={("b", 0): StorageError("bad sector")}, damaged=["x"], was_clean=False
    )
    log_recovery(log_dir, 1500)  # type: ignore[arg-type]
    by_event = {record.getMessage(): vars(record) for record in caplog.records}
    assert set(by_event) == {"checkpoint.damaged", "log.recovered", "log.offline", "recovery.finished"}
    assert (by_event["log.recovered"]["partition"], by_event["log.recovered"]["cut_at"]) == (0, 12)
    assert by_event["log.offline"]["reason"] == "bad sector"
    whole = by_event["recovery.finished"]
    assert (
        whole["logs"],
        whole["offline"],
        whole["scanned_bytes"],
        whole["cut_bytes"],
        whole["elapsed_ms"],
    ) == (
        3,
        1,
        1000,
        40,
        1500,
    )
