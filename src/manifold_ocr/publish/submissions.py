"""Submissions to the leaderboard: prepared from predictions, checked, and scored again.

A submission is docs/leaderboard/submissions/SLUG.json beside SLUG.jsonl, its predictions
(`id`, `text`). Nothing that a file states is believed: the schema is strict, the counts must
agree with each other, and where the test rows are at hand the predictions are scored again and
must give the stated figures. Whatever is refused names the file and the reason.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from manifold_ocr.config import EvaluateConfig
from manifold_ocr.errors import UserError, build
from manifold_ocr.files import read_json, sha256_file, write_json
from manifold_ocr.metrics.paired import document_sums
from manifold_ocr.metrics.score import score_rows, summarize
from manifold_ocr.publish.ranking import About, Entry, entries_of
from manifold_ocr.records import (
    Prediction,
    Sample,
    iter_manifest,
    manifest_sha256,
    read_predictions,
    write_rows,
)
from manifold_ocr.settings import AboveZero, Positive, settings

FORMAT = 1
JSON_LIMIT = 16 << 20  # bytes of SLUG.json
PREDICTIONS_LIMIT = 256 << 20  # bytes of SLUG.jsonl
TEXT_LIMIT = 1 << 20  # characters of one text
TOLERANCE = 1e-9
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,59}")
URL = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/%+=&?#-]*)?")
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Line = Annotated[str, Field(max_length=500, pattern=r"^[^<>\[\]|`\\\x00-\x1f]*$")]


@settings
class Submission:
    """The content of SLUG.json.

    `n` rows of one `granularity` of the test split with hash `manifest_sha256` were read.
    `overall`, `by_subset` and `documents` are what scoring gave. The rest is about the system:
    see `ranking.About`; `contaminated` and `retracted` hold a reason, or are empty.
    """

    format: Literal[1]
    name: Annotated[str, Field(max_length=60)]
    manifest_sha256: Hash
    predictions_sha256: Hash
    granularity: Literal["line", "page"]
    n: Positive
    settings: dict[str, Any]
    overall: dict[str, Any]
    by_subset: dict[str, dict[str, Any]]
    documents: Annotated[list[str], Field(min_length=1)]
    url: Line = ""
    license: Line = ""
    hardware: Line = ""
    parameters: Positive | None = None
    seconds: AboveZero | None = None
    memory_gib: AboveZero | None = None
    vision_tokens: AboveZero | None = None
    cost_usd: AboveZero | None = None
    contaminated: Line = ""
    retracted: Line = ""


ABOUT = tuple(About.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The entries of one submission, and whether its predictions were scored again here."""

    path: Path
    entries: Sequence[Entry]
    manifest_sha256: str
    rescored: bool


def slug(name: str) -> str:
    """Return the file name of a system's name: lower case, `-` for what is no letter or digit."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")


def prepare(
    folder: Path,
    name: str,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    test_sha256: str,
    config: EvaluateConfig,
    about: About,
) -> Path:
    """Score predictions of all rows of one granularity, write both files, return SLUG.json.

    Raises:
        UserError: a name or address that the check would refuse, or rows of two granularities.
    """
    _check_names(name, about.url, folder / f"{slug(name)}.json")
    kinds = sorted({sample.granularity for sample in samples})
    if len(kinds) != 1:
        raise UserError(f"a submission reads lines or whole pages, not {kinds}: --granularity")
    path = folder / f"{slug(name)}.json"
    plain = [Prediction(id=p.id, text=p.text) for p in predictions]
    write_rows(path.with_suffix(".jsonl"), plain)
    value: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "manifest_sha256": test_sha256,
        "predictions_sha256": sha256_file(path.with_suffix(".jsonl")),
        "granularity": kinds[0],
        "n": len(samples),
        **_scores(samples, plain, config),
        **{key: item for key, item in asdict(about).items() if item not in (None, "")},
    }
    write_json(path, value)
    return path


def _scores(
    samples: Sequence[Sample], predictions: Sequence[Prediction], config: EvaluateConfig
) -> dict[str, Any]:
    rows = score_rows(samples, predictions, config)
    found = summarize(rows, config)
    kept = {key: found[key] for key in ("settings", "overall", "by_subset")}
    return {**kept, "documents": document_sums(rows)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A file of the submissions folder that was refused; `reason` names file and reason."""

    path: Path
    reason: str


