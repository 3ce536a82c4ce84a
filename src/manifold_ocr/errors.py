"""The one error type for the person at the keyboard, and settings whose mistakes raise it."""

import dataclasses
import difflib
import tempfile
import traceback
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")


class UserError(Exception):
    """Bad input or a state that the user can fix.

    The message names the file, the row where there is one, and the remedy. The command
    line prints it as one line without a traceback and exits with status 2.
    """

    def __str__(self) -> str:
        """Return the message in one line, whatever a library put into it."""
        return " ".join(part.strip() for part in super().__str__().splitlines())


def report_bug(error: BaseException) -> str:
    """Write the traceback of an error that no user can fix to a file; return the line to print."""
    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix="manifold-ocr-", suffix=".txt", delete=False
    ) as file:
        file.write(text)
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"error: a bug in manifold-ocr ({reason[:300]}); please report it with {file.name}"


def nearest(key: str, valid: Iterable[str]) -> str:
    """Return "; did you mean X?" for a key close to a valid one, else the valid ones."""
    names = sorted(valid)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid: {', '.join(names)}"


def build(cls: type[Config], value: Any, where: str) -> Config:
    """Build the settings `cls` from a mapping, checking every key and value.

    Raises:
        UserError: an unknown key (the nearest valid one is named), a missing key, a value of
            another type or out of range, or a ValueError of the class's own checks.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_python(value)
    except ValidationError as error:
        raise _settings_error(cls, value, where, error.errors(include_url=False)) from error


TYPES = {
    "int_type": "int", "float_type": "a number", "bool_type": "true or false", "string_type": "str",
    "tuple_type": "a list", "list_type": "a list", "dict_type": "a mapping",
    "dataclass_type": "a mapping", "invalid_key": "a mapping with words as keys",
}  # fmt: skip


def _settings_error(cls: Any, value: Any, where: str, found: list[Any]) -> UserError:
    """Return pydantic's errors about settings of the dataclass `cls` as one line for people.

    The first in this order is told: an unknown key, the innermost value. The line has the key's
    path after `where`, the value, and what is allowed.
    """
    error = min(found, key=lambda e: (e["type"] != "unexpected_keyword_argument", -len(e["loc"])))
    kind, last = error["type"], error["loc"][-1] if error["loc"] else ""
    for part in error["loc"]:  # follow the value; what does not lead on is a branch of a union
        if isinstance(value, Mapping) and part in value:
            where, value = f"{where}.{part}", value[part]
            if part != last or kind != "unexpected_keyword_argument":
                inside = typing.get_type_hints(cls) if dataclasses.is_dataclass(cls) else {}
                cls = inside.get(part) or (typing.get_args(cls) or (cls,))[-1]
        elif isinstance(value, list | tuple) and isinstance(part, int):
            where, value = f"{where}[{part}]", value[part]
    match kind:
        case "unexpected_keyword_argument":
            keys = [field.name for field in dataclasses.fields(cls)]
            return UserError(f"{where}: unknown key{nearest(str(last), keys)}")
        case "missing":
            return UserError(f"{where}.{last}: key is missing")
        case "value_error":
            return UserError(f"{where}: {error['ctx']['error']}")
        case "literal_error":
            allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
            return UserError(f"{where}: {value!r} is not one of {allowed}")
        case "string_pattern_mismatch":
            return UserError(f"{where}: {value!r} does not match {error['ctx']['pattern']}")
        case "too_short":
            return UserError(f"{where}: must have at least {error['ctx']['min_length']} item")
    wanted = TYPES.get(kind) or error["msg"].removeprefix("Input should be ").lower()
    return UserError(f"{where}: must be {wanted}, not {value!r}")
