"""Views → JSON answers, and the problems that routes document."""

import json
from http import HTTPStatus
from typing import Any

from fastapi import Response
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from service.api.problems import MEDIA_TYPE
from service.api.schemas import EtaView, JobView
from service.broker.eta import Eta
from service.broker.records import JobRecord

_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


#: OpenAPI's `headers` of what accepts a job or a batch
LOCATION = {"Location": {"description": "Where it is found.", "schema": {"type": "string"}}}


def json_response(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer of plain data or a view."""
    return Response(encoded(content), status, media_type="application/json")


def encoded(content: Any) -> bytes:
    """Plain data or a view as JSON. NaN and infinities become null: JSON has no word for them."""
    try:
        return to_json(content, inf_nan_mode="null")
    except PydanticSerializationError:
        # Text that UTF-8 can't hold (half of a surrogate pair), out of another program's job.
        plain = content.model_dump(mode="json") if isinstance(content, BaseModel) else content
        return json.dumps(plain).encode()


def job_response(
    record: JobRecord, status: HTTPStatus = HTTPStatus.OK, eta: Eta | None = None
) -> Response:
    """The job itself."""
    view = JobView.model_validate(record)
    view.eta = EtaView.model_validate(eta) if eta else None
    return json_response(view, status)


def problems(**described: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for these problems: `problems(s404="No such job.")`.

    `default` is for all others.
    """
    return {
        code if code == "default" else int(code.removeprefix("s")): {
            "description": text,
            **({"headers": _RETRY_AFTER} if code in ("s429", "s503") else {}),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemView"}}},
        }
        for code, text in described.items()
    }


FOREIGN = "It comes from another site's page, or under a foreign Host name."

#: what the guard answers, before any route
REFUSALS = problems(s401="A key is needed.", s403=FOREIGN)
