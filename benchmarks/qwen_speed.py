"""Training speed and memory of Qwen2-VL-2B shapes on pages: plain Trainer + peft, and ours.

    python benchmarks/qwen_speed.py --out qwen.json

Random weights, LoRA rank 8 on the language model, frozen vision tower, checkpointing, PNG
pages decoded and resized by worker processes, 12 GiB cap. Every recipe trains the same
parameters on the same answers.
"""

import argparse
import gc
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

import shapes
from manifold_ocr.config import LoraConfig
from manifold_ocr.models.adapter_files import chat_vlm_scope
from manifold_ocr.models.chat_vlm import model as chat_vlm
from manifold_ocr.models.chat_vlm.fast_step import accelerate_chat_model, freeze_graph_below
from manifold_ocr.models.chat_vlm.train import RopePositions, collate_chat
from manifold_ocr.models.lora import match_targets, present, wrap_for_training
from manifold_ocr.resources import GpuMonitor

PEAK_FLOPS = 990e12


class Pages(Dataset):
    """Page images from disk and random answers, as (prompt ids, answer ids, image arrays)."""

    def __init__(self, paths: list[Path], grid: tuple[int, int], answer: int, ids: Any) -> None:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
            Qwen2VLImageProcessorPil,
        )

        tokens = grid[0] * grid[1]
        self.processor = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=tokens * 784 + 99)
        self.paths, self.tokens, self.answer, self.ids = paths, tokens, answer, ids

    def __len__(self) -> int:
        return 4096

    def __getitem__(self, index: int) -> Any:
        from manifold_ocr.images import open_image
        from manifold_ocr.models.chat_vlm.inputs import Encoded

        image = open_image(self.paths[index % len(self.paths)])
        arrays = dict(self.processor(images=[image], return_tensors="np"))
        assert int(arrays["image_grid_thw"][0].prod()) // 4 == self.tokens
        start, image_id, end = self.ids
        prompt = [start, *[image_id] * self.tokens, end, 5, 6, 7, 8]
        generator = torch.Generator().manual_seed(index)
        answer = torch.randint(10, 400, (self.answer,), generator=generator).tolist()
        return Encoded(prompt, arrays, self.tokens), answer


def model_for(args: argparse.Namespace, quantized: bool, *, fast: bool, dtype: torch.dtype) -> Any:
    """The model with LoRA on its language model."""
    model = shapes.qwen2_vl(args.size, args.device, dtype)
    model.requires_grad_(False)
    if quantized:
        shapes.quantize_nf4(model.model.language_model)
        model.is_loaded_in_4bit = True
    targets, within = chat_vlm_scope(model, freeze_backbone=True)
    targets = present(model, targets, within)
    if fast:
        accelerate_chat_model(model)
        freeze_graph_below(chat_vlm.vision_tower(model))
        return wrap_for_training(model, LoraConfig(rank=8, alpha=16), targets, within).train()
    import peft

    names = match_targets(model, targets, within)
    return peft.get_peft_model(
        model, peft.LoraConfig(r=8, lora_alpha=16, target_modules=names)
    ).train()


def peak() -> dict[str, float]:
    """Peak memory since the last reset."""
    return {
        "peak_gib": torch.cuda.max_memory_allocated() / shapes.GIB,
        "reserved_gib": torch.cuda.max_memory_reserved() / shapes.GIB,
    }


def ours(
    args: argparse.Namespace,
    data: Dataset,
    batch: int,
    *,
    quantized: bool,
    checkpointing: bool,
    graphs: bool = True,
) -> Any:
    """The product's step."""
    model = model_for(args, quantized, fast=True, dtype=torch.bfloat16)
    if checkpointing:
        model.get_base_model().gradient_checkpointing_enable(
            {"use_reentrant": False, "preserve_rng_state": False}
        )
    model.get_base_model().training_step.graphs_allowed = graphs
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4, fused=True)
    image_id = model.get_base_model().config.image_token_id
    positions = RopePositions(model.get_base_model())
    loader = DataLoader(
        data, batch, num_workers=args.workers, pin_memory=True, prefetch_factor=2,
        collate_fn=lambda rows: collate_chat(rows, 0, image_id, positions),
    )  # fmt: skip

    def step(rows: dict[str, torch.Tensor]) -> None:
        model(**{k: v.to(args.device, non_blocking=True) for k, v in rows.items()}).loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    batches = iter(loader)
    model.get_base_model().training_step.graphs_allowed = False
    with FlopCounterMode(display=False, custom_mapping=shapes.ATTENTION_FLOPS) as counter:
        step(next(batches))
    model.get_base_model().training_step.graphs_allowed = graphs
    for _ in range(4):
        step(next(batches))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    seen = 0
    with GpuMonitor() as monitor:
        start = time.perf_counter()
        while time.perf_counter() - start < args.seconds:
            step(next(batches))
            seen += batch
        torch.cuda.synchronize()
        elapsed = time.perf_counter() - start
    if args.profile:
        shapes.print_profile(lambda: step(next(batches)), 2)
    flops = counter.get_total_flops() / batch
    return {
        "samples_per_s": seen / elapsed,
        "tflops_per_sample": flops / 1e12,
        "peak_share_percent": 100 * flops * seen / elapsed / PEAK_FLOPS,
        "trainable": sum(p.numel() for p in trainable),
        **peak(),
        **monitor.summary(),
    }


