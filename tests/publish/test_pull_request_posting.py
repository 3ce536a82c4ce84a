"""The workflow for forks: a report made without rights, a comment made of hostile input."""

import base64
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import scratch_branches as scratch
import yaml
from forge_server import SHA, Forge, GitHubHandler, GitLabHandler
from PIL import Image
from scratch_branches import commit, git

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOWS = PROJECT / ".github/workflows"
sys.path.insert(0, str(PROJECT / "scripts/ci"))
from report_artifact import MARK, RefusedError, clean, open_artifact, png  # noqa: E402


def workflow(name):
    return yaml.safe_load((WORKFLOWS / name).read_text())


def step(name, job, title):
    (found,) = [s for s in workflow(name)["jobs"][job]["steps"] if s.get("name") == title]
    return found["run"]


def picture(size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, "white").save(buffer, "PNG")
    return buffer.getvalue()


def packed(files, folder=""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(folder + name, data)
    return buffer.getvalue()


GOOD = [("number.txt", "12\n"), ("comment.md", "## OCR report\n\n![x](gate.png)\n"),
        ("gate.png", picture())]  # fmt: skip


def post(forge, token="write", script="post_github.py", **more):
    """Run the second step as the workflow does, from a trusted checkout."""
    command = step("pull_request_comment.yml", "comment", "Post")
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_TOKEN": token, "GITHUB_API_URL": f"{forge.url}/api",
        "GITHUB_SERVER_URL": "https://github.test", "GITHUB_REPOSITORY": "owner/ocr",
        "RUN_ID": "5", "HEAD_SHA": SHA, "HEAD_REPOSITORY": "fork/ocr",
        "CI_API_V4_URL": f"{forge.url}/api/v4", "CI_PROJECT_ID": "1", "PR_REPORT_TOKEN": token,
        **more,
    }  # fmt: skip
    command = command.replace("post_github.py", script)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=PROJECT, env=env, text=True, check=False,
        capture_output=True,
    )  # fmt: skip


@pytest.fixture
def github():
    with Forge(GitHubHandler) as forge:
        forge.artifact = packed(GOOD)
        yield forge


def first_step(root, base):
    """Run the steps of the job `report` as written, with no token and a stub of the install."""
    (root / ".venv/bin").mkdir(parents=True)
    tool = root / ".venv/bin/manifold-ocr"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m manifold_ocr.cli.main "$@"\n')
    tool.chmod(0o755)
    (root / ".venv/bin/activate").write_text(f'export PATH={root}/.venv/bin:"$PATH"\n')
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "src"), "BASE": base, "NUMBER": "12",
           "GITHUB_OUTPUT": str(root / "outputs"),
           "GITHUB_STEP_SUMMARY": str(root / "summary")}  # fmt: skip
    env.pop("GITHUB_TOKEN", None)
    for title in ("Test rows, where submissions must be scored again", "Report"):
        script = step("pull_request.yml", "report", title)
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=root, env=env, check=True)
    status = (root / "outputs").read_text().strip().removeprefix("status=")
    files = sorted((root / "output/pr-report").iterdir())
    return int(status), packed([(f.name, f.read_bytes()) for f in files])


def test_a_fork_gets_one_comment_that_is_updated_in_place(tmp_path, github):
    root = scratch.scratch(tmp_path / "repo")
    git(root, "checkout", "-q", "-b", "feature")
    scratch.write_evaluation(root, {"receipts": 5, "printed": 1})
    (root / "docs/leaderboard/submissions").mkdir(parents=True)
    (root / "docs/leaderboard/submissions/evil.json").write_text('{"name": "@all <img src=x>"}')
    scratch.rows_by_dvc(root)
    commit(root, "Regress")
    status, github.artifact = first_step(root, "main")
    assert status == 1
    assert github.log == []  # the first step asks no server at all

    refused = post(github, token="read")
    assert refused.returncode == 1 and "GitHub answers 403" in refused.stderr
    assert github.comments == []

    done = post(github)
    assert done.returncode == 0, done.stderr
    (comment,) = github.comments
    assert comment["body"].startswith(MARK) and "## OCR report: REFUSED" in comment["body"]
    assert "**worse, refused**" in comment["body"] and "`evil.json`" in comment["body"]
    assert "@all" not in comment["body"] and "<img" not in comment["body"]
    images = re.findall(r"!\[[^]]+\]\((\S+)\)", comment["body"])
    start = f"https://github.test/owner/ocr/blob/{github.ref}/pr-12/"
    assert images == [f"{start}{n}.png?raw=true" for n in ("change", "gate", "learning")]
    for blob in github.blobs:
        Image.open(io.BytesIO(base64.b64decode(blob))).verify()

    github.artifact = packed(GOOD)
    github.comments.insert(0, {"id": 1, "user": {"login": "mallory"}, "body": f"{MARK} mine"})
    assert post(github).returncode == 0
    assert len(github.comments) == 2 and github.comments[0]["body"].endswith("mine")
    assert "## OCR report\n" in github.comments[1]["body"]
    assert github.leaked == []  # the token went to the one host only


