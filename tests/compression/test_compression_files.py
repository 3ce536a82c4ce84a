import hashlib
import lzma
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.compression import archive, lossless
from manifold_ocr.compression.archive import Manifold, build, build_document, rebuild
from manifold_ocr.compression.lossless import DamagedError, Reader, pack_bits, varint
from manifold_ocr.compression.signatures import Codec
from manifold_ocr.compression.sizes import xz
from manifold_ocr.errors import UserError

CORPUS = Path(__file__).parents[1] / "fixtures" / "codec_corpus"
SMALL = Codec(window=8, stride=6, precision=2)
PAGE = (
    b"Invoice 1042\nDelivery of paper, 20 boxes at 4.50 each\nTotal due 90.00\n"
    b"Please pay within fourteen days of delivery. Thank you.\n"
)
CODES = [f"{i * i * 7919 % 1_000_003:06d}" for i in range(30)]
NUMBERS = " ".join(CODES[random.Random(i).randrange(30)] for i in range(250)).encode()
READ = sorted(path.name for path in CORPUS.glob("*.bin") if "mix" not in path.name)
texts = st.one_of(st.binary(max_size=200), st.text(max_size=80).map(lambda s: s.encode("utf-8")))
documents = st.lists(texts, max_size=4).map(
    lambda items: [(f"page {i}", item) for i, item in enumerate(items)]
)


@given(documents, st.sampled_from([None, "fast", "best"]))
@settings(max_examples=60, deadline=None)
def test_manifold_files_round_trip(pages, keep):
    manifold = build(pages, SMALL, keep=keep)
    data = archive.to_bytes(manifold)
    assert archive.from_bytes(data) == manifold
    for document, (_, text) in zip(manifold.documents, pages, strict=True):
        if keep or len(set(document.order)) == len(document.order):
            assert rebuild(document, SMALL) == text


@given(texts, st.sampled_from(["fast", "best"]))
@settings(max_examples=80, deadline=None)
def test_containers_round_trip(text, effort):
    assert lossless.decompress(lossless.compress(text, effort=effort)) == text


@given(st.text(alphabet="发票号码一二三四元角，。 ", max_size=80))
@settings(max_examples=40, deadline=None)
def test_transcoded_texts_round_trip(text):
    data = text.encode()
    assert lossless.decompress(lossless.compress(data)) == data


def test_the_coded_bytes_are_those_of_the_ppmd_library():
    import pyppmd

    coded = lossless.compress(NUMBERS)
    assert coded[2] & 15 == lossless.PPMD
    wanted = pyppmd.compress(NUMBERS, max_order=5, mem_size=1 << 24, variant="H")
    assert coded[3 + len(varint(len(NUMBERS))) : -4] == wanted


@pytest.mark.parametrize("name", ["container_mix.bin", "container_mix_gb.bin", "manifold_mix.bin"])
def test_archives_coded_by_context_mixing_are_refused_by_name(name):
    data = (CORPUS / name).read_bytes()
    read = lossless.decompress if name.startswith("container") else archive.from_bytes
    with pytest.raises(DamagedError, match=r"context mixing .method [34].*build the archive again"):
        read(data)


@pytest.mark.parametrize("name", READ)
def test_files_written_by_earlier_versions_are_read(name):
    data = (CORPUS / name).read_bytes()
    if name.startswith("container"):
        text = lossless.decompress(data)
        assert lossless.decompress(lossless.compress(text)) == text
    else:
        assert archive.to_bytes(archive.from_bytes(data)) == data


@pytest.mark.parametrize("name", READ)
def test_no_flipped_bit_is_accepted(name):
    data = (CORPUS / name).read_bytes()
    read = lossless.decompress if name.startswith("container") else archive.from_bytes
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(DamagedError):
            read(bytes(damaged))


@pytest.mark.parametrize("name", READ)
def test_no_cut_file_is_accepted(name):
    data = (CORPUS / name).read_bytes()
    read = lossless.decompress if name.startswith("container") else archive.from_bytes
    for end in range(len(data)):
        with pytest.raises(DamagedError):
            read(data[:end])
    with pytest.raises(DamagedError):
        read(data + b"\x00")


