"""Having a horse's worker hear what its jobs print and log, in the horse."""

import contextlib
import ctypes
import io
import logging
import os
import sys
from typing import Any

from jobs.reporting import report_to
from service.execution.reporting.frames import Kind
from service.execution.reporting.pipes import REPORTS, STDERR, STDOUT
from service.execution.reporting.voice import Stage

# Looked up here, so that a horse does not pay for it.
_libc = ctypes.CDLL(None) if os.name == "posix" else None
_C_STDOUT = None
with contextlib.suppress(ValueError, AttributeError):
    _C_STDOUT = ctypes.c_void_p.in_dll(_libc, "stdout")  # type: ignore[arg-type]
_IOLBF = 1  # stdio.h: flush at the end of each line

_KINDS = {"stdout": Kind.STDOUT, "stderr": Kind.STDERR}
_WORKERS_OWN = "rq.worker"  # the logger of what runs jobs, which has a handler of its own


def capture_alone(pipes: dict[str, int]) -> Stage:
    """In a process that runs one job at a time: all that it and its children write."""
    _capture(pipes, waits=True)
    for number, name in ((1, STDOUT), (2, STDERR)):
        os.dup2(pipes[name], number)
        os.close(pipes[name])
    if _libc is not None and _C_STDOUT is not None:
        # What C code prints would else be kept back until it is a block, and be lost in a kill.
        _libc.setvbuf(_C_STDOUT, None, _IOLBF, 0)
    return _stage


def capture_together(pipes: dict[str, int]) -> Stage:
    """In a process that many jobs share: what Python writes, as far as it is known for whom.

    Nobody can tell whose the rest is. It goes where the worker's own output goes.
    """
    _capture(pipes, waits=False)
    return _stage


def renew_streams() -> None:
    """As they are to be when a job begins, whatever the one before has made of them."""
    for name, kind in _KINDS.items():
        stream = getattr(sys, name)
        if not isinstance(stream, _Stream) or stream.closed:
            setattr(sys, name, _Stream(_Raw(kind)))


def flush_streams() -> None:
    """What was printed and kept back: a horse ends without the interpreter's farewell."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    if _libc is not None:
        _libc.fflush(None)


def _capture(pipes: dict[str, int], *, waits: bool) -> None:
    _stage.mouth.open(pipes[REPORTS], waits=waits)
    report_to(_stage.voice)
    _listen_to_loggers()
    for name, stream in _streams.items():
        setattr(sys, name, stream)


def _listen_to_loggers() -> None:
    """What anybody logs, from INFO on."""
    root, consoles = logging.getLogger(), (sys.stdout, sys.stderr)
    # Else each record would be there twice: as what it is, and as printed.
    root.handlers = [
        handler
        for handler in root.handlers
        if not (isinstance(handler, logging.StreamHandler) and handler.stream in consoles)
    ]
    if root.level > logging.INFO:
        for handler in root.handlers:  # the worker's own output stays as quiet as it was
            handler.setLevel(max(handler.level, root.level))
        root.setLevel(logging.INFO)
    root.addHandler(_handler)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.name == _WORKERS_OWN:
            return
        try:
            text = self.format(record) + "\n"
            data = text.encode(errors="backslashreplace")
            _stage.voice_or_nobodys().write(Kind.LOG, data, record.levelname)
        except Exception:  # noqa: BLE001  # as every handler does; it prints where
            self.handleError(record)


class _Raw(io.RawIOBase):
    """Bytes for the worker; to all who ask for its number, it is the process's own output."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self._kind = kind
        self.name, self.mode = f"<{kind.name.lower()}>", "wb"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self._kind is Kind.STDOUT else 2

    def write(self, data: Any) -> int:
        written = bytes(data)
        _stage.voice_or_nobodys().write(self._kind, written)
        return len(written)


class _Stream(io.TextIOWrapper):
    """`sys.stdout` and `sys.stderr`. Nothing is kept back: a kill takes nothing along."""

    def __init__(self, raw: _Raw) -> None:
        super().__init__(raw, "utf-8", "backslashreplace", "\n", write_through=True)


# Made before anything is forked: each page that a horse writes to is copied, and these would take
# it half a millisecond.
_stage = Stage()
_handler = _Handler()
_streams = {name: _Stream(_Raw(kind)) for name, kind in _KINDS.items()}
