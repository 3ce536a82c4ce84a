"""A span at the gate: checked against its schema, decoded, read, verified."""

import base64
import binascii
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from manifold_ocr.compression.archive import rebuild
from manifold_ocr.compression.signatures import COUNT_BYTES, Codec, encode
from manifold_ocr.compression.verify import Verifier
from manifold_ocr.errors import UserError
from manifold_ocr.serving.documents import Bounds, Reader, open_document, pages_of
from manifold_ocr.serving.processors import extract_fields

BOUNDS = Bounds(bytes=32 << 20, pages=20, pixels=50_000_000)
Fetch = Callable[[str], bytes | None]


class PoisonError(UserError):
    """A span that no retry can process."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A decoded signature: its statistics in [0, 1] and how many windows had it."""

    coherence: float
    stability: float
    entropy: float
    hazard: float
    count: int
    code: int


def decode_signature(packed: bytes, config: Codec) -> Signature:
    """Return what `archive.payload` packed: four fields side by side, then the count.

    Raises:
        PoisonError: not the length of a signature of this configuration.
    """
    width = config.field_bits
    size = (4 * width + 7) // 8
    if len(packed) != size + COUNT_BYTES:
        raise PoisonError(
            f"a signature has {size + COUNT_BYTES} bytes with this codec, not {len(packed)}"
        )
    bits = int.from_bytes(packed[:size], "big") >> (8 * size - 4 * width)
    mask = (1 << width) - 1
    values = [bits >> width * place & mask for place in (3, 2, 1, 0)]
    scale = 10**config.precision
    coherence, stability, entropy, hazard = (value / scale for value in values)
    count = int.from_bytes(packed[size:], "little")
    return Signature(coherence, stability, entropy, hazard, count, bits >> width)


class SpanReader:
    """Turns a span into a result; `archive` None verifies nothing."""

    def __init__(self, reader: Reader, verifier: Verifier | None, config: Codec) -> None:
        """Load the schema."""
        from jsonschema import Draft202012Validator

        text = resources.files(__package__).joinpath("span.schema.json").read_text("utf-8")
        self._schema = Draft202012Validator(json.loads(text))
        self._reader, self._verifier, self._config = reader, verifier, config
        self._places: dict[int, list[int]] = {}
        for place, document in enumerate(verifier.manifold.documents if verifier else ()):
            for code in document.codes:
                self._places.setdefault(code, []).append(place)

    def parse(self, data: str) -> dict[str, Any]:
        """Return a span that the schema accepts.

        Raises:
            PoisonError: not JSON, or not a span; says why.
        """
        try:
            span = json.loads(data)
        except ValueError as error:
            raise PoisonError(f"not JSON ({error})") from error
        problems = sorted(self._schema.iter_errors(span), key=lambda problem: problem.json_path)
        if problems:
            raise PoisonError(f"{problems[0].json_path}: {problems[0].message[:300]}")
        return dict(span)

    def process(self, span: dict[str, Any], fetch: Fetch) -> dict[str, Any]:
        """Return the result: text, confidence, match, `verified`, and flags that say why not.

        A span is verified where its text is part of a page of the archive (or that page as it
        was read), the page has a window of the signature, and the signature agrees with the
        stated hazard and repetitions.

        Raises:
            PoisonError: the image or the signature can never be read.
        """
        signature = decode_signature(bytes.fromhex(span["signature"]), self._config)
        fields: dict[str, Any] | None = None
        if span["kind"] == "text":
            text, confidence = str(span["text"]), 1.0
        else:
            text, confidence, fields = self._read(span, fetch)
        flags = self._signature_flags(span, signature)
        match = self._match(text, signature, flags)
        result: dict[str, Any] = {
            "id": span["id"],
            "kind": span["kind"],
            "text": text,
            "confidence": round(confidence, 4),
            "match": match,
            "verified": not flags,
            "flags": flags,
            "hazard": signature.hazard,
            "coherence": signature.coherence,
            "stability": signature.stability,
            "entropy": signature.entropy,
            "repetitions": signature.count,
        }
        return result if fields is None else {**result, "fields": fields}

    def _signature_flags(self, span: dict[str, Any], signature: Signature) -> list[str]:
        step = 10.0**-self._config.precision
        flags = []
        if abs(span["hazard"] - signature.hazard) > step:
            flags.append(f"hazard {span['hazard']} is not the signature's {signature.hazard}")
        if span["repetitions"] != signature.count:
            flags.append(
                f"repetitions {span['repetitions']} are not the signature's {signature.count}"
            )
        return flags

    def _match(self, text: str, signature: Signature, flags: list[str]) -> str | None:
        """Return the archived page of a span; add to `flags` what speaks against it."""
        if self._verifier is None:
            flags.append("no archive to verify with")
            return None
        data, documents = text.encode("utf-8"), self._verifier.manifold.documents
        for place in self._places.get(signature.code, ()):
            if data and data in rebuild(documents[place], self._config):
                if signature.code not in encode(data, self._config).codes.tolist():
                    flags.append("no window of the text has the signature")
                return documents[place].id
        found = [c for c in self._verifier.check(data) if c.accepted]
        if not found:
            flags.append("the text is in no page of the archive")
            return None
        codes = next(d.codes for d in documents if d.id == found[0].id)
        if signature.code not in codes:
            flags.append("no window of the page has the signature")
        return found[0].id

    def _read(self, span: dict[str, Any], fetch: Fetch) -> tuple[str, float, dict[str, Any] | None]:
        image = str(span["image"])
        if image.startswith("key:"):
            content = fetch(image.removeprefix("key:"))
            if content is None:
                raise UserError(f"{image}: no such key yet")  # it may come: tried again
        else:
            try:
                content = base64.b64decode(image, validate=True)
            except (binascii.Error, ValueError) as error:
                raise PoisonError("image: neither base64 nor key:NAME") from error
        pages = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "span"
            path.write_bytes(content)
            try:
                with open_document(path, BOUNDS) as document:
                    for opened in pages_of(document, bounds=BOUNDS):
                        if opened.image is None:
                            raise PoisonError(f"page {opened.number} cannot be read")
                        pages.append((opened.number, self._reader.read(opened.image)))
            except PoisonError:
                raise
            except UserError as error:
                raise PoisonError(str(error).replace(str(path), "image")) from error
        text = "\f".join(page.text for _, page in pages)
        sure = [page.confidence for _, page in pages if page.confidence is not None]
        kind = span.get("field_kind")
        fields = extract_fields(pages, kind).as_json() if kind else None
        return text, min(sure, default=0.0), fields
