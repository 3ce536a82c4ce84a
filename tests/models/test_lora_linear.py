"""The fused LoRA layer against the formula, PEFT's own layer, and what it keeps in memory."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from manifold_ocr.models.kernels.lora_joint import extend, lora_key_value, lora_query_key_value
from manifold_ocr.models.kernels.lora_linear import (
    FastLoraLinear,
    fuse_lora_layers,
    unfuse_lora_layers,
)
from manifold_ocr.models.kernels.ops import spread_dropout, spread_dropped

pytestmark = pytest.mark.torch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Three(nn.Module):
    """Three layers over one input, as query, key and value are."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 12) for _ in range(3))

    def forward(self, x):
        return self.q(x) * self.k(x) + self.v(x)


def adapted(dropout):
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=6, lora_dropout=dropout, target_modules=["q", "k", "v"])
    model = get_peft_model(Three(), config)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value)
    return model


def gradients(model, x):
    model.zero_grad()
    x = x.clone().requires_grad_()
    out = model(x)
    out.square().sum().backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return out, {"x": x.grad, **trained}


def test_without_dropout_and_when_reading_it_equals_peft():
    plain = adapted(0.0)
    fused = copy.deepcopy(plain)
    assert fuse_lora_layers(fused) == 3
    x = torch.randn(2, 5, 16)
    (want, wanted), (got, found) = gradients(plain, x), gradients(fused, x)
    torch.testing.assert_close(got, want)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)
    dropping = adapted(0.5)
    want = dropping.eval()(x)
    fuse_lora_layers(dropping)
    torch.testing.assert_close(dropping(x), want)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_reaches_the_adapter_alone_with_the_same_mask_forth_and_back(device, dtype):
    model = adapted(0.25).to(device, dtype)
    fuse_lora_layers(model)
    layer = model.base_model.model.q
    assert isinstance(layer, FastLoraLinear)
    x = torch.randn(64, 16, device=device, dtype=dtype, requires_grad=True)
    torch.manual_seed(7)
    out = layer(x)
    torch.manual_seed(7)
    _, mask = torch.native_dropout(x, 0.25, True)
    assert 0.6 < mask.float().mean() < 0.9
    out.float().square().sum().backward()
    double = x.detach().double().requires_grad_()
    a, b = (
        part["default"].weight.detach().double().requires_grad_()
        for part in (layer.lora_A, layer.lora_B)
    )
    base = layer.base_layer
    kept = double * mask / 0.75
    want = double @ base.weight.double().T + base.bias.double() + 1.5 * (kept @ a.T) @ b.T
    want.square().sum().backward()
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for got, wanted in (
        (out, want),
        (x.grad, double.grad),
        (layer.lora_A["default"].weight.grad, a.grad),
        (layer.lora_B["default"].weight.grad, b.grad),
    ):
        assert (got.double() - wanted).norm() / wanted.norm() < tolerance


def test_layers_over_one_input_keep_it_once_and_one_byte_an_element_of_mask():
    model = adapted(0.25)
    fuse_lora_layers(model)
    x = torch.randn(1000, 16)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layers = model.base_model.model
        outputs = [layer(x) for layer in (layers.q, layers.k, layers.v)]
    assert len(outputs) == 3
    large = sum(size for size in kept.values() if size >= x.numel())
    inner = 3 * 1000 * 4 * 4  # x A^T of each layer
    assert large == x.numel() * 4 + 3 * x.numel() + inner


def test_the_estimate_of_layers_over_8_bit_weights_counts_a_float32_copy_of_what_enters():
    """PEFT's own forward, which runs over them, casts the input to the adapter's float32."""
    from manifold_ocr.training.memory import estimate_step

    class Summed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = adapted(0.0)
            for layer in (self.inner.base_model.model.q, self.inner.base_model.model.k):
                layer.base_layer.to(torch.bfloat16)
            self.inner.base_model.model.v.base_layer.to(torch.bfloat16)

        def forward(self, x):
            return {"loss": self.inner(x).float().sum()}

    rows, width = 4096, 16
    needs = []
    for change in (fuse_lora_layers, unfuse_lora_layers):
        model = Summed()
        fuse_lora_layers(model)
        change(model)
        batch = {"x": torch.empty(rows, width, dtype=torch.bfloat16, device="meta")}
        needs.append(estimate_step(model.to("meta"), batch).activations)
    assert needs[1] - needs[0] >= rows * width * 4


def entering_of(x, layers, dropout):
    """What enters each layer, by the masks that the layers draw next."""
    flat = x.reshape(-1, x.shape[-1])
    if not dropout:
        return flat.expand(layers, -1, -1)
    mask = spread_dropout(flat.detach(), layers, dropout)[1]
    assert mask.shape == (layers, *flat.shape)
    assert not torch.equal(mask[0], mask[1])
    return flat * mask / (1 - dropout)


@pytest.mark.parametrize("device", DEVICES)
def test_each_copy_drops_its_own_values_at_the_rate(device):
    values = torch.randn(300, 200, device=device)
    dropped, mask = spread_dropout(values, 3, 0.3)
    assert mask.dtype == torch.bool
    for part, kept in zip(dropped, mask, strict=True):
        assert abs(kept.float().mean() - 0.7) < 0.01
        torch.testing.assert_close(part, values * kept / 0.7)
    assert ((mask[0] ^ mask[1]).float().mean() - 0.42).abs() < 0.01
    torch.testing.assert_close(spread_dropped(values, mask, 0.3), dropped)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("device", DEVICES)
