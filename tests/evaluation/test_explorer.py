"""The error explorer: correct operations, everything escaped, bounded size, works in a browser."""

import json
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.explorer.build import (
    ExplorerConfig,
    build_system,
    confusions,
    operations,
    write_explorer,
)
from manifold_ocr.records import Prediction, Sample

EVIL = "</script><script>document.title='pwned'</script><img src=x onerror=alert(1)><!--"


@given(st.text(max_size=20), st.text(max_size=20))
def test_operations_turn_the_reference_into_the_prediction(reference, prediction):
    flat, out, at = operations(reference, prediction), "", 0
    for r0, r1, p0, p1 in zip(*[iter(flat)] * 4, strict=True):
        out += reference[at:r0] + prediction[p0:p1]
        at = r1
    assert out + reference[at:] == prediction


def test_confusions_count_every_wrong_character():
    pairs = confusions("hello world", "hallo worldx")
    assert pairs == {("e", "a"): 1, ("", "x"): 1}


@pytest.fixture
def rows(tmp_path):
    samples = []
    for number in range(4):
        image = Image.new("RGB", (200, 40), "white")
        ImageDraw.Draw(image).text((5, 10), f"line {number}", fill="black")
        image.save(tmp_path / f"{number}.png")
        samples.append(
            Sample(id=f"row {number}", document=f"d{number}", corpus="c", subset=f"s{number % 2}",
                   language="en", image=f"{number}.png", text=f"line {number}")
        )  # fmt: skip
    return samples


def predictions(texts):
    return [Prediction(id=f"row {i}", text=t, confidence=0.5) for i, t in enumerate(texts)]


def build(tmp_path, rows, **options):
    base = build_system("base", rows, predictions(["line 0", EVIL, "lime 2", ""]), "nfc_ws")
    adapter = build_system("adapter", rows, predictions(["line 0", "line 1"]), "nfc_ws")
    out = tmp_path / "explorer.html"
    config = ExplorerConfig(title=f"Errors {EVIL}", **options)
    return write_explorer(out, rows, [base, adapter], tmp_path, config), out.read_text("utf-8")


def data(html):
    blocks = re.findall(r'<script type="application/json" class="rows">(.*?)</script>', html, re.S)
    return [row for block in blocks for row in json.loads(block)]


def test_rows_are_sorted_by_loss_and_carry_texts_operations_and_images(tmp_path, rows):
    written, html = build(tmp_path, rows)
    shown = data(html)
    assert (written.rows, written.images, written.left_out) == (4, 4, 0)
    assert shown[0]["id"] == "row 1" and shown[-1]["id"] == "row 0"
    assert shown[0]["p"][0]["t"] == EVIL
    assert all(row["b"].startswith("data:image/jpeg;base64,") for row in shown)
    missing = {row["id"]: row["p"][1].get("m") for row in shown}
    assert missing == {"row 0": None, "row 1": None, "row 2": 1, "row 3": 1}


def test_nothing_a_model_wrote_becomes_markup_and_nothing_is_fetched(tmp_path, rows):
    _, html = build(tmp_path, rows)
    assert EVIL not in html and "onerror=alert" not in re.sub(
        r"\\u00..", "", html.split("<title>")[0]
    )
    assert html.count("</script>") == html.count("<script")
    assert "default-src 'none'" in html
    assert not re.search(r"(?:src|href)=[\"']?https?:", html)


def test_size_is_bounded_and_what_is_left_out_is_said(tmp_path, rows):
    written, html = build(tmp_path, rows, max_rows=2, max_megabytes=0.0)
    assert (written.rows, written.left_out, written.images) == (2, 2, 0)
    assert all("left out" in row["w"] for row in data(html))
    assert '"leftOut":2' in html


def test_an_unreadable_image_is_named_in_its_row(tmp_path, rows):
    (tmp_path / "1.png").write_bytes(b"")
    written, html = build(tmp_path, rows)
    assert written.without_image == 1 and "empty" in data(html)[0]["w"]


def test_nothing_to_show_is_an_error(tmp_path):
    with pytest.raises(UserError, match="at least one"):
        write_explorer(tmp_path / "x.html", [], [], tmp_path, ExplorerConfig())
    with pytest.raises(ValueError, match="max_rows"):
        ExplorerConfig(max_rows=0)


def browse(page, profile):
    """Return the document that headless chromium makes of a page, and what it logged."""
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-quic", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", f"--user-data-dir={profile}",
         "--enable-logging=stderr", "--dump-dom", f"file://{page}"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout, done.stderr


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_the_prediction_as_text(tmp_path, rows):
    build(tmp_path, rows)
    dom, log = browse(tmp_path / "explorer.html", tmp_path / "profile")
    assert "&lt;script&gt;document.title" in dom and "<title>pwned" not in dom
    assert dom.count('class="row"') == 4 and "4 / 4" in dom
    assert "<ins>" in dom and "<del>" in dom
    assert "CONSOLE" not in log, log[-2000:]


FILTERS = """<script>addEventListener("load", () => {
  const seen = [], control = (id) => document.getElementById(id);
  const choose = (id, value) => {
    control(id).value = value;
    control(id).dispatchEvent(new Event("change"));
    const ids = [...document.querySelectorAll(".detail h2")].map((node) => node.textContent);
    seen.push([id, value, document.querySelector(".stat b").textContent, ...ids].join("|"));
  };
  choose("system", "1"); choose("cohort", "missing");
  for (const what of [".cards .none", ".row del"]) {
    seen.push(document.querySelectorAll(what).length);
  }
  choose("cohort", "empty"); choose("system", "0"); choose("cohort", "empty");
  control("reset").click();
  choose("subset", "s1"); choose("change", "better");
  seen.push(control("granularity-field").hidden);
  choose("cohort", "looping"); dispatchEvent(new Event("resize"));
  seen.push(control("window").textContent);
  const result = document.createElement("pre");
  result.id = "result"; result.textContent = seen.join("\\n"); document.body.append(result);
});</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_filters_tell_rows_nobody_read_from_empty_readings(tmp_path, rows):
    _, html = build(tmp_path, rows)
    page = tmp_path / "driven.html"
    page.write_text(html.replace("<style>", FILTERS + "<style>", 1), encoding="utf-8")
    dom, log = browse(page, tmp_path / "profile")
    assert "CONSOLE" not in log, log[-2000:]
    found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.S)
    assert found is not None and found.group(1).split("\n") == [
        "system|1|4 / 4|row 2",
        "cohort|missing|2 / 4|row 2",
        "1", "0",
        "cohort|empty|0 / 4",
        "system|0|1 / 4|row 3",
        "cohort|empty|1 / 4|row 3",
        "subset|s1|2 / 4|row 3",
        "change|better|1 / 4|row 1",
        "true",
        "cohort|looping|0 / 4",
        "No row fits these filters.",
    ]  # fmt: skip
