"""Weights joined in one tensor train as torch's AdamW trains them apart; so does their state."""

import copy

import pytest
import torch
from torch import nn

from manifold_ocr.models.kernels.flat import FlatParameters
from manifold_ocr.training.optimizer import FlatAdamW

pytestmark = pytest.mark.torch
OPTIONS = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8}


def networks() -> tuple[nn.Module, torch.optim.AdamW, nn.Module, FlatAdamW]:
    """Return a network with torch's AdamW, and its twin with joined weights."""
    torch.manual_seed(3)
    apart = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))
    joined = copy.deepcopy(apart)
    groups = [
        {"params": list(apart.parameters()), "weight_decay": 0.1},
        {"params": [], "weight_decay": 0.0},
    ]
    flat = FlatParameters(list(joined.parameters()))
    return apart, torch.optim.AdamW(groups, **OPTIONS), joined, FlatAdamW(flat, 0.1, **OPTIONS)


def steps(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        for _ in range(2):  # gradients add up over micro-batches
            network(torch.randn(4, 7, generator=generator)).square().sum().backward()
            if isinstance(optimizer, FlatAdamW):
                optimizer.flat.collect()
        optimizer.step()
        optimizer.zero_grad()


def same(apart: nn.Module, joined: nn.Module) -> bool:
    pairs = zip(apart.parameters(), joined.parameters(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


def test_joined_weights_come_to_the_same_values() -> None:
    apart, plain, joined, flat = networks()
    assert same(apart, joined)
    steps(apart, plain, 1)
    steps(joined, flat, 1)
    assert same(apart, joined)
    assert all(parameter.grad is None for parameter in joined.parameters())


def test_either_goes_on_from_the_others_saved_state() -> None:
    apart, plain, joined, flat = networks()
    steps(apart, plain, 1)
    steps(joined, flat, 1)
    first, second = plain.state_dict(), flat.state_dict()
    assert first["param_groups"] == second["param_groups"]
    for number, state in first["state"].items():
        for name, value in state.items():
            assert torch.equal(value, second["state"][number][name]), (number, name)
    plain.load_state_dict(copy.deepcopy(second))
    flat.load_state_dict(copy.deepcopy(first))
    steps(apart, plain, 2)
    steps(joined, flat, 2)
    assert same(apart, joined)


def test_a_state_before_the_first_step_is_taken() -> None:
    _, plain, joined, flat = networks()
    flat.load_state_dict(plain.state_dict())
    assert flat.state_dict()["state"] == {}
    steps(joined, flat, 1)


def test_clipping_sees_the_norm_of_all_gradients() -> None:
    apart, _, joined, flat = networks()
    rows = torch.randn(4, 7)
    apart(rows).square().sum().backward()
    joined(rows).square().sum().backward()
    flat.flat.collect()
    wanted = nn.utils.clip_grad_norm_(apart.parameters(), 0.5)
    found = nn.utils.clip_grad_norm_([flat.flat.whole], 0.5)
    torch.testing.assert_close(found, wanted)
    gradients = flat.flat.views(flat.flat.whole.grad)
    for parameter, gradient in zip(apart.parameters(), gradients, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
