"""When schedules are due: clocks put forward and back, missed ticks, what is refused."""

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobs.catalogue import Catalogue
from jobs.cron import Cron
from jobs.errors import DeclarationError
from jobs.schedule import Missed, Schedule
from service.execution.cron import MOST_MISSED, due_ticks, tick_job_id

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]
ODD_ZONES = ("Africa/Casablanca", "America/St_Johns", "Asia/Beirut", "Pacific/Chatham")


def year_of(expression: str, zone: str, year: int) -> list[datetime]:
    """All ticks of this year on the clocks of this zone."""
    begin, end = (
        datetime(y, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC) for y in (year, year + 1)
    )
    second = timedelta(seconds=1)
    return list(Cron(expression, zone).ticks(begin - second, end - second))


def clocks(expression: str, zone: str, day: str) -> list[str]:
    """What the clocks show at the ticks of one day, with their distance from UTC."""
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    end = begin + timedelta(days=1)  # the same time on the next day's clock
    second = timedelta(seconds=1)
    ticks = Cron(expression, zone).ticks(
        begin.astimezone(UTC) - second, end.astimezone(UTC) - second
    )
    return [tick.astimezone(ZoneInfo(zone)).strftime("%H:%M%z") for tick in ticks]


@pytest.mark.parametrize("year", [2024, 2026])
@pytest.mark.parametrize("zone", [*ZONES, *ODD_ZONES])
@pytest.mark.parametrize("clock", ["0 0", "30 1", "0 2", "30 2", "59 23"])
def test_a_daily_job_has_one_tick_a_day_all_year(clock: str, zone: str, year: int) -> None:
    ticks = year_of(f"{clock} * * *", zone, year)
    assert len(ticks) == (366 if year == 2024 else 365)
    days = {tick.astimezone(ZoneInfo(zone)).date() for tick in ticks}
    assert len(days) == len(ticks)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("minute", [0, 15])
def test_an_hourly_job_has_as_many_ticks_as_the_year_has_hours(zone: str, minute: int) -> None:
    ticks = year_of(f"{minute} * * * *", zone, 2026)
    assert len(ticks) == 8760
    gaps = {after - before for before, after in zip(ticks, ticks[1:], strict=False)}
    if zone != "Australia/Lord_Howe":
        assert gaps == {timedelta(hours=1)}
    else:  # half an hour forward, half an hour back: 02:00 is 30 min nearer, or further
        assert gaps <= {timedelta(minutes=minutes) for minutes in (30, 60, 90)}


