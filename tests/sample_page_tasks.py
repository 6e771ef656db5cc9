"""Tasks as a shop might have them, for the browser tests and the pictures in the documentation."""

import base64
import io
import math
import sys
import time
from typing import Annotated, Any, Literal

from PIL import Image, ImageDraw
from pydantic import BaseModel, EmailStr, Field

from jobs import job, logger, progress, track


class Address(BaseModel):
    street: str
    city: str


@job(queue="cpu", timeout=300)
def import_orders(
    file: Annotated[str, Field(examples=["orders.csv"])],
    rows: Annotated[int, Field(ge=1, le=10_000, description="How many there are.")] = 40,
    seconds: float = 4.0,
    fail_at: int | None = None,
) -> dict[str, Any]:
    """Read orders from a file and book them, one after the other.

    It tells its progress, and each order that it can't book.
    """
    logger.info("reads %s", file)
    for row in track(range(rows), message="booking orders"):
        if row == fail_at:
            raise ValueError(f"{file}:{row}: the amount 'twelve' is not a number")
        if row % 9 == 4:
            print(f"order {1000 + row}: no such customer, skipped", file=sys.stderr)
        elif row % 3 == 0:
            print(f"order {1000 + row}: booked")
        if row == rows // 2:
            logger.warning("half of %s took longer than usual", file)
        time.sleep(seconds / rows)
    return {"file": file, "booked": rows - rows // 9, "skipped": rows // 9}


@job(queue="cpu", timeout=60)
def draw_chart(days: Annotated[int, Field(ge=2, le=400)] = 90) -> dict[str, str | int]:
    """Draw the sales of the last days; the result is a picture."""
    width, height = 640, 220
    picture = Image.new("RGB", (width, height), "#fbfaf7")
    draw = ImageDraw.Draw(picture)
    points = [
        (
            20 + (width - 40) * day / (days - 1),
            150 - 60 * math.sin(day / 7) - 40 * day / days + 12 * math.sin(day * 1.9),
        )
        for day in range(days)
    ]
    for y in range(30, height, 40):
        draw.line([(20, y), (width - 20, y)], fill="#e6e4dc")
    draw.polygon([(20, height - 20), *points, (width - 20, height - 20)], fill="#dcebe1")
    draw.line(points, fill="#2c6e49", width=3)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return {"chart": base64.b64encode(file.getvalue()).decode(), "days": days}


@job
def list_customers(most: Annotated[int, Field(ge=1)] = 4) -> list[dict[str, Any]]:
    """Who bought most; the result is a table."""
    customers = [
        ("Ada Lovelace", "London", 41, 3180.5),
        ("Grace Hopper", "New York", 37, 2954.0),
        ("Konrad Zuse", "Berlin", 22, 1870.25),
        ("Hedy Lamarr", "Vienna", 19, 1312.0),
    ]
    names = ("name", "city", "orders", "total")
    return [dict(zip(names, each, strict=True)) for each in customers[:most]]


@job(queue="mail", timeout=30)
def compose_letter(
    to: Annotated[EmailStr, Field(description="Who gets it.", examples=["ada@example.com"])],
    subject: Annotated[str, Field(min_length=1, max_length=120)],
    message: str,
    tone: Literal["warm", "plain", "stern"] = "plain",
    copies: Annotated[int, Field(ge=1, le=10)] = 1,
    urgent: bool = False,
    tags: list[str] = [],  # noqa: B006
    address: Address | None = None,
) -> str:
    """Compose a letter, and file it."""
    print(f"a {tone} letter to {to}: {subject}")
    return f"{subject} ({copies} copies)"


@job(timeout=120)
def print_rubbish(text: str) -> str:
    """Print and return this text, whatever it is."""
    print(text)
    logger.error("%s", text)
    progress(0.5, text)
    return text


@job(timeout=120)
def wait_patiently(seconds: float = 30.0) -> None:
    """Do nothing for a while, and say so."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        progress(message="waits")
        time.sleep(0.05)
