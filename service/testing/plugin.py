"""The pytest plugin, which every suite loads where Paddock is installed.

So it imports nothing but pytest until a test asks for the fixture `paddock`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from service.testing.paddock import Paddock

MISSING = "{} is not installed, and the fixture `paddock` needs it: pip install 'paddock[testing]'"


@pytest.fixture(scope="session")
def paddock_redis_url() -> Iterator[str]:
    """The Redis that tests use, by default a fake one in their own process.

    Another may be named by a fixture that overrides this one. It is emptied before each test.
    """
    try:
        from service.testing.fake_redis import fake_redis
    except ModuleNotFoundError as error:
        pytest.fail(MISSING.format(error.name), pytrace=False)
    with fake_redis() as url:
        yield url


@pytest.fixture
def paddock_settings() -> Mapping[str, Any]:
    """Settings of the tests, where they are not to be those of the environment; to be overridden.

    By the names that `service.settings.Settings` has, such as `tasks` and `queues`.
    """
    return {}


@pytest.fixture
def paddock(
    paddock_redis_url: str,
    paddock_settings: Mapping[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Paddock]:
    """The jobs that the program submits in this test, which are run when the test says so."""
    from service.adapters.door import Door, standing_in
    from service.testing.paddock import Paddock
    from service.testing.settings import settings_of_test

    settings = settings_of_test(paddock_redis_url, tmp_path, paddock_settings, monkeypatch)
    door = Door(settings)
    with standing_in(door), Paddock(settings, door.catalogue) as paddock:
        yield paddock
