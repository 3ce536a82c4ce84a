"""Fuzz the binary formats: no crash, no hang, no wrong decode accepted.

    python benchmarks/fuzz_codec.py --minutes 10 --corpus tests/fixtures/codec_corpus

Starts from valid files (the corpus, and files made of random texts), damages them by flips,
cuts, splices and field edits, half of the time with the checksum made right again so that the
inner checks are reached, and decodes. A file that is accepted must be exactly the canonical
file of what was decoded. Anything but `DamagedError` is a finding: it is printed, saved below
--findings, and the status is 1. A decode that takes over 15 s of processor time is a finding too.
"""

import argparse
import hashlib
import random
import signal
import time
import traceback
from pathlib import Path

from manifold_ocr.compression import archive, lossless
from manifold_ocr.compression.archive import build
from manifold_ocr.compression.lossless import DamagedError
from manifold_ocr.compression.signatures import Codec

LONGEST_SECONDS = 15  # of processor time
ALPHABETS = (b"ab", b"the quick brown fox 0123\n", bytes(range(256)), "深度学习的文字 a\n".encode())


def random_text(rng: random.Random) -> bytes:
    """Return a short text, repetitive or random, sometimes not UTF-8."""
    alphabet = rng.choice(ALPHABETS)
    text = bytes(rng.choice(alphabet) for _ in range(rng.choice((0, 1, 7, 60, 300))))
    return text * rng.choice((1, 1, 1, 3, 8))


def valid_file(rng: random.Random) -> bytes:
    """Return a valid container or manifold of random content."""
    effort = rng.choice(("fast", "best"))
    if rng.random() < 0.5:
        return lossless.compress(random_text(rng), effort=effort)
    window = rng.choice((4, 16, 64, 512))
    config = Codec(
        window=window, stride=rng.randint(max(1, window // 4), window), precision=rng.randint(0, 6)
    )
    texts = [(f"d{i}", random_text(rng)) for i in range(rng.randint(0, 3))]
    return archive.to_bytes(build(texts, config, keep=rng.choice((None, effort))))


def damage(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return an altered copy."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        kind, place = rng.randrange(6), rng.randrange(len(changed) + 1)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and place < len(changed):
            changed[place] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del changed[place : place + rng.choice((1, 2, 9, 100))]
        elif kind == 3:
            changed[place:place] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 16))))
        elif kind == 4:
            begin = rng.randrange(len(other) + 1)
            changed[place:place] = other[begin : begin + rng.randrange(1, 60)]
        else:
            del changed[place:]
    return bytes(changed)


def fix(data: bytes) -> bytes:
    """Make the manifold's checksum right again (a container's needs its text)."""
    body = data[: -archive.DIGEST_BYTES]
    return body + hashlib.blake2b(body, digest_size=archive.DIGEST_BYTES).digest()


def check(data: bytes) -> bool:
    """Decode as both formats; return whether one accepted.

    Raises:
        AssertionError: accepted, but not the canonical file of its content.
    """
    accepted = False
    try:
        parsed = archive.from_bytes(data)
        accepted = True
        assert archive.to_bytes(parsed) == data, "accepted a manifold that is not canonical"
    except DamagedError:
        pass
    try:
        text = lossless.decompress(data)
    except DamagedError:
        return accepted
    again = lossless.decompress(lossless.compress(text))
    assert again == text, "a decoded text does not survive compression"
    return True


def timed_out(*_: object) -> None:
    """Turn the alarm into an error."""
    raise TimeoutError(f"decoding took over {LONGEST_SECONDS} s")


def save(folder: Path, data: bytes, problem: str) -> None:
    """Keep a finding and print what is wrong with it."""
    folder.mkdir(exist_ok=True)
    name = folder / f"{hashlib.sha256(data).hexdigest()[:16]}.bin"
    name.write_bytes(data)
    print(f"finding: {name}\n{problem}", flush=True)


def main() -> None:
    """Fuzz for the time given; exit with status 1 on a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, default=Path("tests/fixtures/codec_corpus"))
    parser.add_argument("--findings", type=Path, default=Path("fuzz_findings"))
    options = parser.parse_args()
    signal.signal(signal.SIGVTALRM, timed_out)
    rng = random.Random(options.seed)
    seeds = [path.read_bytes() for path in sorted(options.corpus.glob("*.bin"))]
    tried = accepted = wrong = findings = 0
    end = time.monotonic() + 60 * options.minutes
    while time.monotonic() < end:
        original = rng.choice(seeds) if seeds and rng.random() < 0.3 else valid_file(rng)
        other = rng.choice(seeds) if seeds else valid_file(rng)
        for _ in range(20):
            data = damage(original, other, rng)
            data = fix(data) if rng.random() < 0.5 else data
            signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_SECONDS)
            try:
                passed = check(data)
                accepted += passed
                if passed and data[:2] == lossless.MAGIC and data not in (original, other, *seeds):
                    wrong += 1
                    save(options.findings, data, "an altered container was accepted")
            except Exception:
                findings += 1
                save(options.findings, data, traceback.format_exc())
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            tried += 1
    print(
        f"{tried:,} damaged files in {options.minutes:g} minutes: {accepted:,} accepted as "
        f"canonical files of their own content (edits that cancel out, or whole records), "
        f"{wrong:,} altered containers accepted, {findings:,} findings"
    )
    raise SystemExit(1 if findings or wrong else 0)


if __name__ == "__main__":
    main()
