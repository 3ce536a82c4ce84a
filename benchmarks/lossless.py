"""Bytes of the lossless mode beside other compressors, on anybody's folder of texts.

    python benchmarks/lossless.py FOLDER            # .txt, .md, ... files, one document each
    python benchmarks/lossless.py test.jsonl        # the pages of a manifest
    python benchmarks/lossless.py OmniDocBench.json # the pages of an OmniDocBench file

Each text is compressed as a file of its own and decompressed again; a text that does not come
back bit for bit ends the run with status 1. All bytes of our containers are counted, checksum
included; no dictionary is shipped with the program. `with signatures` is a manifold.bin record:
searchable signatures and the exact text. The primer rows read `--primer-bytes` of the first
texts into the model before the others: sizes without and with the primer counted once; those
rows, like all others then, leave the primer's own texts out.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from manifold_ocr.compression import lossless, text_check
from manifold_ocr.compression.archive import to_bytes
from manifold_ocr.compression.manifold import Manifold, build_document
from manifold_ocr.compression.pages import read_texts
from manifold_ocr.config import CodecConfig


def omnidocbench_texts(path: Path) -> list[bytes]:
    """Return the text of each page: its blocks in reading order, joined by newlines."""
    pages = []
    for page in json.loads(path.read_text(encoding="utf-8")):
        blocks = [b for b in page["layout_dets"] if b.get("text") or b.get("latex")]
        blocks.sort(key=lambda b: (b.get("order") is None, b.get("order") or 0))
        text = "\n".join(b.get("text") or b.get("latex") for b in blocks)
        pages.append(text.encode("utf-8"))
    return pages


def load_texts(source: Path) -> list[bytes]:
    """Return the non-empty texts of a folder, a manifest or an OmniDocBench file."""
    if source.suffix == ".json":
        texts = omnidocbench_texts(source)
    else:
        texts = [data for _, data in read_texts(source)]
    return [text for text in texts if text]


def split_primer(texts: Sequence[bytes], wanted: int) -> tuple[bytes, list[bytes]]:
    """Return (primer of the first texts, the other texts)."""
    primer, used = b"", 0
    while wanted and used < len(texts) - 1 and len(primer) < wanted:
        primer, used = primer + texts[used] + b"\n", used + 1
    return primer[:wanted], list(texts[used:])


def ours(texts: Sequence[bytes], primer: lossless.Primer | None = None) -> list[int]:
    """Return our sizes, having checked that every text comes back."""
    found = []
    for text in texts:
        coded = lossless.compress(text, primer=primer)
        if lossless.decompress(coded, primer=primer) != text:
            raise SystemExit("a text did not come back")
        found.append(len(coded))
    return found


def with_signatures(texts: Sequence[bytes]) -> int:
    """Return the bytes of the same texts as searchable records of a manifold.bin."""
    config = CodecConfig()
    empty = len(to_bytes(Manifold(config, ())))
    documents = [build_document("", text, config, keep="best") for text in texts]
    return sum(len(to_bytes(Manifold(config, (item,)))) - empty for item in documents)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--primer-bytes", type=int, default=0)
    parser.add_argument("--most", type=int, default=0, help="texts to measure; 0: all")
    options = parser.parse_args()
    texts = load_texts(options.source)
    if options.most:
        texts = texts[:: max(1, len(texts) // options.most)]
    primer, texts = split_primer(texts, options.primer_bytes)
    original = sum(map(len, texts))
    zstd = text_check.page_sizes(texts, text_check.COMPRESSORS["zstd -19"])
    begin = time.perf_counter()
    plain = ours(texts)
    seconds = time.perf_counter() - begin
    rows = [
        (name, sum(text_check.page_sizes(texts, run)))
        for name, run in text_check.COMPRESSORS.items()
    ]
    rows += [("ours, lossless", sum(plain)), ("ours with signatures", with_signatures(texts))]
    if primer:
        primed = sum(ours(texts, lossless.Primer.of(primer)))
        rows.append((f"ours, primed with {len(primer):,} bytes, primer not counted", primed))
        counted = primed + len(lossless.compress(primer))
        rows.append(("ours, primed, compressed primer counted once", counted))
    joined = b"\x00".join(texts)
    for name in ("zstd -19", "brotli -11", "PPMd"):
        rows.append((f"one archive: {name}", len(text_check.COMPRESSORS[name](joined))))
    rows.append(("one archive: ours", len(lossless.compress(joined))))
    base = sum(zstd)
    print(f"{len(texts)} texts, {original:,} bytes, mean {original / len(texts):,.0f}")
    print(f"{'':52} {'bytes':>10} {'ratio':>7} {'of zstd -19':>12}")
    for name, size in rows:
        print(f"{name:52} {size:>10,} {original / size:>6.2f}x {size / base:>12.3f}")
    wins = sum(a < b for a, b in zip(plain, zstd, strict=True))
    print(
        f"ours is smaller than zstd -19 on {wins} of {len(texts)} texts; all came back bit for "
        f"bit; compressing and decompressing took {seconds:.1f} s "
        f"({2 * original / seconds / 1e3:.0f} kB/s)"
    )


if __name__ == "__main__":
    main()
