"""Family `encoder_decoder`: image encoder, text decoder with cross-attention (TrOCR, Donut)."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import GenerationConfig, VisionEncoderDecoderModel

from manifold_ocr.config import ModelConfig
from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.models.base import ImageSource, Recognition, opened, question_of
from manifold_ocr.models.device import processor_path, quantization_config, weights_dtype
from manifold_ocr.models.encoder_decoder import greedy
from manifold_ocr.models.encoder_decoder.fast_step import accelerate_encoder_decoder
from manifold_ocr.models.encoder_decoder.greedy import GreedyDecoder
from manifold_ocr.models.generative import ConfidenceRecorder, load_pretrained, load_tokenizer
from manifold_ocr.models.images import LibraryInput, ResizeInput, load_image_input
from manifold_ocr.models.lora import base_model
from manifold_ocr.models.prefetch import batches_from_processes, prepared_batches
from manifold_ocr.records import Sample

FAMILY = "encoder_decoder"
MANY_BATCHES = 4  # so many batches of files are worth starting worker processes for


class EncoderDecoder:
    """A loaded model with its tokenizer and image preparation; reads images greedily.

    `batch_size` images are read together; `max_new_tokens` bounds a text. Every image is
    resized to the encoder's one size, so nothing of a neighbor reaches an image's text.
    """

    family = FAMILY

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        image_input: ResizeInput | LibraryInput,
        *,
        name: str,
        batch_size: int = 32,
        max_new_tokens: int = 512,
    ) -> None:
        self.model: Any = model
        self.tokenizer = tokenizer
        self.image_input = image_input
        self.name = name
        self.batch_size = batch_size
        self.limit_text(max_new_tokens)

    def limit_text(self, tokens: int) -> None:
        """Bound generated texts by `tokens`, and by what the decoder has positions for."""
        self.max_new_tokens = min(tokens, max_target_tokens(self.model))

    def encode_text(self, text: str, limit: int) -> list[int]:
        """Return label ids: the text's tokens and EOS, at most `limit` of them.

        A text that is too long loses its end *and* EOS: a cut label that ended in EOS would
        teach the decoder to stop early.
        """
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*ids, self.model.config.eos_token_id][:limit]

    def prompt(self, sample: Sample) -> str:
        """Return what the decoder goes on from: nothing for plain transcription."""
        return task_prompt(self.tokenizer, sample)

    def recognize(
        self,
        images: Iterable[ImageSource],
        prompts: Sequence[str] | None = None,
    ) -> Iterator[Recognition]:
        """Yield one result an image, in order; a text starts after its prompt, where it has one.

        An item may be a function that opens its image: files are then read on threads.
        """
        decoder: GreedyDecoder | None = None
        asked = iter([prompt_ids(self.tokenizer, prompt) for prompt in prompts or ()])

        for batch in self._batches(images):
            if decoder is None and greedy.supports(base_model(self.model)):
                decoder = GreedyDecoder(base_model(self.model), len(batch), self.max_new_tokens)
            yield from self._read(batch, decoder, list(islice(asked, len(batch))))

    def _batches(self, images: Iterable[ImageSource]) -> Iterator[torch.Tensor]:
        """Return prepared batches: from processes for many files on a GPU, else from threads."""
        images = iter(images)
        first = list(islice(images, self.batch_size * MANY_BATCHES))
        files = len(first) == self.batch_size * MANY_BATCHES and all(map(callable, first))
        on_gpu = base_model(self.model).device.type == "cuda"
        if files and on_gpu:
            everything = [*first, *images]
            workers = min(16, max(1, (os.cpu_count() or 2) - 2))
            return batches_from_processes(
                everything, self._prepare, self.batch_size, _stack, workers
            )
        return prepared_batches(chain(first, images), self._prepare, self.batch_size, _stack)

    def _prepare(self, item: Image.Image | Callable[[], Image.Image]) -> np.ndarray:
        return self.image_input(opened(item))

    def _read(
        self,
        pixel_values: torch.Tensor,
        decoder: GreedyDecoder | None,
        prompts: list[list[int]],
    ) -> list[Recognition]:
        """Return the texts of prepared images, [batch, 3, height, width] (see `image_input`).

        `prompts` are the token ids before each text; an empty list for a batch without any.
        """
        base = base_model(self.model)
        was_training = self.model.training
        self.model.eval()
        pixels = pixel_values.to(base.device, non_blocking=True)
        tokens: torch.Tensor | list[torch.Tensor]
        if decoder is None:
            tokens, means = self._generate_all(pixels, prompts)
        else:
            tokens, means = decoder(pixels, prompts)
        self.model.train(was_training)
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        cost = self.vision_tokens((0, 0))
        return [
            Recognition(text.strip(), confidence, cost)
            for text, confidence in zip(texts, means, strict=True)
        ]

    def _generate_all(
        self, pixels: torch.Tensor, prompts: list[list[int]]
    ) -> tuple[list[torch.Tensor], list[float]]:
        """Decode with the library's generate(), rows of one prompt together."""
        rows: dict[tuple[int, ...], list[int]] = {}
        for row in range(len(pixels)):
            rows.setdefault(tuple(prompts[row]) if prompts else (), []).append(row)
        found: dict[int, tuple[torch.Tensor, float]] = {}
        for prompt, numbers in rows.items():
            tokens, means = self._generate(pixels[numbers], prompt)
            found |= dict(zip(numbers, zip(tokens, means, strict=True), strict=True))
        ordered = [found[row] for row in range(len(pixels))]
        return [tokens for tokens, _ in ordered], [mean for _, mean in ordered]

    @torch.no_grad()
    def _generate(
        self, pixels: torch.Tensor, prompt: tuple[int, ...] = ()
    ) -> tuple[torch.Tensor, list[float]]:
        """Decode with the library's generate(), for decoders that GreedyDecoder cannot drive."""
        base = base_model(self.model)
        recorder = ConfidenceRecorder(base.config.eos_token_id)
        before = [base.config.decoder_start_token_id, *prompt]
        ids = torch.tensor([before] * len(pixels), device=base.device)
        tokens = base.generate(
            pixel_values=base.normalize(pixels),
            decoder_input_ids=ids,
            generation_config=self._generation_config(len(prompt)),
            logits_processor=[recorder],
        )
        return tokens[:, len(before) :], recorder.means()

    def _generation_config(self, asked: int = 0) -> GenerationConfig:
        config = base_model(self.model).config
        return GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=max(1, self.max_new_tokens - asked),
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            decoder_start_token_id=config.decoder_start_token_id,
        )

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return the encoder's sequence length, the same for every image size."""
        encoder = base_model(self.model).encoder
        config = encoder.config
        size = _pair(config.image_size)
        height, width = self.image_input.size if isinstance(self.image_input, ResizeInput) else size
        step_y, step_x = _pair(config.patch_size)
        merged = 2 ** (len(getattr(config, "depths", [1])) - 1)  # Swin halves after each stage
        patches = (height // (step_y * merged)) * (width // (step_x * merged))
        embeddings = getattr(encoder, "embeddings", None)
        special = [hasattr(embeddings, name) for name in ("cls_token", "distillation_token")]
        return int(patches + sum(special))


def task_prompt(tokenizer: Any, sample: Sample) -> str:
    """Return what comes before a sample's text: the token of its task, else its question.

    Donut's checkpoints have a token per task (`<s_json>`); a question of the row's own follows
    it (one line of a page, an answer). Other decoders are asked in words.
    """
    mark, question = f"<s_{sample.task}>", question_of(sample)
    if not question or tokenizer.convert_tokens_to_ids(mark) in (None, tokenizer.unk_token_id):
        return question
    return f"{mark}{question}" if sample.task in ("needle", "qa") else mark


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Return the tokens of a prompt."""
    if not prompt:
        return []
    ids: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return ids


def _stack(prepared: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(prepared))


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def max_target_tokens(model: Any) -> int:
    """Return how many label tokens the decoder has positions for."""
    decoder = base_model(model).config.decoder
    return label_positions(decoder.model_type, decoder.max_position_embeddings)


def label_positions(decoder_type: str, positions: int) -> int:
    """Return how many tokens `max_position_embeddings` holds: RoBERTa's first two are padding."""
    return positions - 2 if "roberta" in decoder_type else positions


def load_base(
    config: ModelConfig, base_path: Path | str, device: str = "cpu", *, master_weights: bool = False
) -> EncoderDecoder:
    """Load a checkpoint folder without an adapter, with the fast step in place.

    `master_weights` keeps float32 weights (full fine-tuning in half precision needs them).

    Raises:
        UserError: the folder holds no VisionEncoderDecoder checkpoint or no tokenizer.
    """
    base_path = Path(base_path)
    dtype = torch.float32 if master_weights else weights_dtype(config.precision)
    model = load_pretrained(
        VisionEncoderDecoderModel,
        base_path,
        dtype=dtype,
        quantization_config=quantization_config(config),
    )
    tokenizer = load_tokenizer(processor_path(config, base_path))
    image_input = load_image_input(processor_path(config, base_path))
    use_special_tokens(model, special_tokens(base_path, tokenizer))
    accelerate_encoder_decoder(model, list(image_input.mean), list(image_input.std))
    if config.quantization == "none":
        nn.Module.to(model, device)
    return EncoderDecoder(model.eval(), tokenizer, image_input, name=config.id)


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the token a decoder starts from, of the one that ends a text, and of padding."""

    start: int
    end: int
    pad: int


def special_tokens(folder: Path, tokenizer: Any) -> SpecialTokens:
    """Return the special tokens of a checkpoint folder.

    Published checkpoints name them in different places: TrOCR's in `decoder` of config.json
    and in generation_config.json, ViT-BERT's at the top of config.json, others only in the
    tokenizer. The order is the one that the library's generate() follows.

    Raises:
        UserError: nothing names an end of text.
    """
    config = read_json(folder / "config.json")
    generation = folder / "generation_config.json"
    places = [read_json(generation)] if generation.is_file() else []
    places += [config, config.get("decoder") or {}]

    def first(key: str, *of_tokenizer: str) -> int | None:
        found = [place.get(key) for place in places]
        found += [getattr(tokenizer, name, None) for name in of_tokenizer]
        value = next((value for value in found if value is not None), None)
        return int(value[0] if isinstance(value, list) else value) if value is not None else None

    end = first("eos_token_id", "eos_token_id", "sep_token_id")
    if end is None:
        raise UserError(
            f"{folder}: neither config.json, generation_config.json nor the tokenizer has an "
            "end-of-text token; add eos_token_id to generation_config.json"
        )
    pad = first("pad_token_id", "pad_token_id")
    begin = first("decoder_start_token_id")
    if begin is None:
        begin = first("bos_token_id", "bos_token_id", "cls_token_id")
    return SpecialTokens(end if begin is None else begin, end, end if pad is None else pad)


def use_special_tokens(model: Any, tokens: SpecialTokens) -> None:
    """Set the ids on a loaded model, and drop every other rule of its generation_config.

    Published rules such as repetition_penalty or no_repeat_ngram_size change what a greedy
    reading says, repeated digits first of all.
    """
    model.config.eos_token_id = tokens.end
    model.config.pad_token_id = tokens.pad
    model.config.decoder_start_token_id = tokens.start
    model.generation_config = GenerationConfig(
        eos_token_id=tokens.end, pad_token_id=tokens.pad, decoder_start_token_id=tokens.start
    )


def freeze_vision(model: Any) -> None:
    """Freeze the image encoder (and its projection), as `train.freeze: backbone` asks."""
    base_model(model).encoder.requires_grad_(False)
