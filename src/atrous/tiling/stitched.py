"""A DeepLab on an image of any size: backbone by windows, features on disk, head by pieces, logits from the top down.

Two things let windows give what the whole image gives: the head reads features of the whole image, and means over the
image (image pooling, squeeze-and-excite) are the whole image's.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.allocator import give_back_freed_memory
from atrous.files import write_atomically
from atrous.models.deeplab import DeepLab
from atrous.preprocessing import Preprocessing
from atrous.tiling.features import FeatureFile, check_room
from atrous.tiling.head import Head, Piece
from atrous.tiling.parts import LOW_LEVEL_STRIDE, Trunk
from atrous.windows import Window, windows

__all__ = ["MARGIN", "Stitched"]

Read = Callable[[slice, slice], NDArray[np.integer | np.floating]]
Progress = Callable[[float], None]

MARGIN = 128
"""Pixels that a window reads around its core: what a backbone's middle hardly sees beyond. Benchmarks/tiling.py measures
labels that change."""
SAMPLE = 1 << 22
"""Pixels from which squeeze-and-excite takes its means. An image of so many enters whole, of a larger one patches."""
PATCH = 512  # pixels a side
PIECE_BYTES = 400 << 20  # what the head may take for one piece
LEAST_PIECE, MOST_PIECE = 16, 256  # positions a side; smaller ones read mostly what is around them


class Stitched:
    """Coarse logits of one image, in rows from the top down.

    Args:
        network: in eval mode, one that `can_be_parted`.
        preprocessing: the model's; one that does not resize.
        size: height and width of the image in pixels.
        read: gives a rectangle of the image, (rows, columns, bands).
        folder: an empty folder, or that of interrupted work on the same image, model and settings, which then goes on.
        trunk: the network's, whose window is the cores' side; it may serve one image after another.
        margin: pixels read around each core.
        progress: hears the share of the work that is done, 0 to 1.
    """

    def __init__(
        self,
        network: DeepLab,
        preprocessing: Preprocessing,
        *,
        size: tuple[int, int],
        read: Read,
        folder: Path,
        trunk: Trunk,
        margin: int = MARGIN,
        progress: Progress = lambda share: None,
    ) -> None:
        self.preprocessing, self.size, self.read, self.progress = preprocessing, size, read, progress
        stride = network.backbone.output_stride
        self.input_size = preprocessing.input_size(size)
        self.windows = windows(self.input_size, core=trunk.window, margin=margin, step=stride)
        self.map_size = _ceiled(self.input_size, stride)
        low_size = _ceiled(self.input_size, LOW_LEVEL_STRIDE)
        self.head = Head(network, size=self.map_size, low_size=low_size)
        self.coarse_size = low_size if self.head.is_plus else self.map_size
        self.num_classes = self.head.logits_layer.out_channels
        channels = network.backbone.high_level_channels
        self.trunk = trunk
        self.folder, self.stride = folder, stride
        reduced = self.head.low_channels
        check_room(folder, 4 * (math.prod(self.map_size) * channels + math.prod(low_size) * reduced))
        self._high = FeatureFile(folder / "features", (*self.map_size, channels))
        self._low = FeatureFile(folder / "low_level", (*low_size, reduced)) if reduced else None
        self._sums = FeatureFile(folder / "sums", (len(self.windows), 1, channels))
        self._state = folder / "windows.json"

    def rows(self, first: int = 0) -> Iterator[tuple[int, Tensor]]:
        """The coarse logits from the row `first` on or from a little before: (number of the top row, (1, K, rows, w))."""
        self._run_trunk()
        mean = self._sums.read(slice(0, len(self.windows)), slice(0, 1)).astype(np.float64).sum(axis=(0, 1))
        mean = torch.from_numpy((mean / math.prod(self.map_size)).astype(np.float32))
        self.head.hold_mean(mean[None, :, None, None].to(self.trunk.device))
        height, width = self.coarse_size
        step = self._piece_side() * self.head.factor
        for top in range(first // step * step, height, step):
            down = slice(top, min(height, top + step))
            parts = [self._logits(Piece(down, slice(left, min(width, left + step)))) for left in range(0, width, step)]
            yield top, torch.cat(parts, dim=3)
            self.progress(0.6 + 0.4 * down.stop / height)
            del parts
            give_back_freed_memory()

    @property
    def cover(self) -> tuple[float, float]:
        """The share of the coarse map that the image fills."""
        return self.preprocessing.cover(self.size)

    def forget_names(self) -> None:
        """Let the features go with this process, also when it is killed. On Windows open files keep their names."""
        for file in (self._high, self._low, self._sums):
            if file is not None:
                with suppress(OSError):
                    file.path.unlink()

    def close(self) -> None:
        """Close the files; they stay in their folder."""
        for file in (self._high, self._low, self._sums):
            if file is not None:
                file.close()

    def _run_trunk(self) -> None:
        """Compute the features of the windows that are not yet done."""
        done = self._done()
        if done == len(self.windows):
            return
        self.trunk.reset()
        if self.trunk.has_means:
            self._hold_means()
        for number, window in enumerate(self.windows):
            if number < done:
                continue
            self._run_window(number, window)
            write_atomically(self._state, json.dumps({"windows": len(self.windows), "done": number + 1}).encode())
            self.progress(0.6 * (number + 1) / len(self.windows))

    def _run_window(self, number: int, window: Window) -> None:
        image = torch.from_numpy(self._prepared(window.read_rows, window.read_columns)[None]).permute(0, 3, 1, 2)
        high, low = self.trunk.features(image)
        del image
        part = self._core(high, window, self.stride)
        self._high.write(window.rows.start // self.stride, window.columns.start // self.stride, part)
        if low is not None and self._low is not None:
            at = (window.rows.start // LOW_LEVEL_STRIDE, window.columns.start // LOW_LEVEL_STRIDE)
            self._low.write(*at, self._core(low, window, LOW_LEVEL_STRIDE))
        sums = part.sum(axis=(0, 1), dtype=np.float64).astype(np.float32)
        self._sums.write(number, 0, sums[None, None])
        give_back_freed_memory()

    def _core(self, features: Tensor, window: Window, stride: int) -> NDArray[np.float32]:
        """A map (1, C, h, w) cut to the window's core: (rows, columns, C)."""
        (top, left), (height, width) = ([length // stride for length in window.offset], _ceiled(window.size, stride))
        part = features[0, :, top : top + height, left : left + width].permute(1, 2, 0).float().cpu().numpy()
        if part.shape[:2] != (height, width):
            raise ValueError(f"features are {tuple(features.shape)}; expected {height}x{width} from {top}, {left}")
        return part

    def _prepared(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """A rectangle of the network's input, (rows, columns, bands): normalised, 0 beyond the image."""
        bottom, right = min(rows.stop, self.size[0]), min(columns.stop, self.size[1])
        part = self.preprocessing.normalise(self.read(slice(rows.start, bottom), slice(columns.start, right)))
        missing = (rows.stop - bottom, columns.stop - right)
        if any(missing):
            part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)))
        return np.ascontiguousarray(part)

    def _hold_means(self) -> None:
        """Take the image's means inside the backbone, from the whole image or from patches all over it."""
        kept = self.folder / "means.npz"
        if kept.exists():
            with np.load(kept, allow_pickle=False) as arrays:
                self.trunk.hold([torch.from_numpy(arrays[name]) for name in sorted(arrays)])
            return
        patches = [self._prepared(rows, columns) for rows, columns in sample_patches(self.input_size)]
        means = self.trunk.measure(torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2))
        give_back_freed_memory()
        temporary = kept.with_name("means.part.npz")
        arrays: dict[str, Any] = {f"{number:04d}": mean.numpy() for number, mean in enumerate(means)}
        np.savez(temporary, **arrays)
        temporary.replace(kept)

    def _logits(self, piece: Piece) -> Tensor:
        factor, reach = self.head.factor, self.head.reach
        rows, columns = (slice(part.start // factor, -(-part.stop // factor)) for part in (piece.rows, piece.columns))
        seen = Piece(rows, columns).grown(reach)
        features = _as_tensor(self._high.read(seen.rows, seen.columns))
        low = None
        if self._low is not None:
            wide = piece.grown(self.head.margin)
            low = _as_tensor(self._low.read(wide.rows, wide.columns)).to(self.trunk.device)
        return self.head.logits(piece, features.to(self.trunk.device), low).cpu()

    def _piece_side(self) -> int:
        """Positions of the high-level map a side that the head computes at a time."""
        own, around = self.head.bytes_per_position, 2 * 4 * self._high.shape[2]  # what is read is copied for each rate
        side = MOST_PIECE
        while side > LEAST_PIECE and own * side**2 + around * (side + 2 * self.head.reach) ** 2 > PIECE_BYTES:
            side -= LEAST_PIECE
        return side

    def _done(self) -> int:
        try:
            state = json.loads(self._state.read_text())
        except (OSError, ValueError):
            return 0
        return int(state["done"]) if state.get("windows") == len(self.windows) else 0


def sample_patches(size: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Rectangles of an image of `size` that stand for it: itself, or patches in the middles of an even grid."""
    if math.prod(size) <= SAMPLE:
        return [(slice(0, size[0]), slice(0, size[1]))]
    height, width = min(PATCH, size[0]), min(PATCH, size[1])
    count = SAMPLE // (height * width)
    down = max(1, min(count, round(math.sqrt(count * size[0] / size[1])), size[0] // height))
    across = max(1, min(count // down, size[1] // width))
    return [
        (slice(top, top + height), slice(left, left + width))
        for top in _even(size[0], height, down)
        for left in _even(size[1], width, across)
    ]


def _even(length: int, patch: int, count: int) -> list[int]:
    return [int((index + 0.5) * length / count - patch / 2) // 32 * 32 for index in range(count)]


def _ceiled(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size[0] // stride), -(-size[1] // stride)


def _as_tensor(part: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(part[None]).permute(0, 3, 1, 2)
