"""Tiny random checkpoints of real architectures, written to a folder: no hub, no download."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from manifold_ocr.records import Sample

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 .,:\n"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] | lower }}{% endif %}"
    "{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"
)
SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]
CHAT_SPECIALS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
CHAT_SPECIALS += ["<|image_pad|>", "<|video_pad|>"]


def character_tokenizer(extra: list[str] | None = None) -> PreTrainedTokenizerFast:
    """One token a character."""
    vocabulary = {name: i for i, name in enumerate([*SPECIALS, *(extra or []), *ALPHABET])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<|im_end|>" if extra else "</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=extra or [],
    )


def write_trocr(folder: Path, seed: int = 0) -> Path:
    """A ViT + TrOCR checkpoint of 0.2 M parameters that reads 32 x 64 pixels."""
    from transformers import (
        TrOCRConfig,
        TrOCRForCausalLM,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTModel,
    )

    torch.manual_seed(seed)
    tokenizer = character_tokenizer()
    encoder = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=(32, 64),
        patch_size=(8, 8),
        initializer_range=0.3,
    )
    decoder = TrOCRConfig(
        vocab_size=len(tokenizer),
        d_model=48,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=96,
        cross_attention_hidden_size=32,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        dropout=0.0,
        init_std=0.1,
    )
    model = VisionEncoderDecoderModel(
        encoder=ViTModel(encoder, add_pooling_layer=False), decoder=TrOCRForCausalLM(decoder)
    )
    model.config.decoder_start_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 64},
        "resample": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def write_donut(folder: Path, seed: int = 0) -> Path:
    """A Donut checkpoint: Swin encoder, MBart decoder, pictures padded to 32 x 64 pixels."""
    from transformers import (
        DonutSwinConfig,
        DonutSwinModel,
        MBartConfig,
        MBartForCausalLM,
        VisionEncoderDecoderModel,
    )

    torch.manual_seed(seed)
    tokenizer = character_tokenizer()
    encoder = DonutSwinConfig(
        image_size=[32, 64],
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
        initializer_range=0.2,
        drop_path_rate=0.0,
    )
    decoder = MBartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=96,
        max_position_embeddings=64,
        is_decoder=True,
        is_encoder_decoder=False,
        add_cross_attention=True,
        scale_embedding=True,
        add_final_layer_norm=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dropout=0.0,
        init_std=0.3,
    )
    model = VisionEncoderDecoderModel(
        encoder=DonutSwinModel(encoder, add_pooling_layer=False),
        decoder=MBartForCausalLM(decoder),
    )
    model.config.decoder_start_token_id = tokenizer.bos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {
        "image_processor_type": "DonutFeatureExtractor",  # as the published checkpoints say
        "size": [64, 32],  # width, height
        "do_align_long_axis": False,
        "do_thumbnail": True,
        "do_pad": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def write_qwen2_vl(folder: Path, seed: int = 0) -> Path:
    """A Qwen2-VL checkpoint of 0.2 M parameters."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    torch.manual_seed(seed)
    tokenizer = character_tokenizer(CHAT_SPECIALS)
    tokenizer.chat_template = CHAT_TEMPLATE
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in CHAT_SPECIALS}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 3, 3],
            },
            "initializer_range": 0.1,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "num_heads": 4,
            "hidden_size": 64,
            "mlp_ratio": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "initializer_range": 0.2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen2VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = [ids["<|im_end|>"]]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 56 * 56,
        "max_pixels": 56 * 112,
        "patch_size": 14,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def text_image(text: str, size: tuple[int, int] = (96, 32)) -> Image.Image:
    """A white picture with black text in PIL's built-in font."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).text((2, 8), text, fill="black")
    return image


def drawn_samples(
    folder: Path, texts: Sequence[str], sizes: Sequence[tuple[int, int]] = ((112, 56),)
) -> list[Sample]:
    """One picture a text below `folder`; `sizes` are taken in turn."""
    rows = []
    for number, text in enumerate(texts):
        width, height = sizes[number % len(sizes)]
        text_image(text, (width, height)).save(folder / f"{number}.png")
        rows.append(
            Sample(
                id=f"s{number}",
                document=f"d{number}",
                corpus="drawn",
                subset="all",
                image=f"{number}.png",
                text=text,
                language="en",
                width=width,
                height=height,
            )
        )
    return rows
