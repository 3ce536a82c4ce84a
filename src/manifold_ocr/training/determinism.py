"""One seed for everything, and sums in one order."""

import os
import random

import numpy as np
import torch


def make_deterministic(seed: int, threads: int) -> None:
    """Seed everything and fix the number of threads: sums over cores depend on it.

    On a GPU some kernels have no deterministic form (CTC's gradient among them); torch then
    warns instead of refusing.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
