"""A task's JSON schema → the fields of a form; what was filled in → JSON that the task takes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.text import branches_of

Kind = Literal["text", "lines", "number", "switch", "choice", "list", "json"]
Schema = dict[str, Any]

LONG_TEXTS = frozenset({"body", "content", "html", "message", "notes", "prompt", "query", "text"})
_INPUT_TYPES = {"email": "email", "date": "date", "uri": "url"}  # format → type of an input
_EXAMPLES = {
    "date-time": "2030-01-31T12:00:00Z",
    "uuid": "6f9619ff-8b86-4d11-b42d-00c04fc964ff",
    "duration": "PT15M",
    "time": "12:30:00",
}
_FORMATS = {
    "text": "",
    "textarea": "",
    "date-time": "date and time",
    "base64url": "bytes, as base64",
    "uuid": "UUID",
}
_NAMED = {"object": "object", "array": "list"}
_IN_LINES = {"string", "integer", "number"}  # what a list has one a line of


class Unreadable(ValueError):
    """What was filled in can't be read as what the field is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One parameter of a task, as a form asks for it."""

    name: str
    kind: Kind
    title: str  #: what it takes, in a word or two
    required: bool
    nullable: bool
    description: str
    default: Any  #: plain data; `...` where there is none
    example: str
    format: str = ""  #: of a text, as JSON Schema names it
    whole: bool = False  #: whole numbers only
    minimum: float | None = None
    maximum: float | None = None
    longest: int | None = None
    choices: tuple[Any, ...] = ()
    items: "Field | None" = None

    def text_of(self, value: Any) -> str:
        """What the field holds where the parameter is to be this plain data."""
        match self.kind:
            case _ if value is ... or (value is None and self.kind != "choice"):
                return ""
            case "json" | "choice":
                return json.dumps(value, indent=2 if self.kind == "json" else None)
            case "list" if isinstance(value, list) and self.items:
                lines = "\n".join(map(self.items._line_of, value))
                return lines if self.read(lines) == value else json.dumps(value)
            case "switch":
                return "true" if value else ""
        return value if isinstance(value, str) else json.dumps(value)

    def read(self, text: str) -> Any:
        """What was filled in, as plain data; `...` to leave the parameter out.

        What still shows the default is the default. What is no number stays text, for the task's
        own validation to say so. Raises `Unreadable`.
        """
        if self.kind == "switch":
            return bool(text)
        if not text.strip() and (self.nullable or not self._may_be_empty):
            return None if self.nullable else ...
        text = text.replace("\r\n", "\n")
        if self.kind in ("text", "lines"):
            as_shown = self.default is not ... and text == self.text_of(self.default)
            return self.default if as_shown else text
        if self.kind == "list" and self.items:
            if (whole := _list_in(text)) is not None:
                return whole
            lines = (line.strip() for line in text.split("\n"))
            return [self.items._read_line(line) for line in lines if line]
        return _number(text) if self.kind == "number" else _parsed(text)

    def _line_of(self, value: Any) -> str:
        """One of a list, in a line of its own."""
        return value if isinstance(value, str) else self.text_of(value)

    def _read_line(self, line: str) -> Any:
        if self.kind != "choice":
            return self.read(line)
        # What is none of them stays text, for the task's own validation to say so.
        return next((each for each in self.choices if self._line_of(each) == line), line)

    @property
    def input_type(self) -> str:
        """Of an HTML input."""
        return _INPUT_TYPES.get(self.format, "text")

    @property
    def _may_be_empty(self) -> bool:
        """Whether nothing is a value too, and not only that nothing was filled in."""
        return self.kind in ("lines", "list") or (self.kind == "text" and not self.format)


@dataclass(frozen=True, slots=True)
class Filled:
    """A form as it came in: what the fields hold, what it means, what can't be read."""

    texts: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def fields_of(schema: Schema) -> list[Field]:
    """One for each parameter, in their order."""
    required = schema.get("required", ())
    return [
        _field(name, of, schema, required=name in required)
        for name, of in schema.get("properties", {}).items()
    ]


