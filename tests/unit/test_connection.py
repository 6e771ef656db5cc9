"""Which Redis, told without its password."""

import pytest

from service.broker.connection import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@host:6379/1", "redis://***@host:6379/1"),
        ("rediss://me:sec@ret@host/0?ssl_cert_reqs=none", "rediss://***@host/0?ssl_cert_reqs=none"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix:///run/r.sock?db=1&password=sec@ret", "unix:///run/r.sock?db=1&password=***"),
        ("redis://host?username=me&password=secret", "redis://host?username=***&password=***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
