"""Training of the `chat_vlm` family (see `training.family.TrainingFamily`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from manifold_ocr.images import load_sample, scaled_size
from manifold_ocr.models.adapter_files import chat_vlm_scope
from manifold_ocr.models.base import Audit, Recognition, RunSpec, prompts_of
from manifold_ocr.models.chat_vlm import model as chat_vlm
from manifold_ocr.models.chat_vlm.fast_step import freeze_graph_below, shift_left
from manifold_ocr.models.chat_vlm.inputs import ChatInput, Encoded, load_chat_input
from manifold_ocr.models.chat_vlm.model import ChatVlm, join_images, token_types
from manifold_ocr.models.device import on_gpu, processor_path, trained_config
from manifold_ocr.models.generative import (
    Labels,
    audit_labels,
    loading_device,
    read_beside_graphs,
    restore_trained,
    save_trained,
    starting_point,
    token_ids,
)
from manifold_ocr.models.kernels.cross_entropy import IGNORED, answer_positions
from manifold_ocr.models.kernels.cuda_graphs import padded_length
from manifold_ocr.models.lora import add_adapter, base_model, wrap_for_training
from manifold_ocr.models.registry import library_config
from manifold_ocr.records import Sample

Row = tuple[Encoded, list[int]]


@dataclass(frozen=True)
class ChatRows(torch.utils.data.Dataset[Row]):
    """Map-style dataset: (prompt with its image, answer ids with the end token).

    Nothing here is random, so the rows are the same for any number of workers.
    """

    samples: Sequence[Sample]
    targets: Labels
    lengths: Sequence[int]
    image_root: Path
    chat_input: ChatInput

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        """Open, crop, resize and patchify one image; put the question before the answer."""
        sample = self.samples[index]
        image = load_sample(sample, self.image_root)
        return self.chat_input.encode(image, self.chat_input.prompt(sample)), self.targets[index]


class RopePositions:
    """Computes 3-d rotary positions on the CPU, in the worker that makes the batch.

    The model would compute them on the GPU, waiting for it several times. A weightless twin
    of the model (meta device) does the same arithmetic; None where a model has no such
    positions.
    """

    def __init__(self, model: Any) -> None:
        self.kind = type(model.model)
        self.config = model.config
        self.twin: Any = None

    def __call__(self, ids: Tensor, types: Tensor, grids: Tensor | None) -> Tensor | None:
        """Return positions [3, rows, length] int64."""
        if grids is None or not hasattr(self.kind, "get_rope_index"):
            return None
        if self.twin is None:
            with torch.device("meta"):
                self.twin = self.kind(self.config)
        positions: Tensor
        positions, _ = self.twin.get_rope_index(ids, image_grid_thw=grids, mm_token_type_ids=types)
        return positions


def collate_chat(
    rows: list[Row], pad_id: int, image_token_id: int, positions: RopePositions | None = None
) -> dict[str, Tensor]:
    """Return a batch: prompts and answers padded on the right, loss on the answers only.

    Rows end in their answer, attention is causal: what follows on the right cannot be seen,
    so no attention mask is needed. Lengths are rounded up, so that few shapes occur.
    """
    longest = max(len(prompt.input_ids) + len(answer) for prompt, answer in rows)
    shape = (len(rows), padded_length(longest, 1 << 30))
    ids = torch.full(shape, pad_id, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    for row, (prompt, answer) in enumerate(rows):
        start, end = len(prompt.input_ids), len(prompt.input_ids) + len(answer)
        ids[row, :end] = torch.tensor([*prompt.input_ids, *answer])
        labels[row, start:end] = torch.tensor(answer)
    images = join_images([prompt for prompt, _ in rows])
    types = token_types(ids, image_token_id)
    batch = {
        "input_ids": ids,
        "labels": labels,
        "mm_token_type_ids": types,
        "answer_index": answer_positions(shift_left(labels)),
        **images,
    }
    placed = positions(ids, types, images.get("image_grid_thw")) if positions else None
    return batch if placed is None else {**batch, "position_ids": placed}


class ChatVlmTraining:
    """The harness's view of Qwen2-VL, PaddleOCR-VL, GLM-OCR, LightOnOCR."""

    name = "chat_vlm"

    def __init__(self, settings: RunSpec) -> None:
        """Load tokenizer, image processor and template; weights come with `build`."""
        from transformers import GenerationConfig

        self.settings = settings
        config = library_config(settings.base)
        source = processor_path(settings.model, settings.base)
        self.chat_input = load_chat_input(config, source, settings.model.max_pixels)
        self.limit = settings.train.max_target_length
        generation = None
        if (settings.base / "generation_config.json").is_file():
            generation = GenerationConfig.from_pretrained(settings.base)
        self.ends = chat_vlm.end_tokens(generation, self.chat_input.tokenizer)
        self.positions: RopePositions | None = None

    def audit(self, samples: Sequence[Sample]) -> Audit:
        """Count answers that are cut or hold unknown characters; reject empty ones."""
        unknown = self.chat_input.tokenizer.unk_token_id
        labels = token_ids(self.chat_input.tokenizer, samples)
        return audit_labels(samples, labels, self.limit, unknown)

    def build(self, audit: Audit | None = None) -> nn.Module:
        """Return the base model with LoRA, or with its own weights free for lora.rank 0."""
        settings = self.settings
        checkpoint, adapter = starting_point(settings)
        full = settings.lora.rank == 0
        model: Any = chat_vlm.load_base(
            trained_config(settings.model),
            checkpoint,
            loading_device(settings),
            master_weights=full,
        ).model
        self.positions = RopePositions(model)
        frozen = settings.train.freeze == "backbone"
        checkpointing = settings.train.gradient_checkpointing
        if checkpointing:
            model.gradient_checkpointing_enable(
                {"use_reentrant": False, "preserve_rng_state": settings.lora.dropout > 0}
            )
        model.requires_grad_(full)
        step = model.training_step
        if full:
            if frozen:
                chat_vlm.freeze_vision(model)
        elif adapter is not None:
            model = add_adapter(model, adapter, trainable=True)
        else:
            targets, within = chat_vlm_scope(model, freeze_backbone=frozen)
            model = wrap_for_training(model, settings.lora, targets, within)
        freeze_graph_below(chat_vlm.vision_tower(model), settings.model.fp16_accumulation)
        no_dropout = not (checkpointing and settings.lora.dropout > 0)
        eight_bit = settings.model.quantization == "8bit"
        step.graphs_allowed = on_gpu() and frozen and not full and no_dropout and not eight_bit
        trained: nn.Module = model.train()
        return trained

    def data(self, samples: Sequence[Sample], labels: Any = None) -> ChatRows:
        """Return the training rows."""
        ids = token_ids(self.chat_input.tokenizer, samples) if labels is None else labels
        targets = Labels([*text, self.ends[0]][: self.limit] for text in ids)
        lengths = [
            self.chat_input.vision_tokens(self._size(sample)) + length
            for sample, length in zip(samples, targets.lengths, strict=True)
        ]
        return ChatRows(samples, targets, lengths, self.settings.image_root, self.chat_input)

    def collate(self, rows: list[Row]) -> dict[str, Any]:
        """Return ids, labels on the answers only, image arrays and positions."""
        pad = self.chat_input.tokenizer.pad_token_id
        pad = self.ends[0] if pad is None else pad
        return collate_chat(rows, pad, self.chat_input.image_token_id, self.positions)

    def read(self, model: nn.Module, samples: Sequence[Sample]) -> Iterator[Recognition]:
        """Yield the greedy answer for each sample."""
        reader = ChatVlm(
            model,
            self.chat_input,
            name=self.settings.model.id,
            batch_size=self.settings.train.eval_batch_size,
            max_new_tokens=self.settings.train.generation_max_length,
        )
        root, asked = self.settings.image_root, prompts_of(reader, samples)
        yield from read_beside_graphs(
            lambda: reader.recognize((partial(load_sample, s, root) for s in samples), asked),
            base_model(model).training_step.release_graphs,
        )

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the LoRA adapter, or the full checkpoint for lora.rank 0."""
        save_trained(model, folder, self.settings, self.name)

    def restore(self, model: nn.Module, folder: Path) -> None:
        """Load what `save` wrote."""

        def load(checkpoint: Path) -> nn.Module:
            config = trained_config(self.settings.model)
            loaded: nn.Module = chat_vlm.load_base(config, checkpoint, master_weights=True).model
            return loaded

        restore_trained(model, folder, self.settings, load)

    def _size(self, sample: Sample) -> tuple[int, int]:
        """Return (width, height) of what the model is shown for a sample."""
        if sample.box is not None:
            x0, y0, x1, y1 = sample.box
            return max(1, round(x1 - x0)), max(1, round(y1 - y0))
        if sample.width and sample.height:
            return scaled_size((sample.width, sample.height), sample.max_pixels)
        with Image.open(self.settings.image_root / sample.image) as image:
            return scaled_size(image.size, sample.max_pixels)
