"""Batch norms computed with their convolutions: the gradients are those of two equal lines."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_lines import TEXTS, draw_line

from manifold_ocr.config import LoraConfig
from manifold_ocr.models.adapter_files import ctc_scope
from manifold_ocr.models.ctc import torch_parts as parts
from manifold_ocr.models.ctc.decode import line_pixels
from manifold_ocr.models.lora import add_lora

pytestmark = pytest.mark.torch


def built(base: Path, freeze: str | None) -> torch.nn.Module:
    """Return the recognizer in double precision with all weights moved, LoRA around some."""
    torch.manual_seed(1)
    model: Any = parts.load_recognizer(base)
    if freeze is not None:
        model = add_lora(model, LoraConfig(rank=2), *ctc_scope(freeze))
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.03 * (2 * torch.rand_like(parameter) - 1))
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.03)
    return model


def slopes(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the logits of the first line, and the gradients of a mean over lines."""
    logits = parts.head_logits(model, parts.backbone_features(model, pixels))
    logits.logsumexp(-1).mean().backward()
    return logits[0].detach(), {
        n: p.grad for n, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("freeze", [None, "backbone", "none"])
def test_one_line_gives_the_gradients_of_two_equal_ones(
    base_model: Path, freeze: str | None
) -> None:
    """torch's own, of a batch norm with frozen statistics, are wrong for one line (2.13, a CPU)."""
    line = torch.from_numpy(line_pixels(draw_line(TEXTS[0]))).double()
    plain, expected = slopes(built(base_model, freeze), line.repeat(2, 1, 1, 1))
    model = built(base_model, freeze)
    parts.fold_norms(model)
    ours, found = slopes(model, line)
    torch.testing.assert_close(ours, plain)
    assert found.keys() == expected.keys() and len(found) > 10
    for name, slope in expected.items():
        most = 1e-7 * slope.abs().max().item()
        torch.testing.assert_close(found[name], slope, atol=most, rtol=1e-6, msg=name)


def test_the_gradients_are_those_of_finite_differences(base_model: Path) -> None:
    model: Any = built(base_model, None)
    parts.fold_norms(model)
    line = torch.from_numpy(line_pixels(draw_line(TEXTS[0]))).double()
    _, found = slopes(model, line)
    name = "head.encoder.conv_block.1.normalization.bias"
    bias = dict(model.named_parameters())[name]

    def mean(change: float) -> float:
        with torch.no_grad():
            bias[0] += change
            logits = parts.head_logits(model, parts.backbone_features(model, line))
            bias[0] -= change
        return float(logits.logsumexp(-1).mean())

    numeric = (mean(1e-5) - mean(-1e-5)) / 2e-5
    assert found[name][0].item() == pytest.approx(numeric, rel=1e-5)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_taken_again_without_new_pages() -> None:
    """The kernel counts the pages that it hands out."""
    count = """
import resource, sys
import numpy as np
from manifold_ocr.models.device import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(21):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a, b = (np.ones(3 << 20) for _ in range(2))  # 24 MiB each
    del a, b
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    handed = {
        how: int(subprocess.check_output([sys.executable, "-c", count, how]))
        for how in ("kept", "given back")
    }
    assert handed["kept"] < handed["given back"] / 10
