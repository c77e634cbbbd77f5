"""Log lines: one event each, as JSON or for people, repeats held back.

Code logs an event name and fields: `logger.warning("connection.closed", extra={"peer": ..., "reason": ...})`.
The name never holds values, so that it can be searched for and counted; field names must not be those of
`logging.LogRecord`. Nothing here imports more than the standard library's logging and json.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TextIO

from moldau_broker.base.broker_config import TelemetrySettings

if TYPE_CHECKING:
    from moldau_broker.telemetry.exposition import Exposition

_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LEVELS: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "fatal",
}
_NAMES: Final = {name: level for level, name in _LEVELS.items()}

REPEAT_WINDOW_SECONDS: Final = 10.0
REPEATS_MAX: Final = 3
"""Equal lines written per window; further ones are counted and told of with the next one after it."""

EVENT_LINES_MAX: Final = 200
"""Lines of one event per window, whatever their fields: a flood of peers must not fill the disk."""

_TRACKED_MAX: Final = 2000


_SECRET: Final = re.compile("password|passwd|secret|token|credential|private_?key|jaas", re.IGNORECASE)
HIDDEN: Final = "[hidden]"


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields given with `extra`. One whose name says that it is a secret is hidden, whoever logs it."""
    return {
        name: HIDDEN if _SECRET.search(name) else value
        for name, value in vars(record).items()
        if name not in _ATTRIBUTES
    }


def level_name(level: int) -> str:
    """debug, info, warn, error or fatal; the nearest below for levels in between."""
    return (
        _LEVELS.get(level)
        or _LEVELS[max((known for known in _LEVELS if known <= level), default=logging.DEBUG)]
    )


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts (UTC, RFC 3339), level, event, logger, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "ts": _timestamp(record.created),
            "level": level_name(record.levelno),
            "event": record.getMessage(),
            "logger": record.name,
        }
        line.update(fields_of(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class HumanFormatter(logging.Formatter):
    """`12:00:01.123 warn  connection.closed peer=127.0.0.1 reason=idle`, a stack below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        known = fields_of(record)
        stack = known.pop("stack", ())
        fields = "".join(f" {name}={_shown(value)}" for name, value in known.items())
        millis = int(record.created * 1000) % 1000
        line = f"{clock}.{millis:03d} {level_name(record.levelno):5} {record.getMessage()}{fields}"
        line += "".join(f"\n  {frame}" for frame in stack)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


def _shown(value: Any) -> str:
    text = str(value)
    if text and not any(character in text for character in ' "\n='):
        return text
    return json.dumps(text, ensure_ascii=False)


class RepeatLimiter:
    """Decides which lines are written. Time is an argument; memory is bounded."""

    __slots__ = ("_windows", "suppressed")

    def __init__(self) -> None:
        self._windows: OrderedDict[object, list[float]] = OrderedDict()  # key -> [began, written, suppressed]
        self.suppressed = 0

    def admit(self, record: logging.LogRecord, now: float) -> int | None:
        """How many lines like this one were held back before it; None if this one is held back too."""
        line = (record.name, record.msg, tuple(map(str, fields_of(record).items())))
        held_back = self._count(line, now, REPEATS_MAX)
        if held_back is None:
            return None
        of_event = self._count((record.name, record.msg), now, EVENT_LINES_MAX)
        return None if of_event is None else held_back + of_event

    def _count(self, key: object, now: float, most: int) -> int | None:
        window = self._windows.get(key)
        if window is None or now - window[0] >= REPEAT_WINDOW_SECONDS:
            held_back = int(window[2]) if window else 0
            self._windows[key] = [now, 1, 0]
            self._windows.move_to_end(key)
            if len(self._windows) > _TRACKED_MAX:
                self._windows.popitem(last=False)
            return held_back
        if window[1] < most:
            window[1] += 1
            return 0
        window[2] += 1
        self.suppressed += 1
        return None


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes admitted lines, and counts all of them by level."""

    def __init__(
        self, stream: TextIO, formatter: logging.Formatter, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self.limiter = RepeatLimiter()
        self.lines = dict.fromkeys(_LEVELS.values(), 0)
        self._now = now

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line unless it repeats others."""
        self.lines[level_name(record.levelno)] += 1
        held_back = self.limiter.admit(record, self._now())
        if held_back is None:
            return
        if held_back:
            record.suppressed = held_back
        super().emit(record)


def emit_lines(exposition: Exposition) -> None:
    """How many lines the process has logged, if `configure_logging` has set it up."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            for level, count in handler.lines.items():
                exposition.add("moldau_log_lines_total", count, level)
            exposition.add("moldau_log_lines_suppressed_total", handler.limiter.suppressed)


def configure_logging(settings: TelemetrySettings, stream: TextIO | None = None) -> LineHandler:
    """Send the process' log lines to `stream` (standard error), replacing what was set up before."""
    stream = sys.stderr if stream is None else stream
    form = settings.log_format
    human = form == "human" or (form == "auto" and stream.isatty())
    handler = LineHandler(stream, HumanFormatter() if human else JsonFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(_NAMES[settings.log_level])
    logging.raiseExceptions = False  # a full disk under the log must not end a request
    return handler


# --- levels at run time (the broker-logger resource of the config APIs) -----------------------------------

KAFKA_LEVELS: Final = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
}
ROOT_LOGGER: Final = "root"
_OURS: Final = "moldau_broker"


def logger_levels() -> dict[str, str]:
    """The level in force of the root logger and each of our loggers, in Kafka's words."""
    return {name: _kafka_level(logger.getEffectiveLevel()) for name, logger in _loggers()}


def set_logger_level(name: str, level: str | None) -> None:
    """Set a logger's level until the process ends; None lets it follow its parent again.

    Raises:
        KeyError: no such logger, or no such level.
    """
    logger = dict(_loggers())[name]
    logger.setLevel(logging.NOTSET if level is None else KAFKA_LEVELS[level])


def _loggers() -> Iterator[tuple[str, logging.Logger]]:
    yield ROOT_LOGGER, logging.getLogger()
    for name in sorted(logging.root.manager.loggerDict):
        if name == _OURS or name.startswith(f"{_OURS}."):
            yield name, logging.getLogger(name)


def _kafka_level(level: int) -> str:
    return {"debug": "DEBUG", "info": "INFO", "warn": "WARN", "error": "ERROR", "fatal": "FATAL"}[
        level_name(level)
    ]
