"""Small corpora in publishers' layouts, read through their adapters."""

import json

from PIL import Image

from manifold_ocr.data.registry import resolve
from manifold_ocr.records import RawRow, Rejection


def image(path, size=(1000, 1400), **options):
    """Save a white image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 255).save(path, **options)
    return path


def write(path, content):
    """Write text, bytes or (anything else) JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")


def read(root, kind="folder", parts=1, **options):
    """Return (rows, rejections) of a folder."""
    adapter = resolve("mine", {"kind": kind, **options}).adapter
    stated = {"kind": kind, **options}
    if parts == 1:
        rows = list(adapter.rows(root, stated))
    else:
        rows = [r for part in range(parts) for r in adapter.part_rows(root, stated, part, parts)]
    good = [row for row in rows if isinstance(row, RawRow)]
    return good, [row for row in rows if isinstance(row, Rejection)]


def texts(rows):
    """Return the texts of line rows, in order."""
    return [row.text for row in rows if row.granularity == "line"]


def reasons(rejected):
    """Return (source, reason) of rejections, sorted."""
    return sorted((row.source, row.reason) for row in rejected)
