"""Promotion: the best checkpoint becomes external/checkpoints/NAME, with where it comes from.

The folder is replaced as a whole; what was there before is kept in .history and can be put
back. Weights that failed a gate, or whose training saw a benchmark, are refused unless forced,
and the card says so then.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_ocr.config import GateConfig, MonitorConfig
from manifold_ocr.data.sources import license_of
from manifold_ocr.errors import UserError
from manifold_ocr.evaluation.gate import describe, judge, refused
from manifold_ocr.files import atomic_directory, read_json, read_yaml, sha256_file, write_json
from manifold_ocr.models.adapter_files import ORIGIN
from manifold_ocr.publish.model_card import model_card
from manifold_ocr.resources import noted
from manifold_ocr.settings import load_section

ROOT = Path("external/checkpoints")
HISTORY = ".history"
PROVENANCE = "provenance.json"
WEIGHTS = "*.safetensors"
NAME = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]")  # what GTO takes for an artifact
FIGURES = ("cer", "ned", "wer", "character_accuracy", "exact_match", "token_f1",
           "space_precision", "space_recall", "cer_without_spaces")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What a promotion wrote: the folder, its version, and the objections it was forced past."""

    folder: Path
    version: int
    objections: list[str]


def promote(
    name: str, source: Path = Path("output/adapter"), root: Path = ROOT, *, force: bool = False
) -> Promotion:
    """Copy the trained weights of `source` to `root`/NAME with card and provenance.

    Raises:
        UserError: a name that is no artifact name, no weights, or objections without `force`.
    """
    _check_name(name)
    if not any(source.glob(WEIGHTS)) or not (source / ORIGIN).is_file():
        raise UserError(f"{source}: no trained weights with {ORIGIN}; run `dvc repro train` first")
    reasons = objections()
    if reasons and not force:
        raise UserError(
            f"{source} is not promoted: {'; '.join(reasons)}. Train again, or promote it with "
            "--force, which its card will say"
        )
    versions = known_versions(name, root)
    version = max(versions, default=0) + 1
    values = provenance(name, version, source, reasons)
    keep_history(name, root)
    with atomic_directory(root / name) as folder:
        for path in sorted(source.iterdir()):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        origin = {**read_json(source / ORIGIN), "model": values["params"]["model"]}
        origin["spaces"] = (values["params"]["decode"] or {}).get("spaces", "model")
        origin["promoted"] = {"name": name, "version": version}
        write_json(folder / ORIGIN, origin)
        write_json(folder / PROVENANCE, values)
        (folder / "README.md").write_text(model_card(values), encoding="utf-8")
    return Promotion(folder=root / name, version=version, objections=reasons)


def rollback(name: str, root: Path = ROOT) -> int:
    """Put the version before the present one of `name` back; return its number.

    Raises:
        UserError: nothing before it is kept.
    """
    _check_name(name)
    present = version_of(root / name)
    kept = sorted((root / HISTORY / name).glob("[0-9]*"))
    before = [folder for folder in kept if present is None or int(folder.name) < present]
    if not before:
        raise UserError(f"{root / name}: no version before {present or 'it'} is kept")
    keep_history(name, root)
    with atomic_directory(root / name) as folder:
        shutil.copytree(before[-1], folder, dirs_exist_ok=True)
    return int(before[-1].name)


def objections() -> list[str]:
    """Return why the present run should not be promoted: gates, contamination, no evaluation.

    Raises:
        UserError: metrics/evaluate.json is of an older release, which the gate cannot judge.
    """
    evaluation, manifest = Path("metrics/evaluate.json"), Path("metrics/manifest.json")
    if not evaluation.is_file() or not manifest.is_file():
        return [f"it was never evaluated ({evaluation} or {manifest} is missing)"]
    gate, rule = load_section(GateConfig, "gate"), load_section(MonitorConfig, "monitor")
    verdicts = judge(read_json(evaluation), rule)
    found = [describe(verdicts, gate)] if refused(verdicts, gate) else []
    if read_json(manifest).get("contaminated_benchmarks"):
        found.append("contaminated: a benchmark was among the training corpora")
    return found


