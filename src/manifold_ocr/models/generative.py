"""What the two generative families share in training: label audit, saving, restoring, starting."""

import shutil
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LogitsProcessor
from transformers.models.trocr.modeling_trocr import (
    TrOCRDecoder,
    TrOCRSinusoidalPositionalEmbedding,
)

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json
from manifold_ocr.models.adapter_files import is_adapter, write_origin
from manifold_ocr.models.base import Audit, Recognition, RunSpec
from manifold_ocr.models.device import local_device
from manifold_ocr.models.lora import (
    base_model,
    restore_adapter,
    save_adapter,
)
from manifold_ocr.models.quiet import without_library_notes
from manifold_ocr.records import Rejection, Sample

EMPTY, NO_ROOM = "empty_label", "prompt_too_long"
TOKENIZED = 1024  # texts at a time
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pt", ".h5", ".msgpack", ".onnx"}


class Labels(Sequence[list[int]]):
    """Token ids of many texts, held in one array: a million lists take a gigabyte."""

    def __init__(self, rows: Iterable[Sequence[int]] = ()) -> None:
        self._flat, self._ends = array("i"), array("q")
        for ids in rows:
            self.append(ids)

    def append(self, ids: Sequence[int]) -> None:
        """Add the ids of one more text."""
        self._flat.extend(ids)
        self._ends.append(len(self._flat))

    @cached_property
    def lengths(self) -> list[int]:
        """Return how many ids each text has; asked for once all are there."""
        return np.diff(self._ends, prepend=0).tolist()  # type: ignore[no-any-return]

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        """Return the ids of one text."""
        if index < 0:
            index += len(self)
        return self._flat[self._ends[index - 1] if index else 0 : self._ends[index]].tolist()


def token_ids(tokenizer: Any, samples: Sequence[Sample]) -> Iterator[list[int]]:
    """Yield the ids of each sample's text without an end token; texts are tokenized in batches."""
    for start in range(0, len(samples), TOKENIZED):
        texts = [sample.text for sample in samples[start : start + TOKENIZED]]
        encoded = tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        yield from encoded["input_ids"]


def audit_labels(
    samples: Sequence[Sample],
    labels: Iterable[Sequence[int]],
    limit: int,
    unknown: int | None,
    asked: Iterable[int] = (),
) -> Audit:
    """Count what labels lose: tokens beyond `limit`, characters the tokenizer does not know.

    `labels` are the texts' ids without an end token, `asked` the tokens of a prompt that count
    for the limit too. Rows without any token, or without room for one, are rejected. A label
    that is too long is kept but cut (without an end token), and counted by subset.
    """
    kept, rejected, known = [], [], Labels()
    lost: Counter[str] = Counter()
    cut: Counter[str] = Counter()
    unknown_rows = 0
    for sample, ids, before in zip(samples, labels, chain(asked, repeat(0)), strict=False):
        if not sample.text.strip() or not ids:
            detail = "the label holds no token of this tokenizer"
            rejected.append(_rejection(sample, EMPTY, detail))
            continue
        if before + 2 > limit:
            detail = f"its prompt takes {before} of {limit} tokens; raise train.max_target_length"
            rejected.append(_rejection(sample, NO_ROOM, detail))
            continue
        kept.append(sample)
        known.append(ids)
        unknown_rows += unknown is not None and unknown in ids
        if before + len(ids) + 1 > limit:
            cut[sample.subset] += 1
            lost[sample.subset] += before + len(ids) + 1 - limit
    reasons = Counter(row.reason for row in rejected)
    counts = {
        "rows": len(samples),
        "kept": len(kept),
        **{f"rejected_{reason}": reasons[reason] for reason in sorted({EMPTY, *reasons})},
        "truncated_rows": cut.total(),
        "truncated_tokens": lost.total(),
        "rows_with_unknown_token": unknown_rows,
    }
    details = {"truncated_rows_by_subset": dict(sorted(cut.items()))}
    details["truncated_tokens_by_subset"] = dict(sorted(lost.items()))
    return Audit(kept=kept, rejected=rejected, counts=counts, details=details, labels=known)


def _rejection(sample: Sample, reason: str, detail: str) -> Rejection:
    return Rejection(corpus=sample.corpus, source=sample.id, reason=reason, detail=detail)


def starting_point(settings: RunSpec) -> tuple[Path, Path | None]:
    """Return (checkpoint folder to load, adapter to go on from or None) for `train.init_from`.

    Raises:
        UserError: init_from is no folder.
    """
    if not settings.train.init_from:
        return settings.base, None
    start = Path(settings.train.init_from)
    if not start.is_dir():
        raise UserError(f"train.init_from: {start} is no folder; name an adapter folder")
    return (settings.base, start) if is_adapter(start) else (start, None)


def save_trained(model: nn.Module, folder: Path, settings: RunSpec, family: str) -> None:
    """Write the adapter, or for lora.rank 0 the full checkpoint with its tokenizer files."""
    config = settings.model
    if settings.lora.rank:
        name = config.id if config.revision else settings.base.as_posix()
        save_adapter(model, folder, name, config.revision)
    else:
        _save_full(model, folder, settings.base)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)
    origin = {"base_id": config.id, "base_revision": config.revision, "family": family}
    write_origin(folder, settings.base, origin)


