"""What published chat models for OCR write into their JSON files: see published_configs."""

from typing import Any

Json = dict[str, Any]
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}

QWEN_TOKENS = {
    "<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645,
    "<|vision_start|>": 151652, "<|vision_end|>": 151653, "<|vision_pad|>": 151654,
    "<|image_pad|>": 151655, "<|video_pad|>": 151656,
}  # fmt: skip
QWEN_IMAGE = {
    "min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2,
    "merge_size": 2, **CLIP, "image_processor_type": "Qwen2VLImageProcessor",
}  # fmt: skip
QWEN_CHAT = ("<|im_start|>user\n", "<|vision_start|><|image_pad|><|vision_end|>",
             "<|im_end|>\n<|im_start|>assistant\n")  # fmt: skip
QWEN_IDS = {
    "vision_start_token_id": 151652, "vision_end_token_id": 151653, "image_token_id": 151655,
    "video_token_id": 151656,
}  # fmt: skip


def _qwen2_text(width: int, inner: int, layers: int, heads: int, **other: Any) -> Json:
    return {
        "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
        "hidden_act": "silu", "hidden_size": width, "initializer_range": 0.02,
        "intermediate_size": inner, "max_position_embeddings": 32768, "max_window_layers": layers,
        "num_attention_heads": heads, "num_hidden_layers": layers, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
        "use_sliding_window": False, "vocab_size": 151936,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, **other,
    }  # fmt: skip


QWEN2_VL: Json = {
    "id": "Qwen/Qwen2-VL-2B-Instruct",
    "tokenizer": QWEN_TOKENS, "end": "<|im_end|>", "pad": "<|endoftext|>", "chat": QWEN_CHAT,
    "template": "chat_template.json",
    "config": {
        "architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl",
        **_qwen2_text(1536, 8960, 28, 12), **QWEN_IDS, "vision_token_id": 151654,
        "vision_config": {
            "depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3,
            "hidden_size": 1536, "patch_size": 14, "spatial_merge_size": 2,
            "spatial_patch_size": 14, "temporal_patch_size": 2,
        },
    },
    "preprocessor": QWEN_IMAGE,
    "generation": {
        "bos_token_id": 151643, "pad_token_id": 151643, "do_sample": True,
        "eos_token_id": [151645, 151643], "repetition_penalty": 1.0, "temperature": 0.01,
        "top_p": 0.001, "top_k": 1,
    },
}  # fmt: skip

