"""A task's parameters as fields of a form, and back."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import EmailStr, Field
from pydantic_core import to_json

from jobs.parameters import Parameters
from service.api.page.fields import Field as FormField
from service.api.page.fields import fields_of, filled, shown_values
from tests import sample_tasks


class Tone(Enum):
    WARM = "warm"
    COOL = "cool"


@dataclass
class Place:
    street: str
    number: int = 1


def letter(
    to: EmailStr,
    message: str,
    copies: Annotated[int, Field(ge=1, le=10, description="How many.")] = 1,
    weight: float | None = None,
    urgent: bool = False,
    signed: bool | None = None,
    tone: Tone = Tone.WARM,
    size: Literal[4, 5] = 4,
    tags: list[str] = [],  # noqa: B006
    pages: list[int] = [1],  # noqa: B006
    place: Place = Place("Hauptstrasse"),  # noqa: B008
    when: datetime | None = None,
    anything: Any = None,
    note: str = "",
) -> None:
    """Write it."""


PARAMETERS = Parameters(letter)
FIELDS = {field.name: field for field in fields_of(PARAMETERS.schema)}
GIVEN = {"to": "ada@example.com", "message": "Dear Ada,\r\n\r\nyes."}


def accepted(**texts: str) -> dict[str, Any]:
    """What the task is called with, if this is filled in."""
    form = filled(list(FIELDS.values()), GIVEN | texts)
    assert not form.faults
    return PARAMETERS.accept(to_json(form.values))


def test_each_type_has_a_field_that_fits_it() -> None:
    assert {name: field.kind for name, field in FIELDS.items()} == {
        "to": "text",
        "message": "lines",
        "copies": "number",
        "weight": "number",
        "urgent": "switch",
        "signed": "choice",
        "tone": "choice",
        "size": "choice",
        "tags": "list",
        "pages": "list",
        "place": "json",
        "when": "text",
        "anything": "json",
        "note": "text",
    }
    assert (FIELDS["to"].input_type, FIELDS["to"].required) == ("email", True)
    assert (FIELDS["copies"].minimum, FIELDS["copies"].maximum) == (1, 10)
    assert FIELDS["copies"].description == "How many."
    assert FIELDS["tone"].choices == ("warm", "cool")


def test_a_form_that_is_sent_as_it_was_shown_calls_the_task_with_its_defaults() -> None:
    shown = shown_values(list(FIELDS.values()), {})
    defaults = PARAMETERS.accept(to_json(GIVEN | {"message": "Dear Ada,\n\nyes."}))
    assert accepted(**shown | GIVEN) == defaults


def test_what_is_filled_in_comes_to_the_task_in_its_types() -> None:
    made = accepted(
        copies="3",
        weight="2.5",
        urgent="true",
        signed="false",
        tone='"cool"',
        size="5",
        tags="one\r\ntwo words\r\n\r\n",
        pages="1\n20",
        place='{"street": "Ring", "number": 7}',
        when="2030-01-31T12:00:00Z",
        anything='{"a": [1, null]}',
        note="é <b>",
    )
    assert made | GIVEN == GIVEN | {
        "copies": 3,
        "weight": 2.5,
        "urgent": True,
        "signed": False,
        "tone": "cool",
        "size": 5,
        "tags": ["one", "two words"],
        "pages": [1, 20],
        "place": {"street": "Ring", "number": 7},
        "when": "2030-01-31T12:00:00Z",
        "anything": {"a": [1, None]},
        "note": "é <b>",
    }
    assert made["message"] == "Dear Ada,\n\nyes."


def test_a_job_can_be_submitted_again_from_what_its_fields_show() -> None:
    first = accepted(copies="3", signed="true", tags="a\nb", place='{"street": "Ring"}', urgent="1")
    assert accepted(**shown_values(list(FIELDS.values()), first)) == first


def order(
    key: int | str = 3,
    amount: Decimal = Decimal("12.50"),
    tones: list[Tone] = [Tone.WARM],  # noqa: B006
    sizes: list[Literal[4, 5]] = [4, 5],  # noqa: B006
    labels: list[str] = ["a\nb", " c", "", "[1]"],  # noqa: B006
    flags: list[bool] = [True, False],  # noqa: B006
    words: list[str] | None = [],  # noqa: B006
) -> None:
    """What does not look like what it is."""


def test_what_is_not_touched_stays_what_it_was() -> None:
    parameters = Parameters(order)
    fields = fields_of(parameters.schema)
    defaults = {
        "key": 3,
        "amount": "12.50",
        "tones": ["warm"],
        "sizes": [4, 5],
        "labels": ["a\nb", " c", "", "[1]"],
        "flags": [True, False],
        "words": [],
    }
    form = filled(fields, shown_values(fields, {}))
    assert (form.values, form.faults) == (defaults, {})
    others = {"labels": ["x", "y z"], "tones": ["cool", "warm"], "sizes": [5, 4], "words": None}
    form = filled(fields, shown_values(fields, others))
    assert (form.values, form.faults) == (defaults | others, {})


def test_the_members_of_an_enum_and_whatever_else_stand_one_a_line() -> None:
    fields = fields_of(Parameters(order).schema)
    assert shown_values(fields, {})["tones"] == "warm"
    given = {"tones": "cool\r\nwarm", "sizes": "5", "labels": "[draft] one\r\n[2", "key": "5"}
    form = filled(fields, shown_values(fields, {}) | given)
    assert form.faults == {}
    assert form.values["tones"] == ["cool", "warm"] and form.values["sizes"] == [5]
    assert form.values["labels"] == ["[draft] one", "[2"] and form.values["key"] == "5"
    assert filled(fields, {"tones": "hot"}).values["tones"] == ["hot"]  # for the task to refuse


def test_an_empty_field_is_null_where_that_may_be_and_else_left_out() -> None:
    form = filled(list(FIELDS.values()), dict.fromkeys(FIELDS, ""))
    assert form.values == {
        "message": "",
        "urgent": False,
        "weight": None,
        "signed": None,
        "tags": [],
        "pages": [],
        "when": None,
        "note": "",
    }


@pytest.mark.parametrize("text", ["{", "{'a': 1}", "[" * 100_000])
def test_what_is_no_json_is_told_at_its_field(text: str) -> None:
    form = filled(list(FIELDS.values()), GIVEN | {"place": text})
    assert list(form.faults) == ["place"]
    assert "not valid JSON" in form.faults["place"]
    assert form.texts["place"] == text


def test_what_is_no_number_is_left_for_the_task_to_refuse() -> None:
    assert filled([FIELDS["copies"]], {"copies": "many"}).values == {"copies": "many"}


@pytest.mark.parametrize("task", [sample_tasks.describe, sample_tasks.echo, sample_tasks.fail_as])
def test_every_field_can_be_shown_and_read(task: Any) -> None:
    fields = fields_of(task.parameters.schema)
    form = filled(fields, shown_values(fields, {}))
    assert not form.faults
    assert all(isinstance(field, FormField) for field in fields)