def provenance(name: str, version: int, source: Path, reasons: list[str]) -> dict[str, Any]:
    """Return where the weights come from, in words and hashes."""
    params = read_yaml("params.yaml")
    evaluation = _read("metrics/evaluate.json")
    names = params.get("download", {}).get("corpora", [])
    corpora = params.get("corpora") or {}
    origin = read_json(source / ORIGIN)
    return {
        "name": name,
        "version": version,
        "forced_past": reasons,
        "contaminated": bool(_read("metrics/manifest.json").get("contaminated_benchmarks")),
        "git": {"commit": _git("rev-parse", "HEAD") or "none", "dirty": bool(_changed())},
        "dvc_lock_sha256": sha256_file("dvc.lock") if Path("dvc.lock").is_file() else "none",
        "base": {
            "id": origin.get("base_id"), "revision": origin.get("base_revision", ""),
            "family": origin.get("family"), "license": _base_license(str(origin.get("base_id"))),
        },
        "weights_sha256": {p.name: sha256_file(p) for p in sorted(source.glob(WEIGHTS))},
        "params": {name: params.get(name) for name in ("model", "lora", "train", "decode")},
        "data": {
            name: {
                "license": license_of(name, corpora.get(name) or {}),
                "sha256": _read(f"metrics/download/{name}.json").get("sha256", "unknown"),
            }
            for name in names
        },
        "rows": {s: _read("metrics/manifest.json").get(s, {}).get("rows") for s in
                 ("train", "val", "test")},
        "test_sha256": evaluation.get("test_sha256"),
        "best": _read("metrics/train/metrics.json").get("best", {}),
        "metrics": {system: figures(evaluation, system) for system in ("adapter", "base")},
        "difference": figures(evaluation, "difference"),
        "cost": noted().get("train", {}),
    }  # fmt: skip


def figures(evaluation: Mapping[str, Any], system: str) -> dict[str, float]:
    """Return the headline metrics of a system, each with the ends of its interval."""
    overall = evaluation.get(system, {}).get("overall", {})
    names = [f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")]
    return {name: overall[name] for name in [*names, "n", "documents"] if name in overall}


def known_versions(name: str, root: Path) -> list[int]:
    """Return the versions of `name` that are kept, the present one among them."""
    kept = [int(folder.name) for folder in (root / HISTORY / name).glob("[0-9]*")]
    present = version_of(root / name)
    return sorted({*kept, *([present] if present is not None else [])})


def version_of(folder: Path) -> int | None:
    """Return the version of a promoted folder, None where there is none."""
    path = folder / PROVENANCE
    return int(read_json(path)["version"]) if path.is_file() else None


def keep_history(name: str, root: Path) -> None:
    """Copy the present version to .history, before another takes its place."""
    present = version_of(root / name)
    if present is None:
        return
    kept = root / HISTORY / name / f"{present:04d}"
    if not kept.is_dir():
        with atomic_directory(kept) as folder:
            shutil.copytree(root / name, folder, dirs_exist_ok=True)


def track(name: str, version: int, root: Path = ROOT) -> list[str]:
    """Give the weights to DVC and the commit a tag that GTO reads; return what was done.

    Outside a DVC or git repository the part that needs it is left out.
    """
    done = []
    if Path(".dvc").is_dir() and not _tracked_by_git(root / name):
        added = subprocess.run(
            ["dvc", "add", "-q", str(root / name)], text=True, capture_output=True, check=False
        )
        if added.returncode:
            raise UserError(f"dvc add {root / name} failed: {added.stderr.strip()}")
        done.append(f"{root / name}.dvc")
    tag = f"{name}@v0.0.{version}"
    if _git("rev-parse", "HEAD") and not _git("tag", "-l", tag):
        _git("tag", "-a", tag, "-m", f"Promote {name}, version {version}")
        done.append(f"tag {tag}")
    return done


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is no artifact name: small letters, digits and '-', a letter first"
        )


def _read(path: str) -> dict[str, Any]:
    return dict(read_json(path)) if Path(path).is_file() else {}


def _base_license(base_id: str) -> str:
    """Return the license of the base model: of the embedded wheel, or as its README says."""
    if base_id == "pp-ocrv6-small":
        return "Apache-2.0"
    from huggingface_hub import ModelCard

    from manifold_ocr.models.registry import BASE_ROOT, slug

    for folder in (Path(base_id), BASE_ROOT / slug(base_id)):
        if (folder / "README.md").is_file():
            data = ModelCard.load(folder / "README.md").data
            return str(data.get("license") or "unknown")
    return "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], text=True, capture_output=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _changed() -> str:
    return _git("status", "--porcelain", "--", "src", "dvc.yaml", "params.yaml", "dvc.lock")


def _tracked_by_git(folder: Path) -> bool:
    return bool(_git("ls-files", "--", str(folder)))
