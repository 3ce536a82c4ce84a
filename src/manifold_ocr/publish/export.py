"""A promoted checkpoint as others load it: hub layout, merged, ONNX, wheel, Space.

`hf` and `merged` load in plain transformers (and peft); `onnx` and `wheel` need onnxruntime, numpy
and Pillow alone; `space` is the demo. These three are there for line recognizers (family ctc).
"""

import base64
import hashlib
import importlib.resources
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_directory, read_json
from manifold_ocr.models.adapter_files import is_adapter
from manifold_ocr.models.base import Recognition
from manifold_ocr.models.ctc.vocabulary import read_growth
from manifold_ocr.models.promoted import (
    base_of,
    is_promoted,
    load_promoted,
    model_config,
    spaces_of,
)
from manifold_ocr.publish.onnx_model import check_onnx, write_onnx
from manifold_ocr.publish.parity import Parity, compare
from manifold_ocr.publish.promote import PROVENANCE
from manifold_ocr.publish.space import read_in_space, write_space

KINDS = ("hf", "merged", "onnx", "wheel", "space")
INT8 = {"tolerance": 0.2, "differing": 0.1}  # what 8-bit products may change: the parity says it
REQUIREMENTS = ("onnxruntime>=1.20", "numpy>=1.26", "pillow>=10")
STAMP = (1980, 1, 1, 0, 0, 0)  # of every file in a wheel: equal inputs, equal bytes


@dataclass(frozen=True, kw_only=True)
class Export:
    """Where an export is, what the comparison said, and how it is used."""

    path: Path
    parity: Parity
    hint: str


def export_checkpoint(
    folder: Path, kind: str, out: Path, images: Sequence[Image.Image], *, int8: bool = False
) -> Export:
    """Write `folder` as `kind` to `out`, once it reads `images` as the checkpoint does.

    Raises:
        UserError: an unknown kind, a folder that was not promoted, a kind that its family
            does not have, or a text that reads differently.
    """
    if kind not in KINDS:
        raise UserError(f"--to {kind}: no such export; known: {', '.join(KINDS)}")
    if int8 and kind not in ("onnx", "wheel"):
        raise UserError(f"--int8: --to {kind} has no 8-bit form; leave it out, or use --to onnx")
    if not folder.is_dir() or not is_promoted(folder):
        raise UserError(f"{folder}: is no promoted checkpoint; run `manifold-ocr promote NAME`")
    base = base_of(folder)
    reader: Any = load_promoted(folder)
    if kind in ("onnx", "wheel") and getattr(reader, "speller", None):
        reader.speller = None  # the exported reader is greedy
        print(f"export: {kind} reads without the adapter's language model")
    ours = list(reader.recognize(images))
    if kind in ("hf", "merged"):
        alone = is_adapter(folder) and not read_growth(folder)  # PEFT knows no new classes
        on_hub = bool(model_config(folder).revision) and alone
        if kind == "hf" and on_hub:
            return _export_adapter(folder, out, images, ours)
        return _export_merged(folder, base, out, images, ours)
    if read_json(folder / "manifold.json").get("family") != "ctc":
        raise UserError(f"--to {kind}: for line recognizers (ctc); use --to merged or --to hf")
    if kind == "space":
        return _export_space(folder, base, out, images, ours)
    return _export_onnx(folder, base, kind, out, images, ours, int8=int8)


def _export_adapter(
    folder: Path, out: Path, images: Sequence[Image.Image], ours: list[Recognition]
) -> Export:
    """Copy the adapter: its adapter_config.json names the base on the hub and its revision."""
    with atomic_directory(out) as made:
        for path in folder.iterdir():
            if path.is_file():
                shutil.copyfile(path, made / path.name)
        parity = compare(f"{out}", ours, load_promoted(made).recognize(images))
    return Export(path=out, parity=parity, hint="AutoPeftModel.from_pretrained loads it")


