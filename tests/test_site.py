"""The documentation site: it builds without a warning, and its settings page lists every knob."""

import dataclasses
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from manifold_ocr.config import CORPORA, SECTIONS
from manifold_ocr.data.registry import OPTIONS
from manifold_ocr.data.sources import CommonOptions
from manifold_ocr.errors import UserError, build
from manifold_ocr.files import read_yaml

ROOT = Path(__file__).parents[1]
pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def page():
    """The generated page of settings, as rows {key: (type and range, default, meaning)}."""
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "scripts/docs_site.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_site"] = module
    spec.loader.exec_module(module)
    rows = {}
    for line in module.reference().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[0].startswith("`"):
            rows.setdefault(cells[0].strip("`"), tuple(cells[1:]))
    return rows


def leaves(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_every_setting_of_params_yaml_is_listed_with_its_default_and_a_meaning(page):
    params = read_yaml(ROOT / "params.yaml")
    params.pop(CORPORA)
    targets = params["compress"].pop("targets")
    params["compress"]["targets"] = {"NAME": targets["default"]}
    for key, value in leaves(params):
        shown, default, meaning = page[key]
        assert shown and meaning, key
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            assert default.strip("`").strip('"') == str(value), key


def test_every_field_of_the_settings_is_listed_and_nothing_else(page):
    listed = {tuple(key.split(".")[:2]) for key in page if not key.startswith("corpora.")}
    fields = {(name, f.name) for name, cls in SECTIONS.items() for f in dataclasses.fields(cls)}
    assert listed == fields
    options = {f.name for f in dataclasses.fields(CommonOptions)}
    for module, cls in OPTIONS.values():
        found = getattr(importlib.import_module(f"manifold_ocr.{module}"), cls)
        options |= {f.name for f in dataclasses.fields(found)}
    named = {key.rsplit(".", 1)[1] for key in page if key.startswith("corpora.NAME.")}
    assert named == options
    assert {"corpora.allowed_licences", "corpora.commercial"} <= set(page)


def test_a_value_outside_the_range_that_the_page_states_is_refused(page):
    params, tried = read_yaml(ROOT / "params.yaml"), 0
    for key, (shown, _, _) in page.items():
        section, _, name = key.partition(".")
        if section not in SECTIONS or "." in name or shown.startswith(("list", "non-empty")):
            continue
        for sign, bound in re.findall(r"([≥>≤<]) ([\d.]+)", shown):
            number = float(bound) if shown.startswith("number") else int(float(bound))
            outside = number if sign in "<>" else number + (1 if sign == "≤" else -1)
            with pytest.raises(UserError, match=name):
                build(SECTIONS[section], {**params[section], name: outside}, section)
            tried += 1
    assert tried > 60


def test_the_site_builds_strictly_and_needs_no_other_host(tmp_path):
    """Strict: a missing page, a broken link or anchor, a page outside the menu is an error."""
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    fetched = re.compile(
        r"<(?:script|img|iframe)[^>]*src=\"?https?:|<link[^>]*href=\"?https?://(?!127)"
    )
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert [m for m in fetched.findall(text) if "canonical" not in m] == [], path
    assert 'id="train"' in (tmp_path / "params.html").read_text(encoding="utf-8")


def test_words_quoted_in_troubleshooting_are_in_the_code(page):
    """A message that is reworded must be reworded in the page of remedies too."""
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    table = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    quoted = [cells for line in table.splitlines() for cells in re.findall(r"^\| `([^`]+)` ", line)]
    assert len(quoted) > 10
    for words in quoted:
        for part in words.split(" ... "):
            assert part in source, words
