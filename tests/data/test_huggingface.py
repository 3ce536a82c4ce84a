"""Rows of `datasets`: null, lists and structs are images or rejections, never a traceback."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from manifold_ocr.data.registry import resolve
from manifold_ocr.errors import UserError
from manifold_ocr.records import RawRow


def png():
    buffer = io.BytesIO()
    Image.new("L", (20, 10), 255).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Return a function from columns to (rows, rejections)."""
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))

    def of(**columns):
        source, root = tmp_path / "source", tmp_path / "root"
        source.mkdir(exist_ok=True)
        root.mkdir()
        pq.write_table(pa.table(columns), source / "train.parquet")
        options = {"kind": "hf_dataset", "path": str(source)}
        adapter = resolve("mine", options).adapter
        adapter.fetch(root, options)
        rows = list(adapter.rows(root, options))
        assert all((root / row.image).is_file() for row in rows if isinstance(row, RawRow))
        good = [row.text for row in rows if isinstance(row, RawRow)]
        return good, [(row.source, row.detail) for row in rows if not isinstance(row, RawRow)]

    return of


def struct(data):
    return {"bytes": data, "path": None}


def test_structs_and_plain_bytes(fetched):
    assert fetched(image=[struct(png())], text=["one"]) == (["one"], [])


def test_null_images_and_texts(fetched):
    rows, rejected = fetched(
        image=[struct(png()), None, struct(None)], text=["one", "two", "three"]
    )
    assert rows == ["one"]
    assert rejected[0] == ("manifest.jsonl:2", "train row 1: the image is null")
    assert rejected[1][1].startswith("train row 2: the image is")


def test_lists_of_images(fetched):
    rows, rejected = fetched(image=[[struct(png())], [struct(png())] * 2], text=["one", "two"])
    assert rows == ["one"]
    assert rejected == [
        ("manifest.jsonl:2", "train row 1: a list of 2 images; one image per row is expected")
    ]


@pytest.mark.parametrize("texts", [[["a", "b"]], [5.0], [{"x": "y"}]])
def test_texts_that_are_no_strings(fetched, texts):
    rows, rejected = fetched(image=[struct(png())], text=texts)
    assert not rows and "not a string" in rejected[0][1]


def test_a_missing_column_is_one_error(fetched):
    with pytest.raises(UserError, match=r"image_column: 'image' is none of picture, text"):
        fetched(picture=[struct(png())], text=["x"])


def test_a_damaged_data_set_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "source").mkdir()
    (tmp_path / "root").mkdir()
    path = tmp_path / "source/train.parquet"
    pq.write_table(pa.table({"image": [struct(png())] * 9, "text": ["word"] * 9}), path)
    data = bytearray(path.read_bytes())
    data[4:60] = b"\xff" * 56
    path.write_bytes(data)
    options = {"kind": "hf_dataset", "path": str(tmp_path / "source")}
    with pytest.raises(UserError, match=r"corpora\.mine: .*source, split train: ") as told:
        resolve("mine", options).adapter.fetch(tmp_path / "root", options)
    assert "\n" not in str(told.value) and "disk" not in str(told.value)


@pytest.mark.parametrize("as_struct", [True, False])
def test_paths_are_those_of_the_data_sets_folder_and_lead_nowhere_else(
    tmp_path, fetched, as_struct
):
    """A data set's row could otherwise copy any file of this machine into the corpus."""
    (tmp_path / "private.png").write_bytes(png())
    names = ["a.png", "gone.png", "../private.png", str(tmp_path / "private.png")]
    paths = [{"bytes": None, "path": name} for name in names] if as_struct else names
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.png").write_bytes(png())
    rows, rejected = fetched(image=paths, text=["one", "two", "three", "four"])
    assert rows == ["one"]
    assert "no image 'gone.png'" in rejected[0][1]
    assert all("outside of the data set's folder" in detail for _, detail in rejected[1:])
