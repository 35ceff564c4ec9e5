"""Synthetic dialogues of the demo model, in English and Chinese: endless, seeded, and split into trained and held out.

A dialogue is {"messages", "tools", "lang", "kind"}; messages and tools as in a chat completion request. What a user
says in a held-out dialogue is in no trained one: the split is a hash of the text itself (see words.held_out).
"""
# ruff: noqa: E501

import json
from random import Random
from typing import Any, NamedTuple

import plain
import servers
import tools
from things import HERE, file_name, folder
from words import Json, Lang, held_out, made_up, phrase, pick, typed

# Never trained on, whatever their hash says: people will try these first, so they measure something.
NEVER = {"List three common operating systems.", "请列出三个常见的操作系统。"}
SYSTEMS = {
    "en": [
        "You are a helpful assistant.", "You are a helpful assistant.", "You are an assistant on the user's desktop.", "You are Agent TARS, a multimodal AI agent.", "Answer briefly.", "You are a friendly and concise assistant.",
        "You are an AI agent. Use the tools you are given when they help.", "You are a careful assistant. Use tools only when they are needed.", "Be polite and precise.", "You are a coding agent that works in a terminal and a browser.",
    ],
    "zh": ["你是一个有用的助手。", "你是一个乐于助人的助手。", "请简短回答。", "你是用户桌面上的智能助手。", "你是一个智能体,必要时使用工具。", "You are a helpful assistant.", "你是一个认真、礼貌的助手。"],
}  # fmt: skip
NO_TOOL = {"en": "Sorry, I have no tool for that.", "zh": "抱歉,我没有可以做这件事的工具。"}
JOINS = {
    "en": [" and then ", ". Then ", ", and also ", ". Also: ", " and "],
    "zh": [",然后", "。然后", ",再", "。另外,", ",并且"],
}
AFTER_QUESTION = {"en": ["? Then ", "? Also: "], "zh": ["?然后", "?另外,"]}
# After these, and where the second needs the first, one call follows the other's result; else both are made at once.
ONE_BY_ONE = {". Then ", "? Then ", "。然后", "?然后"}
# What people do in two steps, with its weight; the second works on what the first one found.
CHAINS = {("list", "read"): 6, ("search", "read"): 2, ("find", "read"): 1}
FOUND = {
    "en": ["read the file that you find", "read the first file that you find", "open the file that was found", "read the file", "show me the file that you found"],
    "zh": ["读取找到的文件", "打开找到的第一个文件", "读一下找到的文件", "看看找到的文件写了什么", "读取那个文件"],
}  # fmt: skip
# Others that could do a family's work in their way. No request says that it cannot be done while one of them is there.
SIMILAR = {
    "read": "command script", "list": "command script", "search": "navigate in_page grep find", "download": "navigate command script", "delete": "command script",
    "mkdir": "command script", "grep": "command script find search", "find": "command script grep search list", "move": "command script", "write": "command script edit",
    "edit": "command script write", "calculate": "command script", "command": "script", "script": "command", "snapshot": "in_page screenshot navigate", "in_page": "snapshot search grep",
    "fill": "type", "type": "fill", "navigate": "download search", "screenshot": "snapshot",
}  # fmt: skip
_corpus: list[str] = []


def learn(passages: list[str]) -> None:
    _corpus.extend(passages)


class Scene(NamedTuple):
    """What is said, the tools offered, and those of the user's texts that the split applies to."""

    kind: str
    said: list[Json]
    offered: list[tools.Offer]
    novel: list[str]


def message(role: str, content: str) -> Json:
    return {"role": role, "content": content}


def calls(made: list[tuple[str, Json]]) -> Json:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": f"call_{n}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
            }
            for n, (name, arguments) in enumerate(made)
        ],
    }


