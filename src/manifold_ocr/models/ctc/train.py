"""Training of the `ctc` family: the head on cached features, or the whole recognizer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json
from manifold_ocr.images import load_sample
from manifold_ocr.models.adapter_files import ctc_scope, is_adapter, write_origin
from manifold_ocr.models.base import Audit, Recognition, RunSpec
from manifold_ocr.models.ctc import model as ctc
from manifold_ocr.models.ctc.decode import (
    Vocabulary,
    audit_labels,
    decode_frames,
    label_text,
    line_pixels,
    line_width,
)
from manifold_ocr.models.ctc.features import FeatureCache
from manifold_ocr.models.ctc.grown_head import (
    grow_head,
    grown_layer,
    plain_head,
    restore_grown,
    save_grown,
)
from manifold_ocr.models.ctc.loss import LineTargets, Workspace, ctc_head_loss
from manifold_ocr.models.ctc.torch_parts import (
    backbone_features,
    core,
    head_hidden,
    load_recognizer,
)
from manifold_ocr.models.ctc.vocabulary import Growth, character_list, growth_for, read_growth
from manifold_ocr.models.family import TrainingData
from manifold_ocr.models.lora import add_lora, attach, restore_adapter, save_adapter
from manifold_ocr.records import Sample
from manifold_ocr.resources import progress

Row = tuple[np.ndarray, list[int]]


@dataclass(frozen=True)
class FeatureRows:
    """Rows (features (C, T) float16, classes of the text), features read from the cache."""

    keys: Sequence[str]
    classes: Sequence[list[int]]
    lengths: Sequence[int]
    cache: FeatureCache

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.keys)

    def __getitem__(self, index: int) -> Row:
        """Return one row."""
        features = self.cache.get(self.keys[index])
        assert features is not None, f"features of {self.keys[index]} left the cache"
        return features, self.classes[index]


@dataclass(frozen=True)
class PixelRows:
    """Rows (pixels (3, 48, W) float32, classes of the text), for a backbone that is trained."""

    samples: Sequence[Sample]
    classes: Sequence[list[int]]
    lengths: Sequence[int]
    image_root: Path

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        """Open, crop and scale one line."""
        return line_pixels(load_sample(self.samples[index], self.image_root))[0], self.classes[
            index
        ]


def collate_lines(rows: list[Row]) -> dict[str, Any]:
    """Return `groups`, a list of tensors of equal width, and the targets of all lines.

    Lines are never padded: a line's features see its own pixels only. Lines are ordered by
    width, so that the groups' frames, one after the other, are in the order of the targets.
    """
    ordered = sorted(rows, key=lambda row: row[0].shape[-1])
    groups = [
        torch.from_numpy(np.stack([row[0] for row in group]).astype(np.float32))
        for _, group in groupby(ordered, key=lambda row: row[0].shape[-1])
    ]
    return {"groups": groups, **line_labels([row[1] for row in ordered])}


def line_labels(texts: Sequence[list[int]]) -> dict[str, Tensor]:
    """Return padded `classes`, `labels` and true lengths `characters` (see `LineTargets`)."""
    distinct = [[0, *sorted(set(text))] for text in texts]
    classes = torch.full((len(texts), max(map(len, distinct))), -1, dtype=torch.long)
    labels = torch.zeros((len(texts), max(map(len, texts))), dtype=torch.long)
    for row, (text, known) in enumerate(zip(texts, distinct, strict=True)):
        place = {value: index for index, value in enumerate(known)}
        classes[row, : len(known)] = torch.tensor(known)
        labels[row, : len(text)] = torch.tensor([place[value] for value in text])
    lengths = torch.tensor([len(text) for text in texts])
    return {"classes": classes, "labels": labels, "characters": lengths}


def targets_of(batch: dict[str, Tensor], frames: Tensor) -> LineTargets:
    """Return the targets of a batch whose lines have `frames` (N,) frames.

    A line's loss counts per character and lines count alike, as in torch's `mean`.
    """
    characters = batch["characters"]
    return LineTargets(
        classes=batch["classes"],
        labels=batch["labels"],
        frames=frames,
        characters=characters,
        weights=1.0 / (characters * len(characters)),
    )


READ_FRAMES = 1024  # frames whose logits are computed together when reading


class CtcTrainee(nn.Module):
    """The recognizer with its loss as `forward`; batch norms keep their statistics.

    An adapter does not save running statistics, so letting them move would make the saved
    adapter read otherwise than the trained model.
    """

    def __init__(self, recognizer: nn.Module, cached: bool) -> None:
        """`cached` says that batches hold features; otherwise they hold pixels."""
        super().__init__()
        self.recognizer = recognizer
        self.cached = cached
        self.workspace = Workspace()

    def train(self, mode: bool = True) -> "CtcTrainee":
        """Set training mode, except for batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def hidden(self, groups: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return all frames (M, H) of the groups' lines and the frames (N,) of each line."""
        parts, frames = [], []
        for group in groups:
            features = (
                group[:, :, None] if self.cached else backbone_features(self.recognizer, group)
            )
            hidden = head_hidden(self.recognizer, features)
            parts.append(hidden.flatten(0, 1))
            frames += [hidden.shape[1]] * hidden.shape[0]
        return torch.cat(parts), torch.tensor(frames, device=parts[0].device)

    def forward(self, groups: Sequence[Tensor], **labels: Tensor) -> dict[str, Tensor]:
        """Return the CTC loss of a batch (see `training.ctc_data.collate_lines`)."""
        hidden, frames = self.hidden(groups)
        layer = core(self.recognizer).head.head
        inner = up = None
        if hasattr(layer, "lora_A"):
            low = layer.lora_A["default"](layer.lora_dropout["default"](hidden))
            inner, up = low * layer.scaling["default"], layer.lora_B["default"].weight
        loss = ctc_head_loss(
            hidden, inner, layer.weight, up, layer.bias, targets_of(labels, frames), self.workspace
        )
        return {"loss": loss}

    @torch.no_grad()
    def best_frames(self, hidden: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return winning classes and their probabilities of frames (M, H)."""
        logits = core(self.recognizer).head.head(hidden)
        best = logits.argmax(-1)
        probability = torch.softmax(logits, -1).amax(-1)
        return best.cpu().numpy(), probability.cpu().numpy()


class CtcTraining:
    """The harness's view of the ctc family (see `training.family.TrainingFamily`).

    With `train.freeze: backbone` a line passes the backbone once, ever: its features are
    cached and only the head is trained. The recognizer is trained in float32.
    """

    name = "ctc"

    def __init__(self, settings: RunSpec) -> None:
        """Load characters and the reader whose features are cached."""
        self.settings = settings
        self.cached = settings.train.freeze == "backbone"
        self.start = Path(settings.train.init_from) if settings.train.init_from else None
        if self.start is not None and not self.start.is_dir():
            raise UserError(f"train.init_from: {self.start} is no folder; name an adapter folder")
        self.characters = character_list(settings.base, self.start)
        self.words = Vocabulary(self.characters)
        self.growth = read_growth(self.start)
        self._vocabulary_known = self.start is not None  # it is that of the first weights
        self._reader: ctc.CtcModel | None = None
        self._cache: FeatureCache | None = None
        self._keys: dict[str, str] = {}
        self._frames: dict[str, int] = {}

    def audit(self, samples: Sequence[Sample]) -> Audit:
        """Reject rows with unknown characters or too few frames; features are cached here.

        The first rows that are looked at decide the vocabulary: they are the training rows.
        """
        self._measure(samples)
        if not self._vocabulary_known:
            labels = (label_text(sample.text) for sample in samples)
            wanted = self.settings.model.vocabulary
            self._follow(growth_for(wanted, self.characters, labels))
        frames = [self._frames[sample.id] for sample in samples]
        audit = audit_labels(samples, frames, self.words)
        counts = {**audit.counts, "added_characters": len(self.growth.added)}
        details = {**audit.details, "added_characters": "".join(self.growth.added)}
        return replace(audit, counts=counts, details=details, labels=self.growth)

    def _follow(self, growth: Growth) -> None:
        if not self._vocabulary_known:
            self.characters = growth.characters(self.characters)
            self.words = Vocabulary(self.characters)
            self.growth, self._vocabulary_known = growth, True

    def build(self, audit: Audit | None = None) -> CtcTrainee:
        """Return base model with LoRA (or unfrozen weights), or the adapter of `init_from`."""
        settings = self.settings
        if audit is not None:
            self._follow(audit.labels)
        start = self.start
        full = start is not None and not is_adapter(start)
        model: Any = load_recognizer(start if full and start is not None else settings.base)
        if self.growth and start is None:
            grow_head(model, self.growth, character_list(settings.base))
        within = "head." if self.cached else ""
        if settings.lora.rank == 0:
            plain_head(model)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name.startswith(within))
        elif start is not None and not full:
            model = attach(model, start, trainable=True)
        else:
            targets, within = ctc_scope(freeze_backbone=self.cached)
            model = add_lora(model, settings.lora, targets, within)
        if (layer := grown_layer(core(model))) is not None:
            layer.trainable()
        return CtcTrainee(model, self.cached)

    def data(self, samples: Sequence[Sample], labels: Any = None) -> TrainingData:
        """Return the training rows; every label was checked by `audit`."""
        self._measure(samples)
        classes = [self._encode(sample) for sample in samples]
        lengths = [self._frames[sample.id] for sample in samples]
        if not self.cached:
            return PixelRows(samples, classes, lengths, self.settings.image_root)
        keys = [self._keys[sample.id] for sample in samples]
        return FeatureRows(keys, classes, lengths, self._open_cache())

    def collate(self, rows: list[Row]) -> dict[str, Any]:
        """Return groups of equal width and their labels."""
        return collate_lines(rows)

    @torch.no_grad()
    def read(self, model: nn.Module, samples: Sequence[Sample]) -> Iterator[Recognition]:
        """Yield the greedy text of each sample; lines of equal width are read together."""
        assert isinstance(model, CtcTrainee)
        self._measure(samples)
        device = next(model.parameters()).device
        order = sorted(range(len(samples)), key=lambda i: self._frames[samples[i].id])
        results: dict[int, Recognition] = {}
        for frames, same in groupby(order, key=lambda i: self._frames[samples[i].id]):
            indices, step = list(same), max(1, READ_FRAMES // frames)
            for start in range(0, len(indices), step):
                part = indices[start : start + step]
                rows = np.stack([self._input(samples[i]) for i in part])
                hidden, _ = model.hidden([torch.from_numpy(rows.astype(np.float32)).to(device)])
                best, probability = model.best_frames(hidden)
                for place, index in enumerate(part):
                    span = slice(place * frames, (place + 1) * frames)
                    results[index] = decode_frames(best[span], probability[span], self.characters)
        yield from (results[i] for i in range(len(samples)))

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the LoRA adapter, or the full checkpoint for lora.rank 0."""
        assert isinstance(model, CtcTrainee)
        config = self.settings.model
        trained: Any = model.recognizer
        if self.settings.lora.rank:
            save_adapter(trained, folder, base_name(self.settings), config.revision)
            if self.growth:
                save_grown(core(trained), self.growth, folder)
        else:
            trained.save_pretrained(folder, safe_serialization=True)
            facts = read_json(self.settings.base / "preprocessor_config.json")
            facts["character_list"] = self.characters
            write_json(folder / "preprocessor_config.json", facts)
        for path in folder.glob("*.safetensors"):
            path.chmod(0o644)
        origin = {"base_id": config.id, "base_revision": config.revision, "family": self.name}
        write_origin(folder, self.settings.base, origin)

    def restore(self, model: nn.Module, folder: Path) -> None:
        """Load what `save` wrote."""
        assert isinstance(model, CtcTrainee)
        if self.settings.lora.rank:
            restore_adapter(model.recognizer, folder)
            restore_grown(core(model.recognizer), folder)
        else:
            from safetensors.torch import load_file

            model.recognizer.load_state_dict(load_file(folder / "model.safetensors"))

    def _encode(self, sample: Sample) -> list[int]:
        classes = self.words.encode(label_text(sample.text))
        if not classes:
            raise UserError(f"row {sample.id}: its label cannot be learned; audit the rows first")
        return classes

    def _measure(self, samples: Sequence[Sample]) -> None:
        new = [sample for sample in samples if sample.id not in self._frames]
        if not new:
            return
        if not self.cached:
            root = self.settings.image_root
            sizes = ctc.ordered_map(lambda s: line_width(load_sample(s, root).size) // 8, new)
            for sample, frames in zip(new, sizes, strict=True):
                self._frames[sample.id] = frames
            return
        cache = self._open_cache()
        keys = self._open_reader().cache_samples(new, self.settings.image_root, cache)
        paired = zip(new, progress(keys, "frozen features", len(new), "line"), strict=True)
        for sample, key in paired:
            self._keys[sample.id] = key
            self._frames[sample.id] = cache.frames(key)
        cache.close()

    def _input(self, sample: Sample) -> np.ndarray:
        if not self.cached:
            pixels: np.ndarray = line_pixels(load_sample(sample, self.settings.image_root))[0]
            return pixels
        features = self._open_cache().get(self._keys[sample.id])
        assert features is not None, f"features of row {sample.id} left the cache"
        return features

    def _open_reader(self) -> ctc.CtcModel:
        if self._reader is None:
            self._reader = ctc.load(self.settings.model, self.settings.base, None, None)
        return self._reader

    def _open_cache(self) -> FeatureCache:
        if self._cache is None:
            self._cache = self._open_reader().open_cache()
        return self._cache


def base_name(settings: RunSpec) -> str:
    """Return how an adapter names its base: the hub id, or the folder as the project sees it."""
    return settings.model.id if settings.model.revision else settings.base.as_posix()
