"""`atrous train`: fine-tune a network."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from atrous.cli import console

__all__ = ["train"]

STARTED: float | None = None


def train(
    data: Path | None = None,
    /,
    *,
    model: str | None = None,
    recipe: str | None = None,
    weights: str | None = None,
    freeze: Literal["none", "backbone", "all-but-last"] | None = None,
    freeze_until: str | None = None,
    views: int | None = None,
    cache_gb: float | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    crop: tuple[int, int] | None = None,
    batch: int | None = None,
    output_stride: Literal[8, 16, 32] | None = None,
    config: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True, negative="")] = None,
    seed: int | None = None,
    device: str | None = None,
    out: Path | None = None,
    plan: Annotated[bool, Parameter(negative="")] = False,
    resume: Path | None = None,
    print_config: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Fine-tune a network on images and masks.

    Everything that is not given is decided from the data and the machine, and told with its reason.

    Parameters
    ----------
    data:
        A folder of images and masks in any layout that is recognised, a data.yaml, or a public set: voc2012,
        voc2012-aug.
    model:
        One of `atrous models`. By default one that fits the weights and the machine.
    recipe:
        auto: for your own images (the default). classic: a frozen DeepLabv3-ResNet-101 with a new last layer, Adam, ten
        epochs. paper: DeepLabv3's own two stages, for VOC-sized data and a GPU.
    weights:
        What to start from: auto (the best published weights, fetched once into the cache folder), voc (of a whole
        network), imagenet (of a backbone), none (random), or a file with a backbone or a whole network.
    freeze:
        What is not trained: none, backbone, all-but-last. The frozen part's outputs are computed once and kept.
    freeze_until:
        The last stage of the backbone that is not trained; a wrong name lists them.
    views:
        Different augmented views of every image; with a frozen part 4 by default, else new ones every epoch.
    cache_gb:
        Gigabytes of disk for the frozen part's outputs, in the cache folder; 0 keeps none.
    epochs:
        Passes over the training images.
    minutes:
        Minutes for the whole run; the schedule follows the clock and ends on time.
    crop:
        Height and width of the training crops, pixels.
    batch:
        Images per step; --set accumulate=N computes them in N parts, for less memory.
    output_stride:
        How much smaller than the image the backbone's last features are: 8, 16 or 32.
    config:
        A YAML file of settings, or the config.yaml of a run. The recipe's settings give way to it, and it gives way to what
        stands on the command line.
    set_:
        Any other setting as KEY=VALUE; --print-config lists them.
    seed:
        Key of all randomness.
    device:
        auto, cpu, cuda, cuda:N or mps.
    out:
        The run folder; by default runs/train/NAME-N.
    plan:
        Decide, measure a few steps, print the plan (time, memory, disk), and stop. Without it the plan is told, and the
        training begins.
    resume:
        The folder of a run that was stopped or killed: go on from its last saved state. Nothing else is given.
    print_config:
        Print all settings with their values here and their meaning, and stop.
    """
    from atrous.config import make_config, override, parse_settings, read_settings
    from atrous.errors import ConfigError

    settings: dict[str, Any] = {
        "model": model,
        "weights": weights,
        "freeze": freeze,
        "freeze_until": freeze_until,
        "views": views,
        "cache_gb": cache_gb,
        "epochs": epochs,
        "minutes": minutes,
        "crop": crop,
        "batch": batch,
        "output_stride": output_stride,
        "seed": seed,
        "device": device,
    }
    settings = {key: value for key, value in settings.items() if value is not None} | parse_settings(set_ or [])
    if config is not None:
        settings = override(read_settings(config), settings)
    named = settings.pop("recipe", None)
    recipe = recipe or named
    if resume is not None:
        if data is not None or recipe is not None or settings:
            raise ConfigError("--resume goes on with the run as it was started; give neither DATA nor other settings.")
        return _resume(resume)
    if print_config:
        return _print_config(make_config(recipe or "auto", settings).model_dump())
    if data is None:
        raise ConfigError("no DATA given; expected a folder of images and masks: atrous train DATA")
    from atrous import api
    from atrous.training.forecast import show_forecast
    from atrous.training.narrator import Narrator

    narrator = Narrator(console.note, console.status, live=console.is_live())
    if plan:
        for line in show_forecast(
            api.plan_training(data, recipe=recipe or "auto", narrator=narrator, started=STARTED, **settings)
        ):
            console.result(line)
        return 0
    run = api.train(data, recipe=recipe or "auto", out=out, narrator=narrator, started=STARTED, **settings)
    console.result(str(run.folder))
    return 0


def _resume(folder: Path) -> int:
    from atrous import api
    from atrous.training.narrator import Narrator

    narrator = Narrator(console.note, console.status, live=console.is_live())
    console.result(str(api.resume(folder, narrator=narrator, started=STARTED).folder))
    return 0


def _print_config(values: dict[str, Any]) -> int:
    """Every setting as YAML with its meaning beside it; the output is a file that --config reads."""
    import yaml

    from atrous.config import TrainConfig
    from atrous.recipes import RECIPES

    recipe = RECIPES[values["recipe"]]
    console.result(f"# recipe {values['recipe']}: {recipe.good_for}\n# source: {recipe.source}")
    for key, field in TrainConfig.model_fields.items():
        value = values[key]
        plain = list(value) if isinstance(value, tuple) else value
        line = yaml.safe_dump({key: plain}, default_flow_style=True, width=10_000, allow_unicode=True).strip()[1:-1]
        console.result(f"{line:<32}  # {field.description}")
    return 0
