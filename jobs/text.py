"""Fields of text (an HTML form's, or `key=value` on a command line) → the JSON a task takes."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

Schema = dict[str, Any]


def fields_to_json(pairs: Iterable[tuple[str, str]], schema: Schema) -> bytes:
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
        name: _convert(name, values, properties.get(name, {}), schema)
        for name, values in given.items()
    }
    return json.dumps(fields).encode()


def branches_of(field: Schema, schema: Schema) -> Iterator[Schema]:
    """The schemas that a field may fit, its references followed."""
    if "$ref" in field:
        yield from branches_of(schema["$defs"][field["$ref"].removeprefix("#/$defs/")], schema)
        return
    alternatives = field.get("anyOf") or field.get("oneOf") or field.get("allOf")
    for branch in alternatives or ():
        yield from branches_of(branch, schema)
    if not alternatives:
        yield field


def _convert(name: str, values: list[str], field: Schema, schema: Schema) -> Any:
    branches = list(branches_of(field, schema))
    types = {branch.get("type") for branch in branches}
    if values == [""] and "null" in types:
        return None
    if "array" in types and not _begins(values, "["):
        item = {"anyOf": [branch["items"] for branch in branches if "items" in branch]}
        return [_convert(name, [value], item, schema) for value in values]
    if len(values) > 1:
        raise ValueError(f"{name} is given {len(values)} times; it takes one value")
    if types & {"object", "array"} and _begins(values, "{["):
        return _parse(name, values[0])
    # Pydantic takes numbers written as text, but not where they are members of a Literal or Enum.
    listed = {json.dumps(choice): choice for branch in branches for choice in _choices(branch)}
    return listed.get(values[0], values[0])


def _begins(values: list[str], marks: str) -> bool:
    return len(values) == 1 and values[0].lstrip()[:1] in tuple(marks)


def _parse(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not valid JSON: {error}") from error


def _choices(branch: Schema) -> list[Any]:
    return branch.get("enum") or ([branch["const"]] if "const" in branch else [])