def check_folder(
    folder: Path,
    manifest: Path | None,
    config: EvaluateConfig,
    taken: Mapping[str, str],
) -> list[Checked]:
    """Check every submission (see `judge_folder`).

    Raises:
        UserError: the first that is refused; names file and reason.
    """
    found = []
    for item in judge_folder(folder, manifest, config, taken):
        if isinstance(item, Refused):
            raise UserError(item.reason)
        found.append(item)
    return found


def judge_folder(
    folder: Path,
    manifest: Path | None,
    config: EvaluateConfig,
    taken: Mapping[str, str],
) -> list[Checked | Refused]:
    """Check every file; `taken` maps other systems' names (case-folded) to their source.

    With `manifest`, the test rows, submissions for just these rows are scored again.
    """
    names = dict(taken)
    found: list[Checked | Refused] = []
    for path in sorted(folder.glob("*.json")):
        try:
            checked = check(path, manifest, config)
            name = checked.entries[0].name.casefold()
            if name in names:
                raise UserError(
                    f"{path}: the name {name!r} is that of {names[name]}; choose another"
                )
        except UserError as error:
            found.append(Refused(path=path, reason=str(error)))
            continue
        names[name] = str(path)
        found.append(checked)
    return found + _strangers(folder)


def _strangers(folder: Path) -> list[Checked | Refused]:
    """Refuse what is neither README.md nor one of a submission's two files."""
    found: list[Checked | Refused] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".jsonl":
            if path.with_suffix(".json").exists():
                continue
            reason = f"predictions without {path.stem}.json; add it or remove them"
        elif path.name == "README.md" or path.suffix == ".json":
            continue
        else:
            reason = "neither SLUG.json nor SLUG.jsonl; a submission is these two files"
        found.append(Refused(path=path, reason=f"{path}: {reason}"))
    return found


def check(path: Path, manifest: Path | None, config: EvaluateConfig) -> Checked:
    """Check one submission (see `check_folder`)."""
    stated = _read(path)
    _check_names(stated.name, stated.url, path)
    if slug(stated.name) != path.stem:
        raise UserError(f"{path}: the file of {stated.name!r} must be {slug(stated.name)}.json")
    for where, values in {"overall": stated.overall, **stated.by_subset}.items():
        _check_values(values, f"{path}: {where}")
    known = {key: getattr(stated, key) for key in ABOUT}
    value = {
        "settings": stated.settings,
        "overall": stated.overall,
        "by_subset": stated.by_subset,
        "documents": stated.documents,
    }
    entries = entries_of(stated.name, "submission", str(path), value, {"": About(**known)})
    _check_counts(stated, entries, path)
    predictions = _predictions(path.with_suffix(".jsonl"), stated)
    rescored = manifest is not None and manifest_sha256(manifest) == stated.manifest_sha256
    if rescored and manifest is not None:
        _rescore(stated, predictions, manifest, config, path)
    return Checked(
        path=path,
        entries=entries,
        manifest_sha256=stated.manifest_sha256,
        rescored=rescored,
    )


def _read(path: Path) -> Submission:
    if path.is_symlink():
        raise UserError(f"{path}: a link; commit the file itself")
    if (size := path.stat().st_size) > JSON_LIMIT:
        raise UserError(f"{path}: {size:,} bytes, at most {JSON_LIMIT:,} are read")
    value = read_json(path)
    if isinstance(value, dict):  # a wrong value says more than a key that is missing as well
        if isinstance(name := value.get("name"), str):
            _check_names(name, str(value.get("url", "")), path)
        if isinstance(overall := value.get("overall"), dict):
            _check_values(overall, f"{path}: overall")
    return build(Submission, value, str(path))


def _check_names(name: str, url: str, path: Path) -> None:
    if not NAME.fullmatch(name) or name != unicodedata.normalize("NFKC", name).strip():
        raise UserError(
            f"{path}: name {name!r}: a letter or digit, then letters, digits, space and ._+- (at "
            "most 60); markup and look-alikes are refused"
        )
    if url and not URL.fullmatch(url):
        raise UserError(f"{path}: url {url!r}: https://host/path without markup, or leave it out")


