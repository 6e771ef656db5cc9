"""What a job returned → how a page shows it: as a picture, a table, text or JSON."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

MOST_TEXT = 100_000  # characters of a result that a page shows
MOST_PICTURE = 8_000_000  # likewise, of a picture as base64
MOST_ROWS, MOST_COLUMNS = 200, 30

# What a browser decodes and does nothing else with: no SVG, which may hold scripts.
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_SHORTEST_PICTURE = 40  # characters; the smallest GIF has a few more

Kind = Literal["nothing", "picture", "table", "pairs", "text", "json"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One value. `content` is a data URL, rows, pairs or text, as `kind` has it."""

    kind: Kind
    content: Any = None
    columns: Sequence[str] = ()
    numeric: frozenset[int] = frozenset()  #: which of the columns hold numbers
    left_out: int = 0  #: rows of a table, or characters of text, that are not shown


def shown(value: Any) -> Shown:
    """How to show this plain data."""
    if value is None:
        return Shown("nothing")
    if isinstance(value, str):
        picture = _picture(value)
        return Shown("picture", picture) if picture else _text("text", value)
    if _is_table(value):
        return _table(value)
    if isinstance(value, dict) and value and len(value) <= MOST_COLUMNS:
        pairs = {name: _within(each) for name, each in value.items()}
        if any(each.kind == "picture" for each in pairs.values()) or all(
            map(_flat, value.values())
        ):
            return Shown("pairs", pairs)
    return _text("json", json.dumps(value, indent=2, ensure_ascii=False))


def _within(value: Any) -> Shown:
    if isinstance(value, str):
        return shown(value)
    return _text("json", json.dumps(value, ensure_ascii=False))


def _text(kind: Kind, text: str) -> Shown:
    return Shown(kind, text[:MOST_TEXT], left_out=max(len(text) - MOST_TEXT, 0))


def _flat(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _is_table(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(row, dict) and row for row in value)
        and all(_flat(cell) for row in value[:MOST_ROWS] for cell in row.values())
        and len({name for row in value[:MOST_ROWS] for name in row}) <= MOST_COLUMNS
    )


def _table(rows: list[dict[str, Any]]) -> Shown:
    first = rows[:MOST_ROWS]
    columns = list(dict.fromkeys(name for row in first for name in row))
    cells = [[_cell(row.get(name)) for name in columns] for row in first]
    numeric = frozenset(
        at for at in range(len(columns)) if all(_is_number(row[at]) for row in cells)
    )
    return Shown("table", cells, columns, numeric, len(rows) - len(first))


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool) else value


def _is_number(cell: Any) -> bool:
    return cell is None or isinstance(cell, int | float)


def _picture(text: str) -> str | None:
    """A data URL, where this is base64 of a picture, with or without `data:…;base64,` before it.

    It is made anew, of the type that the picture itself claims.
    """
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            return None
    if not _SHORTEST_PICTURE <= len(text) <= MOST_PICTURE:
        return None
    try:
        # pydantic writes bytes with - and _, most others with + and /.
        begins = base64.b64decode(text[:16].replace("-", "+").replace("_", "/"), validate=True)
        kind = _type_of(begins)
        if kind is None:
            return None
        plain = text.replace("-", "+").replace("_", "/")
        base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        return None
    return f"data:{kind};base64,{plain}"


def _type_of(begins: bytes) -> str | None:
    if begins[:4] == b"RIFF" and begins[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC.items() if begins.startswith(magic)), None)
