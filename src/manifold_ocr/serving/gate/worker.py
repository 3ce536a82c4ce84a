"""The worker at the gate: spans in, results out, over Valkey or Redis.

`gate:last:{instrument}` holds spans as a stream (field `span`, JSON), or its last span as a
JSON string or a hash. A result goes to the hash `gate:ocr:{instrument}` and the stream
`gate:ocr`, in one script together with the acknowledgment. Spans are delivered at least once;
a second delivery of an id has no effect. A worker that dies leaves its spans pending, and
another takes them over. What cannot be processed goes to the stream `gate:dead` with a reason.
"""

import json
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from manifold_ocr.errors import UserError
from manifold_ocr.serving.gate.spans import PoisonError, SpanReader

LOG = logging.getLogger("manifold_ocr.gate")
LAST, OCR, RESULTS, DEAD, INBOX = "gate:last:", "gate:ocr:", "gate:ocr", "gate:dead", "gate:inbox"
GROUP = "ocr"

# A script is not rolled back where a command in it fails (a key of another type, no memory), so
# what may fail comes first and the acknowledgment last: nothing is lost.
# KEYS: stream, done mark, result hash, result stream. ARGV: group, entry, seconds, published,
# instrument, id, verified, JSON, longest stream.
COMMIT = """
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  return 0
end
local known = redis.call('HGET', KEYS[3], 'published')
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[9], '*', 'instrument', ARGV[5], 'id', ARGV[6],
           'verified', ARGV[7], 'data', ARGV[8])
if not known or tonumber(known) <= tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[3], 'id', ARGV[6], 'published', ARGV[4], 'verified', ARGV[7],
             'data', ARGV[8])
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return 1
"""
# KEYS: stream, dead stream. ARGV: group, entry, instrument, reason, span, longest stream.
BURY = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*', 'instrument', ARGV[3],
           'reason', ARGV[4], 'span', ARGV[5], 'from', KEYS[1], 'entry', ARGV[2])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return 1
