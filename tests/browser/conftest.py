"""Chromium, and a Paddock for it to look at: an API, a worker and a Redis of their own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from service.execution.limits import die_with_parent
from service.settings import Settings
from tests.conftest import ROOT, RedisServer, a_redis, eventually
from tests.integration.serving import free_port, is_live

TASKS = ("tests.sample_tasks", "tests.sample_page_tasks")
PATIENCE = 20_000  # milliseconds until a test that waits for something gives up
# Without the last few, Chromium asks hosts on the internet for this and that.
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


class Service:
    """A Paddock whose API can be stopped and started again, at the same address."""

    def __init__(self, redis: RedisServer, data: Path) -> None:
        self._settings = Settings(
            redis_url=redis.url, data_dir=data, tasks=TASKS, queues="default,cpu,mail"
        )  # type: ignore[arg-type]
        self._redis, self._port = redis, free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._api: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start_api(self) -> None:
        self._api = self._start("-m", "service.cli", "serve", "--port", str(self._port))
        eventually(lambda: is_live(self.url))

    def stop_api(self) -> None:
        assert self._api is not None
        os.killpg(self._api.pid, signal.SIGKILL)
        self._api.wait()

    @contextlib.contextmanager
    def silent_api(self) -> Iterator[None]:
        """Connections to it stay open, and nothing comes by them."""
        assert self._api is not None
        os.killpg(self._api.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._api.pid, signal.SIGCONT)

    def start_worker(self, *arguments: str) -> None:
        before = self._redis.client.scard("rq:workers")
        self._start("worker.py", *arguments)
        eventually(lambda: self._redis.client.scard("rq:workers") > before)

    def submit(self, task: str, **parameters: Any) -> str:
        """The id of the job."""
        answer = httpx.post(f"{self.url}/tasks/{task}", json=parameters, timeout=30)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def cancel(self, job_id: str) -> None:
        assert httpx.post(f"{self.url}/jobs/{job_id}/cancel", timeout=30).is_success

    def ended(self, job_id: str) -> Any:
        """The job, once it has."""
        job = httpx.get(f"{self.url}/jobs/{job_id}?wait=20", timeout=30).json()
        assert job["status"] in ("finished", "failed", "canceled"), job
        return job

    def job(self, job_id: str) -> Any:
        return httpx.get(f"{self.url}/jobs/{job_id}", timeout=30).json()

    def close(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        parent = os.getpid()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | self._settings.environment(),
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(parent),
        )
        self._processes.append(process)
        return process


@contextlib.contextmanager
def a_service_to_look_at() -> Iterator[tuple[Service, RedisServer]]:
    """With one worker, for as long as the block lasts."""
    with a_redis() as redis, tempfile.TemporaryDirectory() as data:
        service = Service(redis, Path(data))
        try:
            service.start_worker()
            service.start_api()
            yield service, redis
        finally:
            service.close()


def find_chromium() -> str | None:
    """The system's; Playwright's own is not downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((found for name in names if (found := shutil.which(name))), None)


@contextlib.contextmanager
def a_browser(program: str) -> Iterator[Browser]:
    """Headless, for as long as the block lasts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


class Complaints:
    """What a page's browser had to say against it."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.expected: tuple[str, ...] = ()

    def watch(self, page: Page) -> None:
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.all.append(f"uncaught: {error}"))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.all.append(f"{message.type}: {message.text}")

    def check(self) -> None:
        left = [text for text in self.all if not any(part in text for part in self.expected)]
        assert not left


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with a_service_to_look_at() as (service, _):
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        if os.environ.get("TESTS_NEED_CHROMIUM"):
            pytest.fail("no Chromium here: apt-get install chromium")
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with a_browser(program) as browser:
        yield browser


@pytest.fixture
def complaints() -> Complaints:
    """Also of what is forbidden by the Content-Security-Policy. There must be none at the end."""
    return Complaints()


@pytest.fixture
def context(browser: Browser, service: Service) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=service.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    yield context
    for page in context.pages:
        page.goto("about:blank")  # Chromium hangs if it is to close one that is about to load
    context.close()


@pytest.fixture
def page(context: BrowserContext, complaints: Complaints) -> Iterator[Page]:
    page = context.new_page()
    complaints.watch(page)
    yield page
    complaints.check()