QWEN2_5_VL: Json = {
    **QWEN2_VL,
    "id": "Qwen/Qwen2.5-VL-3B-Instruct",
    "config": {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
        **_qwen2_text(2048, 11008, 36, 16, max_position_embeddings=128000, max_window_layers=70),
        **QWEN_IDS, "vision_token_id": 151654,
        "vision_config": {
            "depth": 32, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": 3420,
            "num_heads": 16, "in_chans": 3, "out_hidden_size": 2048, "patch_size": 14,
            "spatial_merge_size": 2, "spatial_patch_size": 14, "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
    },
    "preprocessor": {
        **QWEN_IMAGE, "image_processor_type": "Qwen2_5_VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    },
    "generation": {
        "bos_token_id": 151643, "pad_token_id": 151643, "do_sample": True,
        "eos_token_id": [151645, 151643], "repetition_penalty": 1.05, "temperature": 1e-06,
    },
}  # fmt: skip

QWEN3_VL: Json = {
    **QWEN2_VL,
    "id": "Qwen/Qwen3-VL-2B-Instruct",
    "config": {
        "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl",
        **QWEN_IDS, "tie_word_embeddings": True,
        "text_config": {
            "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 151643,
            "dtype": "bfloat16", "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
            "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 6144,
            "max_position_embeddings": 262144, "model_type": "qwen3_vl_text",
            "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
            "rms_norm_eps": 1e-06, "rope_theta": 5000000, "tie_word_embeddings": True,
            "use_cache": True, "vocab_size": 151936,
            "rope_scaling": {
                "mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default",
            },
        },
        "vision_config": {
            "deepstack_visual_indexes": [5, 11, 17], "depth": 24,
            "hidden_act": "gelu_pytorch_tanh", "hidden_size": 1024, "in_channels": 3,
            "initializer_range": 0.02, "intermediate_size": 4096, "model_type": "qwen3_vl",
            "num_heads": 16, "num_position_embeddings": 2304, "out_hidden_size": 2048,
            "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
    },
    "preprocessor": {
        "size": {"longest_edge": 16777216, "shortest_edge": 65536}, "patch_size": 16,
        "temporal_patch_size": 2, "merge_size": 2, **HALF,
        "image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen3VLProcessor",
    },
    "generation": {
        "bos_token_id": 151643, "pad_token_id": 151643, "do_sample": True,
        "eos_token_id": [151645, 151643], "top_p": 0.8, "top_k": 20, "temperature": 0.7,
        "repetition_penalty": 1.0,
    },
}  # fmt: skip

PADDLEOCR_VL: Json = {
    "id": "PaddlePaddle/PaddleOCR-VL",
    "tokenizer": {
        "<|begin_of_sentence|>": 100273, "<|IMAGE_PLACEHOLDER|>": 100295,
        "<|IMAGE_START|>": 101305, "<|IMAGE_END|>": 101306, "<|video_pad|>": 101307,
    },
    "first_tokens": ["<unk>", "<s>", "</s>"], "end": "</s>", "pad": "<unk>",
    "chat": ("<|begin_of_sentence|>User: ", "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>",
             "\nAssistant:\n"),
    "template": "chat_template.jinja",
    "config": {
        "architectures": ["PaddleOCRVLForConditionalGeneration"],
        "auto_map": {
            "AutoConfig": "configuration_paddleocr_vl.PaddleOCRVLConfig",
            "AutoModel": "modeling_paddleocr_vl.PaddleOCRVLForConditionalGeneration",
        },
        "compression_ratio": 1.0, "head_dim": 128, "hidden_act": "silu",
        "hidden_dropout_prob": 0.0, "hidden_size": 1024, "ignored_index": -100,
        "image_token_id": 100295, "intermediate_size": 3072, "max_position_embeddings": 131072,
        "model_type": "paddleocr_vl", "num_attention_heads": 16, "num_hidden_layers": 18,
        "num_key_value_heads": 2, "pad_token_id": 0, "rms_norm_eps": 1e-05,
        "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"},
        "rope_theta": 500000, "sliding_window": None, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "use_bias": False, "use_cache": False,
        "vision_start_token_id": 101305, "vision_end_token_id": 101306,
        "video_token_id": 101307, "vocab_size": 103424, "weight_share_add_bias": True,
        "use_3d_rope": True, "rope_is_neox_style": True,
        "vision_config": {
            "architectures": ["PaddleOCRVisionModel"], "attention_dropout": 0.0,
            "hidden_act": "gelu_pytorch_tanh", "hidden_size": 1152, "image_size": 384,
            "intermediate_size": 4304, "layer_norm_eps": 1e-06, "model_type": "paddleocr_vl",
            "num_attention_heads": 16, "num_channels": 3, "num_hidden_layers": 27,
            "pad_token_id": 0, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "tokens_per_second": 2, "torch_dtype": "bfloat16",
        },
    },
    "preprocessor": {
        "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        **HALF, "image_processor_type": "PaddleOCRVLImageProcessor", "max_pixels": 1003520,
        "merge_size": 2, "min_pixels": 112896, "patch_size": 14,
        "processor_class": "PaddleOCRVLProcessor", "resample": 3,
        "rescale_factor": 1 / 255, "temporal_patch_size": 1,
    },
    "generation": {"eos_token_id": 2, "pad_token_id": 0, "use_cache": False},
}  # fmt: skip

GLM_OCR: Json = {
    "id": "zai-org/GLM-OCR",
    "tokenizer": {
        "<|endoftext|>": 59246, "<|user|>": 59253, "<|assistant|>": 59254,
        "<|begin_of_image|>": 59256, "<|end_of_image|>": 59257, "<|begin_of_video|>": 59258,
        "<|end_of_video|>": 59259, "<|image|>": 59280, "<|video|>": 59281,
    },
    "end": "<|endoftext|>", "pad": "<|endoftext|>",
    "chat": ("<|user|>\n", "<|begin_of_image|><|image|><|end_of_image|>", "<|assistant|>\n"),
    "template": "chat_template.jinja",
    "config": {
        "architectures": ["GlmOcrForConditionalGeneration"], "model_type": "glm_ocr",
        "text_config": {
            "model_type": "glm_ocr_text", "pad_token_id": 59246, "vocab_size": 59392,
            "eos_token_id": [59246, 59253], "attention_bias": False, "attention_dropout": 0.0,
            "head_dim": 128, "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02,
            "intermediate_size": 4608, "max_position_embeddings": 131072,
            "num_attention_heads": 16, "num_hidden_layers": 16, "num_nextn_predict_layers": 1,
            "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "dtype": "bfloat16",
            "rope_parameters": {
                "rope_type": "default", "mrope_section": [16, 24, 24],
                "partial_rotary_factor": 1.0, "rope_theta": 10000,
            },
            "tie_word_embeddings": False, "use_cache": True,
        },
        "vision_config": {
            "model_type": "glm_ocr_vision", "hidden_size": 1024, "depth": 24, "num_heads": 16,
            "attention_bias": True, "intermediate_size": 4096, "hidden_act": "silu",
            "hidden_dropout_prob": 0.0, "initializer_range": 0.02, "image_size": 336,
            "patch_size": 14, "out_hidden_size": 1536, "rms_norm_eps": 1e-05,
            "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
        "image_start_token_id": 59256, "image_end_token_id": 59257,
        "video_start_token_id": 59258, "video_end_token_id": 59259, "image_token_id": 59280,
        "video_token_id": 59281,
    },
    "preprocessor": {
        "size": {"shortest_edge": 12544, "longest_edge": 9633792}, "do_rescale": True,
        "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2, **CLIP,
        "image_processor_type": "Glm46VImageProcessor", "processor_class": "Glm46VProcessor",
    },
    "generation": {
        "do_sample": False, "eos_token_id": [59246, 59253], "pad_token_id": 59246,
    },
}  # fmt: skip

LIGHTON_OCR_2: Json = {
    "id": "lightonai/LightOnOCR-2-1B",
    "tokenizer": QWEN_TOKENS, "end": "<|im_end|>", "pad": "<|endoftext|>",
    "chat": ("<|im_start|>user\n", "<|image_pad|>", "<|im_end|>\n<|im_start|>assistant\n"),
    "template": "chat_template.jinja",
    "config": {
        "architectures": ["LightOnOCRForConditionalGeneration"], "model_type": "mistral3",
        "dtype": "bfloat16", "eos_token_id": 151645, "image_token_id": 151655,
        "multimodal_projector_bias": False, "pad_token_id": 151643,
        "projector_hidden_act": "gelu", "spatial_merge_size": 2, "use_cache": False,
        "vision_feature_layer": -1,
        "text_config": {
            "architectures": ["Qwen3ForCausalLM"], "attention_bias": False,
            "attention_dropout": 0, "dtype": "bfloat16", "head_dim": 128, "hidden_act": "silu",
            "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
            "layer_types": ["full_attention"] * 28, "max_position_embeddings": 16384,
            "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16,
            "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
            "rope_parameters": {"rope_theta": 1000000, "rope_type": "default"},
            "rope_theta": 1000000, "sliding_window": None, "use_cache": True,
            "use_sliding_window": False, "tie_word_embeddings": True, "vocab_size": 151936,
            "use_qk_norm": True,
        },
        "vision_config": {
            "attention_dropout": 0, "dtype": "bfloat16", "head_dim": 64, "hidden_act": "silu",
            "hidden_size": 1024, "image_size": 1540, "initializer_range": 0.02,
            "intermediate_size": 8192, "model_type": "pixtral", "num_attention_heads": 16,
            "num_channels": 3, "num_hidden_layers": 24, "patch_size": 14,
            "rope_parameters": {"rope_theta": 10000, "rope_type": "default"}, "rope_theta": 10000,
        },
    },
    "processor": {  # processor_config.json, beside which there is no preprocessor_config.json
        "image_break_token": "<|vision_pad|>", "image_end_token": "<|vision_end|>",
        "image_token": "<|image_pad|>", "patch_size": 14, "processor_class": "PixtralProcessor",
        "spatial_merge_size": 2,
    },
    "preprocessor": {
        "data_format": "channels_first", "default_to_square": True, "do_convert_rgb": True,
        "do_normalize": True, "do_rescale": True, "do_resize": True, **CLIP,
        "image_processor_type": "PixtralImageProcessorFast", "patch_size": 14, "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"longest_edge": 1540},
    },
    "generation": {
        "bos_token_id": 151643, "do_sample": True, "eos_token_id": [151645, 151643],
        "pad_token_id": 151643, "temperature": 0.2, "top_k": 0, "top_p": 0.9,
    },
}  # fmt: skip
