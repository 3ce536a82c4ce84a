"""Find the text lines of a page with PP-OCRv6's detector, through the rapidocr library."""

import importlib.util
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image, ImageFilter

from manifold_ocr.errors import UserError
from manifold_ocr.images import crop
from manifold_ocr.records import Box

Point = tuple[float, float]
Quad = tuple[Point, Point, Point, Point]

DETECTOR_FILE = "PP-OCRv6_det_small.onnx"
VERTICAL_RATIO = 1.5  # a crop this much taller than wide holds vertical text: turned to read
FEW_LINES = 3  # below this a page is looked at again without its specks
LOWEST_PAGE = 64  # pixels of height in which that many lines can be
BANNER_PIXELS = 1_000_000  # a long strip is not scaled down below this many pixels
LARGE_PIXELS = 40_000_000  # specks of a larger image are taken away after scaling it
LEAST_SIDE = 736  # what rapidocr enlarges the shorter side of an image to
NARROWEST = 32  # pixels of width to which a narrower image gets margins
STRIP_RATIO = 4.0  # an image this much longer than high gets margins instead
SKEW_PIXELS = 2.0  # corners off an upright box by more than this are warped, not cropped


@dataclass(frozen=True, slots=True)
class DetectedLine:
    """A line of text on a page: four corners in pixels, clockwise from the top left.

    `score` is the detector's mean text probability inside the quadrangle, in [0, 1].
    """

    quad: Quad
    score: float

    @property
    def box(self) -> Box:
        """The upright box [x0, y0, x1, y1] around the corners."""
        xs, ys = [p[0] for p in self.quad], [p[1] for p in self.quad]
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def height(self) -> float:
        """The shorter side in pixels: the height of horizontal text, the width of vertical."""
        return min(math.dist(self.quad[0], self.quad[3]), math.dist(self.quad[0], self.quad[1]))


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """How a page is scaled for the detector, and what counts as a line.

    `max_side`: the longest side in pixels that the detector is given. Where half of the
    lines come out lower than `small_text` pixels, the page is looked at again, enlarged up to
    `enlarge_to` times but to no more than `enlarged_side` (newsprint scanned at 75 dpi).
    `threshold` is the least score of a line. `threads` 0 leaves the choice to onnxruntime.
    """

    max_side: int = 2000
    small_text: float = 18.0
    enlarge_to: float = 2.5
    enlarged_side: int = 3200
    threshold: float = 0.5
    threads: int = 0


class LineDetector:
    """The detector of the installed rapidocr wheel; nothing is fetched."""

    def __init__(self, config: DetectionConfig | None = None) -> None:
        """Load the network (about 10 MB).

        Raises:
            UserError: rapidocr is absent, or its wheel no longer carries the detector.
        """
        self.config = config or DetectionConfig()
        self._engine = _load_engine(self.config)

    def detect(self, image: Image.Image) -> list[DetectedLine]:
        """Return the lines of an RGB page, in the detector's order, in pixels of `image`.

        Specks as dark as print blind the network to faint text. Where it finds next to nothing,
        a median filter takes the specks away; the lines count if a page of them appears. A few
        large words on a wide empty page are found at half the size only.
        """
        config = self.config
        area = image.width * image.height
        scale = min(1.0, max(config.max_side / max(image.size), math.sqrt(BANNER_PIXELS / area)))
        clean = False
        lines = self._detect_at(image, scale) or self._detect_at(image, scale / 2)
        if len(lines) < FEW_LINES and (not lines or min(image.size) >= LOWEST_PAGE):
            again = self._detect_at(image, scale, clean=True)
            if len(again) >= FEW_LINES:
                clean, lines = True, again
        if not lines:
            return lines
        height = median(line.height for line in lines)
        wanted = min(config.enlarge_to, config.small_text * 1.5 / max(height, 1.0))
        scale = min(wanted, config.enlarged_side / max(image.size))
        if height >= config.small_text or scale <= 1.2:
            return lines
        return self._detect_at(image, scale, clean=clean) or lines

    def _detect_at(
        self, image: Image.Image, scale: float, *, clean: bool = False
    ) -> list[DetectedLine]:
        import numpy as np

        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        specks = ImageFilter.MedianFilter(3)
        before = clean and image.width * image.height <= LARGE_PIXELS
        page = image.filter(specks) if before else image
        page = page if size == page.size else page.resize(size, Image.Resampling.BICUBIC)
        page = page.filter(specks) if clean and not before else page
        pixels = np.ascontiguousarray(np.asarray(_with_margins(page))[:, :, ::-1])
        found = self._engine(pixels)
        if found.boxes is None:
            return []
        ratio = (image.width / size[0], image.height / size[1])
        return [
            DetectedLine(_quad(_inside(corners, size), ratio), float(score))
            for corners, score in zip(found.boxes, found.scores, strict=True)
        ]


def _with_margins(page: Image.Image) -> Image.Image:
    """Return a strip with margins below or beside it, in the color that most of its edge has.

    rapidocr enlarges an image until its shorter side has 736 pixels: of a line of text that
    makes many times a page's pixels, and letters higher than the network knows. To a low image
    it adds 60 rows before: one that is narrow too becomes a tall strip by that.
    """
    width, height = max(page.width, NARROWEST), page.height
    if max(page.size) >= STRIP_RATIO * min(page.size):
        width, height = (max(side, min(LEAST_SIDE, max(page.size))) for side in page.size)
    if (width, height) == page.size:
        return page
    edge = [page.getpixel((x, y)) for x in range(page.width) for y in (0, page.height - 1)]
    filled = Image.new("RGB", (width, height), Counter(edge).most_common(1)[0][0])
    filled.paste(page)
    return filled