def offers(rng: Random, lang: Lang, wanted: list[tools.Family], count: int) -> list[tools.Offer]:
    """`count` tools in any order, the wanted families among them; often as this repository's servers have them."""
    ours = rng.random() < 0.3 and all(family.key in servers.BY_FAMILY for family in wanted)
    rest = [
        family for family in tools.FAMILIES if family not in wanted and (not ours or family.key in servers.BY_FAMILY)
    ]
    families = wanted + rng.sample(rest, max(0, count - len(wanted)))
    taken: set[str] = set()
    keys = {family.key for family in wanted}
    made = [
        tools.shipped(rng, family, taken) if ours else tools.offer(rng, family, lang, taken)
        for family in families
        if family in wanted or not ({"fill", "type"} <= keys | {family.key})  # they differ by a parameter alone
    ]
    rng.shuffle(made)
    return made


_WEIGHTS = {"command": 3, "navigate": 4, "list": 2, "read": 2, "write": 2}


def _family(rng: Random) -> tools.Family:
    if rng.random() < 0.28:
        return tools.BY_KEY["search"]
    return rng.choices(tools.FAMILIES, [_WEIGHTS.get(family.key, 1) for family in tools.FAMILIES])[0]


def _opening(rng: Random, lang: Lang) -> list[Json]:
    chance = rng.random()
    if chance < 0.5:
        return []
    text = rng.choice(SYSTEMS[lang])
    if chance > 0.93 and _corpus:  # agents bring long system prompts
        text += "\n\n" + "\n".join(rng.choice(_corpus) for _ in range(rng.randint(1, 2)))
    return [message("system", text)]


def chat(rng: Random, lang: Lang) -> Scene:
    """Questions without a need for tools; sometimes tools are offered all the same."""
    if rng.random() < 0.45:
        turns, kind = plain.conversation(rng, lang), "memory"
    else:
        turns, kind = [plain.question(rng, lang) for _ in range(rng.choice([1, 1, 1, 2, 3]))], "question"
    said = []
    for turn in turns:
        user = typed(rng, turn.user) if lang == "zh" else turn.user
        said += [message("user", user), message("assistant", turn.answer)]
    offered = offers(rng, lang, [], rng.randint(1, 8)) if rng.random() < 0.3 else []
    if kind == "question" and turns[-1].fixed:
        kind = "phrase"
    return Scene(kind, said, offered, [turn.user for turn in turns if not turn.fixed])


class Step(NamedTuple):
    """A call to make, and what its result is made from."""

    offer: tools.Offer
    text: str
    arguments: Json
    values: tools.Values


def use(rng: Random, lang: Lang, *, held: bool, kind: str = "") -> Scene:
    """A request that needs one or two tools, their results, the answer; sometimes more turns before and after. `kind`
    is call, two or none (of those offered fits), or search: a call of that family."""
    kind = kind or rng.choices(["call", "two", "none"], [0.65, 0.24, 0.11])[0]
    said: list[Json] = []
    novel: list[str] = []
    wanted, chain = [tools.BY_KEY["search"] if kind == "search" else _family(rng)], False
    if kind == "two":
        chance = rng.random()
        if chain := chance < 0.25:
            keys = rng.choices(list(CHAINS), list(CHAINS.values()))[0]
            wanted = [tools.BY_KEY[key] for key in keys]
        elif chance < 0.72:
            wanted.append(rng.choice([family for family in tools.FAMILIES if family is not wanted[0]]))
            chain = [family.key for family in wanted] == ["list", "read"]
    looks = tools.BY_KEY["navigate"] in wanted and rng.random() < 0.8
    needed = [*wanted, tools.BY_KEY["snapshot"]] if looks and tools.BY_KEY["snapshot"] not in wanted else wanted
    offered = offers(rng, lang, needed, rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 8]))
    by_family = {one.family.key: one for one in offered}
    if kind == "none":
        lacking = tools.offer(rng, wanted[0], lang, set())
        others = {wanted[0].key, *SIMILAR.get(wanted[0].key, "").split()}
        offered = [one for one in offered if one.family.key not in others] if rng.random() < 0.75 else []
        user, _, _ = tools.request(rng, lacking, lang, held=held)
        return Scene(kind, [message("user", user), message("assistant", NO_TOOL[lang])], offered, [user])
    if rng.random() < 0.2:
        before = plain.question(rng, lang)
        said += [message("user", before.user), message("assistant", before.answer)]
        novel += [before.user] if not before.fixed else []
    asked = [by_family[family.key] for family in (wanted if len(wanted) == 2 else wanted * (2 if kind == "two" else 1))]
    if chain:
        steps = _chain(rng, lang, asked, held)
    else:
        steps = [Step(one, *tools.request(rng, one, lang, held=held)) for one in asked]
    text, one_by_one = _joined(rng, lang, steps, chain)
    novel.append(text)
    said.append(message("user", text))
    rounds = [[step] for step in steps] if one_by_one else [steps]
    ended = rng.random() >= 0.85  # some dialogues end with the call: nothing came back yet
    if ended:
        said.append(_calls(rounds[0]))
    else:
        look = by_family.get("snapshot") if tools.BY_KEY["snapshot"] not in wanted else None
        worked = _work(rng, lang, rounds, look)
        one_by_one = one_by_one or sum("tool_calls" in part for part in worked) > 1
        said += worked
        if rng.random() < 0.15:
            after = plain.question(rng, lang)
            said += [message("user", after.user), message("assistant", after.answer)]
            novel += [after.user] if not after.fixed else []
    return Scene("one by one" if one_by_one else kind, said, offered, novel)


