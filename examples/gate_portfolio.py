"""An example consumer of the gate: acts on verified spans only, each once.

    python examples/gate_portfolio.py redis://127.0.0.1:6379/0

It reads the stream `gate:ocr` in a consumer group and keeps a position per instrument in the
hash `portfolio:positions`. The position and the acknowledgment change in one transaction
together with a mark of the span, so that a crash or a second delivery changes nothing.
"""

import json
import sys

import redis

STREAM, GROUP, POSITIONS = "gate:ocr", "portfolio", "portfolio:positions"


def act(base: redis.Redis, entry: bytes, fields: dict[bytes, bytes]) -> str:
    """Take a result into account; return what was done."""
    result = json.loads(fields[b"data"])
    mark = f"portfolio:done:{result['instrument']}:{result['id']}"
    with base.pipeline() as change:
        change.watch(mark)
        fresh = result["verified"] and not change.exists(mark)
        change.multi()
        if fresh:
            change.set(mark, 1)
            change.hincrby(POSITIONS, result["instrument"], result["repetitions"])
        change.xack(STREAM, GROUP, entry)
        change.execute()
    if not result["verified"]:
        return f"left out {result['instrument']} {result['id']}: {'; '.join(result['flags'])}"
    return f"{'acted on' if fresh else 'knew'} {result['instrument']} {result['id']}"


def main(url: str) -> None:
    """Work until interrupted; what a former run left pending comes first."""
    base = redis.Redis.from_url(url, protocol=2)
    try:
        base.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    start = "0"  # pending entries of this consumer; then ">": new ones
    while True:
        found = base.xreadgroup(GROUP, "one", {STREAM: start}, count=16, block=1000)
        rows = [row for _, part in found for row in part]
        for entry, fields in rows:
            print(act(base, entry, fields))
        if start == "0" and not rows:
            start = ">"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379/0")
