"""From a family's name to its training side, through one explicit table."""

from collections.abc import Callable

from manifold_ocr.training.family import TrainingFamily
from manifold_ocr.training.settings import TrainingSettings


def family_for(name: str, settings: TrainingSettings) -> TrainingFamily:
    """Return the training side of the family `name` (see `models.registry.FAMILIES`)."""
    builders: dict[str, Callable[[TrainingSettings], TrainingFamily]] = {
        "ctc": _ctc,
        "encoder_decoder": _encoder_decoder,
        "chat_vlm": _chat_vlm,
    }
    return builders[name](settings)


def _ctc(settings: TrainingSettings) -> TrainingFamily:
    from manifold_ocr.training.ctc_family import CtcTraining

    return CtcTraining(settings)


def _encoder_decoder(settings: TrainingSettings) -> TrainingFamily:
    from manifold_ocr.training.encoder_decoder_family import EncoderDecoderTraining

    return EncoderDecoderTraining(settings)


def _chat_vlm(settings: TrainingSettings) -> TrainingFamily:
    from manifold_ocr.training.chat_vlm_family import ChatVlmTraining

    return ChatVlmTraining(settings)
