"""Who may ask, and what every route may refuse with."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from manifold_ocr.serving.api import schemas
from manifold_ocr.serving.api.keys import Key
from manifold_ocr.serving.api.service import Service

MEANING = {
    400: "The body cannot be parsed.",
    401: "No key, or an unknown one.",
    404: "No such job or model, it belongs to another key, or there is no archive.",
    409: "The job has not ended, or has no document to make this of.",
    413: "The document is over the bounds of bytes, pages or pixels.",
    422: "The document cannot be read, or a value is wrong.",
    429: "Too many requests of this key, or a full queue; see Retry-After.",
    500: "The server failed.",
    503: "The model could not be loaded, the document waited too long, or the server stops.",
    504: "The document takes too long.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the entries of OpenAPI for error statuses."""
    return {n: {"model": schemas.ErrorOut, "description": MEANING[n]} for n in statuses}


COMMON = (401, 429)
DOCUMENT = (*COMMON, 400, 409, 413, 422, 500, 503, 504)

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


class OpenApp(FastAPI):
    """An application that anyone may use: its description asks for no key."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        described = super().openapi()
        described["components"].pop("securitySchemes", None)
        for operations in described["paths"].values():
            for operation in operations.values():
                operation.pop("security", None)
        return described