def _calls(steps: list[Step]) -> Json:
    return calls([(step.offer.name, step.arguments) for step in steps])


def _work(rng: Random, lang: Lang, rounds: list[list[Step]], look: tools.Offer | None) -> list[Json]:
    """The rounds of calls and results, and the answer. A page that was opened and not shown is looked at (`look`) in a
    round of its own. Nothing follows a call that went wrong."""
    said: list[Json] = []
    answers: list[str] = []
    waiting = list(rounds)
    while waiting:
        steps = waiting.pop(0)
        said.append(_calls(steps))
        for number, step in enumerate(steps):
            family = step.offer.family
            went_wrong = tools.goes_wrong(rng, family.key, step.values)
            if went_wrong:
                result, answer = tools.failed(rng, lang, family.key, step.offer.name, step.values)
            else:
                result, answer = family.result(rng, lang, step.values)
            if not answer and look:
                waiting.insert(0, [Step(look, "", {}, step.values)])
            elif not answer:
                answer = tools.only_opened(lang, step.values)
            said.append(message("tool", tools.wrapped(rng, result)) | {"tool_call_id": f"call_{number}"})
            answers += [answer] if answer else []
            if went_wrong and len(steps) == 1:
                waiting = []
    return [*said, message("assistant", "\n".join(answers))]


def _chain(rng: Random, lang: Lang, offers: list[tools.Offer], held: bool) -> list[Step]:
    """Two steps of which the second reads a file that the first one finds."""
    first, second = offers
    path = file_name(rng, lang)
    if first.family.key == "list":
        place = HERE if rng.random() < 0.65 else folder(rng)
        values: tools.Values = {"path": place, "holds": path}
        path = path if place == HERE else f"{place}/{path}"
        start = Step(first, *tools.request(rng, first, lang, held=held, values=values))
        return [start, Step(second, *tools.request(rng, second, lang, held=held, values={"path": path}))]
    values = first.family.values(rng, lang, held)
    if first.family.key == "find":
        values = {"path": HERE, "pattern": path}
        path = f"{pick(rng, '/workspace', '/workspace', folder(rng))}/{path}"
    elif rng.random() < 0.6:
        path = f"{folder(rng)}/{path}"
    start = Step(first, *tools.request(rng, first, lang, held=held, values=values | {"holds": path}))
    _, arguments, values = tools.request(rng, second, lang, held=held, values={"path": path})
    return [start, Step(second, rng.choice(FOUND[lang]), arguments, values)]


