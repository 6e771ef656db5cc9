"""The page as it is served: what it shows, its forms without scripts, and what guards it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api import paddock_router
from service.api.page.rendering import POLICY
from service.execution.outcome import Kind
from service.settings import Settings
from tests.integration.by_hand import ByHand
from tests.integration.own_app import client_of, users_app

PAGES = (
    "/",
    "/page/jobs",
    "/page/tasks",
    "/page/tasks/describe",
    "/page/schedules",
    "/page/workers",
)
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


def submit(api: TestClient, task: str, **parameters: Any) -> str:
    answer = api.post(f"/tasks/{task}", json=parameters)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


# What is shown


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_there_before_anything_has_happened(api: TestClient, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert '<html lang="en">' in answer.text


def test_the_home_page_tells_of_queues_and_links_what_else_there_is(api: TestClient) -> None:
    submit(api, "echo", value=1)
    home = api.get("/").text
    assert "No worker runs: 1 job waits until one does." in text_of(home)
    assert {"/docs", "/dashboard/", "/page/tasks"} <= set(re.findall(r'href="([^"]+)"', home))


def test_a_job_is_shown_with_what_it_was_given_and_what_became_of_it(
    api: TestClient, connection: redis.Redis
) -> None:
    job_id = submit(api, "echo", value={"name": "Ada"})
    ByHand(connection, "default").fail_one()
    told = text_of(api.get(f"/page/jobs/{job_id}").text)
    for words in ("failed", "Ada", "Retry", job_id):
        assert words in told


def test_jobs_are_found_by_status_task_queue_and_a_part_of_their_id(api: TestClient) -> None:
    first, second = submit(api, "echo", value=1), submit(api, "sleep", seconds=0)
    for query, found in {
        "task=echo": {first},
        "task=sleep&status=queued": {second},
        "queue=default&status=&task=": {first, second},
        "status=failed": set(),
        "status=nonsense": {first, second},
    }.items():
        listed = api.get(f"/page/jobs?{query}").text
        assert {each for each in (first, second) if each in listed} == found, query
    only = api.get(f"/page/jobs?id={first[-9:]}")
    assert (only.status_code, only.headers["Location"]) == (303, f"/page/jobs/{first}")
    assert first in api.get("/page/jobs?id=-").text


def test_older_jobs_are_a_page_further(api: TestClient) -> None:
    body = json.dumps([{"value": n} for n in range(60)])
    api.post("/tasks/echo/batch", content=body, headers={"Content-Type": "application/json"})
    newest = api.get("/page/jobs").text
    older = re.search(r'href="(/page/jobs\?cursor=[^"]+)">Older', newest)
    assert older
    assert len(re.findall(r'<tr id="job-', newest)) == 50
    assert len(re.findall(r'<tr id="job-', api.get(older[1]).text)) == 10


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/page/jobs/nope", 404, "There is no such job"),
        ("/page/jobs/a%20b", 404, "There is no such job"),
        ("/page/tasks/nope", 404, "There is no such task"),
    ],
)
def test_what_is_not_there_is_told_in_a_page(
    api: TestClient, path: str, status: int, told: str
) -> None:
    answer = api.get(path)
    assert answer.status_code == status
    assert told in text_of(answer.text)


def test_a_redis_that_is_away_is_told_in_a_page(settings: Settings, catalogue: Catalogue) -> None:
    away = settings.model_copy(update={"redis_url": None})
    with client_of(users_app([("", paddock_router(away, catalogue, page=True))])) as client:
        answer = client.get("/page/jobs")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert "Redis does not answer" in answer.text


# Its forms


def test_a_form_submits_a_job_and_leads_to_it(api: TestClient) -> None:
    answer = api.post("/page/tasks/describe", data={"count": "2", "tags": "a\nb", "flag": "true"})
    assert answer.status_code == 303
    job = api.get(answer.headers["Location"].replace("/page", "")).json()
    assert job["parameters"]["count"] == 2
    assert job["parameters"]["tags"] == ["a", "b"]
    assert job["parameters"]["flag"] is True


def test_a_fault_is_told_at_its_field_and_what_was_filled_in_stays(api: TestClient) -> None:
    answer = api.post(
        "/page/tasks/describe", data={"count": "-2", "name": EVIL, "sizes": "{", "mode": '"fast"'}
    )
    assert answer.status_code == 422
    assert re.search(r'id="field-sizes"[^>]+aria-invalid="true"', answer.text)
    assert "not valid JSON" in text_of(answer.text)
    assert "<script>alert" not in answer.text
    answer = api.post("/page/tasks/describe", data={"count": "-2", "ratio": "x", "sizes": "[]"})
    assert "see count, ratio, sizes." in answer.text  # as they stand in the form
    assert re.search(r'id="field-count"[^>]+ autofocus', answer.text)
    answer = api.post("/page/tasks/describe", data={"count": "-2", "name": "Ada"})
    fault = re.search(r'id="field-count-fault">([^<]+)<', answer.text)
    assert fault
    assert "greater than or equal to 0" in fault[1]
    assert 'value="Ada"' in answer.text
    assert api.get("/jobs").json()["jobs"] == []


def test_options_of_the_form_are_heeded(api: TestClient) -> None:
    sent = {"value": "1", "option.delay": "3600", "option.queue": "cpu", "option.at_front": "true"}
    job = api.get(api.post("/page/tasks/echo", data=sent).headers["Location"][len("/page") :])
    assert (job.json()["status"], job.json()["queue"]) == ("scheduled", "cpu")
    refused = api.post("/page/tasks/echo", data={"value": "1", "option.delay": "-5"})
    assert refused.status_code == 422
    assert "delay: Input should be" in refused.text
    assert api.post("/page/tasks/echo", data={"option.queue": "nope"}).status_code == 404


def test_a_form_can_begin_with_what_an_earlier_job_was_given(api: TestClient) -> None:
    job_id = submit(api, "describe", count=77, name="Ada", tags=["x", "y"])
    form = api.get(f"/page/tasks/describe?from={job_id}").text
    assert 'value="77"' in form
    assert "x\ny</textarea>" in form
    job_id = submit(api, "describe", count=1, name="Ada\nLovelace")
    form = api.get(f"/page/tasks/describe?from={job_id}").text
    assert "Ada\nLovelace</textarea>" in form  # an input would lose the line's end
    for other in ("nope", submit(api, "echo", value=1)):
        assert api.get(f"/page/tasks/describe?from={other}").status_code == 200


def test_buttons_cancel_retry_and_delete(api: TestClient, connection: redis.Redis) -> None:
    job_id = submit(api, "echo", value=1)
    ByHand(connection, "default").fail_one()
    page = f"/page/jobs/{job_id}"
    assert api.post(f"{page}/retry").headers["Location"] == page
    assert api.get(f"/jobs/{job_id}").json()["status"] == "queued"
    assert api.post(f"{page}/cancel").status_code == 303
    assert api.get(f"/jobs/{job_id}").json()["status"] == "canceled"
    refused = api.post(f"{page}/retry")
    assert refused.status_code == 409
    assert "Only a failed job can be retried" in refused.text
    assert f'data-address="{page}"' in refused.text
    assert api.post(f"{page}/delete").headers["Location"] == "/page/jobs"
    assert api.get(page).status_code == 404


def test_all_failed_jobs_of_a_task_are_retried_at_once(
    api: TestClient, connection: redis.Redis
) -> None:
    hand = ByHand(connection, "default")
    failed = [submit(api, "echo", value=n) for n in range(3)] + [submit(api, "sleep", seconds=0)]
    assert [hand.fail_one() for _ in failed] == failed
    assert "Retry every failed job of echo?" in api.get(f"/page/jobs/{failed[0]}").text
    assert api.post("/page/tasks/echo/retry").headers["Location"] == "/page/jobs?task=echo"
    statuses = [api.get(f"/jobs/{job_id}").json()["status"] for job_id in failed]
    assert statuses == ["queued", "queued", "queued", "failed"]
    assert api.post("/page/tasks/nope/retry").status_code == 404


def test_a_queue_is_paused_and_resumed(api: TestClient) -> None:
    job_id = submit(api, "echo", value=1)
    assert api.post("/page/queues/default/pause").headers["Location"] == "/"
    home = api.get("/").text
    assert "Queue default is paused: 1 job waits until it is resumed." in home
    assert "paused" in text_of(api.get(f"/page/jobs/{job_id}").text)
    assert api.post("/page/queues/default/resume").status_code == 303
    assert "is paused" not in api.get("/").text
    assert api.post("/page/queues/nope/pause").status_code == 404


def test_a_job_tells_what_it_waits_for_and_who_canceled_it(api: TestClient) -> None:
    first, second = submit(api, "echo", value=1), submit(api, "echo", value=2)
    told = text_of(api.get(f"/page/jobs/{second}").text)
    assert "No worker listens on the queue 'default'" in told.replace("&#39;", "'")
    assert re.search(r"Place in line\s+2", told)
    api.post(f"/page/jobs/{first}/cancel")
    assert re.search(r"Canceled by\s+the API", text_of(api.get(f"/page/jobs/{first}").text))


def test_a_job_that_is_run_again_later_is_not_said_to_have_ended(
    api: TestClient, connection: redis.Redis
) -> None:
    job_id = submit(api, "fail_and_log", path="x")
    hand = ByHand(connection, "default")
    claim = hand.claim()
    assert claim
    failed = hand.ended(claim, b"builtins.ValueError: no", Kind.RAISED, may_retry=True)
    hand.settler.call(failed).run()
    told = text_of(api.get(f"/page/jobs/{job_id}").text)
    assert re.search(r"Started (\d+ s ago|just now) Ended – Time", told), told


def test_schedules_are_shown_run_at_once_and_deleted(api: TestClient) -> None:
    made = {"name": "nightly", "task": "echo", "parameters": {"value": 9}, "cron": "0 3 * * *"}
    assert api.post("/schedules", json=made).status_code == 201
    assert "nightly" in api.get("/page/schedules").text
    job = api.post("/page/schedules/nightly/run").headers["Location"]
    assert api.get(job[len("/page") :]).json()["parameters"] == {"value": 9}
    assert api.post("/page/schedules/nightly/delete").status_code == 303
    assert api.get("/schedules").json() == []
    assert api.post("/page/schedules/nightly/delete").status_code == 404


def test_nothing_is_changed_by_a_get(api: TestClient) -> None:
    job_id = submit(api, "echo", value=1)
    for action in ("cancel", "retry", "delete"):
        assert api.get(f"/page/jobs/{job_id}/{action}").status_code == 405
    assert api.get(f"/jobs/{job_id}").json()["status"] == "queued"


# What guards it


def test_another_sites_page_can_press_no_button(api: TestClient) -> None:
    job_id = submit(api, "echo", value=1)
    for path in (f"/page/jobs/{job_id}/cancel", "/page/tasks/echo"):
        foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        assert api.post(path, data={}, headers=foreign).status_code == 403
    assert api.get(f"/jobs/{job_id}").json()["status"] == "queued"


@pytest.mark.parametrize("path", [*PAGES, "/page/jobs/{job_id}", "/page/jobs/nope"])
def test_a_page_forbids_what_is_inline_or_from_elsewhere(api: TestClient, path: str) -> None:
    answer = api.get(path.format(job_id=submit(api, "echo", value=1)))
    assert POLICY in answer.headers.get_list("content-security-policy")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "<style" not in answer.text
    assert not re.search(r"\s(style|on\w+)=", answer.text)
    assert not re.search(r'(src|href|action)="(https?:)?//', answer.text)
    assert all('src="' in tag for tag in re.findall(r"<script[^>]*>", answer.text))


def test_what_jobs_say_is_never_taken_for_a_part_of_the_page(
    api: TestClient,
) -> None:
    job_id = submit(api, "echo", value={EVIL: EVIL})
    for path in ("/", "/page/jobs", f"/page/jobs/{job_id}", f"/page/tasks/echo?from={job_id}"):
        assert "alert(1)" in (html := api.get(path).text)
        assert "<script>alert" not in html
        assert "<img src=x" not in html
    for query in ("id", "task", "status", "queue", "cursor"):
        assert "<script>alert" not in api.get("/page/jobs", params={query: EVIL}).text


def test_its_files_are_kept_by_caches_for_as_long_as_they_stay_the_same(api: TestClient) -> None:
    home = api.get("/").text
    files = re.findall(r'(?:src|href)="(/assets/[^"]+)"', home)
    assert len(files) >= 5
    for file in files:
        answer = api.get(file)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    kinds = {file.rpartition(".")[2]: api.get(file).headers["content-type"] for file in files}
    assert kinds == {
        "css": "text/css; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "svg": "image/svg+xml",
    }
    old = re.sub(r"/assets/\w+/", "/assets/0123456789abcdef/", files[0])
    assert api.get(old).headers["Cache-Control"] == "no-cache"
    for wrong in ("..%2Frendering.py", "nope.css", "vendor/htmx.LICENSE"):
        assert api.get(f"/assets/x/{wrong}").status_code == 404


# In an application of the user's own


@pytest.fixture
def own_client(settings: Settings, catalogue: Catalogue) -> Iterator[TestClient]:
    router = paddock_router(settings, catalogue, page=True)
    with client_of(users_app([("/work", router)])) as client:
        yield client


def test_it_works_below_a_prefix(own_client: TestClient) -> None:
    for path in PAGES:
        html = own_client.get(f"/work{path}").text
        addresses = re.findall(r'(?:href|src|action|data-base|data-address)="([^"#]+)"', html)
        others = {each for each in addresses if not each.startswith("/work")}
        assert others <= {"/docs"}, path
        assert "/dashboard/" not in html
    job = own_client.post("/work/page/tasks/echo", data={"value": "1"}).headers["Location"]
    assert job.startswith("/work/page/jobs/")
    assert own_client.get(job).status_code == 200
    assert own_client.post(f"{job}/cancel").headers["Location"] == job


def test_a_router_has_no_page_unless_it_is_asked_for(
    settings: Settings, catalogue: Catalogue
) -> None:
    with client_of(users_app([("/work", paddock_router(settings, catalogue))])) as client:
        assert client.get("/work/").status_code == 404
        assert client.get("/work/page/jobs").status_code == 404
