from dataclasses import dataclass, field
from typing import Literal

import pytest

from manifold_ocr.config import build, load_section
from manifold_ocr.errors import UserError


@dataclass(frozen=True)
class Inner:
    low: float = 0.0


@dataclass(frozen=True)
class Outer:
    rank: int
    mode: Literal["a", "b"] = "a"
    rate: float = 1.0
    names: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)
    table: dict[str, Inner] = field(default_factory=dict)
    target: str | list[str] = "auto"

    def __post_init__(self):
        if self.rank < 0:
            raise ValueError(f"rank must be 0 or more, not {self.rank}")


def test_builds_nested_values_and_takes_an_int_for_a_float():
    value = {"rank": 8, "rate": 2, "names": ["x"], "inner": {"low": 1}, "table": {"k": {"low": 3}}}
    built = build(Outer, value, "here")
    assert built == Outer(8, "a", 2.0, ("x",), Inner(1.0), {"k": Inner(3.0)})
    assert type(built.rate) is float


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"rnak": 8}, r"here\.rnak: unknown key; did you mean 'rank'\?"),
        ({}, r"here\.rank: key is missing"),
        ({"rank": "8"}, r"here\.rank: must be int, not '8'"),
        ({"rank": True}, r"here\.rank: must be int, not True"),
        ({"rank": -1}, r"here: rank must be 0 or more, not -1"),
        ({"rank": 1, "mode": "c"}, r"here\.mode: 'c' is not one of a, b"),
        ({"rank": 1, "inner": {"lwo": 1}}, r"here\.inner\.lwo: unknown key; did you mean 'low'"),
        ({"rank": 1, "names": "x"}, r"here\.names: must be a list"),
        ({"rank": 1, "names": [1]}, r"here\.names\[0\]: must be str"),
        ({"rank": 1, "target": 3}, r"here\.target: must be str"),
        ([], "here: must be a mapping"),
    ],
)
def test_each_mistake_is_named(value, message):
    with pytest.raises(UserError, match=message):
        build(Outer, value, "here")


def test_missing_section_and_file(tmp_path):
    params = tmp_path / "params.yaml"
    with pytest.raises(UserError, match="no such file"):
        load_section(Outer, "outer", params)
    params.write_text("outre: {rank: 1}\n")
    with pytest.raises(UserError, match="'outer' is missing; did you mean 'outre'"):
        load_section(Outer, "outer", params)
    params.write_text("a: [\n")
    with pytest.raises(UserError, match="not valid YAML"):
        load_section(Outer, "outer", params)
