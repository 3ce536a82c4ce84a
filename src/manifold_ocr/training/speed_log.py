"""How fast a run goes and what it takes of the GPU, to DVCLive and TensorBoard while it goes.

Clocks never equal themselves twice, so they are kept apart from the losses and scores that
are compared across commits: `speed/` of the run folder, and metrics/perf.json at the end.
"""

import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from manifold_ocr.training.gpu_monitor import GpuMonitor

GIB = 1024**3
Mark = tuple[int, int, float]  # steps made, tokens seen, seconds spent in training


class SpeedLog(TrainerCallback):
    """One entry for each of the log: rows and tokens a second, memory, load and power.

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
