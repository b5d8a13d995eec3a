"""The page as a file: whole, alone, escaped, and right for every kind of result."""

import base64
import dataclasses
import hashlib
import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image
from report_pages import HISTORY, VOID, Outline, make_page

from atrous.data.layouts import open_dataset
from atrous.errors import OutputError
from atrous.evaluation import evaluate_model
from atrous.prediction import Model
from atrous.report import Page, gallery, write_page
from tiny_network import tiny

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '"\' onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "-->]]></title><svg onload=alert(1)>",
)


def written(folder, page, **more):
    path = folder / "report.html"
    write_page(path, page, **more)
    outline = Outline(path)
    assert outline.mistakes == []
    return outline


def test_the_page_shows_scores_curves_classes_mistakes_pictures_and_commands(tmp_path):
    page = make_page(
        tmp_path,
        history=HISTORY,
        notes=("device cpu: there is no GPU", "four images"),
        facts={"seed": "7"},
        commands=[("measure it", "atrous evaluate RUN DATA")],
    )
    outline = written(tmp_path, page)
    assert f"{100 * page.report.miou:.1f}" in outline.text
    for words in ("Learning", "Images", "Classes", "Confusion", "there is no GPU", "four images", "float32", "seed 7"):
        assert words in outline.text
    assert "atrous evaluate RUN DATA" in outline.text
    assert len(outline.find("article")) == 4
    assert [found["class"] for found in outline.find("img")[:4]] == [
        "photo",
        "layer prediction",
        "layer truth",
        "layer errors",
    ]
    assert outline.find("td", title="truth road predicted road: " + _words(page.report.counts, 0, 0))


def _words(counts, row, column):
    return f"{counts[row, column]:,} pixels ({100 * counts[row, column] / counts[row].sum():.1f} %)"


def test_nothing_outside_the_file_is_named_or_allowed(tmp_path):
    outline = written(tmp_path, make_page(tmp_path, history=HISTORY))
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in text
    for tag, attributes in outline.tags:
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith("#" if tag == "a" else "data:"), (tag, attributes[name][:50])
    (policy,) = [found["content"] for found in outline.find("meta", **{"http-equiv": "Content-Security-Policy"})]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy


def test_hostile_names_are_text(tmp_path):
    page = make_page(
        tmp_path,
        names=HOSTILE,
        stems=HOSTILE,
        images=len(HOSTILE),
        title=HOSTILE[0],
        history=HISTORY,
        notes=HOSTILE,
        facts={name: name for name in HOSTILE},
        commands=[(name, name) for name in HOSTILE],
    )
    page = dataclasses.replace(page, report=dataclasses.replace(page.report, split=HOSTILE[1], engine=HOSTILE[2]))
    outline = written(tmp_path, page)
    plain = make_page(tmp_path, names="abcdef", images=len(HOSTILE), history=HISTORY, commands=[("a", "b")])
    harmless = written(tmp_path, plain)
    for tag in ("script", "style", "main"):
        assert len(outline.find(tag)) == len(harmless.find(tag)) == 1
    assert {tag for tag, _ in outline.tags} == {tag for tag, _ in harmless.tags}
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    for name in HOSTILE:
        assert " ".join(name.split()) in outline.text


def test_names_that_are_no_text_do_not_stop_the_page(tmp_path):
    outline = written(tmp_path, make_page(tmp_path, images=2, stems=["caf\udce9", "\u202egpj.exe"]))
    assert "caf\\udce9" in outline.text
    assert len(outline.find("article")) == 2


@pytest.mark.parametrize("count", [1, 2, 13, 41, 150, 300])
def test_any_number_of_classes(tmp_path, count):
    outline = written(tmp_path, make_page(tmp_path, names=[f"kind {index}" for index in range(count)]))
    shown = count if count <= 40 else 41
    assert len(outline.find("td", class_="hit")) + len(outline.find("td", class_="hit strong")) == shown
    assert f"kind {count - 1}" in outline.text
    if count > 40:
        assert f"{count - 40} others" in outline.text
    if count > 3:
        assert f"{count - 3} absent classes" in outline.text


def test_without_a_labelled_pixel_there_is_nothing_to_measure_but_a_page(tmp_path):
    page = make_page(tmp_path, labelled=False)
    assert page.report.miou is None
    outline = written(tmp_path, page)
    assert "No pixel of these images is labelled" in outline.text
    assert "nan" not in outline.text.lower()
    assert len(outline.find("article")) == 4


