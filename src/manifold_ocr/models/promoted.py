"""A promoted checkpoint folder names its own base model, and is read from anywhere.

`manifold.json` beside the weights holds the base's id, revision and fingerprint, and the model
section that the weights were trained with. The base is taken from the project where it has
that fingerprint; else it is fetched once into the cache.
"""

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from manifold_ocr.config import DecodeConfig, ModelConfig, Spaces
from manifold_ocr.errors import UserError
from manifold_ocr.files import cache_root, read_json
from manifold_ocr.models.adapter_files import ORIGIN, base_fingerprint
from manifold_ocr.models.base import OcrModel
from manifold_ocr.models.pretrained import fetch_base
from manifold_ocr.models.registry import BASE_ROOT, load_model, slug

PROMOTED = "promoted"
KEPT_SETTINGS = ("processor_id", "precision", "quantization", "max_pixels")


def origin_of(folder: Path) -> dict[str, Any]:
    """Return manifold.json of a weights folder, or {} where there is none."""
    path = folder / ORIGIN
    return dict(read_json(path)) if path.is_file() else {}


def is_promoted(folder: Path) -> bool:
    """Return whether `folder` says by itself which base model it belongs to."""
    return PROMOTED in origin_of(folder)


def model_config(folder: Path) -> ModelConfig:
    """Return the model section that a promoted folder was trained with."""
    origin = origin_of(folder)
    known = origin.get("model", {})
    return ModelConfig(
        id=str(origin["base_id"]),
        revision=str(origin.get("base_revision", "")),
        **{key: known[key] for key in KEPT_SETTINGS if key in known},
    )


def base_of(folder: Path) -> Path:
    """Return the folder of a promoted checkpoint's base model, fetched where it is not there.

    Raises:
        UserError: no base with its fingerprint can be had.
    """
    config, wanted = model_config(folder), origin_of(folder)["base_fingerprint"]
    local = Path(config.id)
    cached = cache_root() / "bases" / f"{slug(config.id)}-{config.revision[:12] or 'embedded'}"
    places = [local, BASE_ROOT / slug(config.id), cached / slug(config.id)]
    found = [place for place in places if (place / "config.json").is_file()]
    for place in found:
        if base_fingerprint(place) == wanted:
            return place
    if not local.is_dir():
        with redirect_stdout(sys.stderr):  # standard output is for texts
            fetch_base(config, cached)
        place = cached / slug(config.id)
        if base_fingerprint(place) == wanted:
            return place
    raise UserError(
        f"{folder}: its base model {config.id!r} is here, but with other weights or another "
        "config.json than those it was trained on; install the library versions that its "
        "README.md names, or train and promote again"
    )


def spaces_of(folder: Path) -> Spaces:
    """Return `decode.spaces` of the run that was promoted."""
    return DecodeConfig(spaces=origin_of(folder).get("spaces", "model")).spaces


def load_promoted(folder: Path, max_new_tokens: int | None = None) -> OcrModel:
    """Load a promoted adapter on the base model that it names, whatever params.yaml says."""
    config = replace(model_config(folder), id=str(base_of(folder)))
    spaces = spaces_of(folder)
    return load_model(config, folder, max_new_tokens=max_new_tokens, spaces=spaces)
