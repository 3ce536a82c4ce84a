"""Where each known corpus comes from, under which license, and which ones a run may use.

The download stage depends on this file and never on a parser, so fixing a parser fetches
nothing again. A hub source is pinned by its commit; a plain address by its SHA-256.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from manifold_ocr.errors import UserError, build
from manifold_ocr.settings import POLICY_KEYS, Flag, Names, settings


@settings
class CommonOptions:
    """Where a corpus comes from and what it may be used for: docs/corpora.md.

    One of `path`, `url` (with `sha256`) or `repo` (with `revision`, a 40-digit commit) overrides
    the known source. A layout's own options are beside its reader.
    """

    kind: str = ""
    path: str = ""
    url: str = ""
    sha256: str = ""
    repo: str = ""
    revision: str = ""
    role: Literal["", "train", "eval_only"] = ""
    license: str = ""
    language: str = ""
    raw_boxes: Flag = False  # boxes are in pixels of the file, before its EXIF turn

    def __post_init__(self) -> None:
        if sum(bool(value) for value in (self.path, self.url, self.repo)) > 1:
            raise ValueError("give one of path, url, repo, not several")


Options = TypeVar("Options", bound=CommonOptions)


def corpus_options(cls: type[Options], name: str, options: Mapping[str, Any]) -> Options:
    """Build a corpus's options from its entry under `corpora` (strict, see `config.build`)."""
    return build(cls, options, f"params.yaml: corpora.{name}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One corpus as its publisher offers it.

    `repo` and `revision` name a dataset repository of the Hugging Face hub and its commit;
    `files` are the patterns fetched from it. `urls` maps addresses to their SHA-256.
    `manual` says how to get a corpus that has no open address: its owner wants a form
    filled in, and the files are then given by `corpora.NAME.path`.
    """

    license: str
    role: Literal["train", "eval_only"]
    citation: str
    homepage: str
    repo: str = ""
    revision: str = ""
    files: tuple[str, ...] = ()
    urls: dict[str, str] = field(default_factory=dict)
    manual: str = ""


SOURCES: dict[str, Source] = {
    "synthetic": Source(
        license="Apache-2.0",
        role="train",
        homepage="made by manifold-ocr",
        citation="Made by manifold-ocr from its own text generators and openly licensed fonts.",
    ),
    "fox": Source(
        license="CC-BY-NC-4.0",
        role="eval_only",
        homepage="https://github.com/ucaslcl/Fox",
        repo="ucaslcl/Fox_benchmark_data",
        revision="d6c6f5202d61bf28c8cf9b7b777754dc9bbdc0e0",
        files=("focus_benchmark_test.zip",),
        citation="Liu et al., Focus Anywhere for Fine-grained Multi-page Document "
        "Understanding, arXiv:2405.14295, 2024",
    ),
    "omnidocbench": Source(
        license="research-only",
        role="eval_only",
        homepage="https://github.com/opendatalab/OmniDocBench",
        repo="opendatalab/OmniDocBench",
        revision="aa1ee96d106dbe53d0ae59474d75c6e6d9b53fec",
        files=("OmniDocBench.json", "images/*"),
        citation="Ouyang et al., OmniDocBench: Benchmarking Diverse PDF Document Parsing "
        "with Comprehensive Annotations, CVPR 2025",
    ),
    "icdar_sroie": Source(
        license="CC-BY-4.0",
        role="train",
        homepage="https://rrc.cvc.uab.es/?ch=13",
        manual="register at https://rrc.cvc.uab.es/?ch=13, put img/, box/ and key/ in one "
        "folder and set corpora.icdar_sroie.path to it",
        citation="Huang et al., ICDAR2019 Competition on Scanned Receipt OCR and "
        "Information Extraction, ICDAR 2019",
    ),
    "icdar2015": Source(
        license="CC-BY-4.0",
        role="train",
        homepage="https://rrc.cvc.uab.es/?ch=4",
        manual="register at https://rrc.cvc.uab.es/?ch=4, put the image and gt_*.txt files "
        "in one folder and set corpora.icdar2015.path to it",
        citation="Karatzas et al., ICDAR 2015 Competition on Robust Reading, ICDAR 2015",
    ),
    "docvqa": Source(
        license="research-only",
        role="train",
        homepage="https://www.docvqa.org/datasets/docvqa",
        manual="register at https://rrc.cvc.uab.es/?ch=17, put the *_v1.0*.json files and "
        "documents/ in one folder and set corpora.docvqa.path to it",
        citation="Mathew et al., DocVQA: A Dataset for VQA on Document Images, WACV 2021",
    ),
    "publaynet": Source(
        license="CDLA-Permissive-1.0",
        role="train",
        homepage="https://github.com/ibm-aur-nlp/PubLayNet",
        manual="fetch the archives named at https://github.com/ibm-aur-nlp/PubLayNet and set "
        "corpora.publaynet.path to the folder (or to one archive) that holds val.json and val/",
        citation="Zhong et al., PubLayNet: largest dataset ever for document layout "
        "analysis, ICDAR 2019",
    ),
}


ANY = "any"
_NON_COMMERCIAL = ("-nc", "noncommercial", "non-commercial", "research")


@settings
class LicensePolicy:
    """`allowed_licences` lists SPDX-like names (or `any`); `commercial` is the run's purpose."""

    allowed_licences: Annotated[Names, Field(min_length=1)] = ("any",)
    commercial: Flag = False


def is_non_commercial(license: str) -> bool:
    """Say whether a license name forbids commercial use (CC BY-NC, research only)."""
    name = license.lower().replace(" ", "-")
    return any(mark in name for mark in _NON_COMMERCIAL)


def check_license(corpus: str, license: str, policy: LicensePolicy) -> None:
    """Refuse a corpus whose license the run does not allow.

    Raises:
        UserError: names corpus, license and the key of params.yaml that decides.
    """
    if policy.commercial and is_non_commercial(license):
        raise UserError(
            f"corpus {corpus}: its license {license} forbids commercial use and "
            "corpora.commercial is true; remove it from download.corpora, or set "
            "corpora.commercial: false if this run is research"
        )
    allowed = {name.lower() for name in policy.allowed_licences}
    if ANY not in allowed and license.lower() not in allowed:
        raise UserError(
            f"corpus {corpus}: its license {license} is not in corpora.allowed_licences "
            f"({', '.join(policy.allowed_licences)}); add it there or drop the corpus"
        )


def policy_of(section: Mapping[str, Any]) -> LicensePolicy:
    """Return the license policy in the `corpora` section of params.yaml."""
    values = {key: section[key] for key in POLICY_KEYS if key in section}
    return build(LicensePolicy, values, "params.yaml: corpora")


def license_of(name: str, options: Mapping[str, Any]) -> str:
    """Return a corpus's license: the user's word, else what its source says, else unknown."""
    known = SOURCES.get(str(options.get("kind") or name))
    return str(options.get("license") or (known.license if known else "unknown"))


def corpus_license(name: str, options: Mapping[str, Any], policy: LicensePolicy) -> str:
    """Return the corpus's license after checking it (see `check_license`)."""
    license = license_of(name, options)
    check_license(name, license, policy)
    return license
