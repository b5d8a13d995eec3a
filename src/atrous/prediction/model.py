"""A model: a network with everything that prediction needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from atrous import checkpoint, labelling
from atrous.engines import (
    Coarse,
    Engine,
    PlainEngine,
    TorchEngine,
    choose_device,
    make_engine,
)
from atrous.errors import ConfigError, ImageError, WeightsError
from atrous.images import Pixels, read_pixels
from atrous.labels import VOC, Labels
from atrous.models.deeplab import DeepLab
from atrous.prediction.result import Prediction
from atrous.preprocessing import Preprocessing
from atrous.tiling import Means, Tiler

__all__ = ["Model"]

MANY_IMAGES = 200  # from here on the label kernel is loaded at once; it takes about as long as labels without it


class Model:
    """A network with everything that prediction needs.

    Args:
        network: gives logits (N, K, H, W) for images (N, bands, H, W); one of `atrous.models` or any other module.
        labels: class names and palette; by default VOC's for 21 classes, else class_0, class_1, ...
        preprocessing: how images are read, bands, mean and deviation; by default RGB and ImageNet's.
        device: auto, cpu, cuda, mps.
        engine: auto, torch (simplified, and fast on this machine), plain (the network as it is), onnxruntime, openvino.
        keep: whether a file that an engine has to convert is kept in the cache folder.
        reload: how the network is made again, where nobody else has it; its memory can then be given back.
        tile: auto (images that would take too much memory are computed by windows), off, or a window's side in pixels.
        tile_means: image (means over the image are the whole image's), or window (each window is an image of its own).
        metadata: further facts from the model file: scores, licence, version.
        path: where it was loaded from.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        labels: Labels | None = None,
        preprocessing: Preprocessing | None = None,
        device: str = "auto",
        engine: str = "auto",
        keep: bool = False,
        reload: Callable[[], nn.Module] | None = None,
        tile: str | int = "auto",
        tile_means: Means = "image",
        metadata: Mapping[str, Any] | None = None,
        path: Path | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.preprocessing = preprocessing or Preprocessing()
        self.name = str(getattr(network, "name", None) or type(network).__name__)
        self.labels = labels or _default_labels(network.to(self.device), self.preprocessing.bands)
        self.metadata = dict(metadata or {})
        self.path = path
        self._engine_name, self._keep, self._expected, self._reload = engine, keep, 1, reload
        self._network: nn.Module | None = None
        self.tiler = Tiler(tile, self._for_windows, bands=self.preprocessing.bands, means=tile_means)
        self.engine: Engine = self._make_engine(network, owns=reload is not None)
        if not isinstance(self.engine, TorchEngine) or reload is None:
            self._network = network

    def _make_engine(self, network: nn.Module, *, owns: bool) -> Engine:
        network.to(self.device).eval()
        return make_engine(
            self._engine_name,
            network,
            device=self.device,
            bands=self.preprocessing.bands,
            keep=self._keep,
            owns=owns,
        )

    def _for_windows(self) -> tuple[nn.Module, bool]:
        """The network, and whether it was read anew and so belongs to nobody else."""
        if self._network is None:
            assert self._reload is not None
            return self._reload().to(self.device), True
        return self._network, False

    @property
    def network(self) -> nn.Module:
        """The network, in eval mode. When its weights change, so does what is run.

        That of a model file is read again when it is first asked for: to predict, its weights are not kept twice.

        Raises:
            WeightsError: the file has changed since it was opened.
        """
        if self._network is None:
            assert self._reload is not None
            self._network = self._reload()
            self.engine = self._make_engine(self._network, owns=False)
            self.engine.expect(self._expected)
        return self._network

    def predict(
        self, image: str | Path | Pixels | Image.Image, *, scales: Sequence[float] = (1.0,), flip: bool = False
    ) -> Prediction:
        """Segment one image: a file, an array (H, W, 3) uint8 RGB (or (H, W) grey), or a Pillow image.

        A model of other bands or numbers takes files that hold these, and arrays (H, W, bands) of its own number type
        ((H, W) for one band).

        With several `scales`, or with `flip`, the probabilities of all views are averaged (v3 paper, section 4.1).

        Raises:
            ImageError: a file that is not a readable image, or an image of other bands or numbers than the model's.
            ValueError: an array of another shape or type than an RGB model takes.
        """
        path = Path(image) if isinstance(image, str | Path) else None
        prepared = self.preprocessing
        pixels = read_pixels(path, prepared) if path is not None else _as_pixels(image, prepared)  # pyright: ignore[reportArgumentType]
        views = self.views(pixels, scales=scales, flip=flip)
        return Prediction(pixels, views, self.labels, path=path, preprocessing=prepared)

    def expect(self, images: int) -> None:
        """Say how many images are to come, so that preparations are made that pay."""
        self._expected = images
        self.engine.expect(images)
        if images >= MANY_IMAGES:
            labelling.prepare(self.labels.num_classes)

    def views(self, image: Pixels, *, scales: Sequence[float] = (1.0,), flip: bool = False) -> tuple[Coarse, ...]:
        """Logits of an image (H, W, bands) at every scale, and of its mirror image too with `flip`.

        A scale multiplies the size at which the image would enter the network.

        Raises:
            ConfigError: a scale that leads out of the range of the model's resize rule.
        """
        found: list[Coarse] = []
        for scale in scales:
            try:
                prepared = self.preprocessing.scaled(scale)
            except ValueError as error:
                raise ConfigError(
                    f"scale {scale:g}: {error}. The model's own rule resizes already; choose a scale nearer to 1."
                ) from error
            for mirrored in (False, True) if flip else (False,):
                pixels = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
                found.append(replace(self._coarse(pixels, prepared), mirrored=mirrored))
        return tuple(found)

    def _coarse(self, pixels: Pixels, prepared: Preprocessing) -> Coarse:
        """Logits of one view, computed at once or, where that would take too much memory, by windows."""
        size = (pixels.shape[0], pixels.shape[1])
        tiles = self.tiler.choose(prepared.input_size(size), engine=self.engine)
        if tiles is None:
            return Coarse(self.engine.coarse_logits(prepared.prepare(pixels)), prepared.cover(size))
        return self.tiler.coarse(tiles, prepared.resized(pixels), prepared.as_read(), engine=self.engine)

    def as_coarse(self, logits: Tensor, size: tuple[int, int]) -> Coarse:
        """An engine's logits of an image of `size` (height, width), with how they lie over it."""
        return Coarse(logits, self.preprocessing.cover(size))

    def coarse_logits(self, image: Pixels) -> Coarse:
        """Logits at the network's own stride, of an image (H, W, bands)."""
        return self.views(image)[0]

    def save(self, path: str | Path) -> None:
        """Write a model file. Only for networks that atrous built; another module is an error that says so."""
        if not isinstance(self.network, DeepLab):
            raise WeightsError(
                f"a {type(self.network).__name__} cannot be saved as an atrous model file: how to build it again is not "
                "known. Expected a network from atrous.models; save its state_dict yourself."
            )
        checkpoint.save_model(
            Path(path),
            self.network,
            labels=self.labels,
            preprocessing=self.preprocessing,
            scores=self.metadata.get("scores"),
            licence=self.metadata.get("licence"),
        )

    def __repr__(self) -> str:
        return f"Model({self.name}, {self.labels.num_classes} classes, {self.device})"


def _default_labels(network: nn.Module, bands: int) -> Labels:
    """VOC's names for 21 classes, numbers for any other count, which a tiny image tells where nothing else does."""
    if isinstance(network, DeepLab) and isinstance(network.settings.get("num_classes"), int):
        count = int(network.settings["num_classes"])  # pyright: ignore[reportArgumentType]
    else:
        probe = np.zeros((64, 64, bands), np.float32)
        device = next((value.device for value in network.parameters()), torch.device("cpu"))
        count = PlainEngine(network, device=device).coarse_logits(probe).shape[1]
    return VOC if count == VOC.num_classes else Labels.numbered(count)


def _as_pixels(image: Pixels | Image.Image, preprocessing: Preprocessing) -> Pixels:
    """An array as (H, W, 3) uint8, or as (H, W, bands) in the numbers of a model that is not of RGB."""
    if preprocessing.pixels != "rgb":
        return _as_bands(np.asarray(image), preprocessing)
    array = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else np.asarray(image)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(
            f"image is {array.dtype} {array.shape}; expected uint8 of shape (height, width, 3) or (height, width)"
        )
    return array


def _as_bands(array: NDArray[Any], preprocessing: Preprocessing) -> Pixels:
    bands, wanted = preprocessing.bands, np.dtype(preprocessing.pixels)
    if array.ndim == 2 and bands == 1:
        array = array[..., None]
    fits = array.dtype == wanted or (wanted == np.float32 and array.dtype in (np.float16, np.float64))
    if array.ndim != 3 or array.shape[2] != bands or not fits:
        raise ImageError(
            f"an array of {array.dtype} and shape {array.shape} was given to a model of {bands} "
            f"band{'s'[: bands != 1]} of {wanted}. Expected {wanted} of shape (height, width, {bands}), with the values "
            "that the files of its training images hold. Choose such an image, or a model for yours."
        )
    return array.astype(wanted, copy=False)
