"""What a fresh clone can do without data: the leaderboard from the committed metrics."""

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_the_leaderboard_is_made_without_the_pipeline(tmp_path):
    root = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--local", str(PROJECT), str(root)], check=True)
    (command,) = re.findall(r"^leaderboard: .*\n\t(.+)", (root / "Makefile").read_text(), re.M)
    (root / "docs/leaderboard/README.md").unlink()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MANIFOLD_OCR", "PYTHONPATH"))}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        command.split(), cwd=root, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"Running stage '([^']+)'", done.stdout) == ["leaderboard"]
    assert "gate: passed" in done.stdout and not (root / "data/raw").exists()
    assert (root / "docs/leaderboard/README.md").read_text().startswith("# manifold-ocr")
