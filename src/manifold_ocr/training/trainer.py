"""transformers' Trainer with what OCR needs: generated text, whole checkpoints, exact resume.

Several processes (torchrun) share validation and agree on scores and on a stop. It overrides
private members of Trainer, so pyproject.toml caps the version of transformers.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from transformers import Trainer, TrainingArguments

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json
from manifold_ocr.models.base import Recognition
from manifold_ocr.models.family import TrainingFamily
from manifold_ocr.models.kernels.cross_entropy import IGNORED
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.training.batches import StepSampler
from manifold_ocr.training.checkpoints import mark_complete, prune
from manifold_ocr.training.loader import NumberedRows, continue_epochs, end_workers, train_loader

LOSS_STATE = "loss_state.json"
CHECK_EVERY = 16  # steps between looks at the loss on a GPU, where each look waits for it

ScoreRows = Callable[[list[Prediction], int], dict[str, float]]
T = TypeVar("T")
Read = Callable[[Sequence[Sample]], Iterable[Recognition]]


class OcrTrainer(Trainer):
    """Trains a family's model; evaluates what it reads; saves checkpoints that are whole."""

    def __init__(
        self,
        *,
        family: TrainingFamily,
        model: nn.Module,
        args: TrainingArguments,
        train_samples: Sequence[Sample],
        val_samples: Sequence[Sample],
        scorer: ScoreRows,
        run_inputs: Mapping[str, Any],
        callbacks: list[Any],
        keep: int,
        labels: Any = None,
        patience: int = 0,
        resumed: Path | None = None,
    ) -> None:
        """`scorer` turns predictions and a step into metrics; `run_inputs` mark checkpoints.

        `labels` are those that the audit found. `keep` checkpoints stay beside the best; after
        `patience` evaluations without a better one training ends (0: never).
        """
        self.keep = keep
        self.patience = patience
        self.resumed = resumed
        self.family = family
        self.train_samples = train_samples
        self.val_samples = val_samples
        self.scorer = scorer
        self.run_inputs = run_inputs
        self.rows = family.data(train_samples, labels)
        self.sampler = StepSampler(
            self.rows.lengths,
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps * args.world_size,  # rows of a step on all GPUs
            seed=args.seed,
        )
        self._unchecked: list[tuple[int, Tensor, Tensor]] = []
        self._trained: list[nn.Parameter] = []
        self._loader: Any = None
        self.tokens_seen = 0
        self.evaluation_seconds = 0.0
        super().__init__(
            model=model,
            args=args,
            train_dataset=NumberedRows(self.rows),
            eval_dataset=list(val_samples),
            callbacks=callbacks,
        )
        self.model_accepts_loss_kwargs = False

    def get_train_dataloader(self) -> Any:
        """Return batches of rows of similar length, the same for any number of workers."""
        loader = train_loader(
            self.rows,
            self.family.collate,
            self.sampler,
            workers=self.args.dataloader_num_workers,
            pinned=self.args.dataloader_pin_memory,
        )
        self._loader = self.accelerator.prepare(loader)
        continue_epochs(self._loader.base_dataloader, self.sampler)
        return self._loader

    def end_workers(self) -> None:
        """End the loader's processes."""
        end_workers(self._loader)

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return the loss of one micro-batch, its gradients added.

        As the library's, without its walks through all modules at every step, which for few
        rows take longer than the GPU does: `model.train()` (`evaluate` puts the model back
        instead), `model.zero_grad()` and the parameters to clip.
        """
        if not self._trained:
            self._trained = [p for p in model.parameters() if p.requires_grad]
            object.__setattr__(model, "zero_grad", self._forget_gradients)
        if not model.training:
            model.train()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        loss = loss / self.current_gradient_accumulation_steps
        self.accelerator.backward(loss)
        detached: Tensor = loss.detach()
        return detached

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        return self.accelerator.clip_grad_norm_(self._trained, self.args.max_grad_norm)

    def _forget_gradients(self, set_to_none: bool = True) -> None:
        for parameter in self._trained:
            parameter.grad = None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the model's own loss; one that is not finite ends the run, naming its rows.

        Where a loss is a mean over tokens, that of a micro-batch counts by its share of the
        step's tokens, on all GPUs: how a step is cut does not change what is learned.
        """
        rows = inputs.pop("rows")
        self.tokens_seen += inputs.pop("tokens")
        own = _answer_tokens(inputs)
        outputs = model(**inputs)
        loss = outputs["loss"]
        self._unchecked.append((self.state.global_step + 1, loss.detach(), rows))
        if loss.device.type == "cpu" or len(self._unchecked) >= CHECK_EVERY:
            self.check_losses()
        if own is not None and num_items_in_batch is not None:
            parts = self.current_gradient_accumulation_steps * self.args.world_size
            loss = loss * (own * parts / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, Any]], device: torch.device
    ) -> Tensor | None:
        """Return how many tokens a step's loss counts on all GPUs; None: its mean is by rows."""
        counts = [_answer_tokens(batch) for batch in batch_samples]
        known = [count for count in counts if count is not None]
        if not known or len(known) < len(counts):
            return None
        total = torch.stack(known).sum().to(device)
        if self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: the library's guess counts all parameters anew at every step, for nothing."""
        return 0

    def check_losses(self) -> None:
        """Raise UserError if a loss since the last look is NaN or infinite."""
        for step, loss, rows in self._unchecked:
            if not torch.isfinite(loss):
                ids = ", ".join(self.train_samples[int(row)].id for row in rows)
                raise UserError(
                    f"the loss became {loss.item()} at step {step} on rows {ids}: look at these "
                    "images and labels, or lower train.learning_rate"
                )
        self._unchecked.clear()

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Read the validation rows, score the generated text, log and return the metrics.

        Of several processes each reads its share, and the first one scores.
        """
        started = time.monotonic()
        model = self.accelerator.unwrap_model(self.model)
        model.eval()
        predictions = read_shared(lambda rows: self.family.read(model, rows), self.val_samples)
        scores = from_first(lambda: self.scorer(predictions, self.state.global_step))
        model.train()
        self.evaluation_seconds += time.monotonic() - started
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            self.family.save(self.accelerator.unwrap_model(self.model), folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.family.restore(self.accelerator.unwrap_model(self.model), Path(resume_from_checkpoint))

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Save every new best; stop where patience ends.

        Evaluations are counted in the log, which a checkpoint keeps: a resumed run counts on.
        """
        new: bool = super()._determine_best_metric(metrics=metrics, trial=trial)
        if new:
            self.control.should_save = True
        elif self.patience and self._evaluations_since_best() >= self.patience:
            self.control.should_training_stop = True
        return new

    def _evaluations_since_best(self) -> int:
        name, best = f"eval_{self.args.metric_for_best_model}", self.state.best_global_step or 0
        return sum(name in entry and entry["step"] > best for entry in self.state.log_history)

    def _load_best_model(self) -> None:
        if not self.args.should_save:
            return  # only the first process publishes, and it may remove what others still read
        best = Path(str(self.state.best_model_checkpoint))
        self.family.restore(self.accelerator.unwrap_model(self.model), best)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.check_losses()
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        losses = self._loss_state()
        if self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / LOSS_STATE, losses)
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(folder, self.run_inputs)
            prune(folder.parent, self.state.global_step, self.keep)

    def _init_training_state(self, *arguments: Any) -> tuple[int, int]:
        progress: tuple[int, int] = super()._init_training_state(*arguments)
        if step := self.state.best_global_step:
            best = Path(str(self.args.output_dir)) / f"checkpoint-{step}"
            self.state.best_model_checkpoint = str(best) if best.is_dir() else None
        return progress

    def _loss_state(self) -> dict[str, float]:
        """Return the loss since the last entry of the log, as the mean of all processes."""
        several = self.args.world_size > 1
        since = self.accelerator.gather(self._tr_loss).mean() if several else self._tr_loss
        return {
            "since_log": float(since),
            "total": float(self._total_loss_scalar),
            "last_logged": self._globalstep_last_logged,
        }

    def restore_loss_state(self, checkpoint: Path) -> None:
        """Go on with the mean loss where the checkpoint left it: logs equal an unbroken run's."""
        state = read_json(checkpoint / LOSS_STATE)
        self._tr_loss = torch.tensor(state["since_log"], device=self.args.device)
        self._total_loss_scalar = state["total"]
        self._globalstep_last_logged = state["last_logged"]


