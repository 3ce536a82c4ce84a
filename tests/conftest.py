"""A tiny random CTC checkpoint, drawn lines, and the embedded base model (imported once)."""

import json
from pathlib import Path

import pytest
from drawn_lines import CHARACTERS, TEXTS, draw_line

from manifold_ocr.records import Sample


@pytest.fixture(scope="session")
def tiny_ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PP-OCRv6 checkpoint with random weights, 4 stages of 8 to 16 channels."""
    import torch
    from transformers import PPOCRV6SmallRecConfig, PPOCRV6SmallRecForTextRecognition

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-ctc")
    blocks = [
        [[3, 8, 8, 1, True]],
        [[3, 8, 8, 1, False]],
        [[3, 8, 16, [2, 1], False]],
        [[3, 16, 16, [2, 1], False]],
    ]
    config = PPOCRV6SmallRecConfig(
        backbone_config={
            "model_type": "pp_lcnet_v4",
            "block_configs": blocks,
            "stem_channels": [3, 8, 8],
        },
        hidden_size=32,
        num_attention_heads=2,
        head_out_channels=len(CHARACTERS),
    )
    model = PPOCRV6SmallRecForTextRecognition(config).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of these inputs: features neither die nor explode
    with torch.no_grad():
        model(torch.rand(8, 3, 48, 128) * 2 - 1)
    model.save_pretrained(folder)
    facts = json.dumps({"character_list": CHARACTERS})
    (folder / "preprocessor_config.json").write_text(facts, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def line_samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    """An image root and eight lines below it."""
    root = tmp_path_factory.mktemp("lines")
    samples = []
    for number, text in enumerate(TEXTS):
        draw_line(text).save(root / f"{number}.png")
        samples.append(
            Sample(
                id=f"line-{number}",
                document=f"doc-{number}",
                corpus="drawn",
                subset="even" if number % 2 == 0 else "odd",
                image=f"{number}.png",
                text=text,
                language="en",
            )
        )
    return root, samples


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded base model, imported from the installed wheel with its parity check."""
    from manifold_ocr.models.ctc.import_ppocr import import_base

    folder = tmp_path_factory.mktemp("base") / "pp-ocrv6-small"
    figures = import_base(folder)
    (folder.parent / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    return folder
