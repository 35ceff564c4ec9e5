"""Phrases, sentences and names to copy: the point is that the model cannot know them. Real words, made-up ones, both
languages."""
# ruff: noqa: E501, SIM905

import re
import zlib
from functools import cache
from random import Random
from typing import Any, Literal, TypeVar

import knowledge as k

T = TypeVar("T")
Lang = Literal["en", "zh"]
Json = dict[str, Any]
HELD_OUT = 16  # one word, phrase or prompt of so many is never trained on

_ONSETS = "b br c ch cl d dr f fl fr g gl gr h j k kr l m n p pl pr qu r s sh sk sl sp st str t th tr v w y z".split()
_VOWELS = "a a e e i i o o u ai ea ee ia io oo ou y".split()
_CODAS = " b ck d f g k l ll m n nd ng nt p r rk rn s ss st t th x z".split(" ")
_TECH = (
    "API GPU CPU Python Rust vLLM INT4 4-bit GPTQ KV cache Docker Linux Debian GitHub CUDA HTTP/2 JSON YAML C++ Node.js "
    "TypeScript FastAPI Qwen3 tokenizer quantization benchmark latency throughput kernel driver compiler release changelog "
    "tutorial example documentation error timeout setup guide version 2025 2026 v1.2 3.11 PDF best cheap near me how to why "
    "does what is vs review price weather news history recipe map schedule population height distance"
).split()
_RUDE = re.compile("fuc?k|shit|cunt|nig|fag|rape|dick|cock|piss|slut|tit")  # chance makes them too
_STOP = "the of in and for to with on from a an at by is are not how what why when where".split()


def pick(rng: Random, *options: T) -> T:
    return rng.choice(options)


def held_out(text: str) -> bool:
    """Whether a prompt, a phrase or a word belongs to the held-out set; decided by its own content alone."""
    return zlib.crc32(re.sub(r"\W+", "", text).lower().encode()) % HELD_OUT == 0


# All of GB2312's level 1, 3755 characters by their sounds: what is copied is not only made of the most common ones.
HANZI = b"".join(bytes((0xA0 + row, 0xA0 + cell)) for row in range(16, 56) for cell in range(1, 95)).decode(
    "gb2312", errors="ignore"
)
_WIDE = str.maketrans(",?!:;", "\uff0c\uff1f\uff01\uff1a\uff1b")
_SENTENCE = {
    "en": re.compile(r"(?<=[.!?] )[A-Z][a-z]*(?: [A-Za-z0-9,'-]+){3,14}[.!?](?= |$)"),
    "zh": re.compile(
        r"(?:(?<=[\u3002\uff01\uff1f])|(?<=[\u3002\uff01\uff1f] )|^)[\u4e00-\u9fff][\w\uff0c\u3001\uff1a\uff1b,\u201c\u201d() .-]{6,32}[\u3002\uff01\uff1f]"
    ),
}

_words: list[str] = []
_clauses: list[str] = []
_sentences: dict[Lang, list[str]] = {"en": [], "zh": []}


def learn(passages: list[str], *, only_words: bool = False) -> None:
    """Take English words from the corpus and, but with `only_words`, short Chinese passages and sentences of both."""
    seen: dict[str, int] = {}
    for passage in passages:
        for word in re.findall(r"\b[A-Za-z][a-z]{2,13}\b", passage):
            seen[word] = seen.get(word, 0) + 1
        _clauses.extend([] if only_words else re.findall(r"[\u4e00-\u9fff]{2,14}", passage))
    _words.extend(sorted(word for word, count in seen.items() if count > 1))
    _clauses.sort()
    if only_words:
        return
    for lang, found in _sentences.items():
        pattern = _SENTENCE[lang]
        found.extend(sorted({hit for passage in passages for hit in pattern.findall(re.sub(r"\s+", " ", passage))}))


def made_up(rng: Random) -> str:
    while True:
        word = "".join(
            rng.choice(_ONSETS) + rng.choice(_VOWELS) + (rng.choice(_CODAS) if rng.random() < 0.6 else "")
            for _ in range(rng.choice([1, 2, 2, 3]))
        )
        if not _RUDE.search(word):
            return word


def hanzi(rng: Random, count: int) -> str:
    """Characters in no order that means anything: common ones, any, or both."""
    rare = pick(rng, 0.0, 0.0, 0.5, 1.0)
    return "".join(rng.choice(HANZI if rng.random() < rare else k.COMMON_HANZI) for _ in range(count))


def made_up_name(rng: Random, lang: Lang, *, plain: bool = False) -> str:
    if lang == "en":
        first = rng.choice(k.NAMES) if rng.random() < 0.4 else made_up(rng).capitalize()
        return first if plain or rng.random() < 0.75 else f"{first} {made_up(rng).capitalize()}"
    if rng.random() < 0.1:
        return rng.choice(k.NAMES)
    if plain and rng.random() < 0.5:
        return hanzi(rng, 2)
    given = pick(rng, k.GIVEN, HANZI)
    return rng.choice(k.SURNAMES) + "".join(rng.choice(given) for _ in range(rng.choice([1, 2, 2])))


@cache
def _split(held: bool) -> list[str]:
    return [word for word in _words if held_out(word) == held]


