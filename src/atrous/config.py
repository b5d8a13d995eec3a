"""The settings of a training run: their names, defaults, limits and meaning, and how they are read and checked."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from atrous.errors import ConfigError
from atrous.loss_names import parse_sum
from atrous.recipes import RECIPES

__all__ = ["LENGTHS", "Freeze", "TrainConfig", "make_config", "override", "parse_settings", "read_settings"]

Freeze = Literal["none", "backbone", "all-but-last"]
LENGTHS = ("epochs", "minutes", "steps")
MOST_CHARACTERS = 1_000_000  # of a settings file


class TrainConfig(BaseModel):
    """All settings of a training run. None means: decided from data and machine before the first step, and told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str = Field("auto", description="the recipe that the other settings' defaults came from")
    model: str | None = Field(None, description="network, one of `atrous models`")
    weights: str = Field("auto", description="what to start from: auto, voc, imagenet, none, or a file")
    network: dict[str, Any] = Field(default={}, description="further keyword arguments of the network")
    freeze: Freeze = Field("none", description="what is not trained and stays in eval mode")
    freeze_until: str | None = Field(
        None,
        description="last stage of the backbone that is not trained and stays in eval mode; a wrong name lists them",
    )
    freeze_stem: bool | None = Field(
        None, description="whether the backbone up to stride 4 keeps its pretrained weights"
    )
    output_stride: Literal[8, 16, 32] | None = Field(None, description="stride of the backbone's last features")

    epochs: int | None = Field(None, ge=1, description="passes over the training images")
    minutes: float | None = Field(None, gt=0, description="time for the whole run; the schedule follows the clock")
    steps: int | None = Field(None, ge=1, description="changes of the weights; one of epochs, minutes, steps is given")
    batch: int | None = Field(None, ge=1, description="images per step")
    accumulate: int = Field(
        1, ge=1, description="parts in which a step's images are computed: less memory, the same gradient"
    )
    crop: tuple[int, int] | None = Field(None, description="height and width of the training crops, pixels")
    enlarge: float | None = Field(
        None, ge=0.5, le=4, description="factor by which whole images are resized before the network, in prediction"
    )
    bands: int | Literal["auto", "rgb"] = Field(
        "auto",
        description="what is read of images: auto (what the files hold), rgb (RGB in 8 bits), or so many bands as is",
    )
    seed: int = Field(0, ge=0, description="key of all randomness, with epoch and image")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    workers: int | None = Field(None, ge=0, description="processes that load images; 0 loads in the training process")

    optimizer: Literal["sgd", "adam", "adamw"] = Field("adamw", description="sgd, adam or adamw")
    rate: float = Field(4e-4, gt=0, description="full learning rate of the backbone's last stage")
    head_factor: float = Field(5.0, gt=0, description="the head's rate over the backbone's")
    layer_decay: float = Field(1.0, gt=0, le=1, description="each earlier backbone stage's rate over the next one's")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd")
    weight_decay: float = Field(0.01, ge=0, description="weight decay; none on norms, biases, depthwise kernels")
    schedule: Literal["poly", "cosine", "one-cycle", "constant"] = Field(
        "poly", description="how the rate falls: poly, cosine, one-cycle or constant"
    )
    power: float = Field(0.9, ge=0, description="power of the poly schedule")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the run in which the rate rises")
    clip: float = Field(0.0, ge=0, description="largest norm of the gradient; 0 does not clip")
    average: bool = Field(True, description="validate and keep a running mean of the weights (EMA)")
    batch_norm: Literal["auto", "train", "freeze", "group"] = Field(
        "auto",
        description="train: statistics of each part; freeze: those of the weights; group: group norm in a new head",
    )
    second_stage: float = Field(
        0.0, ge=0, lt=1, description="share of the run, at its end, at another stride with frozen batch norm (v3 paper)"
    )
    second_stride: Literal[8, 16, 32] = Field(8, description="output stride of the second stage")
    second_rate: float = Field(0.001, gt=0, description="full learning rate of the second stage")

    loss: str = Field(
        "cross_entropy", description="cross_entropy, focal, ohem, dice, lovasz, or a sum: cross_entropy+0.5*lovasz"
    )
    class_weights: Literal["none", "balanced", "median"] = Field(
        "none",
        description="balanced: by one over the square root of each class's share; median: by the median share over it",
    )
    untilt: float = Field(
        0.75,
        ge=0,
        le=1,
        description="how much of the class weights' tilt is taken back from the finished model's logits",
    )
    tune_images: int = Field(
        96, ge=0, description="training images on which the finished model's biases are set for the best mIoU; 0: none"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the truth that is spread over all classes")
    focal_gamma: float = Field(2.0, ge=1, description="exponent of the focal loss")
    ohem_share: float = Field(
        0.25, gt=0, le=1, description="share of each image's pixels, the hardest, that ohem keeps"
    )
    overlap_every: int = Field(
        4, ge=1, description="dice and lovasz look at every so-manieth row and column of the full-size logits"
    )
    auxiliary_weight: float = Field(0.5, ge=0, description="share of the auxiliary head's loss, where there is one")

    scale: tuple[float, float] = Field((0.5, 2.0), description="range of the random scale")
    flip: float = Field(0.5, ge=0, le=1, description="share of mirrored views")
    rotation: float = Field(0.0, ge=0, le=180, description="largest random rotation, degrees")
    brightness: float = Field(0.25, ge=0, lt=1, description="largest relative change of brightness")
    contrast: float = Field(0.25, ge=0, lt=1, description="largest relative change of contrast")
    saturation: float = Field(
        0.25, ge=0, le=1, description="largest relative change of saturation; of RGB images alone"
    )
    tint: float = Field(0.1, ge=0, lt=1, description="largest relative change of one channel; of RGB images alone")
    blur: float = Field(0.0, ge=0, le=1, description="share of blurred views")
    jpeg: float = Field(
        0.0, ge=0, le=1, description="share of views with the noise of JPEG compression; of RGB images alone"
    )
    views: int | None = Field(
        None, ge=1, description="different views of an image that the epochs go through in turn; None: always new ones"
    )
    cache_gb: float = Field(
        20.0, ge=0, description="disk that the outputs of a frozen part may take, in the cache folder; 0 keeps none"
    )
    cache_type: Literal["float32", "bfloat16"] = Field("float32", description="number type of the outputs kept")
    rare_crops: float = Field(0.0, ge=0, le=1, description="share of crops that are laid on a pixel of a rare class")
    paste: float = Field(0.0, ge=0, le=1, description="share of views into which a rare object is copied")

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

    @field_validator("bands", mode="before")
    @classmethod
    def _bands_or_a_word(cls, value: Any) -> Any:
        if value in ("auto", "rgb") or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            return value
        raise ValueError(f"{value!r} was given; auto, rgb or a number of bands is expected")

    @field_validator("loss")
    @classmethod
    def _loss_is_a_sum(cls, value: str) -> str:
        parse_sum(value)
        return value

    @field_validator("crop")
    @classmethod
    def _crop_not_tiny(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and min(value) < 32:
            raise ValueError("both sides must be at least 32 pixels")
        return value

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both given; give one of them")
        return self

    @model_validator(mode="after")
    def _one_freezing(self) -> Self:
        if self.freeze != "none" and self.freeze_until is not None:
            raise ValueError(
                f"freeze {self.freeze} and freeze_until {self.freeze_until} are both given; give one of them"
            )
        return self

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> Self:
        if self.batch is not None and self.accumulate > self.batch:
            raise ValueError(f"accumulate {self.accumulate} is more than the batch of {self.batch} has images")
        return self


def make_config(recipe: str, settings: Mapping[str, Any]) -> TrainConfig:
    """The recipe's settings overridden by `settings` (see `override`), checked.

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
    values = {**override(RECIPES[recipe].settings, settings), "recipe": recipe}
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}" for item in error.errors()]
        raise ConfigError("the settings cannot be used:\n  " + "\n  ".join(problems)) from None


def override(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`lower` overridden by `upper`: a recipe by a file, a file by the command line.

    A length replaces any other length. The arguments of the network are merged, but those of `lower` belong to its
    model: with another one they are left out.
    """
    merged = dict(lower)
    if any(upper.get(name) is not None for name in LENGTHS):
        merged = {key: value for key, value in merged.items() if key not in LENGTHS}
    if upper.get("model") not in (None, lower.get("model")):
        merged.pop("network", None)
    below, above = merged.get("network"), upper.get("network")
    merged |= upper
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        merged["network"] = {**below, **above}
    return merged


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


def read_settings(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings, or the settings in the `config.yaml` of a run.

    Raises:
        ConfigError: it cannot be read, or is not a list of settings.
    """
    import yaml

    try:
        with path.open(encoding="utf-8") as file:
            document = yaml.safe_load(file.read(MOST_CHARACTERS))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); expected a YAML file with lines such as `rate: 0.001`. "
            "Check --config."
        ) from None
    if isinstance(document, dict) and isinstance(document.get("settings"), dict):
        document = document["settings"]
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigError(
            f"{path} holds {type(document).__name__}, not settings; expected lines such as `rate: 0.001`. "
            "`atrous train --print-config` lists all settings."
        )
    return document
