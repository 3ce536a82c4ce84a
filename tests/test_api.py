"""The Python API: its examples run as doctests, and importing it costs nothing."""

import doctest
import json
import subprocess
import sys
import typing

import pytest
from PIL import Image, ImageDraw

import manifold_ocr
from manifold_ocr.errors import UserError
from manifold_ocr.synthetic import fonts


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    image = Image.new("RGB", (900, 300), "white")
    face = fonts.load("roboto", 64)
    ImageDraw.Draw(image).text((120, 110), "HELLO PAGE", "black", font=face)
    image.save("scan.png")
    row = {"id": "a", "corpus": "c", "document": "d", "image": "a.png", "text": "twelve 1"}
    row |= {"split": "test", "granularity": "line", "language": "en", "subset": "s"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "theirs.jsonl").write_text('{"id": "a", "text": "twelve 7"}\n')
    return tmp_path


@pytest.mark.parametrize("name", ["load_model", "read", "evaluate", "encode"])
def test_the_examples_say_what_happens(folder, name):
    function = getattr(manifold_ocr, name)
    names = {**vars(manifold_ocr), "Image": Image}
    (example,) = doctest.DocTestFinder(recurse=False).find(function, name, globs=names)
    assert len(example.examples) >= 1
    told = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(example, out=told.append).failed == 0, "".join(told)


def test_pages_of_a_file_are_read_in_order_with_one_model(folder):
    first = Image.open("scan.png")
    first.save("two.tiff", save_all=True, append_images=[first])
    model = manifold_ocr.load_model()
    pages = manifold_ocr.read("two.tiff", model=model)
    assert len(pages) == 2 and pages.text == "HELLO PAGE\fHELLO PAGE"
    with pytest.raises(UserError, match=r"none\.png"):
        manifold_ocr.read("none.png", model=model)
    with pytest.raises(UserError, match="nowhere: no such model folder"):
        manifold_ocr.load_model("nowhere")


def test_every_function_is_typed_and_the_import_loads_nothing():
    for name in manifold_ocr.__all__:
        item = getattr(manifold_ocr, name)
        assert item.__doc__
        if callable(item) and not isinstance(item, type):
            assert "return" in item.__annotations__
            assert set(item.__annotations__) > set(item.__kwdefaults__ or {})
    assert typing.TYPE_CHECKING is False
    code = (
        "import manifold_ocr, sys; print([m for m in sys.modules if m.startswith('manifold_ocr.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
