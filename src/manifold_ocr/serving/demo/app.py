"""The demo: upload, read, compare, compress, extract, correct, download; nothing leaves it."""

import atexit
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.images import PDF_DPI
from manifold_ocr.reading.export import WRITERS
from manifold_ocr.reading.label.folder import DOCUMENT_PATTERN
from manifold_ocr.reading.page import PageReader
from manifold_ocr.serving.demo import panels
from manifold_ocr.serving.demo.examples import write_examples
from manifold_ocr.serving.demo.panels import ShownPage
from manifold_ocr.serving.documents import (
    Bounds,
    load_reader,
    open_document,
    page_state,
    pages_of,
    read_pages,
    searchable,
)
from manifold_ocr.serving.processors import KINDS, extract_fields

BOUNDS = Bounds(bytes=64 << 20, pages=100, pixels=50_000_000)
BASE = "base model"
CSS = (Path(__file__).parent / "demo.css").read_text(encoding="utf-8")
KEPT_SECONDS = 3600  # of files to download


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """Where models and corrections are: folders of the project that the demo runs in.

    Without `corrections`, corrected lines are there to download only.
    """

    adapter: Path = Path("output/adapter")
    promoted: Path = Path("external/checkpoints")
    corrections: Path | None = Path("data/corrections")
    threads: int = 0


Load = Callable[[Path | None], PageReader]


class Session:
    """The models that were loaded, each once."""

    def __init__(self, settings: DemoSettings, load: Load | None = None) -> None:
        """Load nothing yet."""
        self.settings = settings
        self._load = load or (lambda model: load_reader(model, settings.threads, shipped=False))
        self._readers: dict[str, PageReader] = {}
        self._lock = threading.Lock()
        self._written = tempfile.TemporaryDirectory(prefix="manifold-ocr-")

    def choices(self) -> dict[str, Path | None]:
        """Return the models by name: the base, the trained adapter, promoted checkpoints."""
        found: dict[str, Path | None] = {BASE: None}
        if any(self.settings.adapter.glob("*.safetensors")):
            found["trained adapter"] = self.settings.adapter
        for folder in sorted(self.settings.promoted.glob("*")):
            if any(folder.glob("*.safetensors")):
                found[f"{folder.name} (promoted)"] = folder
        return found

    def preferred(self) -> str:
        """Return the model chosen at first: the one that comes with the project, or the base."""
        shipped = "default (promoted)"
        return shipped if shipped in self.choices() else BASE

    def reader(self, name: str) -> PageReader:
        """Return the reader of a model."""
        with self._lock:
            if name not in self._readers:
                self._readers[name] = self._load(self.choices().get(name))
            return self._readers[name]

    def folder(self) -> Path:
        """Return a new folder for files to download; those of an hour ago are deleted."""
        root, old = Path(self._written.name), time.time() - KEPT_SECONDS
        for path in root.iterdir():
            if path.stat().st_mtime < old:
                shutil.rmtree(path, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=root))


def read_files(
    session: Session, files: Sequence[str], model: str, mode: str, progress: Any
) -> tuple[list[ShownPage], list[str]]:
    """Return the pages of the files in order, and a line for each that could not be read."""
    progress(0, desc=f"loading {model}")
    reader, shown, problems = session.reader(model), list[ShownPage](), list[str]()
    for path in map(Path, files):
        try:
            with open_document(path, BOUNDS) as document:
                total = len(document)
                for opened in pages_of(document, bounds=BOUNDS):
                    progress((opened.number, total), desc=f"reading {path.name}", unit="pages")
                    if opened.image is None:
                        problems.append(opened.error.replace(str(path), path.name))
                        continue
                    page = reader.read(opened.image, mode)  # type: ignore[arg-type]
                    label = f"{path.name}, page {opened.number}" if total > 1 else path.name
                    shown.append(ShownPage(label, opened.image, page, model))
        except UserError as error:
            problems.append(str(error).replace(str(path), path.name))
    return shown, problems


