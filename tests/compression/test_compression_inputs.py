"""What the compression check takes in: rows, predictions, costs, and the commands' files."""

import json

import pytest
from page_texts import corpus_rows, page_lines, page_text, read_with_noise
from typer.testing import CliRunner

from manifold_ocr.compression.check import run_check
from manifold_ocr.compression.fidelity import (
    perturb,
)
from manifold_ocr.compression.pages import gather, gather_system, read_replay, reading_order
from manifold_ocr.config import CompressConfig
from manifold_ocr.errors import UserError
from manifold_ocr.records import Prediction, Sample, write_rows


def test_lines_are_joined_in_reading_order():
    def line(name, box):
        return Sample(id=name, document="d", corpus="c", subset="s", image="i", text=name, box=box)

    rows = [
        line("right", (50, 1, 90, 10)),
        line("below", (0, 20, 90, 30)),
        line("left", (0, 0, 40, 11)),
    ]
    assert [row.id for row in reading_order(rows)] == ["left", "right", "below"]


def test_a_page_row_stands_for_its_lines_unless_only_lines_were_read():
    lines = page_lines("a")
    whole = Sample(
        id="a/page", document="a", corpus="forms", subset="s", image="forms/a.png",
        text="whole page", granularity="page",
    )  # fmt: skip
    by_page = gather([*lines, whole], [Prediction(id="a/page", text="read")])
    assert [page.reference for page in by_page.pages] == ["whole page"]
    assert by_page.covered_by_page_row == len(lines)
    by_line = gather([*lines, whole], [Prediction(id=lines[0].id, text="read")])
    assert by_line.pages[0].reference.startswith(lines[0].text)
    assert by_line.unread == len(lines) - 1
    assert by_line.pages[0].id == by_page.pages[0].id


def test_predictions_of_pages_are_found_by_image_name(tmp_path):
    rows = corpus_rows()
    path = tmp_path / "other.jsonl"
    path.write_text(
        '{"image_path": "a", "answer": "read as this", "image_tokens": 100}\n'
        '{"image_path": "forms/b.png", "answer": "and this"}\n'
    )
    pages = gather_system("other", rows, read_replay(path, 73)[0]).pages
    assert [(p.reading, p.vision_tokens) for p in pages[:3]] == [
        ("read as this", 100), ("and this", 73), ("", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"id": "a"}', "no text"),
        ('{"text": "a"}', "nothing names"),
        ('{"id": "a", "text": "b", "vision_tokens": -1}', "whole number"),
    ],
)
def test_a_broken_prediction_row_is_named(tmp_path, line, problem):
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "x", "text": "y"}\n' + line + "\n")
    with pytest.raises(UserError, match=f"p.jsonl:2.*{problem}"):
        read_replay(path)


def test_predictions_of_another_manifest_are_refused():
    with pytest.raises(UserError, match="name no row"):
        run_check(CompressConfig(), corpus_rows(), {"x": [Prediction(id="nothing", text="")]})


def test_a_manifest_without_text_rows_is_refused():
    with pytest.raises(UserError, match="no transcription row"):
        run_check(CompressConfig(), [], {})


def test_commands_build_an_archive_and_find_a_page_in_it(tmp_path, monkeypatch):
    import typer

    from manifold_ocr.cli import compress

    app = typer.Typer()
    compress.register_compress(app)
    compress.register_verify(app)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(3):
        (folder / f"p{i}.txt").write_text(page_text(i))
    (tmp_path / "query.txt").write_text(perturb(page_text(1), 0.01, 1))
    (tmp_path / "foreign.txt").write_text(page_text(50))
    run = CliRunner().invoke
    built = run(app, ["compress", "--build", "texts", "-o", "m.bin"])
    assert built.exit_code == 0, built.output
    assert "3 texts" in built.output
    found = run(app, ["verify", "query.txt", "--against", "m.bin"])
    assert found.exit_code == 0
    assert "match: p1.txt" in found.output
    assert run(app, ["verify", "foreign.txt", "--against", "m.bin"]).exit_code == 1
    missing = run(app, ["verify", "foreign.txt", "--against", "no.bin"])
    assert isinstance(missing.exception, UserError)


def test_command_reports_any_predictions(tmp_path, monkeypatch):
    from manifold_ocr.cli.compress import check_predictions

    rows = corpus_rows()
    write_rows(tmp_path / "test.jsonl", rows)
    write_rows(tmp_path / "mine.jsonl", read_with_noise(rows, 0.02))
    (tmp_path / "params.yaml").write_text(
        "compress: {metric_tokenizer: whitespace, lossless: fast}\n"
    )
    monkeypatch.chdir(tmp_path)
    check_predictions(
        [tmp_path / "mine.jsonl"], tmp_path / "test.jsonl", [], tmp_path / "out", None
    )
    assert "read by mine" in (tmp_path / "out" / "report.md").read_text()
    assert (
        json.loads((tmp_path / "out" / "metrics.json").read_text())["mine"]["overall"]["pages"] == 4
    )


def test_costs_of_a_page_come_from_what_evaluate_noted():
    from manifold_ocr.compression.optical import Cost, costs_of_perf

    perf = {
        "evaluate_adapter": {
            "rows_per_second": 10.0,
            "gpu_watts": 60.0,
            "peak_gpu_memory_gib": 3.0,
        },
        "evaluate_base": {"rows_per_second": 5.0, "peak_memory_gib": 1.5},
    }
    cost = costs_of_perf(perf, {"adapter": 20.0, "base": 20.0, "other": 1.0})
    assert cost["adapter"] == Cost(seconds_per_page=2.0, peak_memory_gib=3.0, joules_per_page=120.0)
    assert cost["base"] == Cost(seconds_per_page=4.0, peak_memory_gib=1.5)
    assert cost["other"] == Cost()


def test_sharded_manifests_are_read_like_whole_ones(tmp_path, monkeypatch):
    from manifold_ocr.cli.main import build_app
    from manifold_ocr.compression.pages import read_texts
    from manifold_ocr.stages import compress_check

    rows = page_lines("a") + page_lines("b")
    whole, sharded = tmp_path / "whole.jsonl", tmp_path / "data/manifest/test.jsonl"
    write_rows(whole, rows)
    for number, part in enumerate((rows[:5], rows[5:])):
        write_rows(sharded / f"shard-{number:05d}.jsonl", part)
    for name in ("adapter", "base"):
        write_rows(tmp_path / f"output/predictions/{name}.jsonl", read_with_noise(rows, 0.01))
    (tmp_path / "params.yaml").write_text(
        "compress: {metric_tokenizer: whitespace, lossless: fast}"
    )
    monkeypatch.chdir(tmp_path)
    assert list(read_texts(sharded)) == list(read_texts(whole))
    compress_check.main()
    found = json.loads((tmp_path / "metrics/compress.json").read_text())
    for place in (whole, sharded):
        words = (
            f"compress --predictions output/predictions/adapter.jsonl --manifest {place}".split()
        )
        assert CliRunner().invoke(build_app(), words).exit_code == 0
        replay = json.loads((tmp_path / "output/compress_replay/metrics.json").read_text())
        assert replay["adapter"] == found["adapter"]


def test_the_stage_names_a_missing_prediction_file(tmp_path, monkeypatch):
    from manifold_ocr.stages import compress_check

    (tmp_path / "params.yaml").write_text("compress: {}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"adapter\.jsonl: no such file; run `dvc repro evaluate`"):
        compress_check.main()
