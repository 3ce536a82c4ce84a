"""What reading lines of several requests in one call gains: `SharedModel` against a lock.

    python benchmarks/micro_batching.py                       # the embedded recognizer, CPU
    python benchmarks/micro_batching.py --model trocr-base --device cuda

--clients threads each ask for --lines lines at a time, as requests to the API do; the two ways
take turns, --rounds of --seconds each, so that other load on the machine meets both. TrOCR has
random weights and writes --tokens tokens per line. Needs no serving packages and no network.
"""

import argparse
import statistics
import threading
import time
from typing import Any

from PIL import Image, ImageDraw

from manifold_ocr.models.base import OcrModel
from manifold_ocr.serving.api.batching import SharedModel
from manifold_ocr.serving.documents import LockedModel


class Words:
    """A tokenizer for random weights: ids as text."""

    def batch_decode(self, ids: Any, **_: Any) -> list[str]:
        """Return the ids of each row."""
        return [" ".join(str(int(i)) for i in row) for row in ids]

    def decode(self, ids: Any, **_: Any) -> str:
        """Return the ids."""
        return " ".join(str(int(i)) for i in ids)


def load(options: argparse.Namespace) -> OcrModel:
    """Return the model to measure."""
    if options.model == "embedded":
        from manifold_ocr.reading.engines.rapidocr import RapidOcr

        return RapidOcr(threads=options.threads)
    import torch

    import shapes
    from manifold_ocr.models.encoder_decoder.fast_step import accelerate_encoder_decoder
    from manifold_ocr.models.encoder_decoder.model import EncoderDecoder
    from manifold_ocr.models.images import ResizeInput

    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    size = options.model.removeprefix("trocr-")
    model = shapes.trocr(size, options.device, dtype).eval()
    model.config.eos_token_id = -1  # random weights never end a text
    side = model.config.encoder.image_size
    image_input = ResizeInput((side, side), 2, (0.5,) * 3, (0.5,) * 3)
    accelerate_encoder_decoder(model, list(image_input.mean), list(image_input.std))
    return EncoderDecoder(
        model, Words(), image_input, name=options.model, max_new_tokens=options.tokens
    )


def pictures(count: int) -> list[Image.Image]:
    """Return lines of text of several widths."""
    made = []
    for number in range(count):
        image = Image.new("RGB", (300 + 40 * (number % 8), 48), "white")
        ImageDraw.Draw(image).text((6, 6), f"line {number} of a request", "black", font_size=28)
        made.append(image)
    return made


def rate(model: Any, options: argparse.Namespace) -> tuple[float, float]:
    """Return lines per second and the median seconds per request of clients at once."""
    until = time.monotonic() + options.seconds
    begun, seconds, lock = time.monotonic(), list[float](), threading.Lock()

    def client(number: int) -> None:
        images = pictures(options.lines + number)[number:]
        while time.monotonic() < until:
            started = time.monotonic()
            assert len(list(model.recognize(images))) == options.lines
            with lock:
                seconds.append(time.monotonic() - started)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(options.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.monotonic() - begun
    return len(seconds) * options.lines / taken, statistics.median(seconds)


def main() -> None:
    """Print both rates and the median ratio of neighboring rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", choices=(
        "embedded", "trocr-tiny", "trocr-base", "trocr-large"))  # fmt: skip
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--lines", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = load(options)
    shared, locked = SharedModel(model), LockedModel(model)
    list(locked.recognize(pictures(options.lines)))
    ratios, rates = [], {"shared": list[float](), "alone": list[float]()}
    for _ in range(options.rounds):
        calls, lines = shared.calls, shared.lines
        ours, our_seconds = rate(shared, options)
        theirs, their_seconds = rate(locked, options)
        rates["shared"].append(ours)
        rates["alone"].append(theirs)
        ratios.append(ours / theirs)
        print(
            f"lines per second: {ours:.1f} in shared calls of "
            f"{(shared.lines - lines) / max(1, shared.calls - calls):.1f} lines, {theirs:.1f} one "
            f"request at a time; seconds per request {our_seconds:.3f} and {their_seconds:.3f}",
            flush=True,
        )
    shared.close()
    print(
        f"{options.model} on {options.device}, {options.clients} clients of {options.lines} lines: "
        f"{statistics.median(rates['shared']):.1f} against {statistics.median(rates['alone']):.1f} "
        f"lines per second, ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
