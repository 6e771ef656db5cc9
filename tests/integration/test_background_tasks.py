"""FastAPI's BackgroundTasks with one import changed: in the answer's face it is kept already."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import redis
from fastapi import Depends, FastAPI, Form, HTTPException, Response
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.adapters.background import BackgroundTask, BackgroundTasks
from service.adapters.door import Door, standing_in
from service.adapters.errors import NotInCatalogue
from service.broker.status import Status
from service.errors import ParametersInvalid
from service.settings import Settings
from tests.conftest import RedisServer
from tests.integration.conftest import ALL_TASKS, Jobs
from tests.sample_tasks import append_line, echo, echo_async
from tests.sample_unique_tasks import refresh


def plain(value: int) -> int:
    """What nobody has declared."""
    return value


app = FastAPI()


@app.post("/send", status_code=202)
async def send(background_tasks: BackgroundTasks, message: str = Form(...)) -> dict[str, str]:
    job = background_tasks.add_task(echo, message)
    return {"message": "accepted", "job": job.id}


@app.post("/send-in-a-thread", status_code=202)
def send_in_a_thread(background_tasks: BackgroundTasks, message: str = Form(...)) -> Any:
    return {"jobs": [background_tasks.add_task(echo_async, value=len(message)).id]}


@app.post("/two")
async def two(background_tasks: BackgroundTasks) -> list[str]:
    return [background_tasks.add_task(echo, value).id for value in (1, 2)]


def note(background_tasks: BackgroundTasks) -> None:
    background_tasks.add_task(echo, "noted by a dependency")


@app.post("/noted")
async def noted(_: Annotated[None, Depends(note)], background_tasks: BackgroundTasks) -> None:
    background_tasks.add_task(echo, "noted by the endpoint")


async def noted_after(background_tasks: BackgroundTasks) -> AsyncIterator[None]:
    background_tasks.add_task(echo, "before")
    yield


@app.post("/yielding")
async def yielding(_: Annotated[None, Depends(noted_after, scope="function")]) -> None: ...


@app.post("/response")
async def response() -> Response:
    tasks = BackgroundTasks()
    job = tasks.add_task(echo, "by hand")
    return Response(job.id, background=tasks)


@app.post("/single")
def single() -> Response:
    task = BackgroundTask(echo, "alone")
    return Response(task.job.id, background=task)


@app.post("/raises")
async def raises(background_tasks: BackgroundTasks) -> None:
    background_tasks.add_task(echo, "never")
    raise HTTPException(418, "no tea")


@app.post("/unique")
async def unique(background_tasks: BackgroundTasks) -> str:
    return background_tasks.add_task(refresh, "same").id


@app.post("/undeclared")
async def undeclared(background_tasks: BackgroundTasks) -> None:
    background_tasks.add_task(plain, 1)


@app.post("/wrong")
async def wrong(background_tasks: BackgroundTasks, how: str) -> None:
    if how == "missing":
        background_tasks.add_task(append_line, "path")  # type: ignore[call-arg]
    else:
        background_tasks.add_task(echo_async, "no number")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tasks() -> Catalogue:
    return Catalogue.load((*ALL_TASKS, "tests.sample_unique_tasks"))


@pytest.fixture
def client(redis_url: str, tmp_path: Path, tasks: Catalogue) -> Iterator[TestClient]:
    door = Door(Settings(redis_url=redis_url, data_dir=tmp_path), tasks)
    with standing_in(door), TestClient(app) as client:
        yield client


def test_a_form_endpoint_answers_as_before_and_can_tell_the_job(
    client: TestClient, jobs: Jobs
) -> None:
    answer = client.post("/send", data={"message": "hello"})
    assert answer.status_code == 202 and answer.json()["message"] == "accepted"
    job = jobs[answer.json()["job"]]
    assert (job.task, job.status, job.parameters) == ("echo", Status.QUEUED, {"value": "hello"})


def test_what_was_added_is_run_by_a_worker(
    client: TestClient, jobs: Jobs, start_all_tasks: Any
) -> None:
    start_all_tasks()
    (job_id,) = client.post("/send-in-a-thread", data={"message": "four"}).json()["jobs"]
    assert jobs.ended(job_id).result == 4


def test_all_that_an_endpoint_and_its_dependencies_add_is_sent(
    client: TestClient, connection: redis.Redis
) -> None:
    assert len(set(client.post("/two").json())) == 2
    assert client.post("/noted").status_code == 200
    assert client.post("/yielding").status_code == 200
    assert connection.llen("rq:queue:default") == 5


@pytest.mark.parametrize("path", ["/response", "/single"])
def test_tasks_of_a_response_are_kept_before_it_is_sent(
    client: TestClient, jobs: Jobs, path: str
) -> None:
    assert jobs.status(client.post(path).text) == Status.QUEUED


def test_an_endpoint_that_raises_has_nothing_sent(
    client: TestClient, connection: redis.Redis
) -> None:
    assert client.post("/raises").status_code == 418
    assert connection.llen("rq:queue:default") == 0


def test_a_unique_task_tells_the_job_that_stands_for_it(
    client: TestClient, connection: redis.Redis
) -> None:
    assert client.post("/unique").json() == client.post("/unique").json()
    assert connection.llen("rq:queue:default") == 1


def test_what_is_no_task_is_refused_with_the_line_to_add(client: TestClient) -> None:
    with pytest.raises(NotInCatalogue) as refused:
        client.post("/undeclared")
    told = str(refused.value)
    assert f"{__file__}:{plain.__code__.co_firstlineno}: plain" in told
    assert "`@job`" in told and f"PADDOCK_TASKS=jobs,{__name__}" in told


def test_arguments_that_do_not_fit_are_refused_at_the_call(client: TestClient) -> None:
    with pytest.raises(TypeError, match="line"):
        client.post("/wrong?how=missing")
    with pytest.raises(ParametersInvalid, match="value"):
        client.post("/wrong?how=value")


def test_without_redis_the_answer_is_503_and_says_when_to_come_again(
    own: RedisServer, tasks: Catalogue, tmp_path: Path
) -> None:
    door = Door(Settings(redis_url=own.url, data_dir=tmp_path), tasks)
    with standing_in(door), TestClient(app) as client:
        assert client.post("/two").status_code == 200
        own.kill()
        for path in ("/send", "/unique"):
            answer = client.post(path, data={"message": "hello"})
            assert answer.status_code == 503 and answer.headers["Retry-After"]
            assert "nothing was accepted" in json.dumps(answer.json())
