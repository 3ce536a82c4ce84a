"""The architecture, asserted: layers, no cycles, light modules free of torch, DVC deps complete."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from manifold_ocr.closure import SOURCE_ROOT, import_closure
from manifold_ocr.dag import PROJECT, code_deps

PACKAGE = SOURCE_ROOT / "manifold_ocr"
LAYERS = (
    ("errors", "files", "records", "config", "progress", "closure", "perf"),
    ("text", "scoring", "codec", "compression", "images", "augment", "augmentation", "corpora",
     "manifest", "reading_order", "downloading"),
    ("models",),
    ("training", "inference", "reading_cost", "detection", "pages", "engines", "labelling",
     "robustness"),
    ("ranking", "board", "gate", "monitor", "explorer", "report", "reports", "limitations"),
    ("stages", "commands", "serving", "cli", "params", "dag"),
)  # fmt: skip
HEAVY = {"torch", "transformers", "peft", "accelerate", "bitsandbytes"}


def _modules():
    return sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


def _dotted(path):
    return ".".join(path.relative_to(SOURCE_ROOT).with_suffix("").parts)


def _layer(dotted):
    part = dotted.split(".")[1]
    for number, names in enumerate(LAYERS):
        if part in names:
            return number
    raise AssertionError(f"{dotted} stands in no layer: add it to LAYERS")


def _imports(path, top_level_only=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    files = {_dotted(p) for p in _modules()}
    return {name for name in found if name in files}, found


def test_no_file_imports_a_higher_layer():
    wrong = [
        f"{_dotted(path)} (L{_layer(_dotted(path))}) imports {target} (L{_layer(target)})"
        for path in _modules()
        for target in sorted(_imports(path)[0])
        if _layer(target) > _layer(_dotted(path))
    ]
    assert wrong == []


def test_stages_never_import_stages():
    for path in (PACKAGE / "stages").glob("*.py"):
        others = {t for t in _imports(path)[0] if t.startswith("manifold_ocr.stages.")}
        assert others <= {"manifold_ocr.stages.runner"}, path


def test_there_are_no_import_cycles():
    graph = {_dotted(p): _imports(p, top_level_only=True)[0] for p in _modules()}
    list(TopologicalSorter(graph).static_order())


def test_light_layers_name_no_heavy_package():
    for path in _modules():
        if _layer(_dotted(path)) in (0, 1, 4):
            heavy = {n for n in _imports(path)[1] if n.split(".")[0] in HEAVY}
            assert not heavy, f"{path} imports {heavy}"


@pytest.mark.parametrize(
    "module",
    ["manifold_ocr.cli", "manifold_ocr.scoring", "manifold_ocr.codec", "manifold_ocr.ranking",
     "manifold_ocr.monitor", "manifold_ocr.stages.manifest", "manifold_ocr.stages.augment",
     "manifold_ocr.stages.compress_check"],
)  # fmt: skip
def test_light_entry_points_do_not_load_torch(module):
    code = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    environment = {"PYTHONPATH": str(SOURCE_ROOT), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def _stages():
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


def test_dvc_deps_are_exactly_the_import_closure():
    for name, stage in _stages().items():
        listed = [dep for dep in stage["deps"] if dep.startswith("src/")]
        assert listed == code_deps(stage), f"{name}: run python -m manifold_ocr.dag --write"


def test_training_depends_on_no_scoring_code_and_the_parsers_fetch_nothing():
    stages = _stages()
    scorer = ("src/manifold_ocr/scoring.py", "src/manifold_ocr/text/")
    assert not any(dep.startswith(scorer) for dep in stages["train"]["deps"])
    assert any(dep.startswith(scorer) for dep in stages["evaluate"]["deps"])


def test_every_stage_sets_its_own_source_path_and_is_seven_with_the_base_import():
    stages = _stages()
    expected = {"download", "download_base", "manifest", "augment", "train", "evaluate",
                "compress_check", "leaderboard"}  # fmt: skip
    assert set(stages) == expected
    assert all(stage["cmd"].startswith("PYTHONPATH=src python -m ") for stage in stages.values())


def test_closure_follows_imports_inside_functions(tmp_path):
    closure = {Path(p).name for p in import_closure(["manifold_ocr.commands.summary"])}
    assert {"summary.py", "board.py", "gate.py", "errors.py"} <= closure
