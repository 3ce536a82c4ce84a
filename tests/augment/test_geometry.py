import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from manifold_ocr.augment import geometry
from manifold_ocr.augment.geometry import MESHES
from manifold_ocr.augment.ops import generator, to_array
from manifold_ocr.augment.recipe import OPERATIONS, augment_page, follow
from manifold_ocr.augment_config import Recipe, Step

STRENGTH = {name: getattr(Recipe(), name).high for name in MESHES}


def homography(points, images):
    """The projective map of four points onto four, by the usual 8 x 8 equations."""
    lines, right = [], []
    for (x, y), (u, v) in zip(points, images, strict=True):
        lines += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return np.append(np.linalg.solve(np.array(lines, float), right), 1).reshape(3, 3)


def through(matrix, points):
    there = np.c_[points, np.ones(len(points))] @ matrix.T
    return there[:, :2] / there[:, 2:]


def center(image):
    """The center of the ink of a gray image, in pixels with the first pixel's middle at 0.5."""
    ink = 255.0 - to_array(image)
    ink[ink < 190] = 0  # shades of a crease or a gutter are no print
    ys, xs = np.mgrid[: ink.shape[0], : ink.shape[1]] + 0.5
    return np.array([(xs * ink).sum(), (ys * ink).sum()]) / ink.sum()


def dotted(size, place):
    page = Image.new("L", size, 255)
    page.paste(0, (place[0] - 4, place[1] - 4, place[0] + 4, place[1] + 4))
    return page


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("place", [(40, 30), (300, 210), (560, 400), (330, 40)])
def test_print_moves_to_where_the_mesh_says(name, place):
    for seed in range(4):
        page = dotted((600, 430), place)
        moved = OPERATIONS[name](generator(seed), page, STRENGTH[name])
        mesh = MESHES[name](generator(seed), page.size, STRENGTH[name])
        assert moved.size == mesh.size
        expected = mesh.forward(np.array([place], float))[0]
        assert center(moved) == pytest.approx(expected, abs=0.8)


def test_perspective_is_the_projective_map_of_its_corners():
    for seed in range(5):
        mesh = geometry.perspective(generator(seed), (600, 430), 60)
        width, height = mesh.size
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
        matrix = homography(corners, mesh.backward(corners))
        inside = np.array([(30.0, 40.0), (300.0, 200.0), (590.0, 410.0)])
        assert mesh.backward(inside) == pytest.approx(through(matrix, inside), abs=0.1)
        forth = through(np.linalg.inv(matrix), inside)
        assert mesh.forward(inside) == pytest.approx(forth, abs=0.1)
        for box in ((50.0, 60.0, 550.0, 90.0), (200.0, 300.0, 260.0, 320.0)):
            square = np.array([(box[0], box[1]), (box[2], box[1]), (box[2], box[3]),
                               (box[0], box[3])])  # fmt: skip
            quad = through(np.linalg.inv(matrix), square)
            expected = (*quad.min(axis=0), *quad.max(axis=0))
            assert mesh.box(box) == pytest.approx(expected, abs=0.1)


def test_slant_is_a_turn_about_the_center():
    mesh = geometry.slant(generator(3), (600, 430), 12)
    middle = np.array([[300.0, 215.0]])
    there = mesh.forward(middle)[0]
    assert there == pytest.approx((mesh.size[0] / 2, mesh.size[1] / 2))
    right = mesh.forward(middle + np.array([200, 0]))[0] - there
    angle = np.arctan2(right[1], right[0])
    assert abs(angle) == pytest.approx(np.arctan(0.012), rel=1e-6)
    assert np.hypot(*right) == pytest.approx(200 * np.cos(angle), rel=1e-3)


@given(st.sampled_from(sorted(MESHES)), st.integers(8, 90), st.integers(8, 300),
       st.integers(0, 2**32))  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_going_there_and_back_is_the_identity_and_the_sheet_stays_whole(name, height, width, seed):
    mesh = MESHES[name](generator(seed), (width, height), STRENGTH[name])
    assert list(mesh.columns) == sorted(set(mesh.columns))
    assert list(mesh.rows) == sorted(set(mesh.rows))
    left, top, right, bottom = mesh.room
    assert mesh.size == (width + left + right, height + top + bottom)
    points = np.array([(0, 0), (width, 0), (width / 2, height / 3), (width, height)], float)
    there = mesh.forward(points)
    assert mesh.backward(there) == pytest.approx(points, abs=1e-4)
    x0, y0, x1, y1 = mesh.box((0.0, 0.0, float(width), float(height)))
    assert 0 <= x0 < x1 <= mesh.size[0]
    assert 0 <= y0 < y1 <= mesh.size[1]
    if name not in ("perspective", "slant"):  # those two may lose a corner of the margin
        assert there.min() >= -0.01
        assert (there <= np.array(mesh.size) + 0.01).all()


def test_boxes_follow_a_page_through_several_steps():
    steps = {name: Step(p=1.0, low=STRENGTH[name], high=STRENGTH[name]) for name in MESHES}
    steps["binding"] = Step(p=1.0, low=60, high=60)  # a darker gutter would pass for print
    blank = {name: Step() for name in OPERATIONS if name not in MESHES}
    recipe = Recipe(max_steps=9, **steps, **blank)
    for seed in range(6):
        page = Image.new("L", (700, 500), 255)
        page.paste(0, (90, 240, 420, 252))  # a line of print
        moved, taken = augment_page(page, recipe, "page", seed)
        assert [step.name for step in taken] == list(MESHES)
        x0, y0, x1, y1 = follow((90.0, 240.0, 420.0, 252.0), page.size, recipe, "page", seed)
        inside = to_array(moved)[int(y0) - 1 : int(y1) + 2, int(x0) - 1 : int(x1) + 2]
        ink = (255 - to_array(moved).astype(int)) > 200
        ys, xs = np.nonzero(ink)
        assert (inside < 55).sum() >= 0.99 * ink.sum()
        assert (x0, y0, x1, y1) == pytest.approx(
            (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), abs=7
        )


def test_a_page_that_nothing_bends_keeps_its_boxes():
    recipe = Recipe(**{name: Step() for name in MESHES})
    box = (10.0, 20.0, 30.0, 40.0)
    assert follow(box, (100, 100), recipe, "page", 1) == box
