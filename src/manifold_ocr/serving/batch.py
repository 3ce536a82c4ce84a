"""Read folders of any size: `manifold-ocr ocr INPUT... --out DIR`, resumable at every page.

Each file is read once. Pages are noted in DIR/.partial as they are read, files in
DIR/journal.jsonl once their outputs are written, so that a run that was killed goes on where
it stopped and ends with the same outputs as an unbroken one. What cannot be read is listed
with its reason in DIR/quarantine.jsonl; the file itself stays where it is.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_write, sha256_file, sha256_json, sha256_tree
from manifold_ocr.images import PDF_DPI
from manifold_ocr.reading.export import WRITERS
from manifold_ocr.reading.page import parse_pages
from manifold_ocr.serving.documents import (
    SUFFIXES,
    OpenedPage,
    Reader,
    load_reader,
    open_document,
    page_state,
    pages_of,
    read_pages,
    searchable,
)

FORMATS = (*WRITERS, "pdf")


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What decides the outputs (all but `threads`, which only decides the speed)."""

    formats: tuple[str, ...] = ("jsonl",)
    mode: str = "auto"
    dpi: int = PDF_DPI
    pages: str = ""
    model: Path | None = None
    threads: int = 0

    def fingerprint(self) -> str:
        """Return a hash of the settings and of the model's files."""
        values = {**asdict(self), "threads": None, "formats": sorted(self.formats)}
        values["model"] = sha256_tree(self.model) if self.model else "base"
        return sha256_json(values)


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read and the relative name of its outputs."""

    path: Path
    name: str


@dataclass(kw_only=True)
class Outcome:
    """What a run did: files and pages read and quarantined, files known before or passed over."""

    files: int = 0
    pages: int = 0
    known: int = 0
    bad_files: int = 0
    bad_pages: int = 0
    skipped: list[str] = field(default_factory=list)


def discover(inputs: Sequence[Path], out: Path) -> tuple[list[Source], list[str]]:
    """Return the files below `inputs`, sorted, each once, and what was passed over and why.

    Hidden files, links back to a file already listed, and `out` itself are passed over.

    Raises:
        UserError: an input does not exist.
    """
    sources: dict[Path, Source] = {}
    names: set[str] = set()
    skipped: list[str] = []
    for given in inputs:
        if not given.exists():
            raise UserError(f"{given}: no such file or folder")
        for path in [given] if given.is_file() else _walk(given, out.resolve()):
            real = path.resolve()
            if path.suffix.lower() not in SUFFIXES and path != given:
                skipped.append(f"{path}: not an image or PDF by its name")
            elif real in sources:
                skipped.append(f"{path}: the same file as {sources[real].path}")
            else:
                relative = path.relative_to(given).as_posix() if path != given else path.name
                name, count = relative, 1
                while name in names:
                    count += 1
                    name = f"{given.resolve().name}~{count}/{relative}"
                names.add(name)
                sources[real] = Source(path, name)
    return list(sources.values()), skipped


def _walk(folder: Path, out: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (here / name).resolve() != out
        )
        yield from (here / name for name in sorted(files) if not name.startswith("."))


def read_file(source: Source, reader: Reader, settings: BatchSettings, out: Path) -> dict[str, Any]:
    """Read a file, write its outputs, and return its line of the journal.

    Pages that an interrupted run has read are taken from DIR/.partial.
    """
    try:
        digest = sha256_file(source.path)
    except OSError as error:
        return {"file": source.name, "error": f"{source.path}: {error.strerror}", "pages": 0}
    key = sha256_json([source.name, digest, settings.fingerprint()])
    partial = out / ".partial" / f"{key}.jsonl"
    states = {line["page"]: line for line in _whole_lines(partial)}
    row: dict[str, Any] = {"file": source.name, "sha256": digest}
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        with open_document(source.path) as document, open(partial, "a", encoding="utf-8") as store:
            for opened in pages_of(document, settings.pages, settings.dpi, skip=states):
                state = _read_page(opened, reader, settings.mode)
                states[opened.number] = state
                store.write(json.dumps(state, ensure_ascii=False) + "\n")
                store.flush()
    except UserError as error:
        partial.unlink(missing_ok=True)
        return {**row, "error": str(error), "pages": 0}
    ordered = [states[number] for number in sorted(states)]
    bad = [{"page": s["page"], "error": s["error"]} for s in ordered if "error" in s]
    if len(bad) == len(ordered):
        partial.unlink(missing_ok=True)
        return {**row, "error": bad[0]["error"] if bad else "no pages", "pages": 0}
    outputs = write_outputs(source, ordered, settings, out)
    partial.unlink(missing_ok=True)
    return {**row, "pages": len(ordered) - len(bad), "bad_pages": bad, "outputs": outputs}


def _read_page(opened: OpenedPage, reader: Reader, mode: str) -> dict[str, Any]:
    state: dict[str, Any] = {"page": opened.number}
    if opened.image is None:
        return {**state, "error": opened.error}
    try:
        return {**state, **page_state(reader.read(opened.image, mode))}  # type: ignore[arg-type]
    except (UserError, ValueError, MemoryError) as error:
        return {**state, "error": f"{opened.label}: {error or type(error).__name__}"}


def write_outputs(
    source: Source, states: Sequence[dict[str, Any]], settings: BatchSettings, out: Path
) -> list[str]:
    """Write each format of a file, whole or not at all; return their relative names."""
    read = read_pages(states, source.name)
    names = []
    for name in settings.formats:
        if name == "pdf":
            target = out / f"{source.name}.ocr.pdf"
            with atomic_write(target, "wb") as file:
                file.write(searchable(source.path, states, settings.dpi))
        else:
            suffix, writer = WRITERS[name]
            target = out / f"{source.name}{suffix}"
            with atomic_write(target) as file:
                file.write(writer(read))
        names.append(target.relative_to(out).as_posix())
    return names


def _whole_lines(path: Path) -> list[Any]:
    """Return the JSON lines of a file; a last line cut short by a kill is dropped from it."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with open(path, "rb+") as file:
            file.truncate(whole)
    return [json.loads(line) for line in content[:whole].splitlines()]


