"""The URL that a caller wants told: taken apart, and refused where it leads inside.

What the URL shows is checked when the job is submitted, and again when it is told; what its host's
name resolves to is checked then too. The connection goes to an address that was checked, so that
a name can't lead elsewhere a moment later.
"""

import re
import socket
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from service.webhooks.addresses import Address, Allowed, parse_address, why_refused

LONGEST_URL = 2048  # characters
PORTS = {"http": 80, "https": 443}

_CHARACTERS = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # of a URL (RFC 3986 §2), percent-encoded
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
# Names that no public server has (RFC 6761, RFC 6762, RFC 8375, ICANN's choice for private use)
_INSIDE = ("localhost", "local", "internal", "home.arpa", "invalid", "test")


class TargetRefused(ValueError):
    """A webhook may not go to this URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send it."""

    scheme: str
    host: str  #: as the URL has it, in lower case, without brackets or a final dot
    port: int
    path: str  #: with the query


def parse_target(url: str, allowed: Allowed) -> Target:
    """Take the URL apart. Raises `TargetRefused` where it is wrong, or seen to lead inside."""
    if len(url) > LONGEST_URL:
        _refuse(f"the URL has more than {LONGEST_URL} characters")
    if not _CHARACTERS.fullmatch(url):
        _refuse("the URL has characters that must be percent-encoded, or written in punycode")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise TargetRefused(f"the URL can't be read: {error}") from None
    if parts.scheme not in PORTS:
        _refuse("the URL must begin with https:// or http://")
    if "@" in parts.netloc:
        _refuse("the URL must not hold a user name or password")
    if port == 0:
        _refuse("there is no port 0")
    host = host.removesuffix(".")
    if host not in allowed.hosts:
        _refuse_inside(host, bracketed=parts.netloc.startswith("["), allowed=allowed)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or PORTS[parts.scheme], path)


def addresses_of(target: Target, allowed: Allowed) -> list[str]:
    """The addresses of its host, each of which may be spoken to.

    Raises `TargetRefused` where one may not, `OSError` where the name does not resolve.
    """
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    if target.host not in allowed.hosts:
        for text in addresses:
            address = parse_address(text)
            if address is None:
                _refuse(f"{target.host} resolves to {text}, which is no address")
            _refuse_address(address, allowed, f"{target.host} resolves to {text}, which")
    return addresses


def _refuse_inside(host: str, *, bracketed: bool, allowed: Allowed) -> None:
    address, last = parse_address(host), host.rpartition(".")[2]
    if address is not None and bracketed == (address.version == 6) and "%" not in host:
        _refuse_address(address, allowed, f"the address {host}")
    elif bracketed or _NUMBER.fullmatch(last):
        _refuse(f"{host!r} is no address as it is usually written")
    elif not _NAME.fullmatch(host):
        _refuse(f"{host!r} is no host's name")
    elif host == last or any(f".{host}".endswith(f".{name}") for name in _INSIDE):
        _refuse(f"{host} is a name inside a network; PADDOCK_WEBHOOK_ALLOW can let it through")


def _refuse_address(address: Address, allowed: Allowed, what: str) -> None:
    if word := why_refused(address, allowed):
        _refuse(f"{what} is {word}; PADDOCK_WEBHOOK_ALLOW can let it through")


def _refuse(reason: str) -> NoReturn:
    raise TargetRefused(reason)
