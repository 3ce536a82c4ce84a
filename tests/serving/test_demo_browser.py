"""The demo in a real browser: by keyboard on a desktop, by touch width on a phone."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from browser import Browser, needs_chromium
from drawn_pages import page_of_rows, pdftotext
from gradio_client import Client, handle_file

from manifold_ocr.serving.demo.app import BASE, DemoSettings, launch_demo
from manifold_ocr.serving.demo.examples import PAGES, write_examples

pytestmark = needs_chromium
TEXTS = [[" ".join(row.split()) for row in page] for page in PAGES]


class ExampleReader:
    """Reads the pages of the example invoice in turn, the last row of each doubtfully."""

    recognizer = None

    def __init__(self):
        self.turn = 0

    def read(self, image, mode="auto"):
        rows = TEXTS[self.turn % len(TEXTS)]
        self.turn += 1
        step = image.height / 30
        boxes = [(90.0, step * n, 90.0 + 12 * len(t), step * n + 30) for n, t in enumerate(rows, 2)]
        return page_of_rows(rows, boxes, image.size, confidence=0.85)


@contextmanager
def serve_example(folder):
    folder = Path(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = DemoSettings(
        adapter=folder / "none", promoted=folder / "none", corrections=folder / "corrections"
    )
    running = launch_demo(settings, "127.0.0.1", port, lambda _: ExampleReader(), wait=False)
    yield f"http://127.0.0.1:{port}"
    running.close()


@pytest.fixture
def demo(tmp_path):
    with serve_example(tmp_path) as url:
        yield url


def tab(page, name):
    page.js("document.activeElement.blur()")
    page.tab_to(f"e.role == 'tab' && e.innerText == {name!r}")
    page.press("Enter")


def test_all_of_it_works_by_keyboard_and_asks_no_other_host(demo, tmp_path):
    with Browser(tmp_path / "profile", 1280, 900) as page:
        page.open(demo, "#read")
        page.tab_to("e.innerText == 'invoice.pdf'")
        page.press("Enter")
        page.wait("document.querySelector('#files').textContent.includes('KB')")
        page.js("document.activeElement.blur()")
        page.tab_to("e.id == 'read'")
        page.press("Enter")
        page.wait("document.querySelector('#status').innerText == '3 pages read with base model.'")
        page.wait("document.querySelector('#boxes img')?.naturalWidth > 1000")
        assert page.js("[...document.querySelectorAll('#text .reading span.fair')].length") == 12
        page.tab_to("e.type == 'range' && e.closest('#page')")
        page.press("ArrowRight")
        page.wait(f"document.querySelector('#text').innerText.includes({TEXTS[1][0]!r})")
        compare(page)
        tab(page, "Compression")
        page.tab_to("e.id == 'measure'")
        page.press("Enter")
        page.wait("document.querySelector('#plot img')?.naturalWidth > 100")
        assert "stored_ratio" in page.js("document.querySelector('#sizes').innerText")
        tab(page, "Fields")
        page.tab_to("e.id == 'extract'")
        page.press("Enter")
        page.wait("document.querySelector('#fields').innerText.includes('EUR 113.94')")
        correct(page, tmp_path / "corrections")
        searchable(page, demo, tmp_path)
        page.screenshot(tmp_path / "desktop.png")
        assert [url for url in page.requests
                if not url.startswith((demo, "data:", "blob:", "about:"))] == []  # fmt: skip
        assert page.errors == []


def compare(page):
    tab(page, "Compare")
    page.tab_to("e.tagName == 'TEXTAREA'")
    page.type("\n".join(TEXTS[1]).replace("remain", "remains"))
    page.tab_to("e.id == 'compare'")
    page.press("Enter")
    assert page.wait("document.querySelector('#difference del')?.innerText") == "s"
    assert "CER" in page.js("document.querySelector('#difference').innerText")


def correct(page, folder):
    """A corrected cell becomes a labeled line; its page is written whole."""
    tab(page, "Corrections")
    page.tab_to("e.role == 'gridcell'")
    page.press("ArrowDown", sum(map(len, TEXTS[:2])) + 1)
    page.press("ArrowRight")
    page.wait(f"document.activeElement.innerText.startsWith({TEXTS[2][1]!r})")
    page.press("Enter")
    page.wait("document.activeElement.tagName == 'TEXTAREA'")
    page.js("document.activeElement.select()")
    page.type("Pallet 7: keep it dry.")
    page.press("Enter")
    page.tab_to("e.id == 'save'")
    page.press("Enter")
    page.wait("document.querySelector('#saved').innerText.startsWith('1 line corrected; 4 lines')")
    labels = {path.name: path.read_text() for path in folder.glob("*.gt.txt")}
    assert labels["invoice-p0003-0002.gt.txt"] == "Pallet 7: keep it dry.\n" and len(labels) == 4


def searchable(page, demo, folder):
    """The last download is a PDF whose text a reader of PDFs gives back in order."""
    tab(page, "Downloads")
    page.wait("document.querySelectorAll('#downloads a').length >= 6")
    links = page.js("[...document.querySelectorAll('#downloads a')].map(e => e.href)")
    names = {url.rsplit("/", 1)[1].partition(".")[2] for url in links}
    assert names == {"txt", "md", "jsonl", "hocr", "alto.xml", "ocr.pdf"}
    url = next(url for url in links if url.endswith(".ocr.pdf"))
    (folder / "read.pdf").write_bytes(httpx.get(url).raise_for_status().content)
    assert [" ".join(text.split()) for text in pdftotext(folder / "read.pdf").split("\f")[:3]] == [
        " ".join(rows) for rows in TEXTS
    ]


def test_nothing_is_wider_than_a_phone(demo, tmp_path):
    with Browser(tmp_path / "profile", 390, 844, phone=True) as page:
        page.open(demo, "#read")
        page.click(
            "[...document.querySelectorAll('button')].find(e => e.innerText == 'invoice.pdf')"
        )
        page.wait("document.querySelector('#files').textContent.includes('KB')")
        page.click("document.querySelector('#read')")
        page.wait("document.querySelector('#status').innerText.startsWith('3 pages read')")
        page.wait("document.querySelector('#boxes img')?.naturalWidth > 1000")
        page.screenshot(tmp_path / "phone.png")
        assert page.js("document.documentElement.scrollWidth") <= 390
        assert page.js("document.querySelector('#text .reading').scrollWidth") <= 390


OTHER_DEMO = """
import sys
from test_demo_browser import read_example, serve_example
with serve_example(sys.argv[1]) as url:
    read_example(url, sys.argv[2])
"""


def test_a_demo_that_ends_leaves_the_files_of_another(demo, tmp_path):
    """Two of them read one document: files of equal bytes must not be one file."""
    (document, *_) = write_examples(tmp_path)
    written = read_example(demo, document)
    folder = tmp_path / "other"
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "GRADIO_TEMP_DIR"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", OTHER_DEMO, str(folder), str(document)]
    subprocess.run(command, env=environment, check=True)
    assert len(written) == 6
    assert [httpx.get(url).status_code for url in written] == [200] * 6


def read_example(url, document):
    """Read a document through the page; return the addresses of its downloads."""
    client = Client(url, verbose=False, download_files=False)
    *_, written = client.predict([handle_file(document)], BASE, "auto", api_name="/with_progress")
    return [file["url"] for file in written]
