"""The monitor: alerts where a model got worse, none where chance explains it."""

import json
import random

import pytest
import typer
from typer.testing import CliRunner

from manifold_ocr.cli import review as command
from manifold_ocr.config import EvaluateConfig, MonitorConfig, Tolerances
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation import monitor as module
from manifold_ocr.evaluation.monitor import monitor
from manifold_ocr.evaluation.past_runs import curve_rows, load_evaluation, series_names, write_curve
from manifold_ocr.metrics.paired import document_sums
from manifold_ocr.metrics.score import score_rows, summarize
from manifold_ocr.records import Prediction, Sample

EVALUATE = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=300, seed=5)
ALPHABET = "abcdefghijklmnop"


def scramble(text, rate, rng):
    return "".join(rng.choice(ALPHABET) if c != " " and rng.random() < rate else c for c in text)


def population(seed, documents=60, labels_scrambled=None, rate=0.02):
    """Readings of the same documents with errors of their own; `labels_scrambled` damages the
    labels of a language."""
    rng, texts = random.Random(seed), random.Random(99)
    samples, predictions = [], []
    for number in range(documents):
        language, subset = ("en", "zh", "de")[number % 3], ("forms", "letters")[number % 2]
        for line in range(6):
            text = " ".join("".join(texts.choices(ALPHABET, k=6)) for _ in range(6))
            read = scramble(text, 0.1 if language == labels_scrambled else rate, rng)
            samples.append(
                Sample(id=f"{number}/{line}", document=str(number), corpus="c", subset=subset,
                       language=language, image="x.png", text=text)
            )  # fmt: skip
            predictions.append(Prediction(id=f"{number}/{line}", text=read))
    rows = score_rows(samples, predictions, EVALUATE)
    return {
        "adapter": summarize(rows, EVALUATE),
        "documents": {"adapter": document_sums(rows)},
        "test_sha256": f"{documents} documents",
    }


@pytest.fixture(scope="module")
def baseline():
    return population(1)


@pytest.fixture(scope="module")
def damaged():
    return population(2, labels_scrambled="zh")


def test_an_unchanged_model_raises_nothing(baseline):
    verdict = monitor(population(3), baseline, MonitorConfig())
    assert verdict.alerts == () and len(verdict.checks) == 3 * 7


def test_the_damaged_language_is_named_with_every_metric_and_the_others_are_not(baseline, damaged):
    alerts = {alert.name: alert for alert in monitor(damaged, baseline, MonitorConfig()).alerts}
    assert {alert.kind for alert in alerts.values()} == {"drift"}
    found = {check.found.metric for check in alerts["language zh"].checks}
    assert found == {"cer", "insertion_rate", "deletion_rate"}
    assert {"overall", "corpus c"} <= set(alerts)
    assert not {"language en", "language de"} & set(alerts)


def test_a_model_that_got_better_raises_nothing(baseline, damaged):
    assert monitor(baseline, damaged, MonitorConfig()).alerts == ()


def test_a_rise_below_the_threshold_is_no_alert_however_certain(baseline, damaged):
    loose = Tolerances(cer=0.5, insertion_rate=1.0, deletion_rate=1.0)
    assert monitor(damaged, baseline, MonitorConfig(drift=loose)).alerts == ()


def test_limits_alert_without_any_change(baseline):
    tight = Tolerances(cer=0.001, insertion_rate=1.0, deletion_rate=1.0)
    verdict = monitor(baseline, baseline, MonitorConfig(limits=tight))
    assert {alert.kind for alert in verdict.alerts} == {"limit"}
    assert len(verdict.alerts) == len({alert.name for alert in verdict.alerts}) == 7


def test_small_and_new_groups_are_listed_as_not_judged():
    few, renamed = population(4, documents=6), population(5, documents=6)
    lines = renamed["documents"]["adapter"]
    renamed["documents"]["adapter"] = [line.replace(",de,", ",nl,") for line in lines]
    checks = monitor(renamed, few, MonitorConfig(min_documents=5)).checks
    reasons = {(c.group, c.found.reason) for c in checks if c.found.p is None}
    assert ("en", "2 documents, fewer than 5") in reasons
    assert ("nl", "no document in common") in reasons


def test_different_test_rows_are_refused(baseline):
    with pytest.raises(UserError, match="read different test rows"):
        monitor(population(1, documents=30), baseline, MonitorConfig())
    old = {key: value for key, value in baseline.items() if key != "documents"}
    with pytest.raises(UserError, match="no sums per document"):
        monitor(baseline, old, MonitorConfig())


def test_evaluations_measured_differently_are_refused(baseline):
    other = json.loads(json.dumps(baseline))
    other["adapter"]["settings"]["profile"] = "raw"
    with pytest.raises(UserError, match="measured differently"):
        monitor(baseline, other, MonitorConfig())
    with pytest.raises(UserError, match="no scores of 'base'"):
        monitor(baseline, baseline, MonitorConfig(system="base"))


