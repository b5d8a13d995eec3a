"""The folder of one run: what is in it, and that it is never overwritten."""

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from atrous.errors import ConfigError, OutputError, WeightsError
from atrous.files import TEMPORARY_PREFIX, land, make_folder, write_atomically
from atrous.states import load_state, save_state

__all__ = ["RunFolder", "new_run_folder"]


class RunFolder:
    """Paths and writers; every file appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def model(self) -> Path:
        """The best model so far."""
        return self.path / "model.safetensors"

    @property
    def last(self) -> Path:
        """The folder of the newest states, best or not."""
        return self.path / "last"

    @property
    def state(self) -> Path:
        """Everything that resuming needs, in one file."""
        return self.last / "state.safetensors"

    @property
    def previous_state(self) -> Path:
        """The state that was saved before, should the newest be damaged."""
        return self.last / "previous.safetensors"

    @property
    def metrics(self) -> Path:
        """The scores of the best model; the last file but the page that a run writes."""
        return self.path / "metrics.json"

    @property
    def curves(self) -> Path:
        """The picture of the curves so far."""
        return self.path / "curves.png"

    @property
    def worst(self) -> Path:
        """The folder of pictures of the worst validation images."""
        return self.path / "worst"

    @property
    def board(self) -> Path:
        """The folder of TensorBoard's files."""
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write `config.yaml`."""
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_atomically(self.path / "config.yaml", text.encode())

    def read_config(self) -> dict[str, Any]:
        """Read `config.yaml`.

        Raises:
            ConfigError: there is none, or it is not what a run writes.
        """
        path = self.path / "config.yaml"
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"{path} cannot be read ({reason}); expected the folder of a run. Check --resume."
            ) from None
        if not isinstance(document, dict) or document.get("format_version") != 1 or "settings" not in document:
            raise ConfigError(f"{path} is not a run's configuration of format version 1. Check --resume.")
        return document

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Write a state; the one before is kept beside it.

        Whenever this is killed, and wherever the disk is full, one of the two files is whole.

        Raises:
            OutputError: it cannot be written; what was saved before is still there.
        """
        make_folder(self.last)
        newest = self.last / "next.safetensors"
        try:
            save_state(newest, state)
            if self.state.exists():
                land(self.state, self.previous_state)
            land(newest, self.state)
        finally:
            with suppress(OSError):
                newest.unlink(missing_ok=True)

    def has_state(self) -> bool:
        """Whether there is something to go on from."""
        return self.state.exists() or self.previous_state.exists()

    def read_state(self, say: Callable[[str], None]) -> dict[str, Any] | None:
        """Read the newest state that is whole, None where none was saved; `say` hears of a damaged one.

        Raises:
            WeightsError: there are states, but none is whole.
        """
        fault: WeightsError | None = None
        for path in (self.state, self.previous_state):
            if not path.exists():
                continue
            try:
                return load_state(path)
            except WeightsError as error:
                fault = fault or error
                say(f"{error} The state before it is tried.")
        if fault is not None:
            raise fault
        return None

    def clean(self) -> None:
        """Remove unfinished files that a killed process left; only the owner of the run may do that."""
        for folder in (self.path, self.last, self.worst):
            for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
                if path.suffix != ".lock":
                    with suppress(OSError):
                        path.unlink()

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Write `plan.json`: what the run was expected to take."""
        text = json.dumps(plan, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path / "plan.json", (text + "\n").encode())

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write `metrics.json`."""
        text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(self.metrics, (text + "\n").encode())

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write `history.csv`: one row a validation."""
        if not rows:
            return
        stream = io.StringIO()
        writer = csv.DictWriter(stream, fieldnames=list(rows[-1]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path / "history.csv", stream.getvalue().encode())

    def log(self, line: str) -> None:
        """Add one line to `log.txt`."""
        try:
            with (self.path / "log.txt").open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        except OSError as error:
            raise OutputError(
                f"{self.path / 'log.txt'}: cannot be written ({error.strerror}); free some space."
            ) from None


def new_run_folder(name: str, *, out: Path | None = None, root: Path = Path("runs/train")) -> RunFolder:
    """Make `root/<name>-<n>` with the first free n, and point `root/latest` to it; or make `out`.

    Raises:
        ConfigError: `out` exists and is not empty.
        OutputError: the folder cannot be made.
    """
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(f"{out}: already exists; a run is never overwritten. Give another --out, or remove it.")
        make_folder(out)
        return RunFolder(out)
    make_folder(root)
    number = 1
    while True:
        path = root / f"{name}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise OutputError(
                f"{path}: the run folder cannot be made ({error.strerror}); a writable folder was expected. "
                "Give another place with --out."
            ) from None
        _point_latest(root, path)
        return RunFolder(path)


def _point_latest(root: Path, path: Path) -> None:
    """A link named `latest`, or a text file with the name where links cannot be made."""
    link = root / "latest"
    temporary = root / f".latest-{os.getpid()}"
    try:
        temporary.symlink_to(path.name, target_is_directory=True)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)
        write_atomically(root / "latest.txt", (path.name + "\n").encode())
