"""`manifold-ocr ocr`: every file once, resumable after kills, bad files set aside."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drawn_pages import SizeReader, pdftotext, plain_pdf
from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.serving.batch import BatchSettings, discover, read_file, run_batch

ALL = ("jsonl", "text", "markdown", "hocr", "alto", "pdf")


def with_reader(reader):
    def mapper(sources, settings, out):
        for source in sources:
            yield read_file(source, reader, settings, out)

    return mapper


def make_folder(root, count=6):
    (root / "deep" / "er").mkdir(parents=True)
    for n in range(count):
        Image.new("RGB", (100 + n, 50), (n, 0, 0)).save(root / "deep" / f"{n}.png")
    plain_pdf(root / "deep" / "er" / "three.pdf", 3)
    return root


def files_of(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in (".lock", "journal.jsonl")
    }


def test_each_file_is_listed_once_whatever_leads_to_it(tmp_path):
    root = make_folder(tmp_path / "in", 2)
    (root / "note.txt").write_text("x")
    (root / "again.png").symlink_to(root / "deep" / "0.png")
    (root / ".hidden.png").write_bytes(b"")
    out = root / "out"
    out.mkdir()
    (out / "old.png").write_bytes(b"")
    (tmp_path / "other" / "deep").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "other" / "deep" / "0.png")
    sources, skipped = discover([root, root / "deep", tmp_path / "other"], out)
    names = [source.name for source in sources]
    assert names == ["again.png", "deep/1.png", "deep/er/three.pdf", "deep/0.png"]
    assert len(skipped) == 5 and any("note.txt" in reason for reason in skipped)


def test_same_names_below_two_inputs_keep_apart(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9), (name == "a" and "red") or "blue").save(tmp_path / name / "x.png")
    sources, _ = discover([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert [source.name for source in sources] == ["x.png", "b~2/x.png"]


def test_pages_are_chosen_and_bad_ones_quarantined_with_the_rest_read(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    plain_pdf(root / "five.pdf", 5)
    (root / "broken.pdf").write_bytes((root / "five.pdf").read_bytes()[:300])
    (root / "empty.png").write_bytes(b"")
    Image.new("RGB", (100, 50)).save(root / "good.png")

    class Fails(SizeReader):
        def read(self, image, mode="auto"):
            if image.getpixel((0, 0))[0] == 3:
                raise UserError("no text can be read")
            return super().read(image, mode)

    settings = BatchSettings(formats=ALL, pages="1,4-")
    done = run_batch([root], tmp_path / "out", settings, with_reader(Fails()))
    assert (done.files, done.pages, done.bad_files, done.bad_pages) == (2, 3, 2, 1)
    bad = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").open()]
    assert {(row["file"], row["page"]) for row in bad} == {
        ("broken.pdf", None), ("empty.png", None), ("five.pdf", 4)
    }  # fmt: skip
    assert all(row["error"] for row in bad)
    rows = [json.loads(line) for line in (tmp_path / "out/pages.jsonl").open()]
    assert [(r["image"], r["page"]) for r in rows] == [
        ("five.pdf#page=1", 1), ("five.pdf#page=5", 5), ("good.png", 1)
    ]  # fmt: skip
    assert pdftotext(tmp_path / "out/five.pdf.ocr.pdf").count("\f") == 3  # the bad page stays


def test_nothing_is_read_twice_and_a_changed_file_is_read_again(tmp_path):
    root, reader = make_folder(tmp_path / "in"), SizeReader()
    settings = BatchSettings(formats=("text",))
    first = run_batch([root], tmp_path / "out", settings, with_reader(reader))
    assert (first.files, first.pages, reader.pages) == (7, 9, 9)
    again = run_batch([root], tmp_path / "out", settings, with_reader(reader))
    assert (again.known, again.pages, reader.pages) == (7, 9, 9)
    Image.new("RGB", (300, 50)).save(root / "deep" / "0.png")
    run_batch([root], tmp_path / "out", settings, with_reader(reader))
    assert reader.pages == 10
    assert (tmp_path / "out/deep/0.png.txt").read_text() == "page 300 x 50 pixel 0\n"


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    root = make_folder(tmp_path / "in", 1)
    run_batch([root], tmp_path / "out", BatchSettings(), with_reader(SizeReader()))
    with pytest.raises(UserError, match="other settings"):
        run_batch([root], tmp_path / "out", BatchSettings(dpi=72), with_reader(SizeReader()))
    with pytest.raises(UserError, match="is a file; choose a folder for --out"):
        run_batch([root], tmp_path / "in/deep/0.png", BatchSettings())
    with pytest.raises(UserError, match="docx: there are"):
        run_batch([root], tmp_path / "out", BatchSettings(formats=("docx",)))
    with pytest.raises(UserError, match="no image or PDF"):
        empty = tmp_path / "none"
        empty.mkdir()
        run_batch([empty], tmp_path / "out", BatchSettings())


SCRIPT = """
import sys, time
from pathlib import Path
from drawn_pages import SizeReader
from manifold_ocr.serving.batch import BatchSettings, read_file, run_batch

class Slow(SizeReader):
    def read(self, image, mode="auto"):
        time.sleep(float(sys.argv[3]))
        return super().read(image, mode)

def mapper(sources, settings, out):
    for source in sources:
        yield read_file(source, Slow(), settings, out)

settings = BatchSettings(formats=("jsonl", "text", "hocr", "pdf"))
run_batch([Path(sys.argv[1])], Path(sys.argv[2]), settings, mapper)
"""


def start(root, out, pause):
    support = Path(__file__).parents[1] / "support"
    source = Path(__file__).parents[2] / "src"
    path = os.pathsep.join([str(support), str(source)])
    command = [sys.executable, "-c", SCRIPT, str(root), str(out), str(pause)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})


def test_five_kills_leave_the_same_outputs_as_an_unbroken_run(tmp_path):
    root = make_folder(tmp_path / "in", 20)
    plain_pdf(root / "long.pdf", 25)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(root, whole, 0).wait() == 0
    for wanted in (2, 6, 11, 15, 19):
        run = start(root, killed, 0.03)
        journal = killed / "journal.jsonl"
        while run.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") > wanted:
                break
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert start(root, killed, 0).wait() == 0
    assert files_of(killed) == files_of(whole)
    names = [json.loads(line)["file"] for line in list((killed / "journal.jsonl").open())[1:]]
    assert len(names) == len(set(names)) == 22


def test_a_killed_run_keeps_the_pages_it_had_read(tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    plain_pdf(root / "long.pdf", 12)

    class Stops(SizeReader):
        def read(self, image, mode="auto"):
            if self.pages == 7:
                raise KeyboardInterrupt
            return super().read(image, mode)

    with pytest.raises(KeyboardInterrupt):
        run_batch([root], out, BatchSettings(), with_reader(Stops()))
    reader = SizeReader()
    run_batch([root], out, BatchSettings(), with_reader(reader))
    assert reader.pages == 5
    assert len((out / "pages.jsonl").read_text().splitlines()) == 12
    assert not list((out / ".partial").iterdir())
