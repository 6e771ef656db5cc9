"""Fields of text (an HTML form's, or `key=value` on a command line) → the JSON a task takes."""

import json
from collections.abc import Iterable
from typing import Any


def fields_to_json(pairs: Iterable[tuple[str, str]], schema: dict[str, Any]) -> bytes:
    """A JSON object for parameters of this JSON schema.

    Text stays text where it is to be a string or a number: pydantic converts those itself. A list
    takes every value of its name, objects are written as JSON, and an empty field is null where
    the parameter may be null.

    Raises `ValueError`, naming the field.
    """
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    properties = schema.get("properties", {})
    fields = {
        name: _convert(name, values, _types(properties.get(name, {}), schema))
        for name, values in given.items()
    }
    return json.dumps(fields).encode()


def _types(field: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """The JSON types that a field may have."""
    if "$ref" in field:
        return _types(schema["$defs"][field["$ref"].removeprefix("#/$defs/")], schema)
    branches = field.get("anyOf") or field.get("oneOf") or field.get("allOf")
    if branches:
        return set().union(*(_types(branch, schema) for branch in branches))
    return {field["type"]} if "type" in field else set()


def _convert(name: str, values: list[str], types: set[str]) -> Any:
    if "array" in types and not _begins(values, "["):
        return values
    if len(values) > 1:
        raise ValueError(f"{name} is given {len(values)} times; it takes one value")
    if values == [""] and "null" in types:
        return None
    if types & {"object", "array"} and _begins(values, "{["):
        try:
            return json.loads(values[0])
        except ValueError as error:
            raise ValueError(f"{name} is not valid JSON: {error}") from error
    return values[0]


def _begins(values: list[str], marks: str) -> bool:
    return len(values) == 1 and values[0].lstrip()[:1] in tuple(marks)
