"""params.yaml: every mistake is one line that names the key, the value and what is allowed."""

import dataclasses
import math
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml

from manifold_ocr.config import CORPORA, SECTIONS, LoraConfig, TrainConfig
from manifold_ocr.errors import UserError, build
from manifold_ocr.files import parse_yaml, read_yaml
from manifold_ocr.settings import Count, Float, Names, check_corpus_name, load_section, settings
from manifold_ocr.stages.check_params import check_params

ROOT = Path(__file__).parents[1]
PARAMS = ROOT / "params.yaml"


@settings
class Inner:
    low: Float = 0.0


@settings
class Outer:
    rank: Count
    rate: Float = 1.0
    names: Names = ()
    inner: Inner = Inner()
    table: dict[str, Inner] = dataclasses.field(default_factory=dict)
    target: str | list[str] = "auto"


def test_builds_nested_values_and_takes_an_int_for_a_float():
    value = {"rank": 8, "rate": 2, "names": ["x"], "inner": {"low": 1}, "table": {"k": {"low": 3}}}
    built = build(Outer, value, "here")
    table = {"k": Inner(low=3.0)}
    assert built == Outer(rank=8, rate=2.0, names=("x",), inner=Inner(low=1.0), table=table)
    assert type(built.rate) is float and dataclasses.asdict(built)["table"] == {"k": {"low": 3.0}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"rnak": 8}, r"here\.rnak: unknown key; did you mean 'rank'\?"),
        ({}, r"here\.rank: key is missing"),
        ({"rank": "8"}, r"here\.rank: must be int, not '8'"),
        ({"rank": True}, r"here\.rank: must be int, not True"),
        ({"rank": 8.0}, r"here\.rank: must be int, not 8\.0"),
        ({"rank": -1}, r"here\.rank: must be greater than or equal to 0, not -1"),
        ({"rank": 1, "rate": math.nan}, r"here\.rate: must be a finite number, not nan"),
        ({"rank": 1, "rate": math.inf}, r"here\.rate: must be a finite number, not inf"),
        ({"rank": 1, "rate": False}, r"here\.rate: must be a number, not False"),
        ({"rank": 1, "inner": {"lwo": 1}}, r"here\.inner\.lwo: unknown key; did you mean 'low'"),
        ({"rank": 1, "inner": 3}, r"here\.inner: must be a mapping, not 3"),
        ({"rank": 1, "table": {"k": {"lwo": 1}}}, r"here\.table\.k\.lwo: unknown key; did you"),
        ({"rank": 1, "names": "x"}, r"here\.names: must be a list"),
        ({"rank": 1, "names": [1]}, r"here\.names\[0\]: must be str, not 1"),
        ({"rank": 1, "target": 3}, r"here\.target: must be str"),
        ({"rank": 1, "target": ["a", 3]}, r"here\.target\[1\]: must be str, not 3"),
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
    for text in ("a: [\n", "a: 1\na: 2\n"):
        params.write_text(text)
        with pytest.raises(UserError, match="not valid YAML") as caught:
            load_section(Outer, "outer", params)
        assert "\n" not in str(caught.value)
    params.write_bytes(b"a: \xff")
    with pytest.raises(UserError, match="not UTF-8"):
        load_section(Outer, "outer", params)


