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


@dataclass(frozen=True, kw_only=True)
class Found:
    """A field: its value as printed, a confidence in [0, 1], page and box in pixels."""

    name: str
    value: str
    confidence: float
    page: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A line item of a receipt or invoice."""

    description: str
    amount: str
    page: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """The fields of a document; `flags` are contradictions between them."""

    kind: str
    fields: list[Found]
    items: list[Item]
    flags: list[str]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The archived document that has a text, or None; all candidates, best first."""

    match: str | None
    candidates: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Whether a server takes work, and if not why."""

    ready: bool
    model: str
    waiting: int
    running: int
    drift: str | None
    reason: str | None


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

    def result(self, job_id: str, format: str = "text") -> bytes:
        """Return a finished job as json, text, markdown, jsonl, hocr, alto or pdf."""
        route = f"/api/jobs/{job_id}/result"
        return bytes(self._call("GET", route, params={"format": format}).content)

    def delete(self, job_id: str) -> None:
        """Cancel a job, or forget a finished one."""
        self._call("DELETE", f"/api/jobs/{job_id}")

    def extract(
        self, path: Path, kind: str = "receipt", *, pages: str = "", dpi: int = 200
    ) -> Extraction:
        """Return the fields of a receipt, invoice or contract."""
        data = {"kind": kind, "pages": pages, "dpi": str(dpi)}
        value = self._post_file("/api/extract", path, data).json()
        return Extraction(
            kind=value["kind"],
            fields=[Found(**_known(Found, found)) for found in value["fields"]],
            items=[Item(**_known(Item, item)) for item in value["items"]],
            flags=value["flags"],
        )

    def verify(self, text: str) -> Verification:
        """Say which document of the server's archive has this text."""
        value = self._call("POST", "/api/verify", json={"text": text}).json()
        return Verification(match=value["match"], candidates=value["candidates"])

    def metrics(self) -> dict[str, Any]:
        """Return the last evaluation, the gate's line and the drift of the server's project."""
        return dict(self._call("GET", "/api/metrics").json())

    def prometheus(self) -> str:
        """Return the server's figures in the text format of Prometheus."""
        return str(self._call("GET", "/metrics").text)

    def live(self) -> bool:
        """Say whether a server answers at all."""
        try:
            return bool(self._http.get("/api/health/live").is_success)
        except self._lib.HTTPError:
            return False

    def ready(self) -> Readiness:
        """Say whether the server takes work; a server that does not is no error here."""
        answer = self._send("GET", "/api/health/ready")
        if answer.status_code not in (200, 503):
            raise _refused("GET", "/api/health/ready", answer)
        return Readiness(**_known(Readiness, answer.json()))

    def _post_file(self, route: str, path: Path, data: dict[str, str]) -> Any:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from error
        return self._call("POST", route, data=data, files={"file": ("document", content)})

    def _call(self, method: str, route: str, **options: Any) -> Any:
        for attempt in range(TRIES):
            answer = self._send(method, route, **options)
            wait = answer.headers.get("retry-after")
            if answer.status_code not in (429, 503) or wait is None or attempt == TRIES - 1:
                break
            time.sleep(min(LONGEST_WAIT, float(wait) if wait.isdecimal() else 1.0))
        if answer.is_success:
            return answer
        raise _refused(method, route, answer)

    def _send(self, method: str, route: str, **options: Any) -> Any:
        try:
            return self._http.request(method, route, **options)
        except self._lib.HTTPError as error:
            raise UserError(f"{self._http.base_url}: {error or type(error).__name__}") from error


def _refused(method: str, route: str, answer: Any) -> UserError:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text[:200]
    return UserError(f"{method} {route}: {answer.status_code}: {detail}")


def _known(kind: Any, value: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a class of this version knows: servers may be newer."""
    return {
        name: tuple(found) if name == "box" else found
        for name, found in value.items()
        if name in kind.__dataclass_fields__
    }


def _status(value: dict[str, Any]) -> JobStatus:
    results = [Page(**_known(Page, page)) for page in value.get("results") or []]
    return JobStatus(
        id=value["id"],
        state=value["state"],
        pages=value["pages"],
        pages_done=value["pages_done"],
        text=value["text"],
        results=results,
        error=value["error"],
    )
