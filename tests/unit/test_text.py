"""Text that people type into forms and command lines, as the JSON that a task takes."""

import enum
import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from jobs.parameters import Parameters
from jobs.text import fields_to_json


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Node(BaseModel):
    name: str
    children: "list[Node]" = []


def everything(
    text: str = "",
    number: int = 0,
    flag: bool = False,
    anything: Any = None,
    maybe_text: str | None = None,
    maybe_numbers: list[int] | None = None,
    words: list[str] = [],  # noqa: B006
    pair: tuple[int, str] = (0, ""),
    node: Node | None = None,
    nodes: list[Node] = [],  # noqa: B006
    table: dict[str, list[int]] = {},  # noqa: B006
    level: Level = Level.LOW,
    size: Literal[1, 2, "huge"] = 1,
    sure: Literal[True] = True,
    digit: Literal["1", "2"] = "1",
    number_or_text: int | str = 0,
) -> None: ...


PARAMETERS = Parameters(everything)
LEAF = {"name": "leaf", "children": []}


@pytest.mark.parametrize(
    ("name", "values", "becomes"),
    [
        ("text", ["a=b&c"], "a=b&c"),
        ("text", [""], ""),
        ("text", ["5"], "5"),
        ("text", ["null"], "null"),
        ("text", ['{"a": 1}'], '{"a": 1}'),
        ("text", ["[1]"], "[1]"),
        ("text", ["\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")], "😀"),
        ("number", ["5"], 5),
        ("number", [" -5 "], -5),
        ("flag", ["true"], True),
        ("flag", ["on"], True),
        ("flag", ["0"], False),
        ("anything", ["5"], "5"),
        ("anything", ["{"], "{"),
        ("maybe_text", [""], None),
        ("maybe_text", ["null"], "null"),
        ("maybe_numbers", [""], None),
        ("maybe_numbers", ["1", "2"], [1, 2]),
        ("maybe_numbers", ["[1, 2]"], [1, 2]),
        ("words", ["one"], ["one"]),
        ("words", ["one", "two words", ""], ["one", "two words", ""]),
        ("words", [' ["one", "two"]'], ["one", "two"]),
        ("words", ["one", "[two"], ["one", "[two"]),
        ("pair", ["1", "x"], [1, "x"]),
        ("pair", ['[1, "x"]'], [1, "x"]),
        ("node", ['{"name": "leaf"}'], LEAF),
        ("node", [' {"name": "leaf"}'], LEAF),
        ("node", [""], None),
        ("nodes", ['[{"name": "leaf"}]'], [LEAF]),
        ("nodes", ['{"name": "leaf"}', '{"name": "leaf"}'], [LEAF, LEAF]),
        ("table", ['{"a": [1, 2]}'], {"a": [1, 2]}),
        ("level", ["2"], 2),
        ("size", ["2"], 2),
        ("size", ["huge"], "huge"),
        ("sure", ["true"], True),
        ("digit", ["2"], "2"),
        ("number_or_text", ["5"], "5"),
    ],
)
def test_a_field_becomes_what_its_parameter_takes(
    name: str, values: list[str], becomes: Any
) -> None:
    body = fields_to_json([(name, value) for value in values], PARAMETERS.schema)
    assert PARAMETERS.accept(body)[name] == becomes


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([("number", "1"), ("number", "2")], "number is given 2 times; it takes one value"),
        ([("node", "{}"), ("node", "{}")], "node is given 2 times; it takes one value"),
        ([("node", "{")], "node is not valid JSON: "),
        ([("words", "[1")], "words is not valid JSON: "),
        ([("nodes", '{"name": "leaf"}'), ("nodes", "{")], "nodes is not valid JSON: "),
        ([("words", "[" * 100_000)], "words is not valid JSON: "),
        ([("table", '{"a": ' + "9" * 5000 + "}")], "table is not valid JSON: "),
    ],
)
def test_what_can_not_be_read_is_refused_with_the_fields_name(
    pairs: list[tuple[str, str]], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        fields_to_json(pairs, PARAMETERS.schema)


def test_an_unknown_field_is_left_for_validation_to_refuse() -> None:
    assert json.loads(fields_to_json([("other", "1")], PARAMETERS.schema)) == {"other": "1"}


def test_no_fields_are_an_empty_object() -> None:
    assert fields_to_json([], PARAMETERS.schema) == b"{}"
    assert fields_to_json([], {}) == b"{}"
