"""What an audit gives: findings, each split in numbers, and both together."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from atrous.data.samples import Dataset

__all__ = ["AuditResult", "Finding", "SplitSummary"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault: what was found, in which file (relative to the data folder) and where in it, and what to do.

    `str(finding)` is one line.
    """

    code: str
    severity: Severity
    file: str
    place: str = ""
    found: str
    expected: str
    fix: str

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        return f"{self.code} {self.severity}: {self.file}{place}: {self.found}; expected {self.expected}. {self.fix}"

    def as_json(self) -> dict[str, str]:
        """The fields by name."""
        return dict(self.__dict__)


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """One split in numbers. Pixel counts are of the masks that could be read and hold no foreign value.

    `presence` (images, K) bool says which image holds which class, in the order of the split. `missing_pixels` of
    `missing_images` are no numbers.
    """

    images: int
    without_mask: int
    sizes: Counter[tuple[int, int]]
    class_pixels: tuple[int, ...]
    class_images: tuple[int, ...]
    void_pixels: int
    presence: NDArray[np.bool_] = field(repr=False, compare=False)
    missing_pixels: int = 0
    missing_images: int = 0

    @property
    def class_shares(self) -> tuple[float, ...]:
        """Every class's share of the pixels that are not void, 0 to 1."""
        total = sum(self.class_pixels)
        return tuple(count / total if total else 0.0 for count in self.class_pixels)

    @property
    def void_share(self) -> float:
        """The share of all pixels that is void, 0 to 1."""
        total = sum(self.class_pixels) + self.void_pixels
        return self.void_pixels / total if total else 0.0


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """All findings, in the order code, file, and each split in numbers."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    splits: dict[str, SplitSummary]

    @property
    def num_errors(self) -> int:
        """How many findings are errors, not warnings."""
        return sum(finding.severity == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Findings and summary as plain values for `json.dumps`."""
        return {
            "root": str(self.dataset.root),
            "layout": self.dataset.layout,
            "notes": list(self.dataset.notes),
            "classes": list(self.dataset.labels.names),
            "ignore": self.dataset.labels.ignore_index,
            "findings": [finding.as_json() for finding in self.findings],
            "splits": {name: _split_json(split, self.dataset) for name, split in self.splits.items()},
        }


def _split_json(split: SplitSummary, dataset: Dataset) -> dict[str, Any]:
    return {
        "images": split.images,
        "without_mask": split.without_mask,
        "sizes": {f"{height}x{width}": count for (height, width), count in sorted(split.sizes.items())},
        "class_share": dict(zip(dataset.labels.names, split.class_shares, strict=True)),
        "class_images": dict(zip(dataset.labels.names, split.class_images, strict=True)),
        "void_share": split.void_share,
    }
