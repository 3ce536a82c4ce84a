"""A typed Python client of the API.

with Client("http://127.0.0.1:8000", key="...") as client:
    print(client.ocr(Path("scan.pdf")).text)
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from manifold_ocr.errors import UserError

TRIES = 5  # where the server is busy
LONGEST_WAIT = 30.0  # seconds between two tries


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page as it was read; `error` says why there is no text."""

    page: int
    width: int = 0
    height: int = 0
    mode: str = "page"
    text: str = ""
    confidence: float | None = None
    paragraphs: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """A job: its state, pages read so far, and once it is done its pages and text."""

    id: str
    state: str
    pages: int | None
    pages_done: int
    text: str | None
    results: list[Page]
    error: str | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")


class Client:
    """Calls one server.

    Every method raises UserError where the server refuses or cannot be reached; it says why.
    """

    def __init__(self, url: str, key: str = "", timeout: float = 300.0) -> None:
        """Connect lazily; `key` is what `serve --add-key` printed."""
        import httpx

        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._lib = httpx
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)

    def __enter__(self) -> "Client":
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close its connections."""
        self._http.close()

    def ocr(self, path: Path, *, mode: str = "auto", pages: str = "", dpi: int = 200) -> JobStatus:
        """Read a document and wait for it."""
        data = {"mode": mode, "pages": pages, "dpi": str(dpi)}
        return _status(self._post_file("/api/ocr", path, data).json())

    def export(self, path: Path, format: str, *, pages: str = "", dpi: int = 200) -> bytes:
        """Read a document and return it as text, markdown, jsonl, hocr, alto or pdf."""
        data = {"format": format, "pages": pages, "dpi": str(dpi)}
        return bytes(self._post_file("/api/ocr", path, data).content)

    def submit(
        self, path: Path, *, mode: str = "auto", pages: str = "", dpi: int = 200
    ) -> JobStatus:
        """Queue a document and return at once."""
        data = {"mode": mode, "pages": pages, "dpi": str(dpi), "wait": "false"}
        return _status(self._post_file("/api/ocr", path, data).json())

    def job(self, job_id: str) -> JobStatus:
        """Return how far a job is."""
        return _status(self._call("GET", f"/api/jobs/{job_id}").json())

    def wait(self, job_id: str, seconds: float = 600.0, every: float = 0.5) -> JobStatus:
        """Return a job once it has ended."""
        until = time.monotonic() + seconds
        while not (found := self.job(job_id)).ended:
            if time.monotonic() > until:
                raise UserError(f"job {job_id}: still {found.state} after {seconds:g} s")
            time.sleep(every)
        return found

    def delete(self, job_id: str) -> None:
        """Cancel a job, or forget a finished one."""
        self._call("DELETE", f"/api/jobs/{job_id}")

    def extract(self, path: Path, kind: str = "receipt") -> dict[str, Any]:
        """Return the fields of a receipt, invoice or contract."""
        return dict(self._post_file("/api/extract", path, {"kind": kind}).json())

    def verify(self, text: str) -> dict[str, Any]:
        """Say which document of the server's archive has this text."""
        return dict(self._call("POST", "/api/verify", json={"text": text}).json())

    def _post_file(self, route: str, path: Path, data: dict[str, str]) -> Any:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from error
        return self._call("POST", route, data=data, files={"file": ("document", content)})

    def _call(self, method: str, route: str, **options: Any) -> Any:
        for attempt in range(TRIES):
            try:
                answer = self._http.request(method, route, **options)
            except self._lib.HTTPError as error:
                raise UserError(
                    f"{self._http.base_url}: {error or type(error).__name__}"
                ) from error
            if answer.status_code != 429 or attempt == TRIES - 1:
                break
            time.sleep(min(LONGEST_WAIT, float(answer.headers.get("retry-after", "1"))))
        if answer.is_success:
            return answer
        try:
            detail = answer.json()["detail"]
        except (ValueError, KeyError, TypeError):
            detail = answer.text[:200]
        raise UserError(f"{method} {route}: {answer.status_code}: {detail}")


def _status(value: dict[str, Any]) -> JobStatus:
    results = [
        Page(**{k: v for k, v in page.items() if k in Page.__dataclass_fields__})
        for page in value.get("results") or []
    ]
    return JobStatus(
        id=value["id"],
        state=value["state"],
        pages=value["pages"],
        pages_done=value["pages_done"],
        text=value["text"],
        results=results,
        error=value["error"],
    )
