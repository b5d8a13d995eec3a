"""`config.yaml` of a run: everything that was decided, from which the run can be planned again as it was."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from atrous.config import TrainConfig, make_config
from atrous.data.fingerprint import fingerprint
from atrous.data.samples import Dataset
from atrous.environment import package_versions
from atrous.errors import ConfigError, DataError
from atrous.origin import Origin
from atrous.preprocessing import Preprocessing
from atrous.training.plan import Plan
from atrous.training.run_folder import RunFolder

__all__ = ["check_data", "config_of", "describe_run", "origin_of"]


def describe_run(plan: Plan, dataset: Dataset, data: str | Path) -> dict[str, Any]:
    """What `config.yaml` holds. Paths are absolute, so that a run resumes from any folder."""
    settings = plan.config.model_dump(mode="json")
    if Path(plan.config.weights).is_file():
        settings["weights"] = str(Path(plan.config.weights).resolve())
    return {
        "format_version": 1,
        "data": {
            "path": str(Path(data).resolve() if Path(data).exists() else data),
            "layout": dataset.layout,
            "fingerprint": fingerprint(dataset),
        },
        "settings": settings,
        "pretrained": plan.start,
        "preprocessing": asdict(plan.preprocessing),
        "class_weights": None if plan.class_weights is None else [round(value, 6) for value in plan.class_weights],
        "reasons": list(plan.reasons),
        "versions": package_versions(),
    }


def config_of(document: Mapping[str, Any]) -> TrainConfig:
    """The settings of a run.

    Raises:
        ConfigError: settings that this version does not know or allow.
    """
    settings = document["settings"]
    return make_config(settings.get("recipe", "auto"), settings)


def origin_of(document: Mapping[str, Any], run: RunFolder) -> Origin:
    """What the weights were that the run began with, though their file may be gone by now.

    Raises:
        ConfigError: the document does not say.
    """
    try:
        stored: Mapping[str, Any] = document["preprocessing"]
        prepared: dict[str, Any] = {key: _tuples(value) for key, value in stored.items()}
        model = document["settings"]["model"] if document.get("pretrained") == "network" else None
        return Origin(model=model, preprocessing=Preprocessing(**prepared))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{run.path}/config.yaml is damaged ({type(error).__name__}: {error}); expected it as the run wrote it. Put it "
            "back, or start another run."
        ) from error


def _tuples(value: Any) -> Any:
    """YAML's lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def check_data(document: Mapping[str, Any], dataset: Dataset, run: RunFolder) -> None:
    """Raise DataError where the data are not those that the run began with."""
    expected = document["data"]["fingerprint"]
    if fingerprint(dataset) != expected:
        raise DataError(
            f"{dataset.root}: the data changed since this run began (fingerprint {fingerprint(dataset)}, expected "
            f"{expected}). Put them back, or start a new run with --weights {run.model}."
        )
