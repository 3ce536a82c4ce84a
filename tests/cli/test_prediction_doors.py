"""One importer at every door for predictions: the same rule for each oddity of a row."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from manifold_ocr.cli.main import main
from manifold_ocr.records import Sample, write_rows

ROOT = Path(__file__).parents[2]
TEXT = "the harbour master kept a ledger"
IDS = ("c/é1.png", "c/a2.png", "c/a3.png")
DOORS = {
    "eval": ["eval", "--manifest", "m.jsonl", "--image-root", ".", "--predictions", "p.jsonl"],
    "engine": ["eval", "--engine", "predictions", "--label", "x", "--manifest", "m.jsonl",
               "--predictions", "p.jsonl"],
    "explore": ["explore", "p.jsonl", "--manifest", "m.jsonl", "--image-root", "."],
    "compress": ["compress", "--predictions", "p.jsonl", "--manifest", "m.jsonl"],
    "submit": ["submit", "p.jsonl", "--name", "x", "--manifest", "m.jsonl", "--folder", "s"],
}  # fmt: skip


@pytest.fixture(params=DOORS)
def door(request, tmp_path, monkeypatch, capsys):
    """Return a function that sends rows (or bytes) through a door: (status, error output)."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "c").mkdir()
    samples = []
    for name in IDS:
        Image.new("L", (60, 20), 255).save(tmp_path / name)
        samples.append(
            Sample(id=name, document=name, corpus="c", subset="s", image=name, text=TEXT)
        )
    write_rows("m.jsonl", samples)

    def send(rows, *more):
        data = rows if isinstance(rows, bytes) else "\n".join(map(json.dumps, rows)).encode()
        (tmp_path / "p.jsonl").write_bytes(data)
        monkeypatch.setattr(sys, "argv", ["manifold-ocr", *DOORS[request.param], *more])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        return status, capsys.readouterr().err

    return send


def rows(**more):
    return [{"id": name, "text": TEXT, **more} for name in IDS]


def test_two_texts_need_the_text_key(door):
    status, told = door(rows(pred="zzzz"))
    assert status == 2 and "--text-key" in told and told.count("\n") == 1
    assert door(rows(pred=TEXT), "--text-key", "pred")[0] == 0


@pytest.mark.parametrize(
    "odd",
    [
        [{"id": IDS[0], "text": None}, *rows()[1:]],
        [{"id": "c/e\u03011.png", "text": TEXT}, *rows()[1:]],
        rows(confidence=float("nan")),
        [{"id": IDS[0], "text": 1871}, *rows()[1:]],
        [*rows(), rows()[0]],
        json.dumps(rows()).encode(),
        "\n".join(map(json.dumps, rows())).encode("utf-8-sig"),
        "\r\n".join(map(json.dumps, rows())).encode("utf-16"),
    ],
    ids=["null", "NFD", "NaN", "number", "duplicate", "array", "BOM", "UTF-16"],
)
def test_what_can_be_understood_is_read(door, odd):
    status, told = door(odd)
    assert status == 0, told


@pytest.mark.parametrize(
    "bad",
    [
        [{"id": IDS[0], "text": "half \ud800"}],
        [{"id": IDS[0], "text": ["a"]}],
        [{"text": "a"}],
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b"",
    ],
    ids=["surrogate", "list", "no name", "deep", "cut UTF-16", "empty"],
)
def test_what_cannot_be_understood_is_one_line(door, bad):
    status, told = door(bad)
    last = told.rstrip("\n").splitlines()[-1]
    assert status == 2 and last.startswith("error: ") and "p" in last and "Traceback" not in told
