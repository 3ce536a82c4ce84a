"""Tables of a page as grids of cells that know their neighbors (HTML and pipe tables)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Slot = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as written: its text, the rows and columns it spans, whether it is a heading."""

    text: str
    rows: int = 1
    columns: int = 1
    heading: bool = False


@dataclass(frozen=True)
class Grid:
    """A table laid out: `owner` maps (row, column) to the cell that covers it."""

    cells: tuple[Cell, ...]
    owner: dict[Slot, int]
    height: int
    width: int

    def neighbors(self, cell: int, direction: str) -> set[int]:
        """Cells next to any edge of `cell`: up, down, left or right; gaps are skipped."""
        step = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}[direction]
        found = set()
        for slot, owner in self.owner.items():
            if owner == cell:
                neighbor = self._next(slot, step)
                if neighbor is not None:
                    found.add(neighbor)
        return found

    def headings(self, cell: int, direction: str) -> set[int]:
        """Heading cells on the way up or left; without any, the outermost cells."""
        marked, outermost, seen, open_cells = set(), set(), set(), {cell}
        while open_cells:
            current = open_cells.pop()
            seen.add(current)
            if self.cells[current].heading:
                marked.add(current)
            following = self.neighbors(current, direction)
            if not following:
                outermost.add(current)
            open_cells |= following - seen
        return (marked - {cell}) or (outermost - {cell})

    def _next(self, slot: Slot, step: Slot) -> int | None:
        row, column = slot[0] + step[0], slot[1] + step[1]
        while 0 <= row < self.height and 0 <= column < self.width:
            owner = self.owner.get((row, column))
            if owner is not None:
                return owner if owner != self.owner[slot] else None
            row, column = row + step[0], column + step[1]
        return None


def lay_out(rows: Sequence[Sequence[Cell]]) -> Grid | None:
    """Place the cells of each row left to right around the cells that span down into it."""
    cells: list[Cell] = []
    owner: dict[Slot, int] = {}
    for row, row_cells in enumerate(rows):
        column = 0
        for cell in row_cells:
            while (row, column) in owner:
                column += 1
            for r in range(row, row + cell.rows):
                for c in range(column, column + cell.columns):
                    owner.setdefault((r, c), len(cells))
            cells.append(cell)
            column += cell.columns
    if not cells:
        return None
    height = max(row for row, _ in owner) + 1
    width = max(column for _, column in owner) + 1
    return Grid(tuple(cells), owner, height, width)


def tables_of(text: str, *, pipes: bool = True) -> Iterator[Grid]:
    """Yield the pipe tables of a page, then its HTML tables."""
    for rows in (*(_pipe_tables(text) if pipes else ()), *_html_tables(text)):
        grid = lay_out(rows)
        if grid is not None:
            yield grid


def _pipe_tables(text: str) -> Iterator[list[list[Cell]]]:
    block: list[str] = []
    for line in [*text.strip().split("\n"), ""]:
        if "|" in line:
            block.append(line)
            continue
        if len(block) >= 2:
            yield _pipe_rows(block)
        block = []


def _pipe_rows(lines: Sequence[str]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for line in lines:
        if set(line) <= set("- :|"):
            continue
        texts = [part.strip() for part in line.split("|")]
        if texts[0] == "":
            texts = texts[1:]
        if texts and texts[-1] == "":
            texts = texts[:-1]
        first = not rows
        if texts:
            rows.append([Cell(t, heading=first or c == 0) for c, t in enumerate(texts)])
    return rows


def _html_tables(text: str) -> Iterator[list[list[Cell]]]:
    if "<table" not in text:
        return
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(text, "html.parser")
    for line_break in soup.find_all("br"):
        line_break.replace_with("\n")
    for table in soup.find_all("table"):
        rows = []
        for row in table.find_all("tr"):
            in_head = row.find_parent("thead") is not None
            rows.append(
                [
                    Cell(
                        cell.get_text().strip(),
                        rows=_span(cell.get("rowspan")),
                        columns=_span(cell.get("colspan")),
                        heading=in_head or cell.name == "th",
                    )
                    for cell in row.find_all(["th", "td"], recursive=False)
                ]
            )
        yield rows


def _span(value: object) -> int:
    """Read a span; anything but a sane positive number is 1 (a page cannot ask for more)."""
    text = str(value or "")
    return min(int(text), 200) if text.isdecimal() and int(text) > 0 else 1
