"""The routes of OpenAI's API: what its clients send and read, and what is refused."""

import base64
import json

import pytest
from api_server import png
from drawn_pages import plain_pdf

from manifold_ocr.serving.api.keys import add_key
from manifold_ocr.serving.documents import Bounds


def uri(content, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def ask(client, *parts, headers=None, **settings):
    content = [{"type": "text", "text": "What does this say?"}, *parts]
    earlier = [{"role": "system", "content": "You read."},
               {"role": "user", "content": [image(png(999))]},
               {"role": "assistant", "content": "page 999"}]  # fmt: skip
    query = {"model": "scripted", "messages": [*earlier, {"role": "user", "content": content}]}
    return client.post(
        "/v1/chat/completions", json={**query, "max_tokens": 300, **settings}, headers=headers
    )


def image(content, **more):
    return {"type": "image_url", "image_url": {"url": uri(content), **more}}


def address(url):
    return {"type": "image_url", "image_url": {"url": url}}


def test_images_and_pdfs_of_the_last_message_are_read_in_order(server, tmp_path):
    client = server()
    assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["scripted"]
    pdf = uri(plain_pdf(tmp_path / "a.pdf", 2).read_bytes(), "application/pdf")
    answer = ask(client, image(png(130), detail="high"),
                 {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
                 image(png(131)))  # fmt: skip
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["object"] == "chat.completion" and body["model"] == "scripted"
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "stop" and choice["message"]["role"] == "assistant"
    read = choice["message"]["content"].replace("\f", "\n\n").split("\n\n")
    assert [line.split()[1] for line in read] == ["130", "556", "559", "131"]
    assert not list((tmp_path / "data").glob("*.document"))  # nothing is kept


def test_a_stream_is_one_chunk_and_its_end(server):
    answer = ask(server(), image(png(130)), stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.strip().split("\n\n")]
    assert events[1:] == ["[DONE]"]
    chunk = json.loads(events[0])
    assert chunk["object"] == "chat.completion.chunk"
    assert chunk["choices"][0]["delta"]["content"] == "page 130 x 60 pixel 7"


@pytest.mark.parametrize(
    ("parts", "settings", "status", "word"),
    [
        ([], {}, 422, "0 images"),
        ([image(png())] * 33, {}, 422, "33 images"),
        ([address("http://127.0.0.1/a.png")], {}, 422, "fetched"),
        ([address("file:///etc/passwd")], {}, 422, "fetched"),
        ([address("data:image/png;base64,%%%")], {}, 422, "base64"),
        ([image(b"no image")], {}, 422, "image"),
        ([{"type": "input_audio"}], {}, 422, "input_audio"),
        ([image(png(2000, 1000))], {}, 413, "pixels"),
        ([image(png())], {"model": "gpt-4o"}, 404, "scripted"),
        ([image(png())], {"messages": []}, 422, "messages"),
    ],
)  # fmt: skip
def test_refusals_have_the_shape_that_clients_read(server, parts, settings, status, word):
    client = server(bounds=Bounds(bytes=800_000, pages=20, pixels=1_000_000))
    answer = ask(client, *parts, **settings)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert word in error["message"] and error["type"] == "invalid_request_error"


def test_a_body_over_the_limit_is_refused_in_the_same_shape(server):
    client = server(bounds=Bounds(bytes=1000, pages=20, pixels=1_000_000))
    answer = ask(client, image(b"x" * 200_000))
    assert answer.status_code == 413 and "over" in answer.json()["error"]["message"]
    assert "over" in client.post("/api/ocr", content=b"x" * 200_000).json()["detail"]


def test_keys_are_those_of_the_api(server, tmp_path):
    key = add_key(tmp_path / "keys.json", "mine", 1)
    client = server(keys=tmp_path / "keys.json")
    assert client.get("/v1/models").status_code == 401
    assert ask(client, image(png())).json()["error"]["message"] == "a key is needed"
    large = {"messages": [{"role": "user", "content": "x" * 100_000}]}  # refused before it is read
    assert client.post("/v1/chat/completions", json=large).json()["error"]["message"] == (
        "a key is needed"
    )
    bearer = {"Authorization": f"Bearer {key}"}
    assert ask(client, image(png()), headers=bearer).status_code == 200
    late = ask(client, image(png()), headers=bearer)
    assert late.status_code == 429 and int(late.headers["retry-after"]) >= 1
