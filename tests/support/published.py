"""Published checkpoints in little: the same files, keys and token places, tiny random weights."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from published_configs import PUBLISHED
from tiny_chat_models import template

TEXT = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512,
    "max_window_layers": 2, "initializer_range": 0.1,
}  # fmt: skip
VISION = {
    "depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 32, "intermediate_size": 64,
    "out_hidden_size": 64, "window_size": 56, "fullatt_block_indexes": [1],
    "deepstack_visual_indexes": [0], "num_position_embeddings": 16, "num_hidden_layers": 2,
    "num_attention_heads": 4, "head_dim": 8, "initializer_range": 0.1,
}  # fmt: skip
ENCODER = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "patch_size": 8, "initializer_range": 0.3,
}  # fmt: skip
SWIN = {
    "hidden_size": 32, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "num_layers": 2,
    "window_size": 4, "initializer_range": 0.3,
}  # fmt: skip
DECODER = {
    "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 64,
    "cross_attention_hidden_size": 32, "hidden_size": 32, "num_attention_heads": 2,
    "num_hidden_layers": 2, "intermediate_size": 64, "init_std": 0.3, "initializer_range": 0.3,
}  # fmt: skip
FIRST = ["<s>", "<pad>", "</s>", "<unk>"]
CORPUS = ["total 12.50 date 2024", "the quick brown fox jumps over the lazy dog", "0123456789 %"]


def smaller(section: dict[str, Any], sizes: dict[str, Any]) -> None:
    """Put the tiny sizes where the published configuration has a value."""
    for key in section.keys() & sizes.keys():
        section[key] = sizes[key]
    for rope in ("rope_scaling", "rope_parameters"):
        if "mrope_section" in (section.get(rope) or {}):
            section[rope]["mrope_section"] = [2, 3, 3]
    if "layer_types" in section:
        section["layer_types"] = section["layer_types"][: section["num_hidden_layers"]]
    if isinstance(section.get("image_size"), int):
        section["image_size"] = 32 if "patch_size" in sizes else 112
    elif "image_size" in section:
        section["image_size"] = [64, 48]


def shrunk(published: dict[str, Any], ids: dict[int, int], vocabulary: int) -> dict[str, Any]:
    """Return a published config.json with tiny sizes; token ids move to the tiny tokenizer's."""
    config = copy.deepcopy(published)
    if "encoder" in config:
        smaller(config["encoder"], SWIN if "depths" in config["encoder"] else ENCODER)
        smaller(config["decoder"], DECODER)
    else:
        smaller(config.get("text_config", config), TEXT)
        smaller(config["vision_config"], VISION)
        if "embed_dim" in config["vision_config"]:  # Qwen2-VL: hidden_size is the text's
            config["vision_config"]["hidden_size"] = TEXT["hidden_size"]
    return moved(config, ids, vocabulary)


def moved(value: Any, ids: dict[int, int], vocabulary: int, key: str = "") -> Any:
    """Replace published token ids by those of the tiny tokenizer, wherever a key names one."""
    if isinstance(value, dict):
        return {k: moved(v, ids, vocabulary, k) for k, v in value.items()}
    if key == "vocab_size":
        return vocabulary
    if key.endswith("_token_id"):
        return [ids.get(v, v) for v in value] if isinstance(value, list) else ids.get(value, value)
    return value


def byte_level(first: list[str], added: list[str], places: dict[str, int] | None = None) -> Any:
    """A byte-level BPE tokenizer without merges but a few: `first`, 256 bytes, then `added`.

    `places` puts tokens of `added` at the ids that the published vocabulary gives them, with
    unused words before them.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("1", "2")]
    words = [*first, *letters, *("".join(pair) for pair in merges)]
    for name, place in sorted((places or {}).items(), key=lambda item: item[1]):
        words += [f"<unused{number}>" for number in range(len(words), place)]
        words.append(name)
    model = models.BPE({word: i for i, word in enumerate(words)}, merges)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in [*first, *added]])
    return tokenizer


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def write_tokenizer(folder: Path, published: dict[str, Any]) -> None:
    """Write the tokenizer files of the kind that the checkpoint publishes."""
    kind = published["tokenizer"]
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
             "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>"}  # fmt: skip
    if kind == "vocab_and_merges":
        byte_level([*FIRST, "<mask>"], []).model.save(str(folder))
        settings = {"add_prefix_space": False, "trim_offsets": True, "model_max_length": 512}
        settings |= {"tokenizer_class": "RobertaTokenizer", **names}
        write_json(folder / "special_tokens_map.json", names)
    elif kind in ("sentencepiece", "sentencepiece_and_json"):
        write_sentencepiece(folder / "sentencepiece.bpe.model")
        settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512, **names}
    elif kind == "bert_japanese":
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set("".join(CORPUS)))]
        (folder / "vocab.txt").write_text("\n".join(words))
        settings = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "basic",
                    "subword_tokenizer_type": "character", "do_lower_case": False}  # fmt: skip
    else:
        tokenizer = byte_level(published.get("first_tokens", []), list(kind))
        tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"eos_token": published["end"], "pad_token": published["pad"],
                    "tokenizer_class": "PreTrainedTokenizerFast"}  # fmt: skip
        text = template(*published["chat"]).replace("| lower", "")
        write_template(folder / published["template"], text)
    write_json(folder / "tokenizer_config.json", settings)
    if kind == "sentencepiece_and_json":
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(folder).save_pretrained(folder)


def write_template(path: Path, text: str) -> None:
    path.write_text(json.dumps({"chat_template": text}) if path.suffix == ".json" else text)


def write_sentencepiece(path: Path) -> None:
    """Train a unigram model on a few lines, as XLM-RoBERTa's file is one."""
    import io

    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20), model_writer=written, vocab_size=60,
        model_type="unigram", character_coverage=1.0, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    path.write_bytes(written.getvalue())


