"""Greedy reading of line images with TrOCR-base shapes: one by one with the library, and ours.

    python benchmarks/generation_speed.py --out generation.json

Random weights, PNG lines from disk, 32 new tokens an image, 12 GiB cap.
"""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

import shapes
from manifold_ocr.images import open_image
from manifold_ocr.models.encoder_decoder.fast_step import accelerate_encoder_decoder
from manifold_ocr.models.encoder_decoder.model import EncoderDecoder
from manifold_ocr.models.images import ResizeInput

HALF = (0.5, 0.5, 0.5)


class Numbers:
    """A stand-in tokenizer: random weights write no words."""

    eos_token_id = 2

    def batch_decode(self, ids: Any, **_: Any) -> list[str]:
        """Return the ids as text."""
        return [" ".join(map(str, row)) for row in ids.tolist()]


def one_by_one(args: argparse.Namespace, paths: list[Path]) -> float:
    """The library's model in half precision, one image a call."""
    model = shapes.trocr(args.size, args.device, args.dtype).eval()
    prepare = ResizeInput((args.side, args.side), 2, HALF, HALF)
    options = {"max_new_tokens": args.tokens, "min_new_tokens": args.tokens, "do_sample": False}
    options["use_cache"] = True

    def read(path: Path) -> None:
        pixels = torch.from_numpy(prepare(open_image(path)))[None].to(args.device)
        model.generate(pixel_values=pixels.to(args.dtype).div_(127.5).sub_(1), **options)

    for path in paths[:2]:
        read(path)
    start = time.perf_counter()
    for path in paths[: args.one_by_one]:
        read(path)
    synchronize()
    return args.one_by_one / (time.perf_counter() - start)


def ours(args: argparse.Namespace, paths: list[Path], batch: int) -> dict[str, float]:
    """The product's reader over images from disk."""
    model = shapes.trocr(args.size, args.device, args.dtype).eval()
    model.config.use_cache = True
    accelerate_encoder_decoder(model, list(HALF), list(HALF))
    model.config.eos_token_id = -7  # random weights must not stop early: every text is 32 tokens
    prepare = ResizeInput((args.side, args.side), 2, HALF, HALF)
    reader = EncoderDecoder(
        model, Numbers(), prepare, name="x", batch_size=batch, max_new_tokens=args.tokens
    )

    def images(count: int) -> Any:
        return (partial(open_image, paths[i % len(paths)]) for i in range(count))

    assert len(list(reader.recognize(images(batch)))) == batch
    count = max(args.batches * batch, batch)
    start = time.perf_counter()
    read = sum(1 for _ in reader.recognize(images(count)))
    synchronize()
    result = {"images_per_s": read / (time.perf_counter() - start)}
    if args.device == "cuda":
        result["peak_gib"] = torch.cuda.max_memory_allocated() / shapes.GIB
        torch.cuda.reset_peak_memory_stats()
    return result


def synchronize() -> None:
    """Wait for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Run both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="base", choices=["tiny", "base"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cap-gib", type=float, default=12.0)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--one-by-one", type=int, default=12)
    parser.add_argument("--batches", type=int, default=32)
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    args.side = 64 if args.size == "tiny" else 384
    args.dtype = torch.bfloat16
    if args.device == "cuda":
        shapes.cap_memory(args.cap_gib)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = shapes.image_files(Path(folder), "line", 64)
        results["one by one"] = one_by_one(args, paths)
        for batch in args.batch:
            results[f"ours batch {batch}"] = ours(args, paths, batch)
            print(f"ours batch {batch}", results[f"ours batch {batch}"], flush=True)
    best = max(r["images_per_s"] for n, r in results.items() if n.startswith("ours"))
    results["ratio"] = best / results["one by one"]
    print(
        f"ours {best:.1f} images/s, one by one {results['one by one']:.2f}, "
        f"ratio {results['ratio']:.0f}"
    )
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
