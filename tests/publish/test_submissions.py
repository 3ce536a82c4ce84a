"""Submissions: prepared, scored again, and every hostile kind refused by file and reason."""

import json

import pytest
from typer.testing import CliRunner

from manifold_ocr.cli.main import build_app
from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import sha256_file
from manifold_ocr.publish import submissions
from manifold_ocr.publish.ranking import About
from manifold_ocr.publish.submissions import (
    Refused,
    check,
    check_folder,
    judge_folder,
    prepare,
    slug,
)
from manifold_ocr.records import Prediction, Sample, manifest_sha256, write_rows

CONFIG = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=50)
SAMPLES = [
    Sample(id=f"c/{n}", document=f"d{n}", corpus="c", subset="s", language="en", image=f"{n}.png",
           text=f"the line with number {n}")
    for n in range(6)
]  # fmt: skip
READ = [Prediction(id=s.id, text=s.text.replace("line", "lime")) for s in SAMPLES]


@pytest.fixture
def project(tmp_path):
    """A test split and one good submission."""
    manifest, folder = tmp_path / "test.jsonl", tmp_path / "submissions"
    write_rows(manifest, SAMPLES)
    about = About(url="https://example.org/x", license="MIT", seconds=0.1, parameters=10)
    path = prepare(folder, "My OCR 2.0", SAMPLES, READ, manifest_sha256(manifest), CONFIG, about)
    return manifest, folder, path


def test_a_prepared_submission_is_scored_again_and_ranked(project):
    manifest, folder, path = project
    assert path.name == "my-ocr-2.0.json" == f"{slug('My OCR 2.0')}.json"
    (found,) = check_folder(folder, manifest, CONFIG, {})
    (entry,) = found.entries
    assert found.rescored and (entry.kind, entry.rows) == ("submission", 6)
    assert entry.cer == 6 / sum(len(s.text) for s in SAMPLES)
    assert (entry.about.license, entry.about.seconds) == ("MIT", 0.1)
    assert not check(path, None, CONFIG).rescored  # without the test rows nothing can be scored


def test_a_submission_for_other_test_rows_is_whole_but_not_scored(project, tmp_path):
    _, _, path = project
    other = tmp_path / "other.jsonl"
    write_rows(other, SAMPLES[:5])
    assert not check(path, other, CONFIG).rescored


MISSING = object()


def changed(value, key, new):
    *parents, last = key.split(".")
    for part in parents:
        value = value[part]
    if new is MISSING:
        del value[last]
    else:
        value[last] = new


