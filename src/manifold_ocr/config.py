"""params.yaml sections as frozen dataclasses: an unknown or mistyped key is an error."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from manifold_ocr.errors import UserError

Config = TypeVar("Config")


def load_params(path: Path | str = "params.yaml") -> dict[str, Any]:
    """Read a params file as a mapping.

    Raises:
        UserError: missing, not YAML, or not a mapping.
    """
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run from the project's root") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: must be a mapping of sections")
    return value


def load_section(cls: type[Config], section: str, path: Path | str = "params.yaml") -> Config:
    """Build the dataclass `cls` from one section of a params file (see `build`)."""
    params = load_params(path)
    if section not in params:
        raise UserError(f"{path}: section {section!r} is missing{_nearest(section, params)}")
    return build(cls, params[section], f"{path}: {section}")


def build(cls: type[Config], value: Any, where: str) -> Config:
    """Build a frozen dataclass from a mapping, checking every key and type.

    Nested dataclasses, `X | None`, `list`/`tuple` and `dict[str, X]` annotations are
    followed; an int is accepted where a float is asked for, nothing else is converted.

    Raises:
        UserError: an unknown key (the nearest valid one is named), a missing key, a value
            of another type, or a ValueError of the dataclass's own checks.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: must be a mapping, not {value!r}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            raise UserError(f"{where}.{key}: unknown key{_nearest(str(key), fields)}")
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in value:
            raise UserError(f"{where}.{name}: key is missing")
    built = {key: _convert(hints[key], item, f"{where}.{key}") for key, item in value.items()}
    try:
        return cls(**built)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _nearest(key: str, valid: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, list(valid), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid: {', '.join(sorted(valid))}"


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is typing.Literal:
        if value not in args:
            raise UserError(f"{where}: {value!r} is not one of {', '.join(map(str, args))}")
        return value
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}: must be a list, not {value!r}")
        return origin(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: must be a mapping, not {value!r}")
        return {k: _convert(args[1], item, f"{where}.{k}") for k, item in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{where}: must be {hint.__name__}, not {value!r}")
    return value


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    problems = []
    for arg in args:
        if arg is type(None):
            continue
        try:
            return _convert(arg, value, where)
        except UserError as error:
            problems.append(str(error))
    raise UserError(problems[0])
