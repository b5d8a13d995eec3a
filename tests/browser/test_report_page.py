"""The page in a real browser: nothing is refused or fails, and what is hostile stays text."""

import dataclasses
import os
import re
import shutil
import subprocess

import pytest

from atrous import load
from atrous.data.layouts import open_dataset
from atrous.evaluation import evaluate_model
from atrous.labels import Labels
from atrous.report import Page, write_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-logging=stderr",
    "--virtual-time-budget=2000",
)
PAYLOAD = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture
def browse(tmp_path):
    """Open a page: returns (the document after its script ran, messages on the console)."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")

    def open_page(path):
        result = subprocess.run(
            [browser, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        )
        return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]

    return open_page


def test_a_hostile_page_works_and_runs_nothing_but_its_own_script(tmp_path, trained, scenes, browse):
    dataset, model = open_dataset(scenes), load(trained, device="cpu")
    names = tuple(f"{PAYLOAD} {index}" for index in range(dataset.labels.num_classes))
    labels = Labels(names=names, palette=dataset.labels.palette, ignore_index=dataset.labels.ignore_index)
    model.labels = labels
    dataset = dataclasses.replace(dataset, labels=labels)
    report = evaluate_model(model, dataset)
    row = {"step": 1, "epoch": 1.0, "loss": 0.5, "val_loss": 0.6, "val_miou": 0.4}
    page = Page(
        title=PAYLOAD, report=report, model=model, dataset=dataset, history=[row], commands=[(PAYLOAD, PAYLOAD)]
    )
    path = tmp_path / "report.html"
    write_page(path, page)
    document, messages = browse(path)
    assert messages == []
    assert "<title>owned" not in document
    # what only the script does: it opens the buttons and the controls for all images
    assert document.count('class="enlarge" type="button" aria-pressed="false" hidden') == 0
    assert document.count('class="enlarge" type="button" aria-pressed="false"') == len(report.images)
    assert len(re.findall(r"--opacity: ?0\.5", document)) >= len(report.images)
    for section in ("learning", "images", "classes", "confusion", "origin", "next"):
        assert f'<section id="{section}"' in document


def test_the_browser_refuses_what_the_page_does_not_bring_along(tmp_path, trained, browse):
    text = (trained / "report.html").read_text("utf-8")
    path = tmp_path / "changed.html"
    path.write_text(text.replace("</body>", "<script>document.title='owned'</script></body>"), "utf-8")
    document, messages = browse(path)
    assert "<title>owned" not in document
    assert any("Content Security Policy" in message for message in messages)
