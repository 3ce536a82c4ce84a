import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from manifold_ocr.augment.effects import SINE
from manifold_ocr.augment.geometry import MESHES
from manifold_ocr.augment.ops import (
    bell_noise,
    blend,
    generator,
    paper_level,
    smooth_field,
    to_array,
)
from manifold_ocr.augment.recipe import OPERATIONS, augment_image, augment_line, draw_steps
from manifold_ocr.augment_config import AugmentConfig, Recipe, Step
from manifold_ocr.errors import UserError, build
from manifold_ocr.settings import load_section

PROJECT = Path(__file__).parents[2]
STEPS = [field.name for field in fields(Recipe) if field.name != "max_steps"]
NOTHING = Recipe(**{name: Step() for name in STEPS})


def line(width=240, height=32):
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((6, 8), "The quick brown fox 0123456789", fill=(20, 20, 20))
    return image


def only(name, strength):
    return replace(NOTHING, **{name: Step(p=1.0, low=strength, high=strength)})


def test_every_step_of_the_recipe_has_an_operation():
    assert list(OPERATIONS) == STEPS


@pytest.mark.parametrize("name", STEPS)
def test_each_step_changes_the_image_and_keeps_it_readable(name):
    strength = getattr(Recipe(), name).high
    image, taken = augment_line(line(), only(name, strength), generator(7, name))
    assert [(step.name, step.strength) for step in taken] == [(name, strength)]
    assert image.mode == "L"
    values, clean = to_array(image), to_array(line())
    if image.size == line().size:
        assert not np.array_equal(values, clean)
    else:
        assert name in MESHES
        assert image.height > line().height
    assert int(values.max()) - int(values.min()) > 80, "the print must stay visible"


def test_slant_keeps_all_ink_on_the_sheet():
    tight = Image.new("L", (200, 10), 255)
    tight.paste(0, (1, 1, 199, 9))
    image, _ = augment_line(tight, only("slant", 60), generator(1))
    ink, kept = 255 - to_array(tight).astype(int), 255 - to_array(image).astype(int)
    assert kept.sum() == pytest.approx(ink.sum(), rel=0.03)
    assert image.height >= 10 + 200 * 60 // 1000


