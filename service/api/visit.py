"""What Paddock knows of a request while it serves it. It is kept in the request's scope.

It is not kept in the application, which may be the user's own, and have two of Paddock's routers.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.types import Scope

from service.broker.broker import Broker
from service.settings import Settings

KEY = "paddock"  # in the scope


@dataclass(slots=True)
class Visit:
    settings: Settings
    broker: Broker
    has_dashboard: bool  #: beside the routes
    path: str  #: its route's, less all that stands before it; "" for those that it tells no apart
    request_id: str = ""  #: as the answer bears it
    caller: str = ""  #: the same text for the same key, out of which that can't be read


def visit_of(scope: Scope) -> Visit:
    """Raises `KeyError` where the request did not come through Paddock's gate."""
    visit: Visit = scope[KEY]
    return visit


def path_below_root(scope: Scope) -> str:
    """The request's path, less what the application is mounted below."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def address(scope: Scope, path: str) -> str:
    """Where this path of Paddock's is found: below what the route is, that the request came to."""
    route: Any = scope["route"]
    before = path_below_root(scope).rsplit("/", route.path.count("/"))[0]
    return f"{quote(scope.get('root_path', '') + before)}{path}"
