"""One training step as one CUDA graph: thousands of kernel launches become a single replay.

A LoRA step of a small model is bound by the CPU that launches its kernels, not by the GPU
(measured in docs/performance.md). Forward and backward are captured once for each batch
shape; a replay writes the loss and the gradients of the trainable weights into fixed
buffers, and an autograd function hands them on. To the caller it is an ordinary loss:
accumulation, loss scaling, clipping and DistributedDataParallel work as ever.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from manifold_ocr.models.kernels.flat import FlatParameters
from manifold_ocr.models.kernels.ops import HALF

Batch = Mapping[str, Tensor]
OTHER_THREADS_MAY_WORK = "thread_local"  # the loader's thread pins memory meanwhile
MAX_GRAPHS = 24  # shapes captured; more are run eagerly


@dataclass
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: dict[str, Tensor]
    loss: Tensor


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graphs: "StepGraphs", captured: _Captured, *_: Tensor) -> Tensor:
        captured.graph.replay()
        ctx.graphs = graphs
        return captured.loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        graphs = ctx.graphs
        if graphs.flat is not None:
            return None, None, graphs.gradient * grad
        return None, None, *torch._foreach_mul(graphs.gradients, grad)


class StepGraphs:
    """Capture and replay `loss_sum(batch)` with its gradients for the shapes that occur.

    `loss_sum` must read nothing but its batch and the model, keep every shape fixed and
    never wait for the GPU. The trainable parameters' storage must not move (in-place updates
    are fine). One replay must be followed by its backward before the next: gradients live in
    one set of buffers. Where they are parts of one tensor (`model.flat_parameters`), that
    tensor is given the gradient, not they.
    """

    def __init__(
        self,
        loss_sum: Callable[[Batch], Tensor],
        model: nn.Module,
        trial: Callable[[Batch], Batch] = dict,
    ) -> None:
        """`trial` makes a smaller batch for the step before a capture: two of full size do
        not fit where one does.
        """
        self.trial = trial
        self.loss_sum = loss_sum
        self.model = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        frozen = [p for p in model.parameters() if not p.requires_grad]
        self.frozen = [*frozen[:1], *frozen[-1:]]
        self.refused = False
        self.state = self._weights()
        dtypes = {p.dtype for p in model.parameters()} & set(HALF)
        half = dtypes.pop() if len(dtypes) == 1 else None
        self.flat: FlatParameters | None = getattr(model, "flat_parameters", None)
        if self.flat is None:
            self.anchors = self.parameters
            self.gradients = [torch.zeros_like(p) for p in self.parameters]
            self.halves = [torch.empty_like(p, dtype=half) for p in self.parameters if half]
        else:
            self.anchors = [self.flat.whole]
            self.gradient = torch.zeros_like(self.flat.whole)
            self.gradients = self.flat.views(self.gradient)
            self.half = torch.zeros_like(self.flat.whole, dtype=half)
            self.halves = self.flat.views(self.half) if half else []
        self.pool = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream()
        self.captured: dict[tuple[Any, ...], _Captured] = {}

    def usable(self) -> bool:
        """Return whether the weights are where they were, and the frozen ones as they were.

        What is made of frozen weights (a padded head, joined products) is made anew once they
        were written to, as DistributedDataParallel does when it begins: a captured step would
        go on reading the copies of before.
        """
        return self.state == self._weights()

    def _weights(self) -> list[tuple[int, int]]:
        """Return address and version; models are moved and written as wholes: few weights tell."""
        trained = [(p.data_ptr(), 0) for p in (self.parameters[0], self.parameters[-1])]
        return trained + [(p.data_ptr(), p._version) for p in self.frozen]

    def __call__(self, batch: Batch) -> Tensor | None:
        """Return the loss of a batch, or None when its shape has no graph and gets none."""
        key = tuple((name, tuple(value.shape), value.dtype) for name, value in batch.items())
        captured = self.captured.get(key)
        if captured is None:
            if self.refused or len(self.captured) >= MAX_GRAPHS:
                return None
            try:
                captured = self.captured[key] = self._capture(batch)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # a kernel that cannot be captured: train eagerly
                print(f"train: this step cannot be a CUDA graph ({str(error).splitlines()[0]})")
                self.refused = True
                self.release()  # their dropout belongs to the generator's former state
                return None
        for name, value in batch.items():
            captured.inputs[name].copy_(value, non_blocking=True)
        return _Replayed.apply(self, captured, *self.anchors)

    def release(self) -> None:
        """Free the captured steps, and the libraries' workspaces that only they used.

        cuBLAS keeps one of 32 MiB for each stream that it ever worked on.
        """
        self.captured.clear()
        torch.cuda.synchronize()
        torch._C._cuda_clearCublasWorkspaces()

    def _step(self, batch: Batch) -> Tensor:
        with torch.enable_grad(), twins(self.model) as parameters:
            if self.halves:  # all casts of the step in one
                if self.flat is None:
                    torch._foreach_copy_(self.halves, [p.detach() for p in parameters])
                else:
                    self.half.copy_(self.flat.whole.detach())
                for parameter, half in zip(parameters, self.halves, strict=True):
                    parameter.lowered = half  # type: ignore[attr-defined]
            loss = self.loss_sum(batch)
            grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        for kept, grad in zip(self.gradients, grads, strict=True):
            if grad is None:
                kept.zero_()
        pairs = [(k, g) for k, g in zip(self.gradients, grads, strict=True) if g is not None]
        torch._foreach_copy_([k for k, _ in pairs], [g for _, g in pairs])
        return loss.detach()

    def _capture(self, batch: Batch) -> _Captured:
        inputs = {name: value.clone() for name, value in batch.items()}
        stream = self.stream
        stream.wait_stream(torch.cuda.current_stream())
        generator = torch.cuda.get_rng_state()
        # Libraries set themselves up outside the capture, on its stream: a workspace that they
        # took within it would hold a piece of the pool after its graphs have gone.
        with torch.cuda.stream(stream):
            self._step(self.trial(inputs))
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.set_rng_state(generator)  # the trial step must not shift later dropout
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        with capture(graph, self.pool, stream):
            loss = self._step(inputs)
        return _Captured(graph, inputs, loss)


@contextmanager
def capture(graph: torch.cuda.CUDAGraph, pool: Any, side: torch.cuda.Stream) -> Iterator[None]:
    """Capture what is run inside, on `side`, as `graph`; a failure leaves the GPU fit for others.

    PyTorch then stays on the capture's stream, with a generator that refuses to work outside
    a capture and an allocator that still serves the pool.
    """
    device = torch.cuda.current_device()
    stream, generator = torch.cuda.current_stream(), torch.cuda.default_generators[device]
    state = generator.clone_state()
    try:
        mode = OTHER_THREADS_MAY_WORK
        with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode=mode):
            yield
    except RuntimeError:
        torch.cuda.set_stream(stream)
        generator.graphsafe_set_state(state)
        with suppress(RuntimeError):  # where the capture ended well and the step alone failed
            torch._C._cuda_endAllocateToPool(device, pool)
        raise


@contextmanager
def twins(model: nn.Module) -> Iterator[list[Tensor]]:
    """Put twins of the trainable parameters in their places, and yield them.

    A twin shares its storage with the parameter but not its hooks: those of
    DistributedDataParallel belong to the default stream, which may not wait for a capture.
    """
    kept: list[tuple[nn.Module, str, nn.Parameter]] = []
    twin_of: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.requires_grad:
                kept.append((module, name, parameter))
    ordered = [p for p in model.parameters() if p.requires_grad]
    for parameter in ordered:
        twin_of[id(parameter)] = nn.Parameter(parameter.data)
    try:
        for module, name, parameter in kept:
            module._parameters[name] = twin_of[id(parameter)]
        yield [twin_of[id(parameter)] for parameter in ordered]
    finally:
        for module, name, parameter in kept:
            module._parameters[name] = parameter


def padded_length(length: int, limit: int) -> int:
    """Return the length a batch is padded to, so that few shapes occur.

    Steps of 8 and more, of a sixteenth of the next power of two above: at most an eighth
    wasted, a sixteenth on average for long rows.
    """
    step = max(8, (1 << (length - 1).bit_length()) // 16) if length > 8 else 8
    return min(limit, -(-length // step) * step)