def test_key_and_value_of_one_frozen_input_are_one_product(dropout, device):
    model = adapted(dropout).to(device)
    fuse_lora_layers(model)
    key, value = model.base_model.model.k, model.base_model.model.v
    x = torch.randn(3, 5, 16, device=device)
    assert lora_key_value(key, value, x) is None, "no room was made"
    extend(x, 4)
    torch.manual_seed(5)
    got = lora_key_value(key, value, x)
    weights = [torch.randn_like(part) for part in got]
    torch.stack([part * w for part, w in zip(got, weights, strict=True)]).sum().backward()
    torch.manual_seed(5)
    entering = entering_of(x, 2, dropout)
    for layer, part, given, weight in zip((key, value), entering, got, weights, strict=True):
        a, b = (m["default"].weight for m in (layer.lora_A, layer.lora_B))
        found = a.grad, b.grad
        a.grad = b.grad = None
        low = (part @ a.T @ b.T).view_as(given) * layer.scaling["default"]
        want = layer.base_layer(x) + low
        torch.testing.assert_close(given, want, rtol=1e-4, atol=1e-4)
        (want * weight).sum().backward()
        for mine, formula in zip(found, (a.grad, b.grad), strict=True):
            torch.testing.assert_close(mine, formula, rtol=1e-4, atol=1e-4)
        a.grad = b.grad = None


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("device", DEVICES)
def test_query_key_and_value_of_one_trained_input_are_one_product(dropout, device):
    model = adapted(dropout).to(device)
    fuse_lora_layers(model)
    layers = [getattr(model.base_model.model, name) for name in "qkv"]
    x = torch.randn(3, 7, 16, device=device, requires_grad=True)
    torch.manual_seed(5)
    got = lora_query_key_value(layers, x)
    assert [part.shape for part in got] == [(3, 7, 12)] * 3
    weights = [torch.randn_like(part) for part in got]
    sum((part * weight).sum() for part, weight in zip(got, weights, strict=True)).backward()
    pairs = [(m.lora_A["default"].weight, m.lora_B["default"].weight) for m in layers]
    found = [x.grad, *(part.grad for pair in pairs for part in pair)]
    for part in (x, *(part for pair in pairs for part in pair)):
        part.grad = None
    torch.manual_seed(5)
    wanted, entering = 0.0, entering_of(x, 3, dropout)
    rows = zip(layers, pairs, entering, got, weights, strict=True)
    for layer, (a, b), kept, given, weight in rows:
        low = (kept @ a.T @ b.T).view_as(given) * layer.scaling["default"]
        want = layer.base_layer(x) + low
        torch.testing.assert_close(given, want, rtol=1e-4, atol=1e-4)
        wanted = wanted + (want * weight).sum()
    wanted.backward()
    formula = [x.grad, *(part.grad for pair in pairs for part in pair)]
    for mine, theirs in zip(found, formula, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


class Masked(nn.Module):
    """A dropout that keeps what a given mask keeps, for PEFT's own layers."""

    def __init__(self, mask, rate):
        super().__init__()
        self.mask, self.rate = mask, rate

    def forward(self, x):
        return x * self.mask.view_as(x) / (1 - self.rate)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [21, 4096])
def test_joined_layers_with_dropout_give_the_values_and_gradients_of_peft(device, rows):
    rate = 0.4
    plain = adapted(rate).to(device)
    fused = copy.deepcopy(plain)
    fuse_lora_layers(fused)
    ours = [getattr(fused.base_model.model, name) for name in "qkv"]
    theirs = [getattr(plain.base_model.model, name) for name in "qkv"]
    x = torch.randn(1, rows, 16, device=device)
    weights = torch.randn(3, 1, rows, 12, device=device) / rows**0.5

    def outcome(parts, entering, layers):
        pairs = zip(parts, weights[: len(parts)], strict=True)
        sum((part * weight).sum() for part, weight in pairs).backward()
        trained = [
            p for m in layers for p in (m.lora_A["default"].weight, m.lora_B["default"].weight)
        ]
        return [*parts, *([] if entering is None else [entering.grad]), *(p.grad for p in trained)]

    for count, joined in ((3, lora_query_key_value), (2, lora_key_value)):
        for model in (plain, fused):
            model.zero_grad()
        mine, reference = x.clone(), x.clone().requires_grad_()
        torch.manual_seed(5)
        if count == 3:
            mine.requires_grad_()
            got = outcome(joined(ours, mine), mine, ours)
        else:
            extend(mine, 4)
            got = outcome(joined(*ours[1:], mine), None, ours[1:])
        torch.manual_seed(5)
        masks = spread_dropout(x.reshape(-1, 16), count, rate)[1]
        for layer, mask in zip(theirs[-count:], masks, strict=True):
            layer.lora_dropout["default"] = Masked(mask, rate)
        parts = [layer(reference) for layer in theirs[-count:]]
        want = outcome(parts, reference if count == 3 else None, theirs[-count:])
        for mine_, wanted in zip(got, want, strict=True):
            torch.testing.assert_close(mine_, wanted, rtol=1e-3, atol=1e-4)


def test_layers_of_unequal_shapes_or_settings_are_not_joined():
    model = adapted(0.0)
    fuse_lora_layers(model)
    layers = [getattr(model.base_model.model, name) for name in "qkv"]
    x = torch.randn(2, 3, 16, requires_grad=True)
    layers[1].scaling["default"] *= 2
    assert lora_query_key_value(layers, x) is None
