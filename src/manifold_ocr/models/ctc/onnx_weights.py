"""The two graphs of a CTC checkpoint with other weights in them: an adapter's, or a full one's.

Torch-free. A weight is found in head.onnx by its name, in backbone.onnx by its bytes (there it
bears the names of its origin). Batch norms that the graph has folded into the convolution
before them are folded again: w * s and b - mean * s with s = gamma / sqrt(variance + epsilon)
(Ioffe and Szegedy 2015, equation 4).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manifold_ocr.errors import UserError
from manifold_ocr.models.adapter_files import is_adapter, load_tensors, merged_weights
from manifold_ocr.models.ctc.vocabulary import grown_rows, read_growth

if TYPE_CHECKING:
    import onnx

BACKBONE, HEAD = "backbone.onnx", "head.onnx"
LAST = ("head.head.weight", "head.head.bias")  # their first dimension is the classes
NORM = ("weight", "bias", "running_mean", "running_var")
EPSILON = 1e-5  # of the model's batch norms
FEATURES = "features"
STAGE = "model.backbone.encoder.blocks.3.blocks.0."  # the first block of the last stage
WEIGHTS = "model.safetensors"
BLOCKS = 20  # of classes, among which the best one is looked for first
ABSENT = -1e30  # logit of a class that is not there: its probability is 0
BATCHED_GATHER = 12  # the first operator set whose GatherND takes batch dimensions


def has_onnx(base: Path) -> bool:
    """Return whether a checkpoint folder carries the two graphs of the fast path."""
    return (base / BACKBONE).is_file() and (base / HEAD).is_file()


def touches_backbone(base: Path, adapter: Path) -> bool:
    """Return whether `adapter` changes weights outside the head (then features differ too)."""
    if is_adapter(adapter):
        names = load_tensors(adapter / "adapter_model.safetensors")
        return any(not name.startswith("base_model.model.head.") for name in names)
    before, after = load_tensors(base / WEIGHTS), load_tensors(adapter / WEIGHTS)
    return any(
        not np.array_equal(value, after[name])
        for name, value in before.items()
        if not name.startswith("head.") and not name.endswith("num_batches_tracked")
    )


def merged_head(base: Path, adapter: Path | None) -> bytes:
    """Return head.onnx of `base` with the weights of `adapter` in it, serialized."""
    import onnx

    model = onnx.load(str(base / HEAD))
    if adapter is not None:
        _replace(model, _head_weights(model, base, adapter))
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def most_probable(head: bytes, count: int) -> bytes:
    """Return a head's graph with outputs `classes` and `probabilities` (N, T, count) instead."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(head)
    graph = model.graph
    softmax = next(node.input[0] for node in graph.node if node.output[0] == "best")
    kept = [node for node in graph.node if node.output[0] not in ("best", "probability")]
    kept.append(helper.make_node("TopK", [softmax, "count"], ["probabilities", "classes"], axis=-1))
    del graph.node[:], graph.output[:]
    graph.node.extend(kept)
    graph.initializer.append(numpy_helper.from_array(np.array([count], np.int64), "count"))
    kinds = {"classes": TensorProto.INT64, "probabilities": TensorProto.FLOAT}
    shape: list[str | int | None] = ["N", "T", count]
    graph.output.extend(helper.make_tensor_value_info(n, k, shape) for n, k in kinds.items())
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def quick_best(head: bytes) -> bytes:
    """Return a head's graph that finds `best` and `probability` in four fifths of the time.

    The values are the same, bit for bit. onnxruntime finds a maximum nine times as fast as its
    place, so the place is looked for only in the block of classes that has the maximum. The
    bias becomes one more row of the last product.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(head)
    graph = model.graph
    stored = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    weight, bias = (next(n for n in stored if n.removesuffix(".T") == name) for name in LAST)
    missing = -len(stored[bias]) % BLOCKS
    rows = np.pad(np.vstack([stored[weight], stored[bias]]), ((0, 0), (0, missing)))
    rows[-1, len(stored[bias]) :] = ABSENT
    known = [info for info in graph.value_info if not _of_classes(info, len(stored[bias]))]
    nodes = _by_blocks(_one_product(list(graph.node), weight, bias))
    constants = {
        weight: rows,
        "one_more": np.array([0, 0, 0, 0, 0, 1], np.int64),
        "one": np.array(1, np.float32),
        "blocks": np.array([0, 0, BLOCKS, -1], np.int64),
        "block_size": np.array(rows.shape[1] // BLOCKS, np.int64),
    }
    kept = [item for item in graph.initializer if item.name not in (weight, bias)]
    kept += [numpy_helper.from_array(value, name) for name, value in constants.items()]
    del graph.value_info[:], graph.node[:], graph.initializer[:]
    graph.value_info.extend(known)
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    model.opset_import[0].version = max(model.opset_import[0].version, BATCHED_GATHER)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _of_classes(info: Any, classes: int) -> bool:
    """Return whether a tensor's last dimension is the classes, whose number changes."""
    shape = info.type.tensor_type.shape.dim
    return bool(shape) and shape[-1].dim_value == classes


