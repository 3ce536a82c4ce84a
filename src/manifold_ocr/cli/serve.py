"""The commands that read and serve: ocr, serve, extract, demo, gate-worker and mcp."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from manifold_ocr.compression.verify import Verifier
    from manifold_ocr.serving.batch import BatchSettings

ModelOption = Annotated[
    Path | None,
    typer.Option(help="Checkpoint or adapter folder; default: the base model of params.yaml."),
]


def register_serving(app: typer.Typer) -> None:
    """Add the commands."""
    for register in (
        register_ocr,
        register_serve,
        register_extract,
        register_demo,
        register_gate,
        register_mcp,
    ):
        register(app)


def register_ocr(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("ocr", rich_help_panel="Serve")
    def ocr(
        inputs: Annotated[list[Path], typer.Argument(help="Images, PDFs and folders of them.")],
        out: Annotated[Path, typer.Option(help="Folder of the outputs; a rerun goes on there.")],
        formats: Annotated[
            str, typer.Option("--format", help="Of jsonl,text,markdown,hocr,alto,pdf.")
        ] = "jsonl",
        pages: Annotated[str, typer.Option(help="Pages of each file: 1-3,7,10-.")] = "",
        mode: Annotated[str, typer.Option(help="auto, line or page.")] = "auto",
        model: ModelOption = None,
        dpi: Annotated[int, typer.Option(min=36, max=1200, help="At which PDFs are rendered.")] = (
            200
        ),
        threads: Annotated[int, typer.Option(min=0, help="Cores to read on; 0: all.")] = 0,
        workers: Annotated[int, typer.Option(min=1, help="Processes that read.")] = 1,
        engine: Annotated[
            str, typer.Option(help="local, or ray: the same work through Ray Data.")
        ] = "local",
    ) -> None:
        """Read folders of images and PDFs; status 2 if a file or page could not be read."""
        if mode not in ("auto", "line", "page"):
            raise typer.BadParameter(f"--mode is auto, line or page, not {mode!r}")
        if engine not in ("local", "ray"):
            raise typer.BadParameter(f"--engine is local or ray, not {engine!r}")
        from manifold_ocr.serving.batch import BatchSettings

        chosen = tuple(dict.fromkeys(part.strip() for part in formats.split(",") if part.strip()))
        settings = BatchSettings(
            formats=chosen, mode=mode, dpi=dpi, pages=pages, model=model, threads=threads
        )
        if not read_all(inputs, out, settings, workers, engine):
            raise typer.Exit(2)


def read_all(
    inputs: list[Path], out: Path, settings: "BatchSettings", workers: int, engine: str
) -> bool:
    """Run the batch, print what it did, and return whether everything could be read."""
    import time

    from manifold_ocr.serving.batch import run_batch
    from manifold_ocr.serving.workers import processes, ray_data

    several = processes(workers) if workers > 1 else None
    started = time.monotonic()
    done = run_batch(inputs, out, settings, ray_data(workers) if engine == "ray" else several)
    seconds = time.monotonic() - started
    typer.echo(
        f"{out}: {done.files} files, {done.pages} pages ({done.known} files known before), "
        f"{seconds:.0f} s; quarantined: {done.bad_files} files, {done.bad_pages} pages"
    )
    if done.skipped:
        typer.echo(f"passed over {len(done.skipped)} files, first: {done.skipped[0]}", err=True)
    if done.bad_files or done.bad_pages:
        typer.echo(f"reasons: {out / 'quarantine.jsonl'}", err=True)
    return not done.bad_files and not done.bad_pages


def register_serve(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("serve", rich_help_panel="Serve")
    def serve(
        host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=0, max=65535, help="Port.")] = 8000,
        data: Annotated[Path, typer.Option(help="Folder of the jobs.")] = Path("output/serve"),
        keys: Annotated[Path | None, typer.Option(help="File of API keys (hashes).")] = None,
        add_key: Annotated[
            str, typer.Option(help="Add a key of this name to --keys, print it, and end.")
        ] = "",
        per_minute: Annotated[int, typer.Option(min=1, help="Requests of that key.")] = 120,
        model: ModelOption = None,
        archive: Annotated[
            Path | None, typer.Option(help="What /api/verify compares with (compress --build).")
        ] = None,
        workers: Annotated[int, typer.Option(min=1, help="Documents read at a time.")] = 2,
        queue: Annotated[int, typer.Option(min=1, help="Documents that may wait.")] = 64,
        queue_seconds: Annotated[float, typer.Option(min=1, help="A request may wait.")] = 120.0,
        max_pages: Annotated[int, typer.Option(min=1, help="Of a document.")] = 200,
        max_megabytes: Annotated[int, typer.Option(min=1, help="Of a document.")] = 32,
        seconds: Annotated[float, typer.Option(min=1, help="A document may take.")] = 300.0,
        threads: Annotated[int, typer.Option(min=0, help="Cores to read on; 0: all.")] = 0,
    ) -> None:
        """Serve reading, extraction and verification over HTTP."""
        from manifold_ocr.errors import UserError
        from manifold_ocr.serving.api.keys import add_key as add
        from manifold_ocr.serving.api.run import load_shared, run_server
        from manifold_ocr.serving.api.work import ServerSettings
        from manifold_ocr.serving.documents import Bounds

        if add_key:
            if keys is None:
                raise UserError("--add-key needs --keys FILE, where its hash is kept")
            typer.echo(add(keys, add_key, per_minute))
            return
        settings = ServerSettings(
            data=data,
            keys=keys,
            archive=archive,
            workers=workers,
            queue=queue,
            queue_seconds=queue_seconds,
            job_seconds=seconds,
            bounds=Bounds(bytes=max_megabytes << 20, pages=max_pages, pixels=50_000_000),
        )
        require_free(host, port)
        run_server(settings, host, port, lambda: load_shared(model, threads))


def require_free(host: str, port: int) -> None:
    """Raise UserError where nothing can listen on this address: before a model is loaded."""
    import socket

    from manifold_ocr.errors import UserError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:  # the latter of a name that is no host's
        why = error.strerror if isinstance(error, OSError) else "not the name of a host"
        raise UserError(
            f"cannot listen on {host}, port {port} ({why}); choose another address or port, or end "
            "what uses it"
        ) from None


def register_extract(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("extract", rich_help_panel="Serve")
    def extract(
        documents: Annotated[list[Path], typer.Argument(help="Images or PDFs.")],
        kind: Annotated[str, typer.Option(help="receipt (and invoice), or contract.")] = "receipt",
        model: ModelOption = None,
        pages: Annotated[str, typer.Option(help="Pages of each file: 1-3,7,10-.")] = "",
        dpi: Annotated[int, typer.Option(min=36, max=1200, help="At which PDFs are rendered.")] = (
            200
        ),
        threads: Annotated[int, typer.Option(min=0, help="Cores to read on; 0: all.")] = 0,
    ) -> None:
        """Print the fields of receipts, invoices or contracts as JSON; one object per file."""
        import json

        from manifold_ocr.errors import UserError
        from manifold_ocr.serving.documents import load_reader, open_document, pages_of
        from manifold_ocr.serving.processors import KINDS, extract_fields

        if kind not in KINDS:
            raise typer.BadParameter(f"--kind is {' or '.join(KINDS)}, not {kind!r}")
        reader, failed = load_reader(model, threads), 0
        for path in documents:
            try:
                read, bad = [], []
                with open_document(path) as document:
                    for opened in pages_of(document, pages, dpi):
                        if opened.image is None:
                            bad.append(opened.error)
                        else:
                            read.append((opened.number, reader.read(opened.image, "page")))
                found = extract_fields(read, kind).as_json()
                typer.echo(json.dumps({"file": str(path), **found}, ensure_ascii=False))
                for reason in bad:
                    typer.echo(f"error: {reason}", err=True)
                failed += bool(bad)
            except UserError as error:
                failed += 1
                typer.echo(f"error: {error}", err=True)
        if failed:
            raise typer.Exit(2)


def register_demo(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("demo", rich_help_panel="Serve")
    def demo(
        host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 7860,
        corrections: Annotated[
            Path, typer.Option(help="Folder in which corrected lines are saved.")
        ] = Path("data/corrections"),
        threads: Annotated[int, typer.Option(min=0, help="Cores to read on; 0: all.")] = 0,
    ) -> None:
        """Show reading, comparison, compression and correction in the browser."""
        import os
        import signal

        from manifold_ocr.errors import UserError

        require_free(host, port)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # temporary files are removed
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
        try:
            from manifold_ocr.serving.demo.app import DemoSettings, launch_demo
        except ModuleNotFoundError as error:
            raise UserError(
                f"the demo needs {error.name}: pip install 'manifold-ocr[serve,pages]'"
            ) from error
        launch_demo(DemoSettings(corrections=corrections, threads=threads), host, port)


def load_verifier(archive: Path | None) -> "Verifier | None":
    """Return a verifier of an archive, or None without one."""
    from manifold_ocr.compression.archive import load
    from manifold_ocr.compression.verify import Verifier, VerifierSettings

    return Verifier(load(archive), VerifierSettings()) if archive is not None else None


def register_gate(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("gate-worker", rich_help_panel="Serve")
    def gate_worker(
        url: Annotated[
            str,
            typer.Option(
                envvar="MANIFOLD_OCR_GATE_URL", help="redis:// or rediss:// with user and password."
            ),
        ] = "redis://127.0.0.1:6379/0",
        archive: Annotated[
            Path | None, typer.Option(help="What spans are verified with (compress --build).")
        ] = None,
        consumer: Annotated[
            str, typer.Option(help="Name of this worker; default: host and process.")
        ] = "",
        idle: Annotated[
            float, typer.Option(min=1, help="Seconds after which another worker's span is taken.")
        ] = 60.0,
        deliveries: Annotated[
            int, typer.Option(min=1, help="Tries before a span goes to gate:dead.")
        ] = 5,
        metrics_port: Annotated[
            int, typer.Option(min=0, max=65535, help="Prometheus figures on loopback; 0: none.")
        ] = 0,
        model: ModelOption = None,
        threads: Annotated[int, typer.Option(min=0, help="Cores to read on; 0: all.")] = 0,
    ) -> None:
        """Read and verify the compressed spans at gate:last:* until it is stopped."""
        import os
        import signal
        import socket

        from prometheus_client import start_http_server

        from manifold_ocr.compression.signatures import Codec
        from manifold_ocr.serving.documents import load_reader
        from manifold_ocr.serving.gate.spans import SpanReader
        from manifold_ocr.serving.gate.worker import GateSettings, GateWorker

        if metrics_port:
            require_free("127.0.0.1", metrics_port)
        verifier = load_verifier(archive)
        codec = verifier.manifold.config if verifier else Codec()
        name = consumer or f"{socket.gethostname()}-{os.getpid()}"
        settings = GateSettings(url=url, consumer=name, idle=idle, deliveries=deliveries)
        worker = GateWorker(settings, SpanReader(load_reader(model, threads), verifier, codec))
        if metrics_port:
            start_http_server(metrics_port, addr="127.0.0.1", registry=worker.registry)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        typer.echo(f"{name}: waiting for spans", err=True)
        worker.run()


def register_mcp(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("mcp", rich_help_panel="Serve")
    def mcp(
        root: Annotated[Path, typer.Option(help="Folder whose files may be read.")] = Path(),
        archive: Annotated[
            Path | None, typer.Option(help="What texts are verified with (compress --build).")
        ] = None,
        model: ModelOption = None,
        threads: Annotated[int, typer.Option(min=0, help="Cores to read on; 0: all.")] = 0,
    ) -> None:
        """Serve read, extract and verify to assistants over standard input and output (MCP)."""
        from manifold_ocr.errors import UserError

        try:
            from manifold_ocr.serving.mcp_server import build_server
        except ModuleNotFoundError as error:
            raise UserError(
                f"the MCP server needs {error.name}: pip install 'manifold-ocr[serve,pages]'"
            ) from error
        from manifold_ocr.serving.documents import load_reader

        if not root.is_dir():
            raise UserError(f"--root {root}: no such folder")
        build_server(load_reader(model, threads), root, load_verifier(archive)).run()
