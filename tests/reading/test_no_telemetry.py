"""Libraries that report their use to their makers do not do so from here."""

import os
import subprocess
import sys
from pathlib import Path

READ = """
from PIL import Image
from manifold_ocr.reading.engines.rapidocr import RapidOcr
print(list(RapidOcr(threads=1).recognize([Image.new("RGB", (96, 48), "white")])))
"""


def test_reading_leaves_no_trace_in_the_home_folder(tmp_path):
    """onnxruntime writes a device id and a queue of events there before it sends them."""
    environment = {name: value for name, value in os.environ.items() if name.isupper()}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    environment.pop("XDG_CACHE_HOME", None)
    environment |= {
        "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", READ], env=environment, capture_output=True, text=True, check=True
    )
    assert "Recognition" in done.stdout
    assert [str(path) for path in tmp_path.rglob("*") if "icrosoft" in str(path)] == []
