"""Synthetic dialogues of the demo model, in English and Chinese: endless, seeded, and split into trained and held out.

A dialogue is {"messages", "tools", "lang", "kind"}; messages and tools as in a chat completion request. What a user
says in a held-out dialogue is in no trained one: the split is a hash of the text itself (see words.held_out).
"""
# ruff: noqa: E501

import json
from random import Random
from typing import Any, NamedTuple

import plain
import tools
from words import Json, Lang, held_out, made_up, phrase, pick

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
# After these, and where the second needs the first, one call follows the other's result; else both are made at once.
ONE_BY_ONE = {". Then ", "。然后"}
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
    """`count` tools in any order, the wanted families among them."""
    rest = [family for family in tools.FAMILIES if family not in wanted]
    families = wanted + rng.sample(rest, max(0, count - len(wanted)))
    taken: set[str] = set()
    made = [tools.offer(rng, family, lang, taken) for family in families]
    rng.shuffle(made)
    return made


def _family(rng: Random) -> tools.Family:
    return tools.BY_KEY["search"] if rng.random() < 0.3 else rng.choice(tools.FAMILIES)


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
    said = [part for turn in turns for part in (message("user", turn.user), message("assistant", turn.answer))]
    offered = offers(rng, lang, [], rng.randint(1, 8)) if rng.random() < 0.3 else []
    if kind == "question" and turns[-1].fixed:
        kind = "phrase"
    return Scene(kind, said, offered, [turn.user for turn in turns if not turn.fixed])


def use(rng: Random, lang: Lang, *, held: bool, kind: str = "") -> Scene:
    """A request that needs one or two tools, their results, the answer; sometimes more turns before and after."""
    kind = kind or rng.choices(["call", "two", "none"], [0.66, 0.22, 0.12])[0]
    said: list[Json] = []
    novel: list[str] = []
    wanted = [_family(rng)]
    if kind == "two" and rng.random() < 0.6:
        wanted.append(rng.choice([family for family in tools.FAMILIES if family is not wanted[0]]))
    count = rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 8])
    offered = offers(rng, lang, wanted, count)
    by_family = {one.family.key: one for one in offered}
    if kind == "none":
        lacking = tools.offer(rng, wanted[0], lang, set())
        offered = [one for one in offered if one.family is not wanted[0]] if rng.random() < 0.75 else []
        similar = {
            "read": "command",
            "list": "command",
            "search": "navigate",
            "download": "navigate",
            "delete": "command",
            "mkdir": "command",
            "grep": "command",
            "move": "command",
            "write": "command",
            "calculate": "command",
        }
        offered = [one for one in offered if one.family.key != similar.get(wanted[0].key)]
        user, _, _ = tools.request(rng, lacking, lang, held=held)
        return Scene(kind, [message("user", user), message("assistant", NO_TOOL[lang])], offered, [user])
    if rng.random() < 0.2:
        before = plain.question(rng, lang)
        said += [message("user", before.user), message("assistant", before.answer)]
        novel += [before.user] if not before.fixed else []
    steps = [by_family[family.key] for family in (wanted if len(wanted) == 2 else wanted * (2 if kind == "two" else 1))]
    made = [tools.request(rng, one, lang, held=held) for one in steps]
    text, one_by_one = _joined(rng, lang, steps, made)
    novel.append(text)
    said.append(message("user", text))
    rounds = [[step] for step in range(len(steps))] if one_by_one else [list(range(len(steps)))]
    answers, ended = [], rng.random() >= 0.85  # some dialogues end with the call: nothing came back yet
    for asked in rounds:
        said.append(calls([(steps[step].name, made[step][1]) for step in asked]))
        if ended:
            break
        for number, step in enumerate(asked):
            went_wrong = rng.random() < 0.08
            result, answer = (
                tools.failed(rng, lang) if went_wrong else steps[step].family.result(rng, lang, made[step][2])
            )
            said.append(message("tool", tools.wrapped(rng, result)) | {"tool_call_id": f"call_{number}"})
            answers.append(answer)
            if went_wrong and one_by_one:
                break
        else:
            continue
        break
    if not ended:
        said.append(message("assistant", "\n".join(answers)))
        if rng.random() < 0.15:
            after = plain.question(rng, lang)
            said += [message("user", after.user), message("assistant", after.answer)]
            novel += [after.user] if not after.fixed else []
    return Scene("one by one" if one_by_one else kind, said, offered, novel)


