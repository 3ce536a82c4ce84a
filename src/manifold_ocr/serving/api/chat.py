"""Two routes of OpenAI's API, so that programs written for it can read documents here.

The images of the last user message are read, in order. They come as data URIs: the server
fetches no address. Instructions are not followed: what comes back is the text of the images.
"""

import binascii
import io
import json
import time
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from manifold_ocr.serving.api.access import COMMON, DOCUMENT, Who, errors
from manifold_ocr.serving.api.answers import accept, ended_job, job_out
from manifold_ocr.serving.api.jobs import new_id
from manifold_ocr.serving.api.keys import Key
from manifold_ocr.serving.api.service import Service

MOST_IMAGES = 32  # of a message
PDF_DPI = 200
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4"
    "DwABAQEAHLCMmQAAAABJRU5ErkJggg=="
)


class TextPart(BaseModel):
    """A part of a message that is read by nobody here."""

    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """An image or PDF as data URI."""

    url: str = Field(description="data:image/png;base64,...")


class ImagePart(BaseModel):
    """An image to read."""

    type: Literal["image_url"]
    image_url: ImageUrl


class FileData(BaseModel):
    """A file as data URI."""

    file_data: str = Field(description="data:application/pdf;base64,...")


class FilePart(BaseModel):
    """A PDF to read."""

    type: Literal["file"]
    file: FileData


Part = Annotated[TextPart | ImagePart | FilePart, Field(discriminator="type")]


class Message(BaseModel):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None


class ChatIn(BaseModel):
    """A conversation; of its settings only `model` and `stream` have a meaning here."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "pp-ocrv6-small",
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "text", "text": "Read this."},
                                {"type": "image_url", "image_url": {"url": PIXEL}},
                            ],
                        }
                    ],
                }
            ]
        }
    )
    model: str = Field(max_length=500)
    messages: list[Message] = Field(min_length=1, max_length=1000)
    stream: bool = Field(default=False, strict=True)


class AnswerOut(BaseModel):
    """The message that answers."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChoiceOut(BaseModel):
    """The one choice."""

    index: int = 0
    message: AnswerOut
    finish_reason: Literal["stop"] = "stop"


class ChatOut(BaseModel):
    """The text of the images."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChoiceOut]


class ModelOut(BaseModel):
    """A model that may be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "manifold-ocr"


class ModelsOut(BaseModel):
    """The models that may be asked for: the one that was loaded."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


class ChatErrorOut(BaseModel):
    """What was wrong with a request, as clients of OpenAI's API expect it."""

    error: dict[str, str | None]


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {n: {**entry, "model": ChatErrorOut} for n, entry in errors(*statuses).items()}


def add_chat(app: FastAPI, service: Service) -> None:
    """Add the routes below /v1."""

    @app.get("/v1/models", response_model=ModelsOut, responses=_refusals(*COMMON))
    def models(who: Who) -> Any:
        """Name the loaded model; none while it is being loaded."""
        return ModelsOut(data=[ModelOut(id=service.model)] if service.model else [])

    @app.post("/v1/chat/completions", response_model=ChatOut, responses=_refusals(*DOCUMENT, 404))
    async def chat(request: Request, who: Who, query: ChatIn) -> Any:
        """Read the images of the last user message and return their text."""
        if not service.model:
            raise HTTPException(503, service.problem, {"Retry-After": "10"})
        if query.model != service.model:
            raise HTTPException(404, f"the model here is {service.model!r}; see GET /v1/models")
        contents = await run_in_threadpool(_documents, query)
        texts = [await _text(request, service, who, content) for content in contents]
        return _answer(service.model, "\n\n".join(texts), query.stream)


def _documents(query: ChatIn) -> list[bytes]:
    """Return the documents of the last user message.

    Raises:
        HTTPException: there are none, or too many, or one is no data URI.
    """
    asked = [message.content for message in query.messages if message.role == "user"]
    parts = asked[-1] if asked and isinstance(asked[-1], list) else []
    found = [
        part.image_url.url if isinstance(part, ImagePart) else part.file.file_data
        for part in parts
        if not isinstance(part, TextPart)
    ]
    if not 1 <= len(found) <= MOST_IMAGES:
        raise HTTPException(
            422, f"the last user message has {len(found)} images; give 1 to {MOST_IMAGES}"
        )
    return [_decoded(uri) for uri in found]


def _decoded(uri: str) -> bytes:
    head, comma, data = uri.partition(",")
    if not (comma and head[:5].lower() == "data:" and head[-7:].lower() == ";base64"):
        raise HTTPException(422, "an image is no data:...;base64, URI; no address is fetched here")
    try:
        return binascii.a2b_base64("".join(data.split()), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(422, f"an image is not in base64: {error}") from error


async def _text(request: Request, service: Service, who: Key, content: bytes) -> str:
    asked = {"mode": "auto", "pages": "", "dpi": PDF_DPI}
    job = await accept(request, service, who, io.BytesIO(content), asked, durable=False)
    try:
        ended = await ended_job(request, service, job)
        return (await run_in_threadpool(job_out, ended)).text or ""
    finally:
        await run_in_threadpool(service.store.delete, job.id)


def _answer(model: str, text: str, stream: bool) -> Any:
    out = ChatOut(
        id=f"chatcmpl-{new_id()}", created=int(time.time()), model=model,
        choices=[ChoiceOut(message=AnswerOut(content=text))],
    )  # fmt: skip
    if not stream:
        return JSONResponse(out.model_dump())
    chunk = {**out.model_dump(), "object": "chat.completion.chunk"}
    chunk["choices"] = [
        {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    ]
    events = f"data: {json.dumps(chunk, ensure_ascii=False)}\n\ndata: [DONE]\n\n"
    return Response(events, media_type="text/event-stream")