def _export_merged(
    folder: Path, base: Path, out: Path, images: Sequence[Image.Image], ours: list[Recognition]
) -> Export:
    from manifold_ocr.config import ModelConfig
    from manifold_ocr.models.lora import merge_adapter
    from manifold_ocr.models.registry import LIBRARY_CLASSES, family_of, load_model, load_plain

    with atomic_directory(out) as made:
        if is_adapter(folder):
            merge_adapter(load_plain(base), folder, base, made / "merged")
            for path in (made / "merged").iterdir():
                path.rename(made / path.name)
            (made / "merged").rmdir()
        else:
            shutil.copytree(folder, made, dirs_exist_ok=True)
        for name in ("README.md", PROVENANCE):
            shutil.copyfile(folder / name, made / name)
        merged = load_model(ModelConfig(id=str(made)), spaces=spaces_of(folder))
        parity = compare(f"{out}", ours, merged.recognize(images))
    kind = LIBRARY_CLASSES[family_of(base)]
    return Export(path=out, parity=parity, hint=f"{kind}.from_pretrained loads it")


def _export_onnx(
    folder: Path,
    base: Path,
    kind: str,
    out: Path,
    images: Sequence[Image.Image],
    ours: list[Recognition],
    *,
    int8: bool,
) -> Export:
    with atomic_directory(out) as made:
        write_onnx(base, folder, made / "model.onnx", int8=int8)
        (made / "reader.py").write_text(_template("reader.py.txt"), encoding="utf-8")
        for name in ("README.md", PROVENANCE):
            shutil.copyfile(folder / name, made / name)
        parity = compare(f"{out}", ours, _read_alone(made, images), **(INT8 if int8 else {}))
        hint = "onnxruntime runs model.onnx; reader.py shows how"
        if kind == "wheel":
            wheel = write_wheel(made, folder.name)
            for path in list(made.iterdir()):
                if path != wheel:
                    path.unlink()
            hint = f"pip install {out / wheel.name}"
    return Export(path=out, parity=parity, hint=hint)


def _export_space(
    folder: Path, base: Path, out: Path, images: Sequence[Image.Image], ours: list[Recognition]
) -> Export:
    check_onnx(base)
    with atomic_directory(out) as made:
        write_space(folder, base, made)
        parity = compare(f"{out}", ours, read_in_space(made, images))
    start = f"pip install -r {out / 'requirements.txt'}; python {out / 'app.py'}"
    return Export(path=out, parity=parity, hint=start)


def _read_alone(made: Path, images: Sequence[Image.Image]) -> list[Recognition]:
    """Read with the exported reader itself, as its users will."""
    scope: dict[str, Any] = {"__file__": str(made / "reader.py"), "__name__": "exported_reader"}
    source = (made / "reader.py").read_text(encoding="utf-8")
    exec(compile(source, "reader.py", "exec"), scope)  # noqa: S102 - our own template
    reader = scope["Reader"](made / "model.onnx")
    return [Recognition(*reader.read(image)) for image in images]


def write_wheel(made: Path, name: str) -> Path:
    """Pack reader and weights as a wheel; every file's SHA-256 is in its RECORD.

    Returns the path of the wheel, beside what it was made of.
    """
    version = f"0.0.{read_json(made / PROVENANCE)['version']}"
    package = f"manifold_ocr_{name.replace('-', '_')}"
    info = f"{package}-{version}.dist-info"
    readme = (made / "README.md").read_text(encoding="utf-8").split("---\n", 2)[-1]
    metadata = [
        "Metadata-Version: 2.1", f"Name: {package.replace('_', '-')}", f"Version: {version}",
        "Summary: Text recognition of single lines, weights included",
        "Requires-Python: >=3.9", *(f"Requires-Dist: {r}" for r in REQUIREMENTS),
        "Description-Content-Type: text/markdown", "", readme,
    ]  # fmt: skip
    files = {
        f"{package}/__init__.py": (made / "reader.py").read_bytes(),
        f"{package}/model.onnx": (made / "model.onnx").read_bytes(),
        f"{package}/provenance.json": (made / PROVENANCE).read_bytes(),
        f"{info}/METADATA": "\n".join(metadata).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: manifold-ocr\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},{_digest(data)},{len(data)}" for path, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    wheel = made / f"{package}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, STAMP)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return wheel


def _digest(data: bytes) -> str:
    """Return a hash as RECORD files write it (PEP 376, PEP 427)."""
    value = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={value.decode()}"


def _template(name: str) -> str:
    files = importlib.resources.files("manifold_ocr.publish")
    return (files / "templates" / name).read_text(encoding="utf-8")
