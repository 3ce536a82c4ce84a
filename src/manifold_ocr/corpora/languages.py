"""Language names in their common spellings, as BCP-47 tags."""

import re
from functools import lru_cache

from manifold_ocr.errors import UserError

UNDETERMINED = "und"

_SPELLINGS = {
    "zh": "zh cn chi zho chs chinese simplified_chinese chinese_simplified zh_cn zh_hans "
    "zh_hans_cn mandarin ch_sim chi_sim text_simplified_chinese",
    "zh-Hant": "zh_hant zh_tw zh_hk cht chinese_cht traditional_chinese chinese_traditional "
    "ch_tra chi_tra text_traditional_chinese",
    "en": "en eng english en_us en_gb text_english",
    "mul": "mul mixed multilingual en_ch_mixed en_zh_mixed text_en_ch_mixed",
    "ja": "ja jp jpn japanese ja_jp",
    "ko": "ko kor korean ko_kr",
    "de": "de ger deu german de_de",
    "fr": "fr fre fra french fr_fr",
    "es": "es spa spanish es_es",
    "it": "it ita italian it_it",
    "pt": "pt por portuguese pt_pt pt_br",
    "nl": "nl dut nld dutch",
    "ru": "ru rus russian",
    "uk": "uk ukr ukrainian",
    "pl": "pl pol polish",
    "cs": "cs cze ces czech",
    "tr": "tr tur turkish",
    "ar": "ar ara arabic",
    "hi": "hi hin hindi",
    "vi": "vi vie vietnamese",
    "la": "la lat latin",
    UNDETERMINED: "und unknown other none",
}
_TAGS = {spelling: tag for tag, names in _SPELLINGS.items() for spelling in names.split()}
_WELL_FORMED = re.compile(r"[a-z]{2,3}(-[a-z]{4})?(-([a-z]{2}|\d{3}))?", re.IGNORECASE)


@lru_cache(maxsize=1024)  # asked for every row
def language_tag(name: str) -> str:
    """Return the BCP-47 tag for a language name or code in any common spelling.

    Known names map to their shortest tag (`cn`, `Chinese`, `simplified_chinese` -> `zh`);
    any other well-formed tag is kept (`pt-AO`); an empty name is `und`.

    Raises:
        UserError: neither a known name nor a well-formed tag.
    """
    key = re.sub(r"[\s\-]+", "_", name.strip().lower())
    if not key:
        return UNDETERMINED
    if key in _TAGS:
        return _TAGS[key]
    tag = name.strip().replace("_", "-")
    if not _WELL_FORMED.fullmatch(tag):
        raise UserError(f"language {name!r}: not a known name or BCP-47 tag such as en, zh, pt-BR")
    parts = tag.split("-")
    return "-".join([parts[0].lower(), *(_part_case(part) for part in parts[1:])])


def _part_case(part: str) -> str:
    return part.title() if len(part) == 4 else part.upper()
