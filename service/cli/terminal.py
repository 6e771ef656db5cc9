"""What the live displays have in common: a terminal's keys, and how a job's progress is shown."""

import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

Pressed = Callable[[float], str]

# What moves a terminal's cursor, colors it or rings its bell: escape sequences, then all the rest.
_CONTROLS = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)?|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)


def is_live(console: Console) -> bool:
    """Whether it can show what changes; else there are plain lines, without control codes."""
    return console.is_terminal and not console.is_dumb_terminal


def table(*columns: str, wide: Collection[str] = ()) -> Table:
    """A row to a line; what stands in the columns `wide` is cut off where there is no room."""
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, no_wrap=column not in wide, overflow="ellipsis")
    return made


def cell(text: str, style: str = "") -> Text:
    """What stands in a wide column: in one line, and without what would do anything else."""
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")


def printable(text: str) -> str:
    """Without what would do anything to a terminal: a job may print whatever it likes."""
    return _CONTROLS.sub("", text)


@contextmanager
def keys() -> Iterator[Pressed]:
    """What waits so many seconds for keys, and returns them; `""` where none was pressed.

    The terminal is left as it was found, however that ends.
    """
    try:
        typed_at = sys.stdin.fileno()
        before = termios.tcgetattr(typed_at)
    except (termios.error, ValueError):  # there is no terminal to be typed at
        yield _slept
        return

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([typed_at], [], [], seconds)
        return os.read(typed_at, 1024).decode(errors="replace") if ready else ""

    try:
        tty.setcbreak(typed_at)
        yield pressed
    finally:
        termios.tcsetattr(typed_at, termios.TCSADRAIN, before)


def _slept(seconds: float) -> str:
    time.sleep(seconds)
    return ""
