"""Chains, groups and chords: which jobs they are, what each is given, and what is left of one."""

import functools
import itertools
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.catalogue import Catalogue
from service.adapters.canvas import chain, chord, group
from service.adapters.door import Door, standing_in
from service.adapters.errors import JobCanceled
from service.adapters.group_result import GroupResult
from service.adapters.plan import Plan
from service.adapters.result import AsyncResult
from service.adapters.sending import send
from service.broker.status import Status
from service.errors import OptionsInvalid, ParametersInvalid, QueueFull, QueueNotFound
from service.settings import Settings
from tests.conftest import PATIENCE, ROOT, Start, eventually
from tests.integration.conftest import ALL_TASKS, Jobs
from tests.sample_celery_tasks import double_once, subtract, subtract_elsewhere
from tests.sample_tasks import echo, echo_async, fail_as
from tests.sample_waiting_tasks import double, fail_with, one_a_tenant, total

TASKS = (*ALL_TASKS, "tests.sample_celery_tasks")


@pytest.fixture(scope="module")
def tasks() -> Catalogue:
    return Catalogue.load(TASKS)


@pytest.fixture
def door(redis_url: str, tmp_path: Path, tasks: Catalogue) -> Iterator[Door]:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, tasks=TASKS)
    with standing_in(Door(settings, tasks)) as door:
        yield door


@pytest.fixture
def work(start_worker: Start) -> Start:
    return functools.partial(start_worker, PADDOCK_TASKS=",".join(TASKS))


def job_ids(connection: redis.Redis) -> set[str]:
    keys = [key.decode().split(":") for key in connection.keys("rq:job:*")]
    return {parts[2] for parts in keys if len(parts) == 3}


def lineage(result: Any) -> list[Any]:
    """It, what it came after, and so on."""
    return list(itertools.takewhile(bool, iterate(lambda each: each.parent, result)))


def iterate(step: Callable[[Any], Any], value: Any) -> Iterator[Any]:
    while True:
        yield value
        value = step(value) if value is not None else None


# Chains


def test_each_link_of_a_chain_is_given_the_result_of_the_one_before(
    door: Door, work: Start
) -> None:
    result = chain(subtract.s(10, 1), subtract.s(4), double.s())()
    work()
    assert result.get(timeout=PATIENCE) == 10  # ((10 - 1) - 4) * 2
    assert [each.result for each in lineage(result)] == [10, 5, 9]
    assert lineage(result)[-1].children == [result.parent]
    found = AsyncResult[int](result.id)
    assert [each.id for each in lineage(found)] == [each.id for each in lineage(result)]


def test_a_result_becomes_the_first_parameter_that_is_not_given(door: Door, work: Start) -> None:
    by_name = double.s(2) | subtract.s(x=10)
    taken_by_none = double.s(2) | subtract.si(7, 1) | double.s()
    results = [by_name.delay(), taken_by_none.delay(), (subtract.s(1) | echo_async.s()).delay(5)]
    work()
    assert [each.get(timeout=PATIENCE) for each in results] == [6, 12, 4]


def test_chains_of_chains_and_calls_of_one_task_are_chains(door: Door, work: Start) -> None:
    inner = chain(double.s(), double.s())
    result = chain(double.s(1), inner, chain(inner, double.s()))()
    queued_elsewhere = chain(double.s(1), chain(double.s()).set(queue="mail"))()
    alone = chain(double.s(3))()
    work()
    assert result.get(timeout=PATIENCE) == 64
    assert (queued_elsewhere.get(timeout=PATIENCE), alone.get(timeout=PATIENCE)) == (4, 6)
    assert isinstance(queued_elsewhere, AsyncResult)
    assert (queued_elsewhere.queue, queued_elsewhere.parent.queue) == ("mail", "default")
    assert alone.parent is None


def test_what_comes_after_a_failed_link_fails_with_what_that_one_raised(
    door: Door, work: Start
) -> None:
    result = chain(double.s(1), fail_with.si("no more"), double.s(), double.s())()
    work()
    with pytest.raises(ValueError, match="no more") as raised:
        result.get(timeout=PATIENCE)
    assert "in fail_with" in str(raised.value.__cause__)
    last, third, second, first = lineage(result)
    (note,) = raised.value.__notes__
    assert second.id in note and last.id in note
    assert [each.state for each in (first, second, third, last)] == [
        "SUCCESS",
        "FAILURE",
        "FAILURE",
        "FAILURE",
    ]
    assert (last.retries, last.result.type) == (0, "DependencyFailed")


