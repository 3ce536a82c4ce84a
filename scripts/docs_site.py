"""The documentation site's own pages: mkdocs calls this file (`hooks` in mkdocs.yml).

Two pages are made when the site is built, so that nothing is written twice: the first page is
README.md, and the reference of params.yaml comes from the
settings in config.py and augment_config.py.
"""

import dataclasses
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]
MADE = {"index.md": ROOT / "README.md", "deepseek_runs.md": ROOT / "output/deepseek_runs/README.md"}
# Links that lead to another place on the site than in the repository.
LINKS = {
    "index.md": {"](docs/": "](", "](params.yaml)": "](params.md)"},
    "evaluation.md": {"](../output/deepseek_runs/README.md)": "](deepseek_runs.md)"},
    "metrics.md": {"](../output/deepseek_runs/README.md)": "](deepseek_runs.md)"},
    "results.md": {"](../README.md)": "](index.md)"},
    "card_12gb.md": {"](../params.yaml)": "](params.md)"},
    "troubleshooting.md": {"](../params.yaml)": "](params.md)"},
    "leaderboard/README.md": {"](index.html)": "](sortable.html)"},
}
TYPES = {bool: "true or false", int: "integer", float: "number", str: "text"}
CORPUS_OPTIONS = {
    "kind": "layout of the files; empty: known by the corpus's name",
    "path": "local folder or archive",
    "url": "plain address of an archive or file; needs `sha256`",
    "sha256": "checksum of what is at `url`",
    "repo": "data set repository of the hub; needs `revision`",
    "revision": "commit of `repo`, 40 hex digits",
    "role": "train, or eval_only (test split alone); empty: as known",
    "license": "overrides what is known; checked against `allowed_licences`",
    "language": "BCP-47 tag or a common spelling, for rows that name none",
    "raw_boxes": "boxes are in pixels of the file, before its EXIF turn",
    "seed": "of everything that is drawn",
    "train_lines": "lines per subset of the train split, at least",
    "val_lines": "lines per subset of the validation split, at least",
    "test_lines": "lines per subset of the test split, at least",
    "subsets": "which subsets are drawn",
    "pages": "one more row per document, with the whole page",
    "version": "of the generator",
    "needles": "share of documents on which a passcode is planted",
    "apart": "parts of a line farther apart than this times its height are rows; 0: never",
    "legible": "lines must keep this share of their ink; 0: whatever is left",
    "many_faces": "training draws with twice as many fonts",
    "lines": "lines drawn from the texts at `path`",
    "fonts": "folder of fonts; empty: those that come along",
    "backgrounds": "folder of images of paper; empty: white paper",
    "characters": "columns a text is cut to; a full-width character takes two",
    "smallest": "smallest font size, in pixels",
    "largest": "largest font size, in pixels",
    "degraded": "share of lines that look copied, faxed or stained",
    "workers": "processes that draw; 0: one per core",
    "layout": "layout of the folder; auto: found by looking",
    "granularity": "line or page; overrides what the texts show",
    "document_pattern": "regular expression; its first group names the document",
    "splits_from_folders": "top folders train, val and test are the splits",
    "subset": "subset of all rows",
    "manifest": "JSON Lines file in the corpus's folder; empty: found by name",
    "image_root": "folder that image paths start from; empty: found by name",
    "keep_splits": "keep the rows' own splits; false: split by document",
    "config": "configuration of the data set",
    "splits": "splits of the data set that are read",
    "image_column": "column of the image",
    "text_column": "column of the text",
    "language_column": "column of the language; empty: none",
    "subset_column": "column of the subset; empty: none",
    "document_column": "column whose rows share a split; empty: each image is its own",
    "box_column": "column of the line's box; empty: whole images",
    "max_rows": "stop after this many rows; 0: all",
    "chart_share": "share of a page's area from which it is tagged chart_heavy",
    "code_share": "share of a page's area from which it is tagged code_heavy",
    "heavy_share": "share of a page's area from which tables or figures name its subset",
}  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made; the leaderboard's sortable page gets a name of its own."""
    for name, source in MADE.items():
        files.append(File.generated(config, name, content=source.read_text(encoding="utf-8")))
    files.append(File.generated(config, "params.md", content=reference()))
    board = str(ROOT / "docs/leaderboard/index.html")
    files.append(File.generated(config, "leaderboard/sortable.html", abs_src_path=board))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to their place on the site."""
    for old, new in LINKS.get(page.file.src_uri, {}).items():
        markdown = markdown.replace(old, new)
    return markdown


def reference() -> str:
    """Return the page of all knobs: one table per section of params.yaml."""
    from manifold_ocr.config import SECTIONS
    from manifold_ocr.files import read_yaml

    comments = described(ROOT / "params.yaml")
    parts = [
        "# Settings (params.yaml)\n\nMade from the settings in `src/manifold_ocr/config.py` and "
        "`augment_config.py` and the comments of params.yaml when this site is built. An unknown "
        "key or a value out of range is an error that names the nearest valid one. Change a value "
        "in params.yaml, or "
        "for one run: `dvc exp run -S KEY=VALUE`.\n"
    ]
    values = read_yaml(ROOT / "params.yaml")
    for name, cls in SECTIONS.items():
        rows = [(knob, comments[knob.key]) for knob in knobs(cls, name, values[name])]
        parts.append(f"## {name}\n\n{summary(cls)}\n\n{table(rows)}")
    return "\n".join([*parts, corpora_reference(comments)])


def corpora_reference(comments: Mapping[str, str]) -> str:
    """Return the part about section `corpora`: its policy, then the options of each kind."""
    from manifold_ocr.data.registry import OPTIONS
    from manifold_ocr.data.sources import CommonOptions, LicensePolicy

    policy = [(knob, comments[knob.key]) for knob in knobs(LicensePolicy, "corpora")]
    common = list(knobs(CommonOptions, "corpora.NAME"))
    parts = [
        "## corpora\n\nWhich licenses are allowed, and the options of each corpus under its name "
        f"([corpora](corpora.md)).\n\n{table(policy)}",
        f"### Every kind\n\n{table([(knob, option_text(knob)) for knob in common])}",
    ]
    known = {knob.key for knob in common}
    for kind, (module, cls) in OPTIONS.items():
        options = getattr(importlib.import_module(f"manifold_ocr.{module}"), cls)
        own = [knob for knob in knobs(options, "corpora.NAME") if knob.key not in known]
        rows = [(knob, option_text(knob)) for knob in own]
        parts.append(f"### Kind {kind}\n\n{table(rows)}")
    return "\n".join(parts)


def option_text(knob: "Knob") -> str:
    """Return what an option of a corpus means; KeyError for one that nobody described."""
    return CORPUS_OPTIONS[knob.key.rsplit(".", 1)[1]]


def summary(cls: type[Any]) -> str:
    """Return the first paragraph of a section's docstring, page names as links."""
    text = (inspect.getdoc(cls) or "").split("\n\n")[0]
    return re.sub(r"docs/(\w+)\.md", r"[\1](\1.md)", " ".join(text.split()))


