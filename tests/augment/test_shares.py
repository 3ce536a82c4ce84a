import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.augment.shares import plan
from manifold_ocr.augment_config import AugmentConfig, LineShares
from manifold_ocr.errors import UserError, build

SIZES = {("letters", "en"): 600, ("letters", "zh"): 100, ("bills", "en"): 200, ("bills", "zh"): 100}


def shares(sizes=SIZES, **values):
    most = values.pop("max_variants", 8)
    variants = values.pop("variants", 1)
    config = AugmentConfig(balance="shares", shares=LineShares(**values), max_variants=most,
                           variants=variants)  # fmt: skip
    made = plan(sizes, config)
    return made, {(s.kind, s.name): s for s in made.shares(config)}


def test_a_subset_and_a_language_reach_their_shares():
    made, found = shares(subset={"bills": 0.5}, language={"zh": 0.5})
    assert found["subset", "bills"].reached == pytest.approx(0.5, abs=0.002)
    assert found["language", "zh"].reached == pytest.approx(0.5, abs=0.002)
    assert sum(SIZES.values()) + sum(made.wanted.values()) == pytest.approx(2000, abs=2)


def test_noisy_decides_the_total():
    made, found = shares(noisy=0.75)
    assert sum(made.wanted.values()) == 3000
    assert found["lines", "noisy"].reached == pytest.approx(0.75)
    assert made.wanted["letters", "en"] == 1800  # groups without a share grow alike


def test_a_group_with_too_many_clean_lines_makes_the_others_grow():
    _, found = shares(subset={"letters": 0.3})  # 700 clean lines: 2,333 in all
    assert found["subset", "letters"].reached == pytest.approx(0.3, abs=0.002)


def test_an_unreachable_share_comes_as_close_as_it_can():
    made, found = shares(subset={"bills": 0.9}, max_variants=2)
    assert made.wanted["bills", "en"] == 400
    assert made.wanted["letters", "en"] == 0
    assert found["subset", "bills"].reached == pytest.approx(900 / 1600)


def test_a_name_that_no_line_has_is_an_error():
    with pytest.raises(
        UserError, match=r"shares.subset: no training line has subset 'bill'.*bills"
    ):
        shares(subset={"bill": 0.3})


def test_languages_go_by_any_spelling():
    _, found = shares(language={"chinese": 0.4})
    assert found["language", "zh"].reached == pytest.approx(0.4, abs=0.002)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"balance": "shares"}, "needs shares.subset"),
        ({"shares": {"subset": {"a": 0.6, "b": 0.5}}}, "add up to more than 1"),
        ({"shares": {"language": {"klingonish": 0.5}}}, "klingonish"),
        ({"shares": {"noisy": 1.0}}, "noisy"),
        ({"shares": {"subsets": {}}}, "did you mean 'subset'"),
    ],
)
def test_bad_shares_are_one_clear_error(section, message):
    with pytest.raises(UserError, match=message):
        build(AugmentConfig, section, "params.yaml: augment")


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["en", "zh"])), st.integers(1, 500),
        min_size=1,
    ),
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.9), st.integers(1, 6),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_every_plan_keeps_within_the_bounds(sizes, subset, language, noisy, most):
    wanted = {
        "subset": {next(iter(sizes))[0]: subset},
        "language": {next(iter(sizes))[1]: language},
    }
    made, _ = shares(sizes, **wanted, noisy=noisy, max_variants=most)
    for cell, count in sizes.items():
        assert 0 <= made.wanted[cell] <= most * count