@pytest.mark.parametrize(
    ("key", "new", "reason"),
    [
        ("n", MISSING, "n: key is missing"),
        ("n", 5, "n is 5, overall.n 6, the documents hold 6"),
        ("n", "6", "n.*'6'"),
        ("n", True, "n.*True"),
        ("n", -6, "n.*-6"),
        ("overall.n", MISSING, "overall: n is missing"),
        ("overall.cer", MISSING, "overall: cer is missing"),
        ("overall.cer", float("nan"), "overall.*nan"),
        ("overall.cer", float("inf"), "overall.*inf"),
        ("overall.cer", -0.5, "overall: cer is -0.5"),
        ("overall.cer", "0.01", "overall: cer must be a number, not '0.01'"),
        ("overall.cer", 0.0, "overall.cer is 0.0, its documents add up to 6 wrong of"),
        ("overall.wer", 0.0, "overall.wer is stated as 0.0, scoring .* again"),
        ("overall.better", 1.0, "overall.better is stated as 1.0.*no such value"),
        ("by_subset.s.cer", 0.0, r"by_subset.s.cer is stated as 0.0"),
        ("by_subset", {"none": {"cer": 0.0}}, r"by_subset.none.cer is stated"),
        ("manifest_sha256", "05e4", "manifest_sha256: '05e4'"),
        ("predictions_sha256", "0" * 64, "not the file of predictions_sha256"),
        ("format", 2, "format"),
        ("name", "evil](javascript:x) <b>", "name .*markup and look-alikes are refused"),
        ("name", "аdapter", "look-alikes"),  # the first letter is Cyrillic
        ("name", "another", "must be another.json"),
        ("name", "", "name"),
        ("url", "https://a) [b](http://c", "url"),
        ("url", "javascript:alert(1)", "url"),
        ("seconds", 0.0, "seconds"),
        ("parameters", 1.5, "parameters"),
        ("granularity", "word", "granularity.*line, page"),
        ("granularity", "page", "other rows than pages"),
        ("documents", [], "documents"),
        ("documents", ["c,d0,s,en,line,6,-1,0,0,0,0"], "sums of document .* are damaged"),
        ("documents", "x", "documents"),
        ("settings.profile", "raw", "profile 'raw', the leaderboard scores 'nfc_ws'"),
        ("license", "<script>", "license"),
        ("hardware", "[x](http://y)", "hardware"),
        ("rank", 1, "unknown key"),
        ("retracted", "x" * 600, "retracted"),
    ],
)  # fmt: skip
def test_a_hostile_value_is_refused_by_file_and_reason(project, key, new, reason):
    manifest, folder, path = project
    value = json.loads(path.read_text())
    changed(value, key, new)
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=rf"my-ocr-2\.0\.json.*?{reason}|{reason}") as error:
        check_folder(folder, manifest, CONFIG, {})
    assert "my-ocr-2.0.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"name": "evil](javascript:x) <b>", "url": "https://a) [b](http://c"}, "markup"),
        ({"name": "evil", "overall": {"n": 5, "cer": float("nan")}}, "cer is nan"),
        ({"name": "evil", "overall": {"n": 5, "cer": -0.5}}, "cer is -0.5"),
        ({"name": "evil", "overall": {"n": 5, "cer": "0.01"}}, "cer must be a number, not '0.01'"),
        ({"name": "evil", "overall": {"cer": 0.001}}, "n is missing"),
        ({"name": "evil"}, "format: key is missing"),
    ],
)
def test_a_wrong_value_is_told_before_a_key_that_is_missing(tmp_path, value, reason):
    path = tmp_path / "evil.json"
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=rf"evil\.json.*{reason}"):
        check(path, None, CONFIG)


def test_all_refusals_are_collected_and_strangers_are_refused(project):
    manifest, folder, _ = project
    (folder / "a.json").write_text("{")
    (folder / "weights.bin").write_bytes(b"x")
    (folder / "deep").mkdir()
    (folder / "README.md").write_text("how to")
    found = judge_folder(folder, manifest, CONFIG, {})
    refused = {item.path.name: item.reason for item in found if isinstance(item, Refused)}
    assert list(refused) == ["a.json", "deep", "weights.bin"]
    assert "neither SLUG.json nor SLUG.jsonl" in refused["weights.bin"]
    assert [item.rescored for item in found if not isinstance(item, Refused)] == [True]


