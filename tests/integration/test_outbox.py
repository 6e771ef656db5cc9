"""Jobs that a transaction submits: there when it has committed, and only then."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.pool import StaticPool

from jobs.catalogue import Catalogue
from jobs.heavy_cpu_task import heavy_cpu_task
from service.adapters.door import Door
from service.adapters.jobs import BlockingJobs
from service.adapters.outbox import OutboxRow, metadata, outbox, outbox_relay
from service.adapters.outbox import sweep as outbox_sweep
from service.adapters.outbox.sweeper import Sweeper, sweeper_of
from service.broker.enqueuer import new_job_id
from service.broker.intake import Options
from service.errors import JobNotFound, OptionsInvalid, ParametersInvalid, RedisAway
from service.settings import Settings
from tests.conftest import PATIENCE, ROOT, RedisServer, Start, eventually
from tests.integration.databases import Database, sqlite
from tests.integration.outbox_program import Program, job_ids, queued, running
from tests.sample_tasks import describe, echo
from tests.sample_unique_tasks import refresh
from tests.sample_waiting_tasks import double, double_again


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits send nothing: what they leave stays in the outbox until a test sweeps."""
    monkeypatch.setattr(Sweeper, "nudge", lambda *_arguments, **_options: None)


# A transaction's end


def test_a_commit_enqueues_what_was_submitted_and_a_worker_runs_it(
    program: Program, start_worker: Start
) -> None:
    start_worker()
    with program.sessions.begin() as session:
        program.order(session, "first")
        job = program.jobs.submit_on_commit(session, echo, "it runs")
        with pytest.raises(JobNotFound):
            job.record()
    eventually(program.is_sent)
    assert job.result(PATIENCE) == "it runs"
    assert program.ordered() == ["first"]


def test_a_rollback_enqueues_nothing_ever(program: Program, connection: redis.Redis) -> None:
    with pytest.raises(RuntimeError), program.sessions.begin() as session:
        program.jobs.submit_on_commit(session, echo, 1)
        session.flush()
        program.jobs.submit_on_commit(session, echo, 2)
        raise RuntimeError("on second thought")
    with program.sessions() as session:
        program.jobs.submit_on_commit(session, echo, 3)
        session.flush()  # and never committed
    with program.sessions() as session:
        program.jobs.submit_on_commit(session, echo, 4)
        session.flush()
        session.rollback()
        kept = program.jobs.submit_on_commit(session, echo, 5)
        session.commit()
    eventually(program.is_sent)
    assert program.relay.sweep() == 0
    assert job_ids(connection) == [kept.id]


def test_a_commit_that_fails_enqueues_nothing(program: Program, connection: redis.Redis) -> None:
    with program.sessions.begin() as session:
        program.order(session, "taken")
    with pytest.raises(IntegrityError), program.sessions.begin() as session:
        program.jobs.submit_on_commit(session, echo, 1)
        program.order(session, "taken")
    assert program.relay.sweep() == 0
    assert job_ids(connection) == []


def test_a_savepoint_takes_its_submissions_back_with_it(
    program: Program, connection: redis.Redis
) -> None:
    with program.sessions.begin() as session:
        before = program.jobs.submit_on_commit(session, echo, "before")
        with pytest.raises(IntegrityError), session.begin_nested():
            program.jobs.submit_on_commit(session, echo, "taken back")
            session.execute(insert(outbox).values(id=None))
        with session.begin_nested():
            released = program.jobs.submit_on_commit(session, echo, "released")
        # Released is not committed: the transaction may still be rolled back.
        assert program.relay.sweep() == 0
        after = program.jobs.submit_on_commit(session, echo, "after")
    eventually(program.is_sent)
    assert queued(connection) == [before.id, released.id, after.id]


def test_what_a_released_savepoint_submitted_is_sent_by_the_commit(
    program: Program, connection: redis.Redis
) -> None:
    if program.database.is_sqlite:
        begin_explicitly(program.engine)
    with program.sessions.begin() as session:
        with session.begin_nested():
            job = program.jobs.submit_on_commit(session, echo, 1)
        for _ in range(3):  # long enough for a sweep that came too soon
            assert program.relay.sweep() == 0
    eventually(program.is_sent)
    assert queued(connection) == [job.id]


def test_one_session_commits_again_and_again(program: Program, connection: redis.Redis) -> None:
    with program.sessions() as session:
        for number in range(3):
            program.jobs.submit_on_commit(session, echo, number)
            session.commit()
            eventually(program.is_sent)
    assert len(queued(connection)) == 3