def _joined(
    rng: Random, lang: Lang, steps: list[tools.Offer], made: list[tuple[str, Json, tools.Values]]
) -> tuple[str, bool]:
    """What the user says, and whether the second call waits for the first one's result."""
    if len(made) == 1:
        return made[0][0], False
    (first, _, one), (second, _, other) = made
    same = steps[0] is steps[1] and len(one) == 1 and "count" not in steps[0].names
    if same and rng.random() < 0.6:  # "Search for 'X' and 'Y'."
        (x,), (y,) = map(str, one.values()), map(str, other.values())
        if first.count(x) == 1:
            for left, right in ("''", '""', "``", "“”", "‘’", "「」"):
                if f"{left}{x}{right}" in first:
                    both = pick(rng, " and ", " and also ") if lang == "en" else pick(rng, "和", "以及")
                    return first.replace(f"{left}{x}{right}", f"{left}{x}{right}{both}{left}{y}{right}"), False
    join = rng.choice(JOINS[lang])
    if lang == "en":
        first = first.rstrip(".") if not first.endswith("?") else first.rstrip("?")
        second = second[0].lower() + second[1:] if join[0] != "." and second.split()[0].istitle() else second
    else:
        first = first.rstrip("。?")
    needs = (steps[0].family.key, steps[1].family.key) == ("list", "read") or steps[0].family.key == "navigate"
    return first + join + second, join in ONE_BY_ONE or needs


def dialogue(rng: Random, *, held: bool = False, kind: str = "", lang: Lang | None = None) -> Json:
    """One dialogue. With `held`, the last thing the user says that is not a set phrase is held out from training;
    without, nothing in it is."""
    while True:
        language: Lang = lang or ("en" if rng.random() < 0.5 else "zh")
        if kind in ("call", "two", "none"):
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
    if rng.random() < 0.3:
        offered.sort(key=lambda tool: str(tool["function"]["name"]))  # as gateways do
    return {
        "messages": _opening(rng, language) + scene.said,
        "tools": offered or None,
        "lang": language,
        "kind": scene.kind,
    }


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
            one = dialogue(rng, held=True, kind="two" if kind == "two" else "call", lang=lang)
            ok = not any(m["role"] == "assistant" and m["content"] for m in one["messages"][:3]) and (
                kind == "two" or len(one["tools"]) >= (2 if kind == "choose" else 1)
            )
        messages = one["messages"]
        until = next((n for n, m in enumerate(messages) if m["role"] == "assistant"), 0)
        if not ok or len(json.dumps(messages[:until])) > 3000:
            continue
        made = [call["function"] for call in messages[until].get("tool_calls", [])]
        if kind == "two" and len(made) != 2:  # one by one
            continue
        expected = [{"name": call["name"], "arguments": json.loads(call["arguments"])} for call in made]
        if kind == "search":
            offered = next((tool for tool in one["tools"] if tool["function"]["name"] == expected[0]["name"]), None)
            if (
                not offered
                or not any(
                    word in offered["function"]["description"].lower()
                    for word in ("web", "internet", "online", "网", "互联")
                )
                or "Open" in offered["function"]["description"]
            ):
                continue
            if (
                "navigate" in offered["function"]["name"]
                or len(expected) != 1
                or (list(expected[0]["arguments"]) and next(iter(expected[0]["arguments"])) not in tools.QUERY.names)
            ):
                continue
        return {
            "id": f"{lang}-{kind}-{number}",
            "lang": lang,
            "kind": kind,
            "messages": messages[:until],
            "tools": one["tools"],
            "expected": expected,
        }


__all__ = ["dialogue", "learn", "made_up", "phrase", "tool_prompt"]
