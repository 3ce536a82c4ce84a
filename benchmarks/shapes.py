"""Random weights of the real shapes, and image files to train on: what the GPU benchmarks share."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from manifold_ocr.records import Sample

GIB = 1024**3


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """FLOPs of grouped-query attention (torch's counter takes equal head counts only)."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * (width + value[3])


def _attention_backward_flops(
    grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any
) -> int:
    return 5 * _attention_flops(query, key, value) // 2


def _product_flops(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
    """FLOPs of a product with something added (forms that torch's counter does not know)."""
    return 2 * left[0] * left[1] * right[1]


def _batched_flops(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
    return 2 * left[0] * left[1] * left[2] * right[2]


_ATEN = torch.ops.aten
PRODUCT_FLOPS = {
    **dict.fromkeys((_ATEN._addmm_activation, _ATEN.addmm_, _ATEN.addmm), _product_flops),
    **dict.fromkeys((_ATEN.baddbmm_, _ATEN.baddbmm), _batched_flops),
}
ATTENTION_FLOPS = {
    _ATEN._scaled_dot_product_flash_attention: _attention_flops,
    _ATEN._scaled_dot_product_efficient_attention: _attention_flops,
    _ATEN._scaled_dot_product_cudnn_attention: _attention_flops,
    _ATEN._scaled_dot_product_flash_attention_backward: _attention_backward_flops,
    _ATEN._scaled_dot_product_efficient_attention_backward: _attention_backward_flops,
    _ATEN._scaled_dot_product_cudnn_attention_backward: _attention_backward_flops,
}


def trocr(size: str, device: str, dtype: torch.dtype) -> Any:
    """TrOCR of `base` (ViT-B/16), `large` (ViT-L/16) or `tiny` shapes, 384 x 384 pixels."""
    from transformers import (
        TrOCRConfig,
        TrOCRForCausalLM,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTModel,
    )

    width, layers, heads = {"base": (768, 12, 12), "large": (1024, 24, 16), "tiny": (64, 2, 2)}[
        size
    ]
    d, depth, ffn, vocab = (64, 2, 128, 500) if size == "tiny" else (1024, 12, 4096, 50265)
    encoder = ViTConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        image_size=64 if size == "tiny" else 384,
        patch_size=16,
        qkv_bias=False,
    )
    decoder = TrOCRConfig(
        vocab_size=vocab,
        d_model=d,
        decoder_layers=depth,
        decoder_attention_heads=d // 64 if d > 64 else 2,
        decoder_ffn_dim=ffn,
        cross_attention_hidden_size=width,
        max_position_embeddings=512,
        dropout=0.1,
    )
    with torch.device(device):
        torch.set_default_dtype(dtype)
        try:
            model = VisionEncoderDecoderModel(
                encoder=ViTModel(encoder, add_pooling_layer=False),
                decoder=TrOCRForCausalLM(decoder),
            )
        finally:
            torch.set_default_dtype(torch.float32)
    model.config.decoder_start_token_id = model.config.eos_token_id = 2
    model.config.pad_token_id = 1
    model.config.use_cache = False
    return model


def qwen2_vl_config(size: str) -> Any:
    """Configuration of Qwen2-VL-2B-Instruct's shapes, or tiny ones."""
    from transformers import Qwen2VLConfig

    text: dict[str, Any] = {
        "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960,
        "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
        "max_position_embeddings": 32768, "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24],
        },
    }  # fmt: skip
    vision: dict[str, Any] = {
        "depth": 32, "embed_dim": 1280, "num_heads": 16, "hidden_size": 1536, "mlp_ratio": 4,
        "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
    }  # fmt: skip
    ids = {"image_token_id": 151655, "video_token_id": 151656}
    ids |= {"vision_start_token_id": 151652, "vision_end_token_id": 151653}
    if size == "tiny":
        text |= {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128}
        text |= {"num_hidden_layers": 2, "num_attention_heads": 4}
        text["rope_parameters"]["mrope_section"] = [2, 3, 3]
        vision |= {"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 64}
        ids = {name: number - 151652 + 500 for name, number in ids.items()}
    return Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)


def qwen2_vl(size: str, device: str, dtype: torch.dtype) -> Any:
    """Qwen2-VL-2B with random weights."""
    from transformers import Qwen2VLForConditionalGeneration

    with torch.device(device):
        torch.set_default_dtype(dtype)
        try:
            model = Qwen2VLForConditionalGeneration(qwen2_vl_config(size))
        finally:
            torch.set_default_dtype(torch.float32)
    return model


def quantize_nf4(module: torch.nn.Module) -> None:
    """Replace every linear layer below `module` by bitsandbytes' nf4 with double quantization."""
    import bitsandbytes

    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is not torch.nn.Linear:
                continue
            packed = bitsandbytes.nn.Linear4bit(
                child.in_features, child.out_features, bias=child.bias is not None,
                compute_dtype=child.weight.dtype, compress_statistics=True, quant_type="nf4",
                device="meta",
            )  # fmt: skip
            packed.weight = bitsandbytes.nn.Params4bit(
                child.weight.data.cpu(), requires_grad=False, quant_type="nf4",
                compress_statistics=True,
            )  # fmt: skip
            packed.bias = child.bias
            device = child.weight.device
            setattr(parent, name, packed)
            del child
            packed.to(device)


def page_files(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Write `count` pages of text of `size` (width, height) pixels, PNG."""
    return _files(folder, "page", [size] * count)


def image_files(folder: Path, kind: str, count: int) -> list[Path]:
    """Write `count` pictures of text: lines (about 600 x 64) or pages (1024 x 1448), PNG."""
    chooser = random.Random(7)
    line = kind == "line"
    sizes = [(chooser.randrange(400, 800), 64) if line else (1024, 1448) for _ in range(count)]
    return _files(folder, kind, sizes)


def _files(folder: Path, kind: str, sizes: list[tuple[int, int]]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    chooser = random.Random(7)
    paths = []
    for number, size in enumerate(sizes):
        path = folder / f"{kind}{number}.png"
        image = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(image)
        for top in range(4, size[1] - 40, 34):
            words = ["".join(chooser.choices("abcdefghij", k=7)) for _ in range(size[0] // 90)]
            draw.text((8, top), " ".join(words), fill="black", font_size=26)
        begun = path.with_suffix(f".{os.getpid()}")  # processes of a run write the same files
        image.save(begun, "PNG", compress_level=1)
        begun.replace(path)
        paths.append(path)
    return paths


def rows(
    paths: list[Path], tokens: tuple[int, int], count: int, vocabulary: int
) -> tuple[list[Sample], list[list[int]]]:
    """Samples over the files again and again, with random targets of `tokens` (least, most)."""
    chooser = random.Random(11)
    samples = []
    targets = []
    for number in range(count):
        path = paths[number % len(paths)]
        samples.append(
            Sample(
                id=str(number),
                document=str(number),
                corpus="bench",
                subset="",
                text="",
                image=str(path),
            )
        )
        length = chooser.randint(*tokens)
        targets.append([chooser.randrange(5, vocabulary) for _ in range(length - 1)] + [2])
    return samples, targets


def print_profile(step: Callable[[], None], steps: int, kernels: int = 30) -> None:
    """Print the kernels on which `steps` calls of `step` spend the GPU's time, per step."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in events)
    print(f"{total / steps / 1e3:9.2f} ms of kernels per step")
    for event in events[:kernels]:
        time = event.self_device_time_total / steps / 1e3
        print(f"{time:9.2f} ms {event.count / steps:7.0f} {event.key[:100]}")


def cap_memory(gib: float) -> None:
    """Bound this process to `gib` of the GPU's memory."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, gib * GIB / total))