"""
# KEYS: mark of the last span taken up, inbox. ARGV: digest, instrument, span.
TAKE_UP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return 0 end
redis.call('XADD', KEYS[2], '*', 'instrument', ARGV[2], 'span', ARGV[3])
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """How a worker behaves; times in seconds.

    A pending span is taken over after `idle`; one delivered `deliveries` times is buried.
    `look` is how often `gate:last:*` is searched for new keys. Ids are remembered for
    `remember`; `longest` bounds the result and dead streams.
    """

    url: str = "redis://127.0.0.1:6379/0"
    consumer: str = "worker"
    batch: int = 16
    block: float = 1.0
    look: float = 1.0
    idle: float = 60.0
    deliveries: int = 5
    remember: int = 7 * 86400
    longest: int = 100_000
    most_backoff: float = 30.0


class GateWorker:
    """Reads, processes and commits spans until it is stopped.

    Raises UserError where the URL is malformed or the client library is absent.
    """

    def __init__(self, settings: GateSettings, spans: SpanReader) -> None:
        try:
            import redis
        except ModuleNotFoundError as error:
            raise UserError("the gate needs redis: pip install 'manifold-ocr[serve]'") from error
        self.settings, self.spans = settings, spans
        self._lib, self._errors = redis, redis.exceptions
        try:
            self._base: Any = redis.Redis.from_url(settings.url, socket_timeout=30, protocol=2)
        except ValueError as error:
            raise UserError(f"--url: {error}") from error
        self._commit, self._bury, self._take_up = map(
            self._base.register_script, (COMMIT, BURY, TAKE_UP)
        )
        self._streams: set[str] = set()
        self._looked = self._recovered = 0.0
        self._stop = threading.Event()
        self.registry = CollectorRegistry()
        self.counts = Counter(
            "manifold_ocr_gate_spans", "Spans by outcome.", ["outcome"], registry=self.registry
        )
        self.seconds = Histogram(
            "manifold_ocr_gate_span_seconds", "Seconds per span.", registry=self.registry
        )

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Work until `stop` or `until`; a lost server is waited for, ever longer.

        Raises:
            UserError: the server refuses the user, the password or what they may do, or its
                certificate cannot be verified; waiting would not help.
        """
        backoff = 0.1
        while not self._stop.is_set() and not until():
            try:
                self.step()
                backoff = 0.1
            except (self._lib.ConnectionError, self._lib.TimeoutError) as error:
                self._refuse_if_hopeless(error)
                LOG.warning("server lost: %s", type(error).__name__)
                self._streams.clear()  # a server that lost its data lost the groups too
                self._looked = 0.0
                self._stop.wait(backoff * (0.5 + random.random()))
                backoff = min(self.settings.most_backoff, 2 * backoff)
            except self._lib.ResponseError as error:
                self._refuse_if_hopeless(error)
                if "NOGROUP" not in str(error):
                    LOG.warning("server refuses: %s", error)
                    self._stop.wait(backoff * (0.5 + random.random()))
                    backoff = min(self.settings.most_backoff, 2 * backoff)
                self._streams.clear()
                self._looked = 0.0

    def _refuse_if_hopeless(self, error: Exception) -> None:
        """Raise where only another --url can help."""
        causes: list[BaseException] = [error]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
            causes.append(cause)
        known = (self._errors.AuthenticationError, self._errors.AuthorizationError)
        if any(isinstance(cause, known) for cause in causes):
            raise UserError(f"--url: the server refuses the user or password ({error})") from error
        if isinstance(error, self._errors.NoPermissionError):
            raise UserError(f"--url: the gate needs a right that this user lacks ({error})")
        untrusted = next((c for c in causes if isinstance(c, ssl.SSLCertVerificationError)), None)
        if untrusted is not None:
            raise UserError(
                f"--url: the server's certificate is not trusted ({untrusted.verify_message}); "
                "name its authority: rediss://...?ssl_ca_certs=FILE"
            ) from error

    def stop(self) -> None:
        """End after the span at hand."""
        self._stop.set()

    def step(self) -> int:
        """Take up new keys, recover what others left, process a batch; return its size."""
        now = time.monotonic()
        if now - self._looked >= self.settings.look:
            self._look()
            self._looked = now
        if now - self._recovered >= self.settings.idle / 2:
            self._recover()
            self._recovered = now
        wanted = dict.fromkeys(sorted(self._streams), ">")
        if not wanted:
            self._stop.wait(min(self.settings.block, self.settings.look))
            return 0
        found = self._base.xreadgroup(
            GROUP, self.settings.consumer, wanted,
            count=self.settings.batch, block=max(1, round(1000 * self.settings.block)),
        )  # fmt: skip
        batch = [(_text(stream), *entry) for stream, rows in found for entry in rows]
        for stream, entry, fields in batch:
            self._one(stream, _text(entry), fields)
        return len(batch)

    def _look(self) -> None:
        """Find streams, and move new last spans of strings and hashes to the inbox."""
        self._join(INBOX)
        for key in self._base.scan_iter(match=f"{LAST}*", count=500):
            name, kind = _text(key), _text(self._base.type(key))
            if kind == "stream":
                self._join(name)
            elif kind in ("string", "hash"):
                value = self._base.get(key) if kind == "string" else self._base.hgetall(key)
                if value:
                    span = _text(value) if kind == "string" else _span_of_hash(value)
                    mark = f"gate:taken:{name.removeprefix(LAST)}"
                    self._take_up(keys=[mark, INBOX], args=[span, name.removeprefix(LAST), span])

    def _join(self, stream: str) -> None:
        if stream in self._streams:
            return
        try:
            self._base.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except self._lib.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._streams.add(stream)

    def _recover(self) -> None:
        """Take over spans that were delivered and not acknowledged; bury the hopeless ones."""
        idle = round(1000 * self.settings.idle)
        for stream in sorted(self._streams):
            waiting = self._base.xpending_range(stream, GROUP, "-", "+", 1000, idle=idle)
            for row in waiting:
                entry = _text(row["message_id"])
                claimed = self._base.xclaim(stream, GROUP, self.settings.consumer, idle, [entry])
                for _, fields in claimed:
                    if row["times_delivered"] >= self.settings.deliveries:
                        times = row["times_delivered"]
                        self._dead(stream, entry, fields, f"delivered {times} times")
                    else:
                        self.counts.labels("recovered").inc()
                        self._one(stream, entry, fields)

    def _one(self, stream: str, entry: str, fields: dict[bytes, bytes]) -> None:
        """Process an entry; a failure that may pass leaves it pending."""
        begun = time.monotonic()
        instrument = _text(fields.get(b"instrument", b"")) or stream.removeprefix(LAST)
        try:
            span = self.spans.parse(_text(fields.get(b"span", b"")))
            result = {"instrument": instrument, **self.spans.process(span, self._base.get)}
            first = self._write(stream, entry, span, result)
        except PoisonError as error:
            self._dead(stream, entry, fields, str(error))
            return
        except (self._lib.ConnectionError, self._lib.TimeoutError, self._errors.NoPermissionError):
            raise  # of the server, not of the span
        except Exception as error:
            LOG.warning("span %s of %s waits: %s", entry, stream, error)
            self.counts.labels("retried").inc()
            return
        verified = "verified" if result["verified"] else "not verified"
        self.counts.labels(verified if first else "duplicate").inc()
        self.seconds.observe(time.monotonic() - begun)

    def _write(self, stream: str, entry: str, span: dict[str, Any], result: dict[str, Any]) -> bool:
        """Write a result and acknowledge its span; return False for a duplicate."""
        instrument, when = result["instrument"], int(entry.split("-", maxsplit=1)[0]) / 1000
        return bool(
            self._commit(
                keys=[stream, f"gate:done:{instrument}:{span['id']}", OCR + instrument, RESULTS],
                args=[GROUP, entry, self.settings.remember, float(span.get("published", when)),
                      instrument, span["id"], int(result["verified"]),
                      json.dumps(result, ensure_ascii=False), self.settings.longest],
            )
        )  # fmt: skip

    def _dead(self, stream: str, entry: str, fields: dict[bytes, bytes], reason: str) -> None:
        instrument = _text(fields.get(b"instrument", b"")) or stream.removeprefix(LAST)
        span = fields.get(b"span", json.dumps([[_text(k), _text(v)] for k, v in fields.items()]))
        self._bury(
            keys=[stream, DEAD],
            args=[GROUP, entry, instrument, reason, span, self.settings.longest],
        )
        self.counts.labels("dead").inc()
        LOG.warning("span %s of %s is dead: %s", entry, stream, reason)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _span_of_hash(value: dict[bytes, bytes]) -> str:
    """Return the JSON of a span that a hash holds field by field; `span` may hold it whole."""
    fields = {_text(key): _text(content) for key, content in value.items()}
    if "span" in fields:
        return fields["span"]
    span: dict[str, Any] = dict(fields)
    for name, convert in (("hazard", float), ("repetitions", int), ("published", float)):
        try:
            span[name] = convert(fields[name])
        except (KeyError, ValueError):
            continue  # the schema says what is wrong with it
    return json.dumps(span, sort_keys=True, ensure_ascii=False)
