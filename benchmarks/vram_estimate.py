"""The preflight's memory estimate against the measured peak of real training steps.

    python benchmarks/vram_estimate.py --out vram.json

Random weights of the real shapes; the estimate is made on the meta device before a byte is
allocated. Measured is torch's peak of allocated memory over three eager steps with AdamW.
"""

import argparse
import gc
import json
from pathlib import Path
from typing import Any

import torch

import qwen_speed
import shapes
import training_speed
from manifold_ocr.training.memory import estimate_step, language_batch, quantized_savings

CASES = {
    "TrOCR-base, 64 lines of 48": ("base", 64, 48, False),
    "TrOCR-base, 8 pages of 512": ("base", 8, 512, False),
    "TrOCR-base, 32 pages of 512, checkpointing": ("base", 32, 512, True),
    "TrOCR-large, 32 lines of 48": ("large", 32, 48, False),
    "Qwen2-VL-2B nf4, 1024+1024, checkpointing": ("nf4", 1, 1024, True),
    "Qwen2-VL-2B bf16, 1024+1024, checkpointing": ("bf16", 1, 1024, True),
}


def trocr_case(size: str, rows: int, length: int, checkpointing: bool, device: str) -> Any:
    """Return (model, batch) of a TrOCR case on `device`."""
    model = training_speed.lora_model(size, device, torch.bfloat16, fast=True)
    if checkpointing:
        model.get_base_model().decoder.gradient_checkpointing_enable({"use_reentrant": False})
    pixels = torch.zeros(rows, 3, 384, 384, dtype=torch.uint8, device=device)
    labels = torch.full((rows, length), 7, device=device)
    index = torch.arange(rows * length, device=device)
    return model, {"pixel_values": pixels, "labels": labels, "answer_index": index}


def qwen_case(kind: str, length: int, device: str) -> Any:
    """Return (model, batch) of a Qwen2-VL case with 1,024 vision tokens."""
    args = argparse.Namespace(size="2b", device=device)
    model = qwen_speed.model_for(args, kind == "nf4", fast=True, dtype=torch.bfloat16)
    model.get_base_model().gradient_checkpointing_enable(
        {"use_reentrant": False, "preserve_rng_state": False}
    )
    config = shapes.qwen2_vl_config("2b")
    ids = torch.full((1, 1024 + length), 7, device=device)
    ids[0, :1024] = config.image_token_id
    labels = ids.clone()
    labels[0, :1024] = -100
    types = (ids == config.image_token_id).long()
    return model, {
        "input_ids": ids,
        "labels": labels,
        "mm_token_type_ids": types,
        "position_ids": torch.arange(1024 + length, device=device).expand(3, 1, -1),
        "pixel_values": torch.zeros(4096, 1176, device=device),
        "image_grid_thw": torch.tensor([[1, 64, 64]], device=device),
        "answer_index": torch.arange(1023, 1023 + length, device=device),
    }


def build(case: tuple[Any, ...], device: str) -> Any:
    """Return (model, batch) of a case."""
    kind, rows, length, checkpointing = case
    if kind in ("nf4", "bf16"):
        return qwen_case(kind, length, device)
    return trocr_case(kind, rows, length, checkpointing, device)


def estimated(case: tuple[Any, ...]) -> float:
    """Return the estimate in GiB, made on the meta device."""
    packed = case[0] == "nf4"
    model, batch = build(("bf16", *case[1:]) if packed else case, "meta")
    if case[0] in ("nf4", "bf16"):
        model.get_base_model().tie_weights()
        step = model.get_base_model().training_step
        language = language_batch(model, batch)
        total = estimate_step(model, language, step.language_loss).total
        text = model.get_base_model().model.language_model
        return (total - (quantized_savings(text, 4) if packed else 0)) / shapes.GIB
    return estimate_step(model, batch).total / shapes.GIB


def measured(case: tuple[Any, ...]) -> float:
    """Return the peak of three steps in GiB."""
    gc.collect()
    torch.cuda.empty_cache()
    model, batch = build(case, "cuda")
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / shapes.GIB


def main() -> None:
    """Print estimate, measurement and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    results = {}
    for name, case in CASES.items():
        estimate = None
        try:
            estimate = estimated(case)
        except (NotImplementedError, RuntimeError) as error:
            print(f"{name}: no estimate: {str(error)[:200]}")
        found = measured(case) if torch.cuda.is_available() else None
        results[name] = {"estimate_gib": estimate, "measured_gib": found}
        if estimate and found:
            results[name]["ratio"] = estimate / found
        print(name, json.dumps(results[name]), flush=True)
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
