"""The ways to show a key, as OpenAPI documents have them. The guard is who asks for it."""

from typing import Any

from fastapi import Security
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBase, HTTPBearer
from fastapi.openapi.models import SecurityBase as SecurityModel
from fastapi.params import Depends
from fastapi.security.base import SecurityBase


class KeyScheme(SecurityBase):
    """One of them, as a dependency that asks nothing: FastAPI writes it into the document."""

    def __init__(self, name: str, model: SecurityModel) -> None:
        self.scheme_name, self.model = name, model

    async def __call__(self) -> None:
        """The guard has seen the key before."""

    def described(self) -> dict[str, Any]:
        """As it stands in an OpenAPI document."""
        return self.model.model_dump(mode="json", by_alias=True, exclude_none=True)


SCHEMES = (
    KeyScheme("paddock_bearer", HTTPBearer()),
    KeyScheme("paddock_basic", HTTPBase(scheme="basic", description="The key is the password.")),
    KeyScheme("paddock_header", APIKey(**{"in": APIKeyIn.header}, name="X-API-Key")),
)


def documented_keys() -> list[Depends]:
    """The dependencies of a router whose routes ask for a key."""
    return [Security(scheme) for scheme in SCHEMES]
