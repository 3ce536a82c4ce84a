"""One ONNX graph of a line recognizer, from pixels to classes, with all that reading needs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifold_ocr.errors import UserError
from manifold_ocr.models.ctc import decode
from manifold_ocr.models.ctc.onnx_weights import has_onnx, merged_backbone, merged_head

if TYPE_CHECKING:
    import onnx

PREFIX = "head/"


def check_onnx(base: Path) -> None:
    """Raise UserError for a base without graphs."""
    if not has_onnx(base):
        raise UserError(f"{base}: has no ONNX graphs; use --to merged")


def write_onnx(base: Path, adapter: Path, path: Path, *, int8: bool = False) -> None:
    """Write backbone and head (adapter merged in) as one graph to `path`.

    Input `x`: float32 [1, 3, 48, W], W a multiple of 8. Outputs: the winning class of each
    frame and its probability, [1, W / 8] both. How to prepare a picture, the decoder's rule
    and the vocabulary are in the model's metadata. `int8` makes its matrix products 8-bit.

    Raises:
        UserError: a base without graphs.
    """
    import onnx
    from onnx import compose

    check_onnx(base)
    backbone = onnx.load_from_string(merged_backbone(base, adapter))
    head = compose.add_prefix(onnx.load_from_string(merged_head(base, adapter)), PREFIX)
    head.ir_version = backbone.ir_version
    joined = compose.merge_models(
        backbone, head, io_map=[(backbone.graph.output[0].name, f"{PREFIX}features")]
    )
    operators = {entry.domain: entry.version for entry in joined.opset_import}
    del joined.opset_import[:]  # each graph's own, which tools take for two versions
    joined.opset_import.extend(onnx.helper.make_opsetid(*item) for item in operators.items())
    add_metadata(joined, base, adapter)
    onnx.save(joined, str(path))
    if int8:
        quantize(path)
        small = onnx.load(str(path))
        add_metadata(small, base, adapter)
        onnx.save(small, str(path))


def add_metadata(model: "onnx.ModelProto", base: Path, adapter: Path) -> None:
    """Put preparation, decoding rule and vocabulary into the model's own metadata."""
    from manifold_ocr.models.ctc.vocabulary import character_list

    facts: dict[str, Any] = {
        "height": decode.HEIGHT, "stride": decode.STRIDE, "max_width": decode.MAX_WIDTH,
        "channels": "BGR", "scale": "pixel / 127.5 - 1", "resize": "bilinear, to the height, the "
        "width rounded to a multiple of the stride",
        "decoder": "greedy CTC: repeats joined, class 0 is the blank",
    }  # fmt: skip
    known = {key: str(value) for key, value in facts.items()}
    known["characters"] = json.dumps(character_list(base, adapter), ensure_ascii=False)
    del model.metadata_props[:]
    for key, value in known.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def quantize(path: Path) -> None:
    """Make the matrix products of a graph 8-bit, in place (weights per channel)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(path), str(path), weight_type=QuantType.QInt8, per_channel=True,
        op_types_to_quantize=["MatMul", "Gemm"],
    )  # fmt: skip
