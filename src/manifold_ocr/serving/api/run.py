"""Start the API: logs, addresses that need keys, and the model."""

import contextlib
import ipaddress
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from manifold_ocr.errors import UserError
from manifold_ocr.serving.api.work import ServerSettings

if TYPE_CHECKING:
    from manifold_ocr.serving.documents import Reader


# Longer than any usual client keeps an idle connection (httpx: 5 s), so that the client closes
# first: a request sent while the server closes its connection is lost.
KEEP_ALIVE_SECONDS = 75


def run_server(
    settings: ServerSettings, host: str, port: int, load: Callable[[], tuple["Reader", str]]
) -> None:
    """Serve what `load` returns until a signal; jobs that run then end within the grace time.

    Raises:
        UserError: the serve extra is not installed, a file of the settings is wrong, the
            address is open to others and there are no keys, or the model cannot be loaded.
    """
    if settings.keys is None and not _is_loopback(host):
        raise UserError(
            f"--host {host}: others can reach this address; give --keys FILE (see --add-key)"
        )
    try:
        import uvicorn

        from manifold_ocr.serving.api.app import create_app
        from manifold_ocr.serving.api.middleware import JsonFormatter
    except ModuleNotFoundError as error:
        raise UserError(
            f"serving needs {error.name}: pip install 'manifold-ocr[serve,pages]'"
        ) from error
    with _logs_as(JsonFormatter()):
        app = create_app(settings, load)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(settings.grace_seconds),
        )
        server = uvicorn.Server(config)
        app.state.service.give_up = partial(setattr, server, "should_exit", True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
    if app.state.service.failed:
        raise UserError(app.state.service.problem)


@contextlib.contextmanager
def _logs_as(formatter: logging.Formatter) -> Iterator[None]:
    """Write all logs from INFO to stderr, formatted; afterwards they go where they went before.

    A handler that stays would write to this stderr in a process that has closed it.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root, client = logging.getLogger(), logging.getLogger("httpx")
    before = root.handlers, root.level, client.level
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    client.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])
        client.setLevel(before[2])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_shared(model: Path | None, threads: int) -> tuple["Reader", str]:
    """Return a reader whose one model takes lines of several requests at once, and its name."""
    from manifold_ocr.reading.detect import DetectionConfig
    from manifold_ocr.reading.engines.checkpoint import reader_model
    from manifold_ocr.reading.page import PageReader
    from manifold_ocr.serving.api.batching import SharedModel
    from manifold_ocr.serving.documents import PerThreadDetector

    shared = SharedModel(reader_model(model, threads=threads))
    detector = PerThreadDetector(DetectionConfig(threads=threads))
    return PageReader(detector, shared), shared.name
