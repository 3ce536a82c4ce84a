"""Lines of several requests in one call of the model: shared, each answer its own, none lost."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_server import png
from drawn_pages import page_of_rows
from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.models.base import Recognition
from manifold_ocr.serving.api.batching import SharedModel


class Widths:
    """Reads a line as its width; keeps the sizes of the calls; a width of 13 is an error."""

    family, name = "widths", "widths"

    def __init__(self):
        self.batches = []
        self.begun, self.open = threading.Event(), threading.Event()
        self.open.set()

    def recognize(self, images, prompts=None):
        images = list(images)
        self.batches.append(len(images))
        self.begun.set()
        self.open.wait(20)
        if any(image.width == 13 for image in images):
            raise UserError("thirteen")
        for image in images:
            yield Recognition(str(image.width), 1.0)

    def vision_tokens(self, size):
        return size[0]


def lines(*widths):
    return [Image.new("RGB", (width, 8)) for width in widths]


def read(shared, *widths):
    return [result.text for result in shared.recognize(lines(*widths))]


def test_two_requests_at_once_share_one_call():
    model = Widths()
    shared = SharedModel(model, most=5, wait=20.0)  # 5 lines end the wait
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(read, shared, 1, 2), pool.submit(read, shared, 3, 4, 5)
        assert (first.result(20), second.result(20)) == (["1", "2"], ["3", "4", "5"])
    assert model.batches == [5]
    shared.close()


def test_requests_that_came_during_a_call_go_together_in_the_next():
    model = Widths()
    model.open.clear()
    shared = SharedModel(model, wait=0.0)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(read, shared, 100)
        assert model.begun.wait(20)
        others = [pool.submit(read, shared, n, n + 1) for n in range(1, 9)]
        while shared._queue.qsize() < 8:
            pass
        model.open.set()
        assert first.result(20) == ["100"]
        assert [future.result(20) for future in others] == [
            [str(n), str(n + 1)] for n in range(1, 9)
        ]
    assert model.batches == [1, 16] and shared.lines == 17
    shared.close()


def test_a_line_that_fails_fails_its_own_request_only():
    shared = SharedModel(Widths(), most=4, wait=20.0)
    with ThreadPoolExecutor(2) as pool:
        bad, good = pool.submit(read, shared, 12, 13), pool.submit(read, shared, 14, 15)
        assert good.result(20) == ["14", "15"]
        with pytest.raises(UserError, match="thirteen"):
            bad.result(20)
    shared.close()


def test_two_http_requests_share_one_call(server):
    model = Widths()

    class Page:
        def read(self, image, mode="auto"):
            (line,) = shared.recognize([image])
            return page_of_rows([line.text], [(0.0, 0.0, 9.0, 9.0)], image.size)

    shared = SharedModel(model, most=2, wait=20.0)
    client = server(Page())
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.post, "/api/ocr", files={"file": png(n, 20)}) for n in (21, 22)]
        assert [future.result(40).json()["text"] for future in asked] == ["21", "22"]
    assert model.batches == [2]
    shared.close()
