"""How far a job is, as it is read from Redis: anybody may have written anything."""

from datetime import UTC, datetime

import pytest

from service.broker.progress import Progress, read_progress

AT = datetime.fromtimestamp(1.5, UTC)


@pytest.mark.parametrize(
    ("field", "progress"),
    [
        (
            b'{"fraction": 0.5, "message": "half", "at": 1.5, "number": 3}',
            Progress(0.5, "half", AT, 3),
        ),
        (
            '{"fraction": null, "message": null, "at": 1.5, "number": 1}',
            Progress(None, None, AT, 1),
        ),
        (b'{"fraction": 1, "message": 7, "at": 1.5, "number": 1}', Progress(1.0, "7", AT, 1)),
    ],
)
def test_what_was_told(field: str | bytes, progress: Progress) -> None:
    assert read_progress(field) == progress


@pytest.mark.parametrize(
    "field",
    [
        *(None, b"", b"{}", b"[]", b"7", b"\xff", b"{"),
        b'{"fraction": "half", "message": null, "at": 1.5, "number": 1}',
        b'{"fraction": 0.5, "message": null, "at": 1e300, "number": 1}',
        b'{"fraction": 0.5, "message": null, "at": 1.5, "number": "first"}',
        b'{"fraction": 0.5, "message": null, "at": null, "number": 1}',
    ],
)
def test_what_cannot_be_read_is_none(field: bytes | None) -> None:
    assert read_progress(field) is None
