"""How a prediction shows itself in a notebook."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from atrous.labels import Labels
from atrous.notebook import NOTEBOOK_PIXELS, as_html
from atrous.regions import class_table


class Page(HTMLParser):
    """Tags that are open or not, and the text of cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.cells, self.attributes = [], [], [], {}
        self.feed(text)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.setdefault(tag, dict(attrs))
        if tag != "img":
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1] += data


def page(label_map, names, size=None):
    labels = Labels(names=names, ignore_index=65535)
    picture = np.zeros((*(size or label_map.shape), 3), np.uint8)
    return Page(as_html(picture, class_table(label_map, labels), labels, title=f"a {names[0]} 'title'"))


def test_classes_with_their_shares():
    shown = page(np.array([[0, 0, 0, 1]], np.uint8), ("road", "car"))
    assert shown.cells == ["", "road", "3", "75.0%", "", "car", "1", "25.0%"]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "' onerror='x", '" onerror="x', "</table><img src=x>", "&lt;"]
)
def test_names_are_text(name):
    shown = page(np.zeros((2, 2), np.uint8), (name,))
    assert shown.cells[1] == name
    assert set(shown.attributes["img"]) == {"alt", "src"}
    assert shown.attributes["img"]["alt"] == f"a {name} 'title'"
    assert shown.tags.count("img") == 1
    assert "script" not in shown.tags


@pytest.mark.parametrize("size", [(2000, 40), (30, 4000), (1500, 1600), (20, 30)])
def test_pictures_are_small(size):
    source = page(np.zeros((2, 2), np.uint8), ("a",), size).attributes["img"]["src"]
    head, _, data = source.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert max(picture.size) == min(max(size), NOTEBOOK_PIXELS)


def test_of_many_classes_the_largest_are_named():
    label_map = np.arange(300, dtype=np.uint16).reshape(15, 20)
    label_map[0, :5] = 7
    shown = page(label_map, tuple(f"class_{number}" for number in range(300)))
    assert len(shown.cells) == 12 * 4
    assert shown.cells[1] == "class_7"
    assert "caption" in shown.tags


def test_void_alone_is_an_empty_table():
    assert page(np.full((2, 2), 65535, np.uint16), ("a",)).cells == []
