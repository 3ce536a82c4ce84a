"""Search over texts: against all alignments, against published values of a language model."""

import itertools
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from ctc_frames import unsure
from tiny_models import drawn_samples

from manifold_ocr.errors import UserError
from manifold_ocr.models.ctc.decode import decode_frames
from manifold_ocr.models.ctc.decode_beam import beam_search
from manifold_ocr.models.ctc.language_model import (
    START,
    CharacterModel,
    adjusted_counts,
    language_model,
    load_language_model,
)
from manifold_ocr.models.ctc.speller import (
    Speller,
    SpellerSettings,
    keep_speller,
    load_speller,
)
from manifold_ocr.records import Sample

CHARACTERS = ["", "a", "b", "c"]


def frames(rows: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Classes and log-probabilities of each frame, best first."""
    values = np.array(rows, dtype=np.float64)
    order = np.argsort(-values, axis=1, kind="stable")
    return order, np.log(np.take_along_axis(values, order, axis=1))


def every_alignment(rows: list[list[float]]) -> dict[str, float]:
    """The probability of each text as the sum over all paths (Graves et al. 2006, equation 3)."""
    total: dict[str, float] = defaultdict(float)
    for path in itertools.product(range(len(rows[0])), repeat=len(rows)):
        joined = [k for k, _ in itertools.groupby(path)]
        text = "".join(CHARACTERS[k] for k in joined if k)
        total[text] += math.prod(row[k] for row, k in zip(rows, path, strict=True))
    return total


def random_rows(seed: int, length: int) -> list[list[float]]:
    drawn = np.random.default_rng(seed).dirichlet([0.4] * 4, size=length)
    return drawn.tolist()


# Text and log-probability by pyctcdecode 0.5 (beam 500, nothing pruned) for random_rows(seed, 12).
# It keeps texts apart that end alike, so that its sums may miss paths, and never hold too many.
PYCTCDECODE = {
    100: ("abacb", -4.5179234),
    101: ("cabcaca", -3.6371938),
    102: ("cbbcabbac", -4.4223786),
    103: ("bcbcac", -3.2157915),
    104: ("bcbacab", -4.3564295),
    105: ("cbcbab", -3.3500629),
    106: ("bababc", -4.2447240),
    107: ("cbacbc", -1.9214653),
}


@pytest.mark.parametrize(("seed", "expected"), PYCTCDECODE.items())
def test_the_best_text_is_that_of_another_decoder(seed: int, expected: tuple[str, float]) -> None:
    text, frames_log, _ = beam_search(
        *frames(random_rows(seed, 12)), CHARACTERS, 500, floor=-math.inf
    )[0]
    assert text == expected[0]
    assert expected[1] - 1e-6 <= frames_log <= expected[1] + 0.03


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_gives_every_text_its_whole_probability(seed: int) -> None:
    rows = random_rows(seed, 6)
    expected = every_alignment(rows)
    found = beam_search(*frames(rows), CHARACTERS, 10_000, floor=-math.inf)
    assert {text for text, _, _ in found} == set(expected)
    for text, log_probability, bonus in found:
        assert math.exp(log_probability) == pytest.approx(expected[text], rel=1e-9)
        assert bonus == 0.0
    assert found[0][0] == max(expected, key=expected.__getitem__)


@pytest.mark.parametrize("seed", range(6))
def test_the_language_models_share_is_added_once_per_character(seed: int) -> None:
    rows = random_rows(seed, 5)
    likes = {"a": 0.7, "b": -0.4, "c": 0.1}

    def score(text: str, character: str) -> float:
        return likes[character] + (0.5 if text.endswith("a") else 0.0)

    def share(text: str) -> float:
        return sum(score(text[:n], text[n]) for n in range(len(text)))

    expected = {text: math.log(p) + share(text) for text, p in every_alignment(rows).items()}
    found = beam_search(*frames(rows), CHARACTERS, 10_000, score, floor=-math.inf)
    for text, log_probability, bonus in found:
        assert log_probability + bonus == pytest.approx(expected[text], abs=1e-9)
    assert found[0][0] == max(expected, key=expected.__getitem__)


def test_a_narrow_beam_keeps_what_is_certain() -> None:
    """The example of Graves' thesis (2012, figure 7.5): the best path is not the best text."""
    rows = [[0.6, 0.4, 0.0001, 0.0001], [0.6, 0.4, 0.0001, 0.0001]]
    classes, logs = frames(rows)
    assert decode_frames(classes[:, 0], np.exp(logs[:, 0]), CHARACTERS).text == ""
    assert beam_search(classes, logs, CHARACTERS, 2)[0][0] == "a"  # 0.64 against 0.36


def test_kneser_ney_by_hand() -> None:
    """Bigrams of `ab` and `ac` with the discounts of Ney et al. (1994): n1 / (n1 + 2 n2).

    Bigrams: ^a 2, ab 1, ac 1, b$ 1, c$ 1, so D2 = 4 / (4 + 2) = 2/3. Unigrams count their left
    neighbors: a 1, b 1, c 1, $ 2, so D1 = 3 / (3 + 2) = 3/5.
    """
    model = CharacterModel(adjusted_counts(["ab", "ac"], 2))
    unseen = 1e-5
    unigram = {
        c: (n - 3 / 5) / 5 + (3 / 5 * 4) / 5 * unseen for c, n in {"a": 1, "b": 1, "c": 1}.items()
    }
    expected = {
        (START, "a"): (2 - 2 / 3) / 2 + (2 / 3) / 2 * unigram["a"],
        ("a", "b"): (1 - 2 / 3) / 2 + (2 / 3 * 2) / 2 * unigram["b"],
        ("b", "c"): (2 / 3) * unigram["c"],
        ("x", "c"): unigram["c"],
    }
    for (context, character), value in expected.items():
        assert math.exp(model.log_probability(context, character)) == pytest.approx(value)


def test_probabilities_after_a_context_add_up() -> None:
    texts = ["total 12.00", "total 7.50", "cash 20.00", "change 8.00"]
    model = language_model(texts, 4)
    seen = sorted({c for text in texts for c in text} | {"\x03"})
    others = 100_000 - len(seen)  # characters that no text holds share what is left
    for context in (START, "t", "tot", "9", f"{START}ca"):
        known = sum(math.exp(model.log_probability(context, c)) for c in seen)
        rest = others * math.exp(model.log_probability(context, "\u2603"))
        assert known + rest == pytest.approx(1.0)


def test_a_model_is_the_same_after_saving(tmp_path: Path) -> None:
    model = language_model(["total 12.00", "cash 20.00", "中文"], 3)
    model.save(tmp_path)
    again = load_language_model(tmp_path)
    for context, character in (("to", "t"), (START, "中"), ("zz", "q")):
        assert again.log_probability(context, character) == model.log_probability(
            context, character
        )


def speller(beam: int = 8, least: float = -3.0) -> Speller:
    texts = ["total amount", "total due", "amount due", "total"]
    return Speller(language_model(texts, 4), SpellerSettings(0.5, 0.5, beam, least))


def test_a_doubtful_character_follows_the_users_own_texts() -> None:
    classes, probabilities, characters = unsure("Total due", 2, "l")
    greedy = decode_frames(classes[:, 0], probabilities[:, 0], characters).text
    assert greedy == "Tolal due"
    assert speller()(greedy, classes, probabilities, characters) == "Total due"


def test_a_line_of_another_kind_is_left_alone() -> None:
    classes, probabilities, characters = unsure("zxqj wvk", 2, "l")
    greedy = decode_frames(classes[:, 0], probabilities[:, 0], characters).text
    own = speller()
    assert own.fit(greedy) < -3.0 < own.fit("total due")
    assert own(greedy, classes, probabilities, characters) == greedy


def test_damaged_files_are_told_in_one_line(tmp_path: Path) -> None:
    assert load_speller(tmp_path) is None
    (tmp_path / "language_model.json").write_text('{"weight": 0.1}')
    with pytest.raises(UserError, match="train again"):
        load_speller(tmp_path)


class ReadsOneLine:
    """Stands for a loaded recognizer: every image gives the same frames."""

    def __init__(self, text: str, place: int, wrong: str) -> None:
        self.classes, self.probabilities, self.characters = unsure(text, place, wrong)

    def sample_candidates(
        self, samples: list[Sample], image_root: Path
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(self.classes, self.probabilities) for _ in samples]


def test_a_language_model_is_kept_only_where_validation_gains(tmp_path: Path) -> None:
    (row,) = drawn_samples(tmp_path, ["TOTAL DUE"])  # labels in upper case serve as well
    texts = ["TOTAL AMOUNT", "TOTAL DUE", "AMOUNT DUE", "TOTAL"]
    model = ReadsOneLine("Total due", 2, "l")
    said = keep_speller(tmp_path, texts, model, [row], tmp_path, 8)
    assert "validation errors without case 1 -> 0" in said
    kept = load_speller(tmp_path)
    assert kept is not None
    line = model.classes, model.probabilities, model.characters
    assert kept("Tolal due", *line) == "Total due"
    said = keep_speller(tmp_path, ["zzz yyy", "xxx www"], model, [row], tmp_path, 8)
    assert "left out" in said
    assert load_speller(tmp_path) is None


def test_a_character_counts_no_less_than_the_floor() -> None:
    classes, probabilities, characters = unsure("total d due", 6, "q")
    frames = classes, probabilities, characters
    assert speller(least=-9.0)("total q due", *frames) == "total d due"
    settings = SpellerSettings(0.5, 0.5, 8, -9.0, floor=1.0)  # every character counts the same
    level = Speller(language_model(["total amount", "total due"], 4), settings)
    assert level("total q due", *frames) == "total q due"
