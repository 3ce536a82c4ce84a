"""`threads` bounds what reading takes: the kernel's count of threads tells."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import manifold_ocr.models.ctc.model as ctc

COUNTED = """
import os, sys
from PIL import Image
import rapidocr
from manifold_ocr.reading.engines.checkpoint import reader_model
tasks = lambda: len(os.listdir("/proc/self/task"))
before = tasks()
model = reader_model(None, threads=int(sys.argv[1]))
list(model.recognize([Image.new("RGB", (96, 48), "white")]))
print(model.name, tasks() - before)
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: nothing to bound")
def test_outside_a_project_the_recognizer_keeps_to_its_threads(tmp_path):
    source = str(Path(__file__).resolve().parents[2] / "src")
    # numpy's and cv2's own pools, which start when they are imported, are none of ours
    environment = {**os.environ, "PYTHONPATH": source, "OPENBLAS_NUM_THREADS": "1"}
    found = [
        subprocess.run(
            [sys.executable, "-c", COUNTED, threads],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        ).stdout.split()
        for threads in ("1", "2")
    ]  # fmt: skip
    assert found == [["rapidocr-rec", "0"], ["rapidocr-rec", "1"]]


def test_the_bound_of_a_call_goes_before_the_machines_cores(monkeypatch):
    monkeypatch.setattr(ctc, "worker_count", lambda: 4)
    at_once = []
    monkeypatch.setattr(ctc, "ThreadPoolExecutor", lambda n: at_once.append(n) or Pool(n))
    assert list(ctc.ordered_map(str, range(9), threads=1)) == [str(k) for k in range(9)]
    assert list(ctc.ordered_map(str, range(9))) == [str(k) for k in range(9)]
    assert at_once == [1, 4]


Pool = ctc.ThreadPoolExecutor
