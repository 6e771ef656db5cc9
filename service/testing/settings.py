"""The settings of a test: those of the environment, but for what would reach out of the test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest import MonkeyPatch

from service.settings import PREFIX, Settings

CLIENTS_HOST = "testserver"  # the Host name of Starlette's and FastAPI's TestClient


def settings_of_test(
    redis_url: str, folder: Path, given: Mapping[str, Any], environment: MonkeyPatch
) -> Settings:
    """Made, and put into the environment, where the program's own code and tasks find them.

    Mails are written to `outbox` in the data folder, unless a mail server is given.
    """
    environment.setenv(f"{PREFIX}SMTP_URL", "")  # so that it is not read from .env either
    settings = Settings.load(
        **{"data_dir": folder / "paddock", **given, "redis_url": redis_url, "allow_volatile": True}
    )
    hosts = (*settings.allowed_hosts, CLIENTS_HOST)
    settings = settings.model_copy(update={"allowed_hosts": hosts})
    for name, value in settings.environment().items():
        environment.setenv(name, value)
    return settings
