"""Cross-checks of model, lora and train params before anything heavy is imported (torch-free).

What params alone decide is refused here at once; what needs the checkpoint's config.json is
read from that file; what needs the module tree is `training.coverage`.
"""

from manifold_ocr.errors import UserError
from manifold_ocr.files import read_json
from manifold_ocr.training.gpu_monitor import gpu_present
from manifold_ocr.training.settings import TrainingSettings


def check_combinations(settings: TrainingSettings) -> None:
    """Refuse params that cannot work together, each with its remedy.

    Raises:
        UserError: quantisation or fp16 without a GPU, full fine-tuning of quantised weights,
            lengths beyond the decoder's positions, and the like.
    """
    _check_hardware(settings)
    _check_quantization(settings)
    _check_lengths(settings)


def _check_hardware(settings: TrainingSettings) -> None:
    model = settings.model
    if model.quantization == "none" and model.precision != "fp16":
        return
    if gpu_present():
        return
    if model.quantization != "none":
        raise UserError(
            f"model.quantization: {model.quantization} needs an NVIDIA GPU and none answers; "
            "set model.quantization=none, or check `nvidia-smi`"
        )
    raise UserError(
        "model.precision: fp16 needs an NVIDIA GPU and none answers; on a CPU set "
        "model.precision=fp32"
    )


def _check_quantization(settings: TrainingSettings) -> None:
    model, lora = settings.model, settings.lora
    if model.quantization == "none":
        return
    if lora.rank == 0:
        raise UserError(
            f"model.quantization: {model.quantization} weights cannot be trained themselves; "
            "set lora.rank above 0, or model.quantization=none for full fine-tuning"
        )
    if model.precision == "fp32":
        raise UserError(
            f"model.quantization: {model.quantization} computes in half precision; set "
            "model.precision=bf16 (or fp16)"
        )
    if lora.bias != "none":
        raise UserError(
            f"lora.bias: {lora.bias} would train biases of quantised layers; set lora.bias=none"
        )


def _check_lengths(settings: TrainingSettings) -> None:
    config = read_json(settings.base / "config.json")
    limit = decoder_positions(config)
    if limit is None:
        return
    for name in ("max_target_length", "generation_max_length"):
        value = getattr(settings.train, name)
        if value > limit:
            raise UserError(
                f"train.{name}: {value} is beyond the {limit} positions of this model's decoder; "
                f"set train.{name}={limit} or less"
            )


def decoder_positions(config: dict[str, object]) -> int | None:
    """Return how many tokens the decoder of a checkpoint's config.json can hold, or None."""
    for part in (config.get("decoder"), config.get("text_config"), config):
        if isinstance(part, dict) and "max_position_embeddings" in part:
            return int(part["max_position_embeddings"])
    return None
