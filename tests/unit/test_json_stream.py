"""A body of many JSON texts comes apart in the same places, however it was cut into pieces."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.json_stream import ArrayItems, Lines
from service.errors import BodyTooLarge, MalformedBody

LONGEST = 10_000  # bytes

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text('"\\[]{},:n1 \n')
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
cuts = st.lists(st.integers(0, 10_000), max_size=20)
spaces = st.sampled_from(["", " ", "\n", "\t\r\n  "])


def pieces(body: bytes, at: list[int]) -> Iterator[bytes]:
    places = [0, *sorted(place % (len(body) + 1) for place in at), len(body)]
    return (body[start:end] for start, end in zip(places, places[1:], strict=False))


def taken_apart(
    splitter: Lines | ArrayItems, body: bytes, at: list[int]
) -> list[tuple[int, bytes]]:
    items = [item for piece in pieces(body, at) for item in splitter.feed(piece)]
    return [*items, *splitter.finish()]


def every_byte(body: bytes) -> list[int]:
    return list(range(len(body)))


@given(st.lists(values, max_size=6), cuts, spaces, st.booleans())
def test_the_items_of_an_array_are_its_items(
    given: list[Any], at: list[int], space: str, ascii_only: bool
) -> None:
    inner = f"{space},{space}".join(json.dumps(each, ensure_ascii=ascii_only) for each in given)
    body = f"{space}[{space}{inner}{space}]{space}".encode()
    for places in (at, every_byte(body)):
        items = taken_apart(ArrayItems(LONGEST), body, places)
        assert [json.loads(text) for _number, text in items] == given
        assert [number for number, _text in items] == list(range(1, len(given) + 1))


@given(st.lists(values, max_size=6), cuts, st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_the_lines_are_the_items(
    given: list[Any], at: list[int], newline: str, ends_with_one: bool
) -> None:
    body = newline.join(json.dumps(each, ensure_ascii=False) for each in given).encode()
    body += newline.encode() * ends_with_one
    for places in (at, every_byte(body)):
        items = taken_apart(Lines(LONGEST), body, places)
        assert [json.loads(text) for _number, text in items] == given
        assert [number for number, _text in items] == [
            1 + index * newline.count("\n") for index in range(len(given))
        ]


def is_json_array(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), list)
    except (ValueError, RecursionError):
        return False


def is_taken(body: bytes, at: list[int]) -> bool:
    try:
        for _number, text in taken_apart(ArrayItems(LONGEST), body, at):
            json.loads(text)
    except (ValueError, MalformedBody):
        return False
    return True


@given(st.text('[]{},"\\:1 a', max_size=30).map(lambda text: f"[{text}]".encode()), cuts)
def test_whatever_is_no_array_is_found_out_and_whatever_is_one_is_taken(
    body: bytes, at: list[int]
) -> None:
    """Cut apart, and each item parsed: as good as parsing it at once."""
    assert is_taken(body, at) == is_json_array(body)


@given(st.binary(max_size=50), cuts)
def test_bytes_of_any_kind_are_an_array_or_a_problem(body: bytes, at: list[int]) -> None:
    for splitter in (ArrayItems(LONGEST), Lines(LONGEST)):
        try:
            items = taken_apart(splitter, body, at)
        except MalformedBody:
            continue
        assert all(text in body for _number, text in items)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "ends before its array does, after 0 whole items"),
        (b"[", "ends before its array does"),
        (b'[{"n": 1}, {"n"', "after 1 whole items"),
        (b'["a', "ends before its array does"),
        (b'{"n": 1}', "not a JSON array"),
        (b"null", "not a JSON array"),
        (b"[1}", "closed by a brace"),
        (b"[1] [2]", "more after the array's end"),
        (b"[1],", "more after the array's end"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_no_array_is_refused(body: bytes, told: str, whole: bool) -> None:
    with pytest.raises(MalformedBody, match=told):
        taken_apart(ArrayItems(LONGEST), body, [] if whole else every_byte(body))


@pytest.mark.parametrize("body", [b"[,]", b"[1,]", b"[,1]", b"[1,,2]"])
def test_a_comma_too_many_makes_an_empty_item(body: bytes) -> None:
    assert b"" in [text for _number, text in taken_apart(ArrayItems(LONGEST), body, [])]


@pytest.mark.parametrize("splitter", [Lines, ArrayItems])
@pytest.mark.parametrize("ends", [True, False])
def test_an_item_that_is_too_long_is_refused_by_number_before_it_has_arrived(
    splitter: type[Lines] | type[ArrayItems], ends: bool
) -> None:
    small, large = b'{"a": 1}', b'{"a": "' + b"x" * LONGEST + (b'"}' if ends else b"")
    between = b"\n" if splitter is Lines else b","
    opening, closing = (b"" if splitter is Lines else b"["), (between if ends else b"")
    body = opening + small + between + large + closing
    with pytest.raises(BodyTooLarge) as told:
        taken_apart(splitter(LONGEST), body, list(range(0, len(body), 100)))
    assert told.value.extra == {splitter.unit: 2}


def test_what_is_held_is_one_item_at_most() -> None:
    splitter = ArrayItems(LONGEST)
    list(splitter.feed(b"["))
    for _ in range(1_000):
        list(splitter.feed(b'{"text": "' + b"x" * 900 + b'"},'))
        assert len(splitter._rest) < 1_000
