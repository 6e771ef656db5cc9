"""HTTP: request → answer. FastAPI lives here and nowhere else.

from service.api import create_app, lifespans, paddock_router
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.api.app import create_app
    from service.api.embedding import paddock_router
    from service.api.lifespan import lifespans

__all__ = ["create_app", "lifespans", "paddock_router"]

_MODULES = {"create_app": "app", "lifespans": "lifespan", "paddock_router": "embedding"}


def __getattr__(name: str) -> Any:
    """Import them when they are asked for: `create_app` brings Flask, for the dashboard."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
