"""A training run from rows to a published adapter: resumed, republished or trained."""

import contextlib
import dataclasses
import gc
import importlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from manifold_ocr.config import TrainConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import atomic_directory, cache_root, read_json, sha256_json, sha256_text
from manifold_ocr.images import load_sample
from manifold_ocr.models import conventions, registry
from manifold_ocr.models.base import RunSpec, SampleReader
from manifold_ocr.records import Sample, language_tag, read_samples, write_rows
from manifold_ocr.resources import collector_paused, progress
from manifold_ocr.training import checkpoints, locking
from manifold_ocr.training.checkpoints import fingerprint, run_inputs
from manifold_ocr.training.checks import check_combinations, check_start, check_targets
from manifold_ocr.training.run_record import Run, RunFolder, RunHome, open_run_folder


def select(
    samples: Iterable[Sample],
    config: TrainConfig,
    granularities: Sequence[str],
    limit: int,
    split: str = "training",
    family: str = "ctc",
) -> list[Sample]:
    """Return the rows of the requested languages and subsets that the family reads.

    Languages and subsets are named as in the manifest section: a language's name or tag; a
    subset, corpus.subset or a tag of a page. `limit` > 0 keeps that many, chosen by the hash of
    seed and id: adding rows elsewhere changes little. Order is kept. `split` is for the message.
    Tasks are those of the manifest; a `family` that reads text only leaves the others out, and
    how many is printed.

    Raises:
        UserError: nothing is left.
    """
    languages = {language_tag(name) for name in config.include_languages}
    subsets, seen = set(config.include_subsets), 0
    rows = []
    others: Counter[str] = Counter()
    for sample in samples:
        seen += 1
        if not registry.learns(family, sample.task):
            others[sample.task] += 1
        elif (
            sample.granularity in granularities
            and (not languages or sample.language in languages)
            and (not subsets or not subsets.isdisjoint(_subset_names(sample)))
        ):
            rows.append(sample)
    if others:
        counts = ", ".join(f"{task} {count:,}" for task, count in sorted(others.items()))
        print(f"train: {split} rows of tasks that family {family} cannot learn: {counts}")
    if not rows:
        raise UserError(_nothing_left(config, granularities, split, seen))
    return chosen_by_hash(rows, config.seed, limit)


def _subset_names(sample: Sample) -> list[str]:
    return [sample.subset, f"{sample.corpus}.{sample.subset}", *sample.tags]


def _nothing_left(config: TrainConfig, granularities: Sequence[str], split: str, seen: int) -> str:
    if not seen:
        remedy = (
            "raise manifest.val_split or name a corpus in manifest.validation_corpora"
            if split == "validation"
            else "check manifest.* in params.yaml and the manifest's card"
        )
        return f"the {split} split has no rows: {remedy}"
    return (
        f"no {split} rows left: none of {seen:,} is of granularity {' or '.join(granularities)} "
        f"and passes train.include_languages={list(config.include_languages)} and "
        f"train.include_subsets={list(config.include_subsets)}; check the manifest's card"
    )


def chosen_by_hash(rows: list[Sample], seed: int, limit: int) -> list[Sample]:
    """Return `limit` of the rows (0: all) by the hash of seed and id, in their order."""
    if not limit or len(rows) <= limit:
        return rows
    order = sorted(rows, key=lambda s: sha256_text(f"{seed}:{s.id}"))
    chosen = {sample.id for sample in order[:limit]}
    return [sample for sample in rows if sample.id in chosen]


def rehearsal_languages(config: TrainConfig) -> tuple[Literal["en", "zh"], ...]:
    """Return the languages of rehearsal lines: those also chosen to train on, if any are.

    An adapter for Chinese alone rehearses Chinese; without a choice, or with one that has no
    rehearsal text, `train.rehearsal_languages` stays as it is.
    """
    chosen = {language_tag(name).split("-")[0] for name in config.include_languages}
    both = tuple(name for name in config.rehearsal_languages if name in chosen)
    return both or config.rehearsal_languages


