"""The model card of a promoted checkpoint: metadata that the hub reads, and what people ask."""

from collections.abc import Mapping
from typing import Any

from manifold_ocr.evaluation.markdown import render

LANGUAGES = ("en", "zh")
METRICS = {"cer": "Character error rate", "wer": "Word error rate",
           "exact_match": "Exact lines"}  # fmt: skip


def model_card(provenance: Mapping[str, Any]) -> str:
    """Return README.md: YAML metadata as huggingface_hub writes and reads it, then the text."""
    return f"---\n{card_data(provenance).to_yaml()}\n---\n\n" + render(
        "publish/templates/model_card.md.j2", **provenance, scores=scores(provenance)
    )


def card_data(provenance: Mapping[str, Any]) -> Any:
    """Return the metadata as huggingface_hub's ModelCardData, evaluation results included."""
    from huggingface_hub import EvalResult, ModelCardData

    base = provenance["base"]
    on_hub = bool(base["revision"])
    results = [
        EvalResult(
            task_type="image-to-text",
            dataset_type=next(iter(provenance["data"]), "own"),
            dataset_name=", ".join(provenance["data"]) or "own documents",
            metric_type="cer" if key == "cer" else key,
            metric_name=title,
            metric_value=round(float(provenance["metrics"]["adapter"][key]), 6),
        )
        for key, title in METRICS.items()
        if key in provenance["metrics"]["adapter"]
    ]
    license_name = str(base["license"]).lower()
    return ModelCardData(
        language=list(LANGUAGES),
        license=license_name if license_name != "unknown" else "other",
        library_name="peft" if on_hub else "transformers",
        pipeline_tag="image-to-text",
        tags=["ocr", "manifold-ocr"],
        base_model=str(base["id"]) if on_hub else None,
        model_name=provenance["name"],
        eval_results=results or None,
        ignore_metadata_errors=True,
    )


def scores(provenance: Mapping[str, Any]) -> list[list[str]]:
    """Return rows of the table: metric, base, this model with interval, difference."""
    ours, base = provenance["metrics"]["adapter"], provenance["metrics"]["base"]
    change = provenance["difference"]
    return [
        [key.replace("_", " "), _cell(base, key), _cell(ours, key), _cell(change, key)]
        for key in ours
        if not key.endswith(("_low", "_high")) and key not in ("n", "documents")
    ]


def _cell(values: Mapping[str, float], key: str) -> str:
    if key not in values:
        return ""
    low, high = values.get(f"{key}_low"), values.get(f"{key}_high")
    interval = (
        f" [{100 * low:.2f}, {100 * high:.2f}]" if low is not None and high is not None else ""
    )
    return f"{100 * values[key]:.2f}{interval}"
