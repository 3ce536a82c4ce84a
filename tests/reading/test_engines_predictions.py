"""Foreign predictions joined to a manifest: nothing guessed, nothing lost, everything counted."""

import json
from dataclasses import replace

import pytest

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError
from manifold_ocr.metrics.score import score
from manifold_ocr.reading.engines.predictions import import_predictions
from manifold_ocr.records import Sample


def page(name, document="doc"):
    return Sample(id=f"id-{name}", document=document, corpus="c", subset="s",
                  image=f"fox/{name}.png", text=f"text of {name}", granularity="page")  # fmt: skip


PAGES = [page("a/001"), page("a/002"), page("b/001")]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(tmp_path, rows):
    return import_predictions(write(tmp_path / "run.jsonl", rows), PAGES)


def by_id(imported):
    return {p.id: p.text for p in imported.predictions}


def test_deepseek_rows_join_by_the_end_of_the_image_path(tmp_path):
    found = read(tmp_path, [
        {"doc_id": "x", "image_path": "/data/raw/fox/a/001.png", "prediction": "one"},
        {"doc_id": "y", "image_path": "elsewhere\\b\\001.jpg", "prediction": "three"},
    ])  # fmt: skip
    assert by_id(found) == {"id-a/001": "one", "id-a/002": "", "id-b/001": "three"}
    assert (found.joined.rows, found.joined.matched, found.missing) == (2, 2, 1)


def test_deepseek_rows_join_by_document_and_page(tmp_path):
    found = read(tmp_path, [{"doc_id": "a", "page_id": "002", "text": "two"}])
    assert by_id(found)["id-a/002"] == "two"


def test_an_ambiguous_or_unknown_image_is_counted_and_never_guessed(tmp_path):
    found = read(tmp_path, [
        {"image_path": "001.png", "prediction": "which one?"},
        {"image_path": "zzz.png", "prediction": "nowhere"},
        {"id": "id-a/001", "text": "sure", "confidence": 0.5, "vision_tokens": 64},
    ])  # fmt: skip
    assert (found.joined.ambiguous, found.joined.unmatched, found.joined.matched) == (1, 1, 1)
    assert any("zzz.png" in example for example in found.joined.examples)
    assert found.predictions[0].vision_tokens == 64 and found.predictions[0].confidence == 0.5


def test_a_page_number_alone_never_names_another_documents_page(tmp_path):
    rows = [{"doc_id": "unknown", "page_id": 2, "text": "x"}, {"id": "id-a/001", "text": "y"}]
    found = read(tmp_path, rows)
    assert found.joined.unmatched == 1 and by_id(found)["id-a/002"] == ""


def test_the_last_of_repeated_rows_counts(tmp_path):
    rows = [{"id": "id-a/001", "text": "old"}, {"id": "id-a/001", "text": "new"}]
    found = read(tmp_path, rows)
    assert by_id(found)["id-a/001"] == "new" and found.joined.repeated == 1


def test_a_path_means_the_page_and_an_id_the_line(tmp_path):
    whole = Sample(id="fox/p.png", document="p", corpus="c", subset="s", image="fox/p.png",
                   text="t", granularity="page")  # fmt: skip
    lines = [replace(whole, id=f"fox/p.png#{i}", box=(0, i, 9, i + 5)) for i in range(3)]
    path = write(tmp_path / "run.jsonl", [
        {"id": "fox/p.png#1", "text": "line"}, {"image_path": "p.png", "text": "page"},
    ])  # fmt: skip
    found = import_predictions(path, [whole, *lines])
    assert by_id(found) == {"fox/p.png": "page", "fox/p.png#0": "", "fox/p.png#1": "line",
                            "fox/p.png#2": ""}  # fmt: skip


def test_a_markdown_folder_joins_by_image_name(tmp_path):
    folder = tmp_path / "md" / "a"
    folder.mkdir(parents=True)
    (folder / "002.md").write_text("# Title\n\ntext", encoding="utf-8")
    found = import_predictions(tmp_path / "md", PAGES)
    assert by_id(found)["id-a/002"] == "# Title\n\ntext" and found.missing == 2


def test_missing_pages_score_as_empty(tmp_path):
    found = read(tmp_path, [{"id": p.id, "text": p.text} for p in PAGES[:2]])
    config = EvaluateConfig(metric_tokenizer="whitespace", bootstrap_samples=0)
    rows = score(PAGES, found.predictions, config).rows
    assert [row.deletions for row in rows] == [0, 0, len(PAGES[2].text)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not json\n", ":1: not valid JSON"),
        ('{"id": "id-a/001"}\n', ":1: no text"),
        ('{"text": "x"}\n', ":1: nothing names the image"),
        ("1\n", ":1: a row must be"),
        ("[1]\n", r"\(row 1\): a row must be"),
        ('{"id": "id-a/001", "text": "a\\ud800b"}\n', ":1: the text holds half of a surrogate"),
        ("", "the file is empty"),
        ('{"id": "other", "text": "x"}\n', "none of its 1 rows"),
    ],
)
def test_bad_files_name_file_row_and_remedy(tmp_path, content, said):
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=said) as error:
        import_predictions(path, PAGES)
    assert "bad.jsonl" in str(error.value)


def test_absent_files_folders_and_encodings(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        import_predictions(tmp_path / "none.jsonl", PAGES)
    with pytest.raises(UserError, match=r"no \.md, PAGE-XML"):
        import_predictions(tmp_path, PAGES)
    (tmp_path / "latin.jsonl").write_bytes('{"id": "é"}'.encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        import_predictions(tmp_path / "latin.jsonl", PAGES)
