"""What published OCR checkpoints write into their JSON files: values only, in their real sizes.

From public copies of the published files: config.json of GLM-OCR, Qwen3-VL, PaddleOCR-VL,
LightOnOCR-2, Qwen2.5-VL-3B and trocr-small-printed, generation_config.json of Qwen2.5-VL-3B,
preprocessor_config.json of trocr-small-printed. The other sizes of TrOCR come from the conversion
script of transformers.

From public copies of files that were made from the published ones, and wrote their values down:
- manga-ocr-base: config.json and generation_config.json of an ONNX conversion (transformers 4.57
  moved the rules of reading from the one to the other; here they are where they were).
- donut-base: config.json and preprocessor_config.json of a fine-tuned model, which names the
  commit of donut-base. Sizes of pictures and of the vocabulary are its own there; those here are
  from the conversion script.
- Qwen2-VL: config.json, generation_config.json and preprocessor_config.json (with other limits of
  pixels) of fine-tuned 7B models; the 2B's widths and depths from a phone runtime's model files.
- Qwen2.5-VL: preprocessor_config.json of a fine-tuned 7B.
- LightOnOCR-2: processor_config.json and generation_config.json of an ONNX conversion.

No copy was found of manga-ocr-base's preprocessor: its values are the library's defaults.
"""

from typing import Any

from published_chat_configs import (
    GLM_OCR,
    HALF,
    LIGHTON_OCR_2,
    PADDLEOCR_VL,
    QWEN2_5_VL,
    QWEN2_VL,
    QWEN3_VL,
)

Json = dict[str, Any]


def _vit(width: int, layers: int, heads: int, kind: str = "vit", **other: Any) -> Json:
    return {
        "attention_probs_dropout_prob": 0.0, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
        "hidden_size": width, "image_size": 384, "initializer_range": 0.02,
        "intermediate_size": 4 * width, "layer_norm_eps": 1e-12, "model_type": kind,
        "num_attention_heads": heads, "num_channels": 3, "num_hidden_layers": layers,
        "patch_size": 16, "qkv_bias": False, **other,
    }  # fmt: skip


def _trocr_decoder(encoder_width: int, **other: Any) -> Json:
    return {
        "activation_dropout": 0.0, "activation_function": "gelu", "add_cross_attention": True,
        "attention_dropout": 0.0, "bos_token_id": 0, "classifier_dropout": 0.0,
        "cross_attention_hidden_size": encoder_width, "d_model": 1024,
        "decoder_attention_heads": 16, "decoder_ffn_dim": 4096, "decoder_layerdrop": 0.0,
        "decoder_layers": 12, "decoder_start_token_id": 2, "dropout": 0.1, "eos_token_id": 2,
        "init_std": 0.02, "is_decoder": True, "layernorm_embedding": True,
        "max_position_embeddings": 512, "model_type": "trocr", "pad_token_id": 1,
        "scale_embedding": False, "tie_word_embeddings": True, "use_cache": False,
        "use_learned_position_embeddings": True, "vocab_size": 50265, **other,
    }  # fmt: skip


SINUSOIDAL: Json = {
    "activation_function": "relu",
    "layernorm_embedding": False,
    "max_position_embeddings": 1024,
    "scale_embedding": True,
    "tie_word_embeddings": False,
    "use_learned_position_embeddings": False,
}
SMALL_DECODER: Json = {
    "activation_function": "relu",
    "d_model": 256,
    "decoder_attention_heads": 8,
    "decoder_ffn_dim": 1024,
    "decoder_layers": 6,
    "scale_embedding": True,
    "tie_word_embeddings": False,
    "vocab_size": 64044,
}


def _vision_encoder_decoder(encoder: Json, decoder: Json, **top: Any) -> Json:
    return {
        "architectures": ["VisionEncoderDecoderModel"], "decoder": decoder, "encoder": encoder,
        "is_encoder_decoder": True, "model_type": "vision-encoder-decoder",
        "tie_word_embeddings": False, "torch_dtype": "float32", **top,
    }  # fmt: skip


