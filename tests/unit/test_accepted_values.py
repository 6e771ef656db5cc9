"""Calls within Python: the values of a function's arguments, to what a job carries."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from jobs.parameters import Parameters
from tests.sample_tasks import Address, Color, Point, describe, echo

TEXT = st.text(st.characters(codec="utf-8"))
NUMBERS = st.integers(-(2**62), 2**62)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "count": st.integers(0, 2**62),
    "ratio": FLOATS,
    "name": TEXT,
    "flag": st.booleans(),
    "when": st.none() | st.datetimes(timezones=st.just(dt.UTC)) | st.datetimes(),
    "key": st.none() | st.uuids(),
    "color": st.sampled_from(Color),
    "mode": st.sampled_from(["fast", "slow"]),
    "tags": st.lists(TEXT),
    "sizes": st.dictionaries(TEXT, NUMBERS),
    "address": st.none() | st.builds(Address, street=TEXT, number=st.integers(1, 2**62)),
    "point": st.builds(Point, FLOATS, FLOATS),
    "blob": st.binary(),
}
SOME = st.fixed_dictionaries(
    {"count": VALUES["count"]},
    optional={name: strategy for name, strategy in VALUES.items() if name != "count"},
)


@given(SOME)
def test_a_call_is_accepted_as_the_same_one_over_http_and_rebuilt_as_it_was(
    values: dict[str, Any],
) -> None:
    accepted = describe.parameters.accept_values((), values)
    assert accepted == describe.parameters.accept(to_json(values, bytes_mode="base64"))
    rebuilt = describe.parameters.rebuild((), accepted)
    assert {name: rebuilt[name] for name in values} == values


@given(st.fixed_dictionaries(VALUES), st.integers(0, len(VALUES)))
def test_it_does_not_matter_which_arguments_go_by_name(values: dict[str, Any], split: int) -> None:
    by_name = dict(values)
    positional = [by_name.pop(name) for name in [*VALUES][:split]]
    accepted = describe.parameters.accept_values(positional, by_name)
    assert accepted == describe.parameters.accept_values((), values)


def test_models_and_dataclasses_may_be_dicts() -> None:
    dicts = describe.parameters.accept_values(
        (1,), {"address": {"street": "Elm"}, "point": {"x": 1}}
    )
    instances = describe.accept(1, address=Address(street="Elm"), point=Point(1))
    assert dicts == instances
    assert dicts["address"] == {"street": "Elm", "number": 1}


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "missing a required argument: 'count'"),
        ((1,), {"count": 2}, "multiple values for argument 'count'"),
        ((1,), {"counts": 2}, "unexpected keyword argument 'counts'"),
        (range(14), {}, "too many positional arguments"),
    ],
)
def test_arguments_that_do_not_fit_the_signature_are_a_type_error(
    args: Any, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        describe.parameters.accept_values(args, kwargs)


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("count", -1, ("count",)),
        ("count", "many", ("count",)),
        ("color", "green", ("color",)),
        ("ratio", float("nan"), ("ratio",)),
        ("ratio", float("inf"), ("ratio",)),
        ("name", "\ud800", ("name",)),
        ("point", Point("left"), ("point", "x")),  # type: ignore[arg-type]
        ("point", Point(float("nan")), ("point", "x")),
        ("address", Address.model_construct(street="Elm", number=0), ("address", "number")),
        ("address", {"street": "Elm", "floor": 3, "number": 0}, ("address", "number")),
    ],
)
def test_a_value_that_does_not_fit_is_named(name: str, value: Any, place: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        describe.parameters.accept_values((), {"count": 1} | {name: value})
    assert [error["loc"] for error in refused.value.errors()] == [place]


def in_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [object(), "\ud800", float("nan"), [float("inf")], in_itself()])
def test_what_json_cannot_carry_is_refused_where_anything_goes(value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        echo.parameters.accept_values((value,), {})
    assert [error["loc"] for error in refused.value.errors()] == [("value",)]


def test_numbers_that_json_does_not_have_are_refused_in_a_model_of_the_users_own() -> None:
    class Reading(BaseModel):
        degrees: float | None

    def record(reading: Reading) -> None: ...

    parameters = Parameters(record)
    for reading in (Reading(degrees=float("nan")), {"degrees": float("nan")}):
        with pytest.raises(ValidationError, match="finite number"):
            parameters.accept_values((reading,), {})


def add(first: int, second: int, third: int = 3, *, fourth: int = 4) -> None: ...


def test_a_parameter_that_is_given_later_is_left_out_and_the_others_close_ranks() -> None:
    parameters = Parameters(add)
    assert parameters.accept_values((2,), {}, "first") == {"second": 2, "third": 3, "fourth": 4}
    assert parameters.accept_values((1, 9), {}, "second") == parameters.accept(
        b'{"first": 1, "third": 9}', "second"
    )
    with pytest.raises(TypeError, match="unexpected keyword argument 'first'"):
        parameters.accept_values((2,), {"first": 1}, "first")
    with pytest.raises(TypeError, match="missing a required argument: 'second'"):
        parameters.accept_values((), {}, "first")


def test_a_task_accepts_a_call_of_its_function() -> None:
    assert echo.accept("x") == echo.accept(value="x") == {"value": "x"}
    assert echo.accept() == {"value": None}
