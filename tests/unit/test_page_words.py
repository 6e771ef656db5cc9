"""Figures, times and other people's text, as the page writes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.api.page.words import ago, count, duration, memory, plain, short, summary


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.3404, "340 ms"),
        (0.9996, "1 s"),
        (1, "1 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (59.96, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_a_duration_is_told_in_two_units_at_most(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "just now"),
        (5.5, "5 s ago"),
        (130, "2 min ago"),
        (3 * 3600 + 5, "3 h ago"),
        (50 * 3600, "2 d ago"),
        (-65.5, "in 1 min"),
        (-90_000.5, "in 25 h"),
    ],
)
def test_a_moment_is_told_by_how_long_it_is_ago(seconds: float, words: str) -> None:
    assert ago(datetime.now(UTC) - timedelta(seconds=seconds)) == words


def test_figures_are_short() -> None:
    assert [memory(size) for size in (None, 0, 999, 1_000_000, 43_400_000, 2.5e9)] == [
        "–",
        "0 B",
        "999 B",
        "1 MB",
        "43 MB",
        "2.5 GB",
    ]
    assert count(1204) == "1,204"
    assert short("01a21103-e9bc-7780-9b5d-71d035686ab9") == "35686ab9"
    assert short("by-hand") == "by-hand"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (None, "unreadable"),
        ({}, ""),
        ({"to": "ada", "n": 1, "x": None}, 'to="ada", n=1, x=null'),
        ({"text": "\x1b[31mred\x1b[0m é"}, 'text="\\u001b[31mred\\u001b[0m é"'),
    ],
)
def test_parameters_are_told_in_a_line(parameters: Any, words: str) -> None:
    assert summary(parameters) == words


def test_a_long_line_of_parameters_is_cut() -> None:
    assert len(summary({"text": "x" * 500})) == 140


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m\x1b[K", "red"),
        ("\x1b]0;a title\x07words", "words"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("bell\x07 nul\x00 delete\x7f", "bell nul delete"),
        ("<b>&amp;", "<b>&amp;"),
    ],
)
def test_what_terminals_take_for_colours_is_left_out(text: str, shown: str) -> None:
    assert plain(text) == shown
