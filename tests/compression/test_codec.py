import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_signatures import measure, signature_text

from manifold_ocr.compression.signatures import (
    Codec,
    encode,
    metrics_of_counts,
    pack_code,
    unpack_code,
    window_starts,
)

configs = st.builds(
    lambda window, share, precision: Codec(
        window=window, stride=max(1, round(window * share)), precision=precision
    ),
    st.integers(1, 80),
    st.floats(0.01, 1.0),
    st.integers(0, 6),
)


def by_definition(data, config):
    """Every window on its own, bit by bit."""
    starts = window_starts(len(data), config)
    return [pack_code(measure(data[s : s + config.window]), config) for s in starts]


@given(st.binary(max_size=400), configs)
@settings(max_examples=150, deadline=None)
def test_fast_kernel_equals_the_definition(data, config):
    assert encode(data, config).codes.tolist() == by_definition(data, config)


@given(st.binary(max_size=3000))
@settings(max_examples=25, deadline=None)
def test_fast_kernel_equals_the_definition_on_default_windows(data):
    config = Codec()
    windows = encode(data, config)
    assert windows.codes.tolist() == by_definition(data, config)
    starts = window_starts(len(data), config)
    hazards = [measure(data[s : s + 512]).hazard for s in starts]
    assert windows.hazards.tolist() == hazards


@given(st.integers(0, 3000), configs)
def test_windows_cover_the_text_and_end_with_it(length, config):
    starts = window_starts(length, config)
    assert (starts == []) == (length == 0)
    covered = set()
    for start in starts:
        covered |= set(range(start, min(length, start + config.window)))
    assert covered == set(range(length))
    assert starts == sorted(set(starts))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"hello", "c0.002_s0.462_e0.998"),
        (bytes(16), "c1.0_s1.0_e0.0"),
        (b"U" * 16, "c0.0_s0.0_e1.0"),
        (b"A", "c0.189_s0.571_e0.811"),
        ("深度学习".encode(), "c0.011_s0.421_e0.989"),
    ],
)
def test_worked_values(data, expected):
    config = Codec()
    assert signature_text(pack_code(measure(data), config), config) == expected
    assert signature_text(int(encode(data, config).codes[0]), config) == expected


def test_zeros_and_ones_share_a_signature():
    assert encode(bytes(8), Codec()).codes == encode(b"\xff" * 8, Codec()).codes


def test_empty_window_is_all_zero():
    metrics = measure(b"")
    assert (metrics.coherence, metrics.stability, metrics.entropy, metrics.hazard) == (0, 0, 0, 0)


@pytest.mark.parametrize(("precision", "size"), [(0, 5), (2, 8), (3, 9), (4, 11)])
def test_payload_size(precision, size):
    assert Codec(precision=precision).payload_bytes == size


@given(st.integers(1, 4096).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_metrics_stay_in_range_and_add_up(counts):
    bits, ones = counts
    metrics = metrics_of_counts(bits, ones, min(ones, bits - 1))
    for value in (metrics.coherence, metrics.stability, metrics.entropy, metrics.hazard):
        assert 0.0 <= value <= 1.0
    assert math.isclose(metrics.coherence + metrics.entropy, 1.0)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_packed_codes_come_apart_again(c, s, e):
    config = Codec()
    assert unpack_code((c << 10 | s) << 10 | e, config) == (c, s, e)


@pytest.mark.parametrize(
    "settings_", [{"window": 0}, {"stride": 0}, {"stride": 513}, {"precision": 7}]
)
def test_impossible_settings_are_refused(settings_):
    with pytest.raises(ValueError, match="must be"):
        Codec(**settings_)


def test_a_memoryview_is_as_good_as_bytes():
    data = np.arange(2000, dtype=np.uint8).tobytes()
    config = Codec()
    assert encode(memoryview(data), config).codes.tolist() == encode(data, config).codes.tolist()