def test_sessions_of_several_databases_send_what_is_theirs(
    program: Program, settings: Settings, tmp_path: Path, connection: redis.Redis
) -> None:
    with running(sqlite(tmp_path, "other"), settings, program.door.catalogue) as other:
        other.create_tables()
        with other.sessions() as theirs, program.sessions() as ours:
            first = program.jobs.submit_on_commit(ours, echo, "ours")
            second = program.jobs.submit_on_commit(theirs, echo, "theirs")
            ours.commit()
            eventually(program.is_sent)
            theirs.rollback()
        assert queued(connection) == [first.id]
        # One session with two databases: the row is written where it is bound.
        with Session(binds={outbox: other.engine}, bind=program.engine) as both:
            third = program.jobs.submit_on_commit(both, echo, "theirs")
            program.order(both, "ours")
            both.flush()
            both.commit()
        eventually(other.is_sent)
    assert queued(connection) == [first.id, third.id]
    assert second.id not in job_ids(connection)


def test_a_scoped_session_will_do(program: Program, connection: redis.Redis) -> None:
    scoped = scoped_session(program.sessions)
    job = program.jobs.submit_on_commit(scoped, echo, 1)
    scoped.commit()
    scoped.remove()
    eventually(program.is_sent)
    assert queued(connection) == [job.id]


# What is submitted


def test_what_does_not_fit_is_told_at_the_call_and_the_transaction_goes_on(
    program: Program, connection: redis.Redis
) -> None:
    with program.sessions.begin() as session:
        program.order(session, "first")
        with pytest.raises(ParametersInvalid, match="count"):
            program.jobs.submit_on_commit(session, describe, count=-1)
        with pytest.raises(OptionsInvalid, match="refresh is unique"):
            program.jobs.submit_on_commit(session, refresh, "x")
        keyed = program.jobs.with_options(Options(idempotency_key="order-1"))
        with pytest.raises(OptionsInvalid, match="idempotency_key"):
            keyed.submit_on_commit(session, echo, 1)
    assert program.ordered() == ["first"]
    assert program.relay.sweep() == 0
    assert job_ids(connection) == []


def test_parameters_arrive_as_they_were_given(program: Program, start_worker: Start) -> None:
    start_worker()
    text = "\0 ünï 🐴 '; --" + "x" * 100_000
    with program.sessions.begin() as session:
        echoed = program.jobs.submit_on_commit(session, echo, {"text": [text, None, 1.5]})
        typed = program.jobs.submit_on_commit(
            session, describe, 1, when=datetime.now(UTC), blob=b"\xff\0", tags=["a"]
        )
    eventually(program.is_sent)
    assert echoed.result(PATIENCE) == {"text": [text, None, 1.5]}
    assert typed.result(PATIENCE)["blob"] == "bytes"
    assert typed.result(PATIENCE)["when"] == "datetime"


@pytest.mark.usefixtures("silent")
def test_options_are_kept_and_a_delay_counts_from_the_call(
    program: Program, connection: redis.Redis
) -> None:
    options = Options(delay=3600, queue="cpu", timeout=7, result_ttl=8, at_front=True)
    called = datetime.now(UTC)
    with program.sessions.begin() as session:
        later = program.jobs.with_options(options).submit_on_commit(session, echo, 1)
        passed = program.jobs.with_options(Options(at=called - timedelta(days=1)))
        now = passed.submit_on_commit(session, echo, 2)
    due = datetime.fromisoformat(json.loads(program.outbox()[0].options)["at"])
    assert called <= due - timedelta(hours=1) <= datetime.now(UTC)
    assert program.relay.sweep() == 2
    assert (later.status(), later.record().queue, now.status()) == ("scheduled", "cpu", "queued")
    assert connection.zscore("rq:scheduled:cpu", later.id) == pytest.approx(due.timestamp(), abs=1)
    kept = connection.hmget(f"rq:job:{later.id}", "timeout", "result_ttl", "enqueue_at_front")
    assert kept == [b"7", b"8", b"1"]


def test_a_job_may_depend_on_one_of_the_same_transaction(
    program: Program, start_worker: Start
) -> None:
    start_worker(PADDOCK_TASKS=",".join(("jobs", "tests.sample_waiting_tasks")))
    with program.sessions.begin() as session:
        job = program.jobs.submit_on_commit(session, double, 1)
        for _ in range(3):
            behind = program.jobs.with_options(Options(depends_on=[job.id], result_as="n"))
            job = behind.submit_on_commit(session, double_again)
    eventually(program.is_sent)
    assert job.result(PATIENCE) == 16


