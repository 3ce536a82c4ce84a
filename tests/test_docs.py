"""The pages that lead a reader through the code and the commands name what exists."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "src/manifold_ocr"


def test_modules_named_in_the_architecture_page_exist():
    text = (PROJECT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`([a-z_/]+(?:\.py|/))`", text))
    assert len(named) > 30
    places = [PACKAGE, *(PACKAGE / d for d in ("models/encoder_decoder", "models/chat_vlm"))]
    places += [PACKAGE / "metrics", PROJECT]
    missing = [name for name in sorted(named) if not any((p / name).exists() for p in places)]
    assert missing == []


def test_the_readme_fits_two_screens_and_its_links_exist():
    text = (PROJECT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [link for link in links if not (PROJECT / link).exists()] == []


@pytest.mark.parametrize("page", sorted((PROJECT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_links_between_pages_exist(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
