"""Things to copy that are not prose: paths, addresses, lines of code, numbers; and facts about what does not exist."""
# ruff: noqa: E501, S608, SIM905

from random import Random

import knowledge as k
from words import Lang, hanzi, made_up, made_up_name, phrase, pick, sentence

HERE = "."  # what tools call the folder that they work in
FOLDERS = "src docs data logs config home tmp var etc backup notes reports images scripts tests build projects photos music archive".split()
ENDINGS = "txt md py json yaml csv log html js rs c sh pdf toml ini xml sql".split()
_STEMS = "main report notes todo readme config settings index data invoice letter plan budget summary server client app test backup draft table list log".split()
_STEMS_ZH = "报告 趋势 笔记 计划 说明 会议 总结 价格 通知 名单 合同 简历 数据 日志 草稿".split()
_HOSTS = "site server api web app wiki shop blog localhost gateway store files".split()
_SITES = "example wikipedia debian python github openai".split()


def stem(rng: Random, lang: Lang = "en") -> str:
    if rng.random() < (0.3 if lang == "zh" else 0.02):
        word = pick(rng, rng.choice(_STEMS_ZH), hanzi(rng, 2), hanzi(rng, rng.randint(2, 6)))
    else:
        word = rng.choice(_STEMS) if rng.random() < 0.55 else made_up(rng)
    return word + pick(rng, "", "", "", f"_{rng.randint(1, 99)}", f"-{made_up(rng)}", str(rng.randint(1, 2030)))


def folder(rng: Random) -> str:
    parts = [rng.choice(FOLDERS) if rng.random() < 0.7 else made_up(rng) for _ in range(rng.randint(1, 3))]
    return pick(rng, "/", "", "./", "/home/user/", "~/") + "/".join(parts)


def file_name(rng: Random, lang: Lang = "en") -> str:
    return f"{stem(rng, lang)}.{rng.choice(ENDINGS)}"


def file(rng: Random, lang: Lang = "en") -> str:
    name = file_name(rng, lang)
    return name if rng.random() < 0.45 else f"{folder(rng)}/{name}"


