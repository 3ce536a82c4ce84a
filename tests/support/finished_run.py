"""A project folder as a finished run leaves it: params, metrics, an adapter on a tiny base."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from manifold_ocr.files import write_json
from manifold_ocr.records import Prediction, Sample

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [f"line {number} of text" for number in range(24)]


def drawn_adapter(base: Path, folder: Path, targets: list[str], rank: int = 2) -> Path:
    """A LoRA adapter with random weights on the checkpoint `base`."""
    import torch

    from manifold_ocr.config import LoraConfig
    from manifold_ocr.models.adapter_files import write_origin
    from manifold_ocr.models.lora import add_lora, save_adapter
    from manifold_ocr.models.registry import family_of, load_plain

    torch.manual_seed(1)
    model = add_lora(load_plain(base), LoraConfig(rank=rank, alpha=2 * rank), targets)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    folder.mkdir(parents=True)
    save_adapter(model, folder, str(base))
    origin = {"base_id": str(base), "base_revision": "", "family": family_of(base)}
    write_origin(folder, base, origin)
    return folder


def evaluation(adapter_errors: int, base_errors: int) -> dict[str, Any]:
    """metrics/evaluate.json of two systems that misread the first so many characters a line."""
    from manifold_ocr.metrics import score
    from manifold_ocr.metrics.paired import document_sums

    samples = [
        Sample(id=f"s{n}", document=f"d{n}", corpus="synthetic", subset="printed", language="en",
               image="x.png", text=text)
        for n, text in enumerate(TEXTS)
    ]  # fmt: skip
    rows = {}
    for name, errors in (("adapter", adapter_errors), ("base", base_errors)):
        read = [Prediction(id=s.id, text="#" * errors + s.text[errors:]) for s in samples]
        rows[name] = score.score_rows(samples, read, score.EvaluateConfig(bootstrap_samples=50))
    found = score.evaluation(
        rows["adapter"], rows["base"], score.EvaluateConfig(bootstrap_samples=50)
    )
    return {**found, "documents": {name: document_sums(rows[name]) for name in rows}}


def finish_run(
    root: Path, base: Path, *, adapter_errors: int = 0, base_errors: int = 2, targets: Any = None
) -> None:
    """Write params.yaml, metrics/ and output/adapter below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["model"]["id"] = str(base)
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    write_json(root / "metrics/evaluate.json", evaluation(adapter_errors, base_errors))
    counts = {"train": {"rows": 40}, "val": {"rows": 10}, "test": {"rows": len(TEXTS)}}
    write_json(root / "metrics/manifest.json", {**counts, "contaminated_benchmarks": 0})
    write_json(root / "metrics/download/synthetic.json", {"sha256": "ab" * 32})
    write_json(root / "metrics/perf.json", {"train": {"seconds": 12.0}})
    shutil.rmtree(root / "output", ignore_errors=True)
    drawn_adapter(base, root / "output/adapter", targets or ["head.head", "qkv"])
