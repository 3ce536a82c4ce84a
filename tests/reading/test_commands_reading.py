"""The user's commands, with a drawn detector and recognizer in place of the networks."""

import json

import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from manifold_ocr.cli.main import build_app
from manifold_ocr.config import EvaluateConfig
from manifold_ocr.data.readers.folder import Folder
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.robustness import (
    SWEEPS,
    as_metrics,
    damaged,
    pick,
    sweep_all,
    write_curves,
)
from manifold_ocr.models.base import Recognition
from manifold_ocr.reading import detect
from manifold_ocr.reading.detect import DetectedLine
from manifold_ocr.reading.engines import checkpoint
from manifold_ocr.reading.label.folder import DOCUMENT_PATTERN
from manifold_ocr.records import Prediction, Sample, read_predictions, write_rows

TEXTS = ["first line of text", "second line of text"]


class TwoLines:
    """Finds two lines on every page of 200 by 200 pixels."""

    def __init__(self, config=None):
        self.config = config

    def detect(self, image):
        def quad(y):
            return DetectedLine(((10, y), (190, y), (190, y + 20), (10, y + 20)), 0.9)

        return [quad(10), quad(100)] if image.size == (200, 200) else []


class Reader:
    """Reads the two lines in turn, the second with a mistake."""

    family = "ctc"
    name = "drawn"

    def __init__(self):
        self.count = 0

    def recognize(self, images, prompts=None):
        for _ in images:
            self.count += 1
            text = TEXTS[0] if self.count % 2 else TEXTS[1].replace("second", "sccond")
            yield Recognition(text, 0.9)

    def vision_tokens(self, size):
        return size[0] // 8


@pytest.fixture(autouse=True)
def drawn(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(detect, "LazyDetector", TwoLines)
    monkeypatch.setattr(detect, "LineDetector", TwoLines)
    monkeypatch.setattr(checkpoint, "reader_model", lambda *_, **__: Reader())
    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda *_: Reader())


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a", "b"):
        page = Image.new("RGB", (200, 200), "white")
        ImageDraw.Draw(page).text((10, 10), name, fill="black")
        page.save(folder / f"{name}.png")
    return folder


def run(*arguments):
    return CliRunner().invoke(build_app(), [str(a) for a in arguments])


