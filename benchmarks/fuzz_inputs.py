"""Damaged inputs through every door: no traceback, no hang, every page and row accounted for.

    PYTHONPATH=src python benchmarks/fuzz_inputs.py [--count 1000] [--seed 1] [--only NAME]

Images, PDFs, archives, label files of every layout, prediction files, what the label page
exchanges, and params are drawn (`fuzz_seeds.py`), then damaged: bytes flipped, cut, doubled,
inserted, numbers made huge; every second one in its structure instead: values of JSON, YAML and
XML replaced, removed, doubled. Each goes through the door that users take in a process of its
own, under 20 seconds. Right are a result or one UserError of one line; pages, rows and images are
counted against what was found. Status 1 otherwise; the inputs that failed stay in the folder that
is printed.
"""

import argparse
import importlib
import json
import multiprocessing
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from lxml import etree

from fuzz_seeds import Seed, seeds
from manifold_ocr import config
from manifold_ocr.data.archives import unpack
from manifold_ocr.data.formats import is_image, walk_files
from manifold_ocr.data.image_index import ImageCache
from manifold_ocr.data.registry import resolve, select_corpora
from manifold_ocr.data.rows import BuiltRow, RowBuilder, Splitter
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.report import load_manifest
from manifold_ocr.files import read_yaml
from manifold_ocr.images import Document
from manifold_ocr.reading.engines.predictions import import_predictions
from manifold_ocr.reading.label.corrections import apply_corrections, export_labels
from manifold_ocr.records import RawRow, Rejection, Sample, write_rows
from manifold_ocr.settings import load_section

