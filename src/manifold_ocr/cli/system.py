"""`manifold-ocr doctor`: is this machine ready? Versions, GPU, memory, disk, project state."""

import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

PACKAGES = (
    "torch", "transformers", "peft", "accelerate", "bitsandbytes", "datasets", "dvc", "dvclive",
    "onnxruntime", "rapidocr", "rapidfuzz", "pillow", "numpy", "tensorboard", "pyyaml",
)  # fmt: skip
OPTIONAL = ("torchvision", "pypdfium2", "gradio", "fastapi")
MIN_FREE_GIB = 5


def gpus() -> list[tuple[str, float, float]]:
    """Return (name, total GiB, free GiB) of each NVIDIA GPU; empty where NVML does not answer."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        name = pynvml.nvmlDeviceGetName(handle)
        found.append((str(name), int(memory.total) / 1024**3, int(memory.free) / 1024**3))
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def report() -> tuple[list[str], list[str]]:
    """Return (lines that describe the machine, problems with their remedy)."""
    import psutil

    lines = [f"python {platform.python_version()} on {platform.system()} {platform.machine()}"]
    problems = []
    for package in PACKAGES:
        version = _version(package)
        lines.append(f"  {package:14} {version or 'missing'}")
        if version is None:
            problems.append(f"{package} is missing: run `make install`")
    lines += [f"  {p:14} {_version(p) or 'not installed (optional)'}" for p in OPTIONAL]
    memory = psutil.virtual_memory()
    lines.append(
        f"cpu    {psutil.cpu_count()} cores, memory {memory.total / 1024**3:.1f} GiB "
        f"({memory.available / 1024**3:.1f} GiB free)"
    )
    cards = gpus()
    lines += [
        f"gpu    {name}: {total:.1f} GiB ({free:.1f} GiB free)" for name, total, free in cards
    ]
    if not cards:
        lines.append("gpu    none: the embedded default model trains on the CPU")
    free = shutil.disk_usage(Path.cwd()).free / 1024**3
    lines.append(f"disk   {free:.1f} GiB free in {Path.cwd()}")
    if free < MIN_FREE_GIB:
        problems.append(f"under {MIN_FREE_GIB} GiB of disk are free: make room before training")
    tesseract = shutil.which("tesseract")
    lines.append(f"tesseract {'found' if tesseract else 'not found (optional engine)'}")
    if not Path("dvc.yaml").is_file():
        problems.append("no dvc.yaml here: run from the project's root")
    return lines, problems + repository_problems()


def repository_problems(root: Path = Path()) -> list[str]:
    """Return what keeps DVC and a run's record from naming commits, each with its remedy."""
    if shutil.which("git") is None:
        return ["git is missing: install it; DVC and the record of a run need it"]
    if not (root / ".git").exists():
        return ["this folder is no git repository: clone the project, or run `git init`"]
    if (root / ".git/shallow").is_file():
        return [
            "this is a shallow clone (git clone --depth): earlier commits cannot be compared; run "
            "`git fetch --unshallow`"
        ]
    return []


def register_doctor(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="System")
    def doctor(
        params: Annotated[Path, typer.Option(help="The params file to check.")] = Path(
            "params.yaml"
        ),
    ) -> None:
        """Check the environment, GPU, disk, versions and params.yaml; status 1 on a problem."""
        from manifold_ocr.errors import UserError
        from manifold_ocr.stages.check_params import check_params

        lines, problems = report()
        try:
            check_params(params)
            lines.append(f"params {params} is valid")
        except UserError as error:
            problems.append(str(error))
        typer.echo("\n".join(lines))
        for problem in problems:
            typer.echo(f"problem: {problem}")
        typer.echo("ready" if not problems else f"{len(problems)} problems")
        raise typer.Exit(1 if problems else 0)


def register_pin(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="System")
    def pin(
        model: Annotated[str, typer.Argument(help="A model of the hub, such as owner/name.")],
        revision: Annotated[str, typer.Option(help="Branch or tag to look up.")] = "main",
        params: Annotated[Path, typer.Option(help="The file to write.")] = Path("params.yaml"),
    ) -> None:
        """Ask the hub for a model's present commit; write model.id and model.revision."""
        from manifold_ocr.files import edited_yaml

        commit = present_commit(model, revision)
        with edited_yaml(params) as document:
            section = document["model"]
            section["id"], section["revision"] = model, commit
        typer.echo(f"{params}: model.id {model}, model.revision {commit}")


def present_commit(model: str, revision: str) -> str:
    """Return the commit (40 hex digits) that a branch or tag of a hub model names today.

    Raises:
        UserError: the hub is out of reach, or knows no such model or revision.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    from manifold_ocr.errors import UserError

    try:
        found = HfApi().model_info(model, revision=revision).sha
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        raise UserError(
            f"{model} at {revision}: the hub gives no commit ({type(error).__name__}); check the "
            "name, the network and HF_TOKEN, or copy the commit from the model's page of files"
        ) from error
    return str(found)


def register_merge(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(rich_help_panel="Publish")
    def merge(
        folder: Annotated[Path, typer.Argument(help="Folder to write the whole checkpoint to.")],
        adapter: Annotated[Path, typer.Option(help="The adapter.")] = Path("output/adapter"),
    ) -> None:
        """Export one checkpoint that needs neither adapter nor peft; set model.id to it to use it.

        Weights keep the precision of the base model; the folder is replaced as a whole.
        """
        from manifold_ocr.config import ModelConfig
        from manifold_ocr.errors import UserError
        from manifold_ocr.settings import load_section

        if folder.exists() and not (folder / "config.json").is_file():
            raise UserError(f"{folder} exists and is no checkpoint; name another folder")
        if not (adapter / "adapter_config.json").is_file():
            raise UserError(f"{adapter}: no adapter in it; run `dvc repro train` first")
        from manifold_ocr.models.adapter_files import check_origin
        from manifold_ocr.models.lora import merge_adapter
        from manifold_ocr.models.registry import base_path, load_plain

        base = base_path(load_section(ModelConfig, "model"))
        if folder.resolve() in (base.resolve(), adapter.resolve()):
            raise UserError(f"{folder}: would replace what is merged; name another folder")
        check_origin(adapter, base)
        merge_adapter(load_plain(base), adapter, base, folder)
        typer.echo(f"{folder}: {base} with the weights of {adapter} in it")
