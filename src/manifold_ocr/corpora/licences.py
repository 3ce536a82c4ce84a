"""The licence gate: which corpora a run may use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manifold_ocr.config import build
from manifold_ocr.corpora.sources import SOURCES
from manifold_ocr.errors import UserError

ANY = "any"
POLICY_KEYS = ("allowed_licences", "commercial")
_NON_COMMERCIAL = ("-nc", "noncommercial", "non-commercial", "research")


@dataclass(frozen=True, kw_only=True)
class LicencePolicy:
    """`allowed_licences` lists SPDX-like names (or `any`); `commercial` is the run's purpose."""

    allowed_licences: tuple[str, ...] = (ANY,)
    commercial: bool = False


def is_non_commercial(licence: str) -> bool:
    """Say whether a licence name forbids commercial use (CC BY-NC, research only)."""
    name = licence.lower().replace(" ", "-")
    return any(mark in name for mark in _NON_COMMERCIAL)


def check_licence(corpus: str, licence: str, policy: LicencePolicy) -> None:
    """Refuse a corpus whose licence the run does not allow.

    Raises:
        UserError: names corpus, licence and the key of params.yaml that decides.
    """
    if policy.commercial and is_non_commercial(licence):
        raise UserError(
            f"corpus {corpus}: its licence {licence} forbids commercial use and "
            "corpora.commercial is true; remove it from download.corpora, or set "
            "corpora.commercial: false if this run is research"
        )
    allowed = {name.lower() for name in policy.allowed_licences}
    if ANY not in allowed and licence.lower() not in allowed:
        raise UserError(
            f"corpus {corpus}: its licence {licence} is not in corpora.allowed_licences "
            f"({', '.join(policy.allowed_licences)}); add it there or drop the corpus"
        )


def policy_of(section: Mapping[str, Any]) -> LicencePolicy:
    """Return the licence policy in the `corpora` section of params.yaml."""
    values = {key: section[key] for key in POLICY_KEYS if key in section}
    return build(LicencePolicy, values, "params.yaml: corpora")


def licence_of(name: str, options: Mapping[str, Any]) -> str:
    """Return a corpus's licence: the user's word, else what its source says, else unknown."""
    known = SOURCES.get(str(options.get("kind") or name))
    return str(options.get("license") or (known.license if known else "unknown"))


def corpus_licence(name: str, options: Mapping[str, Any], policy: LicencePolicy) -> str:
    """Return the corpus's licence after checking it (see `check_licence`)."""
    licence = licence_of(name, options)
    check_licence(name, licence, policy)
    return licence
