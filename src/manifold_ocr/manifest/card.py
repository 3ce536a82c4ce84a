"""The dataset card: what is in the manifests, under which licence, and what was left out."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from manifold_ocr.corpora.registry import SelectedCorpus
from manifold_ocr.corpora.sources import SOURCES
from manifold_ocr.files import atomic_write
from manifold_ocr.manifest.build import BuildReport
from manifold_ocr.manifest.config import ManifestConfig
from manifold_ocr.manifest.metrics import leakage_metrics, truncated
from manifold_ocr.manifest.plots import write_plots
from manifold_ocr.manifest.sheet import write_sheet
from manifold_ocr.manifest.splits import SPLITS


def write_card(
    folder: Path,
    report: BuildReport,
    corpora: Sequence[SelectedCorpus],
    config: ManifestConfig,
    raw_root: Path,
) -> None:
    """Write card.md, the histograms plots/*.csv and samples.png into `folder`."""
    sheet = write_sheet(folder, raw_root, config.samples_sheet, config.seed)
    sections = [
        "# Dataset card",
        "Written by the manifest stage; the counts are those of the rows that were kept.",
        "## Corpora",
        _corpora_table(corpora),
        "## Rows",
        _splits_table(report),
        *(_attribute_section(report, name) for name in ("corpus", "subset", "language")),
        "## Licences of the rows",
        _counts_table(report, "licence"),
        "## Left out",
        _left_out(report),
        "## Leaks",
        _leaks(report, config),
        "## Labels longer than training can hold",
        _truncated(report),
    ]
    if sheet:
        sections += ["## Samples", "![A sample of each subset](samples.png)"]
    with atomic_write(folder / "card.md") as file:
        file.write("\n\n".join(section for section in sections if section) + "\n")
    write_plots(folder / "plots", report)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; pipes in cells are escaped, numbers are right-aligned."""
    body = [[_cell(value) for value in row] for row in rows]
    aligned = ["---" if i == 0 else "---:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(header), aligned, *body])


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _corpora_table(corpora: Sequence[SelectedCorpus]) -> str:
    rows = []
    for corpus in corpora:
        source = SOURCES.get(corpus.kind)
        citation = source.citation if source else "the user's own"
        rows.append((corpus.name, corpus.kind, corpus.role, corpus.licence, citation))
    header = ("corpus", "kind", "role", "licence", "source")
    listed = table(header, rows).replace("---:", "---")
    trained_on = ", ".join(corpus.name for corpus in corpora if corpus.contaminated)
    if not trained_on:
        return listed
    return f"{listed}\n\n**Contaminated**: trained on the benchmark {trained_on}."


def _splits_table(report: BuildReport) -> str:
    return table(
        ("split", "rows", "documents", "images", "characters"),
        (
            (name, counts.rows, counts.documents, counts.images, counts.characters)
            for name, counts in report.splits.items()
        ),
    )


def _attribute_section(report: BuildReport, attribute: str) -> str:
    return f"### By {attribute}\n\n{_counts_table(report, attribute)}"


def _counts_table(report: BuildReport, attribute: str) -> str:
    counts = {split: report.splits[split].by(attribute) for split in SPLITS}
    values = sorted(set().union(*counts.values()))
    rows = [(value, *(counts[split].get(value, 0) for split in SPLITS)) for value in values]
    return table((attribute, *SPLITS), rows)


def _left_out(report: BuildReport) -> str:
    rows = [(reason, count) for reason, count in sorted(report.rejected.items())]
    rows += [(f"filter: {name}", count) for name, count in sorted(report.filtered.items())]
    if not rows:
        return "Nothing."
    note = "Each rejected row stands in rejected.jsonl with its reason."
    return f"{table(('reason', 'rows'), rows)}\n\n{note}"


def _leaks(report: BuildReport, config: ManifestConfig) -> str:
    if not config.leakage.enabled:
        return "Near-duplicates were not looked for (manifest.leakage.enabled is false)."
    found = leakage_metrics(report)
    val = found["validation"]
    lines = (
        f"{found['rows']:,} training rows removed: {found['exact']:,} show an image of validation "
        f"or test, {found['near_image']:,} nearly one, {found['near_text']:,} nearly its text. "
        f"{val['rows']:,} validation rows removed: {val['exact']:,} show an image of test, "
        f"{val['near_image']:,} nearly one, {val['near_text']:,} nearly its text. "
        f"{report.leaks.train_pages:,} training and {report.leaks.val_pages:,} validation pages "
        f"were compared with {found['index_pages']:,} evaluation pages"
    )
    if found["uncovered_pages"]:
        return f"{lines}; {found['uncovered_pages']:,} more are beyond manifest.leakage.max_index."
    return f"{lines}."


def _truncated(report: BuildReport) -> str:
    found = truncated(report)
    if not found["total"]:
        return "None."
    return table(("corpus.subset", "labels"), found["by_subset"].items())
