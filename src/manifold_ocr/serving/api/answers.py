"""From a request to a job, and from a finished job to an answer."""

import asyncio
import shutil
from functools import partial
from typing import Any, BinaryIO

from fastapi import HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from manifold_ocr.errors import UserError
from manifold_ocr.reading.export import WRITERS
from manifold_ocr.reading.page import parse_pages
from manifold_ocr.serving.api import schemas
from manifold_ocr.serving.api.jobs import Job, new_id
from manifold_ocr.serving.api.keys import Key
from manifold_ocr.serving.api.service import Service
from manifold_ocr.serving.api.work import BusyError
from manifold_ocr.serving.documents import Bounds, page_of, read_pages, searchable
from manifold_ocr.serving.processors import extract_fields

MEDIA = {
    "text": "text/plain; charset=utf-8",
    "markdown": "text/markdown; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "hocr": "application/xhtml+xml",
    "alto": "application/xml",
    "pdf": "application/pdf",
}
POLL_SECONDS = 0.5  # how often a waiting request looks whether its client is still there


def fields(job: Job, kind: str) -> dict[str, Any]:
    """Return the fields of a finished job's pages."""
    read = (job.result or {}).get("read", [])
    pages = [(state["page"], page_of(state)) for state in read if "error" not in state]
    return extract_fields(pages, kind).as_json()


async def accept(
    request: Request,
    service: Service,
    who: Key,
    file: BinaryIO,
    asked: dict[str, Any],
    *,
    durable: bool,
) -> Job:
    """Store a document and queue its job, or refuse."""
    if service.failed or service.workers.draining:
        raise HTTPException(503, service.problem or "the server is stopping", {"Retry-After": "10"})
    try:
        if asked["pages"]:
            parse_pages(asked["pages"])
        service.workers.check_room()
    except UserError as error:
        raise HTTPException(422, str(error)) from error
    except BusyError as error:
        raise _busy(error) from error
    job_id = new_id()

    def store() -> Job:
        path = service.store.document(job_id)
        with open(path, "wb") as target:
            shutil.copyfileobj(file, target, 1 << 20)
        try:
            with service.workers.room():  # others may have filled the queue meanwhile
                return service.store.add(who.name, asked, durable=durable, job_id=job_id)
        except BusyError:
            path.unlink()
            raise

    try:
        job = await run_in_threadpool(store)
    except BusyError as error:
        raise _busy(error) from error
    request.state.job = job.id
    if durable:
        service.workers.add(job)
    return job


def _busy(error: BusyError) -> HTTPException:
    return HTTPException(429, str(error), {"Retry-After": str(error.seconds)})


async def ended_job(request: Request, service: Service, job: Job) -> Job:
    """Queue a job and return it once it has ended; a client that leaves cancels it.

    A job that nobody took up within `queue_seconds` is refused (503) and not read later.
    """
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    limit = service.settings.queue_seconds
    until = loop.time() + limit

    def tell() -> None:
        loop.call_soon_threadsafe(ended.set)

    service.workers.add(job, tell)
    while not ended.is_set():
        try:
            await asyncio.wait_for(ended.wait(), min(POLL_SECONDS, limit))
        except TimeoutError:
            late = loop.time() >= until
            if late and await run_in_threadpool(service.store.withdraw, job.id):
                seconds = service.workers.seconds_until_room(service.store.waiting())
                raise HTTPException(
                    503,
                    f"the document waited {limit:g} s and was not read; ask again in {seconds} s",
                    {"Retry-After": str(seconds)},
                ) from None
            if await request.is_disconnected() or service.workers.draining:
                await run_in_threadpool(service.store.cancel, job.id)
                break
    found = await run_in_threadpool(service.store.get, job.id)
    if found is None or found.state != "done":
        if found is None or found.status is None:
            raise HTTPException(503, "the server is stopping", {"Retry-After": "10"})
        raise HTTPException(found.status, found.error or "failed")
    return found


def job_out(job: Job) -> schemas.JobOut:
    """Return a job as it is answered, with its pages and text once it is done."""
    out = schemas.JobOut(
        id=job.id, state=job.state, pages=job.pages, pages_done=job.pages_done, error=job.error
    )
    if job.state == "done" and job.result:
        read = job.result["read"]
        results = [
            schemas.PageOut(page=s["page"], error=s["error"])
            if "error" in s
            else schemas.PageOut(page=s["page"], **page_of(s).as_json())
            for s in read
        ]
        out.results = results
        out.text = "\f".join(page.text for page in results if page.error is None)
    return out


def answer(job: Job, status: int = 200) -> Response:
    """Return a job, with its text once it is done."""
    return Response(job_out(job).model_dump_json(), status, media_type="application/json")


async def document(service: Service, job: Job, format: str) -> Response:
    """Return a finished job in a format."""
    if format == "json":
        return await run_in_threadpool(answer, job)
    states = (job.result or {}).get("read", [])
    if format != "pdf":
        text = await run_in_threadpool(WRITERS[format][1], read_pages(states, "document"))
        return Response(text, media_type=MEDIA[format])
    path, bounds = service.store.document(job.id), service.settings.bounds
    work = partial(
        service.workers.isolation.run, _pdf, path, states, job.request["dpi"], bounds,
        seconds=service.settings.job_seconds,
    )  # fmt: skip
    try:
        content = await run_in_threadpool(lambda: b"".join(work()))
    except UserError as error:
        raise HTTPException(409, "no searchable PDF can be made of this document") from error
    return Response(content, media_type=MEDIA["pdf"])


def _pdf(path: Any, states: list[dict[str, Any]], dpi: int, bounds: Bounds) -> Any:
    yield searchable(path, states, dpi, bounds)
