"""Labels in upper case only: found, given back their case, and the convention kept for output."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldens import real_data
from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.data.readers.icdar import IcdarSroie
from manifold_ocr.errors import UserError
from manifold_ocr.models import conventions
from manifold_ocr.models.base import RunSpec
from manifold_ocr.records import Prediction, RawRow, Sample
from manifold_ocr.training.run import tell_conventions


def row(number, text, corpus="sroie"):
    return Sample(
        id=f"{corpus}-{number}", document=f"d{number}", corpus=corpus, subset="all", tags=(),
        language="en", split="train", role="train", image="a.png", image_sha256="",
        box=None, granularity="line", text=text, task="transcribe", license="CC0-1.0",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("label", "reading", "restored"),
    [
        ("TAN CHAY YEE", "Tan Chay Yee", "Tan Chay Yee"),
        ("INVOICE NO : 12/A", "Invoice No: 12/A", "Invoice No : 12/A"),
        ("TOTAL", "TOTAL", "TOTAL"),
        ("THANK YOU", "Thamk Y0u", "Thank You"),  # misread letters follow their word
        ("SDN BHD", "", "SDN BHD"),
        ("GST ID", "gst Id", "gst Id"),
    ],
)
def test_labels_take_the_case_of_the_reading(label, reading, restored):
    assert conventions.restore_case(label, reading)[0] == restored


@given(st.text(max_size=30), st.text(max_size=30))
def test_only_the_case_of_letters_changes(label, reading):
    text, changed = conventions.restore_case(label, reading)
    assert text.casefold() == label.casefold() or "İ" in label + reading or "ẞ" in label
    assert changed == sum(a != b for a, b in zip(label, text, strict=True))


def test_a_corpus_is_upper_by_its_own_labels_only():
    shouting = [row(i, "TOTAL AMOUNT DUE 12.00") for i in range(20)]
    mixed = [row(i, "Total amount due", "letters") for i in range(20)]
    few = [row(0, "ABC", "tiny")]
    assert conventions.upper_corpora([*shouting, *mixed, *few]) == {"sroie"}


def test_images_in_capitals_are_no_convention():
    assert not conventions.shows_lower([("TOTAL", "TOTAL"), ("CASH", "CASH")])
    assert conventions.shows_lower([("TOTAL", "Total")])


def test_rows_are_restored_and_counted_and_outputs_follow_the_convention(tmp_path):
    rows = [row(1, "TOTAL"), row(2, "Total", "letters")]
    changed, letters = conventions.restored_rows(rows, {"sroie-1": "Total"}, {"sroie"})
    assert [r.text for r in changed] == ["Total", "Total"]
    assert letters == {"sroie": 4}
    conventions.write_conventions(tmp_path, {"sroie": "upper"})
    kept = conventions.read_conventions(tmp_path)
    read = [Prediction(id="sroie-1", text="Total"), Prediction(id="letters-2", text="Total")]
    assert [p.text for p in conventions.applied(read, rows, kept)] == ["TOTAL", "Total"]


def test_no_conventions_write_no_file_and_a_damaged_one_is_an_error(tmp_path):
    conventions.write_conventions(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    assert conventions.read_conventions(tmp_path) == {}
    (tmp_path / conventions.FILE).write_text('{"output_case": {"a": "lower"}}')
    with pytest.raises(UserError, match=r"conventions\.json"):
        conventions.read_conventions(tmp_path)


@pytest.mark.real_data
def test_labels_of_real_receipts_take_the_case_of_their_images(base_model, monkeypatch, tmp_path):
    """SROIE's labels are in upper case by its own convention, whatever a receipt shows."""
    root = real_data("sroie")
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path))
    raw = [r for r in IcdarSroie().rows(root, {}) if isinstance(r, RawRow)]
    rows = [
        Sample(id=f"{i}", document=r.document, corpus="sroie", subset="all", image=r.image,
               text=r.text, box=r.box)
        for i, r in enumerate([r for r in raw if r.granularity == "line"][:60])
    ]  # fmt: skip
    spec = RunSpec(
        model=ModelConfig(id=str(base_model)), lora=LoraConfig(), train=TrainConfig(),
        base=base_model, image_root=root,
    )  # fmt: skip
    restored, found = tell_conventions(spec, rows)
    assert found == {"sroie": "upper"}
    assert [r.text.upper() for r in restored] == [r.text for r in rows]
    assert any(r.text != r.text.upper() for r in restored)
