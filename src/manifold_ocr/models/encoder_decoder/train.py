"""Training of the `encoder_decoder` family (see `training.family.TrainingFamily`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.images import load_sample
from manifold_ocr.models.adapter_files import encoder_decoder_scope
from manifold_ocr.models.base import Audit, Recognition, RunSpec, prompts_of
from manifold_ocr.models.device import on_gpu, processor_path, trained_config
from manifold_ocr.models.encoder_decoder import model as encoder_decoder
from manifold_ocr.models.encoder_decoder.model import EncoderDecoder, task_prompt
from manifold_ocr.models.generative import (
    Labels,
    audit_labels,
    load_tokenizer,
    loading_device,
    read_beside_graphs,
    restore_trained,
    save_trained,
    starting_point,
    token_ids,
)
from manifold_ocr.models.images import load_image_input
from manifold_ocr.models.kernels.cross_entropy import IGNORED, answer_positions
from manifold_ocr.models.kernels.cuda_graphs import padded_length
from manifold_ocr.models.lora import add_adapter, base_model, wrap_for_training
from manifold_ocr.records import Sample

Row = tuple[np.ndarray, list[int], list[int]]
TRAINABLE_DECODERS = ("trocr", "mbart", "bart", "bert", "roberta", "xlm-roberta")


@dataclass(frozen=True)
class EncoderDecoderRows(torch.utils.data.Dataset[Row]):
    """Map-style dataset: (prepared pixels uint8 [3, height, width], label ids, prompt ids).

    Nothing here is random, so the rows are the same for any number of workers.
    """

    samples: Sequence[Sample]
    targets: Labels
    image_root: Path
    image_input: Any
    prompts: Labels | None = None

    @property
    def lengths(self) -> list[int]:
        """Return the label tokens of each row, its prompt's included."""
        if self.prompts is None:
            return self.targets.lengths
        both = zip(self.targets.lengths, self.prompts.lengths, strict=True)
        return [text + asked for text, asked in both]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        """Open, crop and resize one image."""
        image = load_sample(self.samples[index], self.image_root)
        asked = [] if self.prompts is None else self.prompts[index]
        return self.image_input(image), self.targets[index], asked


def collate_encoder_decoder(rows: list[Row], limit: int = 1 << 30) -> dict[str, Tensor]:
    """Return a batch: pixel_values, labels padded on the right with -100, answer_index.

    Lengths are rounded up, so that few shapes occur, but never beyond `limit` tokens. Where a
    row has a prompt, `asked` holds the prompts in the places before the labels.
    """
    longest = padded_length(max(len(prompt) + len(target) for _, target, prompt in rows), limit)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    asked = torch.full_like(labels, IGNORED)
    for row, (_, target, prompt) in enumerate(rows):
        labels[row, len(prompt) : len(prompt) + len(target)] = torch.tensor(target)
        asked[row, : len(prompt)] = torch.tensor(prompt, dtype=torch.long)
    pixels = torch.from_numpy(np.stack([pixels for pixels, _, _ in rows]))
    batch = {"pixel_values": pixels, "labels": labels, "answer_index": answer_positions(labels)}
    return {**batch, "asked": asked} if any(prompt for _, _, prompt in rows) else batch


