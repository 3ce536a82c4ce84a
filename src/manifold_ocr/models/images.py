"""From a PIL image to the array an encoder takes, without torchvision."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manifold_ocr.errors import UserError

PLAIN_PROCESSORS = ("ViTImageProcessor", "DeiTImageProcessor")
# Names that checkpoints state and transformers no longer has: Qwen2.5-VL's was in 4.49 alone.
RENAMED = {"Qwen2_5_VLImageProcessor": "Qwen2VLImageProcessor"}


@dataclass(frozen=True)
class ResizeInput:
    """Resize to one size, as ViTImageProcessor does, but leave the pixels as bytes.

    Scaling by 1/255 and normalizing with `mean` and `std` are left to the device: a batch
    crosses to it at a quarter of float32's bytes. `size` is (height, width).
    """

    size: tuple[int, int]
    resample: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return uint8 [3, height, width]."""
        height, width = self.size
        resized = image.resize((width, height), Image.Resampling(self.resample))
        return np.ascontiguousarray(np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1))


@dataclass(frozen=True)
class LibraryInput:
    """Any other image processor of transformers, through its PIL version."""

    processor: Any
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return float32 [3, height, width], normalized."""
        values = self.processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.asarray(values, dtype=np.float32)


def load_image_input(path: Path | str) -> ResizeInput | LibraryInput:
    """Return the image preparation that a checkpoint's preprocessor_config.json asks for.

    Raises:
        UserError: no readable preprocessor configuration in the folder, or one that only
            torchvision can follow.
    """
    settings = _settings(Path(path))
    if _is_plain(settings):
        size = settings["size"]
        size = (size, size) if isinstance(size, int) else (size["height"], size["width"])
        half = [0.5, 0.5, 0.5]
        return ResizeInput(
            size,
            int(settings.get("resample", Image.Resampling.BILINEAR)),
            tuple(settings.get("image_mean", half)),
            tuple(settings.get("image_std", half)),
        )
    return LibraryInput(library_processor(path))


def library_processor(path: Path | str) -> Any:
    """Return the PIL version of the image processor that a checkpoint folder names.

    Raises:
        UserError: the folder names none, or transformers has it for torchvision only.
    """
    import transformers

    old_name = _name(_settings(Path(path)))
    try:
        name = RENAMED.get(old_name, old_name).replace("FeatureExtractor", "ImageProcessor")
        if name != old_name:  # Donut's checkpoints have the name of before 2023
            return getattr(transformers, f"{name}Pil").from_pretrained(str(path))
        return transformers.AutoImageProcessor.from_pretrained(str(path), backend="pil")
    except (OSError, ValueError, ImportError, AttributeError) as error:
        if "torchvision" in str(error):
            raise UserError(
                f"{path}: {old_name} needs torchvision; install the extra `vlm` (pip install "
                "'manifold-ocr[vlm]'), or set model.processor_id to a checkpoint that needs none"
            ) from error
        reason = str(error).split(". ", 1)[0]  # the library goes on with all that it knows
        raise UserError(
            f"{path}: no usable image processor {old_name!r} ({reason}); set model.processor_id "
            "to a checkpoint that has one"
        ) from error


def _settings(path: Path) -> dict[str, Any]:
    file = path / "preprocessor_config.json"
    if not file.is_file():
        file = path / "processor_config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path}: no readable preprocessor_config.json; set model.processor_id to a "
            "checkpoint that has one"
        ) from error
    return dict(settings.get("image_processor", settings))


def _name(settings: dict[str, Any]) -> str:
    return str(settings.get("image_processor_type", settings.get("feature_extractor_type", "")))


def _is_plain(settings: dict[str, Any]) -> bool:
    name = _name(settings).replace("FeatureExtractor", "ImageProcessor")  # before 2023
    size = settings.get("size")
    square = isinstance(size, int) or (isinstance(size, dict) and {"height", "width"} <= set(size))
    rescale = settings.get("do_rescale", True) and settings.get("rescale_factor", 1 / 255)
    return (
        name.removesuffix("Fast").removesuffix("Pil") in PLAIN_PROCESSORS
        and square
        and settings.get("do_resize", True)
        and settings.get("do_normalize", True)
        and not settings.get("do_center_crop", False)
        and abs(float(rescale) - 1 / 255) < 1e-6
    )
