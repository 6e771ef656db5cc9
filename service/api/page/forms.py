"""What a form of the page sent."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from service.api.forms import MOST_FIELDS
from service.errors import MalformedBody


async def _form(request: Request) -> dict[str, str]:
    """Name → text. Raises `MalformedBody`."""
    try:
        body = (await request.body()).decode()
        pairs = parse_qsl(body, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise MalformedBody(f"The form can't be read: {error}.") from error
    return dict(pairs)


FormDep = Annotated[dict[str, str], Depends(_form)]
