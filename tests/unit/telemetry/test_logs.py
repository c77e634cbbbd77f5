"""Log lines are events with fields, as JSON or for people; repeats are held back and counted."""

import io
import json
import logging
import re

import pytest

from moldau_broker.base.broker_config import TelemetrySettings
from moldau_broker.telemetry.logs import (
    EVENT_LINES_MAX,
    REPEAT_WINDOW_SECONDS,
    REPEATS_MAX,
    HumanFormatter,
    JsonFormatter,
    LineHandler,
    configure_logging,
    emit_lines,
    level_name,
    logger_levels,
    set_logger_level,
)


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """Puts the root logger back after each test."""
    root, raising = logging.getLogger(), logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising


@pytest.fixture
def lines():
    """A logger writing JSON, what it wrote, its handler, and its clock."""

    class Lines:
        def __init__(self):
            self.stream = io.StringIO()
            self.now = 100.0
            self.handler = LineHandler(self.stream, JsonFormatter(), lambda: self.now)
            self.logger = logging.Logger("moldau_broker.test")  # noqa: LOG001 (one of its own, known to nobody)
            self.logger.addHandler(self.handler)

        def written(self):
            return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    return Lines()


def test_json_line_has_event_and_fields(lines):
    """One object a line: time in UTC, level, event, logger, then the fields as they are."""
    lines.logger.warning("connection.closed", extra={"peer": "10.0.0.1", "bytes": 5, "why": None})
    (line,) = lines.written()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("ts"))
    assert line == {
        "level": "warn",
        "event": "connection.closed",
        "logger": "moldau_broker.test",
        "peer": "10.0.0.1",
        "bytes": 5,
        "why": None,
    }


def test_json_line_stays_one_line(lines):
    """Line ends, quotes and objects in fields do not break the format."""
    lines.logger.info("x", extra={"text": 'a\n"b"', "object": {1, 2}.__class__})
    assert len(lines.stream.getvalue().splitlines()) == 1
    assert lines.written()[0]["text"] == 'a\n"b"'


def test_json_line_carries_the_stack(lines):
    """An exception's stack is a field."""
    try:
        int("boom")
    except ValueError:
        lines.logger.exception("request.failed")
    assert lines.written()[0]["exception"].endswith("'boom'")


def test_human_line_is_short():
    """Time, level, event, fields; values with blanks are quoted."""
    record = logging.makeLogRecord(
        {"levelno": logging.ERROR, "msg": "log.torn", "topic": "orders", "why": "bad crc", "empty": ""}
    )
    text = HumanFormatter().format(record)
    assert re.fullmatch(r'\d\d:\d\d:\d\d\.\d{3} error log\.torn topic=orders why="bad crc" empty=""', text)


def test_human_line_shows_the_stack_below():
    """A stack follows on lines of its own."""
    error = ValueError("boom")
    record = logging.makeLogRecord({"msg": "x", "levelno": 40, "exc_info": (ValueError, error, None)})
    assert HumanFormatter().format(record).endswith("error x\nValueError: boom")


def test_human_line_shows_a_watched_stack_below():
    """The frames of a stuck loop are read one below the other."""
    record = logging.makeLogRecord(
        {"msg": "event_loop.stalled", "levelno": 40, "stack": ["a.py:1 f", "b.py:2 g"]}
    )
    assert HumanFormatter().format(record).endswith("event_loop.stalled\n  a.py:1 f\n  b.py:2 g")


@pytest.mark.parametrize(
    "name", ["password", "ssl_key_password", "sasl_jaas_config", "clientSecret", "accessToken", "private_key"]
)
def test_fields_with_the_name_of_a_secret_are_hidden(lines, name):
    """Whoever logs one by mistake has not told it, in either format."""
    extra = {name: "hunter2", "user": "ann"}
    lines.logger.warning("auth.failed", extra=extra)
    human = HumanFormatter().format(logging.makeLogRecord({"msg": "auth.failed", "levelno": 30, **extra}))
    assert lines.written()[0][name] == "[hidden]"
    assert "hunter2" not in human + lines.stream.getvalue()
    assert "user=ann" in human