def rewritten(path, rows):
    """Replace the predictions and make their hash right."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.with_suffix(".jsonl").write_text(text)
    value = json.loads(path.read_text())
    value["predictions_sha256"] = sha256_file(path.with_suffix(".jsonl"))
    path.write_text(json.dumps(value))


GOOD = [{"id": p.id, "text": p.text} for p in READ]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([*GOOD[:5], GOOD[0]], "id 'c/0' stands twice"),
        (GOOD[:5], "5 predictions, n is 6"),
        ([*GOOD[:5], {"id": "c/9", "text": "x"}], "no prediction of 1 test rows, first 'c/5'"),
        ([*GOOD, {"id": "c/9", "text": "x"}], "7 predictions, n is 6"),
        ([*GOOD[:5], {"id": "c/5", "text": None}], "'text' must be a string"),
        ([*GOOD[:5], {"id": "c/5", "text": 5}], "'text' must be a string"),
        ([*GOOD[:5], {"id": "c/5"}], "key 'text' is missing"),
        ([*GOOD[:5], {"id": "c/5", "text": "x", "score": 1}], "unknown key 'score'"),
        ([*GOOD[:5], {"id": "c/5", "text": "\ud800"}], "half of a surrogate pair"),
        ([*GOOD[:5], {"id": "c/5", "text": SAMPLES[5].text}], "other sums per document"),
        ([*GOOD[:5], {"id": "c/5", "text": "x" * ((1 << 20) + 1)}], "over 1,048,576 characters"),
        ([[1]], "must be a JSON object"),
    ],
)
def test_hostile_predictions_are_refused(project, rows, reason):
    manifest, folder, path = project
    rewritten(path, rows)
    with pytest.raises(UserError, match=rf"my-ocr-2\.0\.json.*{reason}"):
        check_folder(folder, manifest, CONFIG, {})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe{", "not UTF-8"),
        (b"[]", "my-ocr"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"n": ' + b"9" * 5000 + b"}", "a number is too long"),
    ],
)
def test_files_that_are_no_submission_are_refused(project, content, reason):
    manifest, folder, path = project
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as error:
        check_folder(folder, manifest, CONFIG, {})
    assert str(path) in str(error.value)


def test_huge_files_links_and_missing_files_are_refused(project, monkeypatch):
    manifest, folder, path = project
    monkeypatch.setattr(submissions, "JSON_LIMIT", 100)
    with pytest.raises(UserError, match=r"bytes, at most 100 are read"):
        check_folder(folder, manifest, CONFIG, {})
    monkeypatch.setattr(submissions, "JSON_LIMIT", 1 << 20)
    monkeypatch.setattr(submissions, "PREDICTIONS_LIMIT", 100)
    with pytest.raises(UserError, match=r"my-ocr-2\.0\.jsonl: .* at most 100 are read"):
        check_folder(folder, manifest, CONFIG, {})
    monkeypatch.undo()
    elsewhere = folder.parent / "secret.jsonl"
    path.with_suffix(".jsonl").rename(elsewhere)
    with pytest.raises(UserError, match="the predictions are missing"):
        check_folder(folder, manifest, CONFIG, {})
    path.with_suffix(".jsonl").symlink_to(elsewhere)
    with pytest.raises(UserError, match="the predictions are missing"):
        check_folder(folder, manifest, CONFIG, {})
    path.unlink()
    with pytest.raises(UserError, match=r"predictions without my-ocr-2\.0\.json"):
        check_folder(folder, manifest, CONFIG, {})


def test_a_name_that_is_taken_is_refused(project):
    manifest, folder, _ = project
    with pytest.raises(UserError, match=r"'my ocr 2\.0' is that of metrics/engines/x\.json"):
        check_folder(folder, manifest, CONFIG, {"my ocr 2.0": "metrics/engines/x.json"})


def test_the_command_prepares_and_checks(project, tmp_path, monkeypatch):
    manifest, folder, path = project
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("evaluate: {metric_tokenizer: whitespace}\n")
    write_rows(tmp_path / "read.jsonl", READ)
    run = CliRunner().invoke
    shared = ["--manifest", str(manifest), "--folder", str(folder)]
    done = run(build_app(), ["submit", "read.jsonl", "--name", "second", *shared])
    assert done.exit_code == 0 and "6 lines, CER 4." in done.output, done.output
    value = json.loads(path.read_text())
    value["settings"] = json.loads((folder / "second.json").read_text())["settings"]
    checked = run(build_app(), ["submit", "--check", *shared])
    assert checked.exit_code == 0 and "2 submissions are fine" in checked.output
    write_rows(tmp_path / "other.jsonl", SAMPLES[:5])
    refused = run(build_app(), ["submit", "--check", "--manifest", "other.jsonl", *shared[2:]])
    assert "manifest_sha256 is not that of other.jsonl" in str(refused.exception)
