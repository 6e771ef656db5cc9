"""A failed job raises here what it raised there, as far as that can be known."""

import traceback

import pytest

from service.adapters.errors import JobFailed
from service.adapters.raised import JobTraceback, error_of
from service.failure import read_failure


class Refused(Exception):
    """One that lives in a module."""


class Particular(Exception):
    """One that is not made of its message."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


class Careless(Exception):
    """One whose text can't be had."""

    def __init__(self, _message: str) -> None:
        raise RuntimeError("not now")


def rebuilt(error: BaseException) -> Exception:
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001
        text = "".join(traceback.format_exception(raised))
    return error_of("some-job", read_failure(text))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("too large"),
        ValueError(),
        KeyError("name"),
        KeyError(3),
        ZeroDivisionError("division by zero"),
        Refused("no"),
        Refused("several\nlines: of 'text'"),
        RuntimeError("{'looks': 'like data'}"),
        ValueError("{{}}"),
        KeyError("{{}}"),
    ],
)
def test_an_exception_comes_back_as_it_was(error: Exception) -> None:
    back = rebuilt(error)
    assert (type(back), str(back)) == (type(error), str(error))
    assert isinstance(back.__cause__, JobTraceback)
    assert "test_raised.py" in str(back.__cause__)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("now"), Particular(1, "no")])
def test_what_can_not_be_raised_here_is_told_of(error: BaseException) -> None:
    back = rebuilt(error)
    assert isinstance(back, JobFailed)
    assert back.type.endswith(type(error).__name__) and back.message == str(error)
    assert "test_raised.py" in back.traceback


@pytest.mark.parametrize(
    "text",
    [
        "nowhere.to.be.Found: hello",
        "subprocess.Popen: ls",
        "os.system: true",
        f"{__name__}.Careless: hello",
        "builtins: x",
        "concurrent.futures.ProcessPoolExecutor: loaded when it is asked for",
        "Work-horse terminated unexpectedly",
    ],
)
def test_nothing_but_exceptions_is_made_of_what_stands_in_redis(text: str) -> None:
    assert isinstance(error_of("some-job", read_failure(text)), JobFailed)


def test_a_timeout_is_a_timeout_error() -> None:
    text = "rq.timeouts.JobTimeoutException: Task exceeded its timeout of 1 s"
    assert isinstance(error_of("some-job", read_failure(text)), TimeoutError)
