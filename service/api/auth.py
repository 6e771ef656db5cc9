"""Who may call: keys, and the browser that was sent here by another site."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.health import OPEN_PATHS
from service.api.problems import problem_response
from service.api.visit import Visit, visit_of
from service.errors import KeyMissing, RequestRefused
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
        self._own_names = {name.lower() for name in (*LOOPBACK_NAMES, settings.host)}
        self._allowed_names = {name.lower() for name in settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, visit = Headers(scope=scope), visit_of(scope)
        key, by_browser = _shown_key(headers)
        problem = (
            self._key_problem(headers, visit, key)
            if self._keys
            else self._name_problem(headers, scope)
        )
        if not problem and (by_browser or not self._keys) and scope["method"] not in SAFE_METHODS:
            problem = _cross_site_problem(headers)
        if problem:
            await problem_response(problem)(scope, receive, send)
            return
        visit.caller = _hash(key).hex() if key else ""
        await self._app(scope, receive, send)

    def _key_problem(self, headers: Headers, visit: Visit, key: bytes | None) -> KeyMissing | None:
        if visit.path in OPEN_PATHS or (key and self._keys.open_with(key)):
            return None
        return _key_missing(headers, shown=key is not None)

    def _name_problem(self, headers: Headers, scope: Scope) -> RequestRefused | None:
        """Without keys, "it comes from this machine" is all the protection there is.

        A web page can have its visitor's browser call this machine: under its own name (DNS
        rebinding), or from its own pages (cross-site requests). And a program elsewhere can say
        "localhost" where the server listens on other addresses, as a user's own app may.
        """
        name = _host_name(headers.get("host", ""))
        if name in self._allowed_names:
            return None
        if name not in self._own_names:
            return RequestRefused(
                f"This service does not go by the name {name!r}: add it to "
                "PADDOCK_ALLOWED_HOSTS, or set PADDOCK_API_KEYS."
            )
        if not _is_local((scope.get("server") or ("",))[0]):
            return RequestRefused(
                "This request comes from another machine: set PADDOCK_API_KEYS, or have "
                f"PADDOCK_ALLOWED_HOSTS list {name!r} where something else keeps strangers out."
            )
        return None


@lru_cache
def _is_local(address: str) -> bool:
    """Whether only this machine reaches this address of the server's; a socket's path, say."""
    try:
        ip = ip_address(address)
    except ValueError:
        return True
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


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
