"""Tracks, ranks, and the two pages."""

import json
import random

import pytest

from manifold_ocr.config import GateConfig, MonitorConfig
from manifold_ocr.errors import UserError
from manifold_ocr.metrics.paired import Key
from manifold_ocr.publish.leaderboard import html, page, plot
from manifold_ocr.publish.ranking import About, board, engine_entries, entries_of, summary

RULE = MonitorConfig()
RUN = {"base": {"overall": {"n": 20, "cer": 0.1}}, "adapter": {}, "difference": {}}


def value(errors, granularity="line", corpus="c", name="e", **more):
    lines = [f"{corpus},d{n},s,en,{granularity},1,100,{e},20,20,18" for n, e in enumerate(errors)]
    cer = sum(errors) / (100 * len(errors))
    return {
        "name": name,
        "settings": {"profile": "nfc_ws"},
        "overall": {"n": len(errors), "cer": cer},
        "documents": lines,
        **more,
    }


def entry(name, errors, kind="engine", about=None, **options):
    known = {"": about or About()}
    return entries_of(name, kind, f"{name}.json", value(errors, **options), known)


def noisy(mean, seed, n=20):
    rng = random.Random(seed)
    return [mean + rng.randrange(-2, 3) for _ in range(n)]


def test_systems_share_a_rank_unless_a_paired_test_tells_them_apart():
    a = noisy(10, 1)
    near, far = [x + (1 - n % 3) for n, x in enumerate(a)], [x + 4 + n % 2 for n, x in enumerate(a)]
    (track,) = board(entry("far", far) + entry("a", a) + entry("near", near), RULE).tracks
    assert [(r, e.name) for r, e in track.ranked] == [(1, "a"), (1, "near"), (3, "far")]
    assert {item.verdict for _, b, item in track.pairs if b.name == "a"} == {
        "worse", "no clear difference",
    }  # fmt: skip


def test_pages_are_ranked_in_pairs_too():
    a = noisy(10, 1)
    entries = entry("x", a, granularity="page")
    entries += entry("y", [v + 3 + n % 2 for n, v in enumerate(a)], granularity="page")
    (track,) = board(entries, RULE).tracks
    assert track.title == "c, whole pages" and [r for r, _ in track.ranked] == [1, 2]


def test_corpora_granularities_and_profiles_are_tracks_of_their_own():
    a = noisy(5, 3)
    entries = entry("x", a) + entry("x", a, corpus="other") + entry("x", a, granularity="page")
    entries += entry("x", a, settings={"profile": "raw"})
    tracks = board(entries, RULE).tracks
    assert len(tracks) == 4 and len({(t.title, t.profile) for t in tracks}) == 4
    assert len({t.page_set for t in tracks}) == 3  # the profile changes no page


def test_a_part_of_the_pages_is_compared_but_not_ranked_and_other_pages_are_apart():
    a = noisy(10, 1)
    other = entry("other", noisy(5, 2, 30))
    few = entry("few", [v + 5 + n % 2 for n, v in enumerate(a[:8])])
    found = board(entry("adapter", a, kind="adapter") + few + other, RULE)
    (track,) = found.tracks
    assert [e.name for e in track.partial] == ["few"]
    (pair,) = [item for x, _, item in track.pairs if x.name == "few"]
    assert (pair.documents, pair.verdict) == (8, "worse")
    assert found.apart == [("other", "read other pages of c, lines")]


def test_one_name_twice_in_a_track_is_refused():
    with pytest.raises(UserError, match=r"X\.json: the name 'X' is that of x\.json"):
        board(entry("x", [1] * 6) + entry("X", [2] * 6), RULE)


def test_retracted_results_stay_listed_and_contaminated_ones_are_marked():
    a = noisy(10, 1)
    entries = entry("gone", a, about=About(retracted="wrong labels"))
    entries += entry("seen", a, about=About(contaminated="trained on Fox")) + entry("ok", a)
    found = board(entries, RULE)
    assert "gone" not in [e.name for e in found.entries]
    assert summary(found)["retracted"] == [{"name": "gone", "reason": "wrong labels"}]
    text = page("t", found, RUN, {}, [], GateConfig())
    assert "- gone: wrong labels" in text and "seen (contaminated: trained on Fox)" in text
    assert 'title="trained on Fox">contaminated' in html("t", found, "")


def test_engine_files_of_other_rows_or_without_sums_are_apart(tmp_path):
    good = value([1] * 6, name="good", manifest_sha256="x", about={"line": {"seconds": 0.5}})
    old = value([1] * 6, name="old", manifest_sha256="x", documents=[])
    other = value([1] * 6, name="other", manifest_sha256="y")
    for body in (good, old, other):
        (tmp_path / f"{body['name']}.json").write_text(json.dumps(body))
    entries, apart = engine_entries(tmp_path, "x")
    assert [(e.name, e.about.seconds) for e in entries] == [("good", 0.5)]
    assert [name for name, _ in apart] == ["old", "other"]
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(UserError, match=r"bad\.json: needs `name` and `overall`"):
        engine_entries(tmp_path, "x")


def test_the_page_is_sortable_and_escapes_what_a_system_says():
    entries = entry("a <b>", noisy(10, 1), about=About(seconds=0.1, license="<i>x</i>"))
    entries += entry("b", noisy(5, 2), about=About(seconds=2.0, url="javascript:alert(1)"))
    site = html("t", board(entries, RULE), "gate: passed")
    assert "a &lt;b&gt;" in site and "<i>" not in site and "javascript:alert" not in site
    assert site.count("<th scope") == 14 and 'data-sort="0.1"' in site
    assert site.count("<circle") == 2 and "seconds per row (logarithmic)" in site


def test_the_front_holds_what_no_other_beats():
    abouts = {"cheap": (8, 0.1), "good": (2, 1.0), "bad": (9, 1.0)}
    entries = []
    for name, (errors, seconds) in abouts.items():
        entries += entry(name, [errors] * 6, about=About(seconds=seconds))
    drawn = plot(board(entries, RULE).tracks[0])
    assert {p["name"] for p in drawn["points"] if p["front"]} == {"cheap", "good"}
    assert plot(board(entry("a", [1] * 6) + entry("b", [1] * 6), RULE).tracks[0]) is None


def test_values_fall_back_to_the_sums_where_scores_are_of_other_rows():
    two = value([1] * 6)
    two["documents"] += value([3] * 6, corpus="z")["documents"]
    first, second = entries_of("x", "engine", "x.json", two, {})
    assert (first.corpus, first.values) == ("c", {"n": 6, "cer": 0.01})
    assert (second.corpus, second.values) == ("z", {"n": 6, "cer": 0.03})
    assert second.sums[Key("z", "d0", "s", "en", "line")][2] == 3
