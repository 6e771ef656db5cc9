"""JSON Schema, as people read it."""

import json
from collections.abc import Iterator
from typing import Any

from reference.markdown import code, sentence, table

Schema = dict[str, Any]

_BOUNDS = {
    "minimum": "{} or more",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "{} characters or more",
    "maxLength": "at most {} characters",
    "minItems": "{} items or more",
    "maxItems": "at most {} items",
    "pattern": "matches `{}`",
}


def kind(schema: Schema) -> str:
    """What a value of this schema is, in a few words; named schemas are linked."""
    if "$ref" in schema:
        return link(schema["$ref"].rpartition("/")[2])
    if parts := [part for part in schema.get("allOf", ()) if "$ref" in part]:
        return " and ".join(kind(part) for part in parts)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(kind(choice) for choice in choices))
    if listed := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return " or ".join(code(json.dumps(value)) for value in listed)
    match schema.get("type"):
        case "array":
            return f"list of {kind(schema.get('items', {}))}"
        case "object" if isinstance(inner := schema.get("additionalProperties"), dict):
            return f"object of {kind(inner)}"
        case None:
            return "any JSON"
        case name:
            return f"{name} ({schema['format']})" if "format" in schema else str(name)


def details(schema: Schema) -> str:
    """What there is to say of it besides: its meaning, its bounds, its default, an example."""
    said = [sentence(schema.get("description", ""))]
    if bounds := [words.format(schema[name]) for name, words in _BOUNDS.items() if name in schema]:
        said.append(f"({', '.join(bounds)})")
    if schema.get("default") is not None:
        said.append(f"Default: {code(json.dumps(schema['default']))}.")
    if examples := schema.get("examples"):
        said.append(f"Such as {', '.join(code(json.dumps(example)) for example in examples)}.")
    return " ".join(part for part in said if part)


def link(name: str) -> str:
    """To the section of a named schema."""
    return f"[{name}](#{_anchor(name)})"


def section(name: str, schema: Schema) -> Iterator[str]:
    """The section of a named schema."""
    yield f"### {name} {{ #{_anchor(name)} }}"
    yield ""
    if description := schema.get("description"):
        yield sentence(description)
        yield ""
    required = schema.get("required", ())
    fields = schema.get("properties", {})
    yield from table(
        ("field", "type", "meaning"),
        (
            (
                code(field) + ("" if field in required else " (optional)"),
                kind(inner),
                details(inner),
            )
            for field, inner in fields.items()
        ),
    )
    if not fields:
        yield f"{sentence(kind(schema))} {details({**schema, 'description': ''})}".rstrip()
        yield ""


def _anchor(name: str) -> str:
    return f"schema-{name.lower().replace('.', '-')}"
