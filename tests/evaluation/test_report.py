"""The report of `eval`: other tasks, loops and invented text are said in terminal and report."""

import pytest

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.engine_scores import claim, slug
from manifold_ocr.evaluation.report import EvalManifest, evaluate_predictions, markdown
from manifold_ocr.files import distinct_names, write_json
from manifold_ocr.records import Prediction, Sample

CONFIG = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=50)


def report(rows):
    samples = tuple(
        Sample(id=f"r{n}", document=f"d{n}", corpus="c", subset="s", language="en", image="x.png",
               text=text, task=task, granularity=granularity)
        for n, (text, _, task, granularity) in enumerate(rows)
    )  # fmt: skip
    read = [Prediction(id=f"r{n}", text=row[1]) for n, row in enumerate(rows)]
    return evaluate_predictions("x", EvalManifest(samples=samples), "m", read, CONFIG)


TABLE = "<table><tr><td>Lock</td><td>Toll</td></tr></table>"


def test_scores_of_other_tasks_stand_in_terminal_and_report():
    found = report([(TABLE, TABLE, "table", "line"), (TABLE, "| Lock | Toll |", "table", "line"),
                    ("a + b", "$$a + b$$", "latex", "line")])  # fmt: skip
    assert "table (2 rows): " in found.headline() and "teds" in found.headline()
    text = markdown(found)
    assert "## Other tasks" in text and "| table | 2 | teds |" in text and "| latex | 1 |" in text
    assert "## Text" not in text and "documents" not in text.split("## Other tasks")[1]


def test_loops_and_text_on_blank_pages_are_counted():
    found = report([("", "The page is blank. I cannot read it.", "transcribe", "page"),
                    ("Locks and tolls", "Locks | 3" * 200, "transcribe", "page")])  # fmt: skip
    said = found.headline()
    assert "in a loop 50.00 % of rows" in said and "invented 50.00 % of rows" in said
    row = next(line for line in markdown(found).splitlines() if line.startswith("| overall | 2 |"))
    assert row  # text, spaces and failures each have the group
    assert markdown(found).count("| overall | 2 |") == 3


def test_systems_are_named_apart(tmp_path):
    paths = [tmp_path / "a/base.jsonl", tmp_path / "b/base.jsonl"]
    assert distinct_names(paths) == ["a/base", "b/base"]
    assert distinct_names([paths[0], tmp_path / "adapter.jsonl"]) == ["base", "adapter"]
    assert distinct_names([tmp_path / "x.json", tmp_path / "x.jsonl"]) == ["x 1", "x 2"]


def test_names_of_any_script_have_files_of_their_own(tmp_path):
    assert [slug(name) for name in ("通义", "百度", "RapidOCR 3 / x", "..")] == [
        "通义", "百度", "rapidocr-3-x", "engine",
    ]  # fmt: skip
    path = tmp_path / "e.json"
    claim(path, "first")
    write_json(path, {"name": "first"})
    claim(path, "first")
    with pytest.raises(UserError, match=r"e\.json is the result of 'first'; give 'second' another"):
        claim(path, "second")
