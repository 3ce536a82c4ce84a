"""Around every request: a key before a body, a bound on it, one line of log without its text."""

import json
import logging
import time
import uuid
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from manifold_ocr.serving.api.keys import Keyring

LOG = logging.getLogger("manifold_ocr.serving")
FORM_BYTES = 64 << 10  # of a multipart body beside its document


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, message and the facts given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        row: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            row["trace"] = self.formatException(record.exc_info)
        return json.dumps(row, ensure_ascii=False)


def problem(path: str, detail: str, status: int) -> dict[str, Any]:
    """Return the body of an error: ours, or below /v1 what clients of OpenAI's API read."""
    if not path.startswith("/v1/"):
        return {"detail": detail}
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": detail, "type": kind, "param": None, "code": None}}


async def _refuse(scope: Scope, send: Send, detail: str, status: int, **headers: str) -> None:
    """Answer without reading a body; the connection ends with it."""
    body = json.dumps(problem(scope["path"], detail, status)).encode()
    names = {"content-type": "application/json", "connection": "close", **headers}
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in names.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


class _TooLargeBody(Exception):  # noqa: N818
    pass


class BodyLimit:
    """Answer 413 as soon as a body is known to be over `most` bytes, and read no more of it."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        """Wrap an application."""
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if stated.isdigit() and int(stated) > self._most:
            await self._refuse(scope, send)
            return
        got, refused = 0, False

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self._most:
                raise _TooLargeBody  # whoever parses the body makes an answer of it: see below
            return message

        async def sent(message: Message) -> None:
            nonlocal refused
            if got <= self._most:
                await send(message)
            elif not refused:
                refused = True
                await self._refuse(scope, send)

        try:
            await self._app(scope, counted, sent)
        except _TooLargeBody:
            if not refused:
                await self._refuse(scope, send)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        await _refuse(scope, send, f"the request is over {self._most:,} bytes", 413)


class KeyFirst:
    """Answer 401 to a large body of somebody without a key before any of it is read.

    The routes ask for the key too, but only once the body has been taken in.
    """

    def __init__(self, app: ASGIApp, keys: Keyring) -> None:
        """Wrap an application."""
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and not self._allowed(dict(scope["headers"])):
            await _refuse(scope, send, "a key is needed", 401, www_authenticate="Bearer")
            return
        await self._app(scope, receive, send)

    def _allowed(self, headers: dict[bytes, bytes]) -> bool:
        stated = headers.get(b"content-length", b"")
        chunked = b"transfer-encoding" in headers
        if not chunked and not (stated.isdigit() and int(stated) > FORM_BYTES):
            return True
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        plain = headers.get(b"x-api-key", b"").decode("latin-1")
        return self._keys.find(token.strip() if scheme.lower() == "bearer" else plain) is not None


class RequestLog:
    """Log and measure each request: route, status, milliseconds, who asked. Never its content."""

    def __init__(self, app: ASGIApp, meters: Any) -> None:
        """Wrap an application."""
        self._app, self._meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, started, status = uuid.uuid4().hex[:16], time.monotonic(), 500
        scope.setdefault("state", {})

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            seconds = time.monotonic() - started
            route = getattr(scope.get("route"), "path", "none")
            self._meters.requests.labels(route, scope["method"], str(status)).inc()
            self._meters.seconds.labels(route).observe(seconds)
            facts = {
                "request": request_id,
                "method": scope["method"],
                "route": route,
                "status": status,
                "milliseconds": round(1000 * seconds, 1),
                "key": scope["state"].get("key"),
                "job": scope["state"].get("job"),
            }
            LOG.info("request", extra={"facts": facts})
