"""Values from JSON to their types and back, nothing lost on the way."""

import base64
import dataclasses
import datetime as dt
import enum
import json
import uuid
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from jobs.parameters import Parameters, Result, ResultNotJSON
from tests.sample_tasks import describe


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Box(BaseModel):
    size: int
    label: str = "none"


@dataclasses.dataclass
class Pair:
    left: int
    right: int = 0


def everything(
    i: int,
    f: float,
    s: str,
    b: bool,
    when: dt.datetime,
    key: uuid.UUID,
    level: Level,
    mode: Literal["a", "b"],
    numbers: list[int],
    table: dict[str, float],
    box: Box,
    pair: Pair,
    raw: bytes,
    wait: dt.timedelta,
    maybe: Annotated[int, Field(ge=0)] | None = None,
) -> None: ...


@given(
    st.fixed_dictionaries(
        {
            "i": st.integers(-(2**62), 2**62),
            "f": st.floats(allow_nan=False, allow_infinity=False),
            "s": st.text(st.characters(codec="utf-8")),
            "b": st.booleans(),
            "when": st.datetimes(timezones=st.just(dt.UTC)).map(lambda d: d.isoformat()),
            "key": st.uuids().map(str),
            "level": st.sampled_from([1, 2]),
            "mode": st.sampled_from(["a", "b"]),
            "numbers": st.lists(st.integers(-(2**62), 2**62)),
            "table": st.dictionaries(st.text(st.characters(codec="utf-8")), st.floats(-1e9, 1e9)),
            "box": st.fixed_dictionaries({"size": st.integers(-(2**62), 2**62)}),
            "pair": st.fixed_dictionaries({"left": st.integers(-(2**62), 2**62)}),
            "raw": st.binary().map(lambda b: base64.urlsafe_b64encode(b).decode()),
            "wait": st.integers(0, 10**9).map(lambda seconds: f"PT{seconds}S"),
        }
    )
)
def test_what_is_accepted_is_what_the_task_gets(body: dict[str, Any]) -> None:
    parameters = Parameters(everything)
    accepted = parameters.accept(json.dumps(body).encode())
    # Through Redis as RQ carries it, and from there what a second acceptance would make of it.
    carried = json.loads(json.dumps(accepted))
    values = parameters.rebuild((), carried)
    assert parameters.accept(json.dumps(carried).encode()) == accepted
    assert values["i"] == body["i"] and values["s"] == body["s"] and values["f"] == body["f"]
    assert values["raw"] == base64.urlsafe_b64decode(body["raw"])
    assert values["when"] == dt.datetime.fromisoformat(body["when"])
    assert values["wait"].total_seconds() == int(body["wait"][2:-1])
    assert values["box"] == Box(size=body["box"]["size"])
    assert values["pair"] == Pair(body["pair"]["left"])
    assert (values["level"], values["maybe"]) == (Level(body["level"]), None)


def test_names_that_pydantic_models_use_themselves_are_fine_as_parameters() -> None:
    def awkward(json: int, copy: str, schema: dict[str, int], _private: int = 3) -> None: ...

    parameters = Parameters(awkward)
    body = b'{"json": 1, "copy": "x", "schema": {"a": 1}}'
    assert parameters.rebuild((), parameters.accept(body)) == {
        "json": 1,
        "copy": "x",
        "schema": {"a": 1},
        "_private": 3,
    }
    assert list(parameters.schema["properties"]) == ["json", "copy", "schema", "_private"]


def test_defaults_are_filled_in_when_a_job_is_accepted() -> None:
    accepted = describe.parameters.accept(b'{"count": 1}')
    assert accepted["color"] == "red" and accepted["point"] == {"x": 0.0, "y": 0.0}


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(number: bytes) -> None:
    with pytest.raises(ValidationError):
        describe.parameters.accept(b'{"count": 1, "ratio": ' + number + b"}")


def test_a_result_keeps_its_value_as_plain_json_data() -> None:
    def measure() -> dict[str, Pair]: ...

    assert Result(measure).dump({"a": Pair(1, 2)}) == {"a": {"left": 1, "right": 2}}


def test_a_result_with_half_a_surrogate_pair_is_refused_in_the_worker() -> None:
    def read() -> str: ...

    with pytest.raises(ResultNotJSON):
        Result(read).dump("\ud800")