def _answer_tokens(batch: Mapping[str, Any]) -> Tensor | None:
    """Return how many tokens of a batch the loss counts, or None where it counts lines."""
    return batch["labels"].ne(IGNORED).sum() if "answer_index" in batch else None


# What the processes of torchrun do together: each function is called by all at the same place.


def process_share() -> tuple[int, int]:
    """Return (number of this process, number of processes); (0, 1) for one alone."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def read_shared(read: Read, samples: Sequence[Sample]) -> list[Prediction]:
    """Return a prediction for every sample, in order; of n processes each reads every n-th."""
    rank, processes = process_share()
    own = samples[rank::processes]
    predictions = [
        Prediction(id=s.id, text=r.text, confidence=r.confidence, vision_tokens=r.vision_tokens)
        for s, r in zip(own, read(own), strict=True)
    ]
    if processes == 1:
        return predictions
    shares: list[Any] = [None] * processes
    distributed.all_gather_object(shares, predictions)
    return [found for found in chain.from_iterable(zip_longest(*shares)) if found is not None]


def from_first(call: Callable[[], T]) -> T:
    """Return what `call` gives in the first process, in every process; it runs there alone.

    So all of them go on from one checkpoint, and come to the same best one by the same scores.
    """
    rank, processes = process_share()
    found: list[Any] = [call() if rank == 0 else None]
    if processes > 1:
        distributed.broadcast_object_list(found)
    result: T = found[0]
    return result


class Agreement:
    """Whether any process requests something, known to all at the same step.

    A signal reaches processes at different steps; one that stopped alone would leave the
    others waiting for its gradients. The flags travel between CPUs, so no GPU is waited for.
    """

    def __init__(self) -> None:
        """Make the group of all processes; one process alone needs none."""
        several = process_share()[1] > 1
        self.group = distributed.new_group(backend="gloo") if several else None

    def any(self, request: bool) -> bool:
        """Return whether any process requests it."""
        if self.group is None:
            return request
        flag = torch.tensor(int(request))
        distributed.all_reduce(flag, distributed.ReduceOp.MAX, group=self.group)
        return bool(flag)
