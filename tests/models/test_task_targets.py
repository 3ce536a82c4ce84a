"""Rows whose target is JSON, LaTeX or one line of a page are learned and scored exactly.

One picture is asked for all of them: only the prompt can tell the answers apart.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from tiny_chat_models import write_glm_ocr
from tiny_models import drawn_samples, write_donut, write_qwen2_vl, write_trocr
from training_project import Project

from manifold_ocr.config import EvaluateConfig, ModelConfig
from manifold_ocr.metrics.score import score_rows, summarize
from manifold_ocr.models.base import prompts_of
from manifold_ocr.models.family import family_for
from manifold_ocr.models.registry import family_of, load_model
from manifold_ocr.reading.predict import read_with
from manifold_ocr.records import Prediction, Sample

pytestmark = pytest.mark.torch
MARKS = ["<s_json>", "<s_latex>", "<s_needle>"]  # as Donut's checkpoints name them
TARGETS = {
    "transcribe": ("ab 12", None),
    "json": ('{"a":"b"}', None),
    "latex": ("x^2", "as latex?"),
    "needle": ("12", "line with 12?"),
}
WRITERS: dict[str, Callable[[Path], Path]] = {
    "trocr": write_trocr,
    "donut": write_donut,
    "qwen2_vl": write_qwen2_vl,
    "glm_ocr": write_glm_ocr,
}


def asked_rows(folder: Path) -> list[Sample]:
    """One picture, and a row of each task that asks something of it."""
    (drawn,) = drawn_samples(folder, ["ab 12"])
    return [
        replace(drawn, id=task, task=task, text=text, question=question)
        for task, (text, question) in TARGETS.items()
    ]


@pytest.fixture(params=list(WRITERS))
def base(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tiny_models, "ALPHABET", tiny_models.ALPHABET + '{}"^?')
    if request.param == "donut":
        plain = tiny_models.character_tokenizer

        def with_marks(extra: list[str] | None = None) -> Any:
            tokenizer = plain(extra)
            tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
            return tokenizer

        monkeypatch.setattr(tiny_models, "character_tokenizer", with_marks)
    return WRITERS[request.param](tmp_path / request.param)


@pytest.fixture
def project(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))
    knobs = {
        "train_batch_size": 4,
        "learning_rate": 1e-2,
        "max_target_length": 64,
        "generation_max_length": 64,
        "warmup": 0.1,
    }
    rows = asked_rows(tmp_path)
    return Project(tmp_path, base, tmp_path, rows, 4, rank=16, alpha=32, knobs=knobs)


@pytest.mark.parametrize("base", ["trocr", "donut", "qwen2_vl"], indirect=True)
def test_each_task_is_learned_from_one_picture_and_scores_exactly(project: Project) -> None:
    steps = 60
    figures = project.train(max_steps=steps, eval_steps=steps, freeze="none")
    assert figures["best"]["cer"] == 0.0
    model = load_model(ModelConfig(id=str(project.base)), project.root / "adapter", "cpu", 64)
    texts = [found.text for found in read_with(model, project.rows, project.image_root)]
    assert texts == [text for text, _ in TARGETS.values()]
    alone = [next(read_with(model, [row], project.image_root)).text for row in project.rows]
    assert alone == texts, "an answer must not depend on its neighbors"
    predictions = [
        Prediction(id=row.id, text=text) for row, text in zip(project.rows, texts, strict=True)
    ]
    config = EvaluateConfig(bootstrap_samples=0)
    found = summarize(score_rows(project.rows, predictions, config), config)
    assert found["overall"]["cer"] == 0.0
    assert {task: values["exact"] for task, values in found["by_task"].items()} == {
        "json": 1.0,
        "latex": 1.0,
        "needle": 1.0,
    }


@pytest.mark.parametrize("base", ["trocr", "qwen2_vl"], indirect=True)
def test_validation_without_a_transcription_chooses_by_the_answers(project: Project) -> None:
    only = replace(project, rows=project.rows[1:3], val_rows=2)
    figures = only.train(max_steps=2, eval_steps=1)
    assert figures["best"]["cer"] > 0
    scores = json.loads((project.root / "metrics/metrics.json").read_text())["eval"]
    assert {"json_field_f1", "json_valid", "latex_exact"} <= scores.keys()


def test_prompts_are_the_cards_the_rows_or_the_checkpoints_own(project: Project) -> None:
    model = load_model(ModelConfig(id=str(project.base)), None, "cpu")
    asked = prompts_of(model, project.rows)
    formula = {"glm_ocr": "Formula Recognition:", "donut": "<s_latex>"}
    fields = {"donut": "<s_json>"}
    needle = {"donut": "<s_needle>line with 12?"}
    kind = project.base.name
    assert asked == [
        "",
        fields.get(kind, "Return the document's fields as JSON."),
        formula.get(kind, "as latex?"),
        needle.get(kind, "line with 12?"),
    ]
    assert prompts_of(model, project.rows[:1]) is None


def test_loss_falls_on_the_answer_alone_and_the_prompt_is_seen(project: Project) -> None:
    family = family_for(family_of(project.base), project.settings())
    data = family.data(project.rows)
    batch = family.collate([data[i] for i in range(4)])
    counted = (batch["labels"] != -100).sum(1).tolist()
    assert counted == [len(text) + 1 for text, _ in TARGETS.values()]
    if family.name == "encoder_decoder":
        plain = family.collate([data[0]])
        assert "asked" not in plain, "a transcription needs none"
        given = (batch["asked"] != -100).sum(1).tolist()
        assert given[0] == 0 and min(given[1:]) > 0
        both = (batch["asked"] != -100) & (batch["labels"] != -100)
        assert not both.any()


def test_a_prompt_that_leaves_no_room_rejects_its_row(project: Project) -> None:
    family = family_for(family_of(project.base), project.settings(max_target_length=8))
    audit = family.audit(project.rows)
    if family.name == "chat_vlm":  # there the prompt is no part of the label
        assert not audit.rejected
        return
    reasons = {row.source: row.reason for row in audit.rejected}
    assert reasons.get("needle") == "prompt_too_long"
    assert "transcribe" not in reasons
