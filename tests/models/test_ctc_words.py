"""Words of languages beside a language model: their sums, and what they decide."""

from collections import defaultdict
from pathlib import Path

import pytest
import wordfreq
from ctc_frames import unsure
from hypothesis import given
from hypothesis import strategies as st

from manifold_ocr.errors import UserError
from manifold_ocr.models.ctc.language_model import language_model
from manifold_ocr.models.ctc.speller import (
    Speller,
    SpellerSettings,
    load_speller,
    own_texts,
    word_start,
)
from manifold_ocr.models.ctc.words import (
    LONG,
    ORDER,
    POWER,
    SHORT,
    UNSEEN,
    WordModel,
    word_model,
)
from manifold_ocr.stages.check_params import check_params

WORDS = {"the": 0.05, "then": 0.01, "there": 0.008, "tunnels": 1e-5, "internationally": 1e-6}


def by_definition(frequencies: dict[str, float], start: str, letter: str) -> float:
    """Return the interpolated probability, counted word by word."""
    text = f"^{start}"[-(ORDER - 1) :]
    found = UNSEEN
    for n in range(len(text) + 1):
        context = text[len(text) - n :]
        after: dict[str, float] = defaultdict(float)
        for word, frequency in frequencies.items():
            line = f"^{word}$"
            for place in range(max(1, n), len(line)):
                if line[place - n : place] == context:
                    after[line[place]] += frequency**POWER
        if not after:
            break
        share = after[letter or "$"] / sum(after.values())
        own = SHORT if n < 3 else LONG
        found = own * share + (1 - own) * found
    return found


@pytest.mark.parametrize("start", ["", "t", "th", "the", "xthe", "tunnel", "internationa", "zz"])
@pytest.mark.parametrize("letter", ["", "t", "e", "n", "l"])
def test_probabilities_are_those_of_the_definition(start: str, letter: str) -> None:
    found = WordModel(WORDS).probability(start, letter)
    assert found == pytest.approx(by_definition(WORDS, start, letter), rel=1e-9)


@given(st.dictionaries(st.text("abcd'", min_size=1, max_size=12), st.floats(1e-8, 1.0), min_size=1))
def test_probabilities_of_all_letters_sum_to_one_at_most(frequencies: dict[str, float]) -> None:
    model = WordModel(frequencies)
    letters = ["", *sorted({c for word in frequencies for c in word})]
    for start in ("", "a", "ab", "abcdabcda", "x"):
        assert sum(model.probability(start, c) for c in letters) <= 1.0 + 1e-9


def test_published_frequencies_tell_words_from_others() -> None:
    english, german = word_model(("en",)), word_model(("de",))
    assert english.probability("throug", "h") > 0.9 > 0.05 > english.probability("throug", "n")
    assert german.probability("freundschaf", "t") > 0.9
    assert english.probability("freundschaf", "t") < 0.9


@pytest.mark.parametrize(("start", "letters"), [("tunne", "l"), ("pepp", "e"), ("rece", "inpsd")])
def test_shares_are_those_that_the_published_list_gives(start: str, letters: str) -> None:
    """wordfreq's own functions say which words go on how, and how often."""
    after: dict[str, float] = defaultdict(float)
    for word in wordfreq.top_n_list("en", 100_000, ascii_only=False):
        if word.startswith(start):
            after[word[len(start) : len(start) + 1]] += wordfreq.word_frequency(word, "en") ** POWER
    found = word_model(("en",))
    for letter in letters:
        published = after[letter] / sum(after.values())
        assert found.probability(start, letter) == pytest.approx(published, abs=0.03)


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(UserError, match=r"words of 'xx' are not known; there are .*de.*en"):
        word_model(("xx",))
    with pytest.raises(UserError, match="words of 'zh' are not known"):
        word_model(("zh",))


def test_params_name_a_language_before_anything_runs(tmp_path: Path) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("words: []  ", "words: [en]"))
    with pytest.raises(UserError, match="they go with a language model"):
        check_params(path)
    asked = text.replace("language_model: none  ", "language_model: labels")
    path.write_text(asked.replace("words: []  ", "words: [klingon]"))
    with pytest.raises(UserError, match=r"decode\.words: words of 'klingon' are not known"):
        check_params(path)
    path.write_text(asked.replace("words: []  ", "words: [en]"))
    assert check_params(path)["decode"].words == ("en",)


def test_own_texts_are_read_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("Dear Sir\nyours\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    letters = str(tmp_path / "letters.txt")
    assert own_texts("labels") == []
    assert own_texts(letters) == own_texts(f"labels+{letters}") == ["Dear Sir", "yours"]
    for name, said in (("none.txt", "cannot be read"), ("latin.txt", "cannot be read"),
                       ("empty.txt", "holds no line of text")):  # fmt: skip
        with pytest.raises(UserError, match=rf"decode\.language_model: .*{name} {said}"):
            own_texts(f"labels+{tmp_path / name}")


@pytest.mark.parametrize(
    ("text", "start"),
    [("", ""), ("the tun", "tun"), ("rid 12tun", "tun"), ("it's", "it's"), ("sisterId", "id"),
     ("XML", "xml"), ("Straße", "strasse"), ("total: ", ""), ("scaleVapour[", "")],
)  # fmt: skip
def test_a_word_begins_after_marks_and_at_inner_capitals(text: str, start: str) -> None:
    assert word_start(text) == start


def test_a_word_that_no_label_holds_is_read(tmp_path: Path) -> None:
    """The frames prefer `tunneds`; labels know neither word, English knows one."""
    classes, probabilities, characters = unsure("The tunnels", 9, "d")
    labels = language_model(["amount due", "total amount", "0.00"], 6)
    frames = classes, probabilities, characters
    alone = Speller(labels, SpellerSettings(0.4, 1.0, 8, -20.0, digits_alike=True))
    settings = SpellerSettings(0.4, 1.0, 8, -20.0, -1.5, ("en",), digits_alike=True)
    both = Speller(labels, settings)
    assert alone("The tunneds", *frames) == "The tunneds"
    assert both("The tunneds", *frames) == "The tunnels"


def test_a_sharp_s_counts_as_two_as_in_the_published_words() -> None:
    settings = SpellerSettings(0.4, 1.0, 8, -20.0, -1.5, ("de",), digits_alike=True)
    own = Speller(language_model(["xxx"], 6), settings)
    assert own.log_probability("Stra", "ß") > -2.0 > own.log_probability("Stra", "k")
    assert own.log_probability("Straß", "e") > -1.0


def test_digits_are_alike_and_places_are_not() -> None:
    model = language_model(["0.00", "00.00", "total 0.00"], 6)
    own = Speller(model, SpellerSettings(0.4, 1.0, 8, -20.0, digits_alike=True))
    same = {own.log_probability("total ", digit) for digit in "0123456789"}
    assert len(same) == 1
    assert own.log_probability("7", ".") > own.log_probability("7", "t")
    old = Speller(model, SpellerSettings(0.4, 1.0, 8, -20.0))  # an adapter from before
    assert old.log_probability("total ", "0") > old.log_probability("total ", "7")


def test_an_adapter_with_unknown_words_is_told_in_one_line(tmp_path: Path) -> None:
    language_model(["total"], 3).save(tmp_path)
    (tmp_path / "language_model.json").write_text(
        '{"weight": 0.4, "gain": 1.0, "beam": 8, "fit": -4.0, "words": ["xx"]}'
    )
    with pytest.raises(UserError, match="words of 'xx' are not known"):
        load_speller(tmp_path)
