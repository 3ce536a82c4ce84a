"""The HTTP API: documents in, text and fields out, synchronously or as jobs.

No request names a path: documents come in the body. There is no CORS header, so browsers let
no other site read an answer.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match

from manifold_ocr import __version__
from manifold_ocr.compression.verify import Candidate
from manifold_ocr.serving.api import schemas
from manifold_ocr.serving.api.access import COMMON, DOCUMENT, OpenApp, Who, errors
from manifold_ocr.serving.api.answers import MEDIA, accept, answer, document, ended_job, fields
from manifold_ocr.serving.api.chat import add_chat
from manifold_ocr.serving.api.jobs import ENDED, Job
from manifold_ocr.serving.api.keys import Key
from manifold_ocr.serving.api.middleware import FORM_BYTES, BodyLimit, KeyFirst, RequestLog, problem
from manifold_ocr.serving.api.service import Service
from manifold_ocr.serving.api.work import ServerSettings
from manifold_ocr.serving.documents import Reader

ModeField = Annotated[
    Literal["auto", "line", "page"], Form(description="auto tells a line from a page by itself")
]
Format = Literal["json", "text", "markdown", "jsonl", "hocr", "alto", "pdf"]
Kind = Literal["receipt", "contract"]


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

    app = (FastAPI if settings.keys else OpenApp)(
        title="manifold-ocr", version=__version__, lifespan=lifespan,
        docs_url=None, redoc_url=None,  # their pages load scripts from elsewhere
    )  # fmt: skip
    app.state.service = service
    most = (settings.bounds.bytes or 32 << 20) + FORM_BYTES
    app.add_middleware(BodyLimit, most=most)
    app.add_middleware(KeyFirst, keys=service.keys)
    app.add_middleware(RequestLog, meters=service.meters)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _refused)
    _add_documents(app, service)
    _add_jobs(app, service)
    _add_archive(app, service)
    add_chat(app, service)
    _add_health(app, service)
    return app


async def _invalid(request: Request, error: Exception) -> Response:
    """Say in one line which value is wrong; the value itself is not repeated."""
    assert isinstance(error, RequestValidationError)
    parts = [f"{'.'.join(map(str, e['loc'][1:])) or 'body'}: {e['msg']}" for e in error.errors()]
    return _problem(request, "; ".join(parts), 422, {})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:  # the router names the methods of one route of this path only
        routes = [r for r in request.app.routes if r.matches(request.scope)[0] != Match.NONE]
        headers["Allow"] = ", ".join(sorted({m for r in routes for m in r.methods}))
    return _problem(request, str(error.detail), error.status_code, headers)


def _problem(request: Request, detail: str, status: int, headers: dict[str, str]) -> Response:
    return JSONResponse(problem(request.url.path, detail, status), status, headers)


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
            **errors(*DOCUMENT),
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
        job = await accept(request, service, who, file.file, asked, durable=not wait)
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
        responses=errors(*DOCUMENT),
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
        job = await accept(request, service, who, file.file, asked, durable=False)
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
        responses=errors(*COMMON, 404, 422),
    )
    def job(job_id: str, who: Who) -> Any:
        """Return a job, with its text once it is done."""
        return answer(own(job_id, who))

    @app.get(
        "/api/jobs/{job_id}/result",
        responses={
            200: {"content": {media: {} for media in MEDIA.values()}},
            **errors(*COMMON, 404, 409, 422, 500, 504),
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

    @app.delete("/api/jobs/{job_id}", status_code=204, responses=errors(*COMMON, 404, 422))
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
        responses=errors(*COMMON, 400, 404, 413, 422),
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

    @app.get("/api/metrics", response_model=schemas.MetricsOut, responses=errors(*COMMON))
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
