"""The page in a real browser: what moves by itself, what hands do, and who it is usable by."""

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from service.api.page.words import duration
from tests.browser.conftest import PATIENCE, Complaints, Service
from tests.conftest import eventually

expect.set_options(timeout=PATIENCE)

pytestmark = pytest.mark.xdist_group("browser")  # one Paddock, one browser

PHONE = {"width": 390, "height": 844}
SMALL_PHONE = {"width": 320, "height": 568}
BAR = "#progress progress"


def test_a_job_that_is_submitted_by_the_form_is_watched_to_its_end_without_a_reload(
    page: Page, service: Service
) -> None:
    page.goto("/page/tasks/import_orders")
    page.get_by_label("file").fill("orders.csv")
    page.get_by_label("rows").fill("20")
    page.get_by_label("seconds").fill("10")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile("/page/jobs/"))
    page.evaluate("window.loadedOnce = true")

    seen = set()
    while page.locator("main").get_attribute("data-status") != "finished":
        seen.add(page.locator(BAR).evaluate("bar => bar.position"))
        page.wait_for_timeout(100)
    assert len([each for each in seen if 0 < each < 1]) >= 3, seen

    expect(page.locator("#log li")).to_have_count(1 + 7 + 2 + 1)
    expect(page.locator("#log .info")).to_contain_text("reads orders.csv")
    expect(page.locator("#log .stderr").first).to_contain_text("no such customer")
    expect(page.get_by_role("heading", level=1)).to_contain_text("finished")
    expect(page.get_by_role("status")).to_have_text("The job is finished.")
    expect(page.locator(".result")).to_contain_text("booked")
    expect(page).to_have_title("finished: import_orders · Paddock")
    assert page.evaluate("window.loadedOnce")


