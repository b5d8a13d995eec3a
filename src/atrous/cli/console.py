"""Where text goes: results to standard output, everything else to standard error."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["complain", "is_live", "note", "print_json", "print_table", "result", "status"]

_WIDTH = 110
_open_status = False


def result(text: str) -> None:
    """A line of the result, to standard output."""
    _close_status()
    print(text, flush=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object to standard output."""
    result(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """A line that is not the result, to standard error."""
    _close_status()
    print(text, file=sys.stderr, flush=True)


def status(text: str) -> None:
    """The line of the moment: replaced on a terminal, an ordinary line elsewhere."""
    global _open_status
    if is_live():
        print(f"\r\x1b[2K{text[:_WIDTH]}", end="", file=sys.stderr, flush=True)
        _open_status = True
    else:
        note(text)


def complain(text: str) -> None:
    """An error message."""
    note(f"atrous: {text}")


def is_live() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


def print_table(rows: Sequence[Sequence[str]], *, header: Sequence[str]) -> None:
    """A plain table with aligned columns to standard output; columns of numbers are aligned to the right."""
    table = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    numeric = [
        bool(rows)
        and all(
            row[column].replace(".", "").replace("-", "").replace(",", "").rstrip("%").isdigit()
            or row[column] in {"", "-"}
            for row in rows
        )
        for column in range(len(header))
    ]
    for row in table:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        result("  ".join(cells).rstrip())


def _close_status() -> None:
    global _open_status
    if _open_status:
        print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
        _open_status = False
