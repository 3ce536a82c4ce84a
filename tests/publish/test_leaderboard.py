"""Tracks, ranks, and the two pages."""

import json
import random

import pytest

from manifold_ocr.config import GateConfig, MonitorConfig
from manifold_ocr.errors import UserError
from manifold_ocr.metrics.paired import Key
from manifold_ocr.publish.leaderboard import page
from manifold_ocr.publish.leaderboard_html import even_ticks, html, plot, short, ticks
from manifold_ocr.publish.ranking import (
    About,
    board,
    engine_entries,
    entries_of,
    lend_costs,
    summary,
)

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
    site = html("t", found, "", {})
    assert '<small class="flag">contaminated: trained on Fox</small>' in site
    (row,) = [part for part in site.split("<tr") if 'data-sort="gone"' in part]
    assert 'class="gone"' in row and "retracted: wrong labels" in row
    assert f">{sum(a) / len(a):.2f}<" in row


def test_engine_files_of_other_rows_or_without_sums_are_apart(tmp_path):
    good = value([1] * 6, name="good", manifest_sha256="x", about={"line": {"seconds": 0.5}})
    old = value([1] * 6, name="old", manifest_sha256="x", documents=[])
    other = value([1] * 6, name="other", manifest_sha256="y")
    for body in (good, old, other):
        (tmp_path / f"{body['name']}.json").write_text(json.dumps(body))
    entries, apart = engine_entries(tmp_path, "x")
    assert [(e.name, e.about.seconds) for e in entries] == [("good", 0.5)]
    assert [name for name, _ in apart] == ["old", "other"]
    odd = {**good, "about": {"line": {"second": 1}}}
    (tmp_path / "odd.json").write_text(json.dumps(odd))
    with pytest.raises(
        UserError, match=r"odd\.json: about\.line\.second: unknown key; did you mean 'seconds'"
    ):
        engine_entries(tmp_path, "x")
    (tmp_path / "odd.json").unlink()
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(UserError, match=r"bad\.json: needs `name` and `overall`"):
        engine_entries(tmp_path, "x")


def test_the_page_is_sortable_and_escapes_what_a_system_says():
    entries = entry("a <b>", noisy(10, 1), about=About(seconds=0.1, license="<i>x</i>"))
    entries += entry("b", noisy(5, 2), about=About(seconds=2.0, url="javascript:alert(1)"))
    site = html("t", board(entries, RULE), "gate: passed", {})
    assert "a &lt;b&gt;" in site and "<i>" not in site and "javascript:alert" not in site
    assert site.count("<th scope") == 13 and 'data-sort="0.1"' in site
    assert site.count("<circle") == 2 and "seconds per row (logarithmic)" in site


def test_the_front_holds_what_no_other_beats():
    abouts = {"cheap": (8, 0.1), "good": (2, 1.0), "bad": (9, 1.0)}
    entries = []
    for name, (errors, seconds) in abouts.items():
        entries += entry(name, [errors] * 6, about=About(seconds=seconds))
    drawn = plot(board(entries, RULE).tracks[0])
    assert {p["name"] for p in drawn["points"] if p["front"]} == {"cheap", "good"}
    assert plot(board(entry("a", [1] * 6) + entry("b", [1] * 6), RULE).tracks[0]) is None


def test_names_of_near_points_do_not_overlap_and_axes_have_round_numbers():
    entries = []
    for n in range(5):
        errors = [10 + (n == k) for k in range(10)]
        entries += entry(f"system-{n}", errors, about=About(seconds=1 + n / 1000))
    places = [p["text"][1] for p in plot(board(entries, RULE).tracks[0])["points"]]
    gaps = [b - a for a, b in zip(sorted(places), sorted(places)[1:], strict=False)]
    assert min(gaps) >= 15
    assert ticks(0.3, 30) == [0.5, 1, 2, 5, 10, 20] and ticks(1.1, 1.4) == [1.1, 1.4]
    assert ticks(0.78, 1.9) == [0.8, 0.9, 1, 1.2, 1.5] and even_ticks(5.1) == [0, 1, 2, 3, 4, 5]
    assert [short(v) for v in (5_275_238, 0.0123, 12_500, 7e9)] == [
        "5.28 M", "0.0123", "12.5 k", "7 B",
    ]  # fmt: skip


def test_equal_costs_are_no_plot_and_each_track_draws_its_own():
    same = About(parameters=10)
    entries = entry("a", noisy(9, 1), about=same) + entry("b", noisy(9, 2), about=same)
    assert plot(board(entries, RULE).tracks[0]) is None
    entries += entry("a", [3] * 6, granularity="page", about=About(seconds=1))
    entries += entry("b", [4] * 6, granularity="page", about=About(seconds=2, parameters=1))
    site = html("t", board(entries, RULE), "gate: passed", {})
    lines, pages = site.split("<h2>")[1:3]
    assert "No plot: no known cost" in lines and pages.count("<circle") == 2


def test_what_reading_took_is_lent_to_our_own_rows_of_the_same_reading(tmp_path):
    errors = noisy(10, 1)
    own = entry("adapter", errors, kind="adapter", about=About(parameters=7))
    took = {"line": {"seconds": 0.02, "memory_gib": 0.7, "hardware": "2 CPU cores"}}
    again = value(errors, name="adapter", manifest_sha256="x", about=took)
    (tmp_path / "adapter.json").write_text(json.dumps(again))
    engines, _ = engine_entries(tmp_path, "x")
    entries, apart = lend_costs(own, engines)
    assert [(e.name, e.kind) for e in entries] == [("adapter", "adapter")] and apart == []
    assert entries[0].about == About(
        parameters=7, seconds=0.02, memory_gib=0.7, hardware="2 CPU cores"
    )
    other = entry("adapter", [1] * 20, about=About(seconds=1))
    entries, apart = lend_costs(own, other)
    assert entries == own and apart[0][0] == "adapter" and "eval --engine" in apart[0][1]


def test_the_base_lends_its_costs_to_the_texts_with_gaps_of_the_same_run():
    plain, gap = noisy(10, 1), noisy(9, 2)
    own = entry("base", plain, kind="base") + entry("base+gap", gap, kind="base+gap")
    took = About(seconds=0.02, license="Apache-2.0")
    entries, _ = lend_costs(own, entry("base", plain, about=took))
    assert [e.about for e in entries] == [took, took]
    assert entries[1].sums == own[1].sums
    found = board(entries, RULE)
    told = "decoded in the run that reads"
    evaluation = {name: {"overall": {}} for name in ("base", "adapter", "difference")}
    assert told in page("t", found, evaluation, {}, [], GateConfig())
    assert told in html("t", found, "", {})
    entries, _ = lend_costs(own, entry("base+gap", gap, about=took))
    assert [e.about.seconds for e in entries] == [None, 0.02]
    assert told not in html("t", board(entries, RULE), "", {})


def test_values_fall_back_to_the_sums_where_scores_are_of_other_rows():
    two = value([1] * 6)
    two["documents"] += value([3] * 6, corpus="z")["documents"]
    first, second = entries_of("x", "engine", "x.json", two, {})
    assert (first.corpus, first.values) == ("c", {"n": 6, "cer": 0.01})
    assert (second.corpus, second.values) == ("z", {"n": 6, "cer": 0.03})
    assert second.sums[Key("z", "d0", "s", "en", "line")][2] == 3
