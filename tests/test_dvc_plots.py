"""The plots of dvc.yaml: their templates exist, and DVC draws curves with one column a series."""

import json

import pytest
import yaml

from manifold_ocr.code_hash import SOURCE_ROOT
from manifold_ocr.evaluation.past_runs import write_curve
from manifold_ocr.evaluation.robustness import SWEEPS, write_curves

PROJECT = SOURCE_ROOT.parent
dvc_render = pytest.importorskip("dvc_render")


def plots():
    listed = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["plots"]
    return {k: v for item in listed if isinstance(item, dict) for k, v in item.items()}


def drawn(plot, rows):
    """Fill the plot's template as DVC does, with the values of its CSV file as text."""
    (y,) = plot["y"].values()
    points = [{**{k: str(v) for k, v in row.items()}, "rev": "workspace"} for row in rows]
    renderer = dvc_render.VegaRenderer(
        points, "plot", template=plot["template"], template_dir=str(PROJECT / ".dvc/plots"),
        x=plot["x"], y=y, x_label=plot.get("x_label", plot["x"]), title="t",
    )  # fmt: skip
    filled = renderer.get_filled_template()
    assert "<DVC_METRIC" not in json.dumps(filled)
    return filled


def test_every_template_is_one_of_dvcs_or_lies_in_the_project():
    for name, plot in plots().items():
        template = dvc_render.vega_templates.get_template(
            plot.get("template"), str(PROJECT / ".dvc/plots")
        )
        assert template.content, name


def test_each_sweep_has_a_plot_of_the_columns_that_are_written(tmp_path):
    row = {"level": 0, "cer": 0.1, "cer_low": 0.05, "cer_high": 0.2}
    write_curves({name: {"base": [row], "adapter": [row]} for name in SWEEPS}, tmp_path)
    found = {}
    for plot in plots().values():
        for path, column in plot["y"].items():
            found[path] = (plot, column)
    for name in SWEEPS:
        plot, column = found[f"metrics/robustness/{name}.csv"]
        lines = (tmp_path / f"{name}.csv").read_text().splitlines()
        header = lines[0].split(",")
        assert {plot["x"], column, "series", "low", "high"} <= set(header)
        rows = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
        values = drawn(plot, rows)["data"]["values"]
        assert [(v["series"], v["low"]) for v in values] == [("base", "0.05"), ("adapter", "0.05")]


def test_the_learning_curve_has_a_plot_of_the_columns_that_are_written(tmp_path):
    write_curve(tmp_path / "c.csv", [{"series": "adapter", "run": "a", "x": 1.0, "y": 0.1}])
    header = (tmp_path / "c.csv").read_text().splitlines()[0].split(",")
    plot = next(p for p in plots().values() if "metrics/curves/learning.csv" in p["y"])
    assert {plot["x"], *plot["y"].values(), "series", "low", "high"} <= set(header)


def test_splits_are_drawn_beside_each_other():
    rows = [{"subset": "s", "split": split, "rows": 3} for split in ("train", "test")]
    filled = drawn(plots()["rows by subset and split"], rows)
    assert filled["encoding"]["color"]["field"] == "split"
    assert [value["split"] for value in filled["data"]["values"]] == ["train", "test"]
