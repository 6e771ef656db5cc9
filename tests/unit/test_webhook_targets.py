"""Where a webhook may go: nowhere inside, however the URL is written or the name resolves."""

import socket
from typing import Any

import pytest

from service.webhooks.addresses import Allowed, parse_address, why_refused
from service.webhooks.target import Target, TargetRefused, addresses_of, parse_target

NOBODY = Allowed()

# What the URL itself shows to be wrong, and a word of the reason
REFUSED = {
    "http://127.0.0.1/": "loopback",
    "http://127.1.2.3:8080/x": "loopback",
    "http://127.0.0.1./": "loopback",
    "https://10.0.0.1/": "private",
    "https://172.16.0.1/": "private",
    "https://172.31.255.255/": "private",
    "https://192.168.1.1/": "private",
    "http://169.254.169.254/latest/meta-data/": "link-local",
    "http://168.63.129.16/machine": "a cloud's own",
    "http://100.100.100.200/": "shared by",
    "http://100.64.0.1/": "shared by",
    "http://192.0.0.192/": "reserved",
    "http://0.0.0.0/": "unspecified",
    "http://0.1.2.3/": "unspecified",
    "http://224.0.0.1/": "multicast",
    "http://239.255.255.250/": "multicast",
    "http://255.255.255.255/": "reserved",
    "http://240.0.0.1/": "reserved",
    "http://198.18.0.1/": "benchmarks",
    "http://192.0.2.1/": "documentation",
    "http://198.51.100.7/": "documentation",
    "http://203.0.113.9/": "documentation",
    "http://[::1]/": "loopback",
    "http://[::]/": "unspecified",
    "http://[fe80::1]/": "link-local",
    "http://[fc00::1]/": "private",
    "http://[fd00:ec2::254]/": "private",
    "http://[fec0::1]/": "private",
    "http://[ff02::1]/": "multicast",
    "http://[2001:db8::1]/": "documentation",
    "http://[2001::1]/": "reserved",
    "http://[100::1]/": "reserved",
    "http://[::127.0.0.1]/": "reserved",
    "http://[64:ff9b:1::7f00:1]/": "reserved",
    "http://[::ffff:127.0.0.1]/": "loopback",
    "http://[::ffff:7f00:1]/": "loopback",
    "http://[0:0:0:0:0:ffff:10.0.0.1]/": "private",
    "http://[64:ff9b::7f00:1]/": "loopback",
    "http://[64:ff9b::169.254.169.254]/": "link-local",
    "http://[2002:7f00:1::]/": "loopback",
    "http://[2002:c0a8:101::1]/": "private",
    "http://[fe80::1%25eth0]/": "no address",
    "http://[127.0.0.1]/": "",  # urlsplit's own words
    "http://[::1": "",
    "http://[v1.x]/": "",
    "http://127.1/": "no address",
    "http://0x7f.1/": "no address",
    "http://0x7f000001/": "no address",
    "http://2130706433/": "no address",
    "http://017700000001/": "no address",
    "http://0177.0.0.1/": "no address",
    "http://127.0.0.01/": "no address",
    "http://127.0.0.1.1/": "no address",
    "http://1.2.3.4.0x5/": "no address",
    "http://0/": "no address",
    "http://::1/": "",
    "http://localhost/": "inside a network",
    "http://LOCALHOST:6379/": "inside a network",
    "http://localhost./": "inside a network",
    "http://api.localhost/": "inside a network",
    "http://redis/": "inside a network",
    "http://metadata.google.internal/": "inside a network",
    "http://printer.local/": "inside a network",
    "http://nas.home.arpa/": "inside a network",
    "http://user:secret@example.com/": "user name",
    "http://user@example.com/": "user name",
    "http://example.com@127.0.0.1/": "user name",
    "http://@example.com/": "user name",
    "ftp://example.com/": "https://",
    "file:///etc/passwd": "https://",
    "gopher://example.com/": "https://",
    "javascript:alert(1)": "https://",
    "//example.com/": "https://",
    "example.com/hook": "https://",
    "unix:///run/redis.sock": "https://",
    "http:///x": "host's name",
    "http://": "host's name",
    "http://./": "host's name",
    "http://example..com/": "host's name",
    "http://example.com../": "host's name",
    "http://-example.com/": "host's name",
    "http://%31%32%37.0.0.1/": "no address",
    "http://%6c%6f%63alhost/": "host's name",
    "http://example.com%2f@x/": "user name",
    "http://example.com:0/": "port 0",
    "http://example.com:99999/": "can't be read",
    "http://example.com:http/": "can't be read",
    "http://exam ple.com/": "characters",
    "http://example.com/a b": "characters",
    "http://example.com\\@127.0.0.1/": "characters",
    "http://example.com/\r\nX-Injected: 1": "characters",
    "http://exa\tmple.com/": "characters",
    " http://example.com/": "characters",
    "http://example.com/\x00": "characters",
    "http://bücher.example/": "characters",
    "http://①②⑦.0.0.1/": "characters",
    "http://127。0。0。1/": "characters",
    "http://example.com/ü": "characters",
    "": "characters",
    "https://example.com/" + "x" * 2048: "2048 characters",
}


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_leads_inside_or_nowhere_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused) as refused:
        parse_target(url, NOBODY)
    assert REFUSED[url] in str(refused.value)


