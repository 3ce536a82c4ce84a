"""Start the API: logs, addresses that need keys, and the model."""

import ipaddress
import logging
from collections.abc import Callable
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
        UserError: the serve extra is not installed, a file of the settings is wrong, or the
            address is open to others and there are no keys.
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
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    app = create_app(settings, load)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.grace_seconds),
    )


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

    shared = SharedModel(reader_model(model))
    detector = PerThreadDetector(DetectionConfig(threads=threads))
    return PageReader(detector, shared), shared.name
