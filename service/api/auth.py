"""Who may call: keys, and the browser that was sent here by another site."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.health import OPEN_PATHS
from service.api.problems import problem_response
from service.errors import KeyMissing, Problem, RequestRefused
from service.settings import Settings

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class ApiKeys:
    """The keys that open the service. Only their hashes are kept in memory."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._hashes = [_hash(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def open_with(self, key: bytes) -> bool:
        """Whether this is one of them. Takes the same time whichever it is, if any."""
        shown = _hash(key)
        matches = [hmac.compare_digest(shown, known) for known in self._hashes]
        return any(matches)


class Guard:
    """ASGI middleware: lets a request pass, or answers with the problem it has."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._keys = ApiKeys(
            key.get_secret_value().encode(errors="surrogateescape") for key in settings.api_keys
        )
        named = (*LOOPBACK_NAMES, settings.host, *settings.allowed_hosts)
        self._hosts = {name.lower() for name in named}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (problem := self._problem(scope)):
            await problem_response(problem)(scope, receive, send)
        else:
            _note_caller(scope)
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        key, by_browser = _shown_key(headers)
        if not self._keys:
            # Without keys, "it comes from this machine" is all the protection there is, and a web
            # page can have its visitor's browser call this machine: under its own name (DNS
            # rebinding), or from its own pages (cross-site requests, below).
            if (host := _host_name(headers.get("host", ""))) not in self._hosts:
                return RequestRefused(
                    f"This service does not go by the name {host!r}: add it to "
                    "PADDOCK_ALLOWED_HOSTS, or set PADDOCK_API_KEYS."
                )
        elif _route(scope) not in OPEN_PATHS and not (key and self._keys.open_with(key)):
            return _key_missing(headers, shown=key is not None)
        if (by_browser or not self._keys) and scope["method"] not in SAFE_METHODS:
            return _cross_site_problem(headers)
        return None


def caller_of(request: Request) -> str:
    """Whose request it is: the same text for the same key, out of which that can't be read."""
    caller: str = request.state.caller
    return caller


def _note_caller(scope: Scope) -> None:
    if scope["type"] == "http":
        key, _ = _shown_key(Headers(scope=scope))
        scope.setdefault("state", {})["caller"] = _hash(key).hex() if key else ""


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _route(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _shown_key(headers: Headers) -> tuple[bytes | None, bool]:
    """The key that a request shows, and whether a browser adds it to requests by itself."""
    if key := headers.get("x-api-key"):
        return _bytes_of(key), False
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return _bytes_of(credentials.strip()), False
        case "basic":
            return _basic_password(credentials), True
        case _:
            return None, False


def _bytes_of(header: str) -> bytes:
    return header.encode("latin-1")  # as it was sent: Starlette decodes headers so


def _basic_password(credentials: str) -> bytes | None:
    """The password is the key; the user's name does not matter."""
    try:
        decoded = base64.b64decode(credentials, validate=True)
    except ValueError:  # no base64, or not even ASCII
        return None
    user, _, password = decoded.partition(b":")
    return password or user


def _key_missing(headers: Headers, *, shown: bool) -> KeyMissing:
    what = "This key is not known here" if shown else "This service asks for a key"
    # Only a person's browser is asked to prompt for one; in a program's it would be a nuisance.
    person = "text/html" in headers.get("accept", "")
    challenge = 'Basic realm="Paddock", charset="UTF-8"' if person else "Bearer"
    return KeyMissing(
        f"{what}. Send one as `Authorization: Bearer <key>` or `X-API-Key: <key>`.",
        headers={"WWW-Authenticate": challenge},
    )


def _cross_site_problem(headers: Headers) -> RequestRefused | None:
    """Refuse what another site's page made a browser send. Programs send neither header."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign = site not in (None, "same-origin", "none")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        foreign = True
    if not foreign:
        return None
    return RequestRefused(
        "This request comes from another site's page. Call the API with a key in the "
        "Authorization header, or from its own pages."
    )


def _host_name(host: str) -> str:
    """`[::1]:8000` → `::1`."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host
