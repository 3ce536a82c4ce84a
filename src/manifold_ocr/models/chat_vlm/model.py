"""Family `chat_vlm`: vision-language models asked in a chat (Qwen2-VL, PaddleOCR-VL, ...)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, GenerationConfig

from manifold_ocr.config import ModelConfig
from manifold_ocr.errors import UserError
from manifold_ocr.models.base import ImageSource, Recognition, opened
from manifold_ocr.models.chat_vlm.fast_step import accelerate_chat_model
from manifold_ocr.models.chat_vlm.inputs import ChatInput, Encoded, load_chat_input
from manifold_ocr.models.device import processor_path, quantization_config, weights_dtype
from manifold_ocr.models.generative import ConfidenceRecorder, load_pretrained
from manifold_ocr.models.lora import base_model
from manifold_ocr.models.prefetch import prepared_batches
from manifold_ocr.models.registry import library_config
from manifold_ocr.records import Sample

FAMILY = "chat_vlm"
TOWERS = ("visual", "vision_tower", "vision_encoder", "vision_model")


class ChatVlm:
    """A loaded chat model; reads images greedily with its transcription instruction."""

    family = FAMILY

    def __init__(
        self,
        model: Any,
        chat_input: ChatInput,
        *,
        name: str,
        batch_size: int = 4,
        max_new_tokens: int = 512,
    ) -> None:
        self.model = model
        self.chat_input = chat_input
        self.tokenizer = chat_input.tokenizer
        self.name = name
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.end_ids = end_tokens(base_model(model).generation_config, self.tokenizer)

    def limit_text(self, tokens: int) -> None:
        """Bound generated texts by `tokens`."""
        self.max_new_tokens = tokens

    def recognize(
        self,
        images: Iterable[ImageSource],
        prompts: Sequence[str | None] | None = None,
    ) -> Iterator[Recognition]:
        """Yield one result an image, in order; an empty prompt means plain transcription.

        An item may be a function that opens its image: files are then read on threads.
        """
        asked = chain(prompts or [], repeat(""))
        pairs = zip(images, asked, strict=False)

        def prepare(pair: tuple[Any, str | None]) -> Encoded:
            return self.chat_input.encode(opened(pair[0]), pair[1])

        for batch in prepared_batches(pairs, prepare, self.batch_size, list):
            yield from self.read_encoded(batch)

    @torch.inference_mode()
    def read_encoded(self, prompts: list[Encoded]) -> list[Recognition]:
        """Return the answers to prepared prompts; shorter ones are padded (masked) on the left."""
        base = base_model(self.model)
        was_training = self.model.training
        self.model.eval()
        image_id = self.chat_input.image_token_id
        batch = collate_prompts(prompts, self.pad_id, image_id)
        batch = {key: value.to(base.device) for key, value in batch.items()}
        batch["pixel_values"] = batch["pixel_values"].to(base.dtype)
        recorder = ConfidenceRecorder(self.end_ids)
        settings = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.end_ids,
            pad_token_id=self.pad_id,
        )
        tokens = self.model.generate(
            **accepted(base, batch), generation_config=settings, logits_processor=[recorder]
        )
        self.model.train(was_training)
        answers = tokens[:, batch["input_ids"].shape[1] :]
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [
            Recognition(text.strip(), confidence, prompt.image_tokens)
            for text, confidence, prompt in zip(texts, recorder.means(), prompts, strict=True)
        ]

    @property
    def pad_id(self) -> int:
        """Return the id that fills short rows; masked everywhere, so any id would do."""
        padding = self.tokenizer.pad_token_id
        return int(self.end_ids[0] if padding is None else padding)

    def prompt(self, sample: Sample) -> str:
        """Return what is asked of a sample; nothing for plain transcription."""
        return self.chat_input.prompt(sample)

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return how many positions an image of (width, height) costs the language model."""
        return self.chat_input.vision_tokens(size)


