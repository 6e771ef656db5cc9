"""What Celery's users may give a call, and what they are told of the rest."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from jobs import calling
from jobs.calling import CallOptions
from jobs.errors import ServiceMissing
from service.adapters import call_options
from service.adapters.call_options import checked, in_our_terms, sending_again
from service.adapters.canvas import chain, chord, group
from service.adapters.signatures import over
from service.errors import OptionsInvalid
from tests.conftest import ROOT
from tests.sample_celery_tasks import subtract

TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    ("option", "instead"),
    {
        "serializer": "travel as JSON",
        "compression": "compressed as they are",
        "exchange": "name a queue",
        "routing_key": "name a queue",
        "priority": "PADDOCK_QUEUES",
        "soft_time_limit": "give time_limit=",
        "link_error": "on_dependency_failure='run'",
        "ignore_result": "result_ttl",
        "headers": "a parameter of the task",
        "shadow": "@job(name=",
        "producer": "PADDOCK_REDIS_URL",
        "connection": "PADDOCK_REDIS_URL",
        "group_id": "Celery's own",
        "countdwon": "There are: countdown, eta, expires, queue",
    }.items(),
)
def test_an_option_that_there_is_not_is_refused_with_what_to_use_instead(
    option: str, instead: str
) -> None:
    given: dict[str, Any] = {option: 1}
    for refused in (
        lambda: subtract.apply_async((2, 1), **given),
        lambda: subtract.s(2, 1).set(**given),
        lambda: chain(subtract.s(2, 1)).apply_async(**given),
        lambda: group(subtract.s(2, 1)).set(**given),
        lambda: chord([subtract.s(2, 1)])(subtract.s(2), **given),
    ):
        with pytest.raises(TypeError, match=f"^{option}= is ") as told:
            refused()
        assert instead in str(told.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"eta": datetime(2030, 1, 1)}, "eta: needs a time zone"),
        ({"expires": datetime(2030, 1, 1)}, "expires: needs a time zone"),
        ({"countdown": -1}, "countdown: seconds, 0 or more"),
        ({"time_limit": 0}, "time_limit: seconds, more than 0"),
        ({"task_id": "an id"}, "task_id: letters, digits, _ and - only"),
        ({"task_id": ""}, "task_id: letters, digits, _ and - only"),
    ],
)
def test_a_value_that_can_not_be_is_refused(given: Any, told: str) -> None:
    with pytest.raises(OptionsInvalid, match=told):
        subtract.s(2, 1).set(**given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"countdown": 1, "eta": TOMORROW}, "give either"),
        ({"retry_policy": {"max_retries": 1, "errback": print}}, "retry_policy has no errback"),
        ({"link": subtract}, r"give a call of it, subtract\.s\(…\)"),
        ({"link": ["subtract"]}, "no call of a task"),
    ],
)
def test_what_does_not_go_together_is_refused(given: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        subtract.s(2, 1).set(**given)


def test_none_is_as_if_it_were_not_given() -> None:
    assert checked({"countdown": None, "eta": TOMORROW, "link": None}) == {"eta": TOMORROW}


def test_options_are_told_in_our_terms() -> None:
    ours = in_our_terms(CallOptions(countdown=5, queue="cpu", time_limit=1.5, expires=60))
    assert (ours.delay, ours.queue, ours.timeout) == (5, "cpu", 2)
    assert ours.expires is not None
    assert timedelta(0) < ours.expires - datetime.now(UTC) <= timedelta(seconds=60)
    assert in_our_terms(CallOptions(eta=TOMORROW, expires=TOMORROW)).at == TOMORROW


@pytest.mark.parametrize(
    ("given", "pauses"),
    [
        ({}, [0, 0.2, 0.4]),
        ({"retry": False}, []),
        ({"retry": False, "retry_policy": {"max_retries": 5}}, []),
        ({"retry_policy": {"max_retries": 0}}, []),
        (
            {
                "retry_policy": {
                    "max_retries": 5,
                    "interval_start": 1,
                    "interval_step": 2,
                    "interval_max": 4,
                }
            },
            [1, 3, 4, 4, 4],
        ),
        ({"retry_policy": {"max_retries": None}}, [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1]),
    ],
)
def test_it_is_sent_again_as_the_retry_policy_says(given: Any, pauses: list[float]) -> None:
    assert list(islice(sending_again(given).pauses(), 8)) == pytest.approx(pauses)


def test_its_own_options_go_before_those_of_what_it_is_part_of() -> None:
    assert over(CallOptions(queue="cpu"), CallOptions(queue="mail", countdown=1)) == {
        "queue": "cpu",
        "countdown": 1,
    }
    assert over(CallOptions(eta=TOMORROW), CallOptions(countdown=1)) == {"eta": TOMORROW}
    first, second = subtract.s(1), subtract.s(2)
    both = over(CallOptions(link=first), CallOptions(link=[second]))
    assert both["link"] == [second, first]


@pytest.mark.parametrize(
    "made", [lambda: chain(subtract), lambda: group([1]), lambda: subtract.s(1) | subtract]
)
def test_what_is_no_call_can_not_be_composed(made: Any) -> None:
    with pytest.raises(TypeError, match="call of"):
        made()


def test_calls_are_shown_as_they_are_written() -> None:
    one, two = subtract.s(1, y=2), subtract.si(2, 1)
    assert repr(one | two) == "subtract(1, y=2) | subtract(2, 1)"
    assert repr(chord([one], two)) == "chord(group([subtract(1, y=2)]), subtract(2, 1))"


def test_a_signature_may_be_called_here_and_now() -> None:
    assert subtract.s(1)(5) == 4
    assert subtract.si(5, 1)(7) == 4


def test_what_is_not_installed_is_told() -> None:
    with pytest.raises(ServiceMissing, match=r"'nobody' in the group 'paddock\.calling'\. Install"):
        calling._service("nobody")


def test_every_option_is_in_the_table_for_those_who_come_from_celery() -> None:
    page = (ROOT / "docs" / "from-celery.md").read_text()
    options = [*CallOptions.__annotations__, *call_options._INSTEAD]
    assert [name for name in options if f"`{name}" not in page] == []
