"""Every command with a missing file, a folder, an empty and a binary file: one line, status 2."""

import json
import shutil
import socket
import sys
from pathlib import Path

import pytest
from PIL import Image

from manifold_ocr.cli.main import build_app, main
from manifold_ocr.records import Sample, write_rows

ROOT = Path(__file__).parents[2]
COMMANDS = """
preset BAD
preset tiny --params BAD
pipeline BAD
label BAD
label scans --out lines --apply BAD
label scans --model BAD
read BAD
read scans/a.png --model BAD
ocr BAD --out o
ocr scans/a.png --out o --model BAD
extract BAD
serve --port 0 --keys BAD
serve --port 0 --archive BAD
serve --port 0 --model BAD
gate-worker --archive BAD
gate-worker --model BAD
mcp --archive BAD
mcp --model BAD
eval --manifest BAD --predictions p.jsonl
eval --manifest m.jsonl --predictions BAD
eval --manifest m.jsonl --model BAD
eval --manifest m.jsonl --predictions p.jsonl --params BAD
summary --evaluation BAD
gate --evaluation BAD
gate --params BAD
explore BAD --manifest m.jsonl
explore p.jsonl --manifest BAD
monitor --current BAD --baseline e.json
monitor --current e.json --baseline BAD
monitor --params BAD
robustness --model BAD --no-base --manifest m.jsonl
robustness --manifest BAD
curve BAD
compress --predictions BAD --manifest m.jsonl
compress --predictions p.jsonl --manifest BAD
compress --predictions p.jsonl --manifest m.jsonl --costs BAD
compress --build BAD
optical --model BAD --manifest m.jsonl
verify BAD --against a.bin
verify a.txt --against BAD
submit BAD --name x --manifest m.jsonl
submit p.jsonl --name x --manifest BAD
pr-report --base BAD
promote x --from BAD
export BAD
push BAD me/repo
limitations --evaluation BAD --manifest m.jsonl --predictions p.jsonl
limitations --evaluation e.json --manifest m.jsonl --predictions BAD
merge whole --adapter BAD
pin BAD
doctor --params BAD
""".strip().splitlines()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a folder with one small input of each kind, and the bad ones."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "params.yaml", root)
    shutil.copytree(ROOT / "presets", root / "presets")
    (root / "scans").mkdir()
    Image.new("L", (60, 20), 255).save(root / "scans/a.png")
    write_rows(
        root / "m.jsonl",
        [Sample(id="a", document="a", corpus="c", subset="s", image="scans/a.png", text="alpha")],
    )
    (root / "p.jsonl").write_text(json.dumps({"id": "a", "text": "alpha"}))
    (root / "e.json").write_text("{}")
    (root / "a.txt").write_text("A page of the archive, long enough. " * 40)
    (root / "folder").mkdir()
    (root / "empty.bin").write_bytes(b"")
    (root / "binary.bin").write_bytes(bytes(range(256)) * 20)
    return root


@pytest.mark.parametrize("bad", ["gone.bin", "folder", "empty.bin", "binary.bin"])
@pytest.mark.parametrize("command", COMMANDS)
def test_bad_inputs_are_one_line(project, monkeypatch, capsys, command, bad):
    monkeypatch.chdir(project)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("MANIFOLD_OCR_CACHE", str(project / "cache"))
    words = [bad if word == "BAD" else word for word in command.split()]
    monkeypatch.setattr(sys, "argv", ["manifold-ocr", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, told = capsys.readouterr()
    assert ended.value.code == (1 if command.startswith("doctor") else 2), (out + told)[-600:]
    assert "Traceback" not in out + told
    assert "No such option" not in out + told, "the list above is out of date"


def test_the_list_names_every_command_that_takes_a_file():
    known = {line.split()[0] for line in COMMANDS}
    commands = build_app().registered_commands
    every = {c.name or c.callback.__name__.replace("_", "-") for c in commands}
    elsewhere = {"demo", "train", "stage", "download"}  # they read params.yaml only
    assert every - known <= elsewhere, "give a new command its lines above"


@pytest.mark.parametrize(
    "words",
    [
        ["read", "scans/a.png", "--mode", "lines"],
        ["read", "scans/a.png", "--pages", "3-1"],
        ["read", "scans/a.png", "--text-layer", "yes"],
        ["read", "scans/a.png", "--dpi", "many"],
        ["read"],
        ["label", "scans", "--mode", "x"],
        ["label", "scans", "--out", "lines", "--export", "hocr"],
        ["ocr", "scans/a.png", "--out", "o", "--pages", "x"],
        ["eval", "--engine", "none", "--manifest", "m.jsonl"],
        ["eval", "--engine", "predictions", "--manifest", "m.jsonl"],
        ["eval", "--manifest", "m.jsonl", "--predictions", "p.jsonl", "--granularity", "word"],
        ["explore", "p.jsonl", "--manifest", "m.jsonl", "--profile", "none"],
        ["explore", "p.jsonl", "--manifest", "m.jsonl", "--max-rows", "0"],
        ["robustness", "--sweep", "none"],
        ["compress"],
        ["compress", "--build", "scans", "--effort", "most"],
        ["compress", "--predictions", "p.jsonl", "--manifest", "m.jsonl", "--vision-tokens", "x"],
        ["submit", "p.jsonl", "--name", "<b>", "--manifest", "m.jsonl"],
        ["download", "a;b", "--kind", "folder", "--path", "scans"],
        ["preset", "tiny", "--vram", "x"],
        ["curve", "HEAD", "--y", "nothing"],
        ["gone"],
        ["read", "--gone"],
    ],
    ids=" ".join,
)
def test_bad_values_are_status_2(project, monkeypatch, capsys, words):
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["manifold-ocr", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, told = capsys.readouterr()
    assert ended.value.code == 2 and told and "Traceback" not in out + told


@pytest.mark.parametrize("command", ["serve --port", "demo --port", "gate-worker --metrics-port"])
def test_a_port_in_use_is_named_before_anything_is_loaded(project, monkeypatch, capsys, command):
    monkeypatch.chdir(project)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        monkeypatch.setattr(sys, "argv", ["manifold-ocr", *command.split(), port])
        with pytest.raises(SystemExit) as ended:
            main()
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"cannot listen on 127.0.0.1, port {port} (" in told and "choose another" in told


@pytest.mark.parametrize("host", ["203.0.113.7", "nowhere.invalid", "x" * 70])
def test_an_address_that_is_not_this_machine_s_is_named(project, monkeypatch, capsys, host):
    """An address kept for documentation (RFC 5737), a name kept unused (RFC 2606), and no name."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["manifold-ocr", "demo", "--host", host])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"cannot listen on {host}" in capsys.readouterr().err