def test_equal_seeds_give_equal_pixels_and_others_differ():
    recipe = Recipe()
    first, again, other = (augment_image(line(), recipe, seed) for seed in (5, 5, 6))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@given(st.integers(0, 2**64), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_a_variant_takes_one_to_max_steps_in_order_within_range(seed, most):
    recipe = replace(Recipe(), max_steps=most)
    taken = draw_steps(recipe, generator(seed))
    assert 1 <= len(taken) <= most
    names = [step.name for step in taken]
    assert names == sorted(names, key=STEPS.index)
    for step in taken:
        setting = getattr(recipe, step.name)
        assert setting.low <= step.strength <= setting.high


def test_probabilities_are_respected():
    recipe = replace(NOTHING, blur=Step(p=0.3, low=5, high=5), jpeg=Step(p=1.0, low=30, high=30))
    taken = [{s.name for s in draw_steps(recipe, generator(n))} for n in range(2000)]
    assert all("jpeg" in names for names in taken)
    assert sum("blur" in names for names in taken) / 2000 == pytest.approx(0.3, abs=0.04)
    assert not draw_steps(NOTHING, generator(1))


@given(st.integers(1, 40), st.integers(1, 90), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_images_of_any_size_survive_the_whole_recipe(height, width, seed):
    recipe = replace(Recipe(), max_steps=len(STEPS))
    everything = replace(recipe, **{name: replace(getattr(recipe, name), p=1.0) for name in STEPS})
    image = Image.new("L", (width, height), 200)
    result, taken = augment_line(image, everything, generator(seed))
    assert len(taken) == len(STEPS)
    assert 0 <= result.width - width <= 30  # room that bending a tiny line takes
    assert 0 <= result.height - height <= 40


def test_steps_that_are_off_change_no_byte_of_the_default_recipe():
    on = [name for name in STEPS if getattr(Recipe(), name).p]
    assert len(on) == 18
    off = {name: Step(p=0.0, low=1, high=9) for name in STEPS if name not in on}
    for seed in range(20):
        plain = augment_image(line(), Recipe(), seed)
        assert augment_image(line(), replace(Recipe(), **off), seed).tobytes() == plain.tobytes()


@pytest.mark.parametrize("name", ["low_ink", "thermal"])
def test_ink_pales_by_no_more_than_the_strength(name):
    sheet = np.full((60, 200), 230, np.uint8)
    sheet[20:40, 20:180] = 10
    for seed in range(10):
        image = OPERATIONS[name](generator(seed), Image.fromarray(sheet), 128)
        ink = to_array(image)[20:40, 20:180].astype(int)
        lost = (ink - 10) / 220
        assert np.median(lost) <= 0.51
        assert lost.max() <= 0.91  # a dead point of the print head
        assert np.median(to_array(image)[:15]) >= 230 - 16


def test_dots_stand_where_ink_was_and_nowhere_else():
    sheet = np.full((48, 240), 255, np.uint8)
    sheet[12:36, 24:216] = 0
    image = to_array(OPERATIONS["dot_matrix"](generator(1), Image.fromarray(sheet), 3))
    assert image[:12].min() == image[36:].min() == 255
    ink = image[12:36, 24:216].reshape(8, 3, 64, 3)
    assert (ink[:, 1, :, 1] < 110).all(), "the middle of every dot is dark"
    assert (ink[:, 0, :, 0] > ink[:, 1, :, 1]).all(), "paper shows between dots"
    low = Image.fromarray(sheet[:20])
    assert OPERATIONS["dot_matrix"](generator(1), low, 3).tobytes() == low.tobytes()


@pytest.mark.parametrize(("name", "depth"), [("stamp", 100), ("moire", 20)])
def test_what_is_laid_over_changes_the_paper_by_no_more_than_its_depth(name, depth):
    sheet = Image.new("L", (300, 120), 200)
    for seed in range(10):
        change = to_array(OPERATIONS[name](generator(seed), sheet, depth)).astype(int) - 200
        assert change.min() >= -depth
        assert change.max() <= (0 if name == "stamp" else depth)
        assert change.any()


def test_the_sine_of_the_moire_is_a_sine():
    exact = 127 * np.sin(2 * np.pi * np.arange(256) / 256)
    assert np.abs(SINE - exact).max() <= 1.3  # Bhaskara's formula errs by 0.0016


def test_bell_noise_has_the_deviation_asked_for():
    field = bell_noise(generator(1), (400, 400), 12)
    assert field.dtype == np.int16
    assert float(field.std()) == pytest.approx(12, rel=0.05)
    assert float(field.mean()) == pytest.approx(0, abs=0.6)


def test_pixel_helpers():
    assert smooth_field(generator(1), (9, 5), 3).shape == (9, 5)
    first, second = np.full((2, 2), 10, np.uint8), np.full((2, 2), 250, np.uint8)
    assert blend(first, second, 0).tolist() == first.tolist()
    assert blend(first, second, 256).tolist() == second.tolist()
    assert blend(first, second, 128).tolist() == [[130, 130], [130, 130]]
    page = np.full((10, 10), 230, np.uint8)
    page[:3] = 10
    assert paper_level(page) == 230


SCRIPT = """
import hashlib
from PIL import Image, ImageDraw
from dataclasses import replace
from manifold_ocr.augment_config import Recipe
from manifold_ocr.augment.recipe import OPERATIONS, augment_image
image = Image.new("L", (200, 30), 255)
ImageDraw.Draw(image).text((5, 8), "Vector units must not matter 42", fill=0)
digest = hashlib.sha256()
for seed in range(150):
    digest.update(augment_image(image, replace(Recipe(), max_steps=9), seed).tobytes())
steps = {name: replace(getattr(Recipe(), name), p=0.3) for name in OPERATIONS}
for seed in range(60):
    recipe = replace(Recipe(), max_steps=30, **steps)
    digest.update(augment_image(image, recipe, seed).tobytes())
print(digest.hexdigest())
"""


def test_vector_units_change_no_byte():
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    features = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    if not features:
        pytest.skip("numpy dispatches to no vector unit beyond its baseline here")
    hashes = set()
    for disabled in ("", " ".join(features)):
        environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
        environment["NPY_DISABLE_CPU_FEATURES"] = disabled
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(run.stdout)
    assert len(hashes) == 1


def test_params_list_every_knob_with_its_default():
    section = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))["augment"]
    assert set(section) == {field.name for field in fields(AugmentConfig)}
    assert set(section["recipe"]) == {field.name for field in fields(Recipe)}
    assert isinstance(
        load_section(AugmentConfig, "augment", PROJECT / "params.yaml"), AugmentConfig
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"recipe": {"blurr": {"p": 0.1}}}, "did you mean 'blur'"),
        ({"recipe": {"blur": {"p": 1.2}}}, "blur.p: must be less than or equal to 1"),
        ({"recipe": {"blur": {"p": 0.2, "low": 5, "high": 2}}}, "must not be over high"),
        ({"recipe": {"max_steps": 0}}, "max_steps"),
        ({"variants": -1}, "variants"),
        ({"balance": "corpus"}, "not one of none, subset"),
    ],
)
def test_bad_settings_are_one_clear_error(section, message):
    with pytest.raises(UserError, match=message):
        build(AugmentConfig, section, "params.yaml: augment")
