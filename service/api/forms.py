"""HTML form bodies → the JSON that a task takes."""

from typing import Any
from urllib.parse import parse_qsl

from jobs.text import fields_to_json
from service.errors import MalformedBody

MOST_FIELDS = 1_000


def form_to_json(body: bytes, schema: dict[str, Any]) -> bytes:
    """A urlencoded body as a JSON object for parameters of this JSON schema.

    Raises `MalformedBody`.
    """
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
        return fields_to_json(pairs, schema)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"The form can't be read: {error}.") from error
