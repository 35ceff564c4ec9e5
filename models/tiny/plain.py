"""Exchanges without tools: simple questions, and facts that are told in one turn and asked for in a later one."""
# ruff: noqa: E501

from collections.abc import Callable
from random import Random
from typing import NamedTuple

import knowledge as k
from words import Lang, made_up_name, phrase, pick

Turn = tuple[str, str]  # what the user says, what the assistant answers


class Said(NamedTuple):
    """A turn of a dialogue. `fixed`: the user's words are one of few set phrases, so that holding one out would leave
    nothing to learn it from; what is held out instead is what was told before."""

    user: str
    answer: str
    fixed: bool = False


ORDER_EN = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"]


def a(noun: str) -> str:
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def cap(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- lists ------------------------------------------------------------------------------------------------------------
def listing(rng: Random, lang: Lang) -> Turn:
    name, zh, measure, items = rng.choice(k.CATEGORIES)
    count = rng.randint(2, min(6, len(items)))
    word_en, word_zh = k.NUMBERS[count - 1]
    if rng.random() < 0.15:
        word_en, word_zh = str(count), str(count)
    inline = rng.random() < 0.2
    if lang == "en":
        adjective = pick(
            rng, "common ", "popular ", "well-known ", "different ", "typical ", "", "", "important ", "famous "
        )
        ask = pick(
            rng, "List {}.", "Name {}.", "Give me {}.", "Can you list {}?", "Tell me {}.", "What are {}?", "Please list {}.", "Could you name {}?",
            "I need the names of {}.", "Write down {}.", "Which {} do you know?", "Please name {}", "list {}", "name {} please", "Mention {}.", "Show me {}.",
        )  # fmt: skip
        names = [item[0] for item in items[:count]]
        user = ask.format(f"{word_en} {adjective}{name}")
        if inline:
            return user + pick(rng, " Answer in one line.", " Separate them by commas.", " Use one line."), ", ".join(
                names
            )
    else:
        adjective = pick(rng, "常见的", "常用的", "著名的", "不同的", "", "", "典型的", "流行的", "重要的")
        ask = pick(
            rng, "请列出{}。", "列出{}。", "请说出{}。", "说出{}", "列举{}。", "请列举{}。", "请告诉我{}。", "给我{}。", "你能列出{}吗?", "举出{}。", "请写出{}。", "帮我列出{}", "能说出{}吗?", "有哪{}?",
        )  # fmt: skip
        names = [item[1] for item in items[:count]]
        user = ask.format(f"{word_zh}{measure}{adjective}{zh}")
        if inline:
            return user + pick(rng, "用一行回答。", "用顿号分开。", "写在一行里。"), "、".join(names)
    return user, "\n".join(f"{n}. {name}" for n, name in enumerate(names, 1))


def example(rng: Random, lang: Lang) -> Turn:
    name, zh, _, items = rng.choice(k.CATEGORIES)
    en_item, zh_item = rng.choice(items)
    if rng.random() < 0.5:
        if lang == "en":
            return pick(rng, f"Which group does {en_item} belong to: {{}}?", f"Is {en_item} one of the {{}}?").format(
                name
            ), f"Yes, {en_item} is one of the {name}."
        return pick(rng, f"{zh_item}属于{zh}吗?", f"{zh_item}是不是{zh}?"), f"是的,{zh_item}属于{zh}。"
    if lang == "en":
        return pick(
            rng,
            f"How do you say {en_item} in Chinese?",
            f"What is the Chinese word for {en_item}?",
            f"Translate {en_item} into Chinese.",
            f"Translate '{en_item}' to Chinese",
        ), zh_item
    return pick(
        rng,
        f"{zh_item}用英语怎么说?",
        f"“{zh_item}”的英文是什么?",
        f"把“{zh_item}”翻译成英语。",
        f"请把{zh_item}译成英文",
    ), en_item


# --- facts ------------------------------------------------------------------------------------------------------------
def definition(rng: Random, lang: Lang) -> Turn:
    en, meaning, zh, meaning_zh = rng.choice(k.DEFINITIONS)
    if lang == "en":
        bare = en.removeprefix("a ").removeprefix("an ")
        ask = [
            f"What is {en}?",
            f"Explain {en}.",
            f"Define {bare}.",
            f"What does {bare} mean?",
            f"Can you explain what {en} is?",
            f"Tell me what {en} is.",
            f"Please explain {en} in one sentence.",
            f"what's {en}",
            f"Describe {en} briefly.",
            f"In simple words, what is {en}?",
            f"I don't know what {en} is. Can you help?",
        ]
        return rng.choice(ask), meaning
    ask = [
        f"什么是{zh}?",
        f"{zh}是什么?",
        f"请解释一下{zh}。",
        f"解释{zh}",
        f"用一句话说明什么是{zh}。",
        f"{zh}是什么意思?",
        f"你能解释一下{zh}吗?",
        f"请简单介绍{zh}。",
        f"我不懂{zh},能讲讲吗?",
    ]
    return rng.choice(ask), meaning_zh


def country(rng: Random, lang: Lang) -> Turn:
    en, zh, capital, capital_zh, continent, continent_zh, speech, speech_zh = rng.choice(k.COUNTRIES)
    which = rng.randrange(4)
    if lang == "en":
        return [
            (
                pick(
                    rng,
                    f"What is the capital of {en}?",
                    f"Name the capital of {en}.",
                    f"Which city is the capital of {en}?",
                    f"capital of {en}?",
                    f"Tell me the capital of {en}.",
                    f"Do you know the capital of {en}?",
                ),
                f"The capital of {en} is {capital}.",
            ),
            (
                pick(
                    rng,
                    f"On which continent is {en}?",
                    f"Where is {en}?",
                    f"Which continent is {en} in?",
                    f"In what part of the world does {en} lie?",
                ),
                f"{cap(en)} is in {continent}.",
            ),
            (
                pick(
                    rng,
                    f"Which language is spoken in {en}?",
                    f"What language do people speak in {en}?",
                    f"What is the main language of {en}?",
                ),
                f"The main language of {en} is {speech}.",
            ),
            (
                pick(
                    rng,
                    f"{capital} is the capital of which country?",
                    f"Which country has the capital {capital}?",
                    f"In which country is {capital}?",
                ),
                f"{capital} is the capital of {en}.",
            ),
        ][which]
    return [
        (
            pick(
                rng,
                f"{zh}的首都是哪里?",
                f"{zh}的首都是什么?",
                f"请告诉我{zh}的首都。",
                f"{zh}首都是哪座城市?",
                f"你知道{zh}的首都吗?",
            ),
            f"{zh}的首都是{capital_zh}。",
        ),
        (pick(rng, f"{zh}在哪个洲?", f"{zh}位于哪里?", f"{zh}属于哪个大洲?"), f"{zh}位于{continent_zh}。"),
        (
            pick(rng, f"{zh}人说什么语言?", f"{zh}的主要语言是什么?", f"在{zh}讲什么语言?"),
            f"{zh}的主要语言是{speech_zh}。",
        ),
        (
            pick(rng, f"{capital_zh}是哪个国家的首都?", f"哪个国家的首都是{capital_zh}?", f"{capital_zh}在哪个国家?"),
            f"{capital_zh}是{zh}的首都。",
        ),
    ][which]


def opposite(rng: Random, lang: Lang) -> Turn:
    row = rng.choice(k.OPPOSITES)
    one, other = (row[:2] if lang == "en" else row[2:])[:: rng.choice([1, -1])]
    if lang == "en":
        return pick(
            rng,
            f"What is the opposite of {one}?",
            f"Give me the opposite of '{one}'.",
            f"Opposite of {one}?",
            f"Which word means the opposite of {one}?",
            f"Name the antonym of {one}.",
        ), f"The opposite of {one} is {other}."
    return pick(
        rng, f"“{one}”的反义词是什么?", f"{one}的反义词是什么?", f"请说出“{one}”的反义词。", f"什么词和“{one}”相反?"
    ), f"“{one}”的反义词是“{other}”。"


def element(rng: Random, lang: Lang) -> Turn:
    en, zh, symbol, number = rng.choice(k.ELEMENTS)
    if lang == "en":
        return pick(
            rng,
            (
                pick(
                    rng,
                    f"What is the chemical symbol of {en}?",
                    f"Which symbol stands for {en}?",
                    f"Give me the chemical symbol for {en}.",
                ),
                f"The chemical symbol of {en} is {symbol}.",
            ),
            (
                pick(rng, f"What is the atomic number of {en}?", f"Which atomic number does {en} have?"),
                f"The atomic number of {en} is {number}.",
            ),
            (
                pick(rng, f"Which element has the symbol {symbol}?", f"What element is {symbol}?"),
                f"{symbol} is the symbol of {en}.",
            ),
        )
    return pick(
        rng,
        (
            pick(rng, f"{zh}的化学符号是什么?", f"{zh}用什么符号表示?", f"请写出{zh}的元素符号。"),
            f"{zh}的化学符号是{symbol}。",
        ),
        (pick(rng, f"{zh}的原子序数是多少?", f"{zh}是第几号元素?"), f"{zh}的原子序数是{number}。"),
        (pick(rng, f"{symbol}是什么元素?", f"哪种元素的符号是{symbol}?"), f"{symbol}是{zh}的符号。"),
    )


def status(rng: Random, lang: Lang) -> Turn:
    code, name, what, zh = rng.choice(k.STATUS)
    if lang == "en":
        return pick(
            rng,
            f"What does HTTP {code} mean?",
            f"What does the status code {code} mean?",
            f"Explain HTTP status {code}.",
            f"I got a {code} from a server. What is that?",
        ), f"HTTP {code} is {name}: {what}."
    return pick(
        rng,
        f"HTTP {code}是什么意思?",
        f"状态码{code}表示什么?",
        f"请解释HTTP状态码{code}。",
        f"服务器返回了{code},这是什么?",
    ), f"HTTP {code}是{name}:{zh}。"


def shell(rng: Random, lang: Lang) -> Turn:
    what, command, zh = rng.choice(k.SHELL)
    if lang == "en":
        return pick(
            rng,
            (
                pick(
                    rng,
                    f"How do I {what} in Linux?",
                    f"Which Linux command can {what}?",
                    f"What is the command to {what}?",
                    f"I want to {what} in the terminal. How?",
                ),
                f"Use the command `{command}`.",
            ),
            (
                pick(
                    rng,
                    f"What does the command `{command}` do?",
                    f"What is {command} for in Linux?",
                    f"Explain the Linux command {command}.",
                ),
                f"The command `{command}` is used to {what}.",
            ),
        )
    return pick(
        rng,
        (
            pick(
                rng, f"在Linux中怎样{zh}?", f"Linux里用什么命令{zh}?", f"{zh}的命令是什么?", f"我想在终端{zh},怎么做?"
            ),
            f"使用命令`{command}`。",
        ),
        (
            pick(rng, f"命令`{command}`有什么用?", f"Linux命令{command}是做什么的?", f"请解释{command}命令。"),
            f"命令`{command}`用来{zh}。",
        ),
    )


def extension(rng: Random, lang: Lang) -> Turn:
    ending, what, zh = rng.choice(k.EXTENSIONS)
    if lang == "en":
        return pick(
            rng,
            f"What is a {ending} file?",
            f"What does a file ending in {ending} contain?",
            f"What kind of file is {ending}?",
            f"What is the extension {ending} for?",
        ), f"A {ending} file holds {what}."
    return pick(
        rng,
        f"{ending}文件是什么?",
        f"以{ending}结尾的文件里有什么?",
        f"{ending}是什么类型的文件?",
        f"扩展名{ending}代表什么?",
    ), f"{ending}文件里是{zh}。"


def person(rng: Random, lang: Lang) -> Turn:
    deed, name, zh, name_zh = rng.choice(k.PEOPLE_FACTS)
    if lang == "en":
        return pick(
            rng, f"Who {deed}?", f"Tell me who {deed}.", f"Which person {deed}?", f"Do you know who {deed}?"
        ), f"{name} {deed}."
    return pick(rng, f"谁{zh}?", f"请问是谁{zh}?", f"你知道谁{zh}吗?", f"是哪位{zh}?"), f"{name_zh}{zh}。"


def measure(rng: Random, lang: Lang) -> Turn:
    things, whole, number, zh = rng.choice(k.MEASURES)
    if lang == "en":
        return pick(
            rng,
            f"How many {things} does {whole} have?",
            f"How many {things} are in {whole}?",
            f"How many {things} are there in {whole}?",
            f"Tell me how many {things} {whole} has.",
        ), f"{cap(whole)} has {number} {things}."
    head, tail = zh.split("有多少")
    return pick(rng, f"{zh}?", f"请问{zh}?", f"你知道{zh}吗?", f"{head}有几{tail}?"), f"{head}有{number}{tail}。"


def colour(rng: Random, lang: Lang) -> Turn:
    thing, shade, zh, shade_zh = rng.choice(k.QUALITIES)
    if lang == "en":
        return pick(
            rng,
            f"What colour is {thing}?",
            f"What color is {thing}?",
            f"Which colour does {thing} have?",
            f"Tell me the colour of {thing}.",
        ), f"{cap(thing)} is {shade}."
    return pick(rng, f"{zh}是什么颜色的?", f"{zh}什么颜色?", f"请问{zh}是什么颜色?"), f"{zh}是{shade_zh}的。"


def yes_no(rng: Random, lang: Lang) -> Turn:
    ask, answer, zh, answer_zh = rng.choice(k.YESNO)
    if lang == "en":
        return pick(
            rng,
            ask,
            ask.rstrip("?"),
            f"Tell me: {ask[0].lower()}{ask[1:]}" if not ask.startswith("Python") else ask,
            f"I have a question. {ask}",
            f"{ask} Please answer briefly.",
        ), answer
    return pick(rng, zh, f"请问{zh}", f"我想知道,{zh}", zh.rstrip("?"), f"{zh}请简短回答。"), answer_zh


def small_talk(rng: Random, lang: Lang) -> Turn:
    ask, answer, zh, answer_zh = rng.choice(k.SMALL_TALK)
    return (rng.choice(ask.split(";")), answer) if lang == "en" else (rng.choice(zh.split(";")), answer_zh)


def advice(rng: Random, lang: Lang) -> Turn:
    en, answer, zh, answer_zh = rng.choice(k.ADVICE)
    if lang == "en":
        return pick(
            rng,
            f"How can I {en}?",
            f"Give me three tips to {en}.",
            f"I want to {en}. What should I do?",
            f"What helps to {en}?",
            f"Do you have advice on how to {en}?",
            f"Three tips: how do I {en}?",
        ).replace(" my ", " my "), answer.replace("\\n", "\n")
    return pick(
        rng, f"怎样才能{zh}?", f"如何{zh}?", f"请给我三条建议:怎样{zh}?", f"我想{zh},该怎么做?", f"有什么办法可以{zh}?"
    ), answer_zh.replace("\\n", "\n")


def grammar(rng: Random, lang: Lang) -> Turn:
    if rng.random() < 0.5:
        one, other = rng.choice(k.PAST)
        if lang == "en":
            return pick(
                rng, f"What is the past tense of {one}?", f"Give me the past tense of '{one}'.", f"Past tense of {one}?"
            ), f"The past tense of {one} is {other}."
        return pick(rng, f"英语单词{one}的过去式是什么?", f"{one}的过去式怎么写?"), f"{one}的过去式是{other}。"
    one, other = rng.choice(k.PLURALS)
    if lang == "en":
        return pick(
            rng, f"What is the plural of {one}?", f"Give me the plural of '{one}'.", f"Plural of {one}?"
        ), f"The plural of {one} is {other}."
    return pick(rng, f"英语单词{one}的复数是什么?", f"{one}的复数怎么写?"), f"{one}的复数是{other}。"


def sound(rng: Random, lang: Lang) -> Turn:
    animal, verb, zh, noise = rng.choice(k.SOUNDS)
    if lang == "en":
        return pick(
            rng,
            f"What sound does {a(animal)} make?",
            f"How does {a(animal)} sound?",
            f"What noise does {a(animal)} make?",
        ), f"{cap(a(animal))} {verb}."
    return pick(rng, f"{zh}怎么叫?", f"{zh}的叫声是什么?", f"{zh}会发出什么声音?"), f"{zh}的叫声是“{noise}”。"


def translate(rng: Random, lang: Lang) -> Turn:
    en, zh = rng.choice(k.SENTENCES)
    if rng.random() < 0.5:
        ask = (
            pick(
                rng,
                f"Translate into Chinese: {en}",
                f"How do you say '{en}' in Chinese?",
                f"Please translate '{en}' into Chinese.",
            )
            if lang == "en"
            else pick(rng, f"把这句话翻译成中文:{en}", f"“{en}”是什么意思?", f"请把“{en}”译成中文。")
        )
        return ask, zh
    ask = (
        pick(
            rng,
            f"Translate into English: {zh}",
            f"What does '{zh}' mean in English?",
            f"Please translate '{zh}' into English.",
        )
        if lang == "en"
        else pick(rng, f"把这句话翻译成英语:{zh}", f"“{zh}”用英语怎么说?", f"请把“{zh}”译成英文。")
    )
    return ask, en


# --- things to work out -----------------------------------------------------------------------------------------------
def sums(rng: Random, lang: Lang) -> Turn:
    kind = rng.randrange(3)
    if kind == 0:
        x, y = rng.randint(0, 99), rng.randint(0, 99)
        task, result = f"{x} + {y}", x + y
    elif kind == 1:
        x, y = sorted((rng.randint(0, 99), rng.randint(0, 99)), reverse=True)
        task, result = f"{x} - {y}", x - y
    else:
        x, y = rng.randint(0, 12), rng.randint(0, 12)
        task, result = f"{x} * {y}", x * y
    if rng.random() < 0.3:
        task = task.replace(" ", "")
    if lang == "en":
        spoken = task.replace(" + ", " plus ").replace(" - ", " minus ").replace(" * ", " times ")
        return pick(
            rng,
            f"What is {task}?",
            f"Calculate {task}.",
            f"{task} = ?",
            f"How much is {spoken}?",
            f"What is {spoken}?",
            f"return {task}=?",
        ), f"{task} = {result}"
    spoken = task.replace(" + ", "加").replace(" - ", "减").replace(" * ", "乘以")
    return pick(
        rng, f"{task}等于多少?", f"计算{task}。", f"{task}=?", f"{spoken}是多少?", f"请算一下{task}"
    ), f"{task} = {result}"


def compare(rng: Random, lang: Lang) -> Turn:
    x, y = rng.sample(range(1000 if rng.random() < 0.5 else 100), 2)
    big = rng.random() < 0.5
    answer = max(x, y) if big else min(x, y)
    if lang == "en":
        word = "bigger" if big else "smaller"
        return pick(
            rng, f"Which number is {word}, {x} or {y}?", f"Which is {word}: {x} or {y}?", f"Is {x} or {y} {word}?"
        ), f"{answer} is {word}."
    word = "大" if big else "小"
    return pick(
        rng, f"{x}和{y}哪个{word}?", f"哪个数更{word},{x}还是{y}?", f"比较{x}和{y},哪个{word}?"
    ), f"{answer}更{word}。"


def ordering(rng: Random, lang: Lang) -> Turn:
    numbers = rng.sample(range(10) if rng.random() < 0.6 else range(10, 100), rng.randint(3, 5))
    given, down = ", ".join(map(str, numbers)), rng.random() < 0.3
    answer = ", ".join(map(str, sorted(numbers, reverse=down)))
    if lang == "en":
        return (
            pick(rng, f"Sort these numbers from large to small: {given}", f"Sort {given} in descending order.")
            if down
            else pick(
                rng,
                f"Sort these numbers: {given}",
                f"Sort {given} in ascending order.",
                f"Put these numbers in order: {given}",
            )
        ), answer
    return (
        pick(rng, f"把这些数从大到小排列:{given}", f"从大到小排序:{given}")
        if down
        else pick(rng, f"把这些数从小到大排列:{given}", f"给这些数排序:{given}", f"从小到大排序:{given}")
    ), answer


def calendar(rng: Random, lang: Lang) -> Turn:
    row, en, zh = pick(rng, (k.DAYS, "day", "天"), (k.MONTHS, "month", "月"))
    at, step = rng.randrange(len(row)), rng.choice([1, -1])
    here, there = row[at], row[(at + step) % len(row)]
    if lang == "en":
        word = "after" if step == 1 else "before"
        return pick(
            rng,
            f"Which {en} comes {word} {here[0]}?",
            f"What {en} is {word} {here[0]}?",
            f"What comes {word} {here[0]}?",
        ), f"{there[0]} comes {word} {here[0]}."
    word = "后" if step == 1 else "前"
    return pick(
        rng,
        f"{here[1]}的{word}一{'天' if zh == '天' else '个月'}是什么?",
        f"{here[1]}之{word}是什么?",
        f"什么在{here[1]}{word}面?",
    ), f"{here[1]}的{word}一{'天' if zh == '天' else '个月'}是{there[1]}。"


def even_odd(rng: Random, lang: Lang) -> Turn:
    n = rng.randint(0, 999)
    odd = n % 2
    if lang == "en":
        return pick(
            rng, f"Is {n} even or odd?", f"Is the number {n} odd or even?", f"Tell me whether {n} is even."
        ), f"{n} is {'odd' if odd else 'even'}."
    return pick(
        rng, f"{n}是奇数还是偶数?", f"请判断{n}是奇数还是偶数。", f"{n}是偶数吗?"
    ), f"{n}是{'奇数' if odd else '偶数'}。"


def repeat(rng: Random, lang: Lang) -> Turn:
    text = phrase(rng, rng.choice(["en", "zh"]) if rng.random() < 0.2 else lang)
    if lang == "en":
        return pick(
            rng,
            f"Repeat after me: {text}",
            f"Say '{text}'.",
            f"Write exactly this: {text}",
            f'Please repeat "{text}"',
            f"Echo this text: {text}",
        ), text
    return pick(rng, f"跟我说:{text}", f"请重复“{text}”", f"原样输出:{text}", f"请说“{text}”。"), text


def sentence(rng: Random, lang: Lang) -> Turn:
    _, _, _, items = rng.choice(k.CATEGORIES)
    en, zh = rng.choice(items)
    if lang == "en":
        return pick(
            rng,
            f"Write a sentence with the word {en}.",
            f"Use the word {en} in a sentence.",
            f"Make a sentence with '{en}'.",
        ), f"Yesterday we talked about {en} for a long time."
    return pick(
        rng, f"用“{zh}”造句。", f"请用{zh}写一个句子。", f"写一句含有“{zh}”的话。"
    ), f"昨天我们聊了很久关于{zh}的事。"


QUESTIONS: list[tuple[Callable[[Random, Lang], Turn], float]] = [
    (listing, 5), (definition, 4), (country, 3), (example, 1.5), (opposite, 1.5), (element, 1.5), (status, 1), (shell, 2), (extension, 1), (person, 1.5),
    (measure, 1.5), (colour, 1), (yes_no, 1.5), (small_talk, 2.5), (advice, 1.2), (grammar, 1), (sound, 0.7), (translate, 1.5), (sums, 4), (compare, 1.2),
    (ordering, 1), (calendar, 1.2), (even_odd, 1), (repeat, 2.5), (sentence, 0.5),
]  # fmt: skip


def question(rng: Random, lang: Lang) -> Said:
    kinds, weights = zip(*QUESTIONS, strict=True)
    make: Callable[[Random, Lang], Turn] = rng.choices(kinds, weights)[0]
    return Said(*make(rng, lang), fixed=make is small_talk)


# --- what the user tells of itself ------------------------------------------------------------------------------------
def facts(rng: Random, lang: Lang) -> list[tuple[Turn, Turn]]:
    """Pairs of (telling, asking): the second must hold after any turns in between."""
    en = lang == "en"
    name = made_up_name(rng, lang)
    city = rng.choice(k.CITIES)[0 if en else 1]
    food, pet, shade = (rng.choice(options)[0 if en else 1] for options in (k.FOODS, k.PETS, k.CATEGORIES[13][3]))
    job = rng.choice(k.CATEGORIES[35][3])[0 if en else 1]
    pet_name, friend, project = (made_up_name(rng, lang, plain=True) for _ in range(3))
    age, code = rng.randint(5, 95), str(rng.randint(1000, 99999))
    month = rng.choice(k.MONTHS)[0 if en else 1]
    if en:
        return [
            ((pick(rng, f"My name is {name}.", f"I am {name}.", f"I'm {name}, nice to meet you.", f"Hello, my name is {name}.", f"Call me {name}.", f"Hi! I am called {name}.", f"Please remember that my name is {name}."), pick(rng, f"Nice to meet you, {name}!")),
             (pick(rng, "What is my name?", "Do you remember my name?", "Who am I?", "What am I called?", "Can you tell me my name?", "What's my name?"), f"Your name is {name}.")),
            ((pick(rng, f"I live in {city}.", f"My home is in {city}.", f"I am from {city}.", f"I live in the city of {city}."), f"{city} is a nice place to live."),
             (pick(rng, "Where do I live?", "Which city do I live in?", "Do you remember where I live?", "In which city is my home?"), f"You live in {city}.")),
            ((pick(rng, f"My favourite food is {food}.", f"I like {food} most of all foods.", f"I love eating {food}.", f"My favorite food is {food}."), f"{cap(food)} is a good choice."),
             (pick(rng, "What is my favourite food?", "Which food do I like best?", "What do I love to eat?", "What's my favorite food?"), f"Your favourite food is {food}.")),
            ((pick(rng, f"My favourite colour is {shade}.", f"My favorite color is {shade}.", f"The colour I like best is {shade}."), f"I will remember that you like {shade}."),
             (pick(rng, "What is my favourite colour?", "Which colour do I like best?", "What's my favorite color?"), f"Your favourite colour is {shade}.")),
            ((pick(rng, f"I have a {pet} called {pet_name}.", f"My {pet} is called {pet_name}.", f"I have a {pet}. Its name is {pet_name}."), f"{pet_name} is a lovely name for a {pet}."),
             (pick(rng, f"What is my {pet} called?", f"What is the name of my {pet}?", f"Do you remember my {pet}'s name?", "What is my pet called?"), f"Your {pet} is called {pet_name}.")),
            ((pick(rng, f"I work as {a(job)}.", f"I am {a(job)}.", f"My job is {job}."), "That is an interesting job."),
             (pick(rng, "What is my job?", "What do I work as?", "Do you remember my job?"), f"You work as {a(job)}.")),
            ((pick(rng, f"I am {age} years old.", f"My age is {age}.", f"I turned {age} this year."), "Thank you for telling me."),
             (pick(rng, "How old am I?", "What is my age?", "Do you remember how old I am?"), f"You are {age} years old.")),
            ((pick(rng, f"The code is {code}.", f"Please remember the code {code}.", f"Remember this number: {code}.", f"My secret number is {code}."), f"I will remember {code}."),
             (pick(rng, "What was the code?", "Which number did I ask you to remember?", "What is the number?", "Tell me the code again."), f"It is {code}.")),
            ((pick(rng, f"My best friend is {friend}.", f"My best friend is called {friend}."), f"It is good to have a friend like {friend}."),
             (pick(rng, "Who is my best friend?", "What is my best friend called?"), f"Your best friend is {friend}.")),
            ((pick(rng, f"My project is called {project}.", f"I am working on a project named {project}.", f"The project's name is {project}."), f"Good luck with {project}!"),
             (pick(rng, "What is my project called?", "What is the name of my project?", "Which project am I working on?"), f"Your project is called {project}.")),
            ((pick(rng, f"My birthday is in {month}.", f"I was born in {month}."), f"I will remember that your birthday is in {month}."),
             (pick(rng, "When is my birthday?", "In which month is my birthday?", "In which month was I born?"), f"Your birthday is in {month}.")),
        ]  # fmt: skip
    return [
        ((pick(rng, f"我叫{name}。", f"我的名字是{name}。", f"你好,我叫{name}。", f"我是{name},很高兴认识你。", f"请叫我{name}。", f"请记住,我叫{name}。"), f"很高兴认识你,{name}!"),
         (pick(rng, "我叫什么名字?", "你还记得我的名字吗?", "我是谁?", "我的名字是什么?", "我叫什么?", "请问我叫什么名字?"), f"你叫{name}。")),
        ((pick(rng, f"我住在{city}。", f"我的家在{city}。", f"我来自{city}。", f"我住在{city}市。"), f"{city}是个好地方。"),
         (pick(rng, "我住在哪里?", "我住在哪个城市?", "你记得我住在哪儿吗?", "我的家在哪里?"), f"你住在{city}。")),
        ((pick(rng, f"我最喜欢吃{food}。", f"我最喜欢的食物是{food}。", f"我特别爱吃{food}。"), f"{food}很好吃。"),
         (pick(rng, "我最喜欢吃什么?", "我最喜欢的食物是什么?", "我爱吃什么?"), f"你最喜欢吃{food}。")),
        ((pick(rng, f"我最喜欢的颜色是{shade}。", f"我喜欢{shade}。", f"在颜色里我最喜欢{shade}。"), f"我会记住你喜欢{shade}。"),
         (pick(rng, "我最喜欢什么颜色?", "我最喜欢的颜色是什么?", "你记得我喜欢哪种颜色吗?"), f"你最喜欢{shade}。")),
        ((pick(rng, f"我有一只{pet},叫{pet_name}。", f"我的{pet}叫{pet_name}。", f"我养了一只{pet},名字是{pet_name}。"), f"{pet_name}是个可爱的名字。"),
         (pick(rng, f"我的{pet}叫什么?", f"我的{pet}叫什么名字?", "我的宠物叫什么?", f"你记得我的{pet}的名字吗?"), f"你的{pet}叫{pet_name}。")),
        ((pick(rng, f"我是一名{job}。", f"我的工作是{job}。", f"我的职业是{job}。"), "这是一份有意思的工作。"),
         (pick(rng, "我的职业是什么?", "我是做什么工作的?", "你记得我的工作吗?"), f"你是一名{job}。")),
        ((pick(rng, f"我今年{age}岁。", f"我{age}岁了。", f"我的年龄是{age}岁。"), "谢谢你告诉我。"),
         (pick(rng, "我多大了?", "我今年几岁?", "你记得我的年龄吗?"), f"你今年{age}岁。")),
        ((pick(rng, f"密码是{code}。", f"请记住号码{code}。", f"记住这个数字:{code}。", f"我的号码是{code}。"), f"我会记住{code}。"),
         (pick(rng, "刚才的号码是多少?", "我让你记住的数字是什么?", "号码是多少?", "请再说一遍那个号码。"), f"是{code}。")),
        ((pick(rng, f"我最好的朋友是{friend}。", f"我最好的朋友叫{friend}。"), f"有{friend}这样的朋友真好。"),
         (pick(rng, "我最好的朋友是谁?", "我最好的朋友叫什么?"), f"你最好的朋友是{friend}。")),
        ((pick(rng, f"我的项目叫{project}。", f"我在做一个叫{project}的项目。", f"项目的名字是{project}。"), f"祝{project}顺利!"),
         (pick(rng, "我的项目叫什么?", "我的项目叫什么名字?", "我在做哪个项目?"), f"你的项目叫{project}。")),
        ((pick(rng, f"我的生日在{month}。", f"我是{month}出生的。"), f"我会记住你的生日在{month}。"),
         (pick(rng, "我的生日在几月?", "我是几月出生的?", "我的生日是什么时候?"), f"你的生日在{month}。")),
    ]  # fmt: skip


def conversation(rng: Random, lang: Lang) -> list[Said]:
    """Two to five turns: one or two facts told, questions in between, at least one of the facts asked for."""
    known = rng.sample(facts(rng, lang), rng.randint(1, 2))
    if len(known) == 2 and rng.random() < 0.4:  # both in one message
        space = " " if lang == "en" else ""
        turns = [Said(*(space.join(parts) for parts in zip(*(telling for telling, _ in known), strict=True)))]
    else:
        turns = [Said(*telling) for telling, _ in known]
    for _ in range(rng.choice([0, 1, 1, 2])):
        turns.insert(rng.randint(1, len(turns)), question(rng, lang))
    asked = [Said(*asking, fixed=True) for _, asking in rng.sample(known, rng.randint(1, len(known)))]
    return turns + asked