def test_repeats_are_held_back_and_told_of(lines):
    """Equal lines stop after a few, and the next one after the window says how many were not written."""
    for _ in range(50):
        lines.logger.warning("disk.slow", extra={"dir": "a"})
    assert len(lines.written()) == REPEATS_MAX
    lines.now += REPEAT_WINDOW_SECONDS
    lines.logger.warning("disk.slow", extra={"dir": "a"})
    assert lines.written()[-1]["suppressed"] == 50 - REPEATS_MAX
    assert "suppressed" not in lines.written()[0]
    assert lines.handler.limiter.suppressed == 50 - REPEATS_MAX
    assert lines.handler.lines["warn"] == 51


def test_lines_that_differ_are_not_repeats(lines):
    """Recovery says what it cut in each of a hundred logs."""
    for partition in range(100):
        lines.logger.warning("log.truncated", extra={"partition": partition})
    assert len(lines.written()) == 100


def test_flood_of_one_event_is_bounded(lines):
    """However its fields differ, one event writes so many lines in a window and no more; others go on."""
    for peer in range(EVENT_LINES_MAX + 500):
        lines.logger.warning("connection.closed", extra={"peer": peer})
    assert len(lines.written()) == EVENT_LINES_MAX
    lines.logger.warning("something.else")
    assert lines.written()[-1]["event"] == "something.else"


def test_limiter_memory_is_bounded(lines):
    """A million different lines leave a bounded number of windows behind."""
    for number in range(5000):
        lines.logger.warning("event", extra={"number": number})
    assert len(lines.handler.limiter._windows) <= 2000


def test_levels_have_names():
    """Five names; a level in between takes the one below."""
    assert [level_name(level) for level in (5, 10, 15, 20, 30, 40, 50, 99)] == [
        "debug", "debug", "debug", "info", "warn", "error", "fatal", "fatal",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "terminal", "json_lines"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("human", False, False)],
)
def test_configure_logging_chooses_the_form(form, terminal, json_lines):
    """auto is human on a terminal and JSON elsewhere; the others are what they say."""
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    configure_logging(TelemetrySettings(log_level="warn", log_format=form), stream)
    logging.getLogger("moldau_broker.some").info("quiet")
    logging.getLogger("moldau_broker.some").warning("loud")
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("{") == json_lines
    assert "loud" in line


def test_configure_logging_replaces_handlers():
    """Setting up twice does not write twice."""
    first, second = io.StringIO(), io.StringIO()
    configure_logging(TelemetrySettings(), first)
    configure_logging(TelemetrySettings(), second)
    logging.getLogger("moldau_broker.some").error("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_logger_levels_are_read_and_set_in_kafkas_words():
    """Loggers of ours and the root are listed; a level set holds until it is taken back."""
    configure_logging(TelemetrySettings(), io.StringIO())
    logging.getLogger("moldau_broker.some.part")
    logging.getLogger("other.library")
    levels = logger_levels()
    assert levels["root"] == "INFO"
    assert levels["moldau_broker.some.part"] == "INFO"
    assert "other.library" not in levels
    set_logger_level("moldau_broker.some.part", "TRACE")
    assert logger_levels()["moldau_broker.some.part"] == "DEBUG"
    set_logger_level("moldau_broker.some.part", None)
    assert logger_levels()["moldau_broker.some.part"] == "INFO"
    with pytest.raises(KeyError):
        set_logger_level("nobody", "INFO")
    with pytest.raises(KeyError):
        set_logger_level("root", "LOUD")


def test_lines_are_counted_as_metrics():
    """Lines by level, and those held back; nothing where logging was not set up by us."""
    from moldau_broker.telemetry.exposition import Exposition

    before, after = Exposition(), Exposition()
    emit_lines(before)
    assert before.text() == b""
    configure_logging(TelemetrySettings(), io.StringIO())
    for _ in range(5):
        logging.getLogger("moldau_broker.some").error("same")
    emit_lines(after)
    page = after.text().decode()
    assert 'moldau_log_lines_total{level="error"} 5' in page
    assert "moldau_log_lines_suppressed_total 2" in page
