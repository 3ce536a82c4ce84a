"""An example publisher: an invoice's image goes to the gate as a span with its signature.

    python examples/gate_invoice.py redis://127.0.0.1:6379/0 invoice.png invoice.txt ACME

The text is what the invoice is known to say; its archive (`manifold-ocr compress --build`)
is what the worker verifies with. The worker's result, with the fields of the invoice, is
waited for and printed.
"""

import base64
import json
import sys
import time
from pathlib import Path

import redis

from manifold_ocr.compression.archive import build_document, payload
from manifold_ocr.compression.signatures import Codec


def main(url: str, image: Path, text: Path, instrument: str) -> None:
    """Publish the first window of the text, with the image, and print the result."""
    codec = Codec()
    entry = build_document(text.name, text.read_bytes(), codec).entries[0]
    span = {
        "id": f"{image.name}-{int(time.time())}",
        "kind": "image",
        "image": base64.b64encode(image.read_bytes()).decode("ascii"),
        "signature": payload(entry, codec).hex(),
        "hazard": round(entry.hazard, codec.precision),
        "repetitions": entry.count,
        "published": time.time(),
        "field_kind": "receipt",
    }
    base = redis.Redis.from_url(url)
    base.xadd(f"gate:last:{instrument}", {"span": json.dumps(span)})
    while True:
        found = base.hgetall(f"gate:ocr:{instrument}")
        if found.get(b"id", b"").decode() == span["id"]:
            result = json.loads(found[b"data"])
            print(json.dumps({k: result[k] for k in ("verified", "flags", "fields")}, indent=1))
            return
        time.sleep(0.2)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