# On the way to Redis


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_program_that_dies_between_its_commit_and_the_end_of_sending_loses_nothing(
    when: str, program: Program, start: Start, connection: redis.Redis
) -> None:
    dying = start(
        sys.executable, "-m", "tests.integration.killed_outbox", when, program.database.url
    )
    assert dying.wait(PATIENCE) == -signal.SIGKILL
    (row,) = program.outbox()
    assert job_ids(connection) == ([row.id] if when == "after" else [])
    assert program.relay.sweep() == 1  # by another process
    assert program.is_sent()
    assert queued(connection) == [row.id]
    assert program.jobs.job(row.id).record().parameters == {"value": when}


@pytest.mark.usefixtures("silent")
def test_two_relays_at_once_make_one_job_of_each_row(
    program: Program, settings: Settings, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_sweep, "PORTION", 20)
    with program.sessions.begin() as session:
        made = [program.jobs.submit_on_commit(session, echo, n).id for n in range(200)]
    both = threading.Barrier(2)

    def sweep(relay: Program) -> int:
        both.wait(PATIENCE)
        return relay.relay.sweep()

    with (
        running(program.database, settings, program.door.catalogue) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        sent = list(pool.map(sweep, (program, other)))
    assert program.is_sent()
    assert sorted(queued(connection)) == sorted(made)
    if not program.database.is_sqlite:
        assert sum(sent) == 200  # neither sends what the other is sending


@pytest.mark.usefixtures("silent")
def test_a_relay_passes_over_rows_that_another_one_is_sending(
    program: Program, connection: redis.Redis
) -> None:
    if program.database.is_sqlite:
        pytest.skip("SQLite locks no rows")
    with program.sessions.begin() as session:
        ids = [program.jobs.submit_on_commit(session, echo, n).id for n in range(3)]
    with program.engine.connect() as other:
        other.execute(select(outbox).where(outbox.c.id == ids[0]).with_for_update())
        assert program.relay.sweep() == 2
    assert program.relay.sweep() == 1
    assert queued(connection) == [ids[1], ids[2], ids[0]]


@pytest.fixture
def with_own(database: Database, program: Program, own: RedisServer) -> Iterator[Program]:
    """The program, on a Redis that a test may do anything to."""
    settings = program.door.settings.model_copy(update={"redis_url": SecretStr(own.url)})
    with running(database, settings, program.door.catalogue) as program:
        yield program


def test_what_is_committed_while_redis_is_away_is_sent_when_it_is_back(
    with_own: Program, own: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def app() -> None:
        async with outbox_relay(with_own.engine, with_own.door, interval=0.1):
            own.kill()
            with with_own.sessions.begin() as session:
                ids.extend(with_own.jobs.submit_on_commit(session, echo, n).id for n in range(3))
            await asyncio.to_thread(eventually, lambda: "Redis can't be reached" in caplog.text)
            assert len(with_own.outbox()) == 3
            own.start()
            await asyncio.to_thread(eventually, with_own.is_sent)

    ids: list[str] = []
    asyncio.run(app())
    assert queued(own.client) == ids


def begin_explicitly(engine: Engine) -> None:
    """SQLite's driver begins no transaction for readers and savepoints, unless one does this."""

    @event.listens_for(engine, "connect")
    def leave_it_to_us(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 1000")  # less than Redis is waited for

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")


def test_a_redis_that_does_not_answer_holds_up_neither_commits_nor_other_writers(
    with_own: Program, own: RedisServer
) -> None:
    if with_own.database.is_sqlite:
        begin_explicitly(with_own.engine)
    assert own.process is not None
    own.process.send_signal(signal.SIGSTOP)
    try:
        with with_own.sessions.begin() as session:
            with_own.jobs.submit_on_commit(session, echo, 1)
        for number in range(20):  # while it is being sent, in vain
            with with_own.sessions.begin() as session:
                with_own.order(session, f"order {number}")
                with_own.jobs.submit_on_commit(session, echo, 1)
        with pytest.raises(RedisAway):
            with_own.relay.sweep()
    finally:
        own.process.send_signal(signal.SIGCONT)
    eventually(lambda: with_own.can_sweep() and with_own.is_sent())
    assert len(queued(own.client)) == len(job_ids(own.client)) == 21


def test_a_full_queue_keeps_its_rows_waiting_and_no_others(
    program: Program, settings: Settings, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_sweep, "PORTION", 2)
    limited = settings.model_copy(update={"queue_limit": 1})
    with running(program.database, limited, program.door.catalogue) as strict:
        with strict.sessions.begin() as session:
            here = [strict.jobs.submit_on_commit(session, echo, n).id for n in range(4)]
            to_cpu = strict.jobs.with_options(Options(queue="cpu"))
            there = to_cpu.submit_on_commit(session, echo, 1).id
        eventually(lambda: len(strict.outbox()) == 3)
        assert (queued(connection), queued(connection, "cpu")) == (here[:1], [there])
        connection.delete("rq:queue:default")
        assert strict.relay.sweep() == 1
        assert queued(connection) == here[1:2]


# What is refused


@pytest.fixture
def older(program: Program, settings: Settings) -> Iterator[Program]:
    """The same program before it was deployed anew: it knows fewer tasks."""
    with running(program.database, settings, Catalogue.load(["jobs"])) as older:
        yield older


@pytest.mark.usefixtures("silent")
def test_what_can_not_be_sent_is_kept_with_its_error_and_holds_up_no_other(
    program: Program, older: Program, connection: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    on_nobody = program.jobs.with_options(Options(depends_on=["nobody"]))
    with program.sessions.begin() as session:
        unknown = program.jobs.submit_on_commit(session, echo, 1).id
        alone = on_nobody.submit_on_commit(session, heavy_cpu_task, 1).id
        changed = program.jobs.submit_on_commit(session, heavy_cpu_task, 1).id
        rubbish = program.jobs.submit_on_commit(session, heavy_cpu_task, 1).id
        foreign = program.jobs.submit_on_commit(session, heavy_cpu_task, 1).id
        session.flush()
        for job_id, wrong in (
            (changed, {"parameters": '{"n": -1}'}),
            (rubbish, {"parameters": "n=1"}),
            (foreign, {"options": '{"colour": "red"}'}),
        ):
            session.execute(update(outbox).where(outbox.c.id == job_id).values(wrong))
        good = program.jobs.submit_on_commit(session, heavy_cpu_task, 1).id
    assert older.relay.sweep() == 1
    assert job_ids(connection) == [good]
    told = {row.id: row.error for row in program.outbox()}
    for job_id, words in (
        (unknown, "There is no task 'echo'"),
        (alone, "There is no job 'nobody'"),
        (changed, "n: Input should be greater than or equal to 0"),
        (rubbish, "Invalid JSON"),
        (foreign, "colour"),
    ):
        assert words in told[job_id]
        assert any(job_id in line and words in line for line in caplog.messages)
    logged = len(caplog.messages)
    assert older.relay.sweep() == 0
    assert len(caplog.messages) == logged  # it is told once
    # Another program knows the task, and somebody has mended the rest.
    with program.engine.begin() as mending:
        mending.execute(update(outbox).values(parameters='{"n": 1}', options="{}"))
        mending.execute(update(outbox).where(outbox.c.id == unknown).values(parameters="{}"))
    assert program.relay.sweep() == 5
    assert program.is_sent()


def test_a_relay_tries_what_was_refused_again_when_it_begins(
    program: Program, older: Program, connection: redis.Redis
) -> None:
    async def app() -> None:
        async with outbox_relay(program.engine, program.door):
            await asyncio.to_thread(eventually, program.is_sent)

    with older.sessions.begin() as session:
        session.add(OutboxRow(new_job_id(), "echo", "{}", "{}", datetime.now(UTC), older.door))
    eventually(lambda: program.outbox()[0].error)
    with older.sessions.begin() as session:  # which is not tried again by a commit
        older.jobs.submit_on_commit(session, heavy_cpu_task, 1)
    eventually(lambda: len(job_ids(connection)) == 1 == len(program.outbox()))
    asyncio.run(app())
    assert len(job_ids(connection)) == 2


@pytest.mark.usefixtures("silent")
def test_a_job_waits_for_one_that_is_in_the_outbox_itself(
    program: Program, older: Program, connection: redis.Redis
) -> None:
    with program.sessions.begin() as session:
        first = program.jobs.submit_on_commit(session, echo, 1)
        behind = program.jobs.with_options(Options(depends_on=[first.id]))
        second = behind.submit_on_commit(session, heavy_cpu_task, 1)
    assert older.relay.sweep() == 0  # it knows `echo` not
    assert [bool(row.error) for row in program.outbox()] == [True, False]
    assert program.relay.sweep() == 2
    assert job_ids(connection) == [first.id, second.id]
    assert second.status() == "waiting"


@pytest.mark.usefixtures("silent")
def test_a_task_that_has_become_unique_since_leaves_the_job_that_lives(
    program: Program, connection: redis.Redis
) -> None:
    living = program.jobs.submit(refresh, "x")
    with program.sessions.begin() as session:
        session.add(
            OutboxRow(
                *(new_job_id(), "refresh", '{"name": "x", "seconds": 0.0}', "{}"),
                *(datetime.now(UTC), program.door),
            )
        )
    assert program.relay.sweep() == 1
    assert program.is_sent()
    assert job_ids(connection) == [living.id]


# In a program


def test_a_relay_sends_what_a_dead_program_left_and_is_done_when_its_block_ends(
    program: Program, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, program.sessions.begin() as session:
        patch.setattr(Sweeper, "nudge", lambda *_arguments, **_options: None)
        left = program.jobs.submit_on_commit(session, echo, 1)
        session.commit()

    async def app() -> None:
        async with outbox_relay(program.engine, program.door, interval=0.05):
            await asyncio.to_thread(eventually, program.is_sent)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(app())
    assert queued(connection) == [left.id]


def test_a_database_without_the_table_fails_the_transaction(
    database: Database, settings: Settings, catalogue: Catalogue
) -> None:
    with (
        running(database, settings, catalogue) as program,
        pytest.raises(DBAPIError, match="paddock_outbox"),
        program.sessions.begin() as session,
    ):
        program.jobs.submit_on_commit(session, echo, 1)


def test_trouble_in_the_background_is_told_once(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    sweeper = sweeper_of(program.engine, program.door)
    metadata.drop_all(program.engine)
    sweeper.nudge()
    eventually(lambda: caplog.messages)
    eventually(lambda: not sweeper._is_at_work())
    sweeper.nudge()
    eventually(lambda: not sweeper._is_at_work())
    with pytest.raises(DBAPIError):
        program.relay.sweep()
    (message,) = caplog.messages
    assert "The outbox of" in message
    assert "paddock_outbox" in message


def test_one_connection_for_everybody_is_left_alone_in_the_background(
    settings: Settings, catalogue: Catalogue, connection: redis.Redis, caplog: Any
) -> None:
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    metadata.create_all(engine)
    door = Door(settings, catalogue)
    with Session(engine) as session:
        for number in range(2):
            BlockingJobs(door).submit_on_commit(session, echo, number)
            session.commit()
    (message,) = caplog.messages
    assert "one connection for everybody" in message
    assert outbox_relay(engine, door).sweep() == 2
    assert len(queued(connection)) == 2
    door.close()
    engine.dispose()


def test_a_forked_process_sends_what_it_commits(
    program: Program, start: Start, connection: redis.Redis
) -> None:
    forking = start(sys.executable, "-m", "tests.integration.forked_outbox", program.database.url)
    assert forking.wait(PATIENCE) == 0
    assert program.is_sent()
    assert [program.jobs.job(each).record().parameters for each in queued(connection)] == [
        {"value": "of the child"}
    ]


def test_a_program_that_ends_after_its_commit_has_sent_it(
    program: Program, settings: Settings, connection: redis.Redis
) -> None:
    script = """
import sys
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, update
from sqlalchemy.orm import Session
from service.adapters.jobs import BlockingJobs
from tests.sample_tasks import echo
with Session(create_engine(sys.argv[1])) as session:
    BlockingJobs().submit_on_commit(session, echo, 1)
    session.commit()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, program.database.url],
        env=os.environ | settings.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == ("", "")
    assert program.is_sent()
    assert len(queued(connection)) == 1


def test_nothing_else_needs_sqlalchemy_and_submit_on_commit_says_that_it_does() -> None:
    script = """
import sys
sys.modules["sqlalchemy"] = None  # as where it is not installed
import service.cli, service.api.app, service.adapters.background, worker
from service.adapters.jobs import BlockingJobs
from jobs.heavy_cpu_task import heavy_cpu_task
try:
    BlockingJobs().submit_on_commit(object(), heavy_cpu_task, 1)
except ImportError as error:
    print(error)
"""
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "submit_on_commit needs SQLAlchemy 2" in out.stdout
    assert "pip install 'paddock[sqlalchemy]'" in out.stdout