TROCR_RULES = {"bos_token_id": 0, "decoder_start_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
TROCR_IMAGE = {
    "do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor",
    **HALF, "resample": 2, "size": 384,
}  # fmt: skip
SMALL_IMAGE = {
    "crop_size": 224, "do_center_crop": False, **TROCR_IMAGE,
    "feature_extractor_type": "DeiTFeatureExtractor", "processor_class": "TrOCRProcessor",
    "resample": 3,
}  # fmt: skip


def _trocr(size: str, part: str) -> Json:
    """One TrOCR checkpoint: files by name, and the kind of its tokenizer files."""
    if size == "small":
        encoder = _vit(384, 12, 6, kind="deit", qkv_bias=True)
        decoder = _trocr_decoder(384, **SMALL_DECODER)
        config = _vision_encoder_decoder(encoder, decoder, eos_token_id=2)
        image, tokenizer = SMALL_IMAGE, "sentencepiece"
    else:
        shape = (768, 12, 12) if size == "base" else (1024, 24, 16)
        sinusoidal = part == "stage1" or (size, part) == ("large", "printed")
        decoder = _trocr_decoder(shape[0], **(SINUSOIDAL if sinusoidal else {}))
        config = _vision_encoder_decoder(_vit(*shape), decoder)
        image, tokenizer = TROCR_IMAGE, "vocab_and_merges"
    return {
        "id": f"microsoft/trocr-{size}-{part}", "config": config, "preprocessor": image,
        "generation": TROCR_RULES, "tokenizer": tokenizer,
    }  # fmt: skip


DONUT: Json = {
    "id": "naver-clova-ix/donut-base",
    "tokenizer": "sentencepiece_and_json",
    "config": _vision_encoder_decoder(
        {
            "attention_probs_dropout_prob": 0.0, "depths": [2, 2, 14, 2], "drop_path_rate": 0.1,
            "embed_dim": 128, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
            "hidden_size": 1024, "image_size": [2560, 1920], "initializer_range": 0.02,
            "layer_norm_eps": 1e-05, "mlp_ratio": 4.0, "model_type": "donut-swin",
            "num_channels": 3, "num_heads": [4, 8, 16, 32], "num_layers": 4, "patch_size": 4,
            "path_norm": True, "qkv_bias": True, "use_absolute_embeddings": False,
            "window_size": 10,
        },
        {
            "activation_dropout": 0.0, "activation_function": "gelu", "add_cross_attention": True,
            "add_final_layer_norm": True, "attention_dropout": 0.0, "bos_token_id": 0,
            "classifier_dropout": 0.0, "d_model": 1024, "decoder_attention_heads": 16,
            "decoder_ffn_dim": 4096, "decoder_layerdrop": 0.0, "decoder_layers": 4,
            "dropout": 0.1, "encoder_attention_heads": 16, "encoder_ffn_dim": 4096,
            "encoder_layerdrop": 0.0, "encoder_layers": 12, "eos_token_id": 2,
            "forced_eos_token_id": 2, "init_std": 0.02, "is_decoder": True,
            "is_encoder_decoder": False, "max_position_embeddings": 1536, "model_type": "mbart",
            "pad_token_id": 1, "scale_embedding": True, "use_cache": True, "vocab_size": 57525,
        },
    ),
    "preprocessor": {
        "do_align_long_axis": False, "do_normalize": True, "do_pad": True, "do_resize": True,
        "do_thumbnail": True, "feature_extractor_type": "DonutFeatureExtractor", **HALF,
        "processor_class": "DonutProcessor", "resample": 2, "size": [1920, 2560],
    },
    "generation": {
        "bos_token_id": 0, "eos_token_id": 2, "forced_eos_token_id": 2, "pad_token_id": 1,
    },
}  # fmt: skip

MANGA: Json = {
    "id": "kha-white/manga-ocr-base",
    "tokenizer": "bert_japanese",
    "config": _vision_encoder_decoder(
        _vit(
            768, 12, 12, image_size=224, qkv_bias=True, encoder_stride=16,
            architectures=["ViTForImageClassification"],
        ),
        {
            "add_cross_attention": True, "architectures": ["BertForMaskedLM"],
            "attention_probs_dropout_prob": 0.1, "classifier_dropout": None, "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
            "intermediate_size": 3072, "is_decoder": True, "layer_norm_eps": 1e-12,
            "max_length": 300, "max_position_embeddings": 512, "model_type": "bert",
            "num_attention_heads": 12, "num_hidden_layers": 2,
            "position_embedding_type": "absolute", "tokenizer_class": "BertJapaneseTokenizer",
            "type_vocab_size": 2, "use_cache": True, "vocab_size": 6144,
        },
        decoder_start_token_id=2, early_stopping=True, eos_token_id=3, length_penalty=2.0,
        max_length=300, no_repeat_ngram_size=3, num_beams=4, pad_token_id=0, vocab_size=6144,
    ),
    "preprocessor": {**TROCR_IMAGE, "size": 224},
    "generation": None,
}  # fmt: skip

TROCR = {
    f"trocr-{size}-{part}": _trocr(size, part)
    for size in ("small", "base", "large")
    for part in ("printed", "handwritten", "stage1")
}
PUBLISHED: dict[str, Json] = {
    **TROCR,
    "donut-base": DONUT,
    "manga-ocr-base": MANGA,
    "qwen2-vl-2b": QWEN2_VL,
    "qwen2.5-vl-3b": QWEN2_5_VL,
    "qwen3-vl-2b": QWEN3_VL,
    "paddleocr-vl": PADDLEOCR_VL,
    "glm-ocr": GLM_OCR,
    "lighton-ocr-2": LIGHTON_OCR_2,
}