def plain(args: argparse.Namespace, data: Dataset, *, quantized: bool) -> Any:
    """HF Trainer, peft and (for nf4) bitsandbytes as their manuals show; batch 1."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    model = model_for(args, quantized, fast=False, dtype=torch.bfloat16)
    model.enable_input_require_grads()
    image_id = model.get_base_model().config.image_token_id
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            times.append(time.perf_counter())

    def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
        batch = collate_chat(rows, 0, image_id)  # the library computes positions itself
        batch.pop("answer_index")
        return batch

    arguments = TrainingArguments(
        output_dir=str(args.folder / "plain"), per_device_train_batch_size=1,
        max_steps=args.plain_steps, bf16=True, gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": False}, report_to="none",
        save_strategy="no", remove_unused_columns=False, disable_tqdm=True,
        dataloader_num_workers=args.workers, dataloader_pin_memory=True,
    )  # fmt: skip
    torch.cuda.reset_peak_memory_stats()
    trainer = Trainer(
        model=model, args=arguments, train_dataset=data, data_collator=collate, callbacks=[Clock()]
    )
    trainer.train()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {
        "samples_per_s": (len(times) - 4) / (times[-1] - times[3]),
        "trainable": trained,
        **peak(),
    }


def attempt(name: str, run: Any, results: dict[str, Any]) -> None:
    """Run one recipe; out of memory is a result too."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        results[name] = run()
    except torch.OutOfMemoryError as error:
        results[name] = {"error": f"out of memory: {str(error)[:120]}"}
    print(name, json.dumps(results[name], default=float), flush=True)


def main() -> None:
    """Run every recipe and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="2b", choices=["tiny", "2b"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cap-gib", type=float, default=12.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--plain-steps", type=int, default=14)
    parser.add_argument("--skip-bf16", action="store_true")
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--profile", action="store_true", help="print the costliest kernels")
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    shapes.cap_memory(args.cap_gib)
    results: dict[str, Any] = {"torch": torch.__version__}
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        config = shapes.qwen2_vl_config(args.size)
        ids = (config.vision_start_token_id, config.image_token_id, config.vision_end_token_id)
        square = shapes.page_files(args.folder / "a", (1100, 1100), 24)
        tall = shapes.page_files(args.folder / "b", (900, 1800), 24)
        page = Pages(square, (32, 32), 1024, ids)
        big = Pages(tall, (32, 64), 1024, ids)
        for batch, checkpointing in ((1, True), (1, False), (4, True)):
            name = f"ours nf4 1024+1024 batch {batch}{' checkpointing' if checkpointing else ''}"
            run = partial(ours, args, page, batch, quantized=True, checkpointing=checkpointing)
            attempt(name, run, results)
        if not args.skip_peers:
            attempt(
                "plain nf4 1024+1024 batch 1 checkpointing",
                lambda: plain(args, page, quantized=True),
                results,
            )
        attempt(
            "ours nf4 2048+1024 batch 1 checkpointing",
            lambda: ours(args, big, 1, quantized=True, checkpointing=True),
            results,
        )
        if not args.skip_bf16:
            attempt(
                "ours bf16 1024+1024 batch 1 checkpointing",
                lambda: ours(args, page, 1, quantized=False, checkpointing=True),
                results,
            )
    mine = results["ours nf4 1024+1024 batch 1 checkpointing"].get("samples_per_s")
    peer = results.get("plain nf4 1024+1024 batch 1 checkpointing", {}).get("samples_per_s")
    if mine and peer:
        results["ratio nf4 batch 1"] = mine / peer
        print(f"nf4 batch 1: ours {mine:.2f}/s, plain {peer:.2f}/s, ratio {mine / peer:.2f}")
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