def write_downloads(files: Sequence[str], pages: Sequence[ShownPage], folder: Path) -> list[str]:
    """Write every format of what was read to a folder; return the paths."""
    name = Path(files[0]).stem if len(files) == 1 else "documents"
    states = [{"page": n, **page_state(shown.page)} for n, shown in enumerate(pages, 1)]
    written = []
    for suffix, writer in WRITERS.values():
        target = folder / f"{name}{suffix}"
        with atomic_write(target) as file:
            file.write(writer(read_pages(states, name)))
        written.append(str(target))
    first = 0
    for path in map(Path, files):
        mine = [shown for shown in pages if shown.label.split(", page ")[0] == path.name]
        own = states[first : first + len(mine)]
        first += len(mine)
        if not own:
            continue
        numbered = [
            {**state, "page": int(shown.label.rpartition(", page ")[2])} if ", page " in shown.label
            else {**state, "page": 1}
            for state, shown in zip(own, mine, strict=True)
        ]  # fmt: skip
        target = folder / f"{path.stem}.ocr.pdf"
        with atomic_write(target, "wb") as file:
            file.write(searchable(path, numbered, PDF_DPI, BOUNDS))
        written.append(str(target))
    return written


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show a UserError as a message of the page."""

    def told(*values: Any) -> Any:
        try:
            return function(*values)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return told


def build_demo(settings: DemoSettings, load: Load | None = None) -> Any:
    """Return the page; nothing is loaded before the first document."""
    session = Session(settings, load)
    cache = (KEPT_SECONDS, KEPT_SECONDS)
    with gr.Blocks(title="manifold-ocr", analytics_enabled=False, delete_cache=cache) as demo:
        gr.Markdown("# manifold-ocr\nUpload scans or PDFs; the server of this page reads them.")
        pages = gr.State([])
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                files = gr.File(label="Images or PDFs", file_count="multiple", elem_id="files")
                model = gr.Dropdown(
                    list(session.choices()), value=session.preferred(), label="Model",
                    elem_id="model",
                )  # fmt: skip
                mode = gr.Radio(["auto", "line", "page"], value="auto", label="Read as")
                button = gr.Button("Read", variant="primary", elem_id="read")
                status = gr.Markdown(elem_id="status", min_height=60)
                drawn = write_examples(session.folder())
                gr.Examples([[[str(path)]] for path in drawn], [files], label="Examples")
            with gr.Column(scale=3, min_width=320):
                number = gr.Slider(
                    1, 2, value=1, step=1, label="Page", visible=False, elem_id="page"
                )
                with gr.Tabs():
                    image, text = _text_tab()
                    _compare_tab(session, pages, number, mode)
                    _compression_tab(session, pages, model)
                    _fields_tab(pages)
                    table = _corrections_tab(session, files, pages)
                    downloads = _downloads_tab()

        def run(names: list[str] | None, chosen: str, how: str, progress: Any = None) -> Any:
            if not names:
                raise UserError("choose a file or an example first")
            found, problems = read_files(session, names, chosen, how, progress)
            note = f"{len(found)} page{'s' * (len(found) != 1)} read with {chosen}."
            note += "".join(f"\n\n{problem}" for problem in problems)
            slider = gr.update(maximum=max(2, len(found)), value=1, visible=len(found) > 1)
            written = write_downloads(names, found, session.folder()) if found else None
            rows = panels.line_rows(found)
            return found, note, slider, *_show(found, 1), rows, written

        told = _told(run)

        def with_progress(
            names: list[str] | None,
            chosen: str,
            how: str,
            progress: Any = gr.Progress(),  # noqa: B008
        ) -> Any:
            return told(names, chosen, how, progress)

        outputs = [pages, status, number, image, text, table, downloads]
        button.click(with_progress, [files, model, mode], outputs, show_progress_on=[status])
        number.change(_show, [pages, number], [image, text], show_progress="hidden")
    return demo


def _text_tab() -> tuple[Any, Any]:
    with gr.Tab("Text"), gr.Row():
        with gr.Column(min_width=300):
            image = gr.Image(
                label="Lines found", interactive=False, elem_id="boxes",
                buttons=["fullscreen", "download"],
            )  # fmt: skip
        with gr.Column(min_width=300):
            text = gr.HTML(elem_id="text")
    return image, text


def _show(found: list[ShownPage], chosen: float) -> tuple[Any, str]:
    if not found:
        return None, ""
    shown = found[min(len(found), max(1, int(chosen))) - 1]
    return panels.with_boxes(shown), panels.shaded_text(shown.page)


def _downloads_tab() -> Any:
    with gr.Tab("Downloads"):
        return gr.File(label="All formats", interactive=False, elem_id="downloads")


NO_OTHER = "no other model"


def _compare_tab(session: Session, pages: Any, number: Any, mode: Any) -> None:
    with gr.Tab("Compare"):
        reference = gr.Textbox(label="True text of the page shown", lines=6, elem_id="reference")
        other = gr.Dropdown(
            [NO_OTHER, *session.choices()], value=NO_OTHER, elem_id="other",
            label="Read the page with a second model too, for example the base",
        )  # fmt: skip
        button = gr.Button("Compare", elem_id="compare")
        found_difference = gr.HTML(elem_id="difference")

        def run(truth: str, second: str, found: list[ShownPage], chosen: float, how: str) -> str:
            if not found:
                raise UserError("read a document first")
            shown = found[int(chosen) - 1]
            readings = [(shown.model, shown.page.text)]
            if second != NO_OTHER:
                page = session.reader(second).read(shown.image, how)  # type: ignore[arg-type]
                readings.append((second, page.text))
            return panels.compare(truth, readings)

        inputs = [reference, other, pages, number, mode]
        button.click(_told(run), inputs, [found_difference])


def _compression_tab(session: Session, pages: Any, model: Any) -> None:
    with gr.Tab("Compression"):
        button = gr.Button("Measure", elem_id="measure")
        table = gr.HTML(elem_id="sizes")
        plot = gr.Plot(show_label=False, elem_id="plot")

        def run(found: list[ShownPage], chosen: str) -> Any:
            if not found:
                raise UserError("read a document first")
            recognizer = session.reader(chosen).recognizer
            rows, figure = panels.sizes([shown.page for shown in found], recognizer)
            return panels.table(["of all pages", ""], rows), figure

        button.click(_told(run), [pages, model], [table, plot])


def _fields_tab(pages: Any) -> None:
    with gr.Tab("Fields"):
        kind = gr.Radio(list(KINDS), value=KINDS[0], label="Kind (receipt is for invoices too)")
        button = gr.Button("Extract", elem_id="extract")
        table = gr.HTML(elem_id="fields")
        flags = gr.Markdown(elem_id="flags")

        def run(found: list[ShownPage], chosen: str) -> Any:
            if not found:
                raise UserError("read a document first")
            numbered = [(n, shown.page) for n, shown in enumerate(found, 1)]
            result = extract_fields(numbered, chosen).as_json()
            notes = [f"- check: {flag}" for flag in result["flags"]]
            rows = panels.table(["field", "value", "sure", "page"], panels.field_rows(result))
            return rows, "\n".join(notes) or "No contradiction was found."

        button.click(_told(run), [pages, kind], [table, flags])


def _corrections_tab(session: Session, files: Any, pages: Any) -> Any:
    with gr.Tab("Corrections"):
        gr.Markdown(
            "Edit the text of lines that are wrong, then save: the pages that you changed become "
            "labeled lines for training. Lines are named page-line, as numbered on the page; an "
            "emptied text leaves its line out."
        )
        table = gr.Dataframe(
            headers=["line", "text", "sure %"], interactive=True, wrap=True, column_count=3,
            column_widths=["18%", "60%", "22%"], static_columns=[0, 2], type="array",
            elem_id="lines",
        )  # fmt: skip
        button = gr.Button("Save corrections", elem_id="save")
        note = gr.Markdown(elem_id="saved")
        packed = gr.File(label="Labeled lines", interactive=False, visible=False)

        def run(names: list[str] | None, found: list[ShownPage], rows: list[list[Any]]) -> Any:
            if not found or not names:
                raise UserError("read a document first")
            name = "-".join(Path(names[0]).stem.split()) or "document"
            return save_corrections(session, found, rows, name)

        button.click(_told(run), [files, pages, table], [note, packed])
    return table


def save_corrections(
    session: Session, found: list[ShownPage], rows: list[list[Any]], name: str
) -> tuple[str, Any]:
    """Save corrected lines where the settings say, or pack them; say how to train on them."""
    folder = session.settings.corrections
    target = folder or session.folder() / "corrections"
    written, changed = panels.save_corrections(found, rows, target, name)
    lines = "line" if changed == 1 else "lines"
    place, packed = f"`{folder}`", gr.update(visible=False)
    if folder is None:
        folder, place = Path("data/corrections"), "the file below; unpack it to `data/corrections`"
        archive = shutil.make_archive(str(target.parent / name), "zip", target)
        packed = gr.update(value=archive, visible=True)
    return (
        f"{changed} {lines} corrected; {written} lines of those pages are in {place}. To train on "
        f"them: in params.yaml, `corpora: {{mine: {{kind: folder, path: {folder}, "
        f"document_pattern: '{DOCUMENT_PATTERN}'}}}}`; then `manifold-ocr download mine` and "
        "`dvc repro`.",
        packed,
    )


def _keep_files_apart() -> None:
    """Give this process its own folder of files to show, unless the environment names one.

    Gradio keeps them under one folder of the machine by the hash of their bytes, and a page that
    ends deletes its own: also those that another page has of the same document.
    """
    if "GRADIO_TEMP_DIR" not in os.environ:
        folder = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="manifold-ocr-demo-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def launch_demo(
    settings: DemoSettings, host: str, port: int, load: Load | None = None, *, wait: bool = True
) -> Any:
    """Serve the page until it is interrupted; it loads nothing from the network.

    `wait` False returns the running page at once: its `close()` ends it.
    """
    _keep_files_apart()
    font = ["system-ui", "sans-serif"]
    theme = gr.themes.Default(font=font, font_mono=["ui-monospace", "monospace"])
    demo = build_demo(settings, load).queue(max_size=32)
    demo.launch(
        server_name=host, server_port=port, share=False, max_file_size=BOUNDS.bytes,
        theme=theme, css=CSS, footer_links=[], show_error=True, prevent_thread_lock=True,
        quiet=True,
    )  # fmt: skip
    if wait:
        print(f"demo: {demo.local_url} (Ctrl-C ends it)", flush=True)
        demo.block_thread()
    return demo
