"""Spaces at wide gaps of CTC frames, against the rule written out plainly."""

import statistics
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.models.ctc.decode import decode_frames, label_text

CHARACTERS = ["", "a", "b", "1", "汉", "，", " "]


def read(frames, **more):
    best = np.array(frames, dtype=np.int64)
    return decode_frames(best, np.full(len(best), 0.5), CHARACTERS, **more)


def spread(text, gaps):
    """Frames of `text`, one for each character and so many blanks after each."""
    frames = []
    for character, gap in zip(text, gaps, strict=True):
        frames += [CHARACTERS.index(character)] + [0] * gap
    return frames


def plainly(frames):
    """A space where the winning frames of two characters are >= max(6, 1.8 x pitch) apart."""
    runs, previous = [], None
    for number, found in enumerate(frames):
        if found == previous and found:
            runs[-1][2] = number
        elif found:
            runs.append([CHARACTERS[found], number, number])
        previous = found
    pitch = statistics.median(b[1] - a[1] for a, b in pairwise(runs)) if len(runs) > 2 else 999
    text = ""
    for number, (character, start, _) in enumerate(runs):
        pair = (runs[number - 1][0], character) if number else (" ",)
        narrow = all(c != " " and unicodedata.east_asian_width(c) not in "WF" for c in pair)
        if narrow and start - runs[number - 1][2] >= max(6, 1.8 * pitch):
            text += " "
        text += character
    return text


def test_a_wide_gap_becomes_a_space_only_when_asked():
    frames = spread("abab", [2, 9, 2, 0])
    assert read(frames).text == "abab"
    assert read(frames, gap_spaces=True).text == "ab ab"
    assert read(frames, gap_spaces=True).confidence == read(frames).confidence == 0.5


@pytest.mark.parametrize(
    ("text", "gaps", "expected"),
    [
        ("abab", [9, 2, 2, 0], "a bab"),
        ("ab", [30, 0], "ab"),  # two characters give no pitch
        ("abab", [6, 6, 6, 0], "abab"),  # wide letters, evenly set
        ("abab", [4, 4, 4, 0], "abab"),
        ("aab", [1, 12, 1], "aab"),  # the pitch is the median of 2 and 13
        ("a汉b汉", [9, 9, 9, 0], "a汉b汉"),
        ("ab，ab", [1, 9, 1, 1, 0], "ab，ab"),
        ("ab ab", [1, 9, 9, 1, 0], "ab ab"),  # the model wrote it
    ],
)
def test_where_no_space_is_put(text, gaps, expected):
    assert read(spread(text, gaps), gap_spaces=True).text == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 12)), max_size=12))
def test_the_rule_written_out(parts):
    frames = [label for label, count in parts for _ in range(count)]
    assert read(frames, gap_spaces=True).text == plainly(frames)
    assert read(frames).text == read([*frames, 0, 0]).text


# logical order, order of print: UAX 9, resolved by hand for a right-to-left paragraph
RIGHT_TO_LEFT = [
    ("\u05e9\u05dc\u05d5\u05dd", "\u05dd\u05d5\u05dc\u05e9"),
    ("(\u05e9\u05dc) 12.50", "12.50 (\u05dc\u05e9)"),  # N0 and L4: brackets turn with their text
    ("\u05d0\u05d5 abc \u05d1\u05d5", "\u05d5\u05d1 abc \u05d5\u05d0"),
    ("\u0633\u0639\u0631 \u0661\u0662", "\u0661\u0662 \u0631\u0639\u0633"),  # Arabic digits: L2
]


@pytest.mark.parametrize(("logical", "printed"), RIGHT_TO_LEFT)
def test_a_line_from_right_to_left_is_learned_as_printed_and_read_back(logical, printed):
    assert label_text(logical) == printed
    characters = ["blank", *sorted(set(printed))]
    frames = [index for c in printed for index in (0, characters.index(c))]
    found = decode_frames(np.array(frames), np.full(len(frames), 0.5), characters)
    assert found.text == logical


def test_a_line_with_fewer_letters_from_right_to_left_than_others_stays():
    assert label_text("the word \u05e9\u05dc\u05d5\u05dd") == "the word \u05e9\u05dc\u05d5\u05dd"