def test_without_history_or_commands_their_parts_are_left_out(tmp_path):
    outline = written(tmp_path, make_page(tmp_path))
    assert not outline.find("section", id="learning")
    assert not outline.find("section", id="next")
    assert not outline.find("a", href="#learning")
    assert not outline.find("a", href="#next")


def test_without_images_there_is_no_gallery(tmp_path):
    assert not written(tmp_path, make_page(tmp_path, images=0)).find("section", id="images")
    assert not written(tmp_path, make_page(tmp_path), gallery=0).find("section", id="images")


def test_a_file_that_is_gone_is_told_in_its_place(tmp_path):
    page = make_page(tmp_path)
    page.report.images[1].sample.image.unlink()
    outline = written(tmp_path, page)
    assert "could not be drawn again" in outline.text
    assert "does not exist" in outline.text
    assert len(outline.find("img", class_="photo")) == 3


def test_pictures_shrink_until_they_fit_into_the_page(tmp_path, monkeypatch):
    page = make_page(tmp_path, images=2, size=(400, 320))
    plain = len(written(tmp_path, page).find("img", class_="photo", width="320", height="400"))
    full = (tmp_path / "report.html").stat().st_size
    monkeypatch.setattr(gallery, "PICTURE_BYTES", full // 4)
    outline = written(tmp_path, page)
    assert plain == 2
    assert sum(len(found["src"]) for found in outline.find("img")) <= full // 4
    assert all(int(found["width"]) < 320 for found in outline.find("img"))


def test_the_largest_page_is_under_ten_megabytes(tmp_path):
    history = [{**HISTORY[0], "step": step, "epoch": float(step)} for step in range(2000)]
    names = [f"a class with a rather long name, number {index}" for index in range(1000)]
    page = make_page(tmp_path, names=names, history=history, images=30)
    write_page(tmp_path / "report.html", page, gallery=30)
    assert (tmp_path / "report.html").stat().st_size < 10_000_000 - gallery.PICTURE_BYTES


def test_label_pictures_hold_exactly_the_colours_of_the_classes(tmp_path):
    page = make_page(tmp_path, images=1)
    (picture,) = written(tmp_path, page).find("img", class_="layer truth")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["src"].partition(",")[2]))).convert("RGB"))
    truth = np.asarray(Image.open(page.report.images[0].sample.mask))
    assert np.array_equal(pixels, np.asarray(page.report.labels.palette, np.uint8)[truth])


def test_a_page_for_a_reader_of_any_kind(tmp_path):
    outline = written(tmp_path, make_page(tmp_path, history=HISTORY, commands=[("go on", "atrous info RUN")]))
    assert outline.find("html", lang="en")
    assert all(found.get("alt") for found in outline.find("img"))
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in outline.tags:
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids


def test_a_page_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(OutputError, match="missing"):
        write_page(tmp_path / "missing" / "report.html", make_page(tmp_path))
    with pytest.raises(ValueError, match="gallery of -1"):
        write_page(tmp_path / "report.html", make_page(tmp_path), gallery=-1)


def test_masks_may_have_another_void_than_the_model(tmp_path):
    page = make_page(tmp_path, images=2)
    page.model.labels = dataclasses.replace(page.model.labels, ignore_index=77)
    mask = page.report.images[0].sample.mask
    Image.fromarray(np.full((24, 32), VOID, np.uint8)).save(mask)
    assert "void (not labelled)" in written(tmp_path, page).text


def test_a_real_run_ends_with_a_page(trained):
    outline = Outline(trained / "report.html")
    assert outline.mistakes == []
    assert "deeplabv3plus_mobilenet_v2" in outline.text
    assert len(outline.find("article")) == 2
    assert "atrous evaluate" in outline.text


def test_a_real_model_on_real_photographs(tmp_path, shared):
    dataset = open_dataset(shared / "data" / "camvid")
    dataset = dataclasses.replace(dataset, splits={"val": dataset.splits["val"][:2]})
    model = Model(tiny(dataset.labels.num_classes), labels=dataset.labels, device="cpu")
    report = evaluate_model(model, dataset)
    outline = written(tmp_path, Page(title="street", report=report, model=model, dataset=dataset))
    assert len(outline.find("img", class_="layer prediction", width="480", height="360")) == 2
    assert f"{100 * report.miou:.1f}" in outline.text
