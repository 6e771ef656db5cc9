"""What the examples leave behind, so that it can be counted: a line for each thing done."""

import os
from pathlib import Path


def note(line: str) -> None:
    """Append a line to the file that EXAMPLES_JOURNAL names; short ones are written whole."""
    with Path(os.environ.get("EXAMPLES_JOURNAL", "journal.txt")).open("a") as journal:
        journal.write(line + "\n")


def noted() -> list[str]:
    """All lines so far."""
    journal = Path(os.environ.get("EXAMPLES_JOURNAL", "journal.txt"))
    return journal.read_text().splitlines() if journal.exists() else []


def fail_the_first_time(name: str) -> None:
    """What a mail server or a database does now and then."""
    if name.startswith("flaky") and f"tried {name}" not in noted():
        note(f"tried {name}")
        raise ConnectionError(f"{name}: try again later")
