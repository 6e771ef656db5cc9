"""The header Idempotency-Key, as the IETF's draft describes it (httpapi-idempotency-key-header)."""

import re
from typing import Any

from fastapi import Request

from jobs import Task
from service.api.options import RunOptions, SubmitOptions
from service.api.visit import visit_of
from service.errors import IdempotencyKeyMalformed
from service.submission import Once, digest

HEADER = "Idempotency-Key"
LONGEST = 255  # characters
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')  # a String of RFC 9651 §3.3.3

#: For OpenAPI, since the handler reads it by itself.
DESCRIBED_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Of all requests that bear the same key one is carried out; the others are "
    "answered with its job. Choose a new one, such as a UUID, for each job that is wanted.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST},
}


def once(
    request: Request,
    task: Task[..., Any],
    parameters: dict[str, Any],
    options: SubmitOptions,
    ttl: int,
) -> Once | None:
    """What to remember of this request; None where it bears no key.

    A key counts for one caller and one task. Two requests are the same where their task would get
    the same and is run in the same way, however they write it, and however long they wait for it.

    Raises `IdempotencyKeyMalformed`.
    """
    return _once(request, task.name, parameters, options, ttl)


def batch_once(
    request: Request, task: Task[..., Any], options: RunOptions, ttl: int
) -> Once | None:
    """The same for a batch, whose parameters are still to be read: they don't count yet."""
    return _once(request, f"{task.name}/batch", {}, options, ttl)


def _once(
    request: Request, place: str, parameters: dict[str, Any], options: RunOptions, ttl: int
) -> Once | None:
    key = _key(request.headers.getlist(HEADER))
    if key is None:
        return None
    asked = options.model_dump(mode="json", exclude={"wait"}, exclude_defaults=True)
    return Once(
        record=f"paddock:idempotency:{place}:{digest(visit_of(request.scope).caller, key)}",
        fingerprint=digest(parameters, asked),
        ttl=ttl,
    )


def _key(given: list[str]) -> str | None:
    """The draft has keys in quotes, most callers leave them off: both name the same."""
    if not given:
        return None
    if len(given) > 1:
        raise IdempotencyKeyMalformed(f"{HEADER} is given {len(given)} times; send one.")
    key = given[0].strip()
    if key.startswith('"'):
        quoted = _QUOTED.fullmatch(key)
        if quoted is None:
            raise IdempotencyKeyMalformed(f"{HEADER} begins with a quote, and is no quoted text.")
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    if not 1 <= len(key) <= LONGEST or not _PRINTABLE.fullmatch(key):
        raise IdempotencyKeyMalformed(
            f"{HEADER} takes 1 to {LONGEST} characters of printable ASCII; a UUID will do."
        )
    return key
