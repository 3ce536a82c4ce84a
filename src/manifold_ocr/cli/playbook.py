"""`manifold-ocr pipeline`: the commands, flags and variables of the playbook, as params.

Each is turned into the param it means, shown as the `-S` option it equals, checked and written
into params.yaml; DVC then decides what runs. docs/playbook.md lists them all.
"""

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from manifold_ocr.errors import UserError, nearest

STEPS = {
    "download": ("download", "download_base", "manifest"),
    "prepare": ("manifest", "augment"),
    "train": ("train",),
    "all": (),
}
CORPORA = {"omnidoc": "omnidocbench"}  # other names that the playbook uses
MOUNT = Path("data/benchmark_corpus")
FILES = ("image", "image_path", "source_path", "text_path")  # keys of rows that name files
MARK = ".linked"  # in a folder that `linked` made


def _words(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


def _modules(text: str) -> str | list[str]:
    return "auto" if text == "auto" else _words(text)


def _number(text: str) -> Any:
    from manifold_ocr.files import parse_yaml

    return parse_yaml(f"value: {text}", f"{text!r}")["value"]


Reader = Callable[[str], Any]
# Flags after the step: the params that each sets, and how its value is read.
FLAGS: dict[str, tuple[tuple[str, ...], Reader]] = {
    "--val-split": (("manifest.val_split",), _number),
    "--model-id": (("model.id",), str),
    "--epochs": (("train.epochs",), _number),
    "--train-batch-size": (("train.train_batch_size",), _number),
    "--eval-batch-size": (("train.eval_batch_size",), _number),
    "--gradient-accumulation": (("train.gradient_accumulation",), _number),
    "--learning-rate": (("train.learning_rate",), _number),
    "--weight-decay": (("train.weight_decay",), _number),
    "--warmup-ratio": (("train.warmup",), _number),
    "--lora-rank": (("lora.rank",), _number),
    "--lora-alpha": (("lora.alpha",), _number),
    "--lora-dropout": (("lora.dropout",), _number),
    "--lora-target-modules": (("lora.target_modules",), _modules),
    "--metric-tokenizer": (("evaluate.metric_tokenizer", "compress.metric_tokenizer"), str),
    "--max-target-length": (("train.max_target_length",), _number),
    "--generation-max-length": (("train.generation_max_length",), _number),
    "--logging-steps": (("train.logging_steps",), _number),
    "--save-steps": (("train.save_steps",), _number),
    "--eval-steps": (("train.eval_steps",), _number),
    "--seed": (("train.seed",), _number),
    "--max-train-samples": (("train.max_train_samples",), _number),
    "--max-val-samples": (("train.max_val_samples",), _number),
    "--metric-for-best-model": (("train.metric_for_best_model",), str),
}
SWITCHES: dict[str, dict[str, Any]] = {
    "--gradient-checkpointing": {"train.gradient_checkpointing": True},
    "--fp16": {"model.precision": "fp16"},
    "--bf16": {"model.precision": "bf16"},
}
# May be given several times; what each sets depends on all that are given.
LISTS = ("--datasets", "--train-dataset", "--val-dataset", "--include-language", "--include-subset")
# These are no params: they go to the run's environment, or act after it.
RUN = {"--resume-from": "RESUME_FROM", "--output-dir": "OUTPUT_DIR", "--run-name": "RUN_NAME"}
VARIABLES: dict[str, str] = {
    "RUN_NAME": "--run-name",
    "RESUME_FROM": "--resume-from",
    "TRAIN_DATASETS": "--train-dataset",
    "VAL_DATASETS": "--val-dataset",
    "INCLUDE_LANGUAGES": "--include-language",
    "INCLUDE_SUBSETS": "--include-subset",
    "METRIC_TOKENIZER": "--metric-tokenizer",
    "OUTPUT_DIR": "--output-dir",
    "PRECISION": "model.precision",
}


def parsed(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, list[str]]:
    """Return {flag: values} of the command line, completed by the environment's variables.

    Raises:
        UserError: an unknown flag (the nearest is named), or a value that is missing.
    """
    found: dict[str, list[str]] = {}
    known = (*FLAGS, *SWITCHES, *LISTS, *RUN)
    position = 0
    while position < len(words):
        flag, equals, value = words[position].partition("=")
        position += 1
        if flag not in known:
            raise UserError(f"{flag}: unknown flag{nearest(flag, known)}")
        values = found.setdefault(flag, [])
        if flag in SWITCHES:
            continue
        given = [value] if equals else []
        while position < len(words) and not words[position].startswith("--"):
            if given and flag not in (*LISTS, "--lora-target-modules"):
                raise UserError(f"{words[position]!r} follows {flag} {given[0]}: one value only")
            given.append(words[position])
            position += 1
        if not given:
            raise UserError(f"{flag}: its value is missing")
        values += given
    for name, flag in VARIABLES.items():
        if environment.get(name) and flag not in found:
            value = environment[name]
            found[flag] = _words(value) if flag in LISTS else [value]
    return found


def linked(name: str, place: str) -> None:
    """Make data/benchmark_corpus/NAME of MANIFEST:IMAGE_ROOT with hard links where possible.

    Only files that the manifest names are linked, so that several manifests can share a folder
    of images and none is taken twice; all are where a row names its files in another way.

    Raises:
        UserError: no such manifest or folder, or a folder of that name that was not made here.
    """
    from manifold_ocr.files import atomic_directory

    manifest, colon, images = place.partition(":")
    if not colon or not Path(manifest).is_file() or not Path(images).is_dir():
        raise UserError(f"{name}={place}: must be NAME=MANIFEST_FILE:IMAGE_FOLDER")
    target = MOUNT / name
    if target.exists() and not (target / MARK).is_file():
        raise UserError(f"{target}: is there already and was not linked; choose another name")
    with atomic_directory(target) as folder:
        (folder / MARK).write_text(place, encoding="utf-8")
        _link(Path(manifest), folder / "metadata/text_manifest.jsonl")
        for path in _named(Path(manifest), Path(images)):
            _link(path, folder / "raw" / path.relative_to(images))


def _named(manifest: Path, images: Path) -> list[Path]:
    """Return the files below `images` that the rows name; all, where a row names none."""
    found: set[Path] = set()
    for line in manifest.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            row = {}  # the manifest stage says which line is damaged
        if row is None:
            continue
        values = [row.get(key) for key in FILES] if isinstance(row, dict) else []
        paths = [images / value for value in values if isinstance(value, str)]
        here = {p for p in paths if p.is_relative_to(images) and p.is_file()}
        if not here or ".." in "".join(map(str, values)):
            return sorted(path for path in images.rglob("*") if path.is_file())
        found |= here
    return sorted(found)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def datasets(values: Sequence[str], params: dict[str, Any]) -> list[str]:
    """Return the corpora that `NAME` or `NAME=MANIFEST:IMAGES` values mean; link the latter."""
    from manifold_ocr.settings import check_corpus_name

    names = []
    for value in values:
        name, equals, place = value.partition("=")
        name = CORPORA.get(name, name)
        try:
            names.append(check_corpus_name(name))
        except ValueError as error:
            raise UserError(str(error)) from error
        if equals:
            linked(name, place)
            params[f"corpora.{name}"] = {"kind": "manifest"}
    return names


def overrides(found: Mapping[str, Sequence[str]], selected: Sequence[str]) -> dict[str, Any]:
    """Return {param: value} for flags; `selected` are the corpora that are fetched today."""
    params: dict[str, Any] = {}
    for flag, values in found.items():
        if flag in FLAGS:
            keys, read = FLAGS[flag]
            params |= dict.fromkeys(keys, read(" ".join(values)))
        params |= SWITCHES.get(flag, {})
    if precision := found.get("model.precision"):
        params.setdefault("model.precision", precision[0])
    train = datasets(found.get("--train-dataset", ()), params)
    val = datasets(found.get("--val-dataset", ()), params)
    fetched = [*selected, *datasets(found.get("--datasets", ()), params), *train, *val]
    if len(fetched) > len(selected):
        params["download.corpora"] = list(dict.fromkeys(fetched))
    for key, names in (("train", train), ("validation", val)):
        if names:
            params[f"manifest.{key}_corpora"] = names
    for flag, key in (("--include-language", "languages"), ("--include-subset", "subsets")):
        if flag in found:
            params[f"train.include_{key}"] = list(found[flag])
    return params


def options_of(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield the `-S` option that each param equals, quoted for a shell."""
    for key, value in params.items():
        plus = "+" if key.startswith("corpora.") else ""
        yield f"-S {shlex.quote(f'{plus}{key}={json.dumps(value)}')}"


def write_params(params: Mapping[str, Any], path: Path = Path("params.yaml")) -> None:
    """Write the values into params.yaml, the whole of which is checked first."""
    import copy

    from manifold_ocr.files import edited_yaml
    from manifold_ocr.stages.check_params import check_values

    with edited_yaml(path) as document:
        for key, value in params.items():
            *sections, leaf = key.split(".")
            place = document
            for part in sections:
                place = place[part]
            place[leaf] = value
        check_values(copy.deepcopy(document), path)


def register_pipeline(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        rich_help_panel="Pipeline",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def pipeline(
        context: typer.Context,
        step: Annotated[str, typer.Argument(help="download, prepare, train or all.")],
    ) -> None:
        """Run the playbook's steps; flags and variables: docs/playbook.md."""
        run_step(step, context.args, os.environ)


def run_step(step: str, words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Set the params that flags and variables mean, say so, and let DVC run the step."""
    from manifold_ocr.files import read_yaml

    if step not in STEPS:
        raise UserError(f"{step}: unknown step{nearest(step, STEPS)}")
    found = parsed(words, environment)
    present = read_yaml("params.yaml")
    selected, model = present["download"]["corpora"], present["model"]
    params = overrides(found, selected)
    if model["revision"] and params.get("model.id", model["id"]) != model["id"]:
        params["model.revision"] = ""  # a commit of the other model
    for name in params.get("download.corpora", ()):
        if name not in present["corpora"]:  # DVC wants an entry of each
            params.setdefault(f"corpora.{name}", {})
    if params:
        typer.echo(f"pipeline: this equals dvc exp run {' '.join(options_of(params))}")
        write_params(params)
    for flag, name in RUN.items():
        if flag in found and name != "OUTPUT_DIR":
            variable = "MANIFOLD_OCR_RUN_NAME" if name == "RUN_NAME" else name
            os.environ[variable] = found[flag][0]
    run_stages(step, params.get("download.corpora", selected), resume="--resume-from" in found)
    if "--output-dir" in found and step in ("train", "all"):
        copy_adapter(Path(found["--output-dir"][0]))


def run_stages(step: str, corpora: Sequence[str], *, resume: bool) -> None:
    """Let DVC run what a step needs; it cannot know of edited local files, nor of checkpoints."""
    from manifold_ocr.cli.pipeline import run_dvc
    from manifold_ocr.data.fetch import changed
    from manifold_ocr.files import read_yaml

    options = read_yaml("params.yaml").get("corpora") or {}
    for name in corpora:
        if changed(name, options.get(name) or {}):
            run_dvc("repro", "--force", f"download@{name}")
    if resume and step in ("train", "all"):
        run_dvc("repro", "augment", "download_base")
        run_dvc("repro", "--single-item", "--force", "train")
        if step == "train":
            return
    stages = [name for name in STEPS[step] if name != "download"]
    if "download" in STEPS[step]:
        stages += [f"download@{name}" for name in corpora]
    run_dvc("repro", *stages)


def copy_adapter(target: Path, adapter: Path = Path("output/adapter")) -> None:
    """Copy the adapter to the folder that was asked for, whole or not at all."""
    from manifold_ocr.files import atomic_directory

    if target.exists() and not (target / "adapter_config.json").is_file():
        raise UserError(f"{target} exists and is no adapter; name another --output-dir")
    with atomic_directory(target) as folder:
        shutil.copytree(adapter, folder, dirs_exist_ok=True)
    typer.echo(f"pipeline: {adapter} copied to {target}")
