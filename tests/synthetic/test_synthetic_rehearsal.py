import numpy as np
import pytest
from PIL import Image

from manifold_ocr.files import sha256_file, sha256_tree
from manifold_ocr.images import load_sample
from manifold_ocr.records import read_samples
from manifold_ocr.synthetic import fonts
from manifold_ocr.synthetic.rehearsal import FACES, write_rehearsal


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("rehearsal")
    return root, write_rehearsal(root, 40, seed=3, workers=1)


def test_samples_stand_in_the_file_and_load(drawn):
    root, samples = drawn
    assert list(read_samples(root / "rows.jsonl")) == samples
    for sample in samples:
        image = load_sample(sample, root)
        assert image.size == (sample.width, sample.height)
        assert sha256_file(root / sample.image) == sample.image_sha256
        pixels = np.asarray(image)
        assert int(pixels.max()) - int(pixels.min()) > 60, sample.text


def test_languages_take_turns_and_text_is_mixed_case(drawn):
    _, samples = drawn
    assert [s.language for s in samples[:4]] == ["en", "zh", "en", "zh"]
    english = "".join(s.text for s in samples if s.language == "en")
    assert any(c.islower() for c in english)
    assert any(c.isupper() for c in english)
    hanzi = {c for s in samples if s.language == "zh" for c in s.text if "\u4e00" <= c <= "\u9fff"}
    assert len(hanzi) > 100


def test_a_larger_count_keeps_the_earlier_lines(drawn, tmp_path):
    root, samples = drawn
    assert write_rehearsal(tmp_path, 12, seed=3, workers=1) == samples[:12]
    assert write_rehearsal(tmp_path / "other", 12, seed=4, workers=1) != samples[:12]
    for sample in samples[:12]:
        assert (tmp_path / sample.image).read_bytes() == (root / sample.image).read_bytes()


def test_the_share_of_degraded_lines_is_a_knob(tmp_path):
    def black_and_white(folder):
        levels = []
        for path in sorted(folder.glob("images/*.png")):
            with Image.open(path) as image:
                levels.append(len(image.getcolors()) == 2)
        return sum(levels)

    write_rehearsal(tmp_path / "clean", 24, seed=1, degraded=0.0, workers=1)
    write_rehearsal(tmp_path / "degraded", 24, seed=1, degraded=1.0, workers=1)
    assert black_and_white(tmp_path / "clean") == 0
    assert black_and_white(tmp_path / "degraded") >= 6
    assert sha256_tree(tmp_path / "clean") != sha256_tree(tmp_path / "degraded")


def test_fonts_are_those_of_train():
    for faces in FACES.values():
        assert set(faces) <= set(fonts.SHARED)


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="languages"):
        write_rehearsal(tmp_path, 1, seed=0, languages=("xx",))
    with pytest.raises(ValueError, match="degraded"):
        write_rehearsal(tmp_path, 1, seed=0, degraded=1.5)
