"""API keys: kept as hashes, compared in constant time, each with its own rate."""

import hashlib
import hmac
import re
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Key:
    """Who asks, and how many requests per minute they may make."""

    name: str
    per_minute: int


ANYONE = Key("anyone", 0)  # where no keys file is used; 0 is no limit


def add_key(path: Path, name: str, per_minute: int = 120) -> str:
    """Add a key to a file and return it; only its hash is kept.

    A key is 256 random bits, so a plain SHA-256 cannot be guessed back.

    Raises:
        UserError: the name is taken or malformed, or the file is not a keys file.
    """
    known = read_json(path) if path.exists() else {}
    if not NAME.fullmatch(name):
        raise UserError(f"key name {name!r}: use letters, digits, '.', '_' and '-'")
    if name in known:
        raise UserError(f"{path}: has a key named {name!r}; remove that entry to replace it")
    key = secrets.token_urlsafe(32)
    known[name] = {"sha256": _hash(key), "per_minute": per_minute}
    write_json(path, known)
    path.chmod(0o600)
    return key


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


class Keyring:
    """The keys of a file, and how often each has asked."""

    def __init__(self, path: Path | None) -> None:
        """Load the file; None lets anyone in.

        Raises:
            UserError: the file is missing or malformed.
        """
        self._keys: list[tuple[str, Key]] = []
        self._open = path is None
        if path is not None:
            entries = read_json(path)
            try:
                self._keys = [
                    (str(entry["sha256"]), Key(name, int(entry.get("per_minute", 120))))
                    for name, entry in entries.items()
                ]
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise UserError(f"{path}: not a keys file; make one with --add-key") from error
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[float, float]] = {}

    def find(self, presented: str) -> Key | None:
        """Return whose key this is; every stored hash is compared whatever the outcome."""
        if self._open:
            return ANYONE
        digest, found = _hash(presented), None
        for stored, key in self._keys:
            if hmac.compare_digest(stored, digest):
                found = key
        return found

    def wait_seconds(self, key: Key) -> float:
        """Count a request; return 0, or the seconds until this key may ask again."""
        if not key.per_minute:
            return 0.0
        rate, now = key.per_minute / 60, time.monotonic()
        with self._lock:
            tokens, then = self._tokens.get(key.name, (float(key.per_minute), now))
            tokens = min(float(key.per_minute), tokens + (now - then) * rate)
            allowed = tokens >= 1
            self._tokens[key.name] = (tokens - 1 if allowed else tokens, now)
        return 0.0 if allowed else (1 - tokens) / rate