def run_command(tmp_path, monkeypatch, *arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("monitor: {}\n")
    app = typer.Typer()
    command.register_monitor(app)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_writes_metrics_and_report_and_fails_on_an_alert(
    tmp_path, monkeypatch, baseline, damaged
):
    (tmp_path / "old.json").write_text(json.dumps(baseline))
    (tmp_path / "new.json").write_text(json.dumps(damaged))
    monkeypatch.delenv("MANIFOLD_OCR_WEBHOOK", raising=False)
    done = run_command(tmp_path, monkeypatch, "--current", "new.json", "--baseline", "old.json")
    assert done.exit_code == 1 and "ALERT language zh" in done.output
    metrics = json.loads((tmp_path / "metrics/monitor.json").read_text())
    assert metrics["alerts"] >= 1
    assert metrics["groups"]["by_language"]["zh"]["cer"]["alert"] == 1
    text = (tmp_path / "output/monitor/report.md").read_text()
    assert "language zh got worse" in text and "old.json" in text
    quiet = run_command(tmp_path, monkeypatch, "--current", "old.json", "--baseline", "old.json")
    assert quiet.exit_code == 0


def test_the_webhook_gets_the_alerts_and_its_address_is_never_said(monkeypatch, baseline, damaged):
    alerts = monitor(damaged, baseline, MonitorConfig()).alerts
    secret = "https://example.invalid/very-secret"
    monkeypatch.setenv("MANIFOLD_OCR_WEBHOOK", secret)
    sent = []

    def refuse(request, timeout):
        sent.append((request.full_url, json.loads(request.data)))
        raise OSError(f"cannot reach {secret}")

    monkeypatch.setattr(module.urllib.request, "urlopen", refuse)
    said = module.post(alerts, MonitorConfig())
    assert sent[0][0] == secret and "language zh" in sent[0][1]["text"]
    assert "secret" not in said and "could not be reached" in said
    monkeypatch.setenv("MANIFOLD_OCR_WEBHOOK", "http://example.invalid/secret")
    assert "https" in module.post(alerts, MonitorConfig()) and len(sent) == 1
    monkeypatch.delenv("MANIFOLD_OCR_WEBHOOK")
    assert module.post(alerts, MonitorConfig()) == ""


def test_revisions_that_do_not_exist_are_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="neither a file nor a revision"):
        load_evaluation("no-such-revision")
    with pytest.raises(UserError, match="neither a file nor a revision"):
        load_evaluation("--output=x")


def test_curves_over_commits(tmp_path, monkeypatch):
    import subprocess

    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run(["git", "init", "-q"], check=True)
    for rows, cer in ((500, 0.05), (100, 0.2)):
        (tmp_path / "params.yaml").write_text(f"train: {{rows: {rows}}}\n")
        value = {"overall": {"cer": cer, "cer_low": cer - 0.01, "cer_high": cer + 0.01}}
        (tmp_path / "e.json").write_text(json.dumps(value))
        subprocess.run(["git", "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", str(rows)], check=True)
    rows = curve_rows(["HEAD", "HEAD~1"], "params.yaml:train.rows", ["e.json:overall.cer"])
    assert [(row["series"], row["x"], row["y"], row["low"]) for row in rows] == [
        ("overall.cer", 100, 0.2, pytest.approx(0.19)),
        ("overall.cer", 500, 0.05, pytest.approx(0.04)),
    ]  # fmt: skip
    write_curve(tmp_path / "curve.csv", rows)
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[0] == "series,x,y,low,high,run" and lines[1].startswith("overall.cer,100.0,0.2,")
    with pytest.raises(UserError, match="is no number"):
        curve_rows(["HEAD"], "params.yaml:train.absent", ["e.json:overall.cer"])


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["adapter.overall.cer", "base.overall.cer"], ["adapter", "base"]),
        (["adapter.by_language.en.cer", "adapter.by_language.zh.cer"], ["en", "zh"]),
        (["adapter.overall.cer", "adapter.overall.wer"], ["cer", "wer"]),
        (["adapter.overall.cer", "adapter.overall.cer"], ["adapter.overall.cer"] * 2),
        (["cer"], ["cer"]),
    ],
)
def test_series_are_named_by_what_sets_them_apart(keys, names):
    assert series_names([f"metrics/evaluate.json:{key}" for key in keys]) == names


def test_the_report_says_from_where_a_rise_is_seen(baseline):
    current = population(3)
    verdict = monitor(current, baseline, MonitorConfig())
    text = module.report(verdict, MonitorConfig(), [("a", baseline), ("b", current)])
    assert "Seen from" in text and module.points(verdict.checks[0].found.detectable) in text
