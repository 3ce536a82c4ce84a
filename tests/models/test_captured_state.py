"""Captured steps are given up where the weights that they read were moved or written to."""

import socket
from collections.abc import Iterator

import pytest
import torch
from torch import distributed, nn

from manifold_ocr.models.kernels.cuda_graphs import StepGraphs

pytestmark = pytest.mark.torch


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> StepGraphs:
    """Return the steps of a model with frozen and trained weights, none captured yet."""
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "Stream", object)
    model = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].requires_grad_(False)
    return StepGraphs(lambda batch: model(batch["x"]).sum(), model)


@pytest.fixture
def group() -> Iterator[None]:
    """Be the only process of a group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    distributed.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_an_optimizers_step_leaves_them_usable(graphs: StepGraphs) -> None:
    graphs.model(torch.ones(2, 4)).sum().backward()
    torch.optim.AdamW(graphs.parameters).step()
    assert graphs.usable()


def test_moved_weights_end_them(graphs: StepGraphs) -> None:
    graphs.model.to(torch.float64)
    assert not graphs.usable()


def test_distributed_training_ends_them(graphs: StepGraphs, group: None) -> None:
    assert graphs.usable()
    nn.parallel.DistributedDataParallel(graphs.model)  # writes every weight
    assert not graphs.usable()
