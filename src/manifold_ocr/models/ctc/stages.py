"""The backbone cut before its last stage: what `train.freeze: early` keeps, and what it trains."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from manifold_ocr.models.ctc import onnx
from manifold_ocr.models.ctc.decode import HEIGHT
from manifold_ocr.models.ctc.model import Backbone, CtcModel
from manifold_ocr.models.ctc.onnx_weights import has_onnx
from manifold_ocr.models.ctc.torch_parts import core, load_recognizer

ROWS = HEIGHT // 8  # of the early stages' output
FRAME_COLUMNS = 2  # of them for one frame
POOL = (3, 2)  # rows and columns that the recognizer averages behind the last stage


def early_features(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return (N, C x 6, W / 4): what the last stage sees of (N, 3, 48, W) pixels."""
    encoder = core(model).model.backbone.encoder
    hidden = encoder.convolution(pixels)
    for stage in encoder.blocks[:-1]:
        hidden = stage(hidden)
    found: Tensor = hidden.flatten(1, 2)
    return found


def late_features(model: nn.Module, early: Tensor) -> Tensor:
    """Return the features (N, C, 1, T) of the early stages' output (N, C x 6, 2 T)."""
    hidden = early.unflatten(1, (-1, ROWS))
    return F.avg_pool2d(core(model).model.backbone.encoder.blocks[-1](hidden), POOL)


def early_reader(whole: CtcModel, base: Path) -> CtcModel:
    """Return the reader of `base` with the early stages' output (C x 6, 2 T) as its features."""
    stages: Backbone
    if has_onnx(base):
        stages = onnx.OnnxEarlyStages(base)
        fingerprint = stages.fingerprint
    else:
        stages = TorchEarlyStages(load_recognizer(base))
        fingerprint = f"early-{whole.features_fingerprint}"
    return CtcModel(whole.name, stages, whole.head, whole.characters, fingerprint)


class TorchEarlyStages:
    """The early stages of a checkpoint without graphs, on a CPU."""

    def __init__(self, model: nn.Module) -> None:
        """`model` is the recognizer."""
        self.model = model

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the stages' output of one line, its heights below each channel."""
        found: np.ndarray = early_features(self.model, torch.from_numpy(pixels))[0].numpy()
        return found
