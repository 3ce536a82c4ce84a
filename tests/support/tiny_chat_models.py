"""Tiny random chat checkpoints: each library class with its own tokens, template, processor."""

import json
from pathlib import Path
from typing import Any

import torch
from tiny_models import character_tokenizer

ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
CLIP = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
USER = (
    "{%- for m in messages %}{{ START }}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "{{ IMAGE }}{% else %}{{ c['text'] | lower }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ANSWER }}{% endif %}"
)
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
}


def template(start: str, image: str, answer: str) -> str:
    """One user turn, as the checkpoints' own templates write it."""
    text = USER.replace("{{ START }}", start).replace("{{ IMAGE }}", image)
    return text.replace("{{ ANSWER }}", answer)


def write(
    folder: Path, model: Any, tokenizer: Any, chat: str, end: str, processor: dict[str, Any]
) -> Path:
    """Save model, tokenizer with template, and preprocessor_config.json."""
    tokenizer.chat_template = chat
    model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids(end)]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def tokens(*names: str, end: str) -> Any:
    """A character tokenizer with these special tokens; `end` is its end of text."""
    tokenizer = character_tokenizer([*names, end])
    tokenizer.eos_token = end
    return tokenizer


def write_paddleocr_vl(folder: Path) -> Path:
    """PaddleOCR-VL: a NaViT-like tower with learned positions, a projector, ERNIE 4.5."""
    from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration

    torch.manual_seed(0)
    names = ["<|begin_of_sentence|>", "<|IMAGE_START|>", "<|IMAGE_PLACEHOLDER|>", "<|IMAGE_END|>"]
    tokenizer = tokens(*names, "<|video|>", end="</s>")
    start, image_start, image, image_end = names
    config = PaddleOCRVLConfig(
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "head_dim": 16,
            "rope_parameters": ROPE,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 56,
        },
        image_token_id=tokenizer.convert_tokens_to_ids(image),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids(image_start),
        vision_end_token_id=tokenizer.convert_tokens_to_ids(image_end),
        tie_word_embeddings=False,
    )
    return write(
        folder,
        PaddleOCRVLForConditionalGeneration(config),
        tokenizer,
        template(f"{start}user: ", image_start + image + image_end, "\nassistant:\n"),
        "</s>",
        {
            "image_processor_type": "PaddleOCRVLImageProcessor",
            "size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 112},
            "patch_size": 14,
            "merge_size": 2,
            "temporal_patch_size": 1,
        },
    )


def write_lighton_ocr(folder: Path) -> Path:
    """LightOnOCR: Pixtral's tower on whole pictures, a patch merger, Qwen3; no instruction."""
    from transformers import LightOnOcrConfig, LightOnOcrForConditionalGeneration

    torch.manual_seed(0)
    tokenizer = tokens("<|im_start|>", "<|image_pad|>", end="<|im_end|>")
    config = LightOnOcrConfig(
        text_config={
            **TEXT,
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "head_dim": 16,
        },
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "head_dim": 8,
            "image_size": 112,
            "patch_size": 14,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        tie_word_embeddings=True,
    )
    return write(
        folder,
        LightOnOcrForConditionalGeneration(config),
        tokenizer,
        template("<|im_start|>", "<|image_pad|>", "<|im_end|><|im_start|>"),
        "<|im_end|>",
        {
            "image_processor_type": "PixtralImageProcessorFast",
            "size": {"longest_edge": 112},
            "patch_size": 28,
            **CLIP,
        },
    )


def write_glm_ocr(folder: Path) -> Path:
    """GLM-OCR: a tower that merges by convolution, joined gate and up projections."""
    from transformers import GlmOcrConfig, GlmOcrForConditionalGeneration

    torch.manual_seed(0)
    names = ["<|user|>", "<|assistant|>", "<|begin_of_image|>", "<|image|>", "<|end_of_image|>"]
    tokenizer = tokens(*names, "<|video|>", end="<|endoftext|>")
    config = GlmOcrConfig(
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "rope_parameters": ROPE,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 4,
            "out_hidden_size": 64,
            "intermediate_size": 64,
            "initializer_range": 0.1,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
    )
    return write(
        folder,
        GlmOcrForConditionalGeneration(config),
        tokenizer,
        template("<|user|>\n", "".join(names[2:]), "<|assistant|>\n"),
        "<|endoftext|>",
        {
            "image_processor_type": "Glm46VImageProcessor",
            "size": {"shortest_edge": 2 * 28 * 28, "longest_edge": 2 * 56 * 112},
            "patch_size": 14,
            "merge_size": 2,
            "temporal_patch_size": 2,
            **CLIP,
        },
    )


def _write_qwen(folder: Path, config_class: Any, model_class: Any, vision: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    names = ["<|im_start|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"]
    tokenizer = tokens(*names, end="<|im_end|>")
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in names}
    config = config_class(
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "rope_parameters": ROPE,
            **({"head_dim": 16} if "deepstack_visual_indexes" in vision else {}),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 4,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "patch_size": 14,
            "initializer_range": 0.1,
            **vision,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    return write(
        folder,
        model_class(config),
        tokenizer,
        template("<|im_start|>", "".join(names[1:4]), "<|im_end|><|im_start|>"),
        "<|im_end|>",
        {
            "image_processor_type": "Qwen2VLImageProcessorFast",
            "size": {"shortest_edge": 56 * 56, "longest_edge": 56 * 112},
            "patch_size": 14,
            "merge_size": 2,
            "temporal_patch_size": 2,
            **CLIP,
        },
    )


def write_qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL: window attention in the tower."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {"fullatt_block_indexes": [1], "window_size": 56}
    return _write_qwen(folder, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, vision)


def write_qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL: features of the tower's inner layers enter the language model's first ones."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    vision = {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    return _write_qwen(folder, Qwen3VLConfig, Qwen3VLForConditionalGeneration, vision)
