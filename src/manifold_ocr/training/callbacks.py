"""What happens beside training: epochs' order, stopping, DVCLive without clocks, progress.

Clocks never equal themselves twice, so they are kept apart from the losses and scores that
are compared across commits: `speed/` of the run folder, and metrics/perf.json at the end.
"""

import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from manifold_ocr.resources import GpuMonitor
from manifold_ocr.training.locking import StopRequest
from manifold_ocr.training.processes import Agreement

CLOCKS = ("runtime", "per_second", "total_flos", "train_loss")


class Conductor(TrainerCallback):
    """Tells the sampler its epoch, resumes the loss, and stops when that is requested.

    `trainer` is set once the trainer exists; `resumed` is the checkpoint or None.
    """

    def __init__(self, stop: StopRequest, resumed: Path | None) -> None:
        self.stop = stop
        self.resumed = resumed
        self.trainer: Any = None
        self.processes: Agreement | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Arm the stop request; on resume restore the running loss."""
        self.processes = Agreement()
        self.stop.armed = True
        if self.resumed is not None:
            self.trainer.restore_loss_state(self.resumed)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Give the sampler the epoch: its order is a function of seed and epoch."""
        self.trainer.sampler.set_epoch(int((state.epoch or 0) + 1e-6))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop where any process requests it; save unless the end of the epoch does it anyway.

        The last step is evaluated too, where evaluation goes by steps: it may be the best.
        """
        if args.eval_strategy == "steps" and state.global_step >= state.max_steps:
            control.should_evaluate = True
        assert self.processes is not None
        self.stop.requested = self.processes.any(self.stop.requested)
        if self.stop.requested:
            control.should_training_stop = True
            control.should_save = control.should_save or not _ends_epoch(args, state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stopped inside an epoch, do nothing that an unbroken run does not do at this step."""
        if self.stop.requested and not _ends_epoch(args, state):
            control.should_log = control.should_evaluate = control.should_save = False

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Disarm the stop request."""
        self.stop.armed = False


def _ends_epoch(args: TrainingArguments, state: TrainerState) -> bool:
    whole = state.epoch is not None and float(state.epoch).is_integer()
    return whole and args.eval_strategy == "epoch"


class LiveLog(TrainerCallback):
    """Losses and scores to DVCLive: finite numbers by step, no clock, no path, no arguments.

    On resume the log so far is written again from the state, so that a killed run's files
    equal an unbroken one's.
    """

    def __init__(self, folder: Path) -> None:
        from dvclive.live import Live

        self.live = Live(str(folder), dvcyaml=False, save_dvc_exp=False, report=None)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write what a resumed state has logged."""
        for entry in state.log_history:
            self._write(entry)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write one entry."""
        if state.is_world_process_zero:
            self._write({**(logs or {}), "step": state.global_step})

    def finish(self, summary: dict[str, Any]) -> None:
        """Write metrics.json: the latest values and `summary`."""
        self.live.summary.update(summary)
        self.live.make_summary()
        self.live.end()

    def _write(self, entry: dict[str, Any]) -> None:
        values = {
            name: value
            for name, value in sorted(entry.items())
            if name != "step"
            and isinstance(value, int | float)
            and not any(clock in name for clock in CLOCKS)
        }
        if not values:
            return
        self.live.step = int(entry["step"])
        for name, value in values.items():
            kind, short = ("eval", name[5:]) if name.startswith("eval_") else ("train", name)
            self.live.log_metric(f"{kind}/{short}", value)
        self.live.make_summary()


class ProgressLine(TrainerCallback):
    """One line per entry of the log: step, loss, rate and time left."""

    def __init__(self, rows_a_step: int) -> None:
        self.rows_a_step = rows_a_step
        self.started = time.monotonic()
        self.first_step = 0
        self.seconds = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.started, self.first_step = time.monotonic(), state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print the entry."""
        logs = logs or {}
        self.seconds = time.monotonic() - self.started
        steps = state.global_step - self.first_step
        rate = steps / self.seconds if steps and self.seconds else 0.0
        left = (state.max_steps - state.global_step) / rate if rate else 0.0
        where = f"step {state.global_step}/{state.max_steps}"
        if "loss" in logs:
            print(
                f"train: {where}  loss {logs['loss']:.4f}  {rate * self.rows_a_step:.0f} rows/s  "
                f"{left:.0f} s left",
                flush=True,
            )
        elif "eval_cer" in logs:
            print(f"train: {where}  validation CER {logs['eval_cer']:.4f}", flush=True)


GIB = 1024**3
Mark = tuple[int, int, float]  # steps made, tokens seen, seconds spent in training


class SpeedLog(TrainerCallback):
    """One entry for each of the log: rows and tokens per second, memory, load and power.

    Rates are of training alone: the time of validation is taken out. `trainer` is set once
    the trainer exists; tokens are the label's (frames, for ctc), without padding, of this
    process's rows times the number of processes.
    """

    def __init__(self, folder: Path, monitor: GpuMonitor) -> None:
        from dvclive.live import Live
        from torch.utils.tensorboard import SummaryWriter

        self.live = Live(str(folder), dvcyaml=False, save_dvc_exp=False, report=None)
        self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.monitor = monitor
        self.trainer: Any = None
        self.last: Mark = (0, 0, 0.0)
        self.first: Mark = (0, 0, 0.0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.last = self.first = self._seen()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write one entry, where steps were made since the last."""
        now = self._seen()
        if now[0] == self.last[0]:
            return
        values = {**self._rates(self.last, now), **self.monitor.recent(), **_memory()}
        self.last = now
        if not state.is_world_process_zero:
            return
        self.live.step = state.global_step
        for name, value in values.items():
            self.live.log_metric(name, value)
            self.writer.add_scalar(f"speed/{name}", value, state.global_step)
        self.live.make_summary()

    def finish(self) -> dict[str, float]:
        """Close the logs; return the rates of the whole run, and its peak memory."""
        self.live.end()
        self.writer.close()
        values = {**self._rates(self.first, self.last), **_memory()}
        return {name: round(value, 3) for name, value in values.items()}

    def _seen(self) -> Mark:
        trainer = self.trainer
        training = time.monotonic() - trainer.evaluation_seconds
        return trainer.state.global_step, trainer.tokens_seen, training

    def _rates(self, start: Mark, end: Mark) -> dict[str, float]:
        seconds = end[2] - start[2]
        if seconds <= 0:
            return {}
        args = self.trainer.args
        rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return {
            "rows_per_second": (end[0] - start[0]) * rows / seconds,
            "tokens_per_second": (end[1] - start[1]) * args.world_size / seconds,
        }


def _memory() -> dict[str, float]:
    if not torch.cuda.is_available():
        return {}
    return {"gpu_memory_gib": torch.cuda.max_memory_reserved() / GIB}
