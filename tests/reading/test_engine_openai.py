"""The chat completions engine against a small server of the same interface."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.reading.engines import openai
from manifold_ocr.reading.engines.base import EngineOptions, load_engine


class Handler(BaseHTTPRequestHandler):
    """Answers with the width of the image; the first request of all finds it busy."""

    def log_message(self, *_):
        pass

    def reply(self, status, value):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, text in self.server.headers:
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.reply(200, {"object": "list", "data": [{"id": "tiny-vlm"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((dict(self.headers), body))
        if self.path != "/v1/chat/completions":
            return self.reply(404, {"error": "no such path"})
        if self.server.answers:
            return self.reply(*self.server.answers.pop(0))
        image, text = body["messages"][0]["content"]
        data = image["image_url"]["url"].removeprefix("data:image/png;base64,")
        width = Image.open(io.BytesIO(base64.b64decode(data))).width
        message = {"role": "assistant", "content": f" {text['text']} {width}\n"}
        usage = {"prompt_tokens": 20, "prompt_tokens_details": {"image_tokens": width}}
        return self.reply(200, {"choices": [{"message": message}], "usage": usage})


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(openai.time, "sleep", lambda _: None)
    held = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.seen, held.answers, held.headers = [], [], []
    thread = threading.Thread(target=held.serve_forever, daemon=True)
    thread.start()
    held.url = f"http://127.0.0.1:{held.server_port}/v1"
    yield held
    held.shutdown()
    held.server_close()


def images(*widths):
    return [Image.new("RGB", (width, 8), "white") for width in widths]


def test_answers_keep_the_order_and_say_their_tokens(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    engine = load_engine("openai", EngineOptions(url=server.url + "/", prompt="read", threads=3))
    assert engine.name == "tiny-vlm"
    found = list(engine.recognize(images(*range(10, 30))))
    assert [r.text for r in found] == [f"read {width}" for width in range(10, 30)]
    assert [r.vision_tokens for r in found] == list(range(10, 30))
    headers, body = server.seen[0]
    assert headers["Authorization"] == "Bearer secret"
    assert (body["model"], body["temperature"]) == ("tiny-vlm", 0.0)
    (own,) = engine.recognize(images(9), ["as LaTeX"])
    assert own.text == "as LaTeX 9"


def test_a_busy_server_is_asked_again_and_a_refusal_is_one_clear_line(server):
    engine = openai.OpenAiServer(server.url, "m")
    server.answers[:] = [(503, {}), (429, {})]
    (read,) = engine.recognize(images(5))
    assert read.text.endswith(" 5")
    server.answers[:] = [(400, b"context length exceeded\nat line 3")]
    with pytest.raises(UserError, match=r"status 400: context length exceeded at line 3"):
        list(engine.recognize(images(5)))
    server.answers[:] = [(500, {})] * 9
    with pytest.raises(UserError, match=r"no answer after 4 tries .status 500."):
        list(engine.recognize(images(5)))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"<html>", "not JSON"),
        ({}, "no choices|holds no choices"),
        ({"choices": []}, "holds no choices"),
        ({"choices": [{"message": {"content": ["x"]}}]}, "not a text"),
    ],
)
def test_answers_of_another_form_are_refused(server, answer, problem):
    engine = openai.OpenAiServer(server.url, "m")
    server.answers[:] = [(200, answer)]
    with pytest.raises(UserError, match=problem):
        list(engine.recognize(images(5)))


def test_a_server_says_how_long_to_wait_and_cannot_answer_without_end(server, monkeypatch):
    waits = []
    monkeypatch.setattr(openai.time, "sleep", waits.append)
    engine = openai.OpenAiServer(server.url, "m")
    server.headers = [("Retry-After", "7")]
    server.answers[:] = [(429, {}), (429, {})]
    assert [r.text for r in engine.recognize(images(5))]
    server.headers = [("Retry-After", "86400")]
    server.answers[:] = [(503, {})]
    assert [r.text for r in engine.recognize(images(5))]
    assert waits == [7.0, 7.0, 60.0]
    monkeypatch.setattr(openai, "LIMIT", 100)
    server.answers[:] = [(200, {"choices": [{"message": {"content": "x" * 200}}]})]
    with pytest.raises(UserError, match="over 100 bytes"):
        list(engine.recognize(images(5)))


def test_the_key_does_not_follow_a_redirect(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    engine = openai.OpenAiServer(server.url, "m")
    server.headers = [("Location", server.url + "/elsewhere")]
    server.answers[:] = [(307, {})]
    with pytest.raises(UserError, match="status 307"):
        list(engine.recognize(images(5)))
    assert len(server.seen) == 1


def test_no_content_is_an_empty_reading_and_addresses_are_checked(server, monkeypatch):
    engine = openai.OpenAiServer(server.url, "m")
    server.answers[:] = [(200, {"choices": [{"message": {"content": None}}]})]
    assert [r.text for r in engine.recognize(images(5))] == [""]
    for url in ("", "localhost:8000", "file:///etc/passwd"):
        with pytest.raises(UserError, match="--url"):
            openai.OpenAiServer(url, "m")
    monkeypatch.setattr(openai, "TRIES", 1)
    with pytest.raises(UserError, match=r"no answer after 1 tries .ConnectionError."):
        openai.OpenAiServer("http://127.0.0.1:9/v1")
