"""What is said of a file that cannot be read."""

from dataclasses import dataclass
from pathlib import Path

from atrous.errors import ImageError

__all__ = ["RESTORE", "TILES", "Fault", "UnreadableError", "damaged", "unreadable"]

TILES = "Cut it into tiles, or scale it down."
RESTORE = "Restore it from its source, or remove it from the data set."


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The three parts of a message about one file."""

    found: str
    expected: str
    fix: str


class UnreadableError(ImageError):
    """An ImageError that carries its parts, for lists of findings."""

    def __init__(self, message: str, fault: Fault | None = None) -> None:
        super().__init__(message)  # rebuilt from the message alone when a loader's worker process passes it on
        self.fault = fault or Fault(found=message, expected="a readable file", fix="")


def damaged(path: Path, name: str, error: Exception) -> UnreadableError:
    """The error for a decoder's complaint about a file of the format `name`."""
    text = " ".join(str(error).split())[:160] or type(error).__name__
    lowered = text.lower()
    state = "truncated" if any(word in lowered for word in ("truncat", "premature", "end of")) else "damaged"
    return unreadable(path, f"{state} {name} data ({text})", f"a whole {name} file", RESTORE)


def unreadable(path: Path, found: str, expected: str, fix: str) -> UnreadableError:
    """The error that says what was found, what was expected, and what to do."""
    fault = Fault(found=found, expected=expected, fix=fix)
    return UnreadableError(f"{path}: {found}; expected {expected}. {fix}", fault)
