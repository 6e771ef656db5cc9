"""Make the pictures of the page that the documentation shows: `make screenshots`.

They are taken of a Paddock that runs, with jobs that run; what is made up is the hour before, since
a fresh one has no past. Letters look as this machine's own do.
"""

import io
import math
import sys
import time
from collections.abc import Iterator

from PIL import Image
from playwright.sync_api import Browser, Page

from service.depths import depths_key
from service.history import LATEST, minutes_key
from tests.browser.conftest import Service, a_browser, a_service_to_look_at, find_chromium
from tests.conftest import ROOT, RedisServer

DOCS = ROOT / "docs"
DESKTOP, PHONE = {"width": 1240, "height": 860}, {"width": 390, "height": 844}
MOST_BYTES = 150_000  # of a picture


def main() -> int:
    """Take them all."""
    program = find_chromium()
    if program is None:
        sys.exit("There is no Chromium here. Try: apt-get install chromium")
    with a_service_to_look_at() as (service, redis), a_browser(program) as browser:
        service.start_worker()
        service.start_worker("--io")
        make_up_an_hour(redis)
        running = fill(service)
        shot(browser, service, "/", "page-overview", "light", DESKTOP)
        shot(browser, service, f"/page/jobs/{running}", "page-job", "dark", DESKTOP)
        shot(browser, service, "/page/tasks/compose_letter", "page-form", "light", DESKTOP)
        shot(browser, service, f"/page/jobs/{running}", "page-phone", "light", PHONE)
    return 0


def make_up_an_hour(redis: RedisServer) -> None:
    """What the workers' scripts would have counted."""
    now = int(time.time()) // 60
    rates = {"import_orders cpu": 9, "draw_chart cpu": 4, "compose_letter mail": 34}
    for pair, rate in rates.items():
        redis.client.hset(LATEST, pair, "")
        for minute in range(now - 60, now):
            wave = 1 + math.sin(minute / 7) / 2 + math.sin(minute * 2.3) / 4
            done, wrong = round(rate * wave), int(pair.startswith("import") and minute % 17 == 0)
            text = f"s{done}x{wrong}u{done * 180_000}f{done // 2}g{done - done // 2}"
            redis.client.hset(minutes_key(minute // 60, pair), str(minute % 60), text)
    for queue, most in {"cpu": 14, "mail": 46}.items():
        for minute in range(now - 60, now):
            waited = max(0, most * math.sin(minute / 7 - 0.6) + most * math.sin(minute * 2.3) / 5)
            redis.client.hset(depths_key(minute // 60, queue), str(minute % 60), round(waited))


def fill(service: Service) -> str:
    """Have jobs of all sorts; the id of one that will run for a while."""
    service.ended(service.submit("draw_chart"))
    service.ended(service.submit("list_customers"))
    wrong = service.submit("import_orders", file="orders-11.csv", rows=30, seconds=0.6, fail_at=17)
    service.ended(wrong)
    for number in range(4):
        letter = {"to": "ada@example.com", "message": "Thank you."}
        service.submit("compose_letter", subject=f"Your order {1001 + number}", **letter)
    long = service.submit("import_orders", file="orders-12.csv", rows=120, seconds=60)
    service.submit("wait_patiently", seconds=60)
    for number in range(3):
        service.submit("import_orders", file=f"backlog-{number}.csv", rows=30, seconds=3)
    service.submit("draw_chart", days=365)
    return long


def shot(
    browser: Browser, service: Service, path: str, name: str, scheme: str, size: dict[str, int]
) -> None:
    """One picture, in as few colours and bytes as it looks well in."""
    scale = 2 if size is PHONE else 1.5
    page: Page = browser.new_page(
        base_url=service.url,
        viewport=size,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        device_scale_factor=scale,
    )
    page.goto(path)
    page.wait_for_timeout(5000)  # for a bar to have moved, and a log to have grown
    picture = Image.open(io.BytesIO(page.screenshot()))
    page.close()
    for content in as_png(picture.convert("RGB")):
        if len(content) <= MOST_BYTES:
            break
    (DOCS / f"{name}.png").write_bytes(content)
    print(f"docs/{name}.png  {picture.width} x {picture.height}  {len(content) // 1000} KB")


def as_png(picture: Image.Image) -> Iterator[bytes]:
    for colours in (256, 128, 64, 32):
        file = io.BytesIO()
        few = picture.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(file, "PNG", optimize=True)
        yield file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
