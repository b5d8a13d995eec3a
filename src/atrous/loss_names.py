"""The names of the losses, and how sums of them are written."""

import re

__all__ = ["TERMS", "parse_sum"]

TERMS = ("cross_entropy", "focal", "ohem", "dice", "lovasz")


def parse_sum(text: str) -> list[tuple[float, str]]:
    """The factors and names in a sum of `TERMS`: "0.5*cross_entropy + dice" is [(0.5, "cross_entropy"), (1.0, "dice")].

    Raises:
        ValueError: not such a sum; the message says what is expected.
    """
    terms: list[tuple[float, str]] = []
    for part in text.split("+"):
        match = re.fullmatch(r"\s*(?:(\d+\.?\d*|\.\d+)\s*\*?\s*)?([a-z_]+)\s*", part)
        if match is None or match[2] not in TERMS:
            raise ValueError(
                f"{part.strip()!r} in {text!r} is no loss; expected {', '.join(TERMS)}, or a sum such as "
                "cross_entropy+0.5*lovasz"
            )
        terms.append((float(match[1] or 1), match[2]))
    return terms