def test_what_comes_after_a_revoked_link_fails(door: Door, jobs: Jobs) -> None:
    result = chain(double.s(1), double.s(), double.s())()
    result.parent.parent.revoke()
    assert [each.state for each in lineage(result)] == ["FAILURE", "FAILURE", "REVOKED"]
    with pytest.raises(JobCanceled):
        result.get(timeout=PATIENCE)
    result.parent.parent.forget()
    with pytest.raises(Exception, match="DependencyFailed"):  # all that is known still
        result.get(timeout=PATIENCE)


def test_options_of_a_chain_are_for_those_whom_they_suit(door: Door, jobs: Jobs) -> None:
    own = double.s().set(queue="cpu")
    works = chain(double.s(1), own, double.s())
    result = works.apply_async(countdown=60, queue="mail", task_id="the-last", link=double.s())
    last, second, first = (jobs[each.id] for each in lineage(result))
    assert [job.queue for job in (first, second, last)] == ["mail", "cpu", "mail"]
    assert [job.status for job in (first, second, last)] == ["scheduled", "waiting", "waiting"]
    assert last.id == "the-last"
    assert isinstance(result, AsyncResult)
    assert jobs[result.children[0].id].depends_on == ["the-last"]
    assert own.options == {"queue": "cpu"} and not works.options


# Groups


def test_calls_of_one_task_are_a_batch(door: Door, work: Start, jobs: Jobs) -> None:
    result = group(subtract.s(10, n) for n in range(5)).apply_async(queue="cpu")
    assert result.id and {jobs[each.id].batch for each in result} == {result.id}
    assert {jobs[each.id].queue for each in result} == {"cpu"}
    assert (result.ready(), result.completed_count()) == (False, 0)
    work()
    assert result.get(timeout=PATIENCE) == [10, 9, 8, 7, 6]
    assert (result.ready(), result.successful(), result.completed_count()) == (True, True, 5)
    restored = GroupResult.restore(result.id)
    assert list(restored) == list(result)
    assert restored[1].result == 9


@pytest.mark.parametrize(
    "calls",
    {
        "tasks": [double.s(1), subtract.s(3, 1)],
        "queues": [double.s(1), double.s(1).set(queue="cpu")],
        "a unique task": [double_once.s(1), double_once.s(2)],
        "an id": [double.s(1), double.s(1).set(task_id="b")],
        "chains": [chain(double.s(1)), double.s(1)],
        "one": [double.s(1)],
    }.items(),
    ids=lambda named: named[0],
)
def test_calls_that_differ_are_jobs_of_their_own(
    door: Door, work: Start, jobs: Jobs, calls: Any
) -> None:
    result = group(*calls[1])()
    assert result.id is None and {jobs[each.id].batch for each in result} == {None}
    work()
    assert result.get(timeout=PATIENCE)[0] == 2
    assert result.successful()


def test_a_group_is_given_what_its_calls_lack(door: Door, work: Start) -> None:
    results = [group(subtract.s(1)).delay(5), group(double.s(), subtract.s(y=1))(7)]
    work()
    assert [each.get(timeout=PATIENCE) for each in results] == [[4], [14, 6]]
    assert group()().get() == []


def test_a_group_is_revoked(door: Door, jobs: Jobs) -> None:
    result = group(double.s(n) for n in range(3))()
    result.revoke(terminate=True)
    assert [jobs.status(each.id) for each in result] == [Status.CANCELED] * 3


def test_a_batch_whose_acceptance_was_not_heard_of_is_sent_again_and_is_one(
    door: Door, connection: redis.Redis
) -> None:
    plan = Plan(door)
    ends = group(double.s(n) for n in range(3)).lay(plan, None)
    door.begin(send, plan).result()
    first = [step.job_id for step in ends.steps]
    door.begin(send, plan).result()
    assert [step.job_id for step in ends.steps] == first
    assert job_ids(connection) == set(first)
    assert connection.llen("rq:queue:default") == 3


def test_a_large_group_of_calls_that_differ_is_sent_in_parts(
    door: Door, connection: redis.Redis
) -> None:
    result = group(subtract.s(1, 1), *(double.s(n) for n in range(4_000)))()
    queued = [job_id.decode() for job_id in connection.lrange("rq:queue:default", 0, -1)]
    assert sorted(queued) == sorted(each.id for each in result)


# Chords


