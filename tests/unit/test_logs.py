"""Logs: what a line looks like, and which are written."""

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from service.logs import ABOUT, configure_logs
from service.settings import Settings

Logged = Callable[..., list[str]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., io.StringIO]]:
    """Configure logs on a stream; all is as before when the test is over."""
    loggers = [logging.getLogger(name) for name in ("", "rq.worker", "rq.job", "uvicorn")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    for handler in loggers[0].handlers[:]:
        loggers[0].removeHandler(handler)  # pytest's, which are not to be closed

    def configure_on(stream: io.StringIO | None = None, **settings: str) -> io.StringIO:
        stream = stream or io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logs(Settings(**settings))
        return stream

    yield configure_on
    logging.captureWarnings(False)
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def test_a_line_of_json_tells_when_who_what_and_about_what(
    configure: Callable[..., io.StringIO],
) -> None:
    stream = configure(log_format="json")
    token = ABOUT.set({"job": "of the context", "request_id": "r1"})
    try:
        logging.getLogger("acme").info("two\nlines of %s", "ä", extra={"job": "j1", "n": 1})
    finally:
        ABOUT.reset(token)
    line = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line.pop("pid") > 1
    assert line == {
        "level": "info",
        "logger": "acme",
        "message": "two\nlines of ä",
        "job": "j1",
        "n": 1,
        "request_id": "r1",
    }


def test_an_error_is_in_its_line(configure: Callable[..., io.StringIO]) -> None:
    stream = configure(log_format="json")
    try:
        raise LookupError("nowhere")
    except LookupError:
        logging.getLogger("acme").exception("could not look", extra={"what": object})
    line = json.loads(stream.getvalue())
    assert line["level"] == "error" and line["what"] == str(object)
    assert line["error"].startswith("Traceback") and "LookupError: nowhere" in line["error"]


def test_a_pretty_line_is_short_unless_it_is_worth_a_look(
    configure: Callable[..., io.StringIO],
) -> None:
    stream = configure(log_format="pretty")
    logging.getLogger("rq.worker").info("one \x1b[32mcoloured\x1b[39;49;00m")
    logging.getLogger("acme").warning("two", extra={"request_id": "r1"})
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d one coloured", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING acme: two \(request r1\)", second)


@pytest.mark.parametrize(
    ("asked", "stream", "is_json"),
    [
        ("auto", Terminal(), False),
        ("auto", io.StringIO(), True),
        ("pretty", io.StringIO(), False),
        ("json", Terminal(), True),
    ],
)
def test_people_get_lines_and_machines_json_unless_it_is_said(
    configure: Callable[..., io.StringIO], asked: str, stream: io.StringIO, is_json: bool
) -> None:
    configure(stream, log_format=asked)
    logging.getLogger("acme").error("oh")
    assert stream.getvalue().startswith("{") is is_json


@pytest.mark.parametrize(
    ("level", "written"), [("debug", "diwu"), ("info", "iw"), ("WARNING", "w"), ("error", "")]
)
def test_the_level_is_that_of_all_loggers(
    configure: Callable[..., io.StringIO], level: str, written: str
) -> None:
    stream = configure(log_format="json", log_level=level)
    logging.getLogger("rq.worker").debug("d")
    logging.getLogger("acme").info("i")
    logging.getLogger("rq.worker").warning("w")
    logging.getLogger("uvicorn.error").info("u")  # tells of its start, as Paddock does
    lines = map(json.loads, stream.getvalue().splitlines())
    assert "".join(line["message"] for line in lines) == written
