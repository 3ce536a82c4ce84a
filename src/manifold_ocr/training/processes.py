"""What the processes of torchrun do together: each is called by all of them at the same place."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar

import torch
from torch import distributed

from manifold_ocr.models.base import Recognition
from manifold_ocr.records import Prediction, Sample

T = TypeVar("T")
Read = Callable[[Sequence[Sample]], Iterable[Recognition]]


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
