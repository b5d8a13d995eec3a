"""`atrous check`: what is wrong with a data set."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from atrous.cli import console

__all__ = ["check"]

Codes = Annotated[str, Parameter(help="codes with commas, e.g. D004,D005; D0 means all that begin so")]


def check(
    data: Path,
    /,
    *,
    format: Literal["text", "json", "github"] = "text",
    select: Codes = "",
    ignore: Codes = "",
) -> int:
    """Look for what would spoil a training: missing pairs, unreadable files, wrong sizes, wrong values.

    Exit code 1 when there are errors.

    Parameters
    ----------
    data:
        A folder of images and masks in any layout that is recognised, a data.yaml, or a public set: voc2012,
        voc2012-aug.
    format:
        text for people, json for programs, github for annotations in a workflow.
    """
    from atrous.data.audit import audit
    from atrous.data.public import open_data
    from atrous.data.summary import summary_lines
    from atrous.training.narrator import Narrator

    narrator = Narrator(console.note, console.status, live=console.is_live())
    dataset = open_data(data, note=narrator.note, status=narrator.status)
    for line in dataset.notes:
        console.note(line)
    found = audit(dataset)
    findings = [
        finding
        for finding in found.findings
        if _matches(finding.code, select, empty=True) and not _matches(finding.code, ignore, empty=False)
    ]
    errors = [finding for finding in findings if finding.severity == "error"]
    if format == "json":
        console.print_json({**found.as_json(), "findings": [finding.as_json() for finding in findings]})
        return 1 if errors else 0
    for finding in findings:
        console.result(
            _github(finding.severity, str(finding.file), str(finding)) if format == "github" else str(finding)
        )
    if format == "text":
        for line in summary_lines(found):
            console.result(line)
        warnings = len(findings) - len(errors)
        console.result(f"{len(errors)} errors, {warnings} warnings in {len(dataset)} pairs")
        if not errors:
            console.note(f"next: atrous train {data}")
    return 1 if errors else 0


def _matches(code: str, wanted: str, *, empty: bool) -> bool:
    """Whether `code` begins with one of the comma-separated prefixes; `empty` is the answer where there is none."""
    prefixes = [prefix.strip() for prefix in wanted.split(",") if prefix.strip()]
    return any(code.startswith(prefix) for prefix in prefixes) if prefixes else empty


def _github(severity: str, file: str, text: str) -> str:
    """A workflow annotation; line breaks and percent signs are escaped as the format asks."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{severity} file={file}::{escaped}"
