"""The artifact of a pull request's report, checked as hostile input. Standard library only.

The code that made it may be a fork's. The token that posts it can write, so nothing of the
artifact is run or unpacked to disk: names, counts and sizes are bounded, plots must be whole
PNG files, and the text loses whatever could ping people, link, load from elsewhere, or hide.
"""

import io
import re
import struct
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass

ARTIFACT_LIMIT = 4 << 20  # bytes of the zip
FILE_LIMIT = 1 << 20  # bytes of one file in it
FILES = 8
TEXT_LIMIT = 50_000  # characters; GitHub takes 65,536
SIDE_LIMIT = 4000  # pixels
PLOT = re.compile(r"[a-z]{1,20}\.png")
IMAGE_LINE = re.compile(r"!\[([A-Za-z0-9 ,.:_/-]{1,100})\]\(([a-z]{1,20}\.png)\)")
CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"pHYs", b"gAMA", b"sRGB", b"sBIT"}
BREAK = "\u200b"  # between two characters that would mean something together
MARK = "<!-- manifold-ocr pr-report -->"


class RefusedError(Exception):
    """The artifact is not what the report writes; the message says why."""


@dataclass(frozen=True)
class Artifact:
    """A checked artifact: the number it states (to be verified), its text and plots."""

    number: int
    text: str
    plots: dict[str, bytes]


def open_artifact(data: bytes, folder: str = "") -> Artifact:
    """Return the content of the zip, whose files lie below `folder` (empty, or ending in /).

    Raises:
        RefusedError: too large, other files than number.txt, comment.md and plots, or damaged.
    """
    if len(data) > ARTIFACT_LIMIT:
        raise RefusedError(f"the artifact has over {ARTIFACT_LIMIT:,} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = _files(archive, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise RefusedError(f"the artifact is no zip file that can be read ({error})") from error
    for name in ("number.txt", "comment.md"):
        if name not in files:
            raise RefusedError(f"the artifact holds no {name}")
    number = files["number.txt"].strip()
    if not re.fullmatch(rb"[1-9][0-9]{0,8}", number):
        raise RefusedError("number.txt holds no number of a pull request")
    plots = {name: png(name, body) for name, body in files.items() if PLOT.fullmatch(name)}
    try:
        text = files["comment.md"].decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError("comment.md is not UTF-8") from error
    return Artifact(int(number), text, plots)


def _files(archive: zipfile.ZipFile, folder: str) -> dict[str, bytes]:
    entries = [e for e in archive.infolist() if not folder.startswith(e.filename)]
    if len(entries) > FILES:
        raise RefusedError(f"the artifact holds {len(entries)} files, at most {FILES} are read")
    found: dict[str, bytes] = {}
    for entry in entries:
        name = entry.filename.removeprefix(folder)
        if name not in ("number.txt", "comment.md") and not PLOT.fullmatch(name):
            raise RefusedError(f"the artifact holds {name[:60]!r}, which the report does not write")
        if name in found:
            raise RefusedError(f"the artifact holds {name!r} twice")
        with archive.open(entry) as file:  # what the directory says of its size is not believed
            found[name] = file.read(FILE_LIMIT + 1)
        if len(found[name]) > FILE_LIMIT:
            raise RefusedError(f"{name} has over {FILE_LIMIT:,} bytes")
    return found


def png(name: str, body: bytes) -> bytes:
    """Return a PNG's bytes with only the chunks that a picture needs.

    Raises:
        RefusedError: no whole PNG file, or one of more pixels a side than a plot has.
    """
    if body[:8] != b"\x89PNG\r\n\x1a\n":
        raise RefusedError(f"{name} is no PNG file")
    kept, place, kind = [body[:8]], 8, b""
    while place + 12 <= len(body) and kind != b"IEND":
        (length,) = struct.unpack(">I", body[place : place + 4])
        kind, end = body[place + 4 : place + 8], place + 12 + length
        if end > len(body) or (place == 8) != (kind == b"IHDR"):
            break
        (checksum,) = struct.unpack(">I", body[end - 4 : end])
        if zlib.crc32(body[place + 4 : end - 4]) != checksum:
            break
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[16:24])
            if not (0 < width <= SIDE_LIMIT and 0 < height <= SIDE_LIMIT):
                raise RefusedError(f"{name} has {width} x {height} pixels")
        if kind in CHUNKS:
            kept.append(body[place:end])
        place = end
    if kind != b"IEND" or place != len(body):
        raise RefusedError(f"{name} is a damaged PNG file, or holds more than a picture")
    return b"".join(kept)


def clean(text: str, addresses: dict[str, str]) -> str:
    """Return the text without HTML, mentions, references, links and foreign images.

    A line that is one image of `addresses` (name -> address) keeps it; others lose theirs.
    """
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        found = IMAGE_LINE.fullmatch(line.strip())
        if found and found[2] in addresses:
            lines.append(f"![{found[1]}]({addresses[found[2]]})")
        else:
            lines.append(_plain(line))
    whole = "\n".join(lines)
    if len(whole) > TEXT_LIMIT:
        whole = whole[:TEXT_LIMIT].rsplit("\n", 1)[0] + "\n\n(cut here: the report is longer)"
    return whole


def _plain(line: str) -> str:
    line = "".join(c for c in line if c == "\t" or unicodedata.category(c) not in ("Cc", "Cf"))
    line = line.replace("<", "‹").replace("@", f"@{BREAK}").replace("](", f"]{BREAK}(")
    line = line.replace("]:", f"]{BREAK}:").replace("][", f"]{BREAK}[")
    line = line.replace("://", f":{BREAK}//").replace("&", f"&{BREAK}")
    line = re.sub(r"(?i)\bwww\.", f"www{BREAK}.", line)
    line = re.sub(r"(?i)(#|\bgh-|!)(?=[0-9])", rf"\1{BREAK}", line)  # other issues and requests
    return re.sub(r"^(\s*)/", rf"\1{BREAK}/", line)  # commands to robots


def body(artifact: Artifact, commit: str, run: str, addresses: dict[str, str]) -> str:
    """Return the comment: what the job vouches for, then the cleaned text."""
    head = (
        f"{MARK}\nReport of commit `{commit[:10]}` ([log]({run})), made by the code of this pull "
        "request without secrets. Its figures are as trustworthy as that code.\n\n"
    )
    return head + clean(artifact.text, addresses)