def changed(tmp_path, key, value):
    """Return a copy of params.yaml with one value replaced."""
    from manifold_ocr.files import edited_yaml

    path = tmp_path / "params.yaml"
    shutil.copy(PARAMS, path)
    with edited_yaml(path) as document:
        *sections, leaf = key.split(".")
        place = document
        for part in sections:
            place = place[part]
        place[leaf] = value
    return path


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.epochs", math.inf, "train.epochs: must be a finite number, not inf"),
        ("train.epochs", math.nan, "train.epochs: must be a finite number, not nan"),
        ("train.learning_rate", "5e-5", "train.learning_rate: must be a number, not '5e-5'"),
        ("train.seed", -1, "train.seed: must be greater than or equal to 0, not -1"),
        ("train.seed", 2**32, "train.seed: must be less than or equal to 4294967295"),
        ("evaluate.seed", 2**70, "evaluate.seed: must be less than or equal to 4294967295"),
        ("train.max_grad_norm", math.nan, "train.max_grad_norm: must be a finite number"),
        ("train.weight_decay", math.nan, "train.weight_decay: must be a finite number"),
        ("train.rehearsal_languages", [], "rehearsal_languages must name one of en, zh"),
        (
            "train.rehearsal_languages",
            ["de"],
            r"rehearsal_languages\[0\]: 'de' is not one of en, zh",
        ),
        ("train.include_languages", ["klingon!"], "include_languages.0.: language 'klingon!'"),
        ("lora.alpha", 0, "lora.alpha: must be greater than or equal to 1, not 0"),
        ("lora.alpha", -16, "lora.alpha: must be greater than or equal to 1, not -16"),
        ("lora.target_modules", [], "target_modules must name a module"),
        ("lora.bias", "some", "lora.bias: 'some' is not one of none, all, lora_only"),
        ("download.corpora", [], "download.corpora: must have at least 1 item"),
        ("download.corpora", ["synthetic", "synthetic"], "a corpus is listed twice"),
        ("download.corpora", ["a;touch X"], "'a;touch X' cannot be a corpus name"),
        ("download.corpora", ["sroie2"], "'sroie2' is no known corpus"),
        ("corpora.allowed_licences", [], "corpora.allowed_licences: must have at least 1 item"),
        ("corpora.my docs", {"kind": "folder"}, "'my docs' cannot be a corpus name"),
        ("corpora.docs", {"kind": "foldr"}, "corpora.docs.kind: 'foldr'; did you mean 'folder'"),
        ("corpora.docs", {"kind": "folder", "layuot": "alto"}, "docs.layuot: unknown key; did you"),
        ("corpora.synthetic.subsets", [], "synthetic.subsets: must have at least 1 item"),
        ("corpora.synthetic.subsets", ["recipes"], "'recipes' is not one of printed, receipts"),
        ("manifest.include_tasks", [], "manifest.include_tasks: must have at least 1 item"),
        ("manifest.val_split", 0.9, "val_split [+] test_split must leave a share for training"),
        ("augment.recipe.blur.p", 1.5, "augment.recipe.blur.p: must be less than or equal to 1"),
        ("augment.recipe.blur", {"p": 0.1, "low": 5, "high": 4}, r"blur: low \(5\) must not be"),
        ("evaluate.profile", "nfx", "evaluate.profile: "),
        ("evaluate.cohorts.too_short", 1.5, "cohorts.too_short: must be less than 1, not 1.5"),
        ("compress.stride", 600, r"stride must be 1 to window \(512\), not 600"),
        ("compress.targets", {}, "targets needs an entry `default`"),
        ("monitor.drift.cer", "0.1", "monitor.drift.cer: must be a number"),
        ("gate.max_loss", 2, "gate.max_loss: must be less than or equal to 1, not 2"),
        ("gate.alow", [], "gate.alow: unknown key; did you mean 'allow'"),
        ("trian", {}, "trian: unknown section; did you mean 'train'"),
    ],
)
def test_a_wrong_value_is_one_line_before_anything_runs(tmp_path, key, value, message):
    with pytest.raises(UserError, match=message) as caught:
        check_params(changed(tmp_path, key, value))
    assert "\n" not in str(caught.value)


def leaves(value, prefix=()):
    for key, item in value.items():
        if isinstance(item, dict):
            yield from leaves(item, (*prefix, key))
        else:
            yield (*prefix, key)