def test_read_prints_text_and_reads_on_after_a_bad_file(scans, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    done = run("read", scans / "a.png", "empty.png", scans / "b.png")
    assert done.exit_code == 2
    assert done.output.count("first line of text") == 2
    assert "empty.png: the file is empty" in done.output
    assert "1 of 3 files could not be read" in done.output


def test_read_json_has_boxes_and_confidence(scans):
    done = run("read", scans / "a.png", "--json")
    value = json.loads(done.output)
    assert done.exit_code == 0 and value["image"].endswith("a.png")
    assert value["paragraphs"][1]["lines"][0]["box"] == [10, 100, 190, 120]
    assert value["confidence"] == 0.9


def test_read_knows_its_modes(scans):
    assert run("read", scans / "a.png", "--mode", "lines").exit_code == 2


def test_label_writes_a_folder_corpus_whose_text_is_the_transcript(scans, tmp_path):
    (scans / "a.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    done = run("label", scans, "--out", tmp_path / "lines")
    assert done.exit_code == 0 and "4 lines, 2 with text from a transcript" in done.output
    options = {"document_pattern": DOCUMENT_PATTERN}
    rows = list(Folder("mine").rows(tmp_path / "lines", options))
    assert [(row.document, row.text, row.granularity) for row in rows] == [
        ("a", TEXTS[0], "line"), ("a", TEXTS[1], "line"),
        ("b", TEXTS[0], "line"), ("b", "sccond line of text", "line"),
    ]  # fmt: skip
    index = [json.loads(line) for line in (tmp_path / "lines/labels.jsonl").open()]
    assert [row["source"] for row in index] == ["transcript", "transcript", "read", "read"]
    assert "b-0002.png" in (tmp_path / "lines/index.html").read_text()


def test_corrections_are_applied_and_dropped_lines_lose_their_label(scans, tmp_path):
    out = tmp_path / "lines"
    run("label", scans, "--out", out)
    lines = [{"image": "b-0002.png", "text": " second  line ", "keep": True},
             {"image": "a-0001.png", "text": "x", "keep": False}]  # fmt: skip
    (tmp_path / "c.json").write_text(json.dumps({"lines": lines}))
    done = run("label", scans, "--out", out, "--apply", tmp_path / "c.json")
    assert "1 lines changed, 1 lines dropped" in done.output
    assert (out / "b-0002.gt.txt").read_text() == "second line\n"
    assert not (out / "a-0001.gt.txt").exists() and (out / "a-0001.png").exists()


def test_label_never_overwrites_corrections_or_leaves_its_folder(scans, tmp_path):
    out = tmp_path / "lines"
    run("label", scans, "--out", out)
    assert isinstance(run("label", scans, "--out", out).exception, UserError)
    lines = [{"image": "../scans/a.png", "text": "x"}]
    (tmp_path / "c.json").write_text(json.dumps({"lines": lines}))
    done = run("label", scans, "--out", out, "--apply", tmp_path / "c.json")
    assert "no line image below" in str(done.exception)


def write_manifest(tmp_path, granularity="page"):
    samples = [
        Sample(id=name, document=name, corpus="c", subset="s", language="en",
               image=f"scans/{name}.png", text="\n\n".join(TEXTS), granularity=granularity)
        for name in ("a", "b")
    ]  # fmt: skip
    write_rows(tmp_path / "rows.jsonl", samples)
    return samples


def test_engine_scores_pages_and_counts_what_cannot_be_read(scans, tmp_path):
    write_manifest(tmp_path)
    (scans / "b.png").write_bytes(b"")
    done = run("eval", "--engine", "checkpoint", "--manifest", "rows.jsonl", "--image-root", ".",
               "--label", "My Model")  # fmt: skip
    assert done.exit_code == 0, done.exception
    metrics = json.loads((tmp_path / "metrics/engines/my-model.json").read_text())
    assert metrics["name"] == "My Model" and metrics["unreadable_images"] == 1
    assert 0.5 < metrics["overall"]["cer"] < 0.6  # one page with one mistake, one page empty
    found = list(read_predictions(tmp_path / "output/engines/my-model.jsonl"))
    assert [p.text == "" for p in found] == [False, True]


def test_engine_imports_predictions(scans, tmp_path):
    samples = write_manifest(tmp_path)
    rows = [{"image_path": "x/scans/a.png", "prediction": samples[0].text}]
    (tmp_path / "their run.jsonl").write_text(json.dumps(rows[0]) + "\n")
    done = run("eval", "--engine", "predictions", "--predictions", "their run.jsonl",
               "--manifest", "rows.jsonl", "--image-root", ".")  # fmt: skip
    assert done.exit_code == 0, done.exception
    metrics = json.loads((tmp_path / "metrics/engines/their-run.json").read_text())
    assert metrics["overall"]["cer"] == 0.5 and metrics["import"]["missing"] == 1
    assert isinstance(
        run("eval", "--engine", "predictions", "--manifest", "rows.jsonl").exception, UserError
    )
    assert "no engine" in str(run("eval", "--engine", "abc", "--manifest", "rows.jsonl").exception)


def test_eval_reads_the_older_row_form_and_reports_fox_in_both_directions(scans, tmp_path):
    rows = [
        {"doc_id": "a", "image_path": "scans/a.png", "text": "\n\n".join(TEXTS), "language": "en"},
        {"doc_id": "b", "image_path": "scans/b.png"},
    ]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("eval", "--manifest", "old.jsonl", "--image-root", ".", "--out", "out")
    assert done.exit_code == 0, done.exception
    value = json.loads((tmp_path / "out/report.json").read_text())
    assert value["counts"]["rejected_rows"] == 1 and value["counts"]["samples"] == 1
    fox = value["fox"]
    assert fox["precision"] == fox["compat_swapped_recall"]
    assert "insertion rate" in done.output
    assert "Insertion rate" in (tmp_path / "out/report.md").read_text()


def test_explore_compares_prediction_files(scans, tmp_path):
    samples = write_manifest(tmp_path)
    for name in ("base", "adapter"):
        write_rows(
            f"{name}.jsonl", [Prediction(id=s.id, text=f"{name} read this") for s in samples]
        )
    done = run("explore", "base.jsonl", "adapter.jsonl", "--manifest", "rows.jsonl",
               "--image-root", ".", "--out", "e.html")  # fmt: skip
    assert done.exit_code == 0, done.exception
    assert "2 rows (0 left out), 2 images" in done.output
    assert '"systems":["base","adapter"]' in (tmp_path / "e.html").read_text()


def test_limitations_publish_only_images_of_our_own_making(scans, tmp_path):
    from manifold_ocr.metrics.score import score_rows, summarize

    samples = [
        Sample(id=f"{corpus}-{name}", document=name, corpus=corpus, subset=corpus, language="en",
               image=f"scans/{name}.png", text="Straße O1 `x`")
        for corpus in ("synthetic", "sroie") for name in ("a", "b")
    ]  # fmt: skip
    found = [Prediction(id=s.id, text="Strasse 01 'X'") for s in samples]
    write_rows("rows.jsonl", samples)
    write_rows("p.jsonl", found)
    config = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=50)
    value = {"adapter": summarize(score_rows(samples, found, config), config)}
    (tmp_path / "e.json").write_text(json.dumps(value))
    done = run("limitations", "--evaluation", "e.json", "--predictions", "p.jsonl",
               "--manifest", "rows.jsonl", "--image-root", ".")  # fmt: skip
    assert done.exit_code == 0, done.exception
    published = sorted(p.name for p in (tmp_path / "docs/whitepaper/limitations").iterdir())
    assert published == ["01.jpg", "02.jpg"]
    kept = sorted(p.name for p in (tmp_path / "output/limitations").glob("*.jpg"))
    assert kept == ["sroie-01.jpg", "sroie-02.jpg"]
    text = (tmp_path / "docs/whitepaper/limitations.md").read_text()
    assert "letter case only" in text and "letter and digit mixed up" in text
    assert "2 examples show documents of users" in text and "sroie-01" not in text


def test_robustness_sweeps_are_seeded_and_share_the_clean_reading(scans, tmp_path):
    samples = write_manifest(tmp_path, "line")
    config = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=20)
    assert pick(samples, 1, 3) == pick(samples[::-1], 1, 3)
    for name in SWEEPS:
        level = SWEEPS[name].levels[-1]
        once, again = ([im.tobytes() for im in damaged(samples, tmp_path, name, level, 1)]
                       for _ in range(2))  # fmt: skip
        clean = [im.tobytes() for im in damaged(samples, tmp_path, name, 0, 1)]
        assert once == again and once != clean
    curves = sweep_all({"base": Reader()}, samples, tmp_path, ["blur", "jpeg"], config)
    assert curves["blur"]["base"][0] == curves["jpeg"]["base"][0]
    write_curves(curves, tmp_path / "curves")
    lines = (tmp_path / "curves/blur.csv").read_text().splitlines()
    assert lines[0] == "series,level,cer,low,high" and len(lines) == 7
    assert [line.split(",")[:2] for line in lines[1:3]] == [["base", "0"], ["base", "5"]]
    assert set(as_metrics(curves)["base"]["jpeg"]) == {"0", "40", "60", "75", "85", "92"}
    with pytest.raises(UserError, match="needs lines"):
        pick([], 3, 1)


def test_limitations_leave_out_granularities_that_nobody_read():
    from manifold_ocr.evaluation.limitations import of_granularities_read
    from manifold_ocr.records import Prediction, Sample

    def row(name, granularity):
        return Sample(
            id=name, document="d", corpus="c", subset="s", image="i.png", text="t",
            granularity=granularity,
        )  # fmt: skip

    rows = [row("a", "line"), row("b", "line"), row("p", "page")]
    kept = of_granularities_read(rows, [Prediction(id="a", text="t")])
    assert [sample.id for sample in kept] == ["a", "b"]
