"""Engines that run a converted file: ONNX Runtime and OpenVINO."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.engines.conversion import missing_extra

__all__ = ["OnnxEngine", "OpenVinoEngine"]


class OnnxEngine:
    """ONNX Runtime on the CPU, with as many threads as torch has."""

    name = "onnxruntime"
    precision = "float32"

    def __init__(self, path: Path, *, reason: str = "as asked") -> None:
        try:
            import onnxruntime
        except ImportError:
            raise missing_extra("onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.reason = reason
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def coarse_logits(self, image: NDArray[np.float32]) -> Tensor:
        """Logits (1, K, h, w) float32 of one normalised image (H, W, C)."""
        batch = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        (logits,) = self._session.run(None, {"image": batch})
        return torch.from_numpy(logits)

    def logits_of_many(self, images: Sequence[NDArray[np.float32]]) -> Tensor:
        """Logits (N, K, h, w), one by one."""
        return torch.cat([self.coarse_logits(image) for image in images])

    def expect(self, images: int) -> None:
        """The file is made already."""


class OpenVinoEngine:
    """OpenVINO on the CPU, in float32, for the shortest time of one image."""

    name = "openvino"
    precision = "float32"

    def __init__(self, path: Path, *, reason: str = "as asked") -> None:
        try:
            import openvino
        except ImportError:
            raise missing_extra("openvino") from None
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        core: Any = openvino.Core()
        self.reason = reason
        self._request: Any = core.compile_model(str(path), "CPU", options).create_infer_request()

    def coarse_logits(self, image: NDArray[np.float32]) -> Tensor:
        """Logits (1, K, h, w) float32 of one normalised image (H, W, C)."""
        batch = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        results = self._request.infer({0: batch})
        return torch.from_numpy(np.array(results[0]))

    def logits_of_many(self, images: Sequence[NDArray[np.float32]]) -> Tensor:
        """Logits (N, K, h, w), one by one."""
        return torch.cat([self.coarse_logits(image) for image in images])

    def expect(self, images: int) -> None:
        """The file is made already."""
