"""Cut a page's known text into the lines that were found on its image.

Users have scans with a transcript, not lines. The recognizer's own reading of each line is
the bridge: it is close enough to the truth to say which stretch of the transcript belongs
to the line, and the stretch, not the reading, becomes the label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from manifold_ocr.metrics.normalize import collapse_whitespace

MAX_DISTANCE = 0.4  # NED between a reading and its stretch above which they are strangers
SNAP = 3  # characters within which a cut moves to the nearest space


@dataclass(frozen=True, slots=True)
class Aligned:
    """The transcript's text of one line, or None where nothing fits; NED to the reading."""

    text: str | None
    distance: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """One entry a reading, in order, and the transcript's lines or stretches left over."""

    lines: tuple[Aligned, ...]
    left_over: tuple[str, ...]


def align(
    readings: Sequence[str], transcript: str, max_distance: float = MAX_DISTANCE
) -> Alignment:
    """Give each reading its part of `transcript`.

    Lines of the transcript that are the mutual best fit of a reading are taken whole, in
    whatever order they stand (a transcript by columns, a scan by rows). What remains is
    aligned as one stream and cut where the readings end, for transcripts that flow.
    """
    read = [collapse_whitespace(reading) for reading in readings]
    lines = [text for text in map(collapse_whitespace, transcript.splitlines()) if text]
    found: list[Aligned | None] = [None] * len(read)
    used = _match_lines(read, lines, found, max_distance)
    rest = [line for index, line in enumerate(lines) if index not in used]
    open_readings = [index for index, done in enumerate(found) if done is None]
    left_over = _match_stream(read, open_readings, rest, found, max_distance)
    nothing = Aligned(None, 1.0)
    return Alignment(tuple(done or nothing for done in found), tuple(left_over))


def _match_lines(
    read: Sequence[str], lines: Sequence[str], found: list[Aligned | None], max_distance: float
) -> set[int]:
    """Fill `found` with mutual best fits; return the indices of the lines used."""
    used: set[int] = set()
    if not read or not lines:
        return used
    distances = process.cdist(read, lines, scorer=Levenshtein.normalized_distance)
    best_line, best_reading = distances.argmin(axis=1), distances.argmin(axis=0)
    for index, line in enumerate(best_line):
        distance = float(distances[index, line])
        if best_reading[line] == index and distance <= max_distance and read[index]:
            found[index] = Aligned(lines[line], distance)
            used.add(int(line))
    return used


def _match_stream(
    read: Sequence[str],
    wanted: Sequence[int],
    rest: Sequence[str],
    found: list[Aligned | None],
    max_distance: float,
) -> list[str]:
    """Cut what remains of the transcript at the ends of the remaining readings."""
    if not wanted or not rest:
        return list(rest)
    truth = " ".join(rest)
    cuts = cut_points([read[index] for index in wanted], truth)
    left_over = []
    for index, start, end in zip(wanted, cuts, cuts[1:], strict=False):
        piece = truth[start:end].strip()
        distance = Levenshtein.normalized_distance(read[index], piece)
        if piece and read[index] and distance <= max_distance:
            found[index] = Aligned(piece, distance)
        elif piece:
            left_over.append(piece)
    return left_over


def cut_points(readings: Sequence[str], truth: str) -> list[int]:
    """Return len(readings)+1 increasing offsets that cut `truth` like the readings are cut.

    The first is 0, the last the length of `truth`: nothing is lost between the cuts.
    """
    stream = " ".join(readings)
    ends, at = [], 0
    for reading in readings[:-1]:
        at += len(reading)
        ends.append(at)  # the offset of the joining space
        at += 1
    offsets = [0]
    for end in _mapped(stream, truth, ends):
        offsets.append(max(offsets[-1], _snapped(truth, end)))
    return [*offsets, len(truth)]


def _mapped(stream: str, truth: str, positions: Sequence[int]) -> list[int]:
    """Return where each position of `stream` falls in `truth` under an optimal alignment."""
    blocks = list(Levenshtein.opcodes(stream, truth))
    mapped, block = [], 0
    for position in positions:
        while block < len(blocks) - 1 and blocks[block].src_end <= position:
            block += 1
        op = blocks[block]
        inside = min(position - op.src_start, op.dest_end - op.dest_start)
        mapped.append(op.dest_start + max(0, inside))
    return mapped


def _snapped(truth: str, cut: int) -> int:
    """Move a cut to the nearest space within reach: a word is not divided by a misreading."""
    for step in range(SNAP + 1):
        for place in (cut - step, cut + step):
            if 0 <= place < len(truth) and truth[place] == " ":
                return place
    return cut