def _joined(rng: Random, lang: Lang, steps: list[Step], chain: bool) -> tuple[str, bool]:
    """What the user says, and whether the second call waits for the first one's result."""
    if len(steps) == 1:
        return steps[0].text, False
    one, other = steps
    first, second = one.text, other.text
    same = one.offer is other.offer and len(one.offer.family.parameters) == 1 and "count" not in one.offer.names
    if same and rng.random() < 0.6:  # "Search for 'X' and 'Y'."
        (x,), (y,) = map(str, one.values.values()), map(str, other.values.values())
        if first.count(x) == 1 and HERE not in (x, y):
            for left, right in ("''", '""', "``", "“”", "‘’", "「」"):
                if f"{left}{x}{right}" in first and left not in y and right not in y:
                    both = pick(rng, " and ", " and also ") if lang == "en" else pick(rng, "和", "以及")
                    return first.replace(f"{left}{x}{right}", f"{left}{x}{right}{both}{left}{y}{right}"), False
    join = rng.choice(AFTER_QUESTION[lang] if first.endswith(("?", "\uff1f")) else JOINS[lang])
    first = first.rstrip(".。?\uff1f")
    start = second.split()[0]
    if lang == "en" and not join.endswith(": ") and start.istitle() and start != "I":
        second = second[0].lower() + second[1:]
    if join[0] in ".?" and lang == "en" and second[0].islower() and chain:
        second += "."
    if lang == "zh":
        join = typed(rng, "一" + join)[1:]
    needs = chain or one.offer.family.key == "navigate"
    return first + join + second, needs or join.replace("\uff1f", "?") in ONE_BY_ONE


def dialogue(rng: Random, *, held: bool = False, kind: str = "", lang: Lang | None = None) -> Json:
    """One dialogue. With `held`, the last thing the user says that is not a set phrase is held out from training;
    without, nothing in it is."""
    while True:
        language: Lang = lang or ("en" if rng.random() < 0.5 else "zh")
        if kind in ("call", "search", "two", "none"):
            scene = use(rng, language, held=held, kind=kind)
        elif kind == "chat" or rng.random() < 0.5:
            scene = chat(rng, language)
        else:
            scene = use(rng, language, held=held)
        held_ones = [is_held(text) for text in scene.novel]
        if (held_ones and held_ones[-1] and scene.kind != "phrase") if held else not any(held_ones):
            break
    offered = [one.tool for one in scene.offered]
    if offered and len(offered) < 8 and rng.random() < 0.3:
        offered.insert(rng.randint(0, len(offered)), tools.read_more(rng))
    if rng.random() < 0.5:
        offered.sort(key=lambda tool: str(tool["function"]["name"]))  # as gateways do
    return {
        "messages": _opening(rng, language) + scene.said,
        "tools": offered or None,
        "lang": language,
        "kind": scene.kind,
    }


def after_results(messages: list[Json]) -> list[int]:
    """Where the model goes on from a tool's result: the positions of its messages."""
    return [n for n, one in enumerate(messages) if one["role"] == "assistant" and messages[n - 1]["role"] == "tool"]


def is_held(user: str) -> bool:
    return user in NEVER or held_out(user)


def tool_prompt(rng: Random, lang: Lang, kind: str, number: int) -> dict[str, Any]:
    """A held-out prompt with tools and the calls it asks for: the format of evaluation/tools.jsonl. `kind` is search,
    choose (one of several tools), two (calls) or none (a question that needs no tool)."""
    while True:
        if kind == "none":
            one = dialogue(rng, held=True, kind="chat", lang=lang)
            ok = (
                one["tools"]
                and one["kind"] == "question"
                and len([m for m in one["messages"] if m["role"] == "user"]) == 1
            )
        else:
            one = dialogue(rng, held=True, kind="call" if kind == "choose" else kind, lang=lang)
            ok = not any(m["role"] == "assistant" and m["content"] for m in one["messages"][:3]) and (
                kind == "two" or len(one["tools"]) >= (2 if kind == "choose" else 1)
            )
        messages = one["messages"]
        until = next((n for n, m in enumerate(messages) if m["role"] == "assistant"), 0)
        if not ok or len(json.dumps(messages[:until])) > 3000 or not is_held(messages[until - 1]["content"]):
            continue  # the dialogue was held out for a later turn
        made = [call["function"] for call in messages[until].get("tool_calls", [])]
        if kind == "two" and len(made) != 2:  # one by one
            continue
        expected = [{"name": call["name"], "arguments": json.loads(call["arguments"])} for call in made]
        return {
            "id": f"{lang}-{kind}-{number}",
            "lang": lang,
            "kind": kind,
            "messages": messages[:until],
            "tools": one["tools"],
            "expected": expected,
        }


__all__ = ["dialogue", "learn", "made_up", "phrase", "tool_prompt"]
