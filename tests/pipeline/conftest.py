"""A temporary clone of the project in which real DVC runs on a small data set."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

PROJECT = Path(__file__).resolve().parents[2]
SMALL = {
    "corpora.synthetic.subsets": ["receipts", "chinese", "degraded"],
    "corpora.synthetic.train_lines": 10,
    "corpora.synthetic.val_lines": 6,
    "corpora.synthetic.test_lines": 20,
    "augment.variants": 1,
    "train.epochs": 1.0,
    "train.learning_rate": 0.003,
    "train.rehearsal": 0.0,
    "train.threads": 1,  # two test processes share the cores: threads would wait spinning
    "evaluate.bootstrap_samples": 200,
}


@dataclass(frozen=True)
class Clone:
    """A clone's folder and how to run commands in it."""

    root: Path
    env: dict[str, str]

    def run(self, *command, check=True, env=None):
        done = subprocess.run(
            command, cwd=self.root, env={**self.env, **(env or {})}, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}")
        return done

    def dvc(self, *arguments, **options):
        return self.run(sys.executable, "-m", "dvc", *arguments, **options)

    def start(self, *command):
        return subprocess.Popen(
            command, cwd=self.root, env=self.env, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def set_params(self, values):
        yaml = YAML()
        path = self.root / "params.yaml"
        document = yaml.load(path.read_text())
        for key, value in values.items():
            *sections, leaf = key.split(".")
            place = document
            for section in sections:
                place = place[section]
            assert leaf in place, key
            place[leaf] = value
        with open(path, "w", encoding="utf-8") as file:
            yaml.dump(document, file)

    def commit(self, message):
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)


def make_clone(folder: Path) -> Clone:
    """Clone the working tree as committed, with the small data set and private caches."""
    root = folder / "clone"
    subprocess.run(["git", "clone", "-q", "--local", str(PROJECT), str(root)], check=True)
    (root / "dvc.lock").unlink(missing_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith("MANIFOLD_OCR")}
    env |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
        "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1",
    }  # fmt: skip
    env.pop("PYTHONPATH", None)
    clone = Clone(root, env)
    clone.set_params(SMALL)
    clone.commit("Shrink the data set")
    return clone


@pytest.fixture(scope="session")
def repro(tmp_path_factory):
    """A clone in which the whole pipeline has run once; (clone, what it printed)."""
    folder = tmp_path_factory.mktemp("pipeline")
    clone = make_clone(folder)
    printed = clone.dvc("repro").stdout
    clone.commit("Run the pipeline")
    yield clone, printed
    shutil.rmtree(folder, ignore_errors=True)
