"""Training of the `encoder_decoder` family (see `training.family.TrainingFamily`)."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from manifold_ocr.files import read_json
from manifold_ocr.images import load_sample
from manifold_ocr.models import encoder_decoder
from manifold_ocr.models.base import Recognition
from manifold_ocr.models.encoder_decoder import EncoderDecoder
from manifold_ocr.models.image_input import load_image_input
from manifold_ocr.models.lora_targets import encoder_decoder_scope
from manifold_ocr.models.peft_layers import add_adapter, base_model, wrap_for_training
from manifold_ocr.models.precision import processor_path
from manifold_ocr.records import Sample
from manifold_ocr.training.encoder_decoder_data import (
    EncoderDecoderRows,
    Row,
    collate_encoder_decoder,
)
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


class EncoderDecoderTraining:
    """The harness's view of TrOCR, Donut and their like."""

    name = "encoder_decoder"

    def __init__(self, settings: TrainingSettings) -> None:
        """Load the tokenizer and the image preparation; weights come with `build`."""
        from transformers import AutoTokenizer

        self.settings = settings
        source = processor_path(settings.model, settings.base)
        self.tokenizer = AutoTokenizer.from_pretrained(source)
        self.image_input = load_image_input(source)
        decoder = read_json(settings.base / "config.json").get("decoder", {})
        self.positions = int(decoder.get("max_position_embeddings", 512))
        self.limit = min(settings.train.max_target_length, self.positions)
        eos = decoder.get("eos_token_id")
        self.eos = self.tokenizer.eos_token_id if eos is None else eos

    def audit(self, samples: Sequence[Sample]) -> Audit:
        """Count labels that are cut or hold unknown characters; reject empty ones."""
        return audit_labels(samples, self._tokenise, self.limit, self.tokenizer.unk_token_id)

    def build(self) -> nn.Module:
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
        if settings.train.gradient_checkpointing:
            part = model.decoder if frozen else model
            part.gradient_checkpointing_enable({"use_reentrant": False})
        if full:
            if frozen:
                encoder_decoder.freeze_vision(model)
            full_model: nn.Module = model.train()
            return full_model
        model.requires_grad_(False)
        if adapter is not None:
            model = add_adapter(model, adapter, trainable=True)
        else:
            targets, within = encoder_decoder_scope(freeze_backbone=frozen)
            model = wrap_for_training(model, settings.lora, targets, within)
        base_model(model).graphs_allowed = (
            on_gpu()
            and not settings.train.gradient_checkpointing
            and settings.model.quantization != "8bit"  # bitsandbytes waits for the GPU there
        )
        trained: nn.Module = model.train()
        return trained

    def data(self, samples: Sequence[Sample]) -> EncoderDecoderRows:
        """Return the training rows."""
        targets = [[*self._tokenise(sample.text), self.eos][: self.limit] for sample in samples]
        return EncoderDecoderRows(samples, targets, self.settings.image_root, self.image_input)

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
        root = self.settings.image_root
        yield from read_beside_graphs(
            lambda: reader.recognise(partial(load_sample, sample, root) for sample in samples),
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

    def _tokenise(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
