"""metrics/perf.json is one whole `dvc repro`; what ran alone is noted beside it."""

import json

import pytest

from manifold_ocr import resources

STAGES = ("check_params", "download", "download_base", "manifest", "augment", "train_loop", "train",
          "evaluate_base", "evaluate_adapter", "evaluate", "compress_check")  # fmt: skip


class Dvc:
    def __init__(self, pid, started):
        self.pid, self.started = pid, started

    def create_time(self):
        return self.started


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Record stages as if a dvc with this process id had started them 90 s ago."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resources.time, "time", lambda: 1090.0)

    def stages(pid, names, seconds):
        above = [Dvc(77, 0.0), Dvc(pid, 1000.0)] if pid else []
        monkeypatch.setattr(resources, "launchers", lambda: above)
        for name in names:
            resources.record(name, {"seconds": seconds})

    return stages


def perf():
    path = resources.PERF_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def test_a_whole_run_is_kept_and_a_partial_one_changes_nothing(run):
    run(1, STAGES, 3.0)
    assert perf() is None, "the leaderboard is to come"
    run(1, ["leaderboard"], 3.0)
    whole = perf()
    assert whole["whole_run"] == {"seconds": 90.0}
    assert {name: whole[name] for name in STAGES} == {name: {"seconds": 3.0} for name in STAGES}
    run(2, ["check_params", "train", "evaluate", "compress_check", "leaderboard"], 5.0)
    run(0, ["manifest"], 6.0)  # a stage without dvc
    assert perf() == whole
    noted = resources.noted()
    assert (noted["train"], noted["manifest"]) == ({"seconds": 5.0}, {"seconds": 6.0})
    assert noted["train_loop"] == {"seconds": 3.0}


@pytest.mark.parametrize("known", ["train_loop", "evaluate_base", "evaluate_adapter"])
def test_a_run_that_found_results_in_a_cache_is_not_whole(run, known):
    run(1, [name for name in STAGES if name != known], 3.0)
    run(1, ["leaderboard"], 3.0)
    assert perf() is None


def test_a_run_may_end_with_a_stage_that_ran_twice(run):
    run(1, [*STAGES, "leaderboard"], 3.0)
    run(3, [*STAGES, "leaderboard"], 4.0)
    assert perf()["train"] == {"seconds": 4.0}