def test_the_body_of_a_chord_is_given_all_results_in_order(door: Door, work: Start) -> None:
    batch = chord(subtract.s(100, n) for n in range(50))(echo.s())
    mixed = chord([subtract.s(9, 2), double.s(4), subtract_elsewhere.s(3, 1)])(total.s(plus=1))
    ignored = chord([double.s(1), double.s(2)])(subtract.si(5, 4))
    one = chord(double.s(4))(total.s())
    for _ in range(2):
        work()
    assert batch.get(timeout=PATIENCE) == [100 - n for n in range(50)]
    assert isinstance(batch.parent, GroupResult) and batch.parent.successful()
    assert mixed.get(timeout=PATIENCE) == 7 + 8 + 2 + 1
    assert (ignored.get(timeout=PATIENCE), one.get(timeout=PATIENCE)) == (1, 8)
    assert isinstance(AsyncResult[Any](batch.id).parent, GroupResult)


def test_a_chord_of_nothing_is_given_an_empty_list(door: Door, work: Start) -> None:
    results = [chord([])(total.s(plus=3)), chain(double.s(1), group(), echo.s())()]
    work()
    assert [each.get(timeout=PATIENCE) for each in results] == [3, []]


def test_a_chord_of_fifty_of_which_one_fails_fails_with_what_that_one_raised(
    door: Door, work: Start
) -> None:
    header = [double.s(n) for n in range(49)]
    header.insert(17, fail_as.s("key"))
    result = chord(header)(total.s())
    for _ in range(2):
        work()
    with pytest.raises(KeyError, match="never retried"):
        result.get(timeout=PATIENCE)
    assert isinstance(result, AsyncResult) and isinstance(result.parent, GroupResult)
    assert (result.state, result.retries) == ("FAILURE", 0)
    eventually(result.parent.ready)  # the others run all the same
    assert result.parent.completed_count() == 49


def test_what_may_stand_in_each_other_does(door: Door, work: Start) -> None:
    works = {
        "a group in the middle": double.s(1) | group(double.s(), subtract.s(1)) | echo.s(),
        "a group at the end": chain(double.s(1), group(double.s(), subtract.s(1))),
        "groups after each other": group(double.s(1), double.s(2)) | group(total.s(), echo.s()),
        "a group of chains in a chord": chord(
            [double.s(1) | double.s(), chain(double.s(2), subtract.s(1), double.s())], echo.s()
        ),
        "groups in a group": group(group(double.s(1), double.s(2)), double.s(3)) | echo.s(),
        "a chord in a chain": chain(
            subtract.s(9, 7), chord([double.s(), double.s()], total.s()), double.s()
        ),
        "a chord in a chord": chord(
            [chord([double.s(1), double.s(2)], total.s()), double.s(5)], total.s()
        ),
        "a chain as a body": chord([double.s(1), double.s(2)], total.s() | double.s()),
        "a group as a body": chord([double.s(1)], group(echo.s(), total.s())),
        "a chain that ends in a group, in a chord": chord(
            [double.s(1) | group(double.s(), subtract.s(1)), double.s(5)], echo.s()
        ),
    }
    results = {name: each.delay() for name, each in works.items()}
    for _ in range(2):
        work()
    assert {name: each.get(timeout=PATIENCE) for name, each in results.items()} == {
        "a group in the middle": [4, 1],
        "a group at the end": [4, 1],
        "groups after each other": [6, [2, 4]],
        "a group of chains in a chord": [4, 6],
        "groups in a group": [2, 4, 6],
        "a chord in a chain": 16,
        "a chord in a chord": 16,
        "a chain as a body": 12,
        "a group as a body": [[2], 2],
        "a chain that ends in a group, in a chord": [4, 1, 10],
    }


def test_a_unique_task_whose_job_lives_stands_in_a_chain_with_that_job(
    door: Door, work: Start
) -> None:
    lives = double_once.delay(5)
    result = chain(double_once.s(5), subtract.s(1))()
    assert result.parent == lives
    work()
    assert result.get(timeout=PATIENCE) == 9


