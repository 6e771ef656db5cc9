"""Settings: where they come from, and how a wrong one is told."""

import os
from pathlib import Path

import pytest

from service.errors import SettingsInvalid
from service.settings import Settings, is_loopback


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("PADDOCK_"):
            monkeypatch.delenv(name)


def test_the_defaults_serve_one_machine_on_a_loopback_address() -> None:
    settings = Settings.load()
    assert (settings.host, settings.port, settings.redis_url) == ("127.0.0.1", 8000, None)
    assert settings.workers == os.cpu_count()
    assert settings.data_dir == Path.cwd() / "data"


def test_the_environment_goes_before_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PADDOCK_PORT", "9000")
    # load_dotenv writes to os.environ; monkeypatch restores what it knows of.
    monkeypatch.setenv("PADDOCK_QUEUES", "x")
    monkeypatch.delenv("PADDOCK_QUEUES")
    (tmp_path / ".env").write_text("PADDOCK_PORT=9999\nPADDOCK_QUEUES=a, b ,c\n")
    settings = Settings.load()
    assert (settings.port, settings.queues) == (9000, ("a", "b", "c"))


def test_what_the_command_line_gives_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PADDOCK_PORT", "9000")
    assert Settings.load(port=0, host=None).port == 0


def test_settings_never_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PADDOCK_PORT", "http", "PADDOCK_PORT: .*valid integer"),
        ("PADDOCK_PORT", "70000", "PADDOCK_PORT: .*65535"),
        ("PADDOCK_WORKERS", "-1", "PADDOCK_WORKERS: .*greater than or equal to 0"),
        ("PADDOCK_QUEUES", ",", "PADDOCK_QUEUES: "),
        ("PADDOCK_REDIS_URL", "http://x", "PADDOCK_REDIS_URL: must begin with redis://"),
        ("PADDOCK_API_KEYS", "short", "PADDOCK_API_KEYS: .*16 characters"),
        ("PADDOCK_HOST", "0.0.0.0", "PADDOCK_HOST=0.0.0.0 lets other machines in.*API_KEYS"),
        ("PADDOCK_ALLOW_VOLATILE", "perhaps", "PADDOCK_ALLOW_VOLATILE: .*valid boolean"),
        ("PADDOCK_WEBHOOK_ALLOW", "10.0.0.0/40", "PADDOCK_WEBHOOK_ALLOW: .*no host, address"),
    ],
)
def test_a_wrong_setting_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=told) as refused:
        Settings.load()
    assert "short" not in str(refused.value)


def test_secrets_are_not_printed() -> None:
    settings = Settings(api_keys=("a-very-secret-key-indeed",), redis_url="redis://:pw@h/0")
    assert "secret-key" not in repr(settings) and ":pw@" not in repr(settings)


def test_a_child_process_loads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        api_keys=("0123456789abcdef", "fedcba9876543210"),
        redis_url="redis://:pw@h/0",
        queues=("one", "two"),
        allow_volatile=True,
        shutdown_grace=1.5,
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == settings


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.2", False),
        ("example.com", False),
    ],
)
def test_only_loopback_addresses_need_no_keys(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
