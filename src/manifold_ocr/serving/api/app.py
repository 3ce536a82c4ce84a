"""The HTTP API: documents in, text and fields out, synchronously or as jobs.

No request names a path: documents come in the body. There is no CORS header, so browsers let
no other site read an answer.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match

from manifold_ocr import __version__
from manifold_ocr.compression.verify import Candidate
from manifold_ocr.serving.api import schemas
from manifold_ocr.serving.api.answers import MEDIA, accept, answer, document, ended_job, fields
from manifold_ocr.serving.api.jobs import ENDED, Job
from manifold_ocr.serving.api.keys import Key
from manifold_ocr.serving.api.middleware import FORM_BYTES, BodyLimit, RequestLog
from manifold_ocr.serving.api.service import Service
from manifold_ocr.serving.api.work import ServerSettings
from manifold_ocr.serving.documents import Reader

ModeField = Annotated[
    Literal["auto", "line", "page"], Form(description="auto tells a line from a page by itself")
]
Format = Literal["json", "text", "markdown", "jsonl", "hocr", "alto", "pdf"]
Kind = Literal["receipt", "contract"]
MEANING = {
    400: "The body cannot be parsed.",
    401: "No key, or an unknown one.",
    404: "No such job, it belongs to another key, or there is no archive.",
    409: "The job has not ended, or has no document to make this of.",
    413: "The document is over the bounds of bytes, pages or pixels.",
    422: "The document cannot be read, or a value is wrong.",
    429: "Too many requests of this key, or a full queue; see Retry-After.",
    500: "The server failed.",
    503: "The model could not be loaded, or the server stops.",
    504: "The document takes too long.",
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {n: {"model": schemas.ErrorOut, "description": MEANING[n]} for n in statuses}


COMMON = (401, 429)
DOCUMENT = (*COMMON, 400, 409, 413, 422, 500, 503, 504)


def create_app(settings: ServerSettings, load: Callable[[], tuple[Reader, str]]) -> FastAPI:
    """Return the application.

    Raises:
        UserError: a file of the settings (keys, archive) cannot be read.
    """
    service = Service(settings, load)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await run_in_threadpool(service.stop)

    app = FastAPI(
        title="manifold-ocr", version=__version__, lifespan=lifespan,
        docs_url=None, redoc_url=None,  # their pages load scripts from elsewhere
    )  # fmt: skip
    app.state.service = service
    most = (settings.bounds.bytes or 32 << 20) + FORM_BYTES
    app.add_middleware(BodyLimit, most=most)
    app.add_middleware(RequestLog, meters=service.meters)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _refused)
    _add_documents(app, service)
    _add_jobs(app, service)
    _add_archive(app, service)
    _add_health(app, service)
    return app


async def _invalid(_: Request, error: Exception) -> Response:
    """Say in one line which value is wrong; the value itself is not repeated."""
    assert isinstance(error, RequestValidationError)
    parts = [f"{'.'.join(map(str, e['loc'][1:])) or 'body'}: {e['msg']}" for e in error.errors()]
    return JSONResponse({"detail": "; ".join(parts)}, 422)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:  # the router names the methods of one route of this path only
        routes = [r for r in request.app.routes if r.matches(request.scope)[0] != Match.NONE]
        headers["Allow"] = ", ".join(sorted({m for r in routes for m in r.methods}))
    return JSONResponse({"detail": str(error.detail)}, error.status_code, headers)


bearer = HTTPBearer(auto_error=False, description="The key that `serve --add-key` printed.")
header = APIKeyHeader(name="X-API-Key", auto_error=False)


def _who(
    request: Request,
    token: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    plain: Annotated[str | None, Depends(header)],
) -> Key:
    """Return who asks, or refuse: no key, or asked too often."""
    service: Service = request.app.state.service
    key = service.keys.find(token.credentials if token else plain or "")
    if key is None:
        raise HTTPException(401, "a key is needed", {"WWW-Authenticate": "Bearer"})
    request.state.key = key.name
    if wait := service.keys.wait_seconds(key):
        seconds = str(max(1, round(wait)))
        raise HTTPException(429, "too many requests of this key", {"Retry-After": seconds})
    return key


Who = Annotated[Key, Depends(_who)]
PagesField = Annotated[
    str, Form(max_length=200, description="1-3,7,10-; empty: all", examples=["1-3"])
]
DpiField = Annotated[int, Form(ge=36, le=600, description="at which PDFs are rendered")]
DocumentFile = Annotated[UploadFile, File(description="An image or PDF.")]


def _add_documents(app: FastAPI, service: Service) -> None:
    @app.post(
        "/api/ocr",
        response_model=schemas.JobOut,
        responses={
            200: {"description": "Read.", "content": {media: {} for media in MEDIA.values()}},
            202: {"model": schemas.JobOut, "description": "Queued: ask /api/jobs/{id}."},
            **_errors(*DOCUMENT),
        },
    )
    async def ocr(
        request: Request,
        who: Who,
        file: DocumentFile,
        mode: ModeField = "auto",
        pages: PagesField = "",
        dpi: DpiField = 200,
        wait: Annotated[bool, Form(description="false: answer at once with a job")] = True,
        format: Annotated[Format, Form(description="of the answer, where it waits")] = "json",
    ) -> Response:
        """Read an image or PDF."""
        asked = {"mode": mode, "pages": pages, "dpi": dpi}
        job = await accept(request, service, who, file, asked, durable=not wait)
        if not wait:
            return answer(job, 202)
        try:
            ended = await ended_job(request, service, job)
            return await document(service, ended, format)
        finally:
            await run_in_threadpool(service.store.delete, job.id)

    @app.post(
        "/api/extract",
        response_model=schemas.ExtractionOut,
        responses=_errors(*DOCUMENT),
    )
    async def extract(
        request: Request,
        who: Who,
        file: DocumentFile,
        kind: Annotated[Kind, Form(description="receipt is for invoices too")] = "receipt",
        pages: PagesField = "",
        dpi: DpiField = 200,
    ) -> Any:
        """Read a receipt, invoice or contract and return its fields."""
        asked = {"mode": "page", "pages": pages, "dpi": dpi}
        job = await accept(request, service, who, file, asked, durable=False)
        try:
            ended = await ended_job(request, service, job)
            return await run_in_threadpool(fields, ended, kind)
        finally:
            await run_in_threadpool(service.store.delete, job.id)


def _add_jobs(app: FastAPI, service: Service) -> None:
    def own(job_id: str, who: Key) -> Job:
        job = service.store.get(job_id)
        if job is None or job.owner != who.name:
            raise HTTPException(404, "no such job")
        return job

    @app.get(
        "/api/jobs/{job_id}",
        response_model=schemas.JobOut,
        responses=_errors(*COMMON, 404, 422),
    )
    def job(job_id: str, who: Who) -> Any:
        """Return a job, with its text once it is done."""
        return answer(own(job_id, who))

    @app.get(
        "/api/jobs/{job_id}/result",
        responses={
            200: {"content": {media: {} for media in MEDIA.values()}},
            **_errors(*COMMON, 404, 409, 422, 500, 504),
        },
    )
    async def result(job_id: str, who: Who, format: Format = "text") -> Response:
        """Return a finished job in a format."""
        found = await run_in_threadpool(own, job_id, who)
        if found.state == "failed":
            raise HTTPException(found.status or 500, found.error or "failed")
        if found.state != "done":
            raise HTTPException(409, f"the job is {found.state}")
        return await document(service, found, format)

    @app.delete("/api/jobs/{job_id}", status_code=204, responses=_errors(*COMMON, 404, 422))
    def delete(job_id: str, who: Who) -> Response:
        """Cancel a job, or forget a finished one, and delete its document."""
        found = own(job_id, who)
        if found.state not in ENDED and service.store.cancel(job_id):
            service.workers.tell_ended(job_id)
        service.store.delete(job_id)
        return Response(status_code=204)


def _add_archive(app: FastAPI, service: Service) -> None:
    @app.post(
        "/api/verify",
        response_model=schemas.VerifyOut,
        responses=_errors(*COMMON, 400, 404, 413, 422),
    )
    def verify(query: schemas.VerifyIn, who: Who) -> Any:
        """Say which document of the server's archive has this text."""
        if service.verifier is None:
            raise HTTPException(404, "the server has no archive; start it with --archive")
        found = service.verifier.check(query.text.encode("utf-8", "replace"))
        accepted = [item.id for item in found if item.accepted]
        return {"match": accepted[0] if accepted else None, "candidates": list(map(_out, found))}

    def _out(item: Candidate) -> dict[str, Any]:
        names = ("id", "matched", "compared", "ned", "accepted")
        return {name: getattr(item, name) for name in names}

    @app.get("/api/metrics", response_model=schemas.MetricsOut, responses=_errors(*COMMON))
    def metrics(who: Who) -> Any:
        """Return the last evaluation, the gate's verdict and the drift of the project."""
        return service.figures()


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/api/health/live")
    def live() -> dict[str, str]:
        """Answer while the process lives."""
        return {"status": "live"}

    @app.get(
        "/api/health/ready",
        response_model=schemas.ReadyOut,
        responses={503: {"model": schemas.ReadyOut, "description": "Not ready; see reason."}},
    )
    def ready(response: Response) -> Any:
        """Say whether the server can take work now."""
        waiting = service.store.waiting()
        full = waiting >= service.settings.queue
        stopping = "the server is stopping" if service.workers.draining else ""
        reason = service.problem or stopping or ("the queue is full" if full else "")
        response.status_code = 503 if reason else 200
        return {
            "ready": not reason,
            "model": service.model,
            "waiting": waiting,
            "running": service.workers.running,
            "drift": service.drift(),
            "reason": reason or None,
        }

    @app.get("/metrics", response_class=Response)
    def prometheus() -> Response:
        """Return Prometheus figures."""
        return Response(generate_latest(service.meters.registry), media_type=CONTENT_TYPE_LATEST)