def _save_full(model: nn.Module, folder: Path, base: Path) -> None:
    with without_library_notes():
        base_model(model).save_pretrained(folder, safe_serialization=True)
    written = read_json(folder / "config.json")
    written["architectures"] = read_json(base / "config.json").get("architectures")
    write_json(folder / "config.json", written)
    if (base / "generation_config.json").is_file():  # reading drops its rules, others may want them
        shutil.copyfile(base / "generation_config.json", folder / "generation_config.json")
    for path in base.iterdir():
        wanted = path.is_file() and path.suffix not in WEIGHT_SUFFIXES
        if wanted and not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)


def restore_trained(
    model: nn.Module, folder: Path, settings: RunSpec, load: Callable[[Path], nn.Module]
) -> None:
    """Load what `save_trained` wrote into `model`, in place.

    `load` reads a full checkpoint the library's way (names on disk differ from those in
    memory for some architectures).
    """
    if settings.lora.rank:
        restore_adapter(model, folder)
    else:
        base_model(model).load_state_dict(load(folder).state_dict())


def read_beside_graphs(
    read: Callable[[], Iterator[Recognition]], release_graphs: Callable[[], None]
) -> list[Recognition]:
    """Return what `read` yields; where memory ends, free the captured steps and read anew.

    Capturing them again takes seconds after every validation, so they are given up only where
    their memory is wanted.
    """
    with suppress(torch.OutOfMemoryError):
        return list(read())
    release_graphs()
    torch.cuda.empty_cache()
    return list(read())


def loading_device(settings: RunSpec) -> str:
    """Return where weights are loaded: quantized ones straight to this process's GPU."""
    return "cpu" if settings.model.quantization == "none" else local_device()


UNUSED = ".pooler."  # ViT's pooler: no text comes from it, and OCR checkpoints leave it out


def load_pretrained(kind: Any, folder: Path | str, **options: Any) -> Any:
    """Return `kind.from_pretrained(folder)` from safetensors; name weights that it had to draw.

    Raises:
        UserError: the folder holds no such checkpoint.
    """
    try:
        with without_library_notes():
            model, found = kind.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **options
            )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: not a usable {kind.__name__} checkpoint: {error}") from error
    fill_sinusoidal_positions(model)
    missing = sorted(name for name in found["missing_keys"] if UNUSED not in name)
    if missing:
        print(
            f"warning: {folder} lacks {len(missing)} weights, which are drawn at random: "
            f"{', '.join(missing[:3])}; fetch the checkpoint again",
            file=sys.stderr,
        )
    return model


def fill_sinusoidal_positions(model: nn.Module) -> None:
    """Compute TrOCR's sinusoidal positions again, as buffers that follow the model's device.

    They are in no checkpoint, and the library keeps them as a plain attribute: loading
    leaves that without data (on the meta device), and moving the model leaves it behind.
    """
    for module in model.modules():
        if not isinstance(module, TrOCRDecoder):
            continue
        positions, tokens = module.embed_positions, module.embed_tokens.weight
        if not isinstance(positions, TrOCRSinusoidalPositionalEmbedding):
            continue
        rows = positions.weights.shape[0]
        table = positions.get_embedding(rows, positions.embedding_dim, positions.padding_idx)
        positions.__dict__.pop("weights", None)
        positions.register_buffer("weights", table.to(tokens.device, tokens.dtype), False)


def load_tokenizer(path: Path | str) -> Any:
    """Return the tokenizer of a checkpoint folder: tokenizer.json, vocab and merges, or spm.

    Raises:
        UserError: the folder has none, or one that needs a package that is not installed.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: its tokenizer needs a package that is not installed ({reason}); install "
            "it, or set model.processor_id to a checkpoint with a tokenizer.json"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: no usable tokenizer: {error}") from error


class ConfidenceRecorder(LogitsProcessor):
    """Record each step's highest probability; averages stop at a row's end of text.

    Keeps [rows] floats a step instead of all scores ([rows, vocabulary] a step).
    """

    def __init__(self, eos_token_id: int | list[int]) -> None:
        self.ends = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
        self.steps: list[tuple[Tensor, Tensor]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Note the probability and whether the choice ends the text; return `scores` as is."""
        best, token = scores.max(dim=-1)
        probability = torch.exp(best.float() - torch.logsumexp(scores.float(), dim=-1))
        ends = torch.zeros_like(token, dtype=torch.bool)
        for end in self.ends:
            ends |= token == end
        self.steps.append((probability, ends))
        return scores

    def means(self) -> list[float]:
        """Return the mean probability of each row's tokens up to and including its end."""
        probability = torch.stack([step[0] for step in self.steps], dim=1).cpu()
        ended = torch.stack([step[1] for step in self.steps], dim=1).cpu().int().cumsum(1)
        counted = torch.cat([torch.ones_like(ended[:, :1]), (ended[:, :-1] == 0).int()], dim=1)
        return ((probability * counted).sum(1) / counted.sum(1)).tolist()
