import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_ocr.compression import archive, lossless, mixing
from manifold_ocr.compression.lossless import DamagedError, Reader, pack_bits, varint
from manifold_ocr.compression.manifold import (
    Manifold,
    build,
    build_document,
    rebuild,
    summarise_stream,
)
from manifold_ocr.config import CodecConfig
from manifold_ocr.errors import UserError

CORPUS = Path(__file__).parents[1] / "fixtures" / "codec_corpus"
SMALL = CodecConfig(window=8, stride=6, precision=2)
PAGE = (
    b"Invoice 1042\nDelivery of paper, 20 boxes at 4.50 each\nTotal due 90.00\n"
    b"Please pay within fourteen days of delivery. Thank you.\n"
)
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


@given(st.binary(max_size=300), st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_context_mixing_round_trips_whatever_it_has_read_before(text, primer):
    model = mixing.Model()
    model.learn(primer)
    same = model.copy()
    assert mixing.decode(mixing.encode(text, model), len(text), same) == text


def test_mixing_tables_do_not_depend_on_the_machine():
    tables = repr((mixing.SQUASH, mixing.STRETCH, mixing.NEXT, mixing.FIRST))
    digest = hashlib.sha256(tables.encode()).hexdigest()
    assert digest == "96cb7f4a232a776e32072a63d6ab9f31a13091db8a25c2af6961c9a5e195feb0"


def test_the_coded_bytes_never_change():
    coded = lossless.compress(PAGE)
    assert coded.hex() == (
        "4d4c137eb679bf17e29e1521e2b3ce9908d3df3e69bcfb3f6ac30e533692ec596f0547ac0d84b173"
        "77aa5a5749856ca0e85b4722280bb5cf25e059fe42420d4afda751a62e29f8c36ab86fb18a9af632"
        "839e29f7026f09ca148a3fcbb983e80895"
    )


@pytest.mark.parametrize("name", sorted(path.name for path in CORPUS.glob("*.bin")))
def test_files_written_by_earlier_versions_are_read(name):
    data = (CORPUS / name).read_bytes()
    if name.startswith("container"):
        text = lossless.decompress(data)
        assert lossless.decompress(lossless.compress(text)) == text
    else:
        assert archive.to_bytes(archive.from_bytes(data)) == data


@pytest.mark.parametrize("name", sorted(path.name for path in CORPUS.glob("*.bin")))
def test_no_flipped_bit_is_accepted(name):
    data = (CORPUS / name).read_bytes()
    read = lossless.decompress if name.startswith("container") else archive.from_bytes
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(DamagedError):
            read(bytes(damaged))


@pytest.mark.parametrize("name", sorted(path.name for path in CORPUS.glob("*.bin")))
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
def test_inner_checks_hold_where_the_checksum_was_mended(place, value):
    data = (CORPUS / "manifold_order.bin").read_bytes()
    body = bytearray(data[: -archive.DIGEST_BYTES])
    body[place % len(body)] = value
    digest = hashlib.blake2b(body, digest_size=archive.DIGEST_BYTES).digest()
    mended = bytes(body) + digest
    try:
        manifold = archive.from_bytes(mended)
    except DamagedError:
        return
    assert archive.to_bytes(manifold) == mended


def test_a_file_that_promises_too_much_is_refused_at_once():
    head = lossless.MAGIC + bytes([lossless.VERSION << 4 | lossless.MIX]) + varint(1 << 30)
    with pytest.raises(DamagedError, match="promised"):
        lossless.decompress(head + b"x" * 40)
    for method in (lossless.ZSTD, lossless.BROTLI):  # must not be allocated before it is there
        coded = bytearray(lossless.compress(PAGE * 200, effort="fast"))
        coded[2] = lossless.VERSION << 4 | method
        with pytest.raises(DamagedError):
            lossless.decompress(bytes(coded[:3]) + varint(1 << 31) + bytes(coded[5:]))


def test_a_primer_is_needed_to_decode_what_it_coded():
    primer = lossless.Primer.of(PAGE)
    text = PAGE.replace(b"1042", b"1043")
    coded = lossless.compress(text, primer=primer)
    assert len(coded) < len(lossless.compress(text)) / 2
    assert lossless.decompress(coded, primer=primer) == text
    with pytest.raises(DamagedError, match="primer"):
        lossless.decompress(coded)
    with pytest.raises(DamagedError, match="primer"):
        lossless.decompress(coded, primer=lossless.Primer.of(b"another text"))


def test_a_chinese_page_is_coded_in_two_bytes_a_character():
    text = "发票号码一〇四二，合计金额三百一十八元二角，十四日内付款。".encode() * 3
    coded = lossless.compress(text)
    assert coded[2] & 15 == lossless.MIX_GB
    assert lossless.decompress(coded) == text


def test_long_texts_are_left_to_library_codecs():
    coded = lossless.compress(PAGE * 3000)
    assert coded[2] & 15 in (lossless.ZSTD, lossless.BROTLI)


def test_pages_become_smaller_than_with_zstd():
    import zstandard

    assert len(lossless.compress(PAGE)) < len(zstandard.ZstdCompressor(level=19).compress(PAGE))


def test_a_stream_is_summarised_like_the_whole_text():
    data = PAGE * 40
    whole = build_document("p", data, CodecConfig())
    summary = summarise_stream("p", io.BytesIO(data), CodecConfig())
    assert summary == replace(whole, order=None)
    manifold = Manifold(CodecConfig(), (summary,))
    assert archive.from_bytes(archive.to_bytes(manifold)) == manifold
    with pytest.raises(ValueError, match="cannot be rebuilt"):
        rebuild(summary, CodecConfig())


def test_rebuilding_copies_the_first_span_of_a_shared_signature():
    config = CodecConfig(window=1, stride=1)
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