@given(st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_inner_checks_hold_where_the_checksum_was_fixed(place, value):
    data = (CORPUS / "manifold_order.bin").read_bytes()
    body = bytearray(data[: -archive.DIGEST_BYTES])
    body[place % len(body)] = value
    digest = hashlib.blake2b(body, digest_size=archive.DIGEST_BYTES).digest()
    fixed = bytes(body) + digest
    try:
        manifold = archive.from_bytes(fixed)
    except DamagedError:
        return
    assert archive.to_bytes(manifold) == fixed


def test_a_file_that_promises_too_much_is_refused_at_once():
    head = lossless.MAGIC + bytes([lossless.VERSION << 4 | lossless.PPMD]) + varint(1 << 30)
    with pytest.raises(DamagedError, match="promised"):
        lossless.decompress(head + b"x" * 40)
    for method in (lossless.ZSTD, lossless.BROTLI):  # must not be allocated before it is there
        coded = bytearray(lossless.compress(PAGE * 200, effort="fast"))
        coded[2] = lossless.VERSION << 4 | method
        with pytest.raises(DamagedError):
            lossless.decompress(bytes(coded[:3]) + varint(1 << 31) + bytes(coded[5:]))


def test_a_chinese_page_is_coded_in_two_bytes_a_character():
    text = (
        "发票号码一〇四二，合计金额三百一十八元二角，十四日内付款。请查收货物并签字确认。".encode()
    )
    coded = lossless.compress(text)
    assert coded[2] & 15 == lossless.PPMD_GB
    assert lossless.decompress(coded) == text


def test_long_texts_are_left_to_library_codecs():
    coded = lossless.compress(PAGE * 10_000)
    assert coded[2] & 15 in (lossless.ZSTD, lossless.BROTLI)


def test_a_damaged_ppmd_coding_is_an_error_and_never_a_crash():
    coded = lossless.compress(NUMBERS)
    start = 3 + len(varint(len(NUMBERS)))
    head = coded[:2] + bytes([lossless.VERSION << 4 | lossless.PPMD])
    for place in range(start, len(coded) - 4, 5):
        broken = bytearray(coded)
        broken[place] ^= 0xFF
        with pytest.raises(DamagedError):
            lossless.decompress(bytes(broken[:place]) + coded[-4:])
        for length in (1, len(NUMBERS), 9000):
            with pytest.raises(DamagedError):
                lossless.decompress(head + varint(length) + bytes(broken[start:]))


def test_pages_become_smaller_than_with_zstd():
    import zstandard

    assert len(lossless.compress(PAGE)) < len(zstandard.ZstdCompressor(level=19).compress(PAGE))


def test_a_summary_is_stored_but_cannot_be_rebuilt():
    summary = replace(build_document("p", PAGE * 40, Codec()), order=None)
    manifold = Manifold(Codec(), (summary,))
    assert archive.from_bytes(archive.to_bytes(manifold)) == manifold
    with pytest.raises(ValueError, match="cannot be rebuilt"):
        rebuild(summary, Codec())


def test_rebuilding_copies_the_first_span_of_a_shared_signature():
    config = Codec(window=1, stride=1)
    document = build_document("p", b"\x41\x82", config)  # mirrored bits: one signature
    assert len(document.entries) == 1
    assert rebuild(document, config) == b"\x41\x41"
    assert rebuild(build_document("p", b"\x41\x82", config, keep="fast"), config) == b"\x41\x82"


def test_missing_and_damaged_archives_name_the_remedy(tmp_path):
    with pytest.raises(UserError, match="compress --build"):
        archive.load(tmp_path / "manifold.bin")
    (tmp_path / "bad.bin").write_bytes(b"not an archive")
    with pytest.raises(UserError, match=r"bad\.bin: damaged"):
        archive.load(tmp_path / "bad.bin")


@given(st.integers(0, 2**63 - 1))
def test_varints_round_trip(value):
    assert Reader(varint(value), "x").varint() == value


def test_padded_varints_are_refused():
    with pytest.raises(DamagedError, match="padded"):
        Reader(b"\x81\x00", "x").varint()


@given(
    st.integers(0, 12).flatmap(
        lambda w: st.tuples(st.just(w), st.lists(st.integers(0, (1 << w) - 1), max_size=40))
    )
)
def test_packed_bits_round_trip(case):
    width, values = case
    reader = Reader(pack_bits(values, width), "x")
    assert reader.bits(len(values), width) == values
    reader.end()


@pytest.mark.parametrize("length", [0, 1, 400, 65_535, 65_536, 65_537, 300_000])
def test_xz_with_a_small_dictionary_is_as_small_as_the_preset(length):
    text = " ".join(random.Random(7).choices(CODES, k=length // 7 + 1)).encode()[:length]
    expected = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    assert len(xz(text)) == len(expected)
    assert lzma.decompress(xz(text)) == text
