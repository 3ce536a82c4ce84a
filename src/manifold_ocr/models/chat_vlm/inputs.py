"""From an image and an instruction to the token ids and pixels of a chat model.

The processors of transformers need torchvision for these models (their video half does),
which is no dependency of this project; the PIL image processors and the tokenizer's chat
template do the same work without it.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manifold_ocr.errors import UserError
from manifold_ocr.models.base import question_of
from manifold_ocr.models.generative import load_tokenizer
from manifold_ocr.models.images import library_processor
from manifold_ocr.records import Sample

# What each checkpoint was trained to be asked for plain transcription (its model card).
INSTRUCTIONS = {
    "qwen2_vl": "Read all the text in the image.",
    "qwen2_5_vl": "Read all the text in the image.",
    "paddleocr_vl": "OCR:",
    "glm_ocr": "Text Recognition:",
    "lighton_ocr": "",
}
TASKS: dict[str, dict[str, str]] = {  # likewise, of the tasks that a model card names
    "paddleocr_vl": {"latex": "Formula Recognition:", "table": "Table Recognition:"},
    "glm_ocr": {"latex": "Formula Recognition:", "table": "Table Recognition:"},
}


@dataclass(frozen=True)
class Encoded:
    """One prompt with its image: ids [length], image arrays as the model takes them."""

    input_ids: list[int]
    images: dict[str, np.ndarray]
    image_tokens: int


class ChatInput:
    """Builds prompts for one checkpoint; `max_pixels` (0: the checkpoint's) bounds an image.

    `token_side` is the pixels along one side of what an image token covers, for models that
    are given whole pictures (Pixtral's encoder); the others are given patches with a grid.
    """

    def __init__(
        self,
        model_type: str,
        tokenizer: Any,
        image_processor: Any,
        image_token_id: int,
        max_pixels: int = 0,
        token_side: int = 28,
    ) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.image_token_id = image_token_id
        self.max_pixels = max_pixels
        self.token_side = token_side
        self.instruction = INSTRUCTIONS.get(model_type, INSTRUCTIONS["qwen2_vl"])
        self.tasks = TASKS.get(model_type, {})

    def prompt(self, sample: Sample) -> str:
        """Return what is asked of a sample: the card's words for its task, or its question."""
        return self.tasks.get(sample.task) or question_of(sample)

    def encode(self, image: Image.Image, instruction: str | None = None) -> Encoded:
        """Return the prompt up to where the answer starts; no instruction: transcription.

        Raises:
            UserError: the chat template has no place for the image.
        """
        arrays = self._image_arrays(image)
        count = self._count_tokens(arrays)
        ids = list(self._prompt_ids(instruction or self.instruction))
        if ids.count(self.image_token_id) != 1:
            raise UserError("the chat template must hold exactly one image placeholder a message")
        at = ids.index(self.image_token_id)
        ids[at : at + 1] = [self.image_token_id] * count
        return Encoded(ids, arrays, count)

    @lru_cache(maxsize=64)  # noqa: B019 - lives as long as the model
    def _prompt_ids(self, instruction: str) -> tuple[int, ...]:
        content: list[dict[str, str]] = [{"type": "image"}]
        if instruction:
            content.append({"type": "text", "text": instruction})
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def _whole_pictures(self) -> bool:
        return "shortest_edge" not in dict(self.image_processor.size)

    def _image_arrays(self, image: Image.Image) -> dict[str, np.ndarray]:
        options: dict[str, Any] = {"size": self._budget()} if self.max_pixels else {}
        if self._whole_pictures:
            options["patch_size"] = self.token_side  # sides become whole tokens, none is lost
        values = self.image_processor(images=[image], return_tensors="np", **options)
        kept = ("pixel_values", "image_grid_thw", "image_sizes")
        return {key: np.asarray(values[key]) for key in kept if key in values}

    def _budget(self) -> dict[str, int]:
        size = dict(self.image_processor.size)
        if self._whole_pictures:
            return {"longest_edge": int(self.max_pixels**0.5)}
        longest = self.max_pixels
        if type(self.image_processor).__name__.startswith("Glm"):  # counts a picture's both frames
            longest *= int(self.image_processor.temporal_patch_size)
        return {"shortest_edge": min(size["shortest_edge"], longest), "longest_edge": longest}

    def _count_tokens(self, arrays: dict[str, np.ndarray]) -> int:
        if "image_grid_thw" in arrays:
            merged = int(self.image_processor.merge_size) ** 2
            return int(arrays["image_grid_thw"][0].prod()) // merged
        height, width = arrays["image_sizes"][0]
        return (int(height) // self.token_side) * (int(width) // self.token_side)

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return how many image tokens a picture of (width, height) pixels costs."""
        return self._vision_tokens(size)

    @lru_cache(maxsize=1024)  # noqa: B019
    def _vision_tokens(self, size: tuple[int, int]) -> int:
        patches = getattr(self.image_processor, "get_number_of_image_patches", None)
        if patches is None:
            return self._count_tokens(self._image_arrays(Image.new("RGB", size)))
        budget = self._budget() if self.max_pixels else dict(self.image_processor.size)
        limits = {"min_pixels": budget["shortest_edge"], "max_pixels": budget["longest_edge"]}
        merged = int(self.image_processor.merge_size) ** 2
        return int(patches(size[1], size[0], {**limits, "size": budget})) // merged


def load_chat_input(model_config: Any, path: Path | str, max_pixels: int = 0) -> ChatInput:
    """Return the prompt builder of a checkpoint folder.

    Raises:
        UserError: tokenizer, image processor or chat template is missing.
    """
    tokenizer = load_tokenizer(path)
    image_processor = library_processor(path)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _template_file(Path(path))
    return ChatInput(
        model_config.model_type,
        tokenizer,
        image_processor,
        _image_token_id(model_config),
        max_pixels,
        _token_side(model_config),
    )


def _image_token_id(model_config: Any) -> int:
    for name in ("image_token_id", "image_token_index"):
        if getattr(model_config, name, None) is not None:
            return int(getattr(model_config, name))
    raise UserError(f"{model_config.model_type}: the configuration names no image token")


def _token_side(model_config: Any) -> int:
    vision = getattr(model_config, "vision_config", None)
    patch = getattr(vision, "patch_size", 14)
    merge = getattr(model_config, "spatial_merge_size", getattr(vision, "spatial_merge_size", 1))
    return int(patch) * int(merge)


def _template_file(path: Path) -> str:
    if (path / "chat_template.jinja").is_file():
        return (path / "chat_template.jinja").read_text(encoding="utf-8")
    if (path / "chat_template.json").is_file():
        text = (path / "chat_template.json").read_text(encoding="utf-8")
        return str(json.loads(text)["chat_template"])
    raise UserError(f"{path}: no chat template; set model.processor_id to a checkpoint with one")