class EncoderDecoderTraining:
    """The harness's view of TrOCR, Donut and their like."""

    name = "encoder_decoder"

    def __init__(self, settings: RunSpec) -> None:
        """Load the tokenizer and the image preparation; weights come with `build`."""
        self.settings = settings
        source = processor_path(settings.model, settings.base)
        self.tokenizer = load_tokenizer(source)
        self.image_input = load_image_input(source)
        decoder = read_json(settings.base / "config.json").get("decoder", {})
        kind = str(decoder.get("model_type", ""))
        if kind not in TRAINABLE_DECODERS:
            raise UserError(
                f"{settings.base}: its text decoder ({kind or 'without model_type'}) cannot be "
                f"trained here; decoders that can: {', '.join(TRAINABLE_DECODERS)}"
            )
        positions = int(decoder.get("max_position_embeddings", 512))
        self.positions = encoder_decoder.label_positions(kind, positions)
        self.limit = min(settings.train.max_target_length, self.positions)
        self.eos = encoder_decoder.special_tokens(settings.base, self.tokenizer).end

    def audit(self, samples: Sequence[Sample]) -> Audit:
        """Count labels that are cut or hold unknown characters; reject empty ones."""
        labels, asked = token_ids(self.tokenizer, samples), self._prompts(samples).lengths
        return audit_labels(samples, labels, self.limit, self.tokenizer.unk_token_id, asked)

    def build(self, audit: Audit | None = None) -> nn.Module:
        """Return the base model with LoRA, or with its own weights free for lora.rank 0."""
        settings = self.settings
        checkpoint, adapter = starting_point(settings)
        full = settings.lora.rank == 0
        loaded = encoder_decoder.load_base(
            trained_config(settings.model),
            checkpoint,
            loading_device(settings),
            master_weights=full,
        )
        model: Any = loaded.model
        frozen = settings.train.freeze == "backbone"
        model.fp16_accumulation = settings.model.fp16_accumulation
        model.requires_grad_(full)
        if full and frozen:
            encoder_decoder.freeze_vision(model)
        elif adapter is not None and not full:
            model = add_adapter(model, adapter, trainable=True)
        elif not full:
            targets, within = encoder_decoder_scope(freeze_backbone=frozen)
            model = wrap_for_training(model, settings.lora, targets, within)
        if settings.train.gradient_checkpointing:
            # After PEFT, which would ask the image encoder's inputs for gradients (a tuple in
            # Donut): checkpoints that do not re-enter need none.
            part = base_model(model).decoder if frozen else base_model(model)
            part.gradient_checkpointing_enable({"use_reentrant": False})
        if full:
            full_model: nn.Module = model.train()
            return full_model
        base_model(model).graphs_allowed = (
            on_gpu()
            and not settings.train.gradient_checkpointing
            and base_model(model).fast_decoder
            and settings.model.quantization != "8bit"  # bitsandbytes waits for the GPU there
        )
        trained: nn.Module = model.train()
        return trained

    def data(self, samples: Sequence[Sample], labels: Any = None) -> EncoderDecoderRows:
        """Return the training rows."""
        ids = token_ids(self.tokenizer, samples) if labels is None else labels
        prompts = self._prompts(samples)
        targets = Labels(
            [*text, self.eos][: self.limit - asked]
            for text, asked in zip(ids, prompts.lengths, strict=True)
        )
        root = self.settings.image_root
        return EncoderDecoderRows(samples, targets, root, self.image_input, prompts)

    def _prompts(self, samples: Sequence[Sample]) -> Labels:
        """Return the ids of each row's prompt, which is empty for plain transcription."""
        return Labels(
            encoder_decoder.prompt_ids(self.tokenizer, task_prompt(self.tokenizer, sample))
            for sample in samples
        )

    def collate(self, rows: list[Row]) -> dict[str, Any]:
        """Return pixels and padded labels."""
        return collate_encoder_decoder(rows, self.positions)

    def read(self, model: nn.Module, samples: Sequence[Sample]) -> Iterator[Recognition]:
        """Yield the greedy text of each sample."""
        reader = EncoderDecoder(
            model,
            self.tokenizer,
            self.image_input,
            name=self.settings.model.id,
            batch_size=self.settings.train.eval_batch_size,
            max_new_tokens=self.settings.train.generation_max_length,
        )
        root, asked = self.settings.image_root, prompts_of(reader, samples)
        yield from read_beside_graphs(
            lambda: reader.recognize((partial(load_sample, s, root) for s in samples), asked),
            base_model(model).release_graphs,
        )

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the LoRA adapter, or the full checkpoint for lora.rank 0."""
        save_trained(model, folder, self.settings, self.name)

    def restore(self, model: nn.Module, folder: Path) -> None:
        """Load what `save` wrote."""

        def load(checkpoint: Path) -> nn.Module:
            config = trained_config(self.settings.model)
            loaded = encoder_decoder.load_base(config, checkpoint, master_weights=True)
            full_model: nn.Module = loaded.model
            return full_model

        restore_trained(model, folder, self.settings, load)
