"""Failures are told apart into type and message, whatever the exception said."""

import subprocess
import sys
import traceback
from collections.abc import Callable

import pytest
from rq.timeouts import JobTimeoutException

from service.execution.recovery import _WHY
from service.failure import read_failure


class Refused(Exception):
    """One that lives in a module."""


def plain() -> None:
    raise ValueError("too large")


def without_message() -> None:
    raise ValueError


def with_an_empty_message() -> None:
    raise ValueError("")


def of_a_module() -> None:
    raise Refused("no")


def of_a_function() -> None:
    class Local(Exception):
        pass

    raise Local("here only")


def with_a_colon() -> None:
    raise ValueError("url: http://x:80/: refused")


def of_several_lines() -> None:
    raise ValueError("first\nsecond\n\nfourth")


def with_indented_lines() -> None:
    raise ValueError("first\n  indented\n    more\nlast")


def that_begins_with_a_line_break() -> None:
    raise ValueError("\n  indented\nlast")


def with_odd_line_breaks() -> None:
    raise ValueError("a\x0bb\x0cc\u2028d\x85e")


def with_a_frame_in_it() -> None:
    raise ValueError('in\n  File "other.py", line 3, in f\n    boom()\nKeyError: 1')


def of_a_child_process() -> None:
    child = subprocess.run([sys.executable, "-c", "1 / 0"], capture_output=True, text=True)
    raise RuntimeError(f"the child failed:\n{child.stderr}")


def caused() -> None:
    try:
        plain()
    except ValueError as error:
        raise KeyError("outer") from error


def while_handling() -> None:
    try:
        plain()
    except ValueError:
        int("x")


def thrice() -> None:
    try:
        caused()
    except KeyError:
        raise Refused("in the end\n  indented") from None


def with_notes() -> None:
    error = ValueError("too large")
    error.add_note("by half")
    raise error


def of_syntax() -> None:
    compile("a b", "<typed>", "exec")


def of_syntax_after_another() -> None:
    try:
        plain()
    except ValueError:
        of_syntax()


def too_deep() -> None:
    too_deep()


def several_at_once() -> None:
    raise ExceptionGroup("many", [ValueError("a"), ExceptionGroup("more", [KeyError("b")])])


def several_at_once_said_in_lines() -> None:
    raise ExceptionGroup("many\n  and more", [ValueError("a")])


def several_at_once_and_caused() -> None:
    try:
        plain()
    except ValueError as error:
        raise ExceptionGroup("many", [error]) from error


def one_after_several() -> None:
    try:
        several_at_once()
    except ExceptionGroup as error:
        raise Refused("in the end") from error


def timed_out() -> None:
    raise JobTimeoutException("Task exceeded maximum timeout value (180 seconds)")


def of_the_system() -> None:
    raise SystemExit(3)


HERE = f"{__name__}."


@pytest.mark.parametrize(
    ("fail", "name", "message"),
    [
        (plain, "ValueError", "too large"),
        (without_message, "ValueError", ""),
        (with_an_empty_message, "ValueError", ""),
        (of_a_module, f"{HERE}Refused", "no"),
        (of_a_function, f"{HERE}of_a_function.<locals>.Local", "here only"),
        (with_a_colon, "ValueError", "url: http://x:80/: refused"),
        (of_several_lines, "ValueError", "first\nsecond\n\nfourth"),
        (with_indented_lines, "ValueError", "first\n  indented\n    more\nlast"),
        (that_begins_with_a_line_break, "ValueError", "\n  indented\nlast"),
        (with_odd_line_breaks, "ValueError", "a\x0bb\x0cc\u2028d\x85e"),
        (
            with_a_frame_in_it,
            "ValueError",
            'in\n  File "other.py", line 3, in f\n    boom()\nKeyError: 1',
        ),
        (caused, "KeyError", "'outer'"),
        (while_handling, "ValueError", "invalid literal for int() with base 10: 'x'"),
        (thrice, f"{HERE}Refused", "in the end\n  indented"),
        (with_notes, "ValueError", "too large\nby half"),
        (of_syntax, "SyntaxError", "invalid syntax"),
        (of_syntax_after_another, "SyntaxError", "invalid syntax"),
        (several_at_once, "ExceptionGroup", "many (2 sub-exceptions)"),
        (several_at_once_said_in_lines, "ExceptionGroup", "many\n  and more (1 sub-exception)"),
        (several_at_once_and_caused, "ExceptionGroup", "many (1 sub-exception)"),
        (one_after_several, f"{HERE}Refused", "in the end"),
        (
            timed_out,
            "rq.timeouts.JobTimeoutException",
            "Task exceeded maximum timeout value (180 seconds)",
        ),
        (of_the_system, "SystemExit", "3"),
    ],
)
def test_an_exception_is_read_back_from_its_traceback(
    fail: Callable[[], None], name: str, message: str
) -> None:
    text = formatted(fail)
    failure = read_failure(text)
    assert (failure.type, failure.message) == (name, message)
    assert failure.traceback == text


def formatted(fail: Callable[[], None]) -> str:
    """As RQ stores it."""
    with pytest.raises(BaseException) as caught:
        fail()
    return "".join(traceback.format_exception(caught.value))


def test_a_childs_traceback_in_the_message_is_the_message() -> None:
    failure = read_failure(formatted(of_a_child_process))
    assert failure.type == "RuntimeError"
    assert failure.message.startswith("the child failed:\nTraceback (most recent call last):")
    assert failure.message.endswith("ZeroDivisionError: division by zero")


def test_a_recursion_too_deep_is_read_past_its_repeated_frames() -> None:
    text = formatted(too_deep)
    assert "[Previous line repeated" in text
    assert read_failure(text).type == "RecursionError"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); ",
            "Failure",
            "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9);",
        ),
        (
            "Moved to FailedJobRegistry, due to AbandonedJobError, at 2026-01-01 00:00:00",
            "Failure",
            "Moved to FailedJobRegistry, due to AbandonedJobError, at 2026-01-01 00:00:00",
        ),
        (_WHY, "WorkerLost", _WHY.removeprefix("WorkerLost: ")),
        (
            "rq.timeouts.JobTimeoutException: Task exceeded its timeout of 1 s",
            "rq.timeouts.JobTimeoutException",
            "Task exceeded its timeout of 1 s",
        ),
        ("ValueError: no\n  traceback\n", "ValueError", "no\n  traceback"),
        ("Traceback (most recent call last):\n", "Failure", ""),
        ("", "Failure", ""),
    ],
)
def test_a_reason_without_a_traceback_is_read_as_well(text: str, name: str, message: str) -> None:
    failure = read_failure(text)
    assert (failure.type, failure.message, failure.traceback) == (name, message, text)
