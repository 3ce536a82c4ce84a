import pytest
from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.images import crop, load_sample, open_image, scaled_size
from manifold_ocr.records import Sample


def _sample(**values):
    return Sample(
        id="row", document="d", corpus="c", subset="s", image="page.png", text="t", **values
    )


def test_bad_images_are_each_named(tmp_path):
    whole = tmp_path / "whole.jpg"
    Image.effect_noise((200, 200), 50).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:2000])
    empty = tmp_path / "empty.png"
    empty.touch()
    text = tmp_path / "text.png"
    text.write_text("hello")
    for path, message in (
        (cut, "damaged or truncated"),
        (empty, "0 bytes"),
        (text, "not an image"),
        (tmp_path / "none.png", "no such image"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            open_image(path)
        assert path.name in str(caught.value)


def test_transparency_lies_on_white_and_16_bit_is_scaled(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    Image.new("I;16", (4, 4), 65535).save(tmp_path / "deep.png")
    assert open_image(tmp_path / "deep.png").getpixel((0, 0)) == (255, 255, 255)


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