@pytest.mark.parametrize(
    ("expression", "zone", "day", "shown"),
    [
        # Put forward from 02:00 to 03:00: fixed times run once, just after.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28", ["02:30+0100"]),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29", ["03:00+0200"]),
        ("30 2 * * *", "Europe/Berlin", "2026-03-30", ["02:30+0200"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-29", ["03:00+0200"]),
        ("30 2,3 * * *", "Europe/Berlin", "2026-03-29", ["03:00+0200", "03:30+0200"]),
        ("0 2,3 * * *", "Europe/Berlin", "2026-03-29", ["03:00+0200"]),
        ("30 2 29 3 *", "Europe/Berlin", "2026-03-29", ["03:00+0200"]),
        ("30 2 * * 0", "Europe/Berlin", "2026-03-29", ["03:00+0200"]),
        ("30 2 * * *", "America/New_York", "2026-03-08", ["03:00-0400"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", ["02:30+1100"]),
        ("45 2 * * *", "Australia/Lord_Howe", "2026-10-04", ["02:45+1100"]),
        ("0 0 * * *", "Asia/Beirut", "2026-03-29", ["01:00+0300"]),
        # Repeating ones go on at their pace.
        ("0 1-3 * * *", "Europe/Berlin", "2026-03-29", ["01:00+0100", "03:00+0200"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-29", ["03:00+0200", "03:30+0200"]),
        ("15 */2 * * *", "Europe/Berlin", "2026-03-29", ["00:15+0100", "03:15+0200", "04:15+0200"]),
        # Put back from 03:00 to 02:00: fixed times run the first time only.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", ["02:30+0200"]),
        ("0 2,3 * * *", "Europe/Berlin", "2026-10-25", ["02:00+0200", "03:00+0100"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-10-25", ["02:00+0200", "02:30+0200"]),
        ("30 1 * * *", "America/New_York", "2026-11-01", ["01:30-0400"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05", ["01:45+1100"]),
        # Repeating ones both times.
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-25",
            ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"],
        ),
    ],
)
def test_clocks_put_forward_or_back_neither_lose_nor_double_a_tick(
    expression: str, zone: str, day: str, shown: list[str]
) -> None:
    assert clocks(expression, zone, day)[: len(shown)] == shown
    if "*/2" not in expression:
        assert len(clocks(expression, zone, day)) == len(shown)


def test_an_hourly_job_has_23_ticks_in_spring_and_25_in_autumn() -> None:
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)):
        for expression in ("0 * * * *", "30 * * * *", "0 0-23 * * *", "@hourly"):
            assert len(clocks(expression, "Europe/Berlin", day)) == hours


def test_half_an_hour_put_forward_leaves_no_hour_without_its_tick() -> None:
    # croniter itself goes from 01:00 to 03:00 here (pallets-eco/croniter#258).
    shown = clocks("0 * * * *", "Australia/Lord_Howe", "2026-10-04")
    assert shown[1:4] == ["01:00+1030", "02:30+1100", "03:00+1100"]
    assert len(shown) == 24


def test_a_day_that_a_country_left_out_is_made_up_for_once() -> None:
    # Samoa had no 30 December 2011.
    assert clocks("0 12 * * *", "Pacific/Apia", "2011-12-31") == ["00:00+1400", "12:00+1400"]


@pytest.mark.parametrize("zone", [*ZONES, *ODD_ZONES])
@pytest.mark.parametrize(
    "expression", ["30 2 * * *", "*/20 * * * *", "15 1,2 * * *", "0 */3 * * *"]
)
def test_the_next_tick_does_not_depend_on_where_one_looks_from(zone: str, expression: str) -> None:
    cron, drawn = Cron(expression, zone), random.Random(3)
    for change in [*changes(zone, 2026), datetime(2026, 6, 1, tzinfo=UTC)]:
        day = timedelta(days=1)
        ticks = list(cron.ticks(change - 2 * day, change + 2 * day))
        assert ticks == sorted(set(ticks))
        for before, after in zip(ticks, ticks[1:], strict=False):
            between = before + (after - before) * drawn.random()
            assert cron.next(before) == cron.next(between) == after


def changes(zone: str, year: int) -> list[datetime]:
    """The hours of a year in which the clocks are put forward or back."""
    hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(8760)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hours[n] for n in range(1, len(hours)) if offsets[n] != offsets[n - 1]]


def test_ticks_are_what_the_clock_shows_far_from_any_change() -> None:
    """Against every second of three days, and every minute of two months."""
    begin = datetime(2026, 6, 1, tzinfo=UTC)
    for expression, matches, step, count in (
        (
            "*/7 3-5 * * * 10,40",
            lambda t: t.minute % 7 == 0 and 3 <= t.hour <= 5 and t.second in (10, 40),
            1,
            3 * 86400,
        ),
        (
            "5,35 */4 1-15 6 *",
            lambda t: t.minute in (5, 35) and t.hour % 4 == 0 and t.day <= 15 and t.month == 6,
            60,
            60 * 1440,
        ),
        (
            "0 9 13 * fri",
            lambda t: (t.hour, t.minute) == (9, 0) and (t.day == 13 or t.weekday() == 4),
            60,
            60 * 1440,
        ),
    ):
        expected = [
            moment
            for moment in (begin + timedelta(seconds=step * number) for number in range(1, count))
            if matches(moment)
        ]
        end = begin + timedelta(seconds=step * (count - 1))
        assert list(Cron(expression).ticks(begin, end)) == expected
        assert expected


def test_the_29th_of_february_is_found_years_ahead() -> None:
    assert Cron("0 0 29 2 *", "Europe/Berlin").next(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(
        2104, 2, 28, 23, tzinfo=UTC
    )


def test_the_latest_ticks_of_a_year_of_seconds_are_found_without_counting_them() -> None:
    until = datetime(2026, 6, 1, tzinfo=UTC)
    cron, began = Cron("* * * * * *"), until - timedelta(days=365)
    assert cron.latest(began, until, 3) == [until - timedelta(seconds=n) for n in (2, 1, 0)]
    assert Cron("0 0 1 1 *").latest(until - timedelta(days=3650), until, 2) == [
        datetime(2025, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
    ]
    assert cron.latest(until, until, 3) == []


# Missed ticks

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def minutes_before_noon(schedule: Schedule, pending: int) -> list[int]:
    """When due ticks were, where the first that nobody took was so many minutes ago."""
    due = due_ticks(schedule, NOON - timedelta(minutes=pending), NOON + timedelta(seconds=30))
    assert due == sorted(due)
    return [int((NOON - tick) / timedelta(minutes=1)) for tick in due]


@pytest.mark.parametrize(
    ("missed", "pending", "enqueued"),
    [
        ("skip", 0, [0]),
        ("once", 0, [0]),
        ("all", 0, [0]),
        ("skip", 3, [0]),
        ("once", 3, [0]),
        ("all", 3, [3, 2, 1, 0]),
    ],
)
def test_ticks_each_minute_after_an_outage(
    missed: Missed, pending: int, enqueued: list[int]
) -> None:
    assert minutes_before_noon(Schedule(cron="* * * * *", missed=missed), pending) == enqueued


@pytest.mark.parametrize(
    ("missed", "enqueued"), [("skip", []), ("once", [5]), ("all", [125, 65, 5])]
)
def test_ticks_each_hour_none_of_which_is_just_now(missed: Missed, enqueued: list[int]) -> None:
    schedule = Schedule(cron="55 * * * *", missed=missed)
    assert minutes_before_noon(schedule, 125) == enqueued


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
def test_a_tick_that_waited_for_a_new_leader_is_not_missed(missed: Missed) -> None:
    schedule = Schedule(cron="0 12 * * *", missed=missed)
    assert due_ticks(schedule, NOON, NOON + timedelta(seconds=59)) == [NOON]


def test_all_missed_ticks_are_the_latest_thousand() -> None:
    schedule = Schedule(cron="* * * * *", missed="all")
    due = due_ticks(schedule, NOON - timedelta(days=30), NOON)
    assert (len(due), due[-1]) == (MOST_MISSED, NOON)


def test_a_ticks_job_id_is_its_own_and_sorts_by_its_time() -> None:
    ids = [tick_job_id("nightly", NOON + timedelta(seconds=n)) for n in range(100)]
    assert ids == sorted(set(ids))
    assert tick_job_id("nightly", NOON) == ids[0] != tick_job_id("weekly", NOON)
    assert uuid.UUID(ids[0]).version == 7


# Declarations


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Catalogue]:
    monkeypatch.chdir(tmp_path)

    def load(source: str) -> Catalogue:
        module = tmp_path / f"acme_{uuid.uuid4().hex}.py"  # imported modules outlive the test
        module.write_text(f"from jobs import job\n{source}\n")
        return Catalogue.load([module.stem])

    return load


def test_a_declared_schedule_carries_the_parameters_as_the_task_accepts_them(declare: Any) -> None:
    (task,) = declare(
        "@job(cron='0 3 * * *', timezone='Europe/Berlin', missed='all',\n"
        "     cron_parameters={'n': '7'})\n"
        "def t(n: int, name: str = 'x'): ..."
    )
    assert task.schedule == Schedule(
        cron="0 3 * * *",
        timezone="Europe/Berlin",
        missed="all",
        parameters={"n": 7, "name": "x"},
    )
    (task,) = declare("@job(cron='@daily')\ndef t(): ...")
    assert task.schedule == Schedule(cron="@daily", timezone="UTC", missed="once", parameters={})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("cron='0 3 * *'", "cron='0 3 \\* \\*': .*columns"),
        ("cron='61 3 * * *'", "cron='61 3 .*out of range"),
        ("cron='0 0 30 2 *'", "cron='0 0 30 2 .*failed to find next date"),
        ("cron='0 0 1 1 * 0 2030'", "cron='0 0 1 1 .*seconds as a sixth"),
        ("cron='R 3 * * *'", "drawn at random"),
        ("cron='H(0-5) 3 * * *'", "drawn at random"),
        (f"cron='{'1,' * 200}1 * * * *'", "seconds as a sixth"),
        ("cron='0 3 * * *', timezone='Europe/Berln'", "timezone='Europe/Berln': there is no such"),
        ("cron='0 3 * * *', timezone='../etc/passwd'", "there is no such time zone"),
        ("cron='0 3 * * *', timezone='Europe'", "there is no such time zone"),
        ("cron='0 3 * * *', timezone='localtime'", "there is no such time zone"),
        ("cron='0 3 * * *', missed='never'", "missed='never': 'skip', 'once' or 'all'"),
        ("cron='0 3 * * *', cron_parameters={'n': 'x'}", "cron_parameters=.*n: .*integer"),
        ("cron='0 3 * * *', cron_parameters={'m': 1}", "cron_parameters=.*m: "),
        ("cron='0 3 * * *', cron_parameters={'n': object()}", "cron_parameters: "),
        ("timezone='Europe/Berlin'", "need a cron="),
        ("missed='all'", "need a cron="),
        ("cron_parameters={'n': 1}", "need a cron="),
        ("cron=3", "int"),
    ],
)
def test_what_can_never_tick_is_refused_with_its_file_and_line(
    declare: Any, options: str, reason: str
) -> None:
    with pytest.raises(DeclarationError, match=rf"(?s)acme_\w+\.py:2: t: .*{reason}"):
        declare(f"@job({options})\ndef t(n: int = 1): ...")


def test_required_parameters_need_values_for_the_schedule(declare: Any) -> None:
    with pytest.raises(DeclarationError, match=r"\.py:2: t: cron_parameters={}: n: .*required"):
        declare("@job(cron='0 3 * * *')\ndef t(n: int): ...")
