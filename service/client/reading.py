"""JSON → frozen dataclasses, by the types of their fields."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from service.client.errors import AnswerUnreadable

Read = TypeVar("Read")


def read(kind: type[Read], document: Any) -> Read:
    """The document as this dataclass. What a newer service has beyond its fields is passed over.

    Raises `AnswerUnreadable`.
    """
    try:
        known = _fields(cast(Any, kind))
        return kind(
            **{name: known[name](value) for name, value in document.items() if name in known}
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise AnswerUnreadable(f"This is no {kind.__name__}: {error}") from error


def read_list(kind: type[Read], documents: Any) -> list[Read]:
    """The same, for a list of them."""
    if not isinstance(documents, list):
        raise AnswerUnreadable(f"This is no list of {kind.__name__}s")
    return [read(kind, document) for document in documents]


@cache
def _fields(kind: Any) -> dict[str, Callable[[Any], Any]]:
    """How the value of each field is made of what JSON has for it."""
    hints = get_type_hints(kind)
    return {field.name: _reader(hints[field.name]) for field in fields(kind)}


def _reader(hint: Any) -> Callable[[Any], Any]:
    branches = get_args(hint)
    if hint is datetime:
        return datetime.fromisoformat
    if isinstance(hint, type) and is_dataclass(hint):
        return partial(read, hint)
    if get_origin(hint) is tuple:  # of any length
        each = _reader(branches[0])
        return lambda values: tuple(map(each, values))
    if type(None) in branches:
        (branch,) = (branch for branch in branches if branch is not type(None))
        present = _reader(branch)
        return lambda value: None if value is None else present(value)
    return _as_it_is


def _as_it_is(value: Any) -> Any:
    return value
