"""Lines of the user's own texts: read as a stream, wrapped, and told why one cannot be drawn."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from PIL import features

from manifold_ocr.errors import UserError
from manifold_ocr.synthetic import fonts

UNDRAWN = frozenset(("Cc", "Cf", "Co", "Cs", "Cn"))  # controls, marks of order, no characters
MARKS = frozenset(("Mn", "Mc", "Me"))
FROM_RIGHT = frozenset(("R", "AL", "AN"))


@dataclass(frozen=True, slots=True)
class Piece:
    """A line of text to draw; `subset` is the stem of its file, `source` file and line number."""

    text: str
    subset: str
    source: str


def text_files(path: Path, where: str) -> list[Path]:
    """Return a text file, or the .txt files below a folder in the order of their paths.

    Raises:
        UserError: nothing there, or a folder without one; `where` names the key of params.yaml.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{where}: {path} does not exist; name a text file or a folder of them")
    found = sorted(p for p in path.rglob("*.txt") if p.is_file() and p.name[0] != ".")
    if not found:
        raise UserError(f"{where}: {path} holds no .txt file; save your texts there as UTF-8")
    return found


def pieces(files: list[Path], longest: int) -> Iterator[Piece]:
    """Stream the lines of text files in NFC, spaces folded, cut to `longest` columns.

    Full-width characters take two columns. Blank lines are no lines.

    Raises:
        UserError: a file that is not UTF-8, or cannot be read; names it.
    """
    for path in files:
        try:
            with open(path, encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    for text in wrapped(unicodedata.normalize("NFC", line), longest):
                        yield Piece(text, path.stem, f"{path.name}:{number}")
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from error
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def wrapped(text: str, longest: int) -> Iterator[str]:
    """Yield the text in parts of at most `longest` columns, cut at spaces where there are any."""
    words = text.split()
    if words and _columns(whole := " ".join(words)) <= longest:
        yield whole
        return
    part, columns = "", 0
    for word in words:
        width = _columns(word)
        if part and columns + 1 + width > longest:
            yield part
            part, columns = "", 0
        for char in f" {word}" if part else word:
            step = _columns(char)
            if columns + step > longest:
                yield part
                part, columns = "", 0
            part, columns = part + char, columns + step
    if part:
        yield part


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return len(text) + sum(unicodedata.east_asian_width(char) in "WF" for char in text)


@dataclass
class Faces:
    """The faces to draw with, and which of them has which character (a bit per face)."""

    names: list[str]
    unreadable: list[str] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)
    _coverage: list[frozenset[int]] = field(default_factory=list)

    def able(self, text: str) -> int:
        """Return the faces that have ink for every character of `text`, as bits."""
        found = (1 << len(self.names)) - 1
        for char in set(text):
            if char != " ":
                if char not in self._known:
                    self._known[char] = self._able(char)
                found &= self._known[char]
        return found

    def lacking(self, text: str) -> str:
        """Return the characters that no face has, else all of them."""
        return "".join(c for c in dict.fromkeys(text) if not self.able(c)) or text

    def _able(self, char: str) -> int:
        if not self._coverage:  # asked for once: a folder may hold more fonts than a cache
            self._coverage = [fonts.coverage(name) for name in self.names]
        return sum(
            1 << place
            for place, covered in enumerate(self._coverage)
            if ord(char) in covered and _has_ink(self.names[place], char)
        )


def _has_ink(name: str, char: str) -> bool:
    try:
        return fonts.load(name, 32).getmask(char).getbbox() is not None
    except (OSError, ValueError):  # a damaged outline
        return False


SUFFIXES = (".ttf", ".otf", ".ttc")


def own_faces(folder: Path, where: str) -> Faces:
    """Return the font files below a folder; those that cannot be opened are listed.

    Raises:
        UserError: no such folder, or no usable font in it.
    """
    if not folder.is_dir():
        raise UserError(f"{where}: {folder} does not exist; name a folder of .ttf or .otf files")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    faces = Faces([])
    for path in files:
        name = str(path.resolve())
        try:
            usable = bool(fonts.coverage(name)) and fonts.load(name, 32) is not None
        except Exception:  # whatever a damaged table makes of the library
            usable = False
        (faces.names if usable else faces.unreadable).append(name if usable else path.name)
    if not faces.names:
        problem = f"none of {len(files)} fonts can be opened" if files else "holds no font"
        raise UserError(f"{where}: {folder}: {problem}; put .ttf or .otf files there")
    return faces


def reason_against(text: str, faces: Faces) -> str:
    """Return why a line cannot be drawn: "control", "shaping", "glyphs", or "" if it can."""
    kinds = set(map(_kind, set(text)))
    if "control" in kinds:
        return "control"
    if "shaped" in kinds and not features.check("raqm"):
        return "shaping"
    return "" if faces.able(text) else "glyphs"


def is_shaped(text: str) -> bool:
    """Say whether a text is written from the right, or holds marks that join other characters."""
    return "shaped" in map(_kind, set(text))


@lru_cache(maxsize=65536)  # asked for every character of every line
def _kind(char: str) -> str:
    category = unicodedata.category(char)
    if category in UNDRAWN:
        return "control"
    joins = category in MARKS or unicodedata.bidirectional(char) in FROM_RIGHT
    return "shaped" if joins else "plain"


REASONS = {
    "control": "hold a control character or no character",
    "shaping": "are written from the right or shaped, which needs a Pillow with raqm",
    "glyphs": "hold a character that no font has",
}


@dataclass
class Census:
    """What a first pass over the texts found."""

    usable: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    lacking: Counter[str] = field(default_factory=Counter)

    def told(self) -> list[str]:
        """Return a sentence for each reason for which lines were left out."""
        lines = [f"{count} lines {REASONS[reason]}" for reason, count in self.skipped.items()]
        if self.lacking:
            most = " ".join(f"{c} (U+{ord(c):04X})" for c, _ in self.lacking.most_common(8))
            lines.append(f"the characters that most lines lack: {most}")
        return lines


def census(files: list[Path], longest: int, faces: Faces) -> Census:
    """Count the lines that can be drawn and those that cannot, by reason."""
    found = Census()
    for piece in pieces(files, longest):
        reason = reason_against(piece.text, faces)
        if not reason:
            found.usable += 1
            continue
        found.skipped[reason] += 1
        if reason == "glyphs":
            found.lacking.update(faces.lacking(piece.text))
    return found