def rehearsal_rows(config: TrainConfig, rows: int) -> list[Sample]:
    """Return general text lines so that they are the share `train.rehearsal` of all rows.

    They are drawn once below output/cache/rehearsal and kept for runs that want the same.
    """
    count = round(rows * config.rehearsal / (1.0 - config.rehearsal))
    if not count:
        return []
    from manifold_ocr.code_hash import code_fingerprint
    from manifold_ocr.synthetic import rehearsal

    languages = rehearsal_languages(config)
    wanted = {
        "count": count,
        "seed": config.seed,
        "languages": languages,
        "degraded": config.rehearsal_degraded,
        "code": code_fingerprint(["manifold_ocr.synthetic.rehearsal"]),
    }
    folder = (cache_root() / "rehearsal" / sha256_json(wanted)[:32]).resolve()
    listing = folder / "rows.jsonl"
    if not listing.is_file():
        print(f"train: drawing {count} rehearsal lines")
        with imported_beside("manifold_ocr.training.fit"):  # a run with new lines will train
            drawn = rehearsal.write_rehearsal(
                folder, count, config.seed, languages, config.rehearsal_degraded
            )
        write_rows(listing, drawn)
    return [_absolute(sample, folder) for sample in read_samples(listing)]


@contextlib.contextmanager
def imported_beside(module: str) -> Iterator[None]:
    """Import a module that takes seconds on a thread, while the body waits for other processes.

    What the import raises is left to the import that needs the module.
    """

    def load() -> None:
        gc.disable()  # looking for garbage among what an import makes takes a fifth of its time
        try:
            with contextlib.suppress(Exception):
                importlib.import_module(module)
        finally:
            gc.enable()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _absolute(sample: Sample, folder: Path) -> Sample:
    return dataclasses.replace(sample, image=str(folder / sample.image), corpus="rehearsal")


def tell_conventions(settings: RunSpec, rows: list[Sample]) -> tuple[list[Sample], dict[str, str]]:
    """Return the rows with labels as the image shows them, and the conventions by corpus.

    Where all labels of a corpus are in upper case and the base model reads lower case on the
    same lines, the labels get back their case (`train.conventions: auto`).
    """
    texts = [row for row in rows if row.task == "transcribe"]
    candidates = conventions.upper_corpora(texts) if settings.train.conventions == "auto" else set()
    if not candidates:
        return rows, {}
    lines = [row for row in texts if row.corpus in candidates]
    # in float32, whatever is trained in: where there are graphs, onnxruntime reads on all cores
    model = registry.load_model(dataclasses.replace(settings.model, precision="fp32"))
    read = (
        model.recognize_samples(lines, settings.image_root)
        if isinstance(model, SampleReader)
        else model.recognize(load_sample(row, settings.image_root) for row in lines)
    )
    shown = progress(zip(lines, read, strict=True), "case of labels", total=len(lines))
    readings = {row.id: result.text for row, result in shown}
    found = {
        name
        for name in candidates
        if conventions.shows_lower((r.text, readings[r.id]) for r in lines if r.corpus == name)
    }
    restored, letters = conventions.restored_rows(rows, readings, found)
    for name in sorted(found):
        print(
            f"train: the labels of {name} are in upper case only, its images are not: "
            f"{letters.get(name, 0):,} letters take the case that the base model reads; the "
            f"adapter reads as shown, and its output for {name} is put in upper case "
            "(train.conventions: none turns this off)"
        )
    return restored, dict.fromkeys(sorted(found), conventions.UPPER)


RESUME_FROM = "RESUME_FROM"


def train(
    settings: RunSpec,
    rows: Mapping[str, Iterable[Sample]],
    destination: Path,
    metrics: Path,
) -> dict[str, Any]:
    """Train on rows["train"], validate on rows["val"]; publish adapter and metrics.

    A run is known by the fingerprint of params, data, base model, code and versions: a
    finished one is published again without training, an interrupted one goes on from its
    newest whole checkpoint, anything else starts afresh. Params are checked before the rows
    are taken. Returns figures of the run.

    Raises:
        UserError: no rows, a refused RESUME_FROM, or a loss that is not finite.
        KeyboardInterrupt: stopped on request, after a checkpoint was saved.
    """
    kind = registry.family_of(settings.base)
    check_combinations(settings)
    check_start(settings.train, settings.lora, destination)
    check_targets(settings, kind)
    config, sorts = settings.train, registry.granularities(kind)
    with collector_paused():
        chosen = {
            "train": select(rows["train"], config, sorts, config.max_train_samples, family=kind),
            "val": select(rows["val"], config, sorts, config.max_val_samples, "validation", kind),
        }
    chosen["train"], output_case = tell_conventions(settings, chosen["train"])
    chosen["rehearsal"] = rehearsal_rows(config, len(chosen["train"]))
    inputs = run_inputs(settings, kind, chosen)
    key = fingerprint(inputs)
    home = RunHome(cache_root().resolve() / "training" / key[:32])
    main = is_main_process()
    lock = locking.run_lock(home.path / "lock") if main else contextlib.nullcontext()
    speaking = contextlib.nullcontext() if main else silence()
    with lock, speaking, locking.StopRequest().installed() as stop:
        if home.finished and not os.environ.get(RESUME_FROM):
            print(f"train: run {key[:12]} is finished already; its result is published again")
            figures = read_json(home.result / "state.json")
        else:
            figures = _run(settings, kind, chosen, output_case, inputs, home, stop)
        if main:
            publish(home, destination, metrics)
    return dict(figures)


