"""The demo: upload, read, compare, compress, extract, correct, download; nothing leaves it."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write
from manifold_ocr.images import PDF_DPI
from manifold_ocr.reading.export import WRITERS
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
CSS = """
.reading {background: #fff; color: #111; padding: 0.6em 0.8em; border: 1px solid #bbb;
  border-radius: 6px; max-height: 75vh; overflow: auto; line-height: 1.5; overflow-wrap: anywhere}
.reading p {margin: 0 0 0.8em}
.reading .fair {background: #ffe9b8} .reading .doubtful {background: #ffc9c9}
.difference {white-space: pre-wrap} .difference del {background: #ffc9c9}
.difference ins {background: #c5efcf; text-decoration: none}
.gradio-container {max-width: 1400px !important}
"""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """Where models and corrections are: folders of the project that the demo runs in."""

    adapter: Path = Path("output/adapter")
    promoted: Path = Path("external/checkpoints")
    corrections: Path = Path("data/corrections")
    threads: int = 0


Load = Callable[[Path | None], PageReader]


class Session:
    """The models that were loaded, each once."""

    def __init__(self, settings: DemoSettings, load: Load | None = None) -> None:
        """Load nothing yet."""
        self.settings = settings
        self._load = load or (lambda model: load_reader(model, settings.threads))
        self._readers: dict[str, PageReader] = {}

    def choices(self) -> dict[str, Path | None]:
        """Return the models by name: the base, the trained adapter, promoted checkpoints."""
        found: dict[str, Path | None] = {BASE: None}
        if any(self.settings.adapter.glob("*.safetensors")):
            found["trained adapter"] = self.settings.adapter
        for folder in sorted(self.settings.promoted.glob("*")):
            if any(folder.glob("*.safetensors")):
                found[folder.name] = folder
        return found

    def reader(self, name: str) -> PageReader:
        """Return the reader of a model."""
        if name not in self._readers:
            self._readers[name] = self._load(self.choices().get(name))
        return self._readers[name]


def read_files(
    session: Session, files: Sequence[str], model: str, mode: str, progress: Any
) -> tuple[list[ShownPage], list[str]]:
    """Return the pages of the files in order, and a line for each that could not be read."""
    reader, shown, problems = session.reader(model), list[ShownPage](), list[str]()
    for path in map(Path, files):
        try:
            with open_document(path, BOUNDS) as document:
                total = len(document)
                for opened in pages_of(document, bounds=BOUNDS):
                    progress((opened.number - 1, total), desc=f"{path.name}", unit="pages")
                    if opened.image is None:
                        problems.append(opened.error.replace(str(path), path.name))
                        continue
                    page = reader.read(opened.image, mode)  # type: ignore[arg-type]
                    label = f"{path.name}, page {opened.number}" if total > 1 else path.name
                    shown.append(ShownPage(label, opened.image, page))
        except UserError as error:
            problems.append(str(error).replace(str(path), path.name))
    return shown, problems


def write_downloads(files: Sequence[str], pages: Sequence[ShownPage]) -> list[str]:
    """Write every format of what was read; return the paths."""
    folder = Path(tempfile.mkdtemp(prefix="manifold-ocr-"))
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
    with gr.Blocks(title="manifold-ocr", analytics_enabled=False) as demo:
        gr.Markdown("# manifold-ocr\nUpload scans or PDFs; they are read on this machine.")
        pages = gr.State([])
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                files = gr.File(label="Images or PDFs", file_count="multiple", elem_id="files")
                choices = list(session.choices())
                model = gr.Dropdown(choices, value=choices[0], label="Model", elem_id="model")
                mode = gr.Radio(["auto", "line", "page"], value="auto", label="Read as")
                button = gr.Button("Read", variant="primary", elem_id="read")
                status = gr.Markdown(elem_id="status")
                drawn = write_examples(Path(tempfile.mkdtemp(prefix="manifold-ocr-examples-")))
                gr.Examples([[[str(path)]] for path in drawn], [files], label="Examples")
            with gr.Column(scale=3, min_width=320):
                number = gr.Slider(1, 2, value=1, step=1, label="Page", visible=False)
                with gr.Tabs():
                    with gr.Tab("Text"), gr.Row():
                        with gr.Column(min_width=300):
                            image = gr.Image(
                                label="Lines found", interactive=False, elem_id="boxes",
                                buttons=["fullscreen", "download"],
                            )  # fmt: skip
                        with gr.Column(min_width=300):
                            text = gr.HTML(elem_id="text")
                    _compare_tab(pages, number)
                    _compression_tab(session, pages, model)
                    _fields_tab(pages)
                    table = _corrections_tab(settings, files, pages)
                    downloads = _downloads_tab()

        def run(names: list[str] | None, chosen: str, how: str, progress: Any = None) -> Any:
            if not names:
                raise UserError("choose a file or an example first")
            found, problems = read_files(session, names, chosen, how, progress)
            note = f"{len(found)} pages read with {chosen}." + "".join(f"\n\n{p}" for p in problems)
            several = len(found) > 1
            slider = gr.update(maximum=max(2, len(found)), value=1, visible=several)
            written = write_downloads(names, found) if found else None
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
        button.click(with_progress, [files, model, mode], outputs)
        number.change(_show, [pages, number], [image, text])
    return demo


def _show(found: list[ShownPage], chosen: float) -> tuple[Any, str]:
    if not found:
        return None, ""
    shown = found[min(len(found), max(1, int(chosen))) - 1]
    return panels.with_boxes(shown), panels.shaded_text(shown.page)


def _downloads_tab() -> Any:
    with gr.Tab("Downloads"):
        return gr.File(label="All formats", interactive=False, elem_id="downloads")


def _compare_tab(pages: Any, number: Any) -> None:
    with gr.Tab("Compare"):
        reference = gr.Textbox(label="True text of the page shown", lines=6, elem_id="reference")
        button = gr.Button("Compare", elem_id="compare")
        scores = gr.Dataframe(headers=["measure", "value"], interactive=False, elem_id="scores")
        difference = gr.HTML(elem_id="difference")

        def run(truth: str, found: list[ShownPage], chosen: float) -> Any:
            if not found:
                raise UserError("read a document first")
            return panels.compare(truth, found[int(chosen) - 1].page.text)

        button.click(_told(run), [reference, pages, number], [scores, difference])


def _compression_tab(session: Session, pages: Any, model: Any) -> None:
    with gr.Tab("Compression"):
        button = gr.Button("Measure", elem_id="measure")
        table = gr.Dataframe(headers=["what", "value"], interactive=False, elem_id="sizes")
        plot = gr.Plot(label="Bytes and tokens", elem_id="plot")

        def run(found: list[ShownPage], chosen: str) -> Any:
            if not found:
                raise UserError("read a document first")
            recognizer = session.reader(chosen).recognizer
            return panels.sizes([shown.page for shown in found], recognizer)

        button.click(_told(run), [pages, model], [table, plot])


def _fields_tab(pages: Any) -> None:
    with gr.Tab("Fields"):
        kind = gr.Radio(list(KINDS), value=KINDS[0], label="Kind (receipt is for invoices too)")
        button = gr.Button("Extract", elem_id="extract")
        headers = ["field", "value", "confidence", "page"]
        table = gr.Dataframe(headers=headers, interactive=False, elem_id="fields", wrap=True)
        flags = gr.Markdown(elem_id="flags")

        def run(found: list[ShownPage], chosen: str) -> Any:
            if not found:
                raise UserError("read a document first")
            numbered = [(n, shown.page) for n, shown in enumerate(found, 1)]
            result = extract_fields(numbered, chosen).as_json()
            notes = [f"- check: {flag}" for flag in result["flags"]]
            return panels.field_rows(result), "\n".join(notes) or "No contradiction was found."

        button.click(_told(run), [pages, kind], [table, flags])


def _corrections_tab(settings: DemoSettings, files: Any, pages: Any) -> Any:
    with gr.Tab("Corrections"):
        gr.Markdown(
            "Edit the text of lines that are wrong, then save: the pages that you changed become "
            "labeled lines for training."
        )
        table = gr.Dataframe(
            headers=["page", "line", "text", "confidence %"], interactive=True, wrap=True,
            column_count=4, static_columns=[0, 1, 3], type="array", elem_id="lines",
        )  # fmt: skip
        button = gr.Button("Save corrections", elem_id="save")
        note = gr.Markdown(elem_id="saved")

        def run(names: list[str] | None, found: list[ShownPage], rows: list[list[Any]]) -> str:
            if not found or not names:
                raise UserError("read a document first")
            name = "-".join(Path(names[0]).stem.split()) or "document"
            written, changed = panels.save_corrections(found, rows, settings.corrections, name)
            return (
                f"{changed} lines corrected; {written} lines of those pages are in "
                f"`{settings.corrections}`. In params.yaml: `corpora: {{mine: {{kind: folder, "
                f"path: {settings.corrections}, document_pattern: '^(.*)-\\d{{4}}\\.png$'}}}}`, "
                "then `dvc repro`."
            )

        button.click(_told(run), [files, pages, table], [note])
    return table


def launch_demo(settings: DemoSettings, host: str, port: int) -> None:
    """Serve the page until it is interrupted; it loads nothing from the network."""
    font = ["system-ui", "sans-serif"]
    theme = gr.themes.Default(font=font, font_mono=["ui-monospace", "monospace"])
    build_demo(settings).queue(max_size=32).launch(
        server_name=host, server_port=port, share=False, max_file_size=BOUNDS.bytes,
        theme=theme, css=CSS, footer_links=[], show_error=True,
    )  # fmt: skip
