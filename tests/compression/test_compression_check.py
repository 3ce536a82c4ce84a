import csv
import json
import math

import pytest
from page_texts import corpus_rows, page_lines, page_text, read_with_noise

from manifold_ocr.compression import check as compression_check
from manifold_ocr.compression import optical
from manifold_ocr.compression.archive import build, build_document
from manifold_ocr.compression.check import run_check
from manifold_ocr.compression.fidelity import (
    PairCounts,
    compare,
    membership,
    perturb,
    pooled,
    prototype_scores,
    random_text,
    shuffled_text,
)
from manifold_ocr.compression.report import markdown, metrics, write_check
from manifold_ocr.compression.signatures import Codec
from manifold_ocr.compression.sizes import account, total
from manifold_ocr.compression.verify import (
    SignatureIndex,
    Verifier,
    VerifierSettings,
    undetected_changes,
)
from manifold_ocr.config import CompressConfig, Targets
from manifold_ocr.errors import UserError
from manifold_ocr.errors import build as build_config
from manifold_ocr.metrics.tokens import load_tokenizer
from manifold_ocr.records import write_rows
from manifold_ocr.settings import load_section


@pytest.fixture(scope="module")
def check():
    config = CompressConfig(lossless_pages=2, metric_tokenizer="whitespace")
    rows = corpus_rows()
    unseen = page_lines("z", split="train")
    systems = {"good": read_with_noise(rows, 0.01), "bad": read_with_noise(rows, 0.5)}
    return run_check(config, rows, systems, unseen)


def test_gates_judge_the_first_system_and_short_texts_never_pass(check):
    verdicts = {(gate.corpus, gate.name): gate.verdict for gate in check.gates}
    assert verdicts["forms", "ned"] == "pass"
    assert verdicts["forms", "recall"] == "pass"
    assert {v for (corpus, _), v in verdicts.items() if corpus == "labels"} == {"not applicable"}
    assert {v for (corpus, _), v in verdicts.items() if corpus == "fox"} == {"not applicable"}
    assert all(gate.name != "signature_ratio" for gate in check.failed)


def test_a_bad_reader_fails_the_gates():
    config = CompressConfig(lossless_pages=1, metric_tokenizer="whitespace")
    rows = corpus_rows()
    check = run_check(config, rows, {"bad": read_with_noise(rows, 0.5)})
    assert {"ned", "token_accuracy", "recall"} <= {gate.name for gate in check.failed}


def test_metrics_are_finite_scalars_and_name_what_is_missing(check):
    values = metrics(check)
    json.dumps(values, allow_nan=False)

    def walk(value):
        for item in value.values():
            if isinstance(item, dict):
                walk(item)
            else:
                assert isinstance(item, str) or math.isfinite(item)

    walk(values)
    assert "recall_text_checked" in values["undefined"]["good.by_corpus.labels"]
    assert values["good"]["overall"]["ned"] < values["bad"]["overall"]["ned"]
    assert values["reference"]["overall"]["stored_ratio"] > 1
    assert values["reference"]["overall"]["stored_ratio_of_signatures"] < 1
    assert values["reference"]["overall"]["random_stored_ratio_of_signatures"] < 1


def test_the_report_shows_the_control_beside_the_signature_ratio(check):
    text = markdown(check)
    for words in ("random text", "shuffled words", "zstd -19", "not applicable", "DeepSeek-OCR"):
        assert words in text
    assert "fail (readings of **good**" in text and "the targets of fox, omnidocbench" in text
    assert text.count("(random text ") == 3  # in short, and two gates of the corpus with windows
    for name in ("optical.png", "front.png", "roc.png"):
        assert f"]({name})" in text
    assert "nan" not in text.lower().replace("finance", "")