def _compound(rng: Random) -> str:
    """A dictionary word, held out or not, with something before or after it. " word" and "word" are different tokens,
    and one in quotes is copied as the other: this is where the model learns how each token of a word continues without
    its space, though it never copies the held-out words themselves."""
    parts = [rng.choice(_words), pick(rng, rng.choice(_words), made_up(rng), rng.choice("s er ing ly 1 2 X".split()))]
    if rng.random() < 0.2:
        parts.reverse()
    return pick(rng, "", "", "", "_", "-").join(parts)


def _word_en(rng: Random, held: bool) -> str:
    kind = rng.random()
    if kind < 0.5 and _words:
        word = rng.choice(_split(held)) if held or rng.random() < 0.7 else _compound(rng)
    elif kind < 0.62:
        word = rng.choice(_TECH)
    elif kind < 0.68:
        word = str(rng.randint(0, 10 ** rng.randint(1, 5)))
    elif kind < 0.74:
        word = rng.choice(k.NAMES + [city for city, _ in k.CITIES])
    else:
        word = made_up(rng)
    style = rng.random()
    return word.capitalize() if style < 0.12 else word.upper() if style < 0.14 and len(word) < 7 else word


def phrase(rng: Random, lang: Lang, *, held: bool = False, longest: int = 12) -> str:
    """One to `longest` words (Chinese: characters in pieces). With `held`, of words and characters in orders that
    training never shows: the phrase itself and its dictionary words are held out."""
    while True:
        text = _english(rng, held, longest) if lang == "en" else _chinese(rng)
        if held_out(text) == held:
            return text


def _english(rng: Random, held: bool, longest: int) -> str:
    words = []
    for _ in range(min(longest, rng.choice([1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 10, 12]))):
        words.append(rng.choice(_STOP) if words and rng.random() < 0.18 else _word_en(rng, held))
    text = " ".join(words)
    tail = rng.random()
    if tail < 0.04:
        text += "?"
    elif tail < 0.07:
        text = text.replace(" ", "-", 1)
    return text


def _chinese(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.45 and _clauses:
        text = rng.choice(_clauses)
        start = rng.randrange(max(1, len(text) - 3))
        text = text[start : start + rng.randint(2, 12)]
    elif kind < 0.8:
        text = hanzi(rng, rng.choice([2, 3, 4, 4, 5, 6, 8, 10]))
    else:
        text = rng.choice(
            [zh for _, zh in k.CITIES]
            + [row[1] for row in k.COUNTRIES]
            + [zh for *_, items in k.CATEGORIES for _, zh in items]
        )
        text += pick(
            rng,
            "的天气",
            "旅游攻略",
            "的历史",
            "新闻",
            "价格",
            "怎么做",
            "是什么",
            "的人口",
            "最新消息",
            "教程",
            "的首都",
            "地图",
            "",
        )
    extra = rng.random()
    if extra < 0.12:
        text += pick(rng, "", " ") + rng.choice(_TECH)
    elif extra < 0.2:
        text = str(rng.randint(1, 2030)) + pick(rng, "年", "个", "") + text
    elif extra < 0.3:
        text += hanzi(rng, rng.randint(1, 4))
    return text


def sentence(rng: Random, lang: Lang, *, held: bool = False) -> str:
    """A sentence of the corpus, with a change where training might know it by heart, or one of phrases."""
    while True:
        if _sentences[lang] and rng.random() < 0.65:
            text = rng.choice(_sentences[lang])
            if rng.random() < 0.7:
                text = _changed_en(rng, text) if lang == "en" else _changed_zh(rng, text)
        elif lang == "en":
            text = " ".join(_english(rng, False, 5) for _ in range(rng.choice([1, 1, 2]))).rstrip("?") + "."
            text = text[0].upper() + text[1:]
        else:
            verb = pick(rng, "是", "在", "有", "属于", "来自", "需要", ",", f"写于{rng.randint(1900, 2026)}年,")
            text = f"{_chinese(rng)}{verb}{_chinese(rng)}。"
        if held_out(text) == held:
            return text


def _changed_en(rng: Random, text: str) -> str:
    words = text.split(" ")
    for _ in range(rng.choice([1, 1, 2, 3])):
        place = rng.randrange(len(words))
        end = words[place][len(words[place].rstrip(",.!?")) :]
        words[place] = _word_en(rng, False) + end
    return " ".join(words)


def _changed_zh(rng: Random, text: str) -> str:
    for _ in range(rng.choice([1, 1, 2])):
        start = rng.randrange(len(text) - 1)
        new = pick(rng, hanzi(rng, rng.randint(1, 4)), str(rng.randint(2, 2030)))
        text = text[:start] + new + text[min(start + rng.randint(0, 3), len(text) - 1) :]  # its last mark stays
    return text


def typed(rng: Random, text: str) -> str:
    """`text` as some type Chinese: with wide punctuation after characters (and after what fills a template's braces)."""
    if rng.random() < 0.5:
        return text
    return re.sub(r"(?<=[\u4e00-\u9fff}])[,?!:;]", lambda mark: mark[0].translate(_WIDE), text)


def quoted(rng: Random, text: str, lang: Lang) -> str:
    """`text` in marks that it has not itself, where there are such."""
    marks: list[tuple[str, str]] = [("'", "'"), ('"', '"')]
    if lang == "zh":
        marks += [("“", "”"), ("“", "”"), ("‘", "’"), ("「", "」")]
    else:
        marks += [("'", "'"), ("`", "`")]
    left, right = rng.choice([(left, right) for left, right in marks if left not in text] or marks)
    return left + text + right
