"""How a page shows what a job returned."""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from service.api.page.results import MOST_ROWS, MOST_TEXT, shown


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "data:image/png;base64,", "data:text/html;base64,"])
def test_a_picture_is_shown_as_the_kind_that_it_is(kind: str, encode: Any, before: str) -> None:
    content = picture(kind)
    result = shown(before + encode(content).decode())
    head, _, data = result.content.partition(",")
    assert (result.kind, head) == ("picture", f"data:image/{kind};base64")
    assert base64.b64decode(data) == content


@pytest.mark.parametrize(
    "text",
    [
        "data:image/svg+xml;base64," + base64.b64encode(b"<svg onload='alert(1)'/>" * 9).decode(),
        "data:text/html,<script>alert(1)</script>",
        "iVBORw0KGgo",  # how a PNG begins, and no more
        base64.b64encode(picture("png")).decode() + '" onerror="alert(1)',
        "GIF89a",
        "plain words",
        "",
    ],
)
def test_what_is_no_picture_is_shown_as_text(text: str) -> None:
    assert (shown(text).kind, shown(text).content) == ("text", text)


def test_a_list_of_flat_objects_is_a_table() -> None:
    table = shown([{"name": "Ada", "born": 1815}, {"name": None, "city": "x"}])
    assert (table.kind, table.columns) == ("table", ["name", "born", "city"])
    assert table.content == [["Ada", 1815, None], [None, None, "x"]]
    assert table.numeric == {1}


def test_a_table_says_true_as_json_does() -> None:
    table = shown([{"paid": True, "open": 0}, {"paid": None, "open": False}])
    assert table.content == [["true", 0], [None, "false"]]
    assert table.numeric == frozenset()


@pytest.mark.parametrize("value", [[{"a": [1]}], [{}], [1, {"a": 1}], [], [[1]], {}, 5, True])
def test_other_data_is_shown_as_json(value: Any) -> None:
    assert shown(value).kind == "json"


def test_an_object_with_a_picture_in_it_shows_the_picture() -> None:
    found = shown({"thumbnail": base64.b64encode(picture("png")).decode(), "sizes": [1, 2]})
    assert found.kind == "pairs"
    assert {name: each.kind for name, each in found.content.items()} == {
        "thumbnail": "picture",
        "sizes": "json",
    }


def test_what_is_very_long_is_cut_and_says_so() -> None:
    text = shown("x" * (MOST_TEXT + 5))
    assert (len(text.content), text.left_out) == (MOST_TEXT, 5)
    rows = shown([{"n": n} for n in range(MOST_ROWS + 7)])
    assert (len(rows.content), rows.left_out) == (MOST_ROWS, 7)


def test_nothing_is_nothing() -> None:
    assert shown(None).kind == "nothing"
