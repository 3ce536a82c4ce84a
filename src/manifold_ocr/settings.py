"""Checked settings: the value types and the class decorator that params.yaml's sections use."""

import re
from dataclasses import field
from pathlib import Path
from typing import Annotated, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from manifold_ocr.errors import UserError, build, nearest
from manifold_ocr.files import read_yaml

Config = TypeVar("Config")

Flag = Annotated[bool, Field(strict=True)]  # none is converted, an int for a float aside
Int = Annotated[int, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0)]  # 0 mostly means no limit, or automatic
Positive = Annotated[int, Field(strict=True, ge=1)]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]  # what numpy takes
Float = Annotated[float, Field(strict=True)]
NotNegative = Annotated[float, Field(strict=True, ge=0)]
AboveZero = Annotated[float, Field(strict=True, gt=0)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
ShareAboveZero = Annotated[float, Field(strict=True, gt=0, le=1)]
ShareBelowOne = Annotated[float, Field(strict=True, ge=0, lt=1)]
Names = tuple[Annotated[str, Field(min_length=1)], ...]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def settings(cls: type[Config]) -> type[Config]:
    """Make a frozen, checked dataclass: a section of params.yaml, or a part of one."""
    checks = ConfigDict(extra="forbid", allow_inf_nan=False)
    return pydantic_dataclass(frozen=True, kw_only=True, config=checks)(cls)  # type: ignore[return-value]


def load_section(cls: type[Config], name: str, path: Path | str = "params.yaml") -> Config:
    """Build the settings `cls` from one section of a params file (see `errors.build`)."""
    params = read_yaml(path)
    if name not in params:
        raise UserError(f"{path}: section {name!r} is missing{nearest(name, params)}")
    return build(cls, params[name], f"{path}: {name}")


CORPUS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
POLICY_KEYS = ("allowed_licences", "commercial")  # of section `corpora`, beside the corpora


def check_corpus_name(name: str) -> str:
    """Return a name that folders, DVC stages, keys and a shell take as it is, else ValueError."""
    if not CORPUS_NAME.fullmatch(name) or name in POLICY_KEYS:
        raise ValueError(
            f"{name!r} cannot be a corpus name: a letter, then letters, digits, _ and - (at most "
            f"64 in all), and none of {', '.join(POLICY_KEYS)}"
        )
    return name
