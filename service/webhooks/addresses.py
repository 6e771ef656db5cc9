"""Which addresses a webhook may go to: those of the public Internet, and what the settings allow.

Else a caller could have a worker speak to what only the worker can reach: a database, a cloud's
metadata service, a router (server-side request forgery).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address

# IANA's special-purpose registries, and what a cloud answers on at a public-looking address.
_REFUSED: list[tuple[IPv4Network | IPv6Network, str]] = [
    (ip_network(network), word)
    for network, word in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a provider's customers"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's own"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),  # with Teredo
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
    )
]
_GLOBAL_V6 = IPv6Network("2000::/3")  # all that is assigned to the public Internet
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the settings let through, though it is not public."""

    hosts: frozenset[str] = frozenset()  #: names, to whatever address they resolve
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "Allowed":
        """Names, addresses and networks (`10.1.0.0/16`). Raises `ValueError`."""
        hosts, networks = [], []
        for entry in entries:
            try:
                networks.append(ip_network(entry))
            except ValueError as error:
                if "/" in entry or ":" in entry or entry.rpartition(".")[2].isdigit():
                    raise ValueError(f"{entry!r} is no host, address or network: {error}") from None
                hosts.append(entry.lower().removesuffix("."))
        return cls(frozenset(hosts), tuple(networks))

    def holds(self, address: Address) -> bool:
        """Whether a network in the settings has this address."""
        return any(address in network for network in self.networks)


def why_refused(address: Address, allowed: Allowed) -> str | None:
    """What kind of address it is that must not be spoken to; None where it may be."""
    meant = _meant(address)
    if allowed.holds(address) or allowed.holds(meant):
        return None
    for network, word in _REFUSED:
        if meant in network:
            return word
    if isinstance(meant, IPv6Address) and meant not in _GLOBAL_V6:
        return "reserved"
    return None


def parse_address(text: str) -> Address | None:
    """The address, where the text is one as it is usually written."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if embedded := address.ipv4_mapped or address.sixtofour:
        return embedded
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address
