"""One default a knob: in the code, in params.yaml and in docs/training.md."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from manifold_ocr.config import LoraConfig, ModelConfig, TrainConfig
from manifold_ocr.errors import build
from manifold_ocr.files import read_yaml

ROOT = Path(__file__).parents[2]
SECTIONS = {"model": ModelConfig, "lora": LoraConfig, "train": TrainConfig}


def documented():
    """Return {section.key: default} of the table in docs/training.md."""
    found = {}
    for line in (ROOT / "docs/training.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        names = re.findall(r"`((?:model|lora|train)\.\w+)`", cells[0])
        if line.startswith("| `") and names:
            found |= {name: yaml.safe_load(cells[1]) for name in names}
    return found


@pytest.mark.parametrize("section", SECTIONS)
def test_the_code_defaults_are_those_of_the_params(section):
    params = read_yaml(ROOT / "params.yaml")[section]
    needed = {
        field.name: params[field.name]
        for field in dataclasses.fields(SECTIONS[section])
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    assert set(params) == {field.name for field in dataclasses.fields(SECTIONS[section])}
    assert build(SECTIONS[section], params, section) == SECTIONS[section](**needed)


def test_the_documented_defaults_are_those_of_the_params():
    table = documented()
    params = read_yaml(ROOT / "params.yaml")
    assert len(table) > 30
    for name, default in table.items():
        section, key = name.split(".")
        assert params[section][key] == default, name