TAKEN = {
    "https://example.com": Target("https", "example.com", 443, "/"),
    "http://example.com/": Target("http", "example.com", 80, "/"),
    "HTTPS://Example.COM:8443/Hook?a=1&b=%20#part": Target(
        "https", "example.com", 8443, "/Hook?a=1&b=%20"
    ),
    "https://example.com./x": Target("https", "example.com", 443, "/x"),
    "https://xn--bcher-kva.example/": Target("https", "xn--bcher-kva.example", 443, "/"),
    "https://a_b.example.com?q": Target("https", "a_b.example.com", 443, "/?q"),
    "http://8.8.8.8/": Target("http", "8.8.8.8", 80, "/"),
    "http://[2606:4700::1111]:81/": Target("http", "2606:4700::1111", 81, "/"),
    "http://[64:ff9b::8.8.8.8]/": Target("http", "64:ff9b::8.8.8.8", 80, "/"),
    "http://127.0.0.1.nip.io/": Target("http", "127.0.0.1.nip.io", 80, "/"),  # DNS will tell
}


@pytest.mark.parametrize("url", TAKEN)
def test_a_public_url_is_taken_apart(url: str) -> None:
    assert parse_target(url, NOBODY) == TAKEN[url]


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("127.0.0.0/8", "http://127.0.0.1:9/"),
        ("127.0.0.1", "http://127.0.0.1/"),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]/"),
        ("10.1.0.0/16", "http://10.1.2.3/"),
        ("::1", "http://[::1]/"),
        ("fd00::/8", "http://[fd12::1]/"),
        ("localhost", "http://localhost./"),
        ("Receiver", "http://receiver:8080/"),
        ("hooks.internal", "https://hooks.internal/"),
    ],
)
def test_what_the_settings_allow_is_let_through(entry: str, url: str) -> None:
    assert parse_target(url, Allowed.parse([entry]))


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("127.0.0.1", "http://127.0.0.2/"),
        ("10.1.0.0/16", "http://10.2.0.1/"),
        ("receiver", "http://receiver.local/"),
        ("internal", "http://metadata.google.internal/"),
        ("localhost", "http://127.0.0.1/"),
    ],
)
def test_no_more_than_that_is_let_through(entry: str, url: str) -> None:
    with pytest.raises(TargetRefused, match="PADDOCK_WEBHOOK_ALLOW"):
        parse_target(url, Allowed.parse([entry]))


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "10.0.0.1/8", "300.1.2.3", "fd00::/200"])
def test_a_network_that_is_none_is_told(entry: str) -> None:
    with pytest.raises(ValueError, match="no host, address or network"):
        Allowed.parse([entry])


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_not_refused(text: str) -> None:
    assert why_refused(parse_address(text), NOBODY) is None


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """DNS, from now on."""

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            (family[":" in address], socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


TARGET = parse_target("https://hooks.example.com/", NOBODY)


def test_all_addresses_of_a_name_are_offered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch, "2606:4700::1111", "8.8.8.8", "8.8.8.8")
    assert addresses_of(TARGET, NOBODY) == ["2606:4700::1111", "8.8.8.8"]


@pytest.mark.parametrize(
    "inside", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1", "fe80::1%eth0", "0.0.0.0"]
)
def test_a_name_with_one_address_inside_is_refused(
    monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    resolving_to(monkeypatch, "8.8.8.8", inside)
    with pytest.raises(TargetRefused, match=f"resolves to {inside}, which is "):
        addresses_of(TARGET, NOBODY)


def test_a_name_that_is_allowed_may_resolve_to_any_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolving_to(monkeypatch, "10.0.0.7")
    allowed = Allowed.parse(["hooks.example.com"])
    assert addresses_of(TARGET, allowed) == ["10.0.0.7"]
    assert addresses_of(TARGET, Allowed.parse(["10.0.0.0/24"])) == ["10.0.0.7"]