# Refused


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a delay in the middle": (
        lambda: chain(double.s(1), double.s().set(countdown=5))(),
        TypeError,
        "double: a job that waits for others .* Delay the first one",
    ),
    "an id for two": (
        lambda: chain(double.s(1).set(task_id="a"), double.s().set(task_id="a"))(),
        OptionsInvalid,
        "task_id: 'a' is given to two of these calls",
    ),
    "an id for a group": (
        lambda: group(double.s(1), double.s(2)).apply_async(task_id="a"),
        TypeError,
        "task_id= is for one job, and this is a group",
    ),
    "a link of a group": (
        lambda: chain(double.s(1), group(double.s())).apply_async(link=double.s()),
        TypeError,
        r"link= is for one job, .* group\(…\) \| total",
    ),
    "a chord without a body": (
        lambda: chord([double.s(1)]).delay(),
        TypeError,
        "a chord without a body",
    ),
    "a chain of nothing": (lambda: chain().delay(), TypeError, "a chain of nothing"),
    "no parameter left": (
        lambda: chain(double.s(1), double.s(n=2))(),
        TypeError,
        r"double has no parameter left .* double\.si\(…\)",
    ),
    "an argument too many in the last": (
        lambda: chain(double.s(1), subtract.s(1), subtract.s(1, 2))(),
        TypeError,
        "too many positional arguments",
    ),
    "a value that does not fit in the last": (
        lambda: chord([double.s(1), double.s(2)])(total.s(plus="many")),
        ParametersInvalid,
        "total: plus: Input should be a valid integer",
    ),
    "an unknown queue of a link": (
        lambda: double.apply_async((1,), link=double.s().set(queue="gpu")),
        QueueNotFound,
        "no queue 'gpu'",
    ),
    "a key that depends on a result": (
        lambda: chain(echo.s("x"), one_a_tenant.s(folder="/tmp"))(),
        OptionsInvalid,
        "concurrency_key has to be known at once",
    ),
    "more than a job may wait for": (
        lambda: chord(subtract.s(1, n) for n in range(1001))(total.s()),
        OptionsInvalid,
        "1000 jobs at most, these are 1001",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_is_refused_before_anything_is_submitted(
    door: Door, connection: redis.Redis, case: str
) -> None:
    call, kind, told = REFUSED[case]
    with pytest.raises(kind, match=told):
        call()
    assert not connection.keys("rq:*") and not connection.keys("paddock:*")


# Cut short


def test_what_was_accepted_before_a_link_was_refused_is_told_and_run(
    redis_url: str, tmp_path: Path, tasks: Catalogue, connection: redis.Redis, work: Start
) -> None:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, tasks=TASKS, queue_limit=2)
    with standing_in(Door(settings, tasks)):
        with pytest.raises(QueueFull) as refused:
            chain(double.s(1), double.s(), double.s(), double.s())()
        accepted = job_ids(connection)
        assert len(accepted) == 2
        (note,) = refused.value.__notes__
        assert note.startswith("2 of 4 jobs were accepted, and will run: ")
        assert all(job_id in note for job_id in accepted)
        with pytest.raises(QueueFull) as refused:
            group(double.s(n) for n in range(3))()
        assert not hasattr(refused.value, "__notes__") and job_ids(connection) == accepted
        work()
        for job_id in accepted:
            assert AsyncResult[int](job_id).get(timeout=PATIENCE) in (2, 4)


def test_a_submitter_that_is_killed_leaves_no_job_that_waits_for_one_that_is_not(
    door: Door, redis_url: str, connection: redis.Redis, work: Start, jobs: Jobs
) -> None:
    # It kills itself, so that where it is held up the one that kills is, too.
    script = (
        "import os, signal, sys, threading, time\n"
        "from service.adapters.canvas import chain, group\n"
        "from service.broker.connection import connect\n"
        "from tests.sample_tasks import echo\n"
        "def kill():\n"
        "    with connect(sys.argv[1]) as redis:\n"
        "        while redis.zcard('rq:deferred:default') <= 20:\n"
        "            time.sleep(0.001)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "threading.Thread(target=kill, daemon=True).start()\n"
        "links = [group(echo.s(), echo.s()) if n % 5 == 4 else echo.s() for n in range(1, 400)]\n"
        "chain(echo.s(1), *links)()\n"
        "print('all of it')\n"
    )
    submitter = subprocess.Popen(
        [sys.executable, "-c", script, redis_url],
        cwd=ROOT,
        env=door.settings.environment() | {"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert submitter.communicate()[0] == "" and submitter.returncode == -signal.SIGKILL
    accepted = job_ids(connection)
    for job_id in accepted:
        assert set(jobs[job_id].depends_on) <= accepted
    work()
    eventually(lambda: all(jobs.status(job_id).is_final for job_id in accepted), 60)
    assert {jobs.status(job_id) for job_id in accepted} == {Status.FINISHED}
