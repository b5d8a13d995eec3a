"""Tables as CSV: the regions of one image, and the class shares of many."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from atrous.files import write_atomically
from atrous.labels import Labels
from atrous.regions import REGION_FIELDS, class_tags

__all__ = ["TagsFile", "write_regions"]

FIELDS = [*REGION_FIELDS, "mean_confidence"]
PHYSICAL_FIELDS = ["area", "area_unit"]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that Excel, LibreOffice and Google Sheets take for a formula (OWASP, "CSV Injection")."""
DIGITS = 6  # of a share: a pixel in a megapixel


def write_regions(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows of regions (`Region.as_row`); physical areas have columns where they are known. Raises OutputError."""
    fields = FIELDS + (PHYSICAL_FIELDS if any("area" in row for row in rows) else [])
    lines = [_line(fields), *(_line(row.get(field, "") for field in fields) for row in rows)]
    write_atomically(path, "".join(lines).encode(errors="backslashreplace"))


class TagsFile:
    """Writes, image by image, a row with the share of every class and the names of the classes above 1 %.

    Columns: `file`, `tags` (names with semicolons, the largest first), and one for each class. Shares are of all pixels,
    void ones too.
    """

    NAME = "tags.csv"

    def __init__(self, stream: BinaryIO, labels: Labels) -> None:
        self._stream = stream
        self._classes = labels.num_classes
        self._write(["file", "tags", *labels.names])

    def add(self, name: str, table: list[dict[str, Any]]) -> None:
        """Write the row of an image; `table` is as from `atrous.regions.class_table`."""
        shares: list[float] = [0.0] * self._classes
        for row in table:
            shares[row["class_id"]] = row["share"]
        self._write([name, "; ".join(class_tags(table)), *(f"{share:.{DIGITS}f}" for share in shares)])

    def finish(self) -> None:
        """Nothing: a table has no end."""

    def _write(self, cells: Sequence[object]) -> None:
        self._stream.write(_line(cells).encode(errors="backslashreplace"))


def _line(cells: Iterable[object]) -> str:
    """One row, with its line's end. A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    stream = io.StringIO()
    csv.writer(stream).writerow(
        [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells]
    )
    return stream.getvalue()