SECONDS = 20
SAMPLES = [
    Sample(id=f"r{k}", document=f"r{k}", corpus="c", subset="s", image=f"r{k}.png", text="alpha")
    for k in range(3)
]
VALUES: tuple[Any, ...] = (
    None, True, "", "\ud800", "a\0b", "\u202e\ufeff", 0, -1, 0.5, 1e308, float("nan"),
    float("inf"), 10**30, [], {}, [[]], [None], {"a": 1}, "1,5", "../../etc/passwd", "a.png",
    "x" * 9999,
)  # fmt: skip
TEXTS = (
    "", "NaN", "1e999", "-5", "1,5", "0", "9" * 5000, "../a.png", "file:///a%20.png", "5,5 6", "é",
    "\u2028", "a b c",
)  # fmt: skip
SECTIONS = {
    "download": config.DownloadConfig, "manifest": config.ManifestConfig,
    "train": config.TrainConfig, "lora": config.LoraConfig, "evaluate": config.EvaluateConfig,
    "monitor": config.MonitorConfig,
}  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return a copy with damaged bytes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(max(1, len(out)))
        how = rng.randrange(6)
        if how == 0 and out:
            out[at % len(out)] = rng.randrange(256)
        elif how == 1:
            del out[at : at + rng.randrange(1, 1 + max(1, len(out) // 4))]
        elif how == 2:
            out[at:at] = out[at : at + rng.randrange(1, 64)]
        elif how == 3:
            out[at:at] = rng.choice(
                (b"\0" * 8, b"\xff" * 8, b"99999999999", b"<", b'"', b"[" * 300)
            )
        elif how == 4 and len(out) >= 4:
            out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"))
        else:
            out = out[: max(1, at)]
    return bytes(out)


def changed(value: Any, rng: random.Random) -> Any:
    """Return a parsed value with one of its parts replaced, removed or doubled."""
    if rng.random() < 0.25 or not isinstance(value, dict | list) or not value:
        return rng.choice(VALUES)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    how = rng.random()
    if how < 0.15:
        return (
            {k: v for k, v in value.items() if k != key} if isinstance(value, dict) else value[1:]
        )
    if how < 0.25:
        return {**value, f"{key}2": value[key]} if isinstance(value, dict) else [*value, value[key]]
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = changed(value[key], rng)
    return copy


def changed_xml(data: bytes, rng: random.Random) -> bytes:
    """Return XML with attributes, texts and elements replaced, removed or doubled."""
    root = etree.fromstring(data)
    for _ in range(rng.choice((1, 2, 4))):
        element = rng.choice(list(root.iter()))
        how = rng.randrange(4)
        if how == 0 and element.attrib:
            element.set(rng.choice(list(element.attrib)), rng.choice(TEXTS))
        elif how == 1 and element.attrib:
            del element.attrib[rng.choice(list(element.attrib))]
        elif how == 2:
            element.text = rng.choice(TEXTS)
        elif (parent := element.getparent()) is not None:
            copy = etree.fromstring(etree.tostring(element))
            parent.insert(0, copy) if rng.random() < 0.5 else parent.remove(element)
    return bytes(etree.tostring(root))


def restructured(name: str, data: bytes, rng: random.Random) -> bytes:
    """Return a copy damaged in its structure; in its bytes where it has none that is known."""
    if name.endswith(".xml"):
        return changed_xml(data, rng)
    if name.endswith(".yaml"):
        return yaml.safe_dump(changed(yaml.safe_load(data), rng)).encode("utf-8", "replace")
    if name.endswith(".jsonl"):
        rows = [json.loads(line) for line in data.splitlines()]
        at = rng.randrange(len(rows))
        rows[at] = changed(rows[at], rng)
        if isinstance(rows[at], dict) and isinstance(rows[at].get("ground_truth"), str):
            try:
                truth = changed(json.loads(rows[at]["ground_truth"]), rng)
                rows[at]["ground_truth"] = json.dumps(truth)
            except ValueError:
                pass
        return "\n".join(map(json.dumps, rows)).encode()
    if name.endswith(".json"):
        return json.dumps(changed(json.loads(data), rng)).encode()
    if b"\t[" in data:
        image, _, label = data.decode().partition("\t")
        return f"{image}\t{json.dumps(changed(json.loads(label), rng))}\n".encode()
    return damaged(data, rng)


def through_document(path: Path, seed: Seed) -> str:
    """Render every page."""
    with Document(path) as document:
        read = failed = 0
        for frame in range(len(document)):
            try:
                document.render(frame)
                document.text_layer(frame)
                read += 1
            except UserError:
                failed += 1
        assert read + failed == len(document) > 0
    return "pages" if not failed else "some pages"


def through_archive(path: Path, seed: Seed) -> str:
    """Unpack."""
    unpack(path, path.parent / "out")
    return "unpacked"


def through_corpus(path: Path, seed: Seed) -> str:
    """Read the labels and build their rows; every image is in a row or in a rejection."""
    root = path.parents[len(Path(seed.damage).parts) - 1]
    options = {"kind": "folder", **seed.options}
    return _built(root, options, seed.damage)


def through_dataset(path: Path, seed: Seed) -> str:
    """Load a data set with `datasets`, then read its rows."""
    options = {"kind": "hf_dataset", "path": str(path.parent)}
    root = path.parent.parent / f"{path.parent.name}-root"
    root.mkdir()
    resolve("mine", options).adapter.fetch(root, options)
    return _built(root, options, "manifest.jsonl")


def _built(root: Path, options: dict[str, Any], damage: str) -> str:
    rows = list(resolve("mine", options).adapter.rows(root, options))
    assert all(isinstance(row, RawRow | Rejection) for row in rows), rows
    cache = ImageCache(root.parent / f"{root.name}.sqlite")
    (root.parent / f"{root.name}-raw").mkdir()
    (root.parent / f"{root.name}-raw/mine").symlink_to(root)
    builder = RowBuilder(
        corpus="mine",
        role="train",
        license="unknown",
        splitter=Splitter("mine", 1, 0.1, 0.1),
        raw_root=root.parent / f"{root.name}-raw",
        cache=cache,
    )
    built = [builder.build(row) if isinstance(row, RawRow) else row for row in rows]
    assert all(isinstance(row, BuiltRow | Rejection) for row in built)
    for row in built:
        if isinstance(row, Rejection):
            assert row.source and row.reason and row.detail and "\n" not in row.detail, row
    told = " ".join(f"{r.source} {r.detail}" for r in rows if isinstance(r, Rejection))
    used = {row.image for row in rows if isinstance(row, RawRow)}
    for image in filter(is_image, walk_files(root)):
        listed = options["kind"] == "manifest" or image in used or image in told
        assert listed or damage in told, f"{image} is in no row and no rejection"
    kept = sum(isinstance(row, BuiltRow) for row in built)
    return "rows" if kept == len(built) else "some rows" if kept else "rejected"


def through_predictions(path: Path, seed: Seed) -> str:
    """Join to a manifest."""
    found = import_predictions(path if seed.door == "predictions" else path.parent, SAMPLES)
    counts = found.counts()
    known = counts["matched"] + counts["repeated"] + counts["unmatched"] + counts["ambiguous"]
    assert known == counts["rows"] and len(found.predictions) == len(SAMPLES), counts
    "".join(p.text for p in found.predictions).encode()
    return "rows"


def through_eval_rows(path: Path, seed: Seed) -> str:
    """Load a manifest as `eval` takes it, and write its rows."""
    manifest = load_manifest(path)
    write_rows(path.parent / "out.jsonl", manifest.samples)
    return "rows" if not manifest.rejected else "some rows"


def through_labels(path: Path, seed: Seed) -> str:
    """Apply the corrections, then export."""
    scans = path.parent.parent / f"{path.parent.name}-scans"
    scans.mkdir()
    (scans / "a.png").write_bytes(seed.files["a-0001.png"])
    (path.parent / "a-0001.gt.txt").write_text("alpha\n")
    if "corrections.json" in seed.files:
        apply_corrections(path.parent, path.parent / "corrections.json")
    for kind in ("page", "alto"):
        export_labels(scans, path.parent, kind)
    for file in path.parent.parent.glob(f"{path.parent.name}-*/*.xml"):
        etree.parse(str(file))
    return "labels"


def through_params(path: Path, seed: Seed) -> str:
    """Build every section and the selected corpora."""
    for name, cls in SECTIONS.items():
        load_section(cls, name, path)
    select_corpora(read_yaml(path))
    return "settings"


DOORS: dict[str, Callable[[Path, Seed], str]] = {
    "document": through_document,
    "archive": through_archive,
    "corpus": through_corpus,
    "dataset": through_dataset,
    "predictions": through_predictions,
    "prediction folder": through_predictions,
    "eval rows": through_eval_rows,
    "labels": through_labels,
    "params": through_params,
}


def child(path: Path, seed: Seed, send: Callable[[str], None]) -> None:
    """Report the outcome of one file: what it gave, a UserError, or the traceback of a bug."""
    try:
        send(DOORS[seed.door](path, seed))
    except UserError as error:
        send("refused" if "\n" not in str(error) else f"BUG: an error of several lines: {error}")
    except BaseException:
        send("BUG: " + traceback.format_exc(limit=-4))


def outcome(path: Path, seed: Seed) -> str:
    """Run a file in a process of its own for at most SECONDS."""
    receive, send = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=child, args=(path, seed, send.send))
    process.start()
    send.close()
    try:
        return str(receive.recv()) if receive.poll(SECONDS) else f"BUG: over {SECONDS} seconds"
    except EOFError:
        process.join()
        return f"BUG: the process died with status {process.exitcode}"
    finally:
        process.kill()
        process.join()


def main() -> int:
    """Damage and send the inputs; print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", choices=["", *seeds()], help="one kind of input")
    options = parser.parse_args()
    importlib.import_module("datasets")  # once, not in every child
    rng = random.Random(options.seed)
    root = Path(tempfile.mkdtemp(prefix="fuzz_inputs_"))
    whole = {k: v for k, v in seeds().items() if options.only in ("", k)}
    counts: dict[str, Counter[str]] = {name: Counter() for name in whole}
    for number in range(options.count):
        name = list(whole)[number % len(whole)]
        seed = whole[name]
        folder = root / f"{number:05d}"
        for file, content in seed.files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        path = folder / seed.damage
        bad = rng.random() < 0.5
        content = seed.files[seed.damage]
        path.write_bytes(damaged(content, rng) if bad else restructured(path.name, content, rng))
        found = outcome(path, seed)
        counts[name]["bug" if found.startswith("BUG") else found] += 1
        if found.startswith("BUG"):
            print(f"{path} ({name}): {found}", flush=True)
    for name, found_of in counts.items():
        print(f"{name}: " + ", ".join(f"{n} {what}" for what, n in sorted(found_of.items())))
    total = sum(counts.values(), Counter())
    print(f"{options.count} inputs: " + ", ".join(f"{n} {w}" for w, n in sorted(total.items())))
    return int("bug" in total)


if __name__ == "__main__":
    sys.exit(main())