def _one_product(nodes: list[Any], weight: str, bias: str) -> list[Any]:
    """Return the nodes with the bias inside the product of the last layer."""
    from onnx import helper

    product = next(node for node in nodes if weight in node.input)
    added = next(node for node in nodes if bias in node.input)
    wider = helper.make_node("Pad", [product.input[0], "one_more", "one"], ["with_one"])
    product.input[0], product.output[0] = "with_one", added.output[0]
    place = nodes.index(product)
    return [node for node in (*nodes[:place], wider, *nodes[place:]) if node is not added]


def _by_blocks(nodes: list[Any]) -> list[Any]:
    """Return the nodes with others that find `best` and `probability`."""
    from onnx import helper

    probabilities = next(node.input[0] for node in nodes if node.output[0] == "best")
    kept = [node for node in nodes if node.output[0] not in ("best", "probability")]
    return [
        *kept,
        helper.make_node("Reshape", [probabilities, "blocks"], ["in_blocks"]),
        helper.make_node("ReduceMax", ["in_blocks"], ["of_blocks"], axes=[3], keepdims=0),
        helper.make_node("ReduceMax", ["of_blocks"], ["probability"], axes=[2], keepdims=0),
        helper.make_node("ArgMax", ["of_blocks"], ["block"], axis=2),
        helper.make_node("GatherND", ["in_blocks", "block"], ["best_block"], batch_dims=2),
        helper.make_node("ArgMax", ["best_block"], ["place"], axis=2),
        helper.make_node("Mul", ["block", "block_size"], ["first_of_block"]),
        helper.make_node("Add", ["first_of_block", "place"], ["best_of_all"]),
        helper.make_node("Squeeze", ["best_of_all"], ["best"], axes=[2]),
    ]


