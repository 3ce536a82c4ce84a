"""Folders of prediction files, paired comparisons, and samples of documents."""

import json
from dataclasses import replace

import pytest

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.engine_scores import some_documents, with_about
from manifold_ocr.metrics.paired import document_sums
from manifold_ocr.metrics.score import score_rows
from manifold_ocr.reading.engines.predictions import read_runs
from manifold_ocr.records import Prediction, Sample

CONFIG = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=200)


def page(corpus, name, text="some words here"):
    return Sample(id=f"{corpus}/{name}", document=name, corpus=corpus, subset="s",
                  image=f"{corpus}/scans/{name}.png", text=text, granularity="page")  # fmt: skip


PAGES = [page(corpus, name) for corpus in ("fox", "odb") for name in ("a", "b", "c")]
LINES = [replace(p, id=f"{p.id}#1", granularity="line", box=(0, 0, 9, 9)) for p in PAGES]
SAMPLES = [*PAGES, *LINES]


def write(folder, name, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def texts(runs):
    return {p.id: p.text for p in runs.predictions}


def test_a_file_answers_for_the_pages_of_its_corpus_and_missing_ones_are_empty(tmp_path):
    write(tmp_path, "fox", [
        {"doc_id": "a", "image_path": "scans/a.png", "prediction": "one"},
        {"doc_id": "zzz", "image_path": "scans/zzz.png", "prediction": "nobody's"},
    ])  # fmt: skip
    runs = read_runs(tmp_path, SAMPLES)
    assert texts(runs) == {"fox/a": "one", "fox/b": "", "fox/c": ""}
    assert runs.counts == {"rows": 2, "matched": 1, "unmatched": 1, "ambiguous": 0, "repeated": 0,
                           "files": 1, "missing": 2}  # fmt: skip
    assert "scans/zzz.png" in runs.notes[0]


def test_files_of_several_data_sets_are_one_system(tmp_path):
    write(tmp_path, "fox", [{"image_path": "a.png", "prediction": "fox a"}])
    write(tmp_path, "odb", [{"image_path": "a.png", "prediction": "odb a"}])
    found = texts(read_runs(tmp_path, SAMPLES))
    assert found["fox/a"] == "fox a" and found["odb/a"] == "odb a" and len(found) == 6


def test_a_file_of_another_name_is_joined_to_all_and_guesses_nothing(tmp_path):
    write(tmp_path, "run-7", [
        {"image_path": "a.png", "prediction": "of which corpus?"},
        {"image_path": "odb/scans/b.png", "prediction": "clear"},
    ])  # fmt: skip
    runs = read_runs(tmp_path, SAMPLES)
    assert runs.counts["ambiguous"] == 1
    assert texts(runs) == {"odb/a": "", "odb/b": "clear", "odb/c": ""}


def test_a_file_that_fits_nothing_changes_nothing_and_a_broken_row_is_an_error(tmp_path):
    write(tmp_path, "other", [{"image_path": "q.png", "prediction": "x"}])
    runs = read_runs(tmp_path, SAMPLES)
    assert runs.samples == () and runs.counts["unmatched"] == 1
    (tmp_path / "fox.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"fox\.jsonl:1: no text"):
        read_runs(tmp_path, SAMPLES)


def scored(samples, wrong):
    predictions = [Prediction(id=s.id, text=s.text[wrong:]) for s in samples]
    return score_rows(samples, predictions, CONFIG)


def test_some_documents_are_whole_and_seeded_and_of_every_subset():
    samples = [
        replace(page("c", f"{subset}{n}"), id=f"{subset}{n}-{line}", subset=subset)
        for subset in ("x", "y") for n in range(5) for line in range(3)
    ]  # fmt: skip
    chosen = some_documents(samples, 4, 1)
    assert len(chosen) == 12 and {s.subset for s in chosen} == {"x", "y"}
    assert chosen == some_documents(samples[::-1], 4, 1)[::-1] != some_documents(samples, 4, 2)
    assert some_documents(samples, 0, 1) == tuple(samples)
    assert set(chosen) <= set(some_documents(samples, 5, 1))


def test_dropped_files_reach_the_leaderboard_through_evaluation(tmp_path, monkeypatch, capsys):
    from manifold_ocr.files import write_json
    from manifold_ocr.metrics import score
    from manifold_ocr.stages import evaluate, leaderboard

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    folder.mkdir()
    write(folder, "fox", [
        {"id": LINES[0].id, "text": "some words"}, {"image_path": "b.png", "text": "some words"},
        {"image_path": "nowhere.png", "text": "?"},
    ])  # fmt: skip
    ours = {"adapter": scored(LINES, 0), "base": scored(LINES, 1)}
    report = score.evaluation(ours["adapter"], ours["base"], CONFIG)
    report["test_rows"] = dict(evaluate.transcription_rows(SAMPLES))
    report["documents"] = {name: document_sums(rows) for name, rows in ours.items()}
    section, lines = evaluate.imported("deepseek-ocr", folder, SAMPLES, CONFIG)
    report["imported"] = {"deepseek-ocr": section}
    report["documents"]["deepseek-ocr"] = lines
    assert section["import"] == {"rows": 3, "matched": 2, "unmatched": 1, "ambiguous": 0,
                                 "repeated": 0, "files": 1, "missing": 4}  # fmt: skip
    assert "nowhere.png" in capsys.readouterr().out
    report["test_sha256"] = "x"
    write_json("metrics/evaluate.json", report)
    rows = scored(LINES, 2)
    engine = {**score.summarize(rows, CONFIG), "documents": document_sums(rows)}
    for name, digest in (("same", "x"), ("other", "y")):
        body = {"name": f"{name} rows", "manifest_sha256": digest, **engine}
        write_json(f"metrics/engines/{name}.json", body)
    write_json("metrics/compress.json", {})
    (tmp_path / "params.yaml").write_text(
        "leaderboard: {title: t}\ngate: {max_loss: 0.01}\nmonitor: {}\nevaluate: {}\n"
    )
    leaderboard.main()
    text = (tmp_path / "docs/leaderboard/README.md").read_text()
    assert "| same rows | 1 | engine | 3 |" in text and "3 documents, fewer than 5" in text
    assert text.endswith("## Not ranked\n\n- other rows: read other test rows\n")
    assert "| deepseek-ocr | 3 | 2 | 1 |" in text
    site = (tmp_path / "docs/leaderboard/index.html").read_text()
    assert "same rows" in site and "deepseek-ocr" in site
    assert evaluate.imported("x", tmp_path / "none", SAMPLES, CONFIG) is None


@pytest.mark.parametrize(
    ("granularity", "result", "wanted"),
    [
        ("line", (("one line",), (0.9,)), ("one line", 0.9)),
        ("line", (("  ",), (0.4,)), ("", 0.0)),
        ("line", (None, None), ("", 0.0)),
        ("page", (("first", "second"), (0.5, 1.0)), ("first\nsecond", 0.75)),
        ("page", ((), ()), ("", 0.0)),
    ],
)
def test_rapidocr_gives_a_line_or_the_lines_of_a_page(monkeypatch, granularity, result, wanted):
    from types import SimpleNamespace

    from PIL import Image

    from manifold_ocr.reading.engines import rapidocr

    answer = SimpleNamespace(txts=result[0], scores=result[1])
    asked = []
    monkeypatch.setattr(
        rapidocr,
        "_engine",
        lambda threads, use_det: asked.append(use_det) or (lambda _: answer),
    )
    engine = rapidocr.RapidOcr(granularity)
    (read,) = engine.recognize([Image.new("RGB", (96, 24))])
    assert (read.text, read.confidence) == wanted and asked == [granularity == "page"]
    assert engine.vision_tokens((96, 24)) == (24 if granularity == "line" else 0)


def test_a_manifest_in_shards_is_read_and_named_like_a_file(tmp_path):
    from manifold_ocr.evaluation.report import load_manifest
    from manifold_ocr.records import manifest_sha256, write_rows

    one, shards = tmp_path / "one.jsonl", tmp_path / "test.jsonl"
    write_rows(one, SAMPLES)
    for number, part in enumerate((SAMPLES[:5], SAMPLES[5:])):
        shards.mkdir(exist_ok=True)
        write_rows(shards / f"shard-{number:05d}.jsonl", part)
    assert load_manifest(shards).samples == load_manifest(one).samples == tuple(SAMPLES)
    assert load_manifest(shards).sha256 == manifest_sha256(shards) != manifest_sha256(one)
    assert len(load_manifest(one).sha256) == 64


def test_times_are_kept_with_the_predictions_they_were_measured_on(tmp_path):
    before = tmp_path / "x.json"
    values = {"predictions_sha256": "a", "about": {}}
    assert with_about(values, before, {}, ["line"])["about"] == {}
    took = {"line": {"seconds": 0.5}}
    before.write_text(json.dumps({"predictions_sha256": "a", "about": took}))
    assert with_about(values, before, {}, ["line"])["about"] == took
    other = {"predictions_sha256": "b", "about": {}}
    assert with_about(other, before, {}, ["line"])["about"] == {}
    stated = {"license": "MIT", "parameters": 0, "contaminated": ""}
    found = with_about(values, before, stated, {"line", "page"})["about"]
    assert found == {"line": {"seconds": 0.5, "license": "MIT"}, "page": {"license": "MIT"}}
