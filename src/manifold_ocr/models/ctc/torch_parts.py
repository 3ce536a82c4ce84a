"""A CTC recognizer in torch: for training, a GPU, and checkpoints that carry no ONNX graphs."""

from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from manifold_ocr.config import ModelConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_file
from manifold_ocr.models.adapter_files import is_adapter
from manifold_ocr.models.device import default_device, weights_dtype
from manifold_ocr.models.quiet import without_library_notes


def load_recognizer(folder: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return the text recognition model of a checkpoint folder, in evaluation mode.

    Raises:
        UserError: the weights are missing or do not fit config.json.
    """
    from transformers import AutoModelForTextRecognition

    try:
        with without_library_notes():
            model: nn.Module = AutoModelForTextRecognition.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: not a usable CTC checkpoint ({error})") from error
    return model.eval()


def core(model: nn.Module) -> Any:
    """Return the recognizer itself, without the wrapper that PEFT puts around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


def backbone_features(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return (N, C, 1, W / 8) features of (N, 3, 48, W) pixels."""
    features: Tensor = core(model).model(pixels).last_hidden_state
    return features


def head_hidden(model: nn.Module, features: Tensor) -> Tensor:
    """Return (N, T, H): what the last linear layer sees of (N, C, 1, T) features."""
    hidden: Tensor = core(model).head.encoder(features).last_hidden_state
    return hidden


def head_logits(model: nn.Module, features: Tensor) -> Tensor:
    """Return (N, T, classes) before the softmax that the model's own forward applies."""
    logits: Tensor = core(model).head.head(head_hidden(model, features))
    return logits


def fold_norms(model: nn.Module) -> None:
    """Let training compute frozen batch norms with the convolution before them, in place.

    w * s and b - mean * s with s = gamma / sqrt(variance + epsilon) (Ioffe and Szegedy 2015,
    equation 4), at every step anew, with the same parameters. Where LoRA is around the
    convolution its output is scaled instead. The gradients that torch 2.13 gives a frozen batch
    norm on a CPU are wrong for a single line whose gradient comes transposed, as the head's
    attention hands it back; besides, one operation takes less time than two. Without gradients a
    layer computes what it always does.
    """
    for layer in model.modules():
        if isinstance(getattr(layer, "normalization", None), nn.BatchNorm2d):
            object.__setattr__(layer, "forward", MethodType(_folded, layer))


def _folded(layer: Any, hidden: Tensor) -> Any:
    if not torch.is_grad_enabled():
        return type(layer).forward(layer, hidden)
    convolution, norm = layer.convolution, layer.normalization
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    bias = norm.bias - norm.running_mean * scale
    if isinstance(convolution, nn.Conv2d):
        weight = convolution.weight * scale[:, None, None, None]
        stride, padding = convolution.stride, convolution.padding
        groups = convolution.groups
        normed = F.conv2d(hidden, weight, bias, stride, padding, convolution.dilation, groups)
    else:
        normed = convolution(hidden) * scale[:, None, None] + bias[:, None, None]
    activated = layer.activation(normed)
    affine = getattr(layer, "lab", None)
    return activated if affine is None else affine(activated)


@dataclass(frozen=True)
class TorchParts:
    """Backbone and head as plain functions over numpy arrays (see `models.ctc.onnx`)."""

    model: nn.Module
    device: torch.device
    dtype: torch.dtype
    fingerprint: str

    @torch.inference_mode()
    def backbone(self, pixels: np.ndarray) -> np.ndarray:
        """Return the features (C, T) of one line's pixels (1, 3, 48, W)."""
        inputs = torch.from_numpy(pixels).to(self.device, self.dtype)
        features: np.ndarray = backbone_features(self.model, inputs)[0, :, 0].float().cpu().numpy()
        return features

    @torch.inference_mode()
    def head(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return winning classes and their probabilities, (T,) both."""
        inputs = torch.from_numpy(np.asarray(features, dtype=np.float32))[None, :, None]
        logits = head_logits(self.model, inputs.to(self.device, self.dtype))[0].float()
        best = logits.argmax(-1)
        peak = logits.gather(-1, best[:, None])[:, 0]
        probability = torch.exp(peak - logits.logsumexp(-1))
        return best.cpu().numpy(), probability.cpu().numpy()

    @torch.inference_mode()
    def candidates(self, features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the `count` most probable classes and their probabilities, (T, count) both."""
        inputs = torch.from_numpy(np.asarray(features, dtype=np.float32))[None, :, None]
        logits = head_logits(self.model, inputs.to(self.device, self.dtype))[0].float()
        probabilities, classes = torch.softmax(logits, -1).topk(count)
        return classes.cpu().numpy(), probabilities.cpu().numpy()


def load_torch(
    config: ModelConfig, base: Path, adapter: Path | None, device: str | None
) -> TorchParts:
    """Load base weights and adapter on a device (None: this process's GPU, if there is one)."""
    where = torch.device(device or default_device())
    dtype = weights_dtype(config.precision)
    full = adapter is not None and not is_adapter(adapter)
    folder = adapter if full and adapter is not None else base
    model = load_recognizer(folder, dtype)
    weights = [folder / "model.safetensors"]
    if adapter is not None and not full:
        from manifold_ocr.models.lora import attach  # PEFT takes seconds

        model = attach(model, adapter)
        weights.append(adapter / "adapter_model.safetensors")
    fingerprint = "-".join([*(sha256_file(path) for path in weights), config.precision, where.type])
    return TorchParts(model.to(where).eval(), where, dtype, fingerprint)
