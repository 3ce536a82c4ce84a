import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from manifold_ocr.cli.main import build_app
from manifold_ocr.files import read_yaml

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    return tmp_path


def download(*arguments):
    return CliRunner().invoke(build_app(), ["download", "--no-fetch", *arguments])


def test_options_of_a_corpus_are_set_with_their_types(project):
    result = download(
        "--datasets", "archive", "--kind", "synthetic_text", "--path", "texts",
        "--option", "lines=500", "--option", "degraded=0.2", "--option", "language=de",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    params = read_yaml(project / "params.yaml")
    assert params["corpora"]["archive"] == {
        "kind": "synthetic_text",
        "path": "texts",
        "lines": 500,
        "degraded": 0.2,
        "language": "de",
    }
    assert params["download"]["corpora"] == ["synthetic", "archive"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "synthetic_text", "--option", "lines"], "must be KEY=VALUE"),
        (["--kind", "synthetic_text", "--option", "lines=[1"], "--option lines=[1"),
        (["--kind", "synthetic_text", "--option", "line=5"], "did you mean 'lines'"),
        (["--kind", "synthetic_text", "--option", "lines=many"], "lines"),
        (["other", "--option", "lines=5"], "describe one corpus"),
    ],
)
def test_wrong_options_change_nothing(project, arguments, message):
    before = (project / "params.yaml").read_bytes()
    result = download("--datasets", "archive", *arguments)
    assert result.exit_code != 0
    assert message in str(result.exception) + result.output
    assert (project / "params.yaml").read_bytes() == before
