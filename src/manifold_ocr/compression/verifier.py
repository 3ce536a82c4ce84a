"""Match a text against an archive: signatures find candidates, the stored text decides.

Signatures alone cannot decide (see the measured curves in the report): a few wrong
characters change them, and unrelated pages share them. So they screen: documents of which
at least `match_share` of the compared windows match are candidates, those `candidates` of
them that are nearest in length are rebuilt from the archive, and one is accepted when its
text differs from the query by at most `max_ned`. (A page of one or two windows shares its
signatures with so many others that the share does not rank them; length does.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from manifold_ocr.codec import encode
from manifold_ocr.compression.index import Scores, SignatureIndex
from manifold_ocr.compression.manifold import Manifold, rebuild


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierSettings:
    """How a match is decided; `max_ned` None decides by signatures alone."""

    percentile: float = 100.0
    tolerance: int = 8
    match_share: float = 0.3
    max_ned: float | None = 0.2
    candidates: int = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """An archived document that a query may be: its score and the distance of the texts."""

    id: str
    compared: int
    matched: int
    ned: float | None
    accepted: bool

    @property
    def share(self) -> float:
        """Share of compared windows that matched."""
        return self.matched / self.compared if self.compared else 0.0


class Verifier:
    """An archive ready to be asked. Building it indexes every document once."""

    def __init__(self, manifold: Manifold, settings: VerifierSettings) -> None:
        self.manifold, self.settings = manifold, settings
        self.index = SignatureIndex(
            manifold.documents,
            manifold.config,
            percentile=settings.percentile,
            tolerance=settings.tolerance,
        )
        self._lengths = np.array([d.length for d in manifold.documents], np.int64)
        self._texts: dict[int, str] = {}

    def scores(self, data: bytes) -> Scores:
        """Return matched and compared windows of a query against every document."""
        return self.index.scores(encode(data, self.manifold.config))

    def accepted(self, data: bytes, scores: Scores) -> NDArray[np.bool_]:
        """Return which documents the query is called the same as."""
        places = self._screened(scores, len(data))
        result = np.zeros(len(self.index.ids), np.bool_)
        if self.settings.max_ned is None:
            result[places] = True
            return result
        text = data.decode("utf-8", "replace")
        for place in places[: self.settings.candidates].tolist():
            result[place] = self._ned(text, place) <= self.settings.max_ned
        return result

    def check(self, data: bytes) -> list[Candidate]:
        """Return the candidates of a query, best first; empty if no document is alike."""
        scores, text = self.scores(data), data.decode("utf-8", "replace")
        found = []
        for place in self._screened(scores, len(data))[: self.settings.candidates].tolist():
            decodable = self.manifold.documents[place].order is not None
            ned = self._ned(text, place) if decodable else None
            limit = self.settings.max_ned
            accepted = limit is None or (ned is not None and ned <= limit)
            compared, matched = int(scores.compared[place]), int(scores.matched[place])
            found.append(Candidate(self.index.ids[place], compared, matched, ned, accepted))
        return sorted(found, key=lambda c: (not c.accepted, c.ned or 0.0, -c.share, c.id))

    def _screened(self, scores: Scores, length: int) -> NDArray[np.int64]:
        """Return the documents that pass the screen, nearest in length first, then by share."""
        shares = scores.shares
        passed = np.flatnonzero((shares >= self.settings.match_share) & (scores.compared > 0))
        return passed[np.lexsort((-shares[passed], np.abs(self._lengths[passed] - length)))]

    def _ned(self, text: str, place: int) -> float:
        """Return the normalised edit distance to an archived text, 1.0 beyond the limit."""
        if place not in self._texts:
            document = self.manifold.documents[place]
            self._texts[place] = rebuild(document, self.manifold.config).decode("utf-8", "replace")
        return Levenshtein.normalized_distance(
            text, self._texts[place], score_cutoff=self.settings.max_ned
        )