@dataclasses.dataclass(frozen=True)
class Knob:
    """One setting: its key in params.yaml, what it may be, and its default."""

    key: str
    allowed: str
    default: Any


def knobs(cls: type[Any], prefix: str, values: Any = None) -> Iterator[Knob]:
    """Yield every setting of a section, those of nested settings included.

    `values` is where the defaults are: the section of params.yaml, or None for the class's own.
    """
    hints: dict[str, Any] = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        key, hint = f"{prefix}.{field.name}", hints[field.name]
        inner = typing.get_args(hint)
        value: Any = field.default if values is None else values[field.name]
        if dataclasses.is_dataclass(hint):
            yield from knobs(hint, key, value)
        elif typing.get_origin(hint) is dict and dataclasses.is_dataclass(inner[1]):
            yield from knobs(inner[1], f"{key}.NAME", value["default"])
        else:
            yield Knob(key, allowed(hint), value)


def allowed(hint: Any) -> str:
    """Return the type and range of a setting in words: `integer, 0 to 6`."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return limited(allowed(inner[0]), inner[1:])
    if origin is Literal:
        return " \\| ".join(f"`{value}`" if value != "" else "empty" for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(allowed(part) for part in inner)
    if origin in (tuple, list):
        return f"list of {allowed(inner[0])}"
    return TYPES.get(hint, getattr(hint, "__name__", str(hint)))


def limited(what: str, metadata: tuple[Any, ...]) -> str:
    """Return a type in words with the bounds that its metadata states."""
    bounds = []
    for item in metadata:
        for part in item.metadata if isinstance(item, FieldInfo) else [item]:
            match part:
                case annotated_types.Ge(ge=bound):
                    bounds.append(f"≥ {bound}")
                case annotated_types.Gt(gt=bound):
                    bounds.append(f"> {bound}")
                case annotated_types.Le(le=bound):
                    bounds.append(f"≤ {bound}")
                case annotated_types.Lt(lt=bound):
                    bounds.append(f"< {bound}")
                case annotated_types.MinLen() if not what.startswith("non-empty"):
                    what = f"non-empty {what}"
    return f"{what} {', '.join(bounds)}".strip()


def table(rows: list[tuple[Knob, str]]) -> str:
    """Return a Markdown table of settings and what they mean."""
    lines = ["| key | type and range | default | meaning |", "|:--|:--|:--|:--|"]
    for knob, meaning in rows:
        text = meaning.replace("|", "\\|")
        lines.append(f"| `{knob.key}` | {knob.allowed} | `{shown(knob.default)}` | {text} |")
    return "\n".join([*lines, ""])


def shown(value: Any) -> str:
    """Return a default as params.yaml would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(str, value))}]"
    return '""' if value == "" else str(value)


def described(path: Path) -> dict[str, str]:
    """Return {key: the comment beside it} of a params file.

    The tables of augment.recipe and compress.targets repeat one meaning, told once here.
    """
    found: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"( *)([\w-]+):(.*)", line)
        if not match:
            continue
        indent = len(match[1])
        stack = [*[item for item in stack if item[0] < indent], (indent, match[2])]
        key = ".".join(name for _, name in stack)
        comment = re.search(r"\s#\s*(.*)$", match[3])
        found[key] = comment[1] if comment else ""
        if key.startswith("augment.recipe.") and "{" in match[3]:
            found |= {
                f"{key}.p": "how often",
                f"{key}.low": f"weakest: {found[key]}",
                f"{key}.high": "strongest, same unit",
            }
        if key.startswith("compress.targets.default."):
            found[key.replace(".default.", ".NAME.")] = found[key]
    return found
