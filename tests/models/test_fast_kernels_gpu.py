"""The Triton kernels against plain PyTorch and bitsandbytes; runs where a CUDA GPU is."""

import pytest
import torch

from manifold_ocr.models.kernels import ops
from manifold_ocr.models.kernels.cross_entropy import (
    answer_loss,
    linear_cross_entropy,
    padded_head,
)

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


def test_a_head_of_odd_size_is_padded_without_a_trace():
    torch.manual_seed(2)
    head = torch.nn.Linear(64, 50265, bias=False, device="cuda", dtype=torch.bfloat16)
    head.requires_grad_(False)
    hidden = (torch.randn(700, 64, device="cuda") / 4).bfloat16().requires_grad_()
    labels = torch.randint(50265, (700,), device="cuda")
    labels[::7] = -100
    got = answer_loss(hidden, head, labels, None)
    got.backward()
    exact = hidden.detach().double().requires_grad_()
    want = torch.nn.functional.cross_entropy(
        exact @ head.weight.double().T, labels, reduction="sum", ignore_index=-100
    )
    want.backward()
    assert padded_head(head).shape[0] == 50304
    assert padded_head(head).data_ptr() == padded_head(head).data_ptr()
    assert relative(got, want) < 1e-3
    assert relative(hidden.grad, exact.grad) < 1e-2
    head.weight.mul_(2)
    assert relative(padded_head(head)[:50265], head.weight) == 0


def test_rotary_positions_and_quick_gelu():
    from transformers.activations import QuickGELUActivation
    from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

    torch.manual_seed(3)
    qkv = torch.randn(37, 3 * 4 * 80, device="cuda", dtype=torch.bfloat16)
    cos, sin = (torch.randn(37, 80, device="cuda") for _ in range(2))
    query, key, value = qkv.view(37, 3, 4, 80).unbind(1)
    want = [*apply_rotary_pos_emb_vision(query, key, cos, sin), value.clone()]
    kernels = ops.kernels_for(qkv)
    kernels.rotate_in_place(qkv, cos, sin, 4)
    for got, expected in zip(qkv.view(37, 3, 4, 80).unbind(1), want, strict=True):
        assert relative(got, expected) < 1e-3
    x = torch.randn(33, 5120, device="cuda", dtype=torch.bfloat16)
    expected = QuickGELUActivation()(x.double())
    assert relative(kernels.quick_gelu_in_place(x.clone()), expected) < 3e-3


@pytest.mark.parametrize("kind", ["ViT", "DeiT"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_frozen_encoder_gives_the_librarys_states(kind, dtype):
    import transformers

    from manifold_ocr.models.encoder_decoder.frozen_vit import FrozenViT, supports

    torch.manual_seed(4)
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768,
        image_size=64, patch_size=16, initializer_range=0.1,
    )  # fmt: skip
    exact = getattr(transformers, f"{kind}Model")(config, add_pooling_layer=False).cuda().eval()
    with torch.no_grad():
        for parameter in exact.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    library = getattr(transformers, f"{kind}Model")(config, add_pooling_layer=False)
    library.load_state_dict(exact.state_dict())
    library = library.cuda().to(dtype).eval().requires_grad_(False)
    pixels = torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8, device="cuda")
    scale, shift = torch.full((3,), 1 / 127.5), torch.tensor([-1.0, -0.9, -1.1])
    assert supports(library, pixels)
    assert not supports(exact, pixels), "float32 goes the library's way"
    normal = pixels * scale.cuda().view(3, 1, 1) + shift.cuda().view(3, 1, 1)
    with torch.no_grad():
        want = exact(pixel_values=normal).last_hidden_state
        usual = relative(library(pixel_values=normal.to(dtype)).last_hidden_state, want)
    got = relative(FrozenViT(library, scale.cuda(), shift.cuda())(pixels), want)
    assert got < 1.3 * usual + 1e-4, f"{got} from float32, the library {usual}"
