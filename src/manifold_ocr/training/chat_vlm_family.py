"""Training of the `chat_vlm` family (see `training.family.TrainingFamily`)."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch import nn

from manifold_ocr.images import load_sample, scaled_size
from manifold_ocr.models import chat_vlm
from manifold_ocr.models.base import Recognition
from manifold_ocr.models.chat_input import load_chat_input
from manifold_ocr.models.chat_vlm import ChatVlm
from manifold_ocr.models.fast.chat_step import freeze_graph_below
from manifold_ocr.models.lora_targets import chat_vlm_scope
from manifold_ocr.models.peft_layers import add_adapter, base_model, wrap_for_training
from manifold_ocr.models.precision import processor_path
from manifold_ocr.records import Sample
from manifold_ocr.training.chat_vlm_data import ChatRows, RopePositions, Row, collate_chat
from manifold_ocr.training.generative import (
    audit_labels,
    loading_device,
    read_beside_graphs,
    restore_trained,
    save_trained,
    starting_point,
)
from manifold_ocr.training.hardware import on_gpu, trained_config
from manifold_ocr.training.settings import Audit, TrainingSettings


class ChatVlmTraining:
    """The harness's view of Qwen2-VL, PaddleOCR-VL, GLM-OCR, LightOnOCR."""

    name = "chat_vlm"

    def __init__(self, settings: TrainingSettings) -> None:
        """Load tokenizer, image processor and template; weights come with `build`."""
        from transformers import AutoConfig, GenerationConfig

        self.settings = settings
        config = AutoConfig.from_pretrained(settings.base)
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
        return audit_labels(samples, self._tokenise, self.limit, unknown)

    def build(self) -> nn.Module:
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
        freeze_graph_below(chat_vlm.vision_tower(model))
        no_dropout = not (checkpointing and settings.lora.dropout > 0)
        eight_bit = settings.model.quantization == "8bit"
        step.graphs_allowed = on_gpu() and frozen and not full and no_dropout and not eight_bit
        trained: nn.Module = model.train()
        return trained

    def data(self, samples: Sequence[Sample]) -> ChatRows:
        """Return the training rows."""
        targets = [[*self._tokenise(s.text), self.ends[0]][: self.limit] for s in samples]
        lengths = [
            self.chat_input.vision_tokens(self._size(sample)) + len(target)
            for sample, target in zip(samples, targets, strict=True)
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
        root, questions = self.settings.image_root, [s.question for s in samples]
        yield from read_beside_graphs(
            lambda: reader.recognise((partial(load_sample, s, root) for s in samples), questions),
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

    def _tokenise(self, text: str) -> list[int]:
        return list(self.chat_input.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _size(self, sample: Sample) -> tuple[int, int]:
        """Return (width, height) of what the model is shown for a sample."""
        if sample.box is not None:
            x0, y0, x1, y1 = sample.box
            return max(1, round(x1 - x0)), max(1, round(y1 - y0))
        if sample.width and sample.height:
            return scaled_size((sample.width, sample.height), sample.max_pixels)
        with Image.open(self.settings.image_root / sample.image) as image:
            return scaled_size(image.size, sample.max_pixels)