def end_tokens(generation: Any | None, tokenizer: Any) -> list[int]:
    """Return the ids that end an answer, the one to train on first.

    `generation` is the checkpoint's GenerationConfig, or None.

    Raises:
        UserError: neither it nor the tokenizer names one.
    """
    ends = getattr(generation, "eos_token_id", None)
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    own = tokenizer.eos_token_id
    if not ends and own is not None:
        ends = [own]
    if not ends:
        raise UserError("neither generation_config.json nor the tokenizer has an end token")
    return sorted(ends, key=lambda end: end != own)


def collate_prompts(prompts: list[Encoded], pad_id: int, image_token_id: int) -> dict[str, Tensor]:
    """Return the batch for generation: ids [rows, longest] padded on the left, and pixels."""
    longest = max(len(prompt.input_ids) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt.input_ids) :] = torch.tensor(prompt.input_ids)
        mask[row, longest - len(prompt.input_ids) :] = 1
    types = token_types(ids, image_token_id)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "mm_token_type_ids": types,
        **join_images(prompts),
    }


def join_images(prompts: list[Encoded]) -> dict[str, Tensor]:
    """Return the image arrays of several prompts, joined along their first axis."""
    names = prompts[0].images
    arrays = {name: [torch.from_numpy(p.images[name]) for p in prompts] for name in names}
    if "image_sizes" not in arrays:
        return {name: torch.cat(parts) for name, parts in arrays.items()}
    pixels = [part[0] for part in arrays["pixel_values"]]
    height, width = max(p.shape[1] for p in pixels), max(p.shape[2] for p in pixels)
    padded = torch.zeros(len(pixels), pixels[0].shape[0], height, width)
    for row, part in enumerate(pixels):
        padded[row, :, : part.shape[1], : part.shape[2]] = part
    return {"pixel_values": padded, "image_sizes": torch.cat(arrays["image_sizes"])}


def token_types(ids: Tensor, image_token_id: int) -> Tensor:
    """Return `mm_token_type_ids` (1 at image tokens), which 3-d rotary positions need."""
    return (ids == image_token_id).long()


def accepted(model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the batch without what this model's forward does not know."""
    import inspect

    known = inspect.signature(type(model).forward).parameters
    return {key: value for key, value in batch.items() if key in known}


def load_base(
    config: ModelConfig, base_path: Path | str, device: str = "cpu", *, master_weights: bool = False
) -> ChatVlm:
    """Load a checkpoint folder without an adapter, with the fast step in place.

    `master_weights` keeps float32 weights (full fine-tuning in half precision needs them).

    Raises:
        UserError: the folder holds no image-text-to-text checkpoint or no processor.
    """
    base_path = Path(base_path)
    dtype = torch.float32 if master_weights else weights_dtype(config.precision)
    quantization = quantization_config(config)
    placement = {"device_map": {"": device}} if quantization is not None else {}
    settings = library_config(base_path, trust_remote_code=config.trust_remote_code)
    model = load_pretrained(
        AutoModelForImageTextToText,
        base_path,
        config=settings,
        dtype=dtype,
        quantization_config=quantization,
        attn_implementation="sdpa",
        trust_remote_code=config.trust_remote_code,
        **placement,
    )
    chat_input = load_chat_input(settings, processor_path(config, base_path), config.max_pixels)
    if quantization is None:
        nn.Module.to(model, device)
    accelerate_chat_model(model)
    reader = ChatVlm(model.eval(), chat_input, name=config.id)
    # Rules of a published generation_config (Qwen2.5-VL's repetition_penalty 1.05) would fill
    # what a greedy reading leaves open, and change repeated digits first of all.
    model.generation_config = GenerationConfig(
        eos_token_id=reader.end_ids, pad_token_id=reader.pad_id
    )
    return reader


def vision_tower(model: Any) -> Any:
    """Return the module that turns pixels into features.

    Raises:
        UserError: the architecture keeps it under a name that is not known here.
    """
    inner = base_model(model).model
    for name in TOWERS:
        if hasattr(inner, name):
            return getattr(inner, name)
    raise UserError(f"{type(inner).__name__}: no vision tower among {', '.join(TOWERS)}")


def freeze_vision(model: Any) -> None:
    """Freeze the vision tower, as `train.freeze: backbone` asks."""
    vision_tower(model).requires_grad_(False)
