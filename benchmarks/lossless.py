"""Bytes of the lossless mode beside other compressors, on anybody's folder of texts.

    python benchmarks/lossless.py FOLDER            # .txt, .md, ... files, one document each
    python benchmarks/lossless.py test.jsonl        # the pages of a manifest
    python benchmarks/lossless.py OmniDocBench.json # the pages of an OmniDocBench file

Each text is compressed as a file of its own and decompressed again; a text that does not come
back bit for bit ends the run with status 1. All bytes of our containers are counted, checksum
included; no dictionary is shipped with the program. `with signatures` is a manifold.bin record:
searchable signatures and the exact text. `zstd -19, trained dictionary` compresses each text with
a dictionary trained on all of them; its bytes are counted once, or once for each text that would
have to carry it.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import zstandard

from manifold_ocr.compression import lossless, sizes
from manifold_ocr.compression.archive import Manifold, build_document, to_bytes
from manifold_ocr.compression.pages import read_texts
from manifold_ocr.compression.signatures import Codec


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


def ours(texts: Sequence[bytes]) -> list[int]:
    """Return our sizes, having checked that every text comes back."""
    found = []
    for text in texts:
        coded = lossless.compress(text)
        if lossless.decompress(coded) != text:
            raise SystemExit("a text did not come back")
        found.append(len(coded))
    return found


def trained_dictionary(texts: Sequence[bytes]) -> tuple[int, int] | None:
    """Return (bytes of all texts, bytes of the dictionary); None where there is too little text."""
    try:
        dictionary = zstandard.train_dictionary(max(256, sum(map(len, texts)) // 100), list(texts))
    except zstandard.ZstdError:
        return None
    encoder = zstandard.ZstdCompressor(level=19, dict_data=dictionary)
    return sum(len(encoder.compress(text)) for text in texts), len(dictionary.as_bytes())


def with_signatures(texts: Sequence[bytes]) -> int:
    """Return the bytes of the same texts as searchable records of a manifold.bin."""
    config = Codec()
    empty = len(to_bytes(Manifold(config, ())))
    documents = [build_document("", text, config, keep="best") for text in texts]
    return sum(len(to_bytes(Manifold(config, (item,)))) - empty for item in documents)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--most", type=int, default=0, help="texts to measure; 0: all")
    options = parser.parse_args()
    texts = load_texts(options.source)
    if options.most:
        texts = texts[:: max(1, len(texts) // options.most)]
    original = sum(map(len, texts))
    zstd = sizes.page_sizes(texts, sizes.COMPRESSORS["zstd -19"])
    begin = time.perf_counter()
    plain = ours(texts)
    seconds = time.perf_counter() - begin
    rows = [(name, sum(sizes.page_sizes(texts, run))) for name, run in sizes.COMPRESSORS.items()]
    rows += [("ours, lossless", sum(plain)), ("ours with signatures", with_signatures(texts))]
    if found := trained_dictionary(texts):
        coded, size = found
        title = "zstd -19, trained dictionary"
        rows.append((f"{title} ({size:,} bytes) counted once", coded + size))
        rows.append((f"{title} counted for each text", coded + size * len(texts)))
    joined = b"\x00".join(texts)
    for name in ("zstd -19", "brotli -11", "PPMd"):
        rows.append((f"one archive: {name}", len(sizes.COMPRESSORS[name](joined))))
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