def is_main_process() -> bool:
    """Return whether this is the process of a torchrun group that writes (or the only one)."""
    return int(os.environ.get("RANK", "0")) == 0


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drop what is printed: all processes say the same, and the first one says it. Errors stay."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def publish(home: RunHome, destination: Path, metrics: Path) -> None:
    """Copy the result of a finished run to the stage's outs."""
    for source, target in (("adapter", destination), ("metrics", metrics)):
        with atomic_directory(target) as folder:
            shutil.copytree(home.result / source, folder, dirs_exist_ok=True)


def _run(
    settings: RunSpec,
    family: str,
    rows: Mapping[str, Sequence[Sample]],
    output_case: Mapping[str, str],
    inputs: Mapping[str, Any],
    home: RunHome,
    stop: locking.StopRequest,
) -> dict[str, Any]:
    key = fingerprint(inputs)
    checkpoint = choose_checkpoint(home, inputs, settings.train.resume)
    name = f"{registry.slug(settings.model.id)}-r{settings.lora.rank}-{key[:8]}"
    if is_main_process():
        folder = open_run_folder(name, home.path / "run_folder")
    else:  # the other processes' logs are nobody's reading
        folder = RunFolder(home.path / f"rank{os.environ['RANK']}")
    folder.start(inputs, key, checkpoint.name if checkpoint else "")
    home.checkpoints.mkdir(parents=True, exist_ok=True)
    folder.link("checkpoints", home.checkpoints)
    print(f"train: run folder {folder.path}" + (f", from {checkpoint.name}" if checkpoint else ""))
    run = Run(
        settings=settings,
        family=family,
        rows=rows,
        output_case=output_case,
        inputs=inputs,
        home=home,
        folder=folder,
        checkpoint=checkpoint,
        stop=stop,
    )
    try:
        from manifold_ocr.training.fit import fit

        figures = fit(run)
    except KeyboardInterrupt:
        folder.finish("interrupted")
        raise
    except BaseException as error:
        folder.finish("failed", error=f"{type(error).__name__}: {error}")
        if locking.world_size() > 1 and _lost_process(error):
            raise UserError(
                "another process of this training ended, so this one cannot go on; start again "
                "to train on from the newest checkpoint"
            ) from error
        raise
    if not is_main_process():
        return figures
    folder.link("adapter", home.result / "adapter")
    shutil.copyfile(home.result / checkpoints.STATE, folder.path / checkpoints.STATE)
    folder.finish("finished", result=figures)
    return figures


def _lost_process(error: BaseException) -> bool:
    """Return whether an error is of the connection to the other processes (NCCL's, gloo's)."""
    from torch.distributed import DistError

    text = str(error)
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in text)


def choose_checkpoint(home: RunHome, inputs: Mapping[str, Any], resume: bool) -> Path | None:
    """Return the checkpoint to go on from: RESUME_FROM, the newest whole one, or None."""
    if not is_main_process():
        return checkpoints.latest_complete(home.checkpoints, clean=False)
    if requested := os.environ.get(RESUME_FROM):
        home.checkpoints.mkdir(parents=True, exist_ok=True)
        return checkpoints.adopt(Path(requested), home.checkpoints, inputs)
    if resume:
        return checkpoints.latest_complete(home.checkpoints)
    shutil.rmtree(home.checkpoints, ignore_errors=True)
    return None
