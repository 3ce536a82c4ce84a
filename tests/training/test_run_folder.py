"""Where the folder of a training run is made."""

import pytest

from manifold_ocr.errors import UserError
from manifold_ocr.training.run_record import RUNS, open_run_folder


@pytest.fixture(autouse=True)
def no_names(monkeypatch):
    monkeypatch.delenv("MANIFOLD_OCR_RUN_NAME", raising=False)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)


def test_a_queued_experiment_leaves_its_folder_in_the_workspace(tmp_path, monkeypatch):
    project = tmp_path / "project"
    queued = project / ".dvc" / "tmp" / "exps" / "tmp123"
    queued.mkdir(parents=True)
    monkeypatch.chdir(queued)
    monkeypatch.setenv("DVC_EXP_NAME", "zh")
    known = project / "output" / "cache" / "run_folder"
    folder = open_run_folder("ocr", known)
    assert folder.path.parent == project / RUNS and folder.path.name.endswith("_zh")
    assert open_run_folder("ocr", known).path == folder.path, "a resumed run stays in its folder"
    other = open_run_folder("ocr", project / "output" / "cache" / "another")
    assert other.path.name.endswith("_zh-2")


def test_a_run_name_that_leaves_the_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MANIFOLD_OCR_RUN_NAME", "../elsewhere")
    with pytest.raises(UserError, match="plain folder name"):
        open_run_folder("ocr", tmp_path / "known")
