"""Edit metrics and normalization: definitions, edge cases, invariances."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.metrics import edit, normalize

TEXT = st.text(st.characters(codec="utf-8"), max_size=25)
LETTERS = st.text("abcé ", max_size=15)
PROFILES = ("raw", "nfc", "nfc_ws", "grapheme", "jiwer", "odb", "nfc_ws+casefold+width")


def plain_distance(a, b):
    """The textbook recurrence, to check the library against."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        above, row = row, [i]
        for j, right in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (left != right)))
    return row[-1]


def plain_lcs(a, b):
    row = [0] * (len(b) + 1)
    for left in a:
        above, row = row, [0]
        for j, right in enumerate(b, 1):
            row.append(above[j - 1] + 1 if left == right else max(above[j], row[-1]))
    return row[-1]


@given(LETTERS, LETTERS)
def test_distance_and_lcs_are_the_textbook_ones(a, b):
    assert edit.distance(a, b) == plain_distance(a, b)
    assert edit.lcs_length(a, b) == plain_lcs(a, b)


@given(TEXT, TEXT, TEXT)
def test_distance_is_a_metric(a, b, c):
    ab = edit.distance(a, b)
    assert ab == edit.distance(b, a)
    assert (ab == 0) == (a == b)
    assert edit.distance(a, c) <= ab + edit.distance(b, c)
    assert abs(len(a) - len(b)) <= ab <= max(len(a), len(b))


@given(TEXT, TEXT)
def test_counts_add_up(reference, prediction):
    counts = edit.edit_counts(reference, prediction)
    assert counts.reference_length == len(reference)
    assert counts.prediction_length == len(prediction)
    assert counts.distance == edit.distance(reference, prediction)
    assert counts.insertions - counts.deletions == len(prediction) - len(reference)
    assert min(counts.hits, counts.substitutions, counts.deletions, counts.insertions) >= 0


@given(TEXT, TEXT)
def test_rates_are_bounded_and_ordered(reference, prediction):
    ned = edit.ned(reference, prediction)
    assert 0 <= ned <= 1
    cer = edit.cer(reference, prediction)
    if cer is not None:
        assert cer >= ned - 1e-12
    common = edit.lcs_length(reference, prediction)
    for value in edit.precision_recall_f1(common, len(reference), len(prediction)):
        assert 0 <= value <= 1
    assert edit.indel_similarity(reference, prediction) == pytest.approx(
        edit.precision_recall_f1(common, len(reference), len(prediction))[2]
    )


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_bag_overlap_ignores_order_and_bounds_the_lcs(a, b):
    bag = edit.bag_overlap(a, b)
    assert bag == edit.bag_overlap(list(reversed(a)), b)
    assert edit.lcs_length(a, b) <= bag <= min(len(a), len(b))


def test_edge_cases_of_the_rates():
    assert edit.cer("", "") == 0
    assert edit.cer("", "abc") is None
    assert edit.ned("", "abc") == 1
    assert edit.ned("", "") == 0
    assert edit.cer("abc", "") == 1
    assert edit.cer("a", "bcdef") == 5
    assert edit.precision_recall_f1(0, 0, 0) == (1, 1, 1)
    assert edit.precision_recall_f1(0, 0, 3) == (0, 0, 0)
    assert edit.wer("one two three", "one three") == pytest.approx(1 / 3)
    assert edit.micro_error_rate([("abcd", "abcx"), ("", "yy")]) == pytest.approx(3 / 4)
    assert edit.micro_error_rate([("", "yy")]) is None


def test_anls_follows_its_definition():
    assert edit.anls("Main  Street", ["main street", "x"]) == 1
    assert edit.anls("man street", ["main street"]) == pytest.approx(1 - 1 / 11)
    assert edit.anls("zzzz", ["main street"]) == 0
    assert edit.anls("ab", ["abcd"]) == 0  # a distance of exactly the threshold is no answer
    with pytest.raises(ValueError, match="at least one"):
        edit.anls("x", [])


@settings(max_examples=60)
@given(TEXT, st.sampled_from(["raw", "nfc", "nfc_ws", "jiwer", "grapheme", "nfc_ws+width"]))
def test_normalizing_twice_changes_nothing(text, profile):
    once = normalize.normalize(text, profile)
    assert normalize.normalize(once, profile) == once


@given(TEXT)
def test_composed_and_decomposed_text_are_equal_under_nfc(text):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    for profile in ("nfc", "nfc_ws", "grapheme"):
        assert normalize.normalize(composed, profile) == normalize.normalize(decomposed, profile)


@given(TEXT)
def test_graphemes_lose_nothing(text):
    assert "".join(normalize.graphemes(text)) == text


def test_profiles_do_what_their_description_says():
    assert normalize.normalize("  a\t\n b ") == "a b"
    assert normalize.normalize("Ａ１ｶﾞ", "nfc_ws+width") == "A1ガ"
    assert normalize.normalize("ﬁ Ａ", "nfc_ws+width") == "ﬁ A"  # a ligature is no width form
    assert normalize.normalize("STRASSE", "nfc_ws+casefold") == normalize.normalize(
        "Straße", "nfc_ws+casefold"
    )
    assert normalize.units("e\u0301", "grapheme") == ["é"]
    assert normalize.normalize("a b_c, 深！", "odb") == "ab_c深"
    for profile in PROFILES:
        assert normalize.describe(profile).name == profile
    described = normalize.describe("nfc_ws+casefold")
    assert (described.unicode, described.case, described.width) == ("NFC", "folded", "kept")


def test_the_table_of_widths_is_unicodes():
    tagged = {
        chr(code)
        for code in range(0x110000)
        if unicodedata.decomposition(chr(code)).startswith(("<wide>", "<narrow>"))
    }
    assert all(normalize.fold_width(form) != form for form in tagged)
    assert normalize.fold_width("ﬀ²①㌀") == "ﬀ²①㌀"


@pytest.mark.parametrize("profile", ["nfkc", "nfc_ws+upper", ""])
def test_an_unknown_profile_is_refused_by_name(profile):
    with pytest.raises(ValueError, match="no normalization profile"):
        normalize.normalize("x", profile)


def test_omnidocbench_text_reads_inline_formulas():
    assert normalize.omnidocbench_text("is $E = mc^2$ here") == "isEmc2here"
    assert normalize.omnidocbench_text("costs $5 and $6") == "costs5and6"
    assert normalize.omnidocbench_text("and/not \\tend") == "andotend"


@pytest.mark.parametrize(
    ("codes", "clusters"),
    [  # lines of Unicode's GraphemeBreakTest.txt for rule GB9c, since version 15.1
        ("0915 0924", 2),
        ("0915 094D 0924", 1),
        ("0915 094D 094D 0924", 1),
        ("0915 094D 200D 0924", 1),
        ("0915 093C 200D 094D 0924", 1),
        ("0915 094D 0924 094D 092F", 1),
        ("0061 094D 0924", 2),
        ("003F 094D 0924", 2),
    ],
)
def test_grapheme_clusters_follow_the_present_rule_for_conjuncts(codes, clusters):
    text = "".join(chr(int(code, 16)) for code in codes.split())
    assert len(normalize.graphemes(text)) == clusters
