"""Any server that speaks OpenAI's chat completions: vLLM, olmOCR, PaddleOCR-VL and others.

One request per image, a few at a time; the answers keep the order of the images. The key comes
from the environment (`OPENAI_API_KEY`), goes to the one address given, and is never written.
"""

import base64
import io
import json
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import requests

from manifold_ocr.errors import UserError
from manifold_ocr.models.base import ImageSource, Recognition, opened

PROMPT = "Transcribe all text in this image exactly, in reading order. Answer with the text only."
KEY = "OPENAI_API_KEY"
TIMEOUT = (10, 600)  # seconds to connect, and for an answer
TRIES = 4
LIMIT = 16 << 20  # bytes of an answer
LONGEST_WAIT = 60.0  # seconds that a server may ask for between two tries
AGAIN = (408, 409, 429, 500, 502, 503, 504)  # statuses that a server means for a while


class OpenAiServer:
    """A vision model behind `URL/chat/completions`, asked greedily.

    `url` ends before `/chat/completions`, mostly in `/v1`; an empty `model` is the first one that
    the server lists. `workers` requests run at a time.
    """

    family = "openai"

    def __init__(
        self, url: str, model: str = "", prompt: str = "", max_tokens: int = 4096, workers: int = 0
    ) -> None:
        """Check the address and name the model.

        Raises:
            UserError: no http(s) address, or the server does not answer.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(
                f"--url {url!r}: the address of a server, such as http://localhost:8000/v1"
            )
        self.url = url.rstrip("/")
        self.prompt, self.max_tokens, self.workers = prompt or PROMPT, max_tokens, workers or 4
        self.headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get(KEY)) else {}
        self.model = model or self._first_model()
        self.name = self.model

    def recognize(
        self, images: Iterable[ImageSource], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield one result per image, in order; a prompt of its own replaces the general one."""
        pending: deque[Future[Recognition]] = deque()
        asked = iter(prompts or ())
        with ThreadPoolExecutor(self.workers) as pool:
            for image in images:
                body = self._body(image, next(asked, "") or self.prompt)
                pending.append(pool.submit(self._ask, body))
                if len(pending) > 2 * self.workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return 0: a server does not say beforehand; see the results."""
        return 0

    def _body(self, source: ImageSource, prompt: str) -> dict[str, Any]:
        buffer = io.BytesIO()
        opened(source).save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": [image, {"type": "text", "text": prompt}]}],
            "temperature": 0.0,
            "max_tokens": self.max_tokens,
        }

    def _ask(self, body: dict[str, Any]) -> Recognition:
        answer = self._send("POST", "/chat/completions", body)
        try:
            text = answer["choices"][0]["message"]["content"]
            details = answer.get("usage", {}).get("prompt_tokens_details") or {}
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self.url}: the answer holds no choices[0].message.content"
            ) from error
        if text is not None and not isinstance(text, str):
            raise UserError(f"{self.url}: the content of the answer is {text!r}, not a text")
        tokens = details.get("image_tokens")
        return Recognition(
            (text or "").strip(), vision_tokens=tokens if isinstance(tokens, int) else None
        )

    def _first_model(self) -> str:
        answer = self._send("GET", "/models", None)
        try:
            return str(answer["data"][0]["id"])
        except (KeyError, IndexError, TypeError) as error:
            raise UserError(f"{self.url}/models lists no model; name one with --served") from error

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """Return the JSON of an answer, asking again where the server is busy.

        Raises:
            UserError: the server cannot be reached, refuses, or answers with something else.
        """
        problem, wait = "", 0.0
        for attempt in range(TRIES):
            if attempt:
                time.sleep(max(wait, 2.0**attempt / 2))
            try:
                status, text, wait = self._once(method, path, body)
            except requests.RequestException as error:
                problem, wait = type(error).__name__, 0.0  # its text may hold the request
                continue
            if status in AGAIN:
                problem = f"status {status}"
                continue
            if status != 200:
                said = " ".join(text.decode("utf-8", "replace").split())[:200]
                raise UserError(f"{self.url}{path}: status {status}: {said}")
            if len(text) > LIMIT:
                raise UserError(f"{self.url}{path}: the answer has over {LIMIT:,} bytes")
            try:
                return json.loads(text)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{self.url}{path}: the answer is not JSON") from error
        raise UserError(f"{self.url}{path}: no answer after {TRIES} tries ({problem})")

    def _once(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[int, bytes, float]:
        """Return status, bytes up to the limit and one, and the seconds asked to wait.

        Redirects are not followed: the key is for the address given.
        """
        with requests.request(
            method,
            self.url + path,
            json=body,
            headers=self.headers,
            timeout=TIMEOUT,
            stream=True,
            allow_redirects=False,
        ) as answer:
            text = bytearray()
            for piece in answer.iter_content(1 << 16):
                text += piece
                if len(text) > LIMIT:
                    break
            asked = answer.headers.get("Retry-After", "")
            wait = min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0.0
            return answer.status_code, bytes(text), wait