def write_image_settings(folder: Path, published: dict[str, Any]) -> None:
    """Write preprocessor_config.json for tiny pictures."""
    settings = copy.deepcopy(published["preprocessor"])
    if isinstance(settings.get("size"), int):
        settings["size"] = 32
    elif isinstance(settings.get("size"), list):
        settings["size"] = [48, 64]
    elif "min_pixels" in settings:
        settings |= {"min_pixels": 56 * 56, "max_pixels": 56 * 112}
    elif "shortest_edge" in settings["size"]:
        side = 2 * settings["patch_size"] * settings["merge_size"]
        frames = 2 if "Glm" in settings["image_processor_type"] else 1
        settings["size"] = {
            "shortest_edge": frames * side**2,
            "longest_edge": frames * 2 * side**2,
        }
    else:
        settings["size"] = {"longest_edge": 112}
    write_processor(folder, published, settings)


def write_processor(folder: Path, published: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write the settings of pictures into the file in which the checkpoint publishes them."""
    if "processor" in published:
        value = {**published["processor"], "image_processor": settings}
        write_json(folder / "processor_config.json", value)
    else:
        write_json(folder / "preprocessor_config.json", settings)


def write_published(folder: Path, name: str) -> Path:
    """Write the checkpoint `name` of `published_configs` in little; return its folder."""
    from transformers import AutoTokenizer

    published = PUBLISHED[name]
    folder.mkdir(parents=True)
    write_tokenizer(folder, published)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    kind = published["tokenizer"]
    tokens = kind if isinstance(kind, dict) else {}
    ids = {old: tokenizer.convert_tokens_to_ids(token) for token, old in tokens.items()}
    config = shrunk(published["config"], ids, len(tokenizer))
    write_image_settings(folder, published)
    write_json(folder / "config.json", config)
    if published["generation"] is not None:
        rules = moved(published["generation"], ids, len(tokenizer))
        write_json(folder / "generation_config.json", rules)
    write_weights(folder, config)
    return folder


def write_real_shapes(folder: Path, name: str) -> Path:
    """Write the files of a checkpoint in its real sizes, without weights (for benchmarks).

    Token ids are the published ones; the tokenizer knows single bytes and those tokens.
    """
    published = PUBLISHED[name]
    folder.mkdir(parents=True)
    kind = published["tokenizer"]
    if isinstance(kind, dict):
        tokenizer = byte_level(published.get("first_tokens", []), list(kind), kind)
        write_template(folder / published["template"], template(*published["chat"]))
        names = {"eos_token": published["end"], "pad_token": published["pad"]}
    else:
        tokenizer = byte_level(FIRST, [])
        names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "config.json", published["config"])
    write_processor(folder, published, published["preprocessor"])
    if published["generation"] is not None:
        write_json(folder / "generation_config.json", published["generation"])
    return folder


def write_weights(
    folder: Path, config: dict[str, Any], device: str = "cpu", dtype: Any = torch.float32
) -> None:
    """Draw a model of the configuration and save its weights under their published names."""
    import transformers

    torch.manual_seed(0)
    architecture = config["architectures"][0].replace("LightOnOCR", "LightOnOcr")
    kind = getattr(transformers, architecture)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = kind(kind.config_class.from_pretrained(folder))
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder / "written")
    for path in (folder / "written").iterdir():
        if path.name.startswith("model"):
            path.rename(folder / path.name)
        else:
            path.unlink()
    (folder / "written").rmdir()
