"""The settings of a training run, and the recipes: named sets of them, each with its source and what it is good for."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from atrous.errors import ConfigError

__all__ = ["RECIPES", "Freeze", "TrainConfig", "make_config", "parse_settings"]

Freeze = Literal["none", "backbone", "all-but-last"]


class TrainConfig(BaseModel):
    """All settings of a training run. None means: decided from data and machine before the first step, and told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str = Field("auto", description="the recipe that the other settings' defaults came from")
    model: str | None = Field(None, description="network, one of `atrous models`")
    weights: str = Field("auto", description="what to start from: auto, voc, imagenet, none, or a file")
    network: dict[str, Any] = Field(default={}, description="further keyword arguments of the network")
    freeze: Freeze = Field("none", description="what is not trained and stays in eval mode")
    freeze_stem: bool | None = Field(
        None, description="whether the backbone up to stride 4 keeps its pretrained weights"
    )
    output_stride: Literal[8, 16, 32] | None = Field(None, description="stride of the backbone's last features")

    epochs: int | None = Field(None, ge=1, description="passes over the training images")
    minutes: float | None = Field(None, gt=0, description="time for the whole run; the schedule follows the clock")
    batch: int | None = Field(None, ge=1, description="images per step")
    crop: tuple[int, int] | None = Field(None, description="height and width of the training crops, pixels")
    seed: int = Field(0, ge=0, description="key of all randomness, with epoch and image")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    workers: int | None = Field(None, ge=0, description="processes that load images; 0 loads in the training process")

    optimizer: Literal["sgd", "adam", "adamw"] = Field("adamw", description="sgd, adam or adamw")
    rate: float = Field(4e-4, gt=0, description="full learning rate of the backbone")
    head_factor: float = Field(5.0, gt=0, description="the head's rate over the backbone's")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd")
    weight_decay: float = Field(0.01, ge=0, description="weight decay; none on norms, biases, depthwise kernels")
    power: float = Field(0.9, ge=0, description="power of the poly schedule; 0 keeps the rate constant")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the run in which the rate rises")
    clip: float = Field(0.0, ge=0, description="largest norm of the gradient; 0 does not clip")
    average: bool = Field(True, description="validate and keep a running mean of the weights (EMA)")

    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: by one over the square root of each class's share, at most 10"
    )
    untilt: float = Field(
        0.75,
        ge=0,
        le=1,
        description="how much of the class weights' tilt is taken back from the finished model's logits",
    )
    auxiliary_weight: float = Field(0.5, ge=0, description="share of the auxiliary head's loss, where there is one")

    scale: tuple[float, float] = Field((0.5, 2.0), description="range of the random scale")
    flip: float = Field(0.5, ge=0, le=1, description="share of mirrored views")
    rotation: float = Field(0.0, ge=0, le=180, description="largest random rotation, degrees")
    brightness: float = Field(0.25, ge=0, lt=1, description="largest relative change of brightness")
    contrast: float = Field(0.25, ge=0, lt=1, description="largest relative change of contrast")
    saturation: float = Field(0.25, ge=0, le=1, description="largest relative change of saturation")
    tint: float = Field(0.1, ge=0, lt=1, description="largest relative change of one channel")

    validations: int = Field(10, ge=1, description="how often to validate over the run, at most")
    patience: int = Field(
        0, ge=0, description="stop after so many validations without a better one; 0 never stops early"
    )

    test_at_end: bool = Field(False, description="measure the test split (val where there is none) after training")

    @field_validator("scale")
    @classmethod
    def _scale_in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("two numbers are expected, the smaller first, both above 0")
        return value

    @field_validator("crop")
    @classmethod
    def _crop_not_tiny(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and min(value) < 32:
            raise ValueError("both sides must be at least 32 pixels")
        return value

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.minutes is not None:
            raise ValueError("epochs and minutes are both given; give one of them")
        return self


RECIPES: dict[str, dict[str, Any]] = {
    # Our own default: short fine-tuning from an ImageNet backbone. AdamW converges in far fewer steps than SGD here;
    # class weights lift rare, thin classes; the running mean takes the place of a long tail of small rates.
    "auto": {"class_weights": "balanced"},
    # The recipe found in countless tutorials: a pretrained DeepLabv3-ResNet-101, all but the last layer frozen,
    # cross entropy, Adam at 0.001, ten epochs. Good as a baseline and for a handful of images.
    "classic": {
        "model": "deeplabv3_resnet101",
        "freeze": "all-but-last",
        "optimizer": "adam",
        "rate": 0.001,
        "head_factor": 1.0,
        "weight_decay": 0.0,
        "power": 0.0,
        "warmup": 0.0,
        "average": False,
        "epochs": 10,
        "scale": (1.0, 1.0),
        "brightness": 0.0,
        "contrast": 0.0,
        "saturation": 0.0,
        "tint": 0.0,
        "test_at_end": True,
    },
}


def make_config(recipe: str, settings: Mapping[str, Any]) -> TrainConfig:
    """The recipe's settings overridden by `settings`, checked.

    Raises:
        ConfigError: an unknown recipe or setting (naming the nearest), a value that cannot be, or a contradiction.
    """
    if recipe not in RECIPES:
        raise ConfigError(
            f"recipe {recipe!r} is not known; expected one of: {', '.join(RECIPES)}{_nearest(recipe, RECIPES)}"
        )
    known = TrainConfig.model_fields
    for key in settings:
        if key not in known:
            raise ConfigError(
                f"setting {key!r} is not known{_nearest(key, known)} `atrous train --print-config` lists all settings."
            )
    values = {**RECIPES[recipe], **settings, "recipe": recipe}
    # A length that the user gives replaces the recipe's.
    if settings.get("minutes") is not None and settings.get("epochs") is None:
        values["epochs"] = None
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}" for item in error.errors()]
        raise ConfigError("the settings cannot be used:\n  " + "\n  ".join(problems)) from None


def _nearest(word: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "."


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` pairs; values are YAML, lists may also be written with commas: `scale=0.5,2`.

    Raises:
        ConfigError: a pair without `=`, or a value that is not YAML.
    """
    import yaml

    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {pair!r} is not KEY=VALUE; write for example --set rate=0.001")
        try:
            value = yaml.safe_load(f"[{text}]" if "," in text and not text.lstrip().startswith(("[", "{")) else text)
        except yaml.YAMLError:
            raise ConfigError(
                f"--set {pair!r}: {text!r} is not a number, word or list; example: --set scale=0.5,2"
            ) from None
        *parents, last = key.strip().split(".")
        target = settings
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return settings