def shown_values(fields: list[Field], values: Mapping[str, Any]) -> dict[str, str]:
    """What the fields hold at first: these values, and defaults for the rest."""
    return {each.name: each.text_of(values.get(each.name, each.default)) for each in fields}


def filled(fields: list[Field], given: Mapping[str, str]) -> Filled:
    """Read what a browser sent. A switch that is off is not sent at all."""
    form = Filled()
    for each in fields:
        text = given.get(each.name, "")
        form.texts[each.name] = text
        try:
            value = each.read(text)
        except Unreadable as error:
            form.faults[each.name] = str(error)
            continue
        if value is not ...:
            form.values[each.name] = value
    return form


def _field(name: str, of: Schema, schema: Schema, *, required: bool) -> Field:
    found = list(branches_of(of, schema))
    own = [branch for branch in found if branch.get("type") != "null"]
    merged = own[0] if len(own) == 1 else {}
    nullable = len(own) < len(found)
    kind = _kind(name, own, of, schema)
    items = None
    if kind == "list":
        items = _field("", merged["items"], schema, required=True)
    examples = of.get("examples") or merged.get("examples") or ()
    example = str(examples[0]) if examples else _EXAMPLES.get(merged.get("format", ""), "")
    return Field(
        name=name,
        kind=kind,
        title=_title(kind, own, items, nullable=nullable),
        required=required,
        nullable=nullable,
        description=of.get("description") or merged.get("description") or "",
        default=of.get("default", ...),
        example=example,
        format=merged.get("format", ""),
        whole=merged.get("type") == "integer",
        minimum=merged.get("minimum", merged.get("exclusiveMinimum")),
        maximum=merged.get("maximum", merged.get("exclusiveMaximum")),
        longest=merged.get("maxLength"),
        choices=tuple(_choices(own, nullable=nullable)) if kind == "choice" else (),
        items=items,
    )


def _kind(name: str, own: list[Schema], of: Schema, schema: Schema) -> Kind:
    types = {branch.get("type") for branch in own}
    if own and all("enum" in branch or "const" in branch for branch in own):
        return "choice"
    if types == {"boolean"}:
        return "switch" if len(list(branches_of(of, schema))) == len(own) else "choice"
    if types and types <= {"integer", "number"}:
        return "number"
    if types and types <= {"string", "integer", "number"}:
        return "lines" if _is_long(name, own[0], of) else "text"
    if types == {"array"} and len(own) == 1 and "prefixItems" not in own[0]:
        each = list(branches_of(own[0].get("items", {}), schema))
        if len(each) == 1 and each[0].get("type") in _IN_LINES:
            return "list"
    return "json"


def _is_long(name: str, own: Schema, of: Schema) -> bool:
    if "\n" in str(of.get("default", "")) or own.get("maxLength", 0) > 300:
        return True
    bare = own.keys() <= {"type", "title", "minLength", "default", "description", "examples"}
    return own.get("format") == "textarea" or (name in LONG_TEXTS and bare)


def _title(kind: Kind, own: list[Schema], items: Field | None, *, nullable: bool) -> str:
    branch: Schema = own[0] if len(own) == 1 else {}
    named = str(branch.get("format") or "text")
    title = {
        "number": "whole number" if branch.get("type") == "integer" else "number",
        "list": f"{(items.title if items else '') or 'text'}s, one a line",
        "json": f"{_NAMED.get(branch.get('type', ''), 'value')}, as JSON",
        "switch": "",
        "choice": "",
    }.get(kind, _FORMATS.get(named, named))
    return f"{title}, may be empty" if nullable and title else title


def _choices(own: list[Schema], *, nullable: bool) -> Iterator[Any]:
    for branch in own:
        if branch.get("type") == "boolean" and "const" not in branch:
            yield from (True, False)
        else:
            yield from branch.get("enum") or [branch["const"]]


def _list_in(text: str) -> list[Any] | None:
    """None where this is no JSON list: it then is a line for each."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"This is not valid JSON: {error}") from error


def _number(text: str) -> Any:
    try:
        number = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return number if isinstance(number, int | float) else text
