"""Images as a viewer shows them; expected pixels follow from what was drawn, not from our code."""

import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, features

from manifold_ocr.errors import UserError
from manifold_ocr.images import (
    Document,
    count_pages,
    crop,
    exif_orientation,
    image_size,
    load_sample,
    open_image,
    scaled_size,
)
from manifold_ocr.pixels import turn_box
from manifold_ocr.records import Sample

# Which transposition stores a scene so that the EXIF value shows it upright (CIPA DC-008).
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _sample(**values):
    return Sample(
        id="row", document="d", corpus="c", subset="s", image="page.png", text="t", **values
    )


def _scene(box=(10, 20, 30, 25)):
    """A white 80 by 40 image with a black bar."""
    image = Image.new("RGB", (80, 40), "white")
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="black")
    return image


def _black(image):
    return image.convert("L").point(lambda value: 255 if value < 128 else 0).getbbox()


def _exif(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def test_bad_images_are_each_named(tmp_path):
    whole = tmp_path / "whole.jpg"
    Image.effect_noise((200, 200), 50).save(whole)
    contents = {
        "cut.jpg": (whole.read_bytes()[:2000], "damaged or truncated"),
        "empty.png": (b"", "0 bytes"),
        "text.png": (b"hello", "not an image"),
        "pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        "page.jpg": (b"<!DOCTYPE html><html>404</html>", "web page"),
        "drawing.png": (b"<?xml version='1.0'?><svg xmlns=''/>", "SVG"),
    }
    for name, (content, message) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            open_image(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(UserError, match="no such image"):
        open_image(tmp_path / "none.png")
    with pytest.raises(UserError, match="a folder"):
        open_image(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("value", sorted(STORED))
def test_exif_orientation_is_applied_in_every_format(tmp_path, suffix, value):
    path = tmp_path / f"photo.{suffix}"
    options = {"quality": 95} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    _scene().transpose(STORED[value]).save(path, exif=_exif(value), **options)
    image = open_image(path)
    assert image.size == image_size(path) == (80, 40)
    assert _black(image) == (10, 20, 30, 25)


@pytest.mark.parametrize("value", sorted(STORED))
def test_boxes_in_raw_pixels_are_turned_with_the_image(tmp_path, value):
    raw = _scene().transpose(STORED[value])
    raw.save(tmp_path / "photo.png", exif=_exif(value))
    assert exif_orientation(tmp_path / "photo.png") == value
    assert turn_box(_black(raw), raw.size, value) == (10, 20, 30, 25)


def test_a_damaged_exif_block_leaves_the_pixels_as_they_are(tmp_path):
    _scene().save(tmp_path / "photo.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert _black(open_image(tmp_path / "photo.png")) == (10, 20, 30, 25)


@pytest.mark.parametrize(
    ("mode", "ink", "expected"),
    [
        ("RGBA", (255, 255, 255, 255), (0, 255)),  # white letters: over black
        ("RGBA", (0, 0, 0, 255), (255, 0)),
        ("RGBA", (250, 220, 0, 255), (0, 204)),  # yellow: ITU-R 601 luma of the ink
        ("LA", (255, 255), (0, 255)),
    ],
)
def test_the_ground_of_transparent_ink_is_chosen_by_the_ink(tmp_path, mode, ink, expected):
    image = Image.new(mode, (40, 20), (*ink[:-1], 0))
    ImageDraw.Draw(image).rectangle((5, 5, 14, 9), fill=ink)
    image.save(tmp_path / "ink.png")
    gray = open_image(tmp_path / "ink.png").convert("L")
    assert gray.getpixel((30, 15)) == expected[0]
    assert abs(gray.getpixel((8, 7)) - expected[1]) <= 1


def test_opaque_pictures_and_clear_ones_lie_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    paper = Image.new("RGBA", (100, 100), (255, 255, 255, 255))
    paper.putpixel((0, 0), (255, 255, 255, 0))
    paper.save(tmp_path / "paper.png")
    assert open_image(tmp_path / "paper.png").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 4095], "uint16"),  # 12 bits of a microscope or a CT
        ([0, 65535], "uint16"),
        ([0, 255], "int32"),
        ([-1000, 3000], "int32"),
        ([20000, 21000], "uint16"),
        ([0.0, 1.0], "float32"),
        ([0.0, 255.0], "float32"),
        ([-0.5, 0.5], "float32"),
        ([0.0, float("nan"), 1.0], "float32"),
    ],
)
def test_deep_pixels_are_scaled_by_their_real_range(tmp_path, values, kind):
    row = np.array(values, dtype=kind)
    Image.fromarray(np.tile(row, (2, 1))).save(tmp_path / "deep.tif")
    found = open_image(tmp_path / "deep.tif").convert("L")
    assert found.getpixel((0, 0)) == 0 and found.getpixel((len(values) - 1, 1)) == 255


def test_big_endian_tiff_keeps_its_order(tmp_path):
    values = np.array([[0, 256, 65280, 65535]], dtype=">u2")
    path = tmp_path / "big.tif"
    path.write_bytes(_big_endian_tiff(values))
    levels = [open_image(path).getpixel((x, 0))[0] for x in range(4)]
    assert levels == [0, 1, 254, 255]


def _big_endian_tiff(values):
    """Baseline TIFF 6.0, big-endian, 16-bit gray: header, one directory, one strip."""
    height, width = values.shape
    entries = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (277, 1), (278, height)]
    start = 8 + 2 + 12 * (len(entries) + 2) + 4
    entries += [(273, start), (279, values.nbytes)]
    data = b"MM\0*" + (8).to_bytes(4, "big") + len(entries).to_bytes(2, "big")
    for tag, value in sorted(entries):
        data += tag.to_bytes(2, "big") + b"\0\4" + (1).to_bytes(4, "big") + value.to_bytes(4, "big")
    return data + b"\0\0\0\0" + values.tobytes()