@contextmanager
def _only_run(out: Path) -> Iterator[None]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = open(out / ".lock", "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        reason = "is a file" if out.is_file() else error.strerror or error
        raise UserError(f"{out}: {reason}; choose a folder for --out") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{out}: another run writes there; wait for it or choose --out"
            ) from error
        yield


Mapper = Callable[[list[Source], BatchSettings, Path], Iterable[dict[str, Any]]]


def run_batch(
    inputs: Sequence[Path], out: Path, settings: BatchSettings, mapper: Mapper | None = None
) -> Outcome:
    """Read every file below `inputs` that the journal of `out` lacks.

    `mapper` reads the files and yields their journal lines in any order; by default this
    process does.

    Raises:
        UserError: bad settings, nothing to read, or `out` holds a run with other settings.
    """
    unknown = [name for name in settings.formats if name not in FORMATS]
    if unknown or not settings.formats:
        raise UserError(f"--format {', '.join(unknown)}: there are {', '.join(FORMATS)}")
    if settings.pages:
        parse_pages(settings.pages)
    sources, skipped = discover(inputs, out)
    if not sources:
        raise UserError(f"{', '.join(map(str, inputs))}: no image or PDF there")
    with _only_run(out):
        done = _load_journal(out / "journal.jsonl", settings.fingerprint())
        missing = [s for s in sources if s.name not in done or _changed(s, done[s.name])]
        outcome = Outcome(known=len(sources) - len(missing), skipped=skipped)
        with open(out / "journal.jsonl", "a", encoding="utf-8") as journal:
            for row in (mapper or read_here)(missing, settings, out):
                journal.write(json.dumps(row, ensure_ascii=False) + "\n")
                journal.flush()
                os.fsync(journal.fileno())
                done[row["file"]] = row
        _summarize(out, [done[source.name] for source in sources], settings, outcome)
    return outcome


def _changed(source: Source, row: dict[str, Any]) -> bool:
    """Tell whether a file is not the one that the journal knows."""
    try:
        return bool(row.get("sha256") != sha256_file(source.path))
    except OSError:
        return False


def _load_journal(path: Path, fingerprint: str) -> dict[str, dict[str, Any]]:
    lines = _whole_lines(path)
    if not lines:
        with open(path, "w", encoding="utf-8") as file:
            file.write(json.dumps({"settings": fingerprint}) + "\n")
        return {}
    if lines[0].get("settings") != fingerprint:
        raise UserError(
            f"{path}: was begun with other settings or another model; choose another --out, "
            "or remove this folder"
        )
    return {line["file"]: line for line in lines[1:]}


def read_here(
    sources: list[Source], settings: BatchSettings, out: Path
) -> Iterator[dict[str, Any]]:
    """Read the files in this process."""
    from manifold_ocr.resources import progress

    if not sources:
        return
    reader = load_reader(settings.model, settings.threads)
    for source in progress(sources, "ocr", len(sources), "file"):
        yield read_file(source, reader, settings, out)


def _summarize(
    out: Path, rows: Sequence[dict[str, Any]], settings: BatchSettings, outcome: Outcome
) -> None:
    """Count the journal's rows; write quarantine.jsonl, and pages.jsonl of all files in order."""
    with atomic_write(out / "quarantine.jsonl") as file:
        for row in rows:
            name = row["file"]
            bad = [{"page": None, "error": row["error"]}] if "error" in row else row["bad_pages"]
            outcome.files += "error" not in row
            outcome.bad_files += "error" in row
            outcome.bad_pages += 0 if "error" in row else len(bad)
            outcome.pages += row["pages"]
            for item in bad:
                file.write(json.dumps({"file": name, **item}, ensure_ascii=False) + "\n")
    if "jsonl" not in settings.formats:
        return
    with atomic_write(out / "pages.jsonl") as file:
        for row in rows:
            if "error" not in row:
                file.write((out / f"{row['file']}.jsonl").read_text(encoding="utf-8"))
