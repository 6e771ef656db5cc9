"""Many JSON texts in one body, taken apart as it arrives: lines, or the items of an array.

Nothing is parsed here. An item is cut out where its brackets close and its text ends, and whoever
reads it finds out whether it is JSON. So the work is in proportion to the body, and what is held
is one item, however the body was cut into pieces.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from service.errors import BodyTooLarge, MalformedBody

# What decides where an item ends: a string (whole, or one whose end is still to come), a bracket, a
# comma. Possessive, so that a long string is gone over once.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
_SPACE = b" \t\r\n"


class Item(NamedTuple):
    """One JSON text, and where it stood."""

    number: int  #: of its line, or its place in the array; from 1
    text: bytes


class Lines:
    """A JSON text a line (NDJSON); empty lines are passed over."""

    unit = "line"

    def __init__(self, longest: int) -> None:
        self._longest, self._rest, self._number = longest, b"", 0

    def feed(self, data: bytes) -> Iterator[Item]:
        """The lines that are complete with these bytes. Raises `BodyTooLarge`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from self._line(line)
        _refuse_long(self._rest, self._longest, self.unit, self._number + 1)

    def finish(self) -> Iterator[Item]:
        """What the body ended with. Raises `BodyTooLarge`."""
        yield from self._line(self._rest)

    def _line(self, line: bytes) -> Iterator[Item]:
        self._number += 1
        text = line.strip(_SPACE)
        _refuse_long(text, self._longest, self.unit, self._number)
        if text:
            yield Item(self._number, text)


class ArrayItems:
    """The items of one JSON array."""

    unit = "item"

    def __init__(self, longest: int) -> None:
        self._longest, self._rest, self._number = longest, b"", 0
        self._searched = 0  # bytes of `_rest` that hold no token that was not seen
        self._depth = 0  # 0 before the array, 1 between its items
        self._closed = False

    def feed(self, data: bytes) -> Iterator[Item]:
        """The items that are complete with these bytes.

        Raises `MalformedBody` where it is no array, and `BodyTooLarge`.
        """
        text = self._rest + data
        start, at = 0, self._searched
        if self._depth == 0:
            start = at = self._open(text)
        while self._depth and (token := _TOKEN.search(text, at)):
            at = token.end()
            match token[0]:
                case b"[" | b"{":
                    self._depth += 1
                case b"]" | b"}":
                    self._depth -= 1
                    if self._depth == 0:
                        yield from self._last(text[start : token.start()], token[0])
                        start = at
                case b"," if self._depth == 1:
                    yield self._item(text[start : token.start()])
                    start = at
                case b'"':  # its end is still to come
                    at = token.start()
                    break
        else:
            at = len(text)
        self._rest, self._searched = text[start:], at - start
        if self._closed and self._rest.strip(_SPACE):
            raise MalformedBody("The body is not valid JSON: there is more after the array's end.")
        _refuse_long(self._rest, self._longest, self.unit, self._number + 1)

    def finish(self) -> Iterator[Item]:
        """Raises `MalformedBody` where the array's end has not come."""
        if not self._closed:
            raise MalformedBody(
                "The body is not valid JSON: it ends before its array does, "
                f"after {self._number} whole items."
            )
        yield from ()

    def _open(self, text: bytes) -> int:
        begun = text.lstrip(_SPACE)
        if begun and not self._closed:
            if not begun.startswith(b"["):
                raise MalformedBody(
                    "The body is not a JSON array of parameter sets. Send one, or NDJSON with "
                    "`Content-Type: application/x-ndjson`."
                )
            self._depth = 1
            return len(text) - len(begun) + 1
        return len(text) - len(begun)

    def _last(self, text: bytes, bracket: bytes) -> Iterator[Item]:
        if bracket != b"]":
            raise MalformedBody("The body is not valid JSON: its array is closed by a brace.")
        self._closed = True
        if text.strip(_SPACE) or self._number:
            yield self._item(text)

    def _item(self, text: bytes) -> Item:
        self._number += 1
        text = text.strip(_SPACE)
        _refuse_long(text, self._longest, self.unit, self._number)
        return Item(self._number, text)


def _place(unit: str, number: int) -> dict[str, Any]:
    return {unit: number}


def _refuse_long(text: bytes, longest: int, unit: str, number: int) -> None:
    if len(text) > longest:
        raise BodyTooLarge(
            f"{unit.capitalize()} {number} has more than {longest} bytes (PADDOCK_MAX_BODY). "
            "Pass large data by reference: a file's path, or a URL.",
            **_place(unit, number),
        )