def test_the_files_are_the_same_each_time(check, tmp_path):
    for name in ("first", "second"):
        write_check(check, tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    expected = "documents.csv front.png optical.csv optical.png report.md roc.csv roc.png sizes.csv"
    assert names == expected.split()
    for name in names:
        first, second = (tmp_path / run / name for run in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
    rows = list(csv.DictReader((tmp_path / "first" / "documents.csv").open()))
    assert [row["page"] for row in rows][:1] == ["a#forms/a.png"]


def test_signature_ratio_of_any_long_text_tends_to_the_same_value():
    config = Codec.of(CompressConfig())
    pages = [random_text(4000, 1, str(i)).encode() for i in range(20)]
    size = total([account(build_document("n", page, config), config) for page in pages])
    assert size.signature_ratio > 40  # noise "compresses" as well as any text
    assert size.stored_ratio < 1


def test_prototype_verification_has_recall_one_whatever_the_texts():
    pages = [("a", page_text(1).encode()), ("b", page_text(2).encode())]
    documents = build(pages, Codec.of(CompressConfig())).documents
    found = pooled(membership(documents))
    assert found.recall == 1.0
    assert found.positives == sum(d.windows for d in documents)


def archive(settings):
    pages = [(f"p{i}", page_text(i).encode()) for i in range(6)]
    return pages, Verifier(build(pages, Codec.of(CompressConfig()), keep="fast"), settings)


@pytest.mark.parametrize("few_lookups", [0, 10**9])
@pytest.mark.parametrize("tolerance", [0, 2, 4])
def test_index_equals_a_plain_loop_over_windows(tolerance, few_lookups, monkeypatch):
    from manifold_ocr.compression import verify
    from manifold_ocr.compression.signatures import encode, unpack_code

    monkeypatch.setattr(verify, "FEW_LOOKUPS", few_lookups)
    config = Codec.of(CompressConfig(precision=2))
    documents = build([(f"p{i}", page_text(i).encode()) for i in range(4)], config).documents
    index = SignatureIndex(documents, config, percentile=80, tolerance=tolerance)
    query = encode(page_text(9).encode() + page_text(1).encode(), config)
    scores = index.scores(query)
    for place, document in enumerate(documents):
        gate = index.gates[place]
        kept = [unpack_code(e.code, config) for e in document.entries]
        kept = [item for item in kept if item[1] >= gate]
        compared = [unpack_code(code, config) for code in query.codes.tolist()]
        compared = [item for item in compared if item[1] >= gate]
        matched = sum(
            any(abs(a[1] - b[1]) <= tolerance and abs(a[2] - b[2]) <= tolerance for b in kept)
            for a in compared
        )
        assert scores.compared[place] == len(compared)
        assert scores.matched[place] == matched


def test_a_reading_with_errors_finds_its_page_and_a_foreign_text_none():
    _, verifier = archive(VerifierSettings())
    found = verifier.check(perturb(page_text(3), 0.02, 1).encode())
    assert found[0].id == "p3"
    assert found[0].accepted
    assert not [c for c in verifier.check(page_text(77).encode()) if c.accepted]
    assert verifier.check(b"") == []


def test_undetected_changes_counts_only_windows_that_changed():
    config = Codec.of(CompressConfig())
    text = page_text(1).encode()
    assert undetected_changes([(text, text)], config).trials == 0
    swapped = bytearray(text)
    swapped[0], swapped[1] = swapped[1], swapped[0]
    assert undetected_changes([(text, bytes(swapped))], config).trials == 1


def test_noise_has_about_the_rate_asked_for():
    from rapidfuzz.distance import Levenshtein

    text = page_text(1, 2000)
    for rate in (0.01, 0.1):
        errors = Levenshtein.distance(text, perturb(text, rate, 1)) / len(text)
        assert 0.5 * rate < errors < 1.5 * rate
    assert perturb(text, 0.1, 1) == perturb(text, 0.1, 1) != perturb(text, 0.1, 2)


def test_shuffled_text_keeps_its_words():
    assert sorted(shuffled_text("one two three", 1).split()) == ["one", "three", "two"]
    assert sorted(shuffled_text("深度学习的文字", 1)) == sorted("深度学习的文字")
    assert shuffled_text("", 1) == ""


def test_published_modes_and_rows_are_complete():
    modes = optical.modes()
    assert {n: (m.vision_tokens, m.positions) for n, m in modes.items()} == {
        "tiny": (64, 73), "small": (100, 111), "base": (256, 273), "large": (400, 421),
    }  # fmt: skip
    assert [row["pages"] for row in optical.reference()["fox"]] == [7, 28, 28, 14, 11, 8, 4]
    assert len(optical.reference_points()) == 14


def test_buckets_pool_tokens_and_keep_every_page():
    tokenizer = load_tokenizer("whitespace")
    pages = [
        optical.OpticalPage(str(n), "c", 64, compare("w " * n, "w " * n, tokenizer))
        for n in (10, 600, 699, 700, 1299, 1300)
    ]
    buckets = optical.bucket_pages(pages)
    labels = {bucket.label: bucket.pages for bucket in buckets}
    assert labels == {"0-600": 1, "600-700": 2, "700-800": 1, "1200-1300": 1, "1300+": 1}
    assert buckets[1].ratio == (600 + 699) / 128
    assert buckets[1].precision == 1.0


def test_pareto_front_keeps_what_nobody_beats():
    assert optical.pareto([("a", 0.9, 1.0), ("b", 0.8, 2.0), ("c", 0.8, 1.0)]) == ["a", "b"]
    assert optical.pareto([("a", 0.9, 1.0), ("b", 0.9, 1.0)]) == ["a", "b"]


def test_prototype_scores_can_leave_the_unit_interval():
    scores = prototype_scores([PairCounts(n=2, m=10, d=9, c=1)])
    assert scores.recall < 0
    assert scores.accuracy == pytest.approx(0.1)


def test_gate_verdicts_at_the_limits():
    measured = compression_check.Measured(corpus="c", ned=0.1, stored_ratio=1.19)
    verdicts = {gate.name: gate.verdict for gate in compression_check.judge(measured, Targets())}
    assert verdicts["ned"] == "pass"
    assert verdicts["stored_ratio"] == "fail"
    assert verdicts["recall"] == "not applicable"


def test_params_hold_every_knob_with_its_default():
    assert load_section(CompressConfig, "compress") == CompressConfig()


@pytest.mark.parametrize(
    "values",
    [{"window": 0}, {"match_share": 0.0}, {"noise": [2.0]}, {"targets": {}}, {"lossless": "x"}],
)
def test_impossible_settings_are_refused(values):
    with pytest.raises(UserError, match="compress"):
        build_config(CompressConfig, values, "compress")


def test_efficiency_is_relative_to_the_baseline_and_names_its_costs(check, tmp_path):
    path = tmp_path / "costs.json"
    path.write_text('{"good": {"seconds_per_page": 2.0}, "bad": {"seconds_per_page": 1.0}}')
    costs = optical.read_costs(path)
    good, bad = optical.compare(check.optical, costs, baseline="bad")
    assert bad.relative == 1.0
    assert good.relative == pytest.approx(good.accuracy / bad.accuracy)
    assert good.on_front and bad.on_front  # each is better in one value
    shown = markdown(check, costs, baseline="bad")
    assert "seconds per page" in shown and shown.count("not measured |") == 4  # memory and energy
    assert "seconds per page" not in markdown(check)
    assert not optical.compare(check.optical, {})[1].on_front
    with pytest.raises(UserError, match="baseline"):
        optical.compare(check.optical, {}, baseline="nobody")
    path.write_text('{"good": {"second_per_page": 2.0}}')
    with pytest.raises(UserError, match="seconds_per_page"):
        optical.read_costs(path)


@pytest.mark.parametrize("enforce", [False, True])
def test_the_stage_fails_on_gates_only_when_enforced_and_after_its_report(
    tmp_path, monkeypatch, enforce
):
    from manifold_ocr.stages import compress_check

    rows = page_lines("a") + page_lines("b")
    write_rows(tmp_path / "data/manifest/test.jsonl", rows)
    for name, rate in (("adapter", 0.5), ("base", 0.6)):
        write_rows(tmp_path / f"output/predictions/{name}.jsonl", read_with_noise(rows, rate))
    (tmp_path / "params.yaml").write_text(
        "compress: {metric_tokenizer: whitespace, lossless: fast, enforce: "
        + ("true}" if enforce else "false}")
    )
    monkeypatch.chdir(tmp_path)
    if enforce:
        with pytest.raises(UserError, match=r"forms: ned [\d.]+ %, wanted at most 10 %"):
            compress_check.main()
    else:
        compress_check.main()
    assert "**FAIL**" in (tmp_path / "output/compress/report.md").read_text()
    assert (tmp_path / "metrics/compress.json").is_file()
