"""The Triton kernels against plain PyTorch and bitsandbytes; runs where a CUDA GPU is."""

import pytest
import torch

from manifold_ocr.models.kernels import ops
from manifold_ocr.models.kernels.cross_entropy import linear_cross_entropy

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]


def relative(got, want):
    return ((got.double() - want.double()).norm() / want.double().norm()).item()


@pytest.mark.parametrize("vocabulary", [97, 50265, 151936])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cross_entropy_in_place(vocabulary, dtype):
    torch.manual_seed(vocabulary)
    logits = (torch.randn(33, vocabulary, device="cuda") * 4).to(dtype)
    labels = torch.randint(vocabulary, (33,), device="cuda")
    reference = logits.double().requires_grad_()
    want = torch.nn.functional.cross_entropy(reference, labels, reduction="none")
    want.sum().backward()
    got = ops.cross_entropy_in_place(logits, labels)
    assert relative(got, want) < 1e-5
    assert relative(logits, reference.grad) < (1e-5 if dtype == torch.float32 else 5e-3)


def test_chunked_loss_and_gradients():
    torch.manual_seed(0)
    hidden = (torch.randn(5000, 64, device="cuda") / 4).bfloat16().requires_grad_()
    weight = torch.randn(50265, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    labels = torch.randint(50265, (5000,), device="cuda")
    got = linear_cross_entropy(hidden, weight, None, labels)
    got.backward()
    h, w = hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    want = torch.nn.functional.cross_entropy(h @ w.T, labels, reduction="sum")
    want.backward()
    assert relative(got, want) < 1e-3
    assert relative(hidden.grad, h.grad) < 1e-2
    assert relative(weight.grad, w.grad) < 1e-2


def test_swiglu():
    torch.manual_seed(1)
    gate = torch.randn(37, 8960, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    up = torch.randn(37, 8960, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    grad = torch.randn_like(gate)
    out = ops.swiglu(gate, up)
    out.backward(grad)
    g, u = gate.detach().double().requires_grad_(), up.detach().double().requires_grad_()
    want = torch.nn.functional.silu(g) * u
    want.backward(grad.double())
    assert relative(out, want) < 5e-3
    assert relative(gate.grad, g.grad) < 5e-3
    assert relative(up.grad, u.grad) < 5e-3


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("shape", [(1536, 8960), (256, 1536), (100, 64)])
def test_dequantize_nf4_equals_bitsandbytes(shape, nested):
    functional = pytest.importorskip("bitsandbytes.functional")
    torch.manual_seed(2)
    dense = torch.randn(*shape, device="cuda", dtype=torch.bfloat16)
    packed, state = functional.quantize_4bit(dense, quant_type="nf4", compress_statistics=nested)

    class Weight:
        data, quant_state = packed, state

    got = ops.dequantize_nf4(Weight)
    want = functional.dequantize_4bit(packed, state)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert torch.equal(got, want) or relative(got, want) < 1e-3