@pytest.mark.parametrize("name", SECTIONS)
def test_no_key_of_any_section_takes_a_value_of_another_type(name):
    """A string for a number, a number for a string: nothing is converted silently."""
    params = read_yaml(PARAMS)
    for path in leaves(params[name]):
        section = read_yaml(PARAMS)[name]
        place = section
        for part in path[:-1]:
            place = place[part]
        right = place[path[-1]]
        word = 1.5 if path == ("gpus",) else 5  # a word or a number of processes
        wrong = {str: [word], bool: [1, "true"], int: ["5", True, 1.5], float: ["0.5", True]}
        for value in [*wrong.get(type(right), ["word", 5]), {"a": 1}, None]:
            place[path[-1]] = value
            with pytest.raises(UserError, match=f"params.yaml: {name}"):
                build(SECTIONS[name], section, f"params.yaml: {name}")


def test_the_sections_are_those_of_params_yaml_with_all_their_keys():
    params = read_yaml(PARAMS)
    assert set(params) == {*SECTIONS, CORPORA}
    for name, cls in SECTIONS.items():
        assert set(params[name]) == {field.name for field in dataclasses.fields(cls)}, name
        needed = {key: params[name][key] for key in ("id", "corpora") if key in params[name]}
        assert build(cls, params[name], name) == cls(**needed), "params.yaml holds the defaults"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5), ("5e-05", 5e-5), ("1e-5", 1e-5), ("0.00005", 5e-5), ("1E1", 10.0),
        ("['no']", ["no"]), ("[no, on, off, yes]", ["no", "on", "off", "yes"]),
        ("020", 20), ("0o20", 16), ("12:30", "12:30"), ("~", None), ("true", True),
    ],
)  # fmt: skip
def test_params_are_yaml_1_2(tmp_path, text, value):
    """The values are those of the YAML 1.2 core schema (yaml.org/spec/1.2.2, 10.3)."""
    assert parse_yaml(f"key: {text}", "here") == {"key": value}
    path = tmp_path / "params.yaml"
    path.write_text(f"key: {text}")
    assert load_yaml(path) == {"key": value}, "DVC reads the same"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.learning_rate=5e-5", 5e-5),
        ("train.learning_rate=1e-5", 1e-5),
        ("train.learning_rate=0.00005", 5e-5),
        ("train.weight_decay=1e-6", 1e-6),
        ("train.epochs=1e1", 10.0),
        ("train.seed=020", UserError),  # DVC writes the string '020'
        ("train.include_languages=['no']", ("no",)),
        ("train.include_subsets=['2024']", ("2024",)),
        ("train.include_subsets=[a]", ("a",)),
        ("train.resume=no", UserError),
        ("train.epochs=inf", UserError),
        ("train.init_from=null", UserError),
    ],
)
def test_overrides_of_dvc_are_read_as_they_were_meant(tmp_path, override, expected):
    params = tmp_path / "params.yaml"
    shutil.copy(PARAMS, params)
    apply_overrides(str(params), [override])
    if expected is UserError:
        with pytest.raises(UserError, match="params\\.yaml: train"):
            load_section(TrainConfig, "train", params)
        return
    key = override.partition("=")[0].removeprefix("train.")
    assert getattr(load_section(TrainConfig, "train", params), key) == expected


def test_replacing_a_value_checks_it_again():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        dataclasses.replace(LoraConfig(), rank=-1)


@pytest.mark.parametrize("name", ["synthetic", "scans-2", "my_docs", "A", "icdar2015"])
def test_a_corpus_name_is_letters_digits_and_two_marks(name):
    assert check_corpus_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "my docs", "scans.v2", "a;touch X", "a$HOME", "a'b", "a*b", "-h", "a,b", "a&b", "a/b",
     "2024", "commercial", "allowed_licences", "Übung", "a\n", "..", "x" * 65],
)  # fmt: skip
def test_no_other_corpus_name_is_taken(name):
    with pytest.raises(ValueError, match="cannot be a corpus name"):
        check_corpus_name(name)
