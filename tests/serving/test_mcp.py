"""The MCP server through the protocol's own client."""

import json

import anyio
import pytest
from drawn_pages import SizeReader, plain_pdf
from mcp import Client

from manifold_ocr.serving.mcp_server import build_server


def call(server, name, **arguments):
    async def run():
        async with Client(server) as client:
            names = sorted(tool.name for tool in (await client.list_tools()).tools)
            assert names == ["extract", "read", "verify"]
            return await client.call_tool(name, arguments)

    return anyio.run(run)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "root").mkdir()
    plain_pdf(tmp_path / "root" / "a.pdf", 3)
    (tmp_path / "secret.pdf").write_bytes((tmp_path / "root" / "a.pdf").read_bytes())
    (tmp_path / "root" / "broken.pdf").write_bytes(b"%PDF-1.4")
    return build_server(SizeReader(), tmp_path / "root", None)


def test_documents_are_read_and_extracted(server):
    read = json.loads(call(server, "read", path="a.pdf", pages="2-3").content[0].text)
    assert read["pages"] == [2, 3] and "pixel 1" in read["markdown"]
    found = json.loads(call(server, "extract", path="a.pdf").content[0].text)
    assert found["kind"] == "receipt" and found["not_read"] == []


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("read", {"path": "../secret.pdf"}, "outside"),
        ("read", {"path": "/etc/passwd"}, "outside"),
        ("read", {"path": "none.pdf"}, "no such file"),
        ("read", {"path": "broken.pdf"}, "PDF"),
        ("read", {"path": "a.pdf", "pages": "9"}, "none of them"),
        ("verify", {"text": "x"}, "no archive"),
    ],
)
def test_refusals_say_why_and_name_no_folder(server, tmp_path, name, arguments, word):
    answer = call(server, name, **arguments)
    assert answer.is_error and word in answer.content[0].text
    assert str(tmp_path) not in answer.content[0].text
