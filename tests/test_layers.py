"""The architecture, asserted: layers, no cycles, light modules free of torch, DVC deps complete."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from manifold_ocr.code_hash import PACKAGE, PLUMBING, SOURCE_ROOT, covered, import_closure

PROJECT = SOURCE_ROOT.parent
SOURCE = "src/manifold_ocr/"  # of dependencies in dvc.yaml
TOP = {
    "errors", "files", "records", "images", "pdf_pages", "pixels", "settings", "config",
    "augment_config", "resources", "code_hash",
}  # fmt: skip
# Lowest first. A file imports its own layer and those before it.
LAYERS = (
    TOP, {"metrics"}, {"augment"}, {"synthetic"}, {"data"}, {"models"}, {"training"}, {"reading"},
    {"evaluation", "compression"}, {"publish"}, {"serving"}, {"stages", "cli"},
)  # fmt: skip
LIGHT = TOP | {"metrics", "augment", "synthetic", "data", "compression", "publish"}
HEAVY = {"torch", "transformers", "peft", "accelerate", "bitsandbytes"}
# What a stage imports without depending on it: (stage, module or package) -> why.
NO_DEPENDENCY = {
    ("manifest", "synthetic"): "the raw corpus is drawn by download; here its rows are read",
    ("manifest", "augment"): "only drawing the synthetic corpus uses it",
    ("augment", "data"): "only the folders' names",
    ("train", "metrics"): "goldens pin the scorer; a metric added or sped up retrains nothing",
    ("train", "data"): "rows come through the manifest",
    ("evaluate", "data"): "rows come through the manifest",
    ("evaluate", "synthetic"): "as above",
    ("evaluate", "augment"): "as above",
    ("compress_check", "images"): "pages are texts here",
    ("compress_check", "pixels"): "as above",
    ("compress_check", "pdf_pages"): "as above",
    ("compress_check", "data"): "rows come through the manifest",
    ("compress_check", "evaluation.markdown"): "how tables look",
    (
        "compress_check",
        "reading",
    ): "the importer of other systems' files; ours are read as they are",
    ("leaderboard", "records"): "metrics files only",
    ("leaderboard", "evaluation.markdown"): "as above",
}


def _modules():
    return sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


def _dotted(path):
    return ".".join(path.relative_to(SOURCE_ROOT).with_suffix("").parts)


def _layer(dotted):
    part = dotted.split(".")[1]
    for number, names in enumerate(LAYERS):
        if part in names:
            return number
    raise AssertionError(f"{dotted} is in no layer: add it to LAYERS")


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
        f"{_dotted(path)} imports {target}"
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
        if _dotted(path).split(".")[1] in LIGHT:
            heavy = {n for n in _imports(path)[1] if n.split(".")[0] in HEAVY}
            assert not heavy, f"{path} imports {heavy}"


@pytest.mark.parametrize(
    "module",
    ["cli.main", "metrics.score", "compression.signatures", "publish.ranking",
     "evaluation.monitor", "stages.manifest", "stages.augment", "stages.compress_check"],
)  # fmt: skip
def test_light_entry_points_do_not_load_torch(module):
    code = f"import sys, manifold_ocr.{module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    environment = {"PYTHONPATH": str(SOURCE_ROOT), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def _stages():
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


@pytest.mark.parametrize(
    "stage", ["manifest", "augment", "train", "evaluate", "compress_check", "leaderboard"]
)
def test_dvc_deps_cover_the_import_closure(stage):
    folders = [
        Path(dep.removeprefix(SOURCE)) for dep in _stages()[stage]["deps"] if dep.startswith(SOURCE)
    ]
    left_out = [module for name, module in NO_DEPENDENCY if name == stage]
    missing = [
        relative.as_posix()
        for path in import_closure([f"manifold_ocr.stages.{stage}"])
        if not covered(path, [*left_out, "stages.runner"])
        for relative in [path.relative_to(PACKAGE)]
        if not any(relative == f or f in relative.parents for f in folders)
    ]
    assert missing == []
    for folder in folders:
        assert (PACKAGE / folder).exists(), folder


def test_docs_cli_and_serving_rerun_nothing():
    for name, stage in _stages().items():
        for dep in stage["deps"]:
            assert not dep.startswith(("docs/", f"{SOURCE}cli", f"{SOURCE}serving")) or (
                dep == "docs/leaderboard/submissions" and name == "leaderboard"
            )


def test_every_stage_sets_its_own_source_path_and_is_seven_with_the_check_and_the_base():
    stages = _stages()
    expected = {"check_params", "download", "download_base", "manifest", "augment", "train",
                "evaluate", "compress_check", "leaderboard"}  # fmt: skip
    assert set(stages) == expected
    assert all(stage["cmd"].startswith("PYTHONPATH=src python -m ") for stage in stages.values())
    assert len((PROJECT / "dvc.yaml").read_text().splitlines()) <= 120


def test_closure_follows_imports_inside_functions_and_leaves_out_plumbing():
    closure = {p.name for p in import_closure(["manifold_ocr.cli.review"])}
    assert {"leaderboard.py", "gate.py"} <= closure
    assert not closure & {f"{name}.py" for name in PLUMBING}