def _inside(corners: Iterable[Iterable[float]], size: tuple[int, int]) -> list[tuple[float, float]]:
    """Return corners that lie in the margins moved to the image's edge."""
    return [(min(float(x), size[0]), min(float(y), size[1])) for x, y in corners]


class LazyDetector:
    """A detector that loads its network at the first page: images of lines never need it."""

    def __init__(self, config: DetectionConfig | None = None) -> None:
        """Load nothing yet."""
        self._config = config
        self._detector: LineDetector | None = None

    def detect(self, image: Image.Image) -> list[DetectedLine]:
        """Return the lines of an RGB page (see `LineDetector.detect`)."""
        if self._detector is None:
            self._detector = LineDetector(self._config)
        return self._detector.detect(image)


def _quad(corners: Iterable[Iterable[float]], ratio: tuple[float, float]) -> Quad:
    return ordered_quad([(float(x) * ratio[0], float(y) * ratio[1]) for x, y in corners])


def ordered_quad(corners: Sequence[Point]) -> Quad:
    """Return four corners, clockwise as given, starting at the top left.

    The top edge is the one that runs from left to right most nearly: the detector starts at
    another corner where a line is steep.
    """

    def steepness(start: int) -> float:
        (ax, ay), (bx, by) = corners[start], corners[(start + 1) % 4]
        return abs(math.atan2(by - ay, bx - ax))

    first = min(range(4), key=steepness)
    a, b, c, d = (corners[(first + k) % 4] for k in range(4))
    return a, b, c, d


def line_size(line: DetectedLine) -> tuple[float, float]:
    """Return (width, height) in pixels along the line's own edges."""
    a, b, c, d = line.quad
    return max(math.dist(a, b), math.dist(d, c)), max(math.dist(a, d), math.dist(b, c))


def _load_engine(config: DetectionConfig) -> Any:
    folder = model_folder()
    import onnxruntime
    from omegaconf import flag_override
    from rapidocr import RapidOCR

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = config.threads
    # threads that wait sleep: by default they spin, a fifth of the network's CPU time
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(folder / DETECTOR_FILE), settings, providers=["CPUExecutionProvider"]
    )
    engine = RapidOCR(
        params={
            "Global.use_cls": False,
            "Global.use_rec": False,
            "Global.use_preprocess_img": False,
            "Global.log_level": "error",
            "Det.model_path": str(folder / DETECTOR_FILE),
            "Det.box_thresh": config.threshold,
        }
    )
    with flag_override(engine.cfg, "allow_objects", True):
        engine.cfg.Det.session = session
    return engine


def model_folder() -> Path:
    """Return the folder of the networks inside the installed rapidocr package.

    Raises:
        UserError: rapidocr or its detector is missing.
    """
    found = importlib.util.find_spec("rapidocr")
    if found is None or found.origin is None:
        raise UserError("rapidocr is not installed; run `make install`")
    folder = Path(found.origin).parent / "models"
    if not (folder / DETECTOR_FILE).is_file():
        raise UserError(
            f"{folder / DETECTOR_FILE}: the text detector is missing from the rapidocr package; "
            "reinstall the version that requirements.lock names"
        )
    return folder


def usual_height(lines: Sequence[DetectedLine]) -> float:
    """Return the median height in pixels of the lines that are wider than high; 0 without any."""
    heights = [line.height for line in lines if _width(line) >= line.box[3] - line.box[1]]
    return median(heights) if heights else 0.0


def _width(line: DetectedLine) -> float:
    return line.box[2] - line.box[0]


def crop_line(
    page: Image.Image, line: DetectedLine, usual: float = 0.0, *, turn: bool = True
) -> Image.Image:
    """Return the RGB pixels of a line, level: a skewed line is warped, vertical text turned.

    Vertical text (see `runs_down`) is turned counter-clockwise unless `turn` is off.
    """
    if _skew(line) <= SKEW_PIXELS:
        piece = crop(page, line.box)
    else:
        top_left, top_right, bottom_right, bottom_left = line.quad
        width, height = line_size(line)
        piece = page.transform(
            (max(1, round(width)), max(1, round(height))),
            Image.Transform.QUAD,
            (*top_left, *bottom_left, *bottom_right, *top_right),
            Image.Resampling.BICUBIC,
        )
    if turn and runs_down(piece.size, usual):
        piece = piece.transpose(Image.Transpose.ROTATE_90)
    return piece


def runs_down(size: tuple[float, float], usual: float = 0.0) -> bool:
    """Tell whether a line's (width, height) is that of text which runs down the page.

    A narrow box counts only where it is clearly higher than the page's `usual` line height: a
    lone digit is narrow too.
    """
    return size[1] >= max(VERTICAL_RATIO * size[0], VERTICAL_RATIO * usual)


def _skew(line: DetectedLine) -> float:
    x0, y0, x1, y1 = line.box
    upright = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return max(
        max(abs(p[0] - q[0]), abs(p[1] - q[1])) for p, q in zip(line.quad, upright, strict=True)
    )
