"""CTC recognition through onnxruntime: the fast path of the embedded base model, torch-free.

Sessions use one thread each and are shared by a pool of threads that run different lines:
measured bit-identical to one line at a time, and faster than threads inside a line.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_file
from manifold_ocr.models.adapter_files import is_adapter, load_tensors, merged_weights
from manifold_ocr.models.ctc.vocabulary import grown_rows, read_growth

if TYPE_CHECKING:
    import onnx
    import onnxruntime


BACKBONE, HEAD = "backbone.onnx", "head.onnx"
LAST = ("head.head.weight", "head.head.bias")  # their first dimension is the classes


def has_onnx(base: Path) -> bool:
    """Return whether a checkpoint folder carries the two graphs of the fast path."""
    return (base / BACKBONE).is_file() and (base / HEAD).is_file()


class OnnxBackbone:
    """Frozen features of a line: (1, 3, 48, W) pixels to (384, W / 8) float32."""

    def __init__(self, base: Path) -> None:
        """Load backbone.onnx of the checkpoint folder `base`."""
        path = base / BACKBONE
        self.fingerprint = sha256_file(path)
        self._session = _session(path.read_bytes())

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the features of one line."""
        features: np.ndarray = self._session.run(None, {"x": pixels})[0]
        return features[0, :, 0, :]


class OnnxHead:
    """Frames of a line from its features, with an adapter merged in."""

    def __init__(self, base: Path, adapter: Path | None) -> None:
        """Load head.onnx of `base`; `adapter` is a LoRA folder, a full checkpoint or None."""
        self._session = _session(merged_head(base, adapter))

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the winning class and its probability for each frame, (T,) both."""
        inputs = {"features": np.ascontiguousarray(features[None, :, None, :], dtype=np.float32)}
        best, probability = self._session.run(None, inputs)
        return best[0], probability[0]


def merged_head(base: Path, adapter: Path | None) -> bytes:
    """Return head.onnx of `base` with the weights of `adapter` in it, serialized."""
    import onnx

    model = onnx.load(str(base / HEAD))
    if adapter is not None:
        _replace(model, _changed_weights(model, adapter))
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def export_merged(base: Path, adapter: Path, folder: Path) -> None:
    """Add the two graphs to a merged checkpoint in `folder`, so that it reads as fast.

    An adapter that changes the backbone gets no graphs: its checkpoint is read by torch.
    """
    if has_onnx(base) and not touches_backbone(base, adapter):
        shutil.copyfile(base / BACKBONE, folder / BACKBONE)
        (folder / HEAD).write_bytes(merged_head(base, adapter))


def touches_backbone(base: Path, adapter: Path) -> bool:
    """Return whether `adapter` changes weights outside the head (then features differ too)."""
    if is_adapter(adapter):
        names = load_tensors(adapter / "adapter_model.safetensors")
        return any(not name.startswith("base_model.model.head.") for name in names)
    before = load_tensors(base / "model.safetensors")
    after = load_tensors(adapter / "model.safetensors")
    return any(
        not np.array_equal(value, after[name])
        for name, value in before.items()
        if not name.startswith("head.") and not name.endswith("num_batches_tracked")
    )


def _session(model: bytes) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _changed_weights(model: "onnx.ModelProto", adapter: Path) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    if not is_adapter(adapter):
        return load_tensors(adapter / "model.safetensors")
    stored = {item.name: item for item in model.graph.initializer}

    def weight(name: str) -> np.ndarray:
        if name in stored:
            found = numpy_helper.to_array(stored[name])
        elif f"{name}.T" in stored:
            found = numpy_helper.to_array(stored[f"{name}.T"]).T
        else:
            raise UserError(f"{adapter}: adapts {name}, which the head of the base model lacks")
        return grown_rows(name, found, adapter) if name in LAST else found

    grown = {name: weight(name) for name in LAST} if read_growth(adapter) else {}
    return {**grown, **merged_weights(adapter, weight)}


def _replace(model: "onnx.ModelProto", weights: dict[str, np.ndarray]) -> None:
    from onnx import numpy_helper

    del model.graph.value_info[:]  # the shapes between would name the base's classes
    for item in model.graph.initializer:
        value = weights.get(item.name.removesuffix(".T"))
        if value is None:
            continue
        value = value.T if item.name.endswith(".T") else value
        known = np.prod(item.dims) == value.size
        value = value.reshape(tuple(item.dims)) if known else value  # other classes
        shaped = np.ascontiguousarray(value, dtype=np.float32)
        item.CopyFrom(numpy_helper.from_array(shaped, item.name))
