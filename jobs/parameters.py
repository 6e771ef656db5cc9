"""A task's signature as a pydantic model: JSON in at the door, typed values in the worker."""

import inspect
import json
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticCustomError, PydanticSerializationError, to_json

from jobs.policy import PermanentFailure

JSONObject = dict[str, Any]

# Bytes travel as base64, since JSON carries text only; NaN and infinities it can't carry at all.
_AS_JSON = ConfigDict(
    extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False
)


class ResultNotJSON(PermanentFailure):
    """The task returned something that JSON can't carry; the work itself was done."""


class Parameters:
    """What a task takes.

    Raises `TypeError` on a signature that can't be submitted as a JSON object.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._signature = inspect.signature(function)
        hints = typing.get_type_hints(function, include_extras=True)
        fields: JSONObject = {"__annotations__": {}, "__module__": function.__module__}
        for name, parameter in self._signature.parameters.items():
            hint = fields["__annotations__"][name] = _annotation(parameter, hints)
            _adapter(hint, f"its parameter {name}")  # alone first, so that it can be named
            if parameter.default is not parameter.empty:
                fields[name] = Field(default=parameter.default)
        self._title = "".join(part.title() for part in function.__name__.split("_")) + "Parameters"
        self._fields = fields
        self._without: dict[str, TypeAdapter[Any]] = {}
        self.names = list(self._signature.parameters)
        self.adapter: TypeAdapter[Any] = _adapter(self._model(fields), "its parameters")
        self.schema: JSONObject = self.adapter.json_schema()
        properties = self.schema.get("properties", {})
        self.schema["properties"] = {
            name: properties[name] for name in sorted(properties, key=self._position)
        }
        _refuse_secrets(self.schema)

    def _position(self, name: str) -> int:
        return self.names.index(name) if name in self.names else len(self.names)

    def _model(self, fields: JSONObject) -> Any:
        config = _AS_JSON | ConfigDict(ser_json_inf_nan="constants")  # kept, to be found
        return dataclass(type(self._title, (), dict(fields)), config=config, kw_only=True)

    def accept(self, body: bytes, given: str | None = None) -> JSONObject:
        """JSON text of an object → the same, validated, defaults filled in, as plain JSON data.

        `given` names a parameter that must not be in it, since it is given its value later.
        Raises `pydantic.ValidationError`; its type is `json_invalid` where the text is no JSON.
        """
        adapter = self.adapter if given is None else self._adapter_without(given)
        values = adapter.validate_json(body)
        accepted: JSONObject = adapter.dump_python(values, mode="json", by_alias=True)
        _refuse_not_finite(accepted)
        return accepted

    def accept_values(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], given: str | None = None
    ) -> JSONObject:
        """The values of a call within Python → what `accept` makes of the same call over HTTP.

        They are those that the function itself would be called with: bytes, datetimes, instances of
        models and dataclasses, or dicts for these. Where `given` names a parameter, positional ones
        are for the others, in their order.

        Raises `TypeError` as Python does where arguments are missing or too many, and
        `pydantic.ValidationError` where a value does not fit, or JSON can't carry it.
        """
        others = [p for name, p in self._signature.parameters.items() if name != given]
        bound = self._signature.replace(parameters=others).bind(*args, **kwargs).arguments
        adapter = self.adapter if given is None else self._adapter_without(given)
        values = adapter.validate_python(bound, by_alias=True, by_name=True)
        # Pydantic takes an instance as it is, whatever it holds: as JSON it is validated anew, just
        # as the worker will.
        return self.accept(_to_json(adapter, values, bound), given)

    def _adapter_without(self, name: str) -> TypeAdapter[Any]:
        if name not in self._without:
            hints = {
                key: hint for key, hint in self._fields["__annotations__"].items() if key != name
            }
            fields = {key: value for key, value in self._fields.items() if key != name}
            model = self._model(fields | {"__annotations__": hints})
            self._without[name] = _adapter(model, "its parameters")
        return self._without[name]

    def rebuild(self, args: Sequence[Any], kwargs: JSONObject) -> JSONObject:
        """What a job carries (plain JSON data) → the values to call the function with.

        Raises `pydantic.ValidationError`, and `TypeError` where there are too many arguments.
        """
        if len(args) > len(self.names):
            raise TypeError(f"takes {len(self.names)} arguments, the job carries {len(args)}")
        carried = dict(zip(self.names, args, strict=False)) | kwargs
        # JSON text again, because that is what the types were validated from at the door: in
        # pydantic's Python mode a base64 string, say, would be taken for the bytes themselves.
        values = self.adapter.validate_json(to_json(carried))
        return {name: getattr(values, name) for name in self.names}


class Result:
    """What a task returns, as plain JSON data."""

    def __init__(self, function: Callable[..., Any]) -> None:
        hints = typing.get_type_hints(function, include_extras=True)
        self.adapter: TypeAdapter[Any] = _adapter(hints.get("return", Any), "its result")
        self.schema: JSONObject = self.adapter.json_schema(mode="serialization")

    def dump(self, value: Any) -> Any:
        """Raises `ResultNotJSON`, which is not retried: running it again would return the same."""
        try:
            dumped = self.adapter.dump_python(value, mode="json", by_alias=True, warnings=False)
            to_json(dumped)  # finds what no text can hold, such as half of a surrogate pair
            return dumped
        except PydanticSerializationError as error:
            raise ResultNotJSON(
                f"The task ran, but its result ({type(value).__name__}) is not JSON: {error}"
            ) from error

    def load(self, data: Any) -> Any:
        """Such data → what the task returned, in the type it is declared to return.

        As it is where that can't be built from it: not every type reads what it writes.
        """
        try:
            return self.adapter.validate_json(to_json(data))
        except ValidationError:
            return data


def _annotation(parameter: inspect.Parameter, hints: JSONObject) -> Any:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise TypeError(f"{parameter} can't be described to callers; name each parameter")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise TypeError(f"{parameter.name} is positional-only, but parameters travel by name")
    if parameter.name not in hints:
        raise TypeError(f"{parameter.name} has no type hint; it is what callers are checked by")
    return hints[parameter.name]


def _adapter(of: Any, what: str) -> TypeAdapter[Any]:
    try:
        config = None if hasattr(of, "__pydantic_config__") or _is_model(of) else _AS_JSON
        adapter = TypeAdapter(of, config=config)
        adapter.json_schema()
        adapter.json_schema(mode="serialization")
    except (PydanticUserError, PydanticSerializationError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise TypeError(f"JSON can't carry {what}: {reason}") from error
    return adapter


def _to_json(adapter: TypeAdapter[Any], values: Any, names: Iterable[str]) -> bytes:
    def dumped(**only: Any) -> bytes:
        return to_json(
            adapter.dump_python(values, mode="json", by_alias=True, warnings=False, **only)
        )

    try:
        return dumped()
    except ValueError:  # a value that is no JSON, holds itself, or half a surrogate pair
        for name in names:
            try:
                dumped(include={name})
            except ValueError as error:
                kind = PydanticCustomError(
                    "no_json", "JSON can't carry it: {reason}", {"reason": str(error)}
                )
                fault: Any = {"type": kind, "loc": (name,), "input": getattr(values, name)}
                raise ValidationError.from_exception_data("parameters", [fault]) from error
        raise


def _refuse_not_finite(values: JSONObject) -> None:
    # Pydantic reads NaN, Infinity and 1e999 out of JSON, and lets them pass where nothing forbids
    # them: in an `Any`, or in the user's own models. They would be null by the time the task runs.
    for name, value in values.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            fault: Any = {"type": "finite_number", "loc": (name,), "input": value}
            raise ValidationError.from_exception_data("parameters", [fault]) from None


def _is_model(of: Any) -> bool:
    # These bring their own configuration, and TypeAdapter refuses to be given a second one.
    return isinstance(of, type) and (
        hasattr(of, "model_config")
        or hasattr(of, "__dataclass_fields__")
        or typing.is_typeddict(of)
    )


def _refuse_secrets(schema: Any, path: str = "") -> None:
    """A `SecretStr` serialises to stars: what was accepted would not be what runs."""
    match schema:
        case {"format": "password", **_rest}:
            raise TypeError(
                f"{path or 'a parameter'} is a secret type: jobs are stored as JSON, and it would "
                "be stored as stars. Pass a reference and read the secret in the task"
            )
        case dict():
            for key, value in schema.items():
                _refuse_secrets(value, key if key not in ("properties", "$defs") else path)
        case list():
            for value in schema:
                _refuse_secrets(value, path)