def test_a_job_that_runs_is_canceled_by_a_button(page: Page, service: Service) -> None:
    job_id = service.submit("wait_patiently")
    page.goto(f"/page/jobs/{job_id}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("running")
    page.get_by_role("button", name="Cancel this job").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("canceled")
    assert service.ended(job_id)["status"] == "canceled"
    expect(page.get_by_role("button", name="Cancel this job")).to_have_count(0)


def test_a_job_that_failed_shows_its_error_and_is_retried(page: Page, service: Service) -> None:
    job_id = service.submit("import_orders", file="a.csv", rows=3, seconds=0, fail_at=1)
    service.ended(job_id)
    page.goto(f"/page/jobs/{job_id}")
    expect(page.locator(".failure")).to_contain_text("the amount 'twelve' is not a number")
    expect(page.locator(".failure pre")).to_contain_text("Traceback")
    page.get_by_role("button", name="Retry this job").click()
    expect(page.locator(".steps .failed")).to_have_count(2)
    expect(page.get_by_role("heading", level=1)).to_contain_text("failed")
    assert service.job(job_id)["attempts"] == 2


def test_all_failed_jobs_of_a_task_are_retried_by_one_button(page: Page, service: Service) -> None:
    ids = [service.submit("import_orders", file="b.csv", rows=1, fail_at=0) for _ in range(2)]
    for job_id in ids:
        service.ended(job_id)
    page.goto("/page/jobs?status=failed&task=import_orders")
    with page.expect_response(re.compile("/page/tasks/import_orders/retry$")):
        page.get_by_role("button", name="Retry all failed").first.click()
    for job_id in ids:
        eventually(lambda job_id=job_id: service.job(job_id)["attempts"] == 2)


def test_a_queue_is_paused_and_resumed_by_a_button_and_its_jobs_say_so(
    page: Page, service: Service
) -> None:
    page.goto("/")
    page.get_by_role("button", name="Pause queue cpu").click()
    expect(page.get_by_role("button", name="Resume queue cpu")).to_be_visible()
    chart = service.submit("draw_chart")
    page.goto(f"/page/jobs/{chart}")
    expect(page.locator(".why")).to_contain_text("paused")
    page.goto("/")
    page.get_by_role("button", name="Resume queue cpu").click()
    assert service.ended(chart)["status"] == "finished"


def test_what_a_job_did_comes_up_on_the_overview_by_itself(page: Page, service: Service) -> None:
    page.goto("/?task=list_customers")
    expect(page.locator("#link")).to_contain_text("Live")
    job_id = service.submit("list_customers")
    expect(page.locator(f"#job-{job_id}")).to_contain_text("finished")
    page.get_by_label("Task").select_option("draw_chart")
    expect(page.locator(f"#job-{job_id}")).to_have_count(0)
    assert page.url.endswith("/?task=draw_chart")
    page.reload()
    expect(page.get_by_label("Task")).to_have_value("draw_chart")


def test_a_picture_and_a_table_are_shown_as_such(page: Page, service: Service) -> None:
    chart, table = service.submit("draw_chart"), service.submit("list_customers")
    service.ended(chart)
    page.goto(f"/page/jobs/{chart}")
    picture = page.get_by_role("img", name="chart")
    expect(picture).to_be_visible()
    assert picture.evaluate("it => it.decode().then(() => it.naturalWidth)") == 640
    service.ended(table)
    page.goto(f"/page/jobs/{table}")
    rows = page.get_by_role("region", name="Table").first.get_by_role("row")
    expect(rows).to_have_count(5)
    expect(rows.nth(1)).to_contain_text("Ada Lovelace")


def test_a_lost_connection_is_told_and_so_is_that_it_is_back(
    page: Page, service: Service, complaints: Complaints
) -> None:
    complaints.expected += ("net::ERR_", "Failed to fetch")  # of what was asked as it went away
    page.goto("/")
    expect(page.locator("#link")).to_contain_text("Live")
    service.stop_api()
    expect(page.get_by_text("The connection to Paddock is lost.").first).to_be_visible()
    service.start_api()
    job_id = service.submit("list_customers")
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator(f"#job-{job_id}")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("The connection to Paddock is back.")


def test_what_is_seen_is_as_old_as_what_was_heard_last(
    page: Page, service: Service, complaints: Complaints
) -> None:
    complaints.expected += ("net::ERR_", "Failed to fetch")
    page.clock.install(time="2026-03-01T09:30:00")
    page.goto("/")
    expect(page.locator("#link")).to_contain_text("Live")
    page.route("**/health/live", lambda route: route.abort())  # at once, instead of in five seconds
    with service.silent_api():
        then = page.evaluate("Date.now()")
        page.clock.run_for(14_000)  # after ten of which it is asked for a sign
        expect(page.locator("#lost")).to_be_visible()
    known = page.evaluate(
        "then => [...Array(10).keys()].map((s) => new Date(then - 1000 * s).toLocaleTimeString())",
        then,
    )
    assert page.locator("#lost [data-since]").inner_text() in known


def test_what_is_no_page_never_takes_the_place_of_one(
    page: Page, service: Service, complaints: Complaints
) -> None:
    complaints.expected += ("502",)
    page.goto("/")
    expect(page.locator("#link")).to_contain_text("Live")

    def as_a_proxy_does(route: Route) -> None:
        route.fulfill(status=502, content_type="text/html", body="<h1>Bad gateway</h1>")

    page.route("**/?*", as_a_proxy_does)
    page.route(f"{service.url}/", as_a_proxy_does)
    page.route("**/health/live", as_a_proxy_does)
    service.submit("list_customers")
    expect(page.get_by_text("The connection to Paddock is lost.").first).to_be_visible()
    expect(page.get_by_role("heading", name="Queues")).to_be_visible()
    page.unroute_all()
    job_id = service.submit("list_customers")
    expect(page.locator(f"#job-{job_id}")).to_be_visible()
    expect(page.locator("#lost")).to_be_hidden()


def test_a_fault_stands_at_its_field(page: Page, complaints: Complaints) -> None:
    complaints.expected += ("422",)
    page.goto("/page/tasks/compose_letter")
    page.locator("#field-to").fill("nobody@localhost")
    page.get_by_label("subject").fill("Hello")
    page.get_by_label("message").fill("Two\nlines")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#field-to")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#field-to")).to_be_focused()
    expect(page.locator("#field-to-fault")).to_contain_text("not a valid email address")
    expect(page.get_by_label("message")).to_have_value("Two\nlines")


def test_a_job_is_submitted_with_the_keyboard_alone(page: Page, service: Service) -> None:
    page.goto("/page/tasks/compose_letter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for text in ("ada@example.com", "Hello", "By hand"):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Submit":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/page/jobs/"))
    job_id = page.url.rpartition("/")[2]
    assert service.ended(job_id)["parameters"]["message"] == "By hand"
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type(job_id[-10:])
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/page/jobs/{job_id}")


@pytest.fixture(scope="module")
def looks(service: Service) -> dict[str, str]:
    """A page of each kind, with something on it, by name."""
    failed = service.submit("import_orders", file="a.csv", rows=9, seconds=0, fail_at=5)
    text = "\x1b[31mred\x1b[0m <script>alert(1)</script> " + "long" * 60
    rubbish = service.submit("print_rubbish", text=text)
    pictured = service.submit("draw_chart")
    for job_id in (failed, rubbish, pictured):
        service.ended(job_id)
    return {
        "overview": "/",
        "jobs": "/page/jobs",
        "failed job": f"/page/jobs/{failed}",
        "job with a long text": f"/page/jobs/{rubbish}",
        "job with a picture": f"/page/jobs/{pictured}",
        "tasks": "/page/tasks",
        "form": "/page/tasks/describe",
        "schedules": "/page/schedules",
        "workers": "/page/workers",
        "nothing": "/page/jobs/nope",
    }


@pytest.fixture
def looks_with_a_running_job(service: Service, looks: dict[str, str]) -> Iterator[dict[str, str]]:
    job_id = service.submit("import_orders", file="a-file-with-a-long-name.csv", seconds=60)
    yield looks | {"running job": f"/page/jobs/{job_id}"}
    service.cancel(job_id)
    service.ended(job_id)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault_for_people_who_see_or_hear_it_otherwise(
    page: Page, looks_with_a_running_job: dict[str, str], complaints: Complaints, scheme: str
) -> None:
    complaints.expected += ("404",)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    axe = Axe()
    for name, path in looks_with_a_running_job.items():
        page.goto(path)
        faults = axe.run(page).response["violations"]
        serious = [
            f"{fault['id']}: {node['html'][:150]} {node['failureSummary']}"
            for fault in faults
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]
        assert not serious, name


def test_no_page_is_wider_than_a_phone(
    page: Page, looks_with_a_running_job: dict[str, str], complaints: Complaints
) -> None:
    complaints.expected += ("404",)
    for phone in (PHONE, SMALL_PHONE):
        page.set_viewport_size(phone)  # type: ignore[arg-type]
        for name, path in looks_with_a_running_job.items():
            page.goto(path)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width == phone["width"], (name, phone)


def test_words_in_a_table_are_not_broken_on_a_phone(page: Page, service: Service) -> None:
    job_id = service.submit("import_orders", file="a.csv", rows=3, seconds=0, fail_at=1)
    service.ended(job_id)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.goto(f"/page/jobs/{job_id}")
    outcome = page.get_by_role("region", name="Executions").get_by_role("cell").nth(2)
    expect(outcome).to_have_text("raised: ValueError")
    lines = outcome.evaluate(
        """cell => {
            const text = document.createRange();
            text.selectNodeContents(cell);
            return new Set([...text.getClientRects()].map((line) => line.top)).size;
        }"""
    )
    assert lines <= 2


def test_the_theme_is_the_systems_until_one_is_chosen_which_stays(page: Page) -> None:
    def paper() -> str:
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return colour

    page.emulate_media(color_scheme="light")
    page.goto("/")
    light = paper()
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert light != dark
    button = page.get_by_role("button", name="Colours")
    button.click()
    expect(button).to_have_text("Colours: light")
    page.reload()
    assert paper() == light
    button.click()
    assert paper() == dark
    button.click()
    expect(button).to_have_text("Colours: as the system")
    page.emulate_media(color_scheme="light")
    assert paper() == light


def test_what_a_job_prints_is_text_and_nothing_else(
    page: Page, looks: dict[str, str], service: Service
) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(looks["job with a long text"])
    expect(page.locator("#log .stdout").first).to_contain_text("red <script>alert(1)</script> long")
    job_id = service.submit("print_rubbish", text="<img src=x onerror=alert(1)>\x1b[2K!")
    page.goto(f"/page/jobs/{job_id}")
    expect(page.locator("#log .error")).to_contain_text("<img src=x onerror=alert(1)>!")
    expect(page.locator("#log img")).to_have_count(0)


def test_without_scripts_everything_is_shown_and_forms_work(
    browser: Browser, service: Service
) -> None:
    context = browser.new_context(base_url=service.url, java_script_enabled=False)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto("/page/tasks/list_customers")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile("/page/jobs/"))
    job_id = page.url.rpartition("/")[2]
    service.ended(job_id)
    page.reload()
    expect(page.get_by_role("cell", name="Grace Hopper")).to_be_visible()
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    assert service.job(job_id)["status"] == 404
    page.goto("/?status=finished")
    expect(page.get_by_role("button", name="Show")).to_be_visible()
    context.close()


def test_times_are_told_alike_by_the_service_and_by_the_page(page: Page) -> None:
    page.goto("/")
    seconds = [0, 0.0304, 0.9996, 1, 3.04, 9.96, 42.3, 59.96, 61, 200, 3599.7, 7500, 200_000]
    told = page.evaluate(
        """async (seconds) => {
            const place = document.querySelector("script[type=module]").src;
            const { duration } = await import(place.replace("page.js", "times.js"));
            return seconds.map(duration);
        }""",
        seconds,
    )
    assert told == [duration(each) for each in seconds]


def test_a_hidden_page_asks_for_nothing(context: BrowserContext, page: Page) -> None:
    page.goto("/")
    expect(page.locator("#link")).to_contain_text("Live")
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", { value: true, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    asked: list[str] = []  # from now on, not of what was on its way
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2000)
    assert asked == []
    with page.expect_request(re.compile("/events")):
        page.evaluate(
            """() => {
                Object.defineProperty(document, "hidden", { value: false, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
