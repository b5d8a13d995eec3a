"""How a label map shows itself in a notebook: a picture, and a table of its classes."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atrous.labels import Labels

__all__ = ["NOTEBOOK_PIXELS", "as_html"]

NOTEBOOK_PIXELS = 1000  # the longer side of the picture at most
ROWS = 12  # of the table at most; of more classes the largest


def as_html(picture: NDArray[np.uint8], table: Sequence[dict[str, Any]], labels: Labels, *, title: str) -> str:
    """A picture (H, W, 3) uint8, at most 1,000 pixels wide or high, and below it the classes with their shares.

    It needs nothing from elsewhere, and names are text in it whatever they hold.

    Args:
        picture: such as an overlay.
        table: as from `atrous.regions.class_table`.
        labels: for the colours.
        title: one line, also shown where pictures are not.
    """
    small = Image.fromarray(picture)
    small.thumbnail((NOTEBOOK_PIXELS, NOTEBOOK_PIXELS))
    stream = io.BytesIO()
    small.save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode()
    text = html.escape(title)
    rows = "".join(
        f"<tr><td><span style='display:inline-block;width:1em;height:1em;background:#{_hex(labels, row)}'></span></td>"
        f"<td style='text-align:left'>{html.escape(row['class_name'])}</td>"
        f"<td style='text-align:right'>{row['pixels']:,}</td>"
        f"<td style='text-align:right'>{row['share']:.1%}</td></tr>"
        for row in table[:ROWS]
    )
    head = "<tr><th></th><th style='text-align:left'>class</th><th>pixels</th><th>share</th></tr>"
    more = f"<caption style='caption-side:bottom'>and {len(table) - ROWS} more</caption>" if len(table) > ROWS else ""
    return (
        f"<div><img alt='{text}' src='data:image/png;base64,{data}'><div>{text}</div>"
        f"<table>{more}<thead>{head}</thead><tbody>{rows}</tbody></table></div>"
    )


def _hex(labels: Labels, row: dict[str, Any]) -> str:
    return "{:02x}{:02x}{:02x}".format(*labels.palette[row["class_id"]])
