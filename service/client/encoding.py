"""Parameters → JSON, as the service's tasks read it."""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

Parameters = Mapping[str, Any]


def encoded(parameters: Parameters) -> bytes:
    """These parameters as JSON text, in one line.

    Beside what JSON has itself: dates and times, UUIDs and paths as text, bytes as base64, enums as
    their values, dataclasses and mappings as objects, lists and tuples as arrays.

    Raises `TypeError` on anything else and `ValueError` on NaN and infinities; both name the field.
    """
    if not isinstance(parameters, Mapping):
        raise TypeError(f"parameters are a mapping of names to values, not {_kind(parameters)}")
    plain = {_key(key, ""): _plain(value, str(key)) for key, value in parameters.items()}
    return json.dumps(plain, separators=(",", ":")).encode()


def _plain(value: Any, field: str) -> Any:
    match value:
        case Enum():  # before numbers and text, which it may be as well
            return _plain(value.value, field)
        case float() if not math.isfinite(value):
            raise ValueError(f"{field}: JSON has no {value}")
        case None | bool() | int() | float() | str():
            return value
        case date():  # a datetime is one, too
            return value.isoformat()
        case UUID() | PurePath():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case Mapping():
            return {_key(key, field): _plain(each, f"{field}.{key}") for key, each in value.items()}
        case list() | tuple():
            return [_plain(each, f"{field}[{index}]") for index, each in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: _plain(getattr(value, each.name), f"{field}.{each.name}")
            for each in fields(value)
        }
    raise TypeError(f"{field}: JSON has no form for {_kind(value)}; pass text, numbers, lists …")


def _key(key: Any, field: str) -> str | int:
    plain = _plain(key, field)
    if not isinstance(plain, str | int):
        raise TypeError(f"{field or 'parameters'}: JSON has text for keys, not {_kind(key)}")
    return plain


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