def test_a_report_that_cannot_be_made_says_so(tmp_path):
    root = scratch.scratch(tmp_path / "repo")
    (root / "metrics/evaluate.json").write_text("{")
    commit(root, "Break")
    status, data = first_step(root, "main")
    assert status == 2
    text = open_artifact(data).text
    assert "could not be made" in text and "metrics/evaluate.json: not valid JSON" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"head": {"sha": "b" * 40, "repo": {"full_name": "fork/ocr"}}}, "is not the head"),
        ({"head": {"sha": SHA, "repo": {"full_name": "victim/ocr"}}}, "is not the head"),
        ({"head": {"sha": SHA, "repo": None}}, "is not the head"),
        ({"state": "closed"}, "is not the head"),
        ({"artifact": packed([("number.txt", "13"), *GOOD[1:]])}, "is not the head"),
    ],
)
def test_a_report_goes_only_to_the_request_that_it_is_of(github, change, said):
    vars(github).update(change)
    done = post(github)
    assert done.returncode == 0 and said in done.stdout and github.comments == []


BOMB = packed([GOOD[0], ("comment.md", b"0" * (2 << 20))])
HUGE_PLOT = picture((5000, 2))
HIDDEN = picture() + b"<script>"
CHUNK = picture()[:33] + b"\x00\x00\x00\x04tEXtabcd" + b"\x00" * 4 + picture()[33:]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK no zip", "no zip file"),
        (packed(GOOD)[:-30], "no zip file"),
        (b"x" * ((4 << 20) + 1), "has over 4,194,304 bytes"),
        (BOMB, "comment.md has over 1,048,576 bytes"),
        (packed([*GOOD, ("../../etc/cron.d/x", "x")]), "which the report does not write"),
        (packed([*GOOD, ("/etc/passwd", "x")]), "which the report does not write"),
        (packed([*GOOD, ("run.sh", "rm -rf /")]), "which the report does not write"),
        (packed([*GOOD, ("x.svg", "<svg/>")]), "which the report does not write"),
        (packed([*GOOD, *[(f"{'a' * n}.png", picture()) for n in range(1, 9)]]), "11 files"),
        (packed(GOOD[1:]), "no number.txt"),
        (packed([GOOD[0]]), "no comment.md"),
        (packed([("number.txt", "12; rm -rf /"), *GOOD[1:]]), "no number of a pull request"),
        (packed([("number.txt", "-1"), *GOOD[1:]]), "no number of a pull request"),
        (packed([("number.txt", "1" * 30), *GOOD[1:]]), "no number of a pull request"),
        (packed([GOOD[0], ("comment.md", b"\xff\xfe")]), "not UTF-8"),
        (packed([*GOOD[:2], ("gate.png", b"<svg onload=x>")]), "gate.png is no PNG"),
        (packed([*GOOD[:2], ("gate.png", HUGE_PLOT)]), "5000 x 2 pixels"),
        (packed([*GOOD[:2], ("gate.png", HIDDEN)]), "more than a picture"),
        (packed([*GOOD[:2], ("gate.png", picture()[:-5])]), "damaged"),
        (packed([*GOOD[:2], ("gate.png", CHUNK)]), "damaged"),
    ],
)
def test_a_hostile_artifact_is_refused(data, said):
    with pytest.raises(RefusedError, match=said):
        open_artifact(data)


