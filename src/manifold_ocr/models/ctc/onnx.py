"""CTC recognition through onnxruntime: the fast path of the embedded base model, torch-free.

Sessions use one thread each and are shared by a pool of threads that run different lines:
measured bit-identical to one line at a time, and faster than threads inside a line.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from manifold_ocr.models.ctc.onnx_weights import (
    BACKBONE,
    HEAD,
    early_stages,
    has_onnx,
    merged_backbone,
    merged_head,
    most_probable,
    quick_best,
)

if TYPE_CHECKING:
    import onnxruntime


class OnnxBackbone:
    """Features of a line: (1, 3, 48, W) pixels to (384, W / 8) float32."""

    def __init__(self, base: Path, adapter: Path | None = None) -> None:
        """Load backbone.onnx of the checkpoint folder `base`, with what `adapter` changes in it."""
        graph = merged_backbone(base, adapter)
        self.fingerprint = hashlib.sha256(graph).hexdigest()
        self._session = _session(graph)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the features of one line."""
        features: np.ndarray = self._session.run(None, {"x": pixels})[0]
        return features[0, :, 0, :]


class OnnxEarlyStages:
    """What the last stage of the backbone sees: (1, 3, 48, W) pixels to (6 C, W / 4) float32."""

    def __init__(self, base: Path) -> None:
        """Load the stages before the last of backbone.onnx of `base`."""
        graph = early_stages(base)
        self.fingerprint = hashlib.sha256(graph).hexdigest()
        self._session = _session(graph)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the stage's output of one line, its heights below each channel."""
        found: np.ndarray = self._session.run(None, {"x": pixels})[0]
        joined: np.ndarray = found[0].reshape(-1, found.shape[-1])
        return joined


class OnnxHead:
    """Frames of a line from its features, with an adapter merged in."""

    def __init__(self, base: Path, adapter: Path | None) -> None:
        """Load head.onnx of `base`; `adapter` is a LoRA folder, a full checkpoint or None."""
        self._session = _session(quick_best(merged_head(base, adapter)))

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the winning class and its probability for each frame, (T,) both."""
        best, probability = self._session.run(["best", "probability"], _head_inputs(features))
        return best[0], probability[0]


class OnnxCandidates:
    """The most probable classes of each frame, for a search over texts."""

    def __init__(self, base: Path, adapter: Path | None, count: int) -> None:
        """Load head.onnx of `base` with `adapter`, asked for `count` classes."""
        self._session = _session(most_probable(merged_head(base, adapter), count))

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return classes and their probabilities, best first, (T, count) both."""
        classes, probabilities = self._session.run(
            ["classes", "probabilities"], _head_inputs(features)
        )
        return classes[0], probabilities[0]


def _head_inputs(features: np.ndarray) -> dict[str, np.ndarray]:
    return {"features": np.ascontiguousarray(features[None, :, None, :], dtype=np.float32)}


def export_merged(base: Path, adapter: Path, folder: Path) -> None:
    """Add the two graphs to a merged checkpoint in `folder`, so that it reads as fast."""
    if has_onnx(base):
        (folder / BACKBONE).write_bytes(merged_backbone(base, adapter))
        (folder / HEAD).write_bytes(merged_head(base, adapter))


def _session(model: bytes) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
