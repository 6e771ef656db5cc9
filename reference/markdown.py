"""The pieces of Markdown that the reference is made of."""

from collections.abc import Iterable, Iterator


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table; none where there is no row."""
    lines = [_row(row) for row in rows]
    if not lines:
        return
    headings = list(headings)
    yield _row(headings)
    yield _row("---" for _ in headings)
    yield from lines
    yield ""


def code(text: object) -> str:
    """As code, also in a table."""
    return f"`{text}`"


def sentence(text: str) -> str:
    """With a full stop at its end."""
    return text if not text or text.endswith((".", "?", ":")) else f"{text}."


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
