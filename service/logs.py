"""Logs: one shape for the API, the workers, their horses and schedulers, and what runs them.

Lines to be read by people on a terminal, JSON objects for machines elsewhere. Where a record is
about a job or a request, it bears their ids: what is logged while one is dealt with does so by
itself, by `ABOUT`.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TextIO

from service.settings import Settings

#: What is being dealt with: fields of each record that is made meanwhile, in this context
ABOUT: ContextVar[Mapping[str, Any]] = ContextVar("about", default=MappingProxyType({}))

# RQ gives its own logger a level as it is imported, which would win over the root's.
_OF_RQ = ("rq.worker", "rq.job")
# They tell of their start and end at `info`, as Paddock does itself.
_WARN_ONLY = ("uvicorn", "asyncio", "opentelemetry")
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode  # to make one takes longer
_STANDARD = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime", "color_message"}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # which RQ puts into a message or two
_SHADES = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}


def configure_logs(settings: Settings) -> None:
    """Have this process, and those that it forks, log as the settings say, to stderr."""
    handler = logging.StreamHandler(_own_stderr())
    handler.setFormatter(_formatter(settings, is_terminal=handler.stream.isatty()))
    handler.addFilter(_say_what_about)
    level = getattr(logging, settings.log_level.upper())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    for name in _OF_RQ:
        logging.getLogger(name).setLevel(level)
    quiet = max(level, logging.WARNING) if level > logging.DEBUG else level
    for name in _WARN_ONLY:
        logging.getLogger(name).setLevel(quiet)


def _own_stderr() -> TextIO:
    """The process's own, also where what a job prints is made to go elsewhere."""
    try:
        number = os.dup(sys.stderr.fileno())
    except (OSError, AttributeError):  # it is no file
        return sys.stderr
    return os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace")


def _formatter(settings: Settings, *, is_terminal: bool) -> logging.Formatter:
    match settings.log_format:
        case "json":
            return JsonLines()
        case "pretty":
            return PrettyLines(in_colour=is_terminal)
        case _:
            return PrettyLines(in_colour=True) if is_terminal else JsonLines()


def _say_what_about(record: logging.LogRecord) -> bool:
    """As a filter of the handler: a logger's own would not see what its children log."""
    for name, value in ABOUT.get().items():
        record.__dict__.setdefault(name, value)
    return True


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, pid, what it is about, the error."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _COLOURS.sub("", record.getMessage()),
            "pid": record.process,
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return _encode(line)


class PrettyLines(logging.Formatter):
    """A time of the day and the message; the level where it is worth a look."""

    def __init__(self, *, in_colour: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._in_colour = in_colour

    def formatMessage(self, record: logging.LogRecord) -> str:  # logging's name
        parts = [self.formatTime(record, self.datefmt)]
        if record.levelno != logging.INFO:
            parts.append(self._level(record))
        if not record.name.startswith(("paddock", "rq.")):
            parts.append(f"{record.name}:")
        parts.append(record.message if self._in_colour else _COLOURS.sub("", record.message))
        if request_id := _fields(record).get("request_id"):
            parts.append(f"(request {request_id})")
        return " ".join(parts)

    def _level(self, record: logging.LogRecord) -> str:
        if not self._in_colour:
            return record.levelname
        return f"{_SHADES.get(record.levelno, '')}{record.levelname}\x1b[0m"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What it was logged with as `extra`, and what its context is about."""
    return {
        name: value
        for name, value in record.__dict__.items()
        if name not in _STANDARD and value is not None
    }


def _rfc3339(unix: float) -> str:
    text = datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