def test_a_refused_artifact_posts_nothing(github):
    github.artifact = packed([*GOOD, ("run.sh", "x")])
    done = post(github)
    assert (done.returncode, github.comments) == (1, [])
    assert done.stderr == "refused: the artifact holds 'run.sh', which the report does not write\n"


def test_a_plot_keeps_only_what_a_picture_needs():
    buffer = io.BytesIO()
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "<script>alert(1)</script>")
    Image.new("RGB", (20, 20), "red").save(buffer, "PNG", pnginfo=info)
    kept = png("x.png", buffer.getvalue())
    assert b"script" in buffer.getvalue() and b"script" not in kept
    assert Image.open(io.BytesIO(kept)).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    "line",
    [
        "@everyone look", "see #1 and owner/ocr#2, GH-3, !4", "<img src=https://evil/x.png>",
        "![x](https://evil/track.png)", "[click](javascript:alert(1))", "[x]: https://evil",
        "[x][y]", "https://evil.example", "www.evil.example", "/merge", "<!-- hidden -->",
        "&lt;b&gt;", "right\u202eto left", "zero\u200bwidth", "bell\x07", "![x](other.png)",
    ],
)  # fmt: skip
def test_markup_that_reaches_out_is_broken(line):
    text = clean(line, {"gate.png": "https://github.test/gate.png"})
    for pattern in (r"@\w", r"#\d", r"(?i)gh-\d", r"!\d", "<", r"\]\(", r"\]:", r"\]\[", "://",
                    r"www\.", r"^/", r"&\w", "[\u202e\x07]"):  # fmt: skip
        assert not re.search(pattern, text), (pattern, text)


def test_an_image_of_the_artifact_is_shown_and_a_long_text_is_cut():
    text = clean("![Gate, by group](gate.png)\n" + "x" * 80_000, {"gate.png": "https://g/x.png"})
    assert text.startswith("![Gate, by group](https://g/x.png)\n") and len(text) < 50_100
    assert text.endswith("(cut here: the report is longer)")


def test_the_workflows_give_forks_no_rights_and_pin_what_they_use():
    first, second = workflow("pull_request.yml"), workflow("pull_request_comment.yml")
    assert first["permissions"] == {"contents": "read"} and second["permissions"] == {}
    for name in ("pull_request.yml", "pull_request_comment.yml", "leaderboard_page.yml"):
        text = (WORKFLOWS / name).read_text()
        uses = re.findall(r"uses: (\S+)", text)
        assert uses and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", use) for use in uses)
        assert "secrets." not in text and "pull_request_target" not in text
        for job in yaml.safe_load(text)["jobs"].values():
            for one in job["steps"]:
                assert "${{" not in one.get("run", "")  # nothing of a fork becomes a script
    (checkout, _) = second["jobs"]["comment"]["steps"]
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"


def test_merge_requests_get_one_note_that_is_updated_in_place():
    with Forge(GitLabHandler) as forge:
        forge.artifact = packed(GOOD, "output/pr-report/")
        done = post(forge, script="post_gitlab.py")
        assert (done.returncode, done.stdout) == (0, "!12: posted\n"), done.stderr
        assert "![x](/uploads/1/x.png)" in forge.comments[0]["body"]
        assert post(forge, script="post_gitlab.py").stdout == "!12: posted before\n"
        forge.pipelines = 9
        forge.artifact = packed([GOOD[0], ("comment.md", "second\n")], "output/pr-report/")
        assert post(forge, script="post_gitlab.py").stdout == "!12: updated\n"
        assert len(forge.comments) == 1 and "second" in forge.comments[0]["body"]
        forge.pipelines = 10
        forge.artifact = packed([("number.txt", "3"), *GOOD[1:]], "output/pr-report/")
        done = post(forge, script="post_gitlab.py")
        assert done.returncode == 1 and "number.txt holds 3, this is 12" in done.stderr
        assert post(forge, token="none", script="post_gitlab.py").returncode == 1
