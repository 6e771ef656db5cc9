"""A job's life: submitted, queued, run, and looked at."""

from starlette.testclient import TestClient

from tests.conftest import Start


def test_a_submitted_job_is_queued_until_a_worker_comes(
    api: TestClient, start_worker: Start
) -> None:
    job = api.post("/tasks/echo", json={"value": [1, "two"]})
    assert job.status_code == 202
    assert job.headers["Location"] == f"/jobs/{job.json()['id']}"
    assert api.get(job.headers["Location"]).json()["status"] == "queued"

    start_worker()
    finished = api.get(job.headers["Location"], params={"wait": 20}).json()
    assert (finished["status"], finished["result"]) == ("finished", [1, "two"])
