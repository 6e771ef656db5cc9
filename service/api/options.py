"""Options in the query: what they are, and how a handler reads them by itself.

FastAPI's own reading of a query model looks at every field of it in each request, which takes
longer than all else that is done to a submission; and most submissions have no query at all.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, cast

from fastapi import Request
from fastapi.datastructures import QueryParams
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from service.api.problems import options_refusal
from service.broker.intake import LONGEST_DELAY
from service.broker.status import Status
from service.errors import OptionsInvalid

LONGEST_TIMEOUT = 30 * 24 * 3600  # seconds
LONGEST_WAIT = 300  # seconds a request may be kept open

Wait = Annotated[
    float | None,
    Field(
        ge=0,
        le=LONGEST_WAIT,
        description="Seconds to wait for the job to end before answering.",
    ),
]


def _not_a_number(value: Any) -> Any:
    # Pydantic takes numbers for seconds since 1970, and `at=60` would mean: at once.
    if isinstance(value, str) and value.strip("+-.0123456789 ") == "":
        raise ValueError("should be written like 2030-01-31T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_not_a_number)]


class RunOptions(BaseModel):
    """How jobs are to be run. They ride in the query, apart from the task's own parameters."""

    model_config = ConfigDict(extra="forbid")

    delay: float | None = Field(
        None, ge=0, le=LONGEST_DELAY, description="Seconds from now until it is queued."
    )
    at: Moment | None = Field(
        None, description="When it is queued, RFC 3339 with a time zone; at once if in the past."
    )
    expires_in: float | None = Field(
        None,
        gt=0,
        le=LONGEST_DELAY,
        description="Seconds from now within which it has to be started; else it is canceled.",
    )
    queue: str | None = Field(None, description="Another queue than the task's own.")
    timeout: int | None = Field(
        None, ge=1, le=LONGEST_TIMEOUT, description="Seconds one execution may take."
    )
    result_ttl: int | None = Field(
        None, ge=1, le=LONGEST_DELAY, description="Seconds the finished job is kept."
    )
    at_front: bool = Field(False, description="Put it at the front of its queue.")
    webhook: str | None = Field(
        None,
        description="URL that gets a signed POST when the job has ended, however it did.",
        examples=["https://example.com/hooks/paddock"],
    )


class SubmitOptions(RunOptions):
    """The same, for one job, which may wait for others, or be waited for."""

    depends_on: str | None = Field(
        None, description="Ids of jobs to wait for, comma-separated.", max_length=4_000
    )
    on_dependency_failure: Literal["fail", "run"] = Field(
        "fail",
        description="What it does if one of them does not finish: fail, or run all the same.",
    )
    result_as: str | None = Field(
        None,
        description="The parameter that is given the result of the (one) job in `depends_on`; "
        "left out of the body.",
    )
    results_as: str | None = Field(
        None,
        description="The parameter that is given the results of all jobs in `depends_on`, a list "
        "in their order; left out of the body.",
    )
    wait: Wait = None

    @property
    def given(self) -> str | None:
        """The parameter that gets its value later."""
        return self.result_as or self.results_as


class WaitOption(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wait: Wait = None


class FilterOptions(BaseModel):
    """Which jobs are meant."""

    model_config = ConfigDict(extra="forbid")

    task: str | None = None
    queue: str | None = None
    since: Moment | None = Field(None, description="Enqueued at this time or later.")


class CancelOptions(FilterOptions):
    """Which jobs to cancel; at least one of these has to be given."""

    status: Literal[Status.QUEUED, Status.SCHEDULED, Status.WAITING, Status.RUNNING] | None = None


class RetryOptions(FilterOptions):
    """Which jobs to run again."""

    status: Literal[Status.FAILED] = Field(description="No others can be retried.")


class ListOptions(FilterOptions):
    """Which jobs to list."""

    status: Status | None = None
    cursor: str | None = Field(None, description="The `next` of the page before.")
    limit: int = Field(50, ge=1, le=500)


Options = TypeVar("Options", bound=BaseModel)


def read_options(request: Request, model: type[Options]) -> Options:
    """The query as this model. Raises `OptionsInvalid`."""
    if not request.scope["query_string"]:
        return cast(Options, _without_query(model))
    query = request.query_params
    if len(query) < len(query.multi_items()):
        raise _given_twice(query)
    try:
        return model.model_validate(dict(query))
    except ValidationError as error:
        raise options_refusal(error) from error


def _given_twice(query: QueryParams) -> OptionsInvalid:
    """All but the last would be forgotten, and a job run before one that it depends on."""
    name, times = Counter(name for name, _ in query.multi_items()).most_common(1)[0]
    told = f"It is given {times} times; give it once, with commas where it takes several values."
    return OptionsInvalid(
        f"{name}: {told}", errors=[{"in": "query", "field": name, "message": told}]
    )


@cache
def described_options(model: type[BaseModel]) -> tuple[dict[str, Any], ...]:
    """The fields of this model as OpenAPI's `parameters`; the same for all tasks."""
    schema = model.model_json_schema()
    return tuple(
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": field.get("description", ""),
            "schema": field,
        }
        for name, field in schema["properties"].items()
    )


@cache
def _without_query(model: type[BaseModel]) -> BaseModel:
    return model()


def moment_of(options: RunOptions) -> datetime | None:
    """When to queue it; None for at once. Raises `OptionsInvalid`."""
    moment = datetime.now(UTC)
    if options.at is not None and options.delay is not None:
        raise OptionsInvalid("Give either `delay` or `at`, not both.", errors=[])
    if options.at is not None:
        if options.at.year >= datetime.max.year:
            raise OptionsInvalid("at: this is out of reach.", errors=[])
        return options.at if options.at > moment else None
    return moment + timedelta(seconds=options.delay) if options.delay else None


def expiry_of(options: RunOptions, at: datetime | None) -> datetime | None:
    """By when a job that is queued `at` has to be started, if ever. Raises `OptionsInvalid`."""
    if options.expires_in is None:
        return None
    moment = datetime.now(UTC)
    wait = (options.delay or (at - moment).total_seconds()) if at else 0.0
    if wait >= options.expires_in:
        raise OptionsInvalid("expires_in: it would expire before it is queued.", errors=[])
    return moment + timedelta(seconds=options.expires_in)
