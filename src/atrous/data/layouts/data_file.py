"""data.yaml: a data set described by hand. Its schema and its safe reading; `described` turns it into a data set."""

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from atrous.data.samples import Bands
from atrous.errors import DataError
from atrous.labels import Colour, Labels, voc_palette

try:  # ten times faster; absent where PyYAML was built without libyaml
    from yaml import CSafeLoader as _SafeLoader
except ImportError:
    from yaml import SafeLoader as _SafeLoader

__all__ = ["DataFile", "FolderPair", "read_data_file"]

_MAX_BYTES = 1_000_000
_MAX_DEPTH = 8
_MAX_PATTERN = 200
_MAX_REPEATS = 3
_HEX_COLOUR = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


class FolderPair(BaseModel):
    """A split whose image and mask folders are both named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: str
    masks: str | None = None


class DataFile(BaseModel):
    """What a data.yaml may say. Paths are relative to the file, those of splits to `path`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = "."
    train: str | FolderPair | None = None
    val: str | FolderPair | None = None
    test: str | FolderPair | None = None
    names: dict[int, str]
    ignore: int = Field(default=255, ge=0, le=65535)
    palette: dict[int, Colour] = Field(default_factory=dict[int, Colour])
    classes: dict[int, int | str] = Field(default_factory=dict[int, int | str])
    bands: Bands = "auto"
    groups: re.Pattern[str] | None = None

    @field_validator("names", mode="before")
    @classmethod
    def _number_names(cls, value: Any) -> Any:
        return dict(enumerate(value)) if isinstance(value, list) else value

    @field_validator("names")
    @classmethod
    def _check_names(cls, names: dict[int, str]) -> dict[int, str]:
        if sorted(names) != list(range(len(names))) or not names:
            raise ValueError(f"the classes are numbered {sorted(names)}; they must be 0, 1, 2, ... without gaps")
        twice = [name for name, count in Counter(names.values()).items() if count > 1]
        if twice:
            raise ValueError(f"the name {twice[0]!r} stands twice; every class needs its own")
        return dict(sorted(names.items()))

    @field_validator("palette", mode="before")
    @classmethod
    def _read_colours(cls, value: Any) -> Any:
        return {key: _colour(colour) for key, colour in value.items()} if isinstance(value, dict) else value

    @field_validator("bands", mode="before")
    @classmethod
    def _check_bands(cls, value: Any) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if value not in ("auto", "rgb") and not is_number:
            raise ValueError(f"{value!r} is no number of bands; write for instance 8, or rgb for reading RGB in 8 bits")
        return value

    @field_validator("groups", mode="before")
    @classmethod
    def _check_pattern(cls, value: Any) -> Any:
        return _pattern(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        known = ", ".join(f"{index}: {name}" for index, name in list(self.names.items())[:30])
        for key, target in self.classes.items():
            if self.class_number(target) is None or not 0 <= key <= 65535:
                raise ValueError(f"classes maps {key} to {target!r}; it must be one of {known}, or ignore")
        strange = [key for key in self.palette if key not in self.names]
        if strange:
            raise ValueError(f"palette has a colour for {strange[0]}, which is no class; classes are {known}")
        if self.ignore in self.names:
            raise ValueError(f"ignore is {self.ignore}, which is also the class {self.names[self.ignore]!r}")
        if self.train is None and self.val is None and self.test is None:
            raise ValueError("there is no train, val or test; name a folder of images, for instance train: images")
        return self

    def class_number(self, target: int | str) -> int | None:
        """The class that an entry of `classes` names, by number, by name or as 'ignore'; None for no class."""
        if target in ("ignore", self.ignore):
            return self.ignore
        if isinstance(target, int):
            return target if target in self.names else None
        return next((index for index, name in self.names.items() if name == target), None)

    @property
    def class_map(self) -> dict[int, int]:
        """Raw mask value -> class number or ignore value."""
        numbers = {key: self.class_number(target) for key, target in self.classes.items()}
        return {key: number for key, number in numbers.items() if number is not None}

    @property
    def labels(self) -> Labels:
        """Names and colours; a class without colour has VOC's."""
        default = voc_palette(max(256, len(self.names)))
        palette = tuple(self.palette.get(index, default[index]) for index in self.names)
        return Labels(names=tuple(self.names.values()), palette=palette, ignore_index=self.ignore)


def read_data_file(path: Path) -> DataFile:
    """Read and check a data.yaml.

    Raises DataError for a file over 1 MB, no YAML, aliases, keys given twice, unknown keys (with the nearest known
    one), and values that make no sense; all faults are in one message.
    """
    with _told(path):
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise DataError(f"{path} has more than 1 MB; expected a short description. Check the file.")
        text = content.decode("utf-8-sig")
        _check_events(text)
        loaded = yaml.load(text, Loader=_Loader)
        if not isinstance(loaded, dict):
            raise ValueError(f"the file holds {type(loaded).__name__}, expected lines such as 'train: images'")
        return DataFile.model_validate(loaded)


class _Loader(_SafeLoader):  # pyright: ignore[reportGeneralTypeIssues] - one of two classes with the same methods
    """The safe loader, which also refuses a key that stands twice: YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = [value for (_, value), count in Counter(keys).items() if count > 1]
        if twice:
            raise ValueError(f"the key {twice[0]!r} stands twice")
        return super().construct_mapping(node, deep=deep)


def _check_events(text: str) -> None:
    """Refuse aliases, which can multiply a small file to gigabytes, and deep nesting, before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases (*name) are not read here; write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ValueError("the values are nested too deeply")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what reading and checking raise into one DataError."""
    try:
        yield
    except DataError:
        raise
    except ValidationError as error:
        faults = [_fault(dict(item)) for item in error.errors(include_url=False) if _is_meant(dict(item))]
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise DataError(f"{path} has {len(faults)} fault(s):\n{listed}\nCorrect them in the file.") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path} cannot be used: {reason}; expected a data.yaml. Correct the file.") from error


def _is_meant(item: dict[str, Any]) -> bool:
    """Whether a fault is about what was written: a split may be text or a pair, and pydantic complains of both."""
    as_text = item["loc"][-1:] == ("str",)
    as_pair = item["loc"][-1:] == ("FolderPair",)
    return not as_pair and not (as_text and isinstance(item["input"], dict))


def _fault(item: dict[str, Any]) -> str:
    """One line for one fault that pydantic found."""
    place = ".".join(str(part) for part in item["loc"] if part not in ("str", "int", "FolderPair"))
    match item["type"]:
        case "extra_forbidden":
            key = str(item["loc"][-1])
            known = [*DataFile.model_fields] if len(item["loc"]) == 1 else [*FolderPair.model_fields]
            near = difflib.get_close_matches(key, known, n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            return f"{place}: unknown key; {guess}Known are {', '.join(known)}."
        case "missing":
            return f"{place}: missing; expected for instance names: {{0: background, 1: road}}."
        case "string_type":
            return f"{place}: {item['input']!r} is no text; put it into quotes."
        case _:
            message = str(item["msg"]).removeprefix("Value error, ")
            return f"{place}: {message}." if place else f"{message}."


def _colour(value: Any) -> Any:
    """A colour as '#804080' or [128, 64, 128]."""
    if isinstance(value, str) and (match := _HEX_COLOUR.fullmatch(value)):
        return tuple(int(part, 16) for part in match.groups())
    if (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(part, int) and 0 <= part <= 255 for part in value)
    ):
        return tuple(value)
    raise ValueError(f'{value!r} is no colour; write it as "#804080", in quotes, or [128, 64, 128]')


def _pattern(text: str) -> re.Pattern[str]:
    """Compile `groups`, refusing what could run for ever on a file name: repeated groups and many repeats."""
    plain = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "x", text)
    if len(text) > _MAX_PATTERN or re.search(r"\)[*+{]", plain) or len(re.findall(r"[*+{]", plain)) > _MAX_REPEATS:
        raise ValueError(f"{text!r} is too complex; use at most {_MAX_REPEATS} repeats and no repeated group")
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error})") from error
    if pattern.groups < 1:
        raise ValueError(f"{text!r} has no group in parentheses; its first group names what stays together")
    return pattern