@pytest.mark.parametrize(
    ("name", "feature"), [("a.jp2", "jpg_2000"), ("a.jfif", "jpg"), ("a.avif", "avif")]
)
def test_rarer_formats_are_read(tmp_path, name, feature):
    if not features.check(feature):
        pytest.skip(f"Pillow is built without {feature}")
    kind = {"a.jp2": "JPEG2000", "a.jfif": "JPEG", "a.avif": "AVIF"}[name]
    _scene().save(tmp_path / name, kind, quality=95)
    x0, y0, x1, y1 = _black(open_image(tmp_path / name))
    assert abs(x0 - 10) + abs(y0 - 20) + abs(x1 - 30) + abs(y1 - 25) <= 4


def test_heic_is_read_with_the_extra_and_named_without(tmp_path):
    (tmp_path / "cut.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(UserError, match=r"manifold-ocr\[heic\]|damaged"):
        open_image(tmp_path / "cut.heic")
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    # a HEIC file is turned by its own transformation; its EXIF tag says how it was
    _scene().save(tmp_path / "photo.heic", exif=_exif(6), quality=95)
    image = open_image(tmp_path / "photo.heic")
    assert image.size == (80, 40) and image.getpixel((20, 22))[0] < 60


def test_every_page_of_a_file_is_a_frame(tmp_path):
    sheets = [Image.new("RGB", (50 + 10 * i, 30), "white") for i in range(3)]
    sheets[0].save(tmp_path / "three.tif", save_all=True, append_images=sheets[1:])
    assert count_pages(tmp_path / "three.tif") == 3
    assert [open_image(tmp_path / "three.tif", k).width for k in range(3)] == [50, 60, 70]
    with pytest.raises(UserError, match=r"no page 4; the file has 3"):
        open_image(tmp_path / "three.tif", 3)
    colors = [Image.new("RGB", (20, 20), c) for c in ("red", "lime", "blue")]
    for name in ("three.gif", "three.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        colors[0].save(tmp_path / name, save_all=True, append_images=colors[1:], **options)
        found = [open_image(tmp_path / name, k).getpixel((9, 9)) for k in range(3)]
        assert found == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    with Document(tmp_path / "three.gif") as document:
        assert document.label(1).endswith("three.gif#page=2")


def test_thumbnails_of_a_tiff_and_previews_of_a_photo_are_no_pages(tmp_path):
    large, small = Image.new("L", (60, 40)), Image.new("L", (6, 4))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    large.save(tmp_path / "t.tif", save_all=True, append_images=[small])
    assert count_pages(tmp_path / "t.tif") == 1
    large.save(tmp_path / "p.jpg", "MPO", save_all=True, append_images=[small])
    with Image.open(tmp_path / "p.jpg") as photo:
        assert photo.n_frames == 2
    assert count_pages(tmp_path / "p.jpg") == 1


def test_a_tiff_whose_second_directory_is_damaged_keeps_its_first_page(tmp_path):
    sheets = [Image.new("RGB", (50, 30), "white") for _ in range(2)]
    path = tmp_path / "two.tif"
    sheets[0].save(path, save_all=True, append_images=sheets[1:])
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[first : first + 2], "little")
    second = int.from_bytes(data[first + 2 + 12 * entries :][:4], "little")
    assert data[second + 2 : second + 4] == b"\0\1"  # its first entry: tag 256, the width
    data[second + 2 : second + 4] = b"\0\0"
    path.write_bytes(data)
    assert count_pages(path) == 2 and open_image(path).size == (50, 30)


def test_the_pixel_limit_is_ours_and_too_large_is_not_damaged(tmp_path):
    Image.new("1", (14043, 13000)).save(tmp_path / "map.png")  # over Pillow's 178,956,970
    assert image_size(tmp_path / "map.png") == (14043, 13000)
    Image.new("1", (20001, 20000)).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match=r"20001x20000 pixels is too large"):
        open_image(tmp_path / "bomb.png")
    header = (tmp_path / "bomb.png").read_bytes()
    chunk = b"IHDR" + (60000).to_bytes(4, "big") * 2 + header[24:29]
    check = zlib.crc32(chunk).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(header[:12] + chunk + check + header[33:])
    with pytest.raises(UserError, match="too large"):
        open_image(tmp_path / "bomb.png")


def test_crop_rounds_outwards_and_refuses_an_empty_box(tmp_path):
    image = Image.new("RGB", (100, 50))
    assert crop(image, (1.5, 2.5, 10.2, 20.1)).size == (10, 19)
    assert crop(image, None).size == (100, 50)
    with pytest.raises(UserError, match="holds no pixel"):
        crop(image, (200, 10, 300, 20))
    image.save(tmp_path / "page.png")
    with pytest.raises(UserError, match=r"page\.png \(row row\)"):
        load_sample(_sample(box=(200, 10, 300, 20)), tmp_path)


def test_max_pixels_scales_before_the_crop(tmp_path):
    Image.new("RGB", (1000, 500)).save(tmp_path / "page.png")
    assert scaled_size((1000, 500), 125_000) == (500, 250)
    scaled = load_sample(_sample(box=(0, 0, 500, 250), max_pixels=125_000), tmp_path)
    assert scaled.size == (500, 250)