def merged_backbone(base: Path, adapter: Path | None) -> bytes:
    """Return backbone.onnx of `base` with the weights of `adapter` in it, serialized.

    An adapter that leaves the backbone as it is gives the bytes of the file.

    Raises:
        UserError: a weight of the base is not in its graph.
    """
    if adapter is None or not touches_backbone(base, adapter):
        return (base / BACKBONE).read_bytes()
    import onnx

    model = onnx.load(str(base / BACKBONE))
    known = load_tensors(base / WEIGHTS)
    names = _parameter_names(model, known)
    for item in model.graph.initializer:
        item.name = names.get(item.name, item.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    _replace(model, _refolded(model, _new_weights(adapter, known), known))
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def early_stages(base: Path) -> bytes:
    """Return the part of backbone.onnx before the last stage: pixels to (N, C, 6, W / 4)."""
    import onnx
    from onnx.utils import Extractor

    model = onnx.load(str(base / BACKBONE))
    names = _parameter_names(model, load_tensors(base / WEIGHTS))
    first = next(
        node
        for node in model.graph.node
        if node.op_type == "Conv" and names.get(node.input[1], "").startswith(STAGE)
    )
    part = Extractor(model).extract_model(["x"], [first.input[0]])
    serialized: bytes = part.SerializeToString(deterministic=True)
    return serialized


def _parameter_names(model: "onnx.ModelProto", known: dict[str, np.ndarray]) -> dict[str, str]:
    """Return the name that each initializer of backbone.onnx has in the checkpoint."""
    from onnx import numpy_helper

    from manifold_ocr.models.ctc.import_ppocr import onnx_layers

    stored = {item.name: item for item in model.graph.initializer}
    by_bytes = {
        value.tobytes(): name.removesuffix(".weight")
        for name, value in known.items()
        if name.endswith(".weight") and value.ndim == 4
    }
    names = {}
    for layer in onnx_layers(model):
        module = by_bytes.get(numpy_helper.to_array(stored[layer.names[0]]).tobytes())
        if module is None:
            raise UserError(
                f"{BACKBONE}: {layer.names[0]} is no weight of {WEIGHTS} beside it; download the "
                "base model again"
            )
        names[layer.names[0]] = f"{module}.weight"
        norm = module.removesuffix(".convolution") + ".normalization"
        if len(layer.names) == 1 + len(NORM):
            parts = [f"{norm}.{part}" for part in NORM]
        else:
            parts = [f"{norm if f'{norm}.bias' in known else module}.bias"]
        names |= zip(layer.names[1:], parts, strict=True)
    return names


def _new_weights(adapter: Path, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parameters that an adapter changes, or all of a full checkpoint."""
    if is_adapter(adapter):
        return merged_weights(adapter, lambda name: known[name])
    return load_tensors(adapter / WEIGHTS)


def _head_weights(model: "onnx.ModelProto", base: Path, adapter: Path) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    if not is_adapter(adapter):
        return load_tensors(adapter / WEIGHTS)
    others = load_tensors(base / WEIGHTS) if touches_backbone(base, adapter) else {}
    stored = {item.name: item for item in model.graph.initializer}

    def weight(name: str) -> np.ndarray:
        if name in stored:
            found = numpy_helper.to_array(stored[name])
        elif f"{name}.T" in stored:
            found = numpy_helper.to_array(stored[f"{name}.T"]).T
        elif name in others:
            return others[name]  # which the other graph holds
        else:
            raise UserError(f"{adapter}: adapts {name}, which the head of the base model lacks")
        return grown_rows(name, found, adapter) if name in LAST else found

    grown = {name: weight(name) for name in LAST} if read_growth(adapter) else {}
    return {**grown, **merged_weights(adapter, weight)}


def _refolded(
    model: "onnx.ModelProto", new: dict[str, np.ndarray], known: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return `new` as the graph wants it: convolutions with the norm behind them inside.

    `known` are the base's parameters, for those that are not in `new`. A norm whose scale the
    graph holds stays a norm. One that still scales by one, as all that were folded do at
    first, changes nothing and is left alone.
    """
    present = {item.name for item in model.graph.initializer}
    folded = dict(new)
    for name in known:
        norm = name.removesuffix(".convolution.weight") + ".normalization"
        if not name.endswith(".convolution.weight") or f"{norm}.weight" in present:
            continue
        weight, *values = (
            new.get(key, known[key]) for key in (name, *(f"{norm}.{part}" for part in NORM))
        )
        gamma, bias, mean, variance = (value.astype(np.float64) for value in values)
        scale = gamma / np.sqrt(variance + EPSILON)
        if np.abs(scale - 1.0).max() < 1e-6 and not mean.any():
            continue
        folded[name] = (weight * scale[:, None, None, None]).astype(np.float32)
        folded[f"{norm}.bias"] = (bias - mean * scale).astype(np.float32)
    return folded


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
