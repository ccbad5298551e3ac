"""People's names in other languages, from Faker's lists: translations of terms of unknown kind."""

from __future__ import annotations

import random
from collections.abc import Collection
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec

_PLACES = """ar:ar_SA az:az_AZ bg:bg_BG bn:bn_BD cs:cs_CZ da:da_DK de:de_DE el:el_GR es:es_ES et:et_EE fa:fa_IR fi:fi_FI
    fr:fr_FR ga:ga_IE gu:gu_IN he:he_IL hi:hi_IN hr:hr_HR hu:hu_HU hy:hy_AM id:id_ID is:is_IS it:it_IT ja:ja_JP ka:ka_GE
    ko:ko_KR lt:lt_LT lv:lv_LV nb:no_NO ne:ne_NP nl:nl_NL pl:pl_PL pt:pt_PT ro:ro_RO ru:ru_RU sh:hr_HR sk:sk_SK sl:sl_SI
    sq:sq_AL sv:sv_SE ta:ta_IN th:th_TH tr:tr_TR uk:uk_UA vi:vi_VN zh:zh_CN zu:zu_ZA"""
LOCALES = dict(item.split(":") for item in _PLACES.split())
"languages whose names Faker knows, and the country by which it knows them"


@lru_cache(maxsize=4)
def _names(code: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(first names, surnames) of a language, sorted; of English if Faker knows none."""
    place = f"faker.providers.person.{LOCALES.get(code, 'en_US')}"
    if find_spec(place) is None:
        place = "faker.providers.person.en_US"
    provider = import_module(place).Provider

    def listed(*kinds: str) -> tuple[str, ...]:
        found = (name for kind in kinds for name in getattr(provider, kind, ()))
        # Some lists hold each name with how it is read.
        return tuple(sorted({name[0] if isinstance(name, tuple) else name for name in found}))

    first = listed("first_names_male", "first_names_female", "first_names")
    return first, listed("last_names", "last_names_male") or first


def listed_names(code: str) -> frozenset[str]:
    """First names and surnames of a language that Faker knows; none of another."""
    return frozenset(name for kind in _names(code) for name in kind) if code in LOCALES else frozenset()


class NameDraw:
    """Draws a name for each word, once: never one that is `taken`, and the same for the same word and seed."""

    def __init__(self, code: str, taken: Collection[str], seed: int) -> None:
        first, last = _names(code)
        if code in ("zh", "ja", "ko"):  # surnames of one or two characters are not names by themselves
            last = tuple(f"{a}{b}" for a, b in zip(last * (1 + 400 // len(last)), first * 8, strict=False))
        self.pool = [name for name in last if name not in taken and " " not in name]
        self.seed = seed
        self.drawn: dict[str, str] = {}

    def name(self, word: str) -> str | None:
        """The name that replaces a word; None if no name is left."""
        if word not in self.drawn:
            if not self.pool:
                return None
            place = random.Random(f"{self.seed} name {word}").randrange(len(self.pool))
            self.drawn[word] = self.pool.pop(place)
        return self.drawn[word]
