"""A model's images by windows: what is kept from one image to the next, and where features lie meanwhile."""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from atrous.cache import cache_folder
from atrous.engines import Coarse, Engine, state_of
from atrous.files import make_folder
from atrous.memory import available_memory
from atrous.models.deeplab import DeepLab
from atrous.preprocessing import Preprocessing
from atrous.tiling.blended import STEP, Blended
from atrous.tiling.choice import Means, Tiles, bytes_per_pixel, choose_tiles, why_blended
from atrous.tiling.parts import Trunk
from atrous.tiling.stitched import Stitched

__all__ = ["Tiler"]

ALWAYS_WHOLE = 1 << 20  # pixels; no network here takes a gigabyte for so few
UNKNOWN_MEMORY = 4 << 30  # taken as free where the system does not say

Read = Callable[[slice, slice], NDArray[np.integer | np.floating]]


class Tiler:
    """Decides for a model's images whether they are cut, and computes those that are.

    Args:
        tile: auto, off, or the side of the windows in pixels.
        network: gives the model's network, and whether nobody else has it.
        bands: of the images.
        means: whether means over the image are the whole image's, or each window's own (blended windows).
    """

    def __init__(
        self,
        tile: str | int,
        network: Callable[[], tuple[nn.Module, bool]],
        *,
        bands: int,
        means: Means = "image",
    ) -> None:
        self.tile, self.bands = tile, bands
        self.means: Means = means
        self._get_network = network
        self._network: nn.Module | None = None
        self._owns = False
        self._cost: float | None = None
        self._trunk: Trunk | None = None
        self._seen: tuple[int, ...] = ()

    def choose(self, size: tuple[int, int], *, engine: Engine) -> Tiles | None:
        """How an image is cut whose size as the network reads it is `size` (height, width); None for not at all."""
        if self.tile == "off" or (self.tile == "auto" and math.prod(size) <= ALWAYS_WHOLE):
            return None
        network = self._whole_network()
        if self._cost is None:
            self._cost = bytes_per_pixel(network, self.bands)
        return choose_tiles(
            network,
            size,
            tile=self.tile,
            cost=self._cost,
            available=available_memory() or UNKNOWN_MEMORY,
            engine=engine.name,
            means=self.means,
        )

    def for_raster(self, size: tuple[int, int], *, engine: Engine) -> Tiles:
        """How an image is cut that is read by windows; one that would fit into memory is a single window."""
        found = self.choose(size, engine=engine)
        if found is not None:
            return found
        side = -(-max(size) // STEP) * STEP
        stitched = why_blended(self._whole_network(), engine=engine.name, means=self.means) is None
        return Tiles(side, stitched, "one window")

    @contextmanager
    def opened(
        self,
        tiles: Tiles,
        preprocessing: Preprocessing,
        *,
        size: tuple[int, int],
        read: Read,
        engine: Engine,
        folder: Path | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Iterator[Stitched | Blended]:
        """The image's logits, ready to be computed from the top down.

        Args:
            tiles: what `choose` gave.
            preprocessing: the model's, for an image that is not resized.
            size: height and width of the image in pixels.
            read: gives a rectangle of it.
            engine: the model's.
            folder: where features lie; by default a temporary folder within the cache folder.
            progress: hears the share of the work that is done.
        """
        if not tiles.stitched:
            yield Blended(
                engine.coarse_logits, preprocessing, size=size, read=read, window=tiles.window, progress=progress
            )
            return
        network, trunk = self._parts(tiles.window)
        if folder is None:
            make_folder(cache_folder())
            with tempfile.TemporaryDirectory(prefix="features-", dir=cache_folder()) as name:
                yield from self._stitched(network, trunk, preprocessing, size, read, Path(name), progress, for_now=True)
        else:
            make_folder(folder)
            yield from self._stitched(network, trunk, preprocessing, size, read, folder, progress)

    def coarse(
        self, tiles: Tiles, pixels: NDArray[np.integer | np.floating], preprocessing: Preprocessing, *, engine: Engine
    ) -> Coarse:
        """The logits of an image (H, W, bands) that is in memory."""
        size = (pixels.shape[0], pixels.shape[1])
        with self.opened(
            tiles, preprocessing, size=size, read=lambda rows, columns: pixels[rows, columns], engine=engine
        ) as logits:
            return Coarse(torch.cat([part for _, part in logits.rows()], dim=2), logits.cover)

    def _stitched(
        self,
        network: DeepLab,
        trunk: Trunk,
        preprocessing: Preprocessing,
        size: tuple[int, int],
        read: Read,
        folder: Path,
        progress: Callable[[float], None],
        *,
        for_now: bool = False,
    ) -> Iterator[Stitched]:
        logits = Stitched(network, preprocessing, size=size, read=read, folder=folder, trunk=trunk, progress=progress)
        if for_now:
            logits.forget_names()
        try:
            yield logits
        finally:
            logits.close()

    def _whole_network(self) -> nn.Module:
        if self._network is None or not self._owns:
            network, self._owns = self._get_network()
            self._network = network.eval()
        return self._network

    def _parts(self, window: int) -> tuple[DeepLab, Trunk]:
        """The network and its trunk, made again for another window or when a weight has changed."""
        network = self._whole_network()
        seen = () if self._owns else state_of(network)
        if self._trunk is None or self._trunk.window != window or seen != self._seen:
            if self._owns and self._trunk is not None:
                self._network = None  # the old trunk has taken its weights
                network = self._whole_network()
            assert isinstance(network, DeepLab)
            self._trunk = None
            self._trunk = Trunk(network, window=window, owns=self._owns)
            self._seen = seen
        assert isinstance(network, DeepLab)
        return network, self._trunk
