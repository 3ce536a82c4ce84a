"""Training of the `ctc` family: the head or the last stage on cached features, or all of it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json
from manifold_ocr.models.adapter_files import CTC_FREE, ctc_scope, is_adapter, write_origin
from manifold_ocr.models.base import Audit, Recognition, RunSpec
from manifold_ocr.models.ctc import model as ctc
from manifold_ocr.models.ctc.decode import (
    STRIDE,
    Vocabulary,
    audit_labels,
    decode_frames,
    label_text,
)
from manifold_ocr.models.ctc.features import FeatureCache
from manifold_ocr.models.ctc.grown_head import (
    grow_head,
    grown_layer,
    plain_head,
    restore_grown,
    save_grown,
)
from manifold_ocr.models.ctc.likely import likely_classes
from manifold_ocr.models.ctc.loss import Workspace, best_classes, ctc_head_loss
from manifold_ocr.models.ctc.onnx import OnnxHead
from manifold_ocr.models.ctc.onnx_weights import has_onnx
from manifold_ocr.models.ctc.pixels import LinePixels, float_pixels
from manifold_ocr.models.ctc.rows import FeatureRows, PixelRows, Row, collate_lines, targets_of
from manifold_ocr.models.ctc.stages import FRAME_COLUMNS, early_reader, late_features
from manifold_ocr.models.ctc.torch_parts import (
    backbone_features,
    core,
    fold_norms,
    head_hidden,
    load_recognizer,
)
from manifold_ocr.models.ctc.vocabulary import Growth, character_list, growth_for, read_growth
from manifold_ocr.models.device import on_gpu
from manifold_ocr.models.family import TrainingData
from manifold_ocr.models.lora import add_lora, attach, restore_adapter, save_adapter
from manifold_ocr.models.quiet import without_library_notes
from manifold_ocr.records import Sample
from manifold_ocr.resources import progress

READ_FRAMES = {"cpu": 1024, "cuda": 8192}  # whose logits are computed together when reading
GRAPH_ROWS = 64  # lines from which a graph of the trained head is worth its making
Inputs = Literal["features", "early", "pixels"]  # of the head, of the last stage, of all


class CtcTrainee(nn.Module):
    """The recognizer with its loss as `forward`; batch norms keep their statistics.

    An adapter does not save running statistics, so letting them move would make the saved
    adapter read otherwise than the trained model.
    """

    def __init__(self, recognizer: nn.Module, inputs: Inputs) -> None:
        """`inputs` says what batches hold."""
        super().__init__()
        self.recognizer = recognizer
        self.inputs = inputs
        self.workspace = Workspace()

    def train(self, mode: bool = True) -> "CtcTrainee":
        """Set training mode, except for batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def hidden(self, groups: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return all frames (M, H) of the groups' lines; on the CPU, how many each has (N,)."""
        parts, frames = [], []
        for group in groups:
            hidden = head_hidden(self.recognizer, self.features(group))
            parts.append(hidden.flatten(0, 1))
            frames += [hidden.shape[1]] * hidden.shape[0]
        return torch.cat(parts), torch.tensor(frames)

    def features(self, group: Tensor) -> Tensor:
        """Return the features (N, C, 1, T) of lines of equal width."""
        if self.inputs == "features":
            return group[:, :, None]
        if self.inputs == "early":
            return late_features(self.recognizer, group)
        return backbone_features(self.recognizer, float_pixels(group))

    def forward(
        self, groups: Sequence[Tensor], kept: Tensor | None = None, **labels: Any
    ) -> dict[str, Tensor]:
        """Return the CTC loss of a batch (see `rows.collate_lines`), over the classes `kept`."""
        hidden, frames = self.hidden(groups)
        inner, weight, up, bias = self._last_layer(hidden)
        if kept is not None:
            weight, bias = weight.index_select(0, kept), bias.index_select(0, kept)
            up = None if up is None else up.index_select(0, kept)
        targets = targets_of(labels, frames)
        loss = ctc_head_loss(hidden, inner, weight, up, bias, targets, self.workspace)
        return {"loss": loss}

    @torch.no_grad()
    def best_frames(self, hidden: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return winning classes and their probabilities of frames (M, H)."""
        best, probability = best_classes(hidden, *self._last_layer(hidden), self.workspace)
        return best.cpu().numpy(), probability.cpu().numpy()

    def _last_layer(self, hidden: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, Tensor]:
        """Return `inner`, `weight`, `up` and `bias` as `ctc_head_loss` takes them."""
        layer = core(self.recognizer).head.head
        if not hasattr(layer, "lora_A"):
            return None, layer.weight, None, layer.bias
        low = layer.lora_A["default"](layer.lora_dropout["default"](hidden))
        up = layer.lora_B["default"].weight
        return low * layer.scaling["default"], layer.weight, up, layer.bias


class CtcTraining:
    """The harness's view of the ctc family (see `training.family.TrainingFamily`).

    With `train.freeze: backbone` a line passes the backbone once, ever: its features are
    cached and only the head is trained. With `early` that holds for the stages before the last,
    on a CPU; a GPU computes them anew, which is faster than reading them. Weights are float32.
    """

    name = "ctc"

    def __init__(self, settings: RunSpec) -> None:
        """Load characters and the reader whose features are cached."""
        self.settings = settings
        freeze = settings.train.freeze
        kinds: dict[str, Inputs] = {"backbone": "features", "early": "early", "none": "pixels"}
        self.inputs = "pixels" if freeze == "early" and on_gpu() else kinds[freeze]
        self.start = Path(settings.train.init_from) if settings.train.init_from else None
        if self.start is not None and not self.start.is_dir():
            raise UserError(f"train.init_from: {self.start} is no folder; name an adapter folder")
        self.characters = character_list(settings.base, self.start)
        self.words = Vocabulary(self.characters)
        self.growth = read_growth(self.start)
        self._vocabulary_known = self.start is not None  # it is that of the first weights
        self._reader: ctc.CtcModel | None = None
        self._cache: FeatureCache | None = None
        self._pixels = LinePixels(settings.image_root, settings.train.dataloader_workers)
        self._keys: dict[str, str] = {}
        self._frames: dict[str, int] = {}
        self._kept: np.ndarray | None = None  # classes to train on; None: all

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
        if settings.lora.rank == 0:
            plain_head(model)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name.startswith(CTC_FREE[settings.train.freeze]))
        elif start is not None and not full:
            model = attach(model, start, trainable=True)
        else:
            targets, within = ctc_scope(settings.train.freeze)
            model = add_lora(model, settings.lora, targets, within)
        if (layer := grown_layer(core(model))) is not None:
            layer.trainable()
        if not on_gpu():
            fold_norms(model)
        elif self.inputs == "pixels":
            # CTC's gradient has no deterministic form on a GPU: to ask for the other kernels'
            # costs time (docs/log.md) and gains nothing
            torch.use_deterministic_algorithms(False)
        if self.inputs == "pixels":
            model = model.to(memory_format=torch.channels_last)
        return CtcTrainee(model, self.inputs)

    def data(self, samples: Sequence[Sample], labels: Any = None) -> TrainingData:
        """Return the training rows; every label was checked by `audit`."""
        self._measure(samples)
        classes = [self._encode(sample) for sample in samples]
        lengths = [self._frames[sample.id] for sample in samples]
        rows: PixelRows | FeatureRows
        if self.inputs == "pixels":
            rows = PixelRows(samples, classes, lengths, self._pixels)
        else:
            keys = [self._keys[sample.id] for sample in samples]
            rows = FeatureRows(keys, classes, lengths, self._open_cache())
        if not on_gpu():  # which computes all classes in less time than it takes to choose some
            base = self.build()
            layer = core(base.recognizer).head.head
            kept = likely_classes(base.hidden, layer, rows, self.settings.train.seed)
            self._kept = kept if self._kept is None else np.union1d(self._kept, kept)
        return rows

    def collate(self, rows: list[Row]) -> dict[str, Any]:
        """Return groups of equal width and their labels."""
        return collate_lines(rows, self._kept)

    @torch.no_grad()
    def read(self, model: nn.Module, samples: Sequence[Sample]) -> Iterator[Recognition]:
        """Yield the greedy text of each sample.

        Many lines are read as the stage evaluate reads them, where the base model has graphs: in
        half the time, and few together where other programs use the processors. Otherwise torch
        reads lines of equal width together.
        """
        assert isinstance(model, CtcTrainee)
        self._measure(samples)
        device = next(model.parameters()).device
        in_graph = self.inputs == "features" and has_onnx(self.settings.base)
        if in_graph and device.type == "cpu" and len(samples) >= GRAPH_ROWS:
            yield from self._read_by_graph(model, samples)
            return
        order = sorted(range(len(samples)), key=lambda i: self._frames[samples[i].id])
        results: dict[int, Recognition] = {}
        for frames, same in groupby(order, key=lambda i: self._frames[samples[i].id]):
            indices, step = list(same), max(1, READ_FRAMES[device.type] // frames)
            for start in range(0, len(indices), step):
                part = indices[start : start + step]
                rows = np.stack([self._input(samples[i]) for i in part])
                rows = rows if rows.dtype == np.uint8 else rows.astype(np.float32)
                # lines of all widths: cuDNN would plan anew for each, 0.2 s every time
                with torch.backends.cudnn.flags(enabled=self.inputs != "pixels"):
                    hidden, _ = model.hidden([torch.from_numpy(rows).to(device)])
                best, probability = model.best_frames(hidden)
                for place, index in enumerate(part):
                    span = slice(place * frames, (place + 1) * frames)
                    results[index] = decode_frames(best[span], probability[span], self.characters)
        yield from (results[i] for i in range(len(samples)))

    def _read_by_graph(self, model: CtcTrainee, samples: Sequence[Sample]) -> Iterator[Recognition]:
        with TemporaryDirectory() as folder:
            self.save(model, Path(folder))
            head = OnnxHead(self.settings.base, Path(folder))

        def one(sample: Sample) -> Recognition:
            return decode_frames(*head(self._input(sample)), self.characters)

        yield from ctc.ordered_map(one, samples)

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
            with without_library_notes():
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
        if self.inputs == "pixels":
            for _ in progress(self._pixels.add(new), "pixels of lines", len(new), "line"):
                pass
            for sample in new:
                self._frames[sample.id] = self._pixels.widths[sample.id] // STRIDE
            return
        columns = FRAME_COLUMNS if self.inputs == "early" else 1
        cache = self._open_cache()
        keys = self._open_reader().cache_samples(new, self.settings.image_root, cache)
        paired = zip(new, progress(keys, "frozen features", len(new), "line"), strict=True)
        for sample, key in paired:
            self._keys[sample.id] = key
            self._frames[sample.id] = cache.frames(key) // columns
        cache.close()

    def _input(self, sample: Sample) -> np.ndarray:
        if self.inputs == "pixels":
            return self._pixels[sample]
        features = self._open_cache().get(self._keys[sample.id])
        assert features is not None, f"features of row {sample.id} left the cache"
        return features

    def _open_reader(self) -> ctc.CtcModel:
        if self._reader is None:
            self._reader = ctc.load(self.settings.model, self.settings.base, None, None)
            if self.inputs == "early":
                self._reader = early_reader(self._reader, self.settings.base)
        return self._reader

    def _open_cache(self) -> FeatureCache:
        if self._cache is None:
            self._cache = self._open_reader().open_cache()
        return self._cache


def base_name(settings: RunSpec) -> str:
    """Return how an adapter names its base: the hub id, or the folder as the project sees it."""
    return settings.model.id if settings.model.revision else settings.base.as_posix()
