"""An MCP server over standard input and output: read, extract and verify, for assistants.

The files it opens lie below one folder; documents have the bounds of the API.
"""

from pathlib import Path
from typing import Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from manifold_ocr import __version__
from manifold_ocr.compression.verify import Verifier
from manifold_ocr.errors import UserError
from manifold_ocr.images import PDF_DPI
from manifold_ocr.reading.export import markdown
from manifold_ocr.reading.page import PageText
from manifold_ocr.serving.documents import Bounds, Reader, page_state, read_pages
from manifold_ocr.serving.isolation import Isolation
from manifold_ocr.serving.processors import extract_fields

BOUNDS = Bounds(bytes=32 << 20, pages=200, pixels=50_000_000)


class Tools:
    """What the server offers; every failure is a ToolError with a line that says why."""

    def __init__(self, reader: Reader, root: Path, verifier: Verifier | None) -> None:
        """Allow files below `root` only."""
        self._reader, self._root, self._verifier = reader, root.resolve(), verifier
        self._isolation = Isolation()

    def read(self, path: str, pages: str = "") -> dict[str, Any]:
        """Read an image or PDF and return its text as Markdown with its mean confidence.

        `path` is relative to the server's folder; `pages` such as 1-3,7 chooses pages.
        """
        read, failed = self._pages(path, pages)
        states = [{"page": number, **page_state(page)} for number, page in read]
        sure = [page.confidence for _, page in read if page.confidence is not None]
        return {
            "markdown": markdown(read_pages(states, path)),
            "pages": [number for number, _ in read],
            "confidence": round(sum(sure) / len(sure), 4) if sure else None,
            "not_read": failed,
        }

    def extract(
        self, path: str, kind: Literal["receipt", "contract"] = "receipt", pages: str = ""
    ) -> dict[str, Any]:
        """Return the fields of a receipt, an invoice (kind receipt) or a contract.

        Each has its value as printed, a confidence and the box in which it stands; flags say
        where amounts contradict each other.
        """
        read, failed = self._pages(path, pages)
        return {**extract_fields(read, kind).as_json(), "not_read": failed}

    def verify(self, text: str) -> dict[str, Any]:
        """Say which page of the server's archive has this text, allowing for errors of OCR."""
        if self._verifier is None:
            raise ToolError("there is no archive; start the server with --archive")
        found = self._verifier.check(text.encode("utf-8", "replace"))[:10]
        accepted = [item.id for item in found if item.accepted]
        return {
            "match": accepted[0] if accepted else None,
            "candidates": [{"id": c.id, "ned": c.ned, "accepted": c.accepted} for c in found],
        }

    def _pages(self, path: str, pages: str) -> tuple[list[tuple[int, PageText]], list[str]]:
        target = (self._root / path).resolve()
        if self._root not in target.parents:
            raise ToolError(f"{path}: outside of the folder that this server may read")
        read, failed = [], []
        try:
            _, opened = self._isolation.pages(target, pages, PDF_DPI, BOUNDS)
            for page in opened:
                if page.image is None:
                    failed.append(page.error.replace(str(target), path))
                else:
                    read.append((page.number, self._reader.read(page.image)))
        except UserError as error:
            raise ToolError(str(error).replace(str(target), path)) from error
        if not read:
            raise ToolError(failed[0] if failed else f"{path}: has no page")
        return read, failed


def build_server(reader: Reader, root: Path, verifier: Verifier | None) -> MCPServer:
    """Return the server; `run()` serves standard input and output."""
    server = MCPServer(
        "manifold-ocr", version=__version__, log_level="WARNING",
        instructions="Reads scans and PDFs below one folder of this machine; nothing leaves it.",
    )  # fmt: skip
    tools = Tools(reader, root, verifier)
    for tool in (tools.read, tools.extract, tools.verify):
        server.tool()(tool)
    return server
