"""What the routes call: one model, its workers, the archive, the project's last figures."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from manifold_ocr.compression.archive import load as load_archive
from manifold_ocr.compression.verify import Verifier, VerifierSettings
from manifold_ocr.config import GateConfig, MonitorConfig
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.gate import describe, judge
from manifold_ocr.files import read_json
from manifold_ocr.serving.api.jobs import JobStore
from manifold_ocr.serving.api.keys import Keyring
from manifold_ocr.serving.api.work import ServerSettings, Workers
from manifold_ocr.serving.documents import Reader

LOG = logging.getLogger("manifold_ocr.serving")
PURGE_SECONDS = 30.0


class Service:
    """Everything that outlives a request.

    `load` returns the reader and a name for its model; it runs in a thread of its own, so that
    the server answers health checks while the model loads. Where it cannot be loaded `failed` is
    set, `problem` says why, and `give_up` is called: the server ends.
    """

    def __init__(self, settings: ServerSettings, load: Callable[[], tuple[Reader, str]]) -> None:
        """Open the stores; raises UserError where a file of the settings is wrong."""
        self.settings = settings
        self.keys = Keyring(settings.keys)
        self.store = JobStore(settings.data)
        self.verifier: Verifier | None = None
        if settings.archive is not None:
            self.verifier = Verifier(load_archive(settings.archive), VerifierSettings())
        self.model, self.problem, self.failed = "", "the model is loading", False
        self.give_up: Callable[[], None] = lambda: None
        self.workers = Workers(self.store, _NoReader(), settings)
        self.meters = Meters(self)
        self._load = load
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._begin, self._purge)
        ]

    def start(self) -> None:
        """Take up jobs that are left, begin to load the model and to forget old jobs."""
        LOG.info("jobs taken up", extra={"facts": {"jobs": self.workers.take_up()}})
        for thread in self._threads:
            thread.start()

    def _begin(self) -> None:
        try:
            self.workers.reader, self.model = self._load()
        except Exception as error:
            self.problem, self.failed = f"the model could not be loaded: {error}", True
            LOG.error("model not loaded", extra={"facts": {"error": str(error)}})
            self.give_up()
            return
        self.workers.start()
        self.problem = ""
        LOG.info("ready", extra={"facts": {"model": self.model}})

    def _purge(self) -> None:
        while not self._stopped.wait(PURGE_SECONDS):
            self.store.purge(self.settings.keep_seconds)

    def stop(self) -> None:
        """End running jobs within the grace time; queued ones wait for the next start."""
        self._stopped.set()
        self.workers.stop()
        LOG.info("stopped", extra={"facts": {"waiting": self.store.waiting()}})
        self.store.close()

    def drift(self) -> str | None:
        """Return the monitor's last verdict, or None where it has not run."""
        report = _known(self.settings.metrics / "monitor.json")
        if report is None:
            return None
        alerts = report.get("alerts", 0)
        return f"{alerts} alerts" if alerts else "no alert"

    def figures(self) -> dict[str, Any]:
        """Return the overall scores of the last evaluation, the gate's line, and the drift."""
        evaluation = _known(self.settings.metrics / "evaluate.json")
        scores = gate = None
        if evaluation is not None:
            scores = {
                name: evaluation[name]["overall"]
                for name in ("adapter", "base")
                if isinstance(evaluation.get(name), dict) and "overall" in evaluation[name]
            }
            try:
                gate = describe(judge(evaluation, MonitorConfig()), GateConfig())
            except (UserError, KeyError, TypeError, AttributeError):
                gate = None
        return {"evaluation": scores, "gate": gate, "drift": self.drift()}


class _NoReader:
    """Stands in until the model is loaded; the workers start after that."""

    def read(self, image: Any, mode: Any = "auto") -> Any:
        raise UserError("the model is loading")


def _known(path: Path) -> dict[str, Any] | None:
    try:
        value = read_json(path)
    except UserError:
        return None
    return value if isinstance(value, dict) else None


class Meters:
    """Prometheus figures of one server."""

    def __init__(self, service: Service) -> None:
        """Register them in a registry of their own."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "manifold_ocr_requests", "Requests.", ["route", "method", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "manifold_ocr_request_seconds", "Seconds per request.", ["route"],
            registry=self.registry, buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300),
        )  # fmt: skip
        read = {
            "manifold_ocr_jobs_waiting": ("Queued jobs.", service.store.waiting),
            "manifold_ocr_jobs_running": ("Running jobs.", lambda: service.workers.running),
            "manifold_ocr_pages_read": ("Pages read.", lambda: service.workers.pages_read),
            "manifold_ocr_ready": ("1 where the model is loaded.", lambda: not service.problem),
        }
        for name, (text, value) in read.items():
            Gauge(name, text, registry=self.registry).set_function(value)
