"""The report of a pull request: a regression, params, reruns, submissions, images, exit status."""

import json
import shutil

import pytest
import scratch_branches as scratch
import yaml
from PIL import Image
from scratch_branches import CONFIG, SAMPLES, commit, git
from typer.testing import CliRunner

from manifold_ocr.cli.main import build_app
from manifold_ocr.errors import UserError
from manifold_ocr.publish.pull_request import code
from manifold_ocr.publish.ranking import About
from manifold_ocr.publish.stale import stale_stages
from manifold_ocr.publish.submissions import prepare
from manifold_ocr.records import manifest_sha256


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    return scratch.scratch(tmp_path_factory.mktemp("scratch") / "repo")


@pytest.fixture
def branch(origin, tmp_path, monkeypatch):
    """A copy of the scratch repository on a new branch, as the working folder."""
    root = tmp_path / "repo"
    shutil.copytree(origin, root)
    git(root, "checkout", "-q", "-b", "feature")
    monkeypatch.chdir(root)
    return root


def report(*arguments):
    done = CliRunner().invoke(
        build_app(), ["pr-report", "--base", "main", "--manifest", scratch.TEST, *arguments]
    )
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_a_branch_that_changes_nothing_passes(branch):
    status, said = report()
    assert status == 0 and "OCR report: passed" in said
    assert "metrics/evaluate.json is the same as in main." in said
    assert "No value of params.yaml differs." in said
    assert "Nothing: dvc.lock and the metrics are of this code and these params." in said
    assert [p.name for p in sorted((branch / "output/pr-report").iterdir())] == [
        "comment.md", "gate.png", "learning.png",
    ]  # fmt: skip


def test_a_regression_is_refused_by_group_with_its_interval(branch):
    scratch.write_evaluation(branch, {"receipts": 5, "printed": 1})
    commit(branch, "Regress")
    status, said = report()
    assert status == 1 and "OCR report: REFUSED" in said
    (receipts,) = [line for line in said.splitlines() if line.startswith("| `receipts`")]
    characters = len(SAMPLES[0].text)
    lost = 100 * 3 / characters  # each line of 8 documents lost three characters more
    assert f"| 8 | {200 / characters:.2f} | {500 / characters:.2f} |" in receipts
    assert f"{lost:+.2f} [{lost:+.2f}, {lost:+.2f}] | **worse, refused**" in receipts
    (printed,) = [line for line in said.splitlines() if line.startswith("| `printed`")]
    assert printed.endswith("| better |")
    assert "gate: REFUSED" in said and "receipts" in said.split("gate: REFUSED")[1].splitlines()[0]
    assert "![Change against main, by group](change.png)" in said
    for name in ("change.png", "gate.png", "learning.png"):
        with Image.open(branch / "output/pr-report" / name) as image:
            assert image.format == "PNG" and min(image.size) > 200


def test_params_and_what_would_rerun_are_told_without_data(branch):
    text = (branch / "params.yaml").read_text()
    (branch / "params.yaml").write_text(text.replace("rank: 8", "rank: 16"))
    (branch / "code.py").write_text("second\n")
    commit(branch, "Change code and rank")
    _, said = report()
    assert "| `lora.rank` | `8` | `16` |" in said
    assert "- train: code.py changed; lora changed" in said
    assert "- evaluate: follows from the above" in said and "- prepare" not in said
    assert "The scores above are those of the last run, not of this code." in said


def test_metrics_that_the_pipeline_did_not_write_are_named(branch):
    (branch / "metrics/evaluate.json").write_text(
        json.dumps({**json.loads((branch / "metrics/evaluate.json").read_text()), "x": 1})
    )
    (found,) = stale_stages()
    assert found.reasons == ("metrics/evaluate.json is not what it wrote",)


def test_an_input_that_was_made_anew_since_is_named(branch):
    lock = yaml.safe_load((branch / "dvc.lock").read_text())
    lock["stages"]["prepare"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    (branch / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert [(s.stage, s.reasons) for s in stale_stages()] == [
        ("train", ("data was made anew since",)), ("evaluate", ()),
    ]  # fmt: skip


def test_other_test_rows_are_not_compared(branch):
    value = json.loads((branch / "metrics/evaluate.json").read_text())
    value["test_sha256"] = "0" * 64
    (branch / "metrics/evaluate.json").write_text(json.dumps(value))
    status, said = report()
    assert status == 0
    assert "Not compared in pairs: the two evaluations read different test rows" in said


def test_submissions_are_scored_again_and_a_forged_one_is_refused(branch):
    folder = branch / "docs/leaderboard/submissions"
    rows = manifest_sha256(branch / scratch.TEST)
    good = scratch.read({"receipts": 1, "printed": 1})
    prepare(folder, "Good OCR", SAMPLES, good, rows, CONFIG, About())
    status, said = report()
    assert status == 0 and "| scored again |" in said
    assert "`Good OCR`, rank 1 of 3 (synthetic, lines)" in said
    forged = prepare(folder, "Forged", SAMPLES, good, rows, CONFIG, About())
    value = json.loads(forged.read_text())
    value["by_subset"]["receipts"]["cer"] = 0.0
    forged.write_text(json.dumps(value))
    (folder / "run.sh").write_text("rm -rf /\n")
    status, said = report()
    assert status == 1 and "| Submissions | 3, refused: 2 |" in said
    assert "by_subset.receipts.cer is stated as 0.0, scoring the predictions again gives" in said
    assert "run.sh: neither SLUG.json nor SLUG.jsonl" in said


def test_markup_of_a_branch_is_shown_as_code(branch):
    assert code("a`b\n![x](http://y) @all") == "`a'b ![x](http://y) @all`"
    (branch / "docs/leaderboard/submissions").mkdir(parents=True)
    evil = {"name": "[x](http://evil) <img src=x> @everyone"}
    (branch / "docs/leaderboard/submissions/evil.json").write_text(json.dumps(evil))
    _, said = report()
    (row,) = [line for line in said.splitlines() if line.startswith("| `evil.json`")]
    assert row.count("`") == 4 and "@everyone" in row


@pytest.mark.parametrize("base", ["nowhere", "--output=x"])
def test_a_base_that_is_no_revision_is_refused(branch, base):
    with pytest.raises(UserError, match="revision"):
        report(f"--base={base}")