def _check_values(values: Mapping[str, Any], where: str) -> None:
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"{where}: {key} must be a number, not {value!r}")
        if not math.isfinite(value) or value < 0:
            raise UserError(f"{where}: {key} is {value!r}; scores are finite and not negative")
    for key in ("n", "cer"):
        if key not in values and where.endswith("overall"):
            raise UserError(f"{where}: {key} is missing; prepare it with `manifold-ocr submit`")


def _check_counts(stated: Submission, entries: Sequence[Entry], path: Path) -> None:
    """Require that rows, sums and scores are of one and the same reading."""
    rows = sum(entry.rows for entry in entries)
    if not rows == stated.n == stated.overall["n"]:
        raise UserError(
            f"{path}: n is {stated.n}, overall.n {stated.overall['n']}, the documents hold {rows} "
            "rows; they must agree"
        )
    if {entry.granularity for entry in entries} != {stated.granularity}:
        raise UserError(f"{path}: the documents hold other rows than {stated.granularity}s")
    characters = sum(c[1] for entry in entries for c in entry.sums.values())
    errors = sum(c[2] for entry in entries for c in entry.sums.values())
    if not characters or abs(errors / characters - stated.overall["cer"]) > TOLERANCE:
        raise UserError(
            f"{path}: overall.cer is {stated.overall['cer']}, its documents add up to "
            f"{errors} wrong of {characters} characters"
        )


def _predictions(path: Path, stated: Submission) -> list[Prediction]:
    if path.is_symlink() or not path.is_file():
        raise UserError(f"{path}: the predictions are missing; a submission brings what was read")
    if (size := path.stat().st_size) > PREDICTIONS_LIMIT:
        raise UserError(f"{path}: {size:,} bytes, at most {PREDICTIONS_LIMIT:,} are read")
    if sha256_file(path) != stated.predictions_sha256:
        raise UserError(f"{path}: not the file of predictions_sha256; prepare both together")
    rows = list(read_predictions(path))
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise UserError(f"{path}: id {row.id!r} stands twice")
        seen.add(row.id)
        if len(row.text) > TEXT_LIMIT:
            raise UserError(f"{path}: the text of {row.id!r} has over {TEXT_LIMIT:,} characters")
    if len(rows) != stated.n:
        raise UserError(f"{path}: {len(rows)} predictions, n is {stated.n}")
    return rows


def _rescore(
    stated: Submission,
    predictions: Sequence[Prediction],
    manifest: Path,
    config: EvaluateConfig,
    path: Path,
) -> None:
    """Score the predictions again and require the stated figures."""
    samples = [
        s
        for s in iter_manifest(manifest)
        if s.granularity == stated.granularity and s.task == "transcribe"
    ]
    wanted, got = {s.id for s in samples}, {p.id for p in predictions}
    if missing := sorted(wanted - got):
        raise UserError(f"{path}: no prediction of {len(missing)} test rows, first {missing[0]!r}")
    if unknown := sorted(got - wanted):
        raise UserError(f"{path}: {len(unknown)} predictions of no test row, first {unknown[0]!r}")
    profile = str(stated.settings.get("profile", ""))
    if profile != config.profile:
        raise UserError(f"{path}: profile {profile!r}, the leaderboard scores {config.profile!r}")
    found = _scores(samples, predictions, replace(config, granularity="auto"))
    if found["documents"] != stated.documents:
        raise UserError(f"{path}: scoring the predictions again gives other sums per document")
    sections = [("overall", found["overall"], stated.overall)]
    sections += [
        (f"by_subset.{name}", found["by_subset"].get(name, {}), values)
        for name, values in stated.by_subset.items()
    ]
    for where, ours, theirs in sections:
        for key, value in theirs.items():
            if abs(ours.get(key, math.inf) - value) > TOLERANCE:
                raise UserError(
                    f"{path}: {where}.{key} is stated as {value}, scoring the predictions again "
                    f"gives {ours.get(key, 'no such value')}"
                )