def host(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.55:
        name = pick(rng, rng.choice(_SITES), made_up(rng), made_up(rng) + made_up(rng))
        return pick(rng, "", "www.", "docs.") + name + pick(rng, ".com", ".org", ".net", ".cn", ".io", ".de")
    name = rng.choice(_HOSTS) if kind < 0.75 else made_up(rng) if kind < 0.93 else _address(rng)
    return name + pick(rng, "", f":{rng.choice([80, 3000, 5000, 8000, 8080, 9000])}", f":{rng.randint(1024, 65535)}")


def _address(rng: Random) -> str:
    return pick(rng, "10", "127", "192") + "".join(f".{rng.randint(0, 255)}" for _ in range(3))


def url(rng: Random) -> str:
    path = pick(
        rng, "", "/", "/", "/" + made_up(rng), f"/{rng.choice(FOLDERS)}/{rng.randint(1, 999)}", f"/{made_up(rng)}.html",
        f"/{made_up(rng)}?{made_up(rng)}={rng.randint(1, 99)}",
    )  # fmt: skip
    return pick(rng, "https://", "https://", "http://", "http://") + host(rng) + path


def expression(rng: Random) -> str:
    text = str(rng.randint(1, 9999))
    for _ in range(rng.randint(1, 3)):
        text += pick(rng, " + ", " - ", " * ", " / ", "+", "*") + str(rng.randint(1, 999))
    return text


def sql(rng: Random) -> str:
    return pick(
        rng,
        f"SELECT * FROM {made_up(rng)}",
        f"SELECT {made_up(rng)} FROM {made_up(rng)} LIMIT {rng.randint(1, 99)}",
        f"SELECT count(*) FROM {made_up(rng)}",
    )


def city(rng: Random, lang: Lang) -> str:
    if rng.random() < 0.25:
        return made_up(rng).capitalize() if lang == "en" else hanzi(rng, 2) + pick(rng, "市", "县", "")
    return rng.choice(k.CITIES)[0 if lang == "en" else 1]


def email(rng: Random) -> str:
    return f"{pick(rng, rng.choice(k.NAMES).lower(), made_up(rng))}{pick(rng, '', '.' + made_up(rng), str(rng.randint(1, 99)))}@{pick(rng, 'example', made_up(rng))}.{pick(rng, 'com', 'org', 'net', 'cn')}"


def clock(rng: Random, lang: Lang) -> str:
    hour, minute = rng.randint(0, 23), rng.choice([0, 5, 15, 30, 45])
    return (
        f"{hour}:{minute:02}" if lang == "en" or rng.random() < 0.5 else f"{hour}点" + (f"{minute}分" if minute else "")
    )


def fact(rng: Random, lang: Lang) -> str:
    """A sentence about something made up: only the tool's result can tell it."""
    name = made_up_name(rng, lang, plain=True)
    n = rng.randint(2, 9999)
    if lang == "en":
        return pick(
            rng,
            f"The {name} tower is {n} metres high.", f"{name} has {n} inhabitants.", f"{name} was founded in {rng.randint(1000, 2026)}.", f"The mayor of {name} is {made_up_name(rng, lang)}.",
            f"Version {rng.randint(0, 20)}.{rng.randint(0, 30)} of {name} was released in {rng.choice(k.MONTHS)[0]}.", f"The {name} river is {n} kilometres long.", f"A ticket to {name} costs {n} euros.",
            f"{name} is a {rng.choice(k.CATEGORIES[13][3])[0]} city in {rng.choice(k.COUNTRIES)[0]}.", f"The {name} museum opens at {clock(rng, lang)}.", f"{name} needs {n} MB of memory.",
            f"The author of {name} is {made_up_name(rng, lang)}.", f"{name} is written in {rng.choice(k.CATEGORIES[1][3])[0]}.", f"The answer is {pick(rng, n, made_up(rng))}.", f"The price of {name} is {n} dollars.",
        )  # fmt: skip
    return pick(
        rng,
        f"{name}塔高{n}米。", f"{name}有{n}名居民。", f"{name}建于{rng.randint(1000, 2026)}年。", f"{name}的市长是{made_up_name(rng, lang)}。", f"{name}河长{n}公里。", f"去{name}的票价是{n}元。",
        f"{name}于{rng.choice(k.MONTHS)[1]}发布了新版本。", f"{name}博物馆{clock(rng, lang)}开门。", f"{name}需要{n}MB内存。", f"{name}的作者是{made_up_name(rng, lang)}。", f"答案是{pick(rng, n, phrase(rng, lang, longest=3))}。",
        f"{name}的价格是{n}元。", f"{name}位于{rng.choice(k.COUNTRIES)[1]}。",
    )  # fmt: skip


def about(rng: Random, lang: Lang, name: str) -> str:
    """A sentence in which what was asked for goes on."""
    n = rng.randint(2, 9999)
    if lang == "en":
        text = pick(
            rng,
            f"{name} is {n} metres high.", f"{name} costs {n} {pick(rng, 'yuan', 'euros', 'dollars')}.", f"{name} was founded in {rng.randint(1000, 2026)}.", f"{name} needs {n} MB of memory.",
            f"The price of {name} is {n} dollars.", f"The author of {name} is {made_up_name(rng, lang)}.", f"{name} {phrase(rng, lang, longest=6)}.", f"{phrase(rng, lang, longest=4)} {name} {phrase(rng, lang, longest=4)}.",
        )  # fmt: skip
        return text[0].upper() + text[1:]
    return pick(
        rng,
        f"{name}有{n}{pick(rng, '米', '个', '元', '人')}。", f"{name}建于{rng.randint(1000, 2026)}年。", f"{name}的价格是{n}元。", f"{name}的作者是{made_up_name(rng, lang)}。",
        f"{name}{phrase(rng, lang)}写于{rng.randint(1000, 2026)}年。", f"{name}{phrase(rng, lang)}。", f"{name}的{phrase(rng, lang)}是{phrase(rng, lang)}。", f"{phrase(rng, lang)}{name}{phrase(rng, lang)}。",
    )  # fmt: skip


def statement(rng: Random, lang: Lang) -> str:
    """What a file or a page may say: a fact or any sentence, now and then in the other language."""
    if rng.random() < 0.08:
        lang = "zh" if lang == "en" else "en"
    return fact(rng, lang) if rng.random() < 0.5 else sentence(rng, lang)
