"""One HTML file that needs nothing else: no network, no second file, and nothing in it that could run but our script."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from atrous.data.samples import Dataset
from atrous.evaluation import Report
from atrous.files import write_atomically
from atrous.labels import VOID_COLOUR
from atrous.prediction import Model
from atrous.report import numerals
from atrous.report.confusion import ClassRow, class_rows, draw_matrix, hex_colour, top_pairs
from atrous.report.curves import draw_curves
from atrous.report.gallery import Group, choose_images, show_groups

__all__ = ["Page", "write_page"]

LISTED_IMAGES = 100
LEGEND_CLASSES = 40
SHORT_DECISION = 60  # characters


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page is made from. Every text is escaped; none of it is markup.

    `history` has the rows of `history.csv`; `notes` are sentences about the data and the plan; `facts` are names and
    values (machine, versions, seed, time); `commands` are (what it does, the command to type next).
    """

    title: str
    report: Report
    model: Model
    dataset: Dataset
    history: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    commands: Sequence[tuple[str, str]] = ()


def write_page(path: Path, page: Page, *, gallery: int = 9) -> None:
    """Write `page` to `path` as one HTML file of less than 10 MB.

    Args:
        path: the file; it appears whole or not at all.
        page: what it shows.
        gallery: images shown, a third each of the lowest, middle and highest mIoU; `page.model` predicts them again.

    Raises:
        OutputError: it cannot be written.
        ValueError: a negative `gallery`.
    """
    # names of files may hold bytes that are no text; they are shown as \udcXX instead of failing here
    write_atomically(path, _render(page, gallery).encode("utf-8", "backslashreplace"))


def _render(page: Page, gallery: int) -> str:
    report = page.report
    rows = class_rows(report.counts, report.scores, report.labels)
    groups = show_groups(choose_images(report.images, most=gallery), page.model, page.dataset)
    style, script = _own_file("style.css"), _own_file("page.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            report=report,
            scores=report.scores,
            absent=[row.name for row in rows if row.absent],
            rows=rows,
            charts=draw_curves(page.history),
            matrix=draw_matrix(report.counts, report.labels),
            pairs=top_pairs(report.counts, report.labels),
            groups=groups,
            legend=_legend(rows, groups, page.dataset.labels.ignore_index),
            lowest=_lowest(report),
            measured=(measured := _measured(page)),
            facts={**measured, **page.facts},
            decisions=[_decision(note) for note in page.notes],
            style=Markup(style),
            script=Markup(script),
            policy=_policy(script),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("atrous.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=numerals.percent,
        decimal=numerals.decimal,
        count=numerals.count,
        compact=numerals.cell_count,
        plain=numerals.plain,
    )
    return environment


def _own_file(name: str) -> str:
    return resources.files("atrous.report").joinpath(name).read_text("utf-8")


def _policy(script: str) -> str:
    """What the page may load and run: pictures in itself, its styles, and this one script, named by its hash."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _legend(rows: Sequence[ClassRow], groups: Sequence[Group], ignore_index: int) -> list[tuple[str, str]]:
    """(name, colour) of the classes in the pictures' label maps; of all classes where they are few."""
    pictures = [shot.pictures for group in groups for shot in group.shots if shot.pictures is not None]
    seen = frozenset[int]().union(*(picture.classes for picture in pictures))
    shown = rows if len(rows) <= LEGEND_CLASSES else [row for row in rows if row.index in seen]
    legend = [(row.name, row.colour) for row in shown]
    return [*legend, ("void (not labelled)", hex_colour(VOID_COLOUR))] if ignore_index in seen else legend


def _lowest(report: Report) -> list[tuple[str, float | None, float | None]]:
    """(name, mIoU, pixel accuracy) of the images with the lowest mIoU, those without one left out."""
    known = sorted((image for image in report.images if image.miou is not None), key=lambda image: image.miou or 0.0)
    return [(image.sample.name, image.miou, image.pixel_accuracy) for image in known[:LISTED_IMAGES]]


def _measured(page: Page) -> dict[str, str]:
    """How the scores were taken: every score names its engine, its precision and its data."""
    report = page.report
    network = page.model.name
    return {
        "model": str(network),
        "measured on": f"{len(report.images):,} images of split {report.split}",
        "engine": report.engine,
        "precision": report.precision,
        "data fingerprint": report.fingerprint,
    }


def _decision(note: str) -> tuple[str, str]:
    """Part 'what: why' where the first part is short; else the whole sentence and no reason."""
    what, _, why = note.partition(": ")
    return (what, why) if why and len(what) <= SHORT_DECISION else (note, "")
