import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.synthetic import fonts
from manifold_ocr.synthetic.generate import SOURCES, SUBSETS, write_page
from manifold_ocr.synthetic.grammar import (
    MODIFIERS,
    NUMERALS,
    SLOT,
    camel,
    expand,
    gerund,
    past,
    plural,
    snake,
)
from manifold_ocr.synthetic.rehearsal import CHINESE, ENGLISH, chinese_line, english_line
from manifold_ocr.synthetic.texts.base import vocabulary, wrap
from manifold_ocr.synthetic.texts.chinese import NO_LINE_START
from manifold_ocr.synthetic.texts.chinese import wrap as wrap_chinese

VOCABULARIES = {
    name: vocabulary(f"{name}.txt")
    for name in ("english_train", "english_test", "chinese_train", "chinese_test")
}


def words_of(name):
    return {word for words in VOCABULARIES[name].values() for word in words}


def labels(subset, split, pages=60):
    return {
        line.label
        for number in range(pages)
        for line in write_page(subset, split, random.Random(f"{subset}{split}{number}"), 16)
    }


def test_every_subset_has_a_source_and_a_font_partition():
    assert set(SOURCES) == set(fonts.PARTITION) == set(SUBSETS)


@pytest.mark.parametrize("subset", SUBSETS)
def test_at_least_two_faces_occur_in_test_only(subset):
    shared, test_only = fonts.PARTITION[subset]
    assert len(set(test_only)) >= 2
    assert set(shared) <= set(fonts.SHARED)
    assert set(test_only) <= set(fonts.TEST_ONLY)
    for split in ("train", "val"):
        assert not set(fonts.faces_for(subset, split)) & set(fonts.TEST_ONLY)
    assert set(test_only) <= set(fonts.faces_for(subset, "test"))


def test_no_font_file_or_family_is_on_both_sides():
    def families(faces):
        return {(face.package, Path(face.file).stem.split("-")[0]) for face in faces.values()}

    assert not families(fonts.SHARED | fonts.MANY) & families(fonts.TEST_ONLY)


def test_many_faces_are_for_training_alone():
    used = set()
    for subset in SUBSETS:
        for split in ("val", "test"):
            assert fonts.faces_for(subset, split, many=True) == fonts.faces_for(subset, split)
        few, many = (set(fonts.faces_for(subset, "train", choice)) for choice in (False, True))
        assert few <= many
        assert many - few <= set(fonts.MANY)
        used |= many - few
    assert used == set(fonts.MANY)


@pytest.mark.parametrize("subset", SUBSETS)
def test_text_sources_of_test_are_disjoint(subset):
    _, shared, test_only = SOURCES[subset]
    assert shared.name != test_only.name
    for kind in shared.templates:
        assert not set(shared.templates[kind]) & set(test_only.templates[kind])
    # No line of the test split is a line of train or val.
    assert not (labels(subset, "train") | labels(subset, "val")) & labels(subset, "test")


def test_words_of_test_are_in_no_train_list():
    assert not words_of("english_train") & words_of("english_test")
    assert not words_of("chinese_train") & words_of("chinese_test")
    for source in (ENGLISH, CHINESE):
        used = {word for words in source.words.values() for word in words}
        assert not used & (words_of("english_test") | words_of("chinese_test"))


@pytest.mark.parametrize("name", ["english_train", "english_test"])
def test_word_lists_hold_no_word_twice(name):
    assert set(VOCABULARIES[name]) == {
        "noun", "verb", "adjective", "adverb", "place", "first", "surname", "product"
    }  # fmt: skip
    for words in VOCABULARIES[name].values():
        assert len(set(words)) == len(words)


def test_every_slot_of_every_template_can_be_filled():
    sources = [source for _, *pair in SOURCES.values() for source in pair] + [ENGLISH, CHINESE]
    for source in sources:
        texts = [t for kind in source.templates.values() for t in kind]
        texts += [w for words in source.words.values() for w in words]
        for text in texts:
            for name, modifiers in SLOT.findall(text):
                assert name in source.words or name in NUMERALS, (source.name, text)
                assert set(modifiers.split("|")[1:]) <= set(MODIFIERS), (source.name, text)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("subset", SUBSETS)
def test_labels_show_only_visible_text(subset, split):
    faces = {*fonts.faces_for(subset, split)}
    faces |= {*fonts.faces_for("handwriting", split), *fonts.faces_for("receipts", split)}
    for label in labels(subset, split, pages=15):
        assert label == " ".join(label.split()), "invisible spaces"
        assert label
        assert any(fonts.covers(face, label) for face in faces), label


@pytest.mark.parametrize("name", [*fonts.SHARED, *fonts.MANY, *fonts.TEST_ONLY])
def test_faces_draw_ink_for_every_printable_character(name):
    font = fonts.load(name, 40)
    for char in map(chr, range(33, 127)):
        assert ord(char) in fonts.coverage(name)
        assert sum(font.getmask(char)) > 5 * 255, f"{name} draws next to nothing for {char!r}"


def test_vocabulary_is_large():
    for split in ("train", "test"):
        words = {
            word for subset in SUBSETS for text in labels(subset, split) for word in text.split()
        }
        assert len(words) > 8000


def test_code_labels_keep_braces_and_quotes():
    text = expand("f'{{name}:.2f}' {}", {"name": ("total",)}, random.Random(0))
    assert text == "f'{total:.2f}' {}"


def test_a_slot_that_nobody_knows_is_an_error():
    with pytest.raises(KeyError):
        expand("{nonsense}", {}, random.Random(0))
    with pytest.raises(KeyError, match="nest"):
        expand("{a}", {"a": ("{a}",)}, random.Random(0))


@given(
    st.randoms(use_true_random=False), st.sampled_from(SUBSETS), st.sampled_from(["train", "test"])
)
@settings(max_examples=60, deadline=None)
def test_pages_have_the_lines_asked_for(rng, subset, split):
    lines = write_page(subset, split, random.Random(rng.randrange(2**32)), 16)
    assert len(lines) == 16
    assert all(part.strip() == part and part for line in lines for part in line.parts)


@given(st.text(alphabet="ab ,.", max_size=80), st.integers(3, 20))
@settings(deadline=None)
def test_wrap_keeps_every_word(text, width):
    lines = wrap(text, width)
    assert " ".join(lines) == " ".join(text.split())
    assert all(len(line) <= width or " " not in line for line in lines[:-1])
    assert len(lines) < 2 or " " in lines[-1]


@given(st.text(alphabet="天地人，。？", max_size=60), st.integers(4, 12))
@settings(deadline=None)
def test_chinese_wrap_never_opens_a_line_with_closing_punctuation(text, width):
    lines = wrap_chinese(text, width)
    assert "".join(lines) == text
    assert all(line[0] not in NO_LINE_START for line in lines[1:])


@given(st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_rehearsal_lines_are_clean_text(seed):
    rng = random.Random(seed)
    for line in (english_line(rng), chinese_line(rng)):
        assert line == " ".join(line.split())
        assert not re.search(r"\{[a-z_|]+\}", line)


def test_inflection():
    assert [plural(w) for w in ("box", "city", "day", "car")] == ["boxes", "cities", "days", "cars"]
    assert [past(w) for w in ("admire", "carry", "play", "permit")] == [
        "admired",
        "carried",
        "played",
        "permitted",
    ]
    assert [gerund(w) for w in ("bake", "agree", "stop", "walk")] == [
        "baking",
        "agreeing",
        "stopping",
        "walking",
    ]
    assert snake("red Fox 2") == "red_fox_2"
    assert camel("red fox") == "redFox"
