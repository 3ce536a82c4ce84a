"""Captured steps on a GPU: the gradients of eager ones, and eager steps after a failed capture."""

import pytest
import torch
from torch import nn

from manifold_ocr.models.kernels.cuda_graphs import StepGraphs
from manifold_ocr.models.kernels.flat import FlatParameters

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]


def small_model():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 4)).cuda()


def test_a_replay_gives_the_gradients_of_an_eager_step():
    model = small_model().eval()

    def loss_sum(batch):
        return model(batch["x"]).square().sum()

    graphs = StepGraphs(loss_sum, model)
    for rows in (3, 5, 3):
        batch = {"x": torch.randn(rows, 8, device="cuda")}
        model.zero_grad()
        loss_sum(batch).backward()
        wanted = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        graphs(batch).backward()
        for parameter, want in zip(model.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.grad, want)
    assert len(graphs.captured) == 2


def test_a_replay_gives_joined_weights_the_gradients_of_an_eager_step():
    model = small_model().eval()
    flat = model.flat_parameters = FlatParameters(list(model.parameters()))
    graphs = StepGraphs(lambda batch: model(batch["x"]).square().sum(), model)
    for rows in (3, 5, 3):
        batch = {"x": torch.randn(rows, 8, device="cuda")}
        model(batch["x"]).square().sum().backward()
        flat.collect()
        wanted, flat.whole.grad = flat.whole.grad, None
        for _ in range(2):  # as two micro-batches of a step
            (graphs(batch) / 2).backward()
        torch.testing.assert_close(flat.whole.grad, wanted)
        assert all(parameter.grad is None for parameter in model.parameters())
        flat.whole.grad = None


def test_steps_are_captured_anew_once_frozen_weights_were_written():
    model = small_model()
    model[2].requires_grad_(False)
    graphs = StepGraphs(lambda batch: model(batch["x"]).square().sum(), model)
    graphs({"x": torch.randn(4, 8, device="cuda")}).backward()
    with torch.no_grad():
        model[0].weight.add_(1)  # what an optimizer does
    assert graphs.usable()
    with torch.no_grad():
        for weight in model.parameters():  # as DistributedDataParallel does
            weight.copy_(weight.clone())
    assert not graphs.usable()


def test_released_steps_leave_no_memory_behind():
    model = small_model().half()
    before = torch.cuda.memory_reserved()
    graphs = StepGraphs(lambda batch: model(batch["x"]).square().sum(), model)
    for rows in (64, 128, 256):
        batch = {"x": torch.randn(rows * 1024, 8, device="cuda", dtype=torch.half)}
        graphs(batch).backward()
    del batch
    model.zero_grad()
    graphs.release()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() - before <= 4 << 20  # gradients and their like


def test_each_replay_drops_other_values():
    model = small_model().train()
    graphs = StepGraphs(lambda batch: model(batch["x"]).square().sum(), model)
    batch = {"x": torch.randn(64, 8, device="cuda")}
    assert len({float(graphs(batch)) for _ in range(4)}) == 4


def test_training_goes_on_after_a_step_that_cannot_be_captured(capsys):
    model = small_model().train()
    waits = []

    def loss_sum(batch):
        loss = model(batch["x"]).square().sum()
        if len(batch["x"]) > 4:
            waits.append(float(loss))  # waits for the GPU: refused within a capture
        return loss

    graphs = StepGraphs(loss_sum, model)
    assert graphs({"x": torch.randn(4, 8, device="cuda")}) is not None
    stream = torch.cuda.current_stream()
    before = torch.cuda.get_rng_state()
    large = {"x": torch.randn(6, 8, device="cuda")}
    assert graphs(large) is None and "cannot be a CUDA graph" in capsys.readouterr().out
    assert torch.cuda.current_stream() == stream
    assert graphs({"x": torch.randn(4, 8, device="cuda")}) is None, "no graph is tried again"
    loss = loss_sum(large)
    loss.backward()
    torch.cuda.set_rng_state(before)
    torch.cuda.empty_cache()
    torch.cuda.synchronize()
    assert float(loss) == waits[-1]
