"""Which layers `lora.target_modules: auto` names in each family, and below what (torch-free).

Each function returns (endings of module names, prefix of the names that are looked at). With
`freeze_backbone` the vision part stays as it is: nothing of it is named.
"""

from typing import Any

CTC_HEAD = ("qkv", "projection", "fc1", "fc2", "head.head")
CTC_BACKBONE = ("channel_conv1.convolution", "channel_conv2.convolution")
DECODER = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
ENCODER = ("query", "key", "value", "o_proj", "dense")
LANGUAGE = (
    *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "gate_up_proj",  # GLM joins the two
)
VISION = ("qkv", "proj", "fc1", "fc2", "out_proj", "linear_fc1", "linear_fc2")

Scope = tuple[tuple[str, ...], str]


def ctc_scope(*, freeze_backbone: bool) -> Scope:
    """Return the head's layers; the backbone's pointwise convolutions too unless frozen."""
    within = "head." if freeze_backbone else ""
    return (CTC_HEAD if freeze_backbone else (*CTC_HEAD, *CTC_BACKBONE)), within


def encoder_decoder_scope(*, freeze_backbone: bool) -> Scope:
    """Return attention and feed-forward projections of the decoder, and of the encoder."""
    return (DECODER, "decoder.") if freeze_backbone else ((*DECODER, *ENCODER), "")


def chat_vlm_scope(model: Any, *, freeze_backbone: bool) -> Scope:
    """Return attention and feed-forward projections of the language model, and of the tower."""
    if not freeze_backbone:
        return (*LANGUAGE, *VISION), ""
    return LANGUAGE, "model.language_model." if hasattr(model.model, "language_model") else "model."
