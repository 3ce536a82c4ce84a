"""When the weights are half precision already, autocast only adds casts: switch it off."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

HALF = (torch.float16, torch.bfloat16)


def half_precision_as_is(model: nn.Module) -> AbstractContextManager[object]:
    """Return a context without autocast for a half-precision base, else a neutral one.

    A float32 base (full fine-tuning keeps float32 master weights) needs the caller's
    autocast for its speed, so it is left alone.
    """
    frozen = next((p for p in model.parameters() if p.is_floating_point()), None)
    if frozen is None or frozen.dtype not in HALF or frozen.device.type == "meta":
        return nullcontext()
    return torch.autocast(frozen.device.type, enabled=False)
