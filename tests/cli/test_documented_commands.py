"""Every `manifold-ocr` line of README.md and docs/ names a command and options that exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from manifold_ocr.cli.main import build_app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "external/README.md", ROOT / "output/deepseek_runs/README.md"]
FREE = ("pipeline",)  # takes the playbook's flags: test_playbook.py


@pytest.fixture(scope="module")
def commands():
    return get_command(build_app()).commands


def lines_of(text):
    """The command lines of code blocks, joined where they go on, without comments."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    blocks += ["\n".join(re.findall(r"^    (.*)", text, re.MULTILINE))]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(blocks))
    for line in joined.splitlines():
        line = re.sub(r"\s#.*|\.\.\.", "", line)
        for part in re.split(r"&&|\|(?= )|;(?= )", line):
            try:
                words = shlex.split(part)
            except ValueError:  # an apostrophe in a line of output
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*|time|\$", words[0]):
                words = words[1:]
            if words and words[0] == "manifold-ocr" and "--help" not in words and len(words) > 1:
                yield words[1:]


def check(commands, words):
    name, *rest = words
    assert name in commands, f"manifold-ocr {name}: no such command"
    if name in FREE:
        return
    command = commands[name]
    context = command.context_class(command)
    try:
        _, extra, _ = command.make_parser(context).parse_args(list(rest))
    except Exception as error:  # typer's own copy of click raises it
        raise AssertionError(f"{name}: {error}") from error
    assert extra == [] or any(p.nargs == -1 for p in command.params), f"{name}: {extra} too many"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_commands_of_a_page_can_be_typed(commands, page):
    wrong = []
    for words in lines_of(page.read_text(encoding="utf-8")):
        try:
            check(commands, words)
        except AssertionError as error:
            wrong.append(f"{' '.join(words)}: {error}")
    assert wrong == []


def test_the_pages_hold_many_commands_and_a_mistyped_one_is_found(commands):
    found = [words for page in PAGES for words in lines_of(page.read_text(encoding="utf-8"))]
    assert len(found) > 60 and {"read", "export", "promote"} <= {words[0] for words in found}
    for wrong in (["raed", "x.png"], ["read", "x.png", "--modle", "y"], ["preset", "a", "b"]):
        with pytest.raises(AssertionError):
            check(commands, wrong)
