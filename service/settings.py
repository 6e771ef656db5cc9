"""Settings: read once from PADDOCK_* variables and `.env`, checked, then never changed."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import find_dotenv, load_dotenv
from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jobs.policy import parse_memory
from service.errors import SettingsInvalid
from service.webhooks.addresses import Allowed
from service.webhooks.signature import key_of

PREFIX = "PADDOCK_"
Listed = Annotated[tuple[str, ...], NoDecode]  # comma-separated in the environment
Wanted = Literal["memory", "fsync", "replica"]  # where a job has to be before it is accepted
Lower = BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given)
LogFormat = Annotated[Literal["auto", "pretty", "json"], Lower]
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], Lower]


class Settings(BaseSettings):
    """Every field is the variable of the same name in capitals, with PADDOCK_ before it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(
        8000, ge=0, le=65535, description="Port the API listens on; 0 takes a free one, printed."
    )
    data_dir: Path = Field(
        Path("data"), description="Folder for the embedded Redis, the outbox and tasks' files."
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Your own Redis (redis://, rediss:// or unix://); without it `paddock up` "
        "runs one of its own.",
    )
    redis_server: str | None = Field(
        None,
        description="Program that `paddock up` runs as its Redis, such as `redis-server` (7 or "
        "newer); without it the valkey-server that comes with Paddock.",
    )
    allow_volatile: bool = Field(
        False, description="Accept a Redis that may lose jobs (no append-only file, or eviction)."
    )
    durability: Wanted = Field(
        "fsync",
        description="Where a job is once it is accepted: in Redis's `memory`, on its disk "
        "(`fsync`), or on that of a `replica` as well.",
    )
    processes: int = Field(
        1, ge=1, description="Processes that `paddock serve` and `paddock up` run the API in."
    )
    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=0,
        description="Worker processes of `paddock up` and `paddock work`; one per core by default.",
    )
    queues: Listed = Field(
        ("default", "cpu", "mail"),
        min_length=1,
        description="Queues the workers serve, comma-separated, in order of priority.",
    )
    io_queues: Listed = Field(
        ("io",),
        min_length=1,
        description="Queues of jobs that mostly wait, which the io workers serve, comma-separated, "
        "in order of priority.",
    )
    io_workers: int = Field(
        1,
        ge=0,
        description="Io workers of `paddock up` and `paddock work`; 0 for none, as with "
        "`PADDOCK_WORKERS=0`.",
    )
    async_concurrency: int = Field(
        100, ge=1, description="Jobs that one io worker runs at once, in one process."
    )
    async_block_limit: float = Field(
        5,
        gt=0,
        description="Seconds that one job may block the event loop it shares until the others are "
        "put back and run in a fresh one.",
    )
    tasks: Listed = Field(
        ("jobs",),
        min_length=1,
        description="Modules or packages that hold the tasks, comma-separated.",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Keys that callers must show, comma-separated; none are asked for when empty.",
    )
    allowed_hosts: Listed = Field(
        (),
        description="Further Host names to answer to when no keys are set, comma-separated "
        "(loopback names always are).",
    )
    max_body: int = Field(
        1024 * 1024, ge=1024, description="Largest request body accepted, in bytes."
    )
    request_timeout: float = Field(
        20,
        gt=0,
        description="Seconds that a request's body may take to arrive, and one more for each "
        "16 KiB of it.",
    )
    queue_limit: int = Field(
        0,
        ge=0,
        description="Jobs that may wait on a queue, and as many scheduled for it; the API answers "
        "`429` to more. 0 sets no limit.",
    )
    idempotency_ttl: int = Field(
        24 * 3600, ge=1, description="Seconds that an `Idempotency-Key` is remembered."
    )
    max_batch: int = Field(
        100_000,
        ge=1,
        le=1_000_000,
        description="Most jobs in one batch; each of its items may have `PADDOCK_MAX_BODY` bytes.",
    )
    shutdown_grace: float = Field(
        30, ge=0, description="Seconds that running jobs and requests get when told to stop."
    )
    timeout_grace: float = Field(
        5, ge=0, description="Seconds that a job past its timeout gets to clean up."
    )
    worker_max_jobs: int = Field(
        0, ge=0, description="Jobs after which a worker makes room for a fresh one; 0 for never."
    )
    worker_max_memory: str | None = Field(
        None,
        description="Memory of a worker itself, such as `1GiB`, from which on it makes room for a "
        "fresh one after its job.",
    )
    log_format: LogFormat = Field(
        "auto",
        description="Shape of the logs: `pretty` lines, `json` objects, or `auto`: pretty on a "
        "terminal, JSON elsewhere.",
    )
    log_level: LogLevel = Field(
        "info",
        description="Least level that is logged: `debug` (each request as well), `info`, "
        "`warning`, `error` or `critical`.",
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="Mail server for the mail tasks, `smtp://user:password@host:587/?starttls=1`; "
        "without it mails are written to `outbox` in the data folder.",
    )
    webhook_secret: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Secrets that webhooks are signed with, `whsec_<base64>`, comma-separated; "
        "without one there are no webhooks.",
    )
    webhook_allow: Listed = Field(
        (),
        description="Hosts, addresses and networks (`10.1.0.0/16`) inside your network that "
        "webhooks may go to, comma-separated; public ones always may.",
    )

    @field_validator(
        *("queues", "io_queues", "tasks", "api_keys", "allowed_hosts", "webhook_allow"),
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("webhook_secret", mode="before")
    @classmethod
    def _split_secrets(cls, value: Any) -> Any:
        # Standard Webhooks lists them with spaces
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("data_dir")
    @classmethod
    def _resolve(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        schemes = ("redis", "rediss", "unix")
        if value and urlsplit(value.get_secret_value()).scheme not in schemes:
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value

    @field_validator("worker_max_memory")
    @classmethod
    def _an_amount(cls, value: str | None) -> str | None:
        parse_memory(value)
        return value

    @field_validator("api_keys")
    @classmethod
    def _long_enough(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < 16 for key in value):
            raise ValueError("each key needs at least 16 characters; try `openssl rand -hex 16`")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _able_to_sign(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            key_of(secret.get_secret_value())
        return value

    @field_validator("webhook_allow")
    @classmethod
    def _places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Allowed.parse(value)
        return value

    @model_validator(mode="after")
    def _no_open_door(self) -> Self:
        if not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                f"PADDOCK_HOST={self.host} lets other machines in, and anyone could run jobs: "
                "set PADDOCK_API_KEYS, or listen on 127.0.0.1"
            )
        return self

    @property
    def served_queues(self) -> list[str]:
        """The queues that workers and io workers are to serve."""
        io = self.io_queues if self.io_workers else ()
        return list(dict.fromkeys([*self.queues, *io]))

    @classmethod
    def load(cls, **overrides: Any) -> "Settings":
        """Read the environment, and `.env` in the current folder for what it does not set.

        `.env` goes into this process's environment, so that tasks find their own variables too.

        Raises `SettingsInvalid`, whose message names each wrong setting.
        """
        load_dotenv(find_dotenv(usecwd=True))
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsInvalid("; ".join(map(_reason, error.errors()))) from None

    def environment(self) -> dict[str, str]:
        """What a child process needs in its environment to load these same settings."""
        values = {name: _as_text(getattr(self, name)) for name in type(self).model_fields}
        return {
            f"{PREFIX}{name.upper()}": text for name, text in values.items() if text is not None
        }


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    return f"{PREFIX}{str(error['loc'][0]).upper()}: {message}"


def _as_text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(text for part in value if (text := _as_text(part)) is not None)
        case _:
            return str(value)
