"""transformers' Trainer with what OCR needs: generated text, whole checkpoints, exact resume.

Several processes (torchrun) share validation and agree on scores and on a stop. It overrides
private members of Trainer, so pyproject.toml caps the version of transformers.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json, write_json
from manifold_ocr.models.family import TrainingFamily
from manifold_ocr.records import Prediction, Sample
from manifold_ocr.resources import collector_paused
from manifold_ocr.training.batches import WINDOW, StepSampler
from manifold_ocr.training.change import Change
from manifold_ocr.training.checkpoints import mark_complete, prune
from manifold_ocr.training.loader import NumberedRows, continue_epochs, end_workers, train_loader
from manifold_ocr.training.optimizer import DirectOptimizer, FlatAdamW, join_weights
from manifold_ocr.training.processes import from_first, read_shared

LOSS_STATE = "loss_state.json"
CHECK_EVERY = 16  # steps between looks at the loss on a GPU, where each look waits for it

ScoreRows = Callable[[list[Prediction], int], dict[str, float]]


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
        change_kept: float = 1.0,
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
        self.change = Change(model, change_kept)
        with collector_paused():
            self.rows = family.data(train_samples, labels)
        self.sampler = StepSampler(
            self.rows.lengths,
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps * args.world_size,  # rows of a step on all GPUs
            seed=args.seed,
            window=getattr(self.rows, "window", WINDOW),
        )
        self._unchecked: list[tuple[int, Tensor, Tensor]] = []
        self._losses: _OnItsWay | None = None
        self._entry: _OnItsWay | None = None
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
        self.flat = join_weights(self.model, args, self.get_decay_parameter_names)
        if self.flat is not None:
            self._trained = [self.flat.whole]
            object.__setattr__(self.model, "zero_grad", self._forget_gradients)

    def create_optimizer(self, model: nn.Module | None = None) -> Any:
        """Return the library's optimizer, or the same over the joined weights."""
        if self.flat is None or self.optimizer is not None:
            return super().create_optimizer(model)
        _, options = self.get_optimizer_cls_and_kwargs(self.args)
        self.optimizer = FlatAdamW(self.flat, self.args.weight_decay, **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the library's scheduler, which wraps the optimizer's step: the direct one."""
        if type(self.optimizer) is AcceleratedOptimizer:
            self.optimizer.__class__ = DirectOptimizer
        return super().create_scheduler(num_training_steps, optimizer)

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
        if self.current_gradient_accumulation_steps > 1:
            loss = loss / self.current_gradient_accumulation_steps
        self.accelerator.backward(loss)
        if self.flat is not None:
            self.flat.collect()
        self._write_entry()
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
        own = inputs.pop("counted", None)
        outputs = model(**inputs) if own is None else model(**inputs, num_items_in_batch=own)
        loss = outputs["loss"]
        self._unchecked.append((self.state.global_step + 1, loss.detach(), rows))
        if loss.device.type == "cpu":
            self.check_losses()
        elif len(self._unchecked) >= CHECK_EVERY:
            self._send_losses()
        parts = self.current_gradient_accumulation_steps * self.args.world_size
        if own is not None and num_items_in_batch is not None and parts > 1:
            loss = loss * (own * parts / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, Any]], device: torch.device
    ) -> Tensor | int | None:
        """Return how many tokens a step's loss counts on all GPUs; None: its mean is by rows."""
        counts = [batch.get("counted") for batch in batch_samples]
        known = [count for count in counts if count is not None]
        if not known or len(known) < len(counts):
            return None
        if self.args.world_size == 1:
            return int(sum(known))
        total: Tensor = self.accelerator.gather(torch.tensor(sum(known), device=device))
        return torch.sum(total)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: the library's guess counts all parameters anew at every step, for nothing."""
        return 0

    def _send_losses(self) -> None:
        """Look at the losses that were sent last time; send those since.

        So no look waits for the GPU, which would be idle until its next step is prepared.
        """
        if self._losses is not None:
            self._require_finite(*self._losses.arrived())
        steps, losses, rows = zip(*self._unchecked, strict=True)
        self._losses = _OnItsWay(torch.stack(losses), steps, rows)
        self._unchecked.clear()

    def check_losses(self) -> None:
        """Raise UserError if a loss since the last look is NaN or infinite."""
        if self._losses is not None:
            self._require_finite(*self._losses.arrived())
            self._losses = None
        if self._unchecked:
            steps, losses, rows = zip(*self._unchecked, strict=True)
            self._require_finite(torch.stack(losses).cpu(), steps, rows)
            self._unchecked.clear()

    def _require_finite(self, losses: Tensor, steps: Sequence[int], rows: Sequence[Tensor]) -> None:
        for step, loss, numbers in zip(steps, losses.tolist(), rows, strict=True):
            if not math.isfinite(loss):
                ids = ", ".join(self.train_samples[int(row)].id for row in numbers)
                raise UserError(
                    f"the loss became {loss} at step {step} on rows {ids}: look at these "
                    "images and labels, or lower train.learning_rate"
                )

    def _maybe_log_save_evaluate(
        self, tr_loss: Tensor, grad_norm: Any, *rest: Any, **named: Any
    ) -> None:
        """Do what is due after a step; an entry of the log alone is written during the next.

        The library waits for the loss first: the GPU would be idle while the entry is written.
        """
        self._write_entry()
        control, state = self.control, self.state
        due = control.should_log and state.global_step > self._globalstep_last_logged
        wait = control.should_evaluate or control.should_save or self.args.world_size > 1
        if not due or wait or tr_loss.device.type == "cpu" or not isinstance(grad_norm, Tensor):
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, *rest, **named)
            return
        steps = state.global_step - self._globalstep_last_logged
        values = torch.stack([tr_loss, grad_norm.to(tr_loss.dtype)])
        self._entry = _OnItsWay(values, steps, named["learning_rate"])
        tr_loss -= tr_loss
        self._globalstep_last_logged = state.global_step
        control.should_log = False

    def _write_entry(self) -> None:
        """Write the entry of the log that was left to the step after it."""
        if self._entry is None:
            return
        values, steps, learning_rate = self._entry.arrived()
        self._entry = None
        loss, norm = values.tolist()
        self._total_loss_scalar += loss
        self.log({"loss": loss / steps, "grad_norm": norm, "learning_rate": learning_rate})

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
        with self.change.kept():
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


class _OnItsWay:
    """A tensor that the GPU sends while the CPU goes on, and what belongs to it."""

    def __init__(self, values: Tensor, *beside: Any) -> None:
        self.values, self.beside = values.to("cpu", non_blocking=True), beside
        self.sent = torch.cuda.Event()
        self.sent.record()

    def arrived(self) -> tuple[Any, ...]:
        """Return the tensor on the CPU and what belongs to it; wait for the first if need be."""
        self.sent.synchronize()
        return self.values, *self.beside
