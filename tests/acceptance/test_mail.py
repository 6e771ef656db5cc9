"""Mail that is sent by jobs, and received by a real SMTP server."""

import email
import email.policy
import socket
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from starlette.testclient import TestClient

from tests.conftest import Start, eventually

TASKS = ["send_email", "send_email_async"]
REFUSED = "nobody@example.org"


class Postbox:
    """What the server does with mail: it keeps it, but for one recipient."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address == REFUSED:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


@pytest.fixture
def smtp(postbox: Postbox) -> Iterator[Controller]:
    controller = Controller(postbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield controller
    controller.stop()


def url(controller: Controller) -> str:
    return f"smtp://{controller.hostname}:{controller.port}/?from=jobs@example.org"


def submit(api: TestClient, task: str, to: str = "ada@example.org") -> str:
    given = {"to": to, "subject": "Grüße aus der Koppel ✉", "message": "Zeile 1\nZeile 2: ß€\n"}
    answer = api.post(f"/tasks/{task}", json=given)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def job(api: TestClient, job_id: str) -> Any:
    return api.get(f"/jobs/{job_id}").json()


def run_burst(start: Start, **settings: str) -> None:
    worker: subprocess.Popen[str] = start(sys.executable, "worker.py", "--burst", **settings)
    assert worker.wait(timeout=60) == 0


@pytest.mark.parametrize("task", TASKS)
def test_a_mail_arrives_as_it_was_written(
    api: TestClient, start: Start, smtp: Controller, postbox: Postbox, task: str
) -> None:
    job_id = submit(api, task)
    run_burst(start, PADDOCK_SMTP_URL=url(smtp))
    (mail,) = postbox.mails
    assert mail["Subject"] == "Grüße aus der Koppel ✉"
    assert mail["To"] == "ada@example.org"
    assert mail["From"] == "jobs@example.org"
    assert mail.get_content().splitlines() == ["Zeile 1", "Zeile 2: ß€"]  # CRLF on the wire
    assert mail["Date"]
    assert job(api, job_id)["result"] == mail["Message-ID"]


@pytest.mark.parametrize("task", TASKS)
def test_without_a_server_the_mail_lies_in_the_outbox(
    api: TestClient, start: Start, tmp_path: Path, task: str
) -> None:
    job_id = submit(api, task)
    run_burst(start)
    (path,) = (tmp_path / "outbox").iterdir()
    assert path.suffix == ".eml"
    assert path.stat().st_mode & 0o077 == 0
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert (mail["Subject"], mail["To"]) == ("Grüße aus der Koppel ✉", "ada@example.org")
    assert mail.get_content() == "Zeile 1\nZeile 2: ß€\n"
    assert job(api, job_id)["result"] == mail["Message-ID"]


@pytest.mark.parametrize("task", TASKS)
def test_a_recipient_that_is_refused_is_not_tried_again(
    api: TestClient, start: Start, smtp: Controller, postbox: Postbox, task: str
) -> None:
    job_id = submit(api, task, to=REFUSED)
    run_burst(start, PADDOCK_SMTP_URL=url(smtp))
    failed = job(api, job_id)
    assert (failed["status"], failed["attempts"], failed["retries_left"]) == ("failed", 1, 0)
    assert failed["error"]["type"].endswith("SMTPRecipientsRefused")
    assert postbox.mails == []


def test_a_server_that_is_down_is_tried_again_until_it_is_up(
    api: TestClient, start_worker: Start, postbox: Postbox
) -> None:
    controller = Controller(postbox, hostname="127.0.0.1", port=free_port())
    start_worker(PADDOCK_SMTP_URL=url(controller))
    ids = [submit(api, task) for task in TASKS]
    for job_id in ids:
        eventually(lambda job_id=job_id: job(api, job_id)["status"] == "scheduled")
        waiting = job(api, job_id)
        assert (waiting["attempts"], waiting["retries_left"]) == (1, 4)
    controller.start()
    try:
        for job_id in ids:
            eventually(lambda job_id=job_id: job(api, job_id)["status"] == "finished", 40)
    finally:
        controller.stop()
    assert len(postbox.mails) == 2
    assert [job(api, job_id)["attempts"] for job_id in ids] == [2, 2]
