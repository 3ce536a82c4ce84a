"""Stage check_params: the whole of params.yaml is right before any stage deletes its outs.

The pipeline's first stage. Its out is constant, so that it reruns for any change and triggers
nothing; what fails here leaves every result where it is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifold_ocr.config import CORPORA, SECTIONS
from manifold_ocr.data.registry import check_options, select_corpora
from manifold_ocr.errors import UserError, build, nearest
from manifold_ocr.files import atomic_write, read_yaml
from manifold_ocr.models.ctc.speller import own_texts
from manifold_ocr.models.ctc.words import check_language
from manifold_ocr.settings import POLICY_KEYS, check_corpus_name
from manifold_ocr.stages.runner import run_stage
from manifold_ocr.training.checks import check_start

OUT = Path("metrics/params_checked.txt")


def check_params(path: Path | str = "params.yaml") -> dict[str, Any]:
    """Build every section of a file and return {section: settings} (see `check_values`)."""
    return check_values(read_yaml(path), path)


def check_values(values: Mapping[str, Any], path: Path | str = "params.yaml") -> dict[str, Any]:
    """Build every section and return {section: settings}.

    Raises:
        UserError: an unknown section or key, a value that is not allowed; names the key and
            the nearest valid one, or what is allowed.
    """
    known = (*SECTIONS, CORPORA)
    for name in values:
        if name not in known:
            raise UserError(f"{path}: {name}: unknown section{nearest(str(name), known)}")
    built = {}
    for name in known:
        if name not in values:
            raise UserError(f"{path}: section {name!r} is missing")
        if name in SECTIONS:
            built[name] = build(SECTIONS[name], values[name], f"{path}: {name}")
    check_corpora(values)
    for language in built["decode"].words:
        try:
            check_language(language)
        except UserError as error:
            raise UserError(f"{path}: decode.words: {error}") from None
    return built


def check_corpora(values: Mapping[str, Any]) -> None:
    """Check the corpora of `download.corpora` and the options of every corpus there is.

    Raises:
        UserError: a name, kind, option or license that is not allowed.
    """
    for name, options in (values.get(CORPORA) or {}).items():
        if name in POLICY_KEYS:
            continue
        try:
            check_corpus_name(str(name))
        except ValueError as error:
            raise UserError(f"params.yaml: corpora: {error}") from error
        check_options(name, options)
    select_corpora(values)


def main() -> None:
    """Check params.yaml and write the constant out."""
    settings = check_params()
    check_start(settings["train"], settings["lora"], Path("output/adapter"))
    if (source := settings["decode"].language_model) != "none":
        own_texts(source)
    with atomic_write(OUT) as file:
        file.write("params.yaml was right in the last run\n")


if __name__ == "__main__":
    run_stage("check_params", main)
