"""The demo model's data: what it is trained on, what is held out, and that both are written as it is served."""

import builtins
import json
import re
import sys
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hearth_gateway.tools.config import Presentation
from hearth_gateway.tools.server import presented
from hearth_gateway.tools.types import canonical

MODELS = Path(__file__).parents[3] / "models"
TINY = MODELS / "tiny"
sys.path.append(str(TINY))

import dialogues  # noqa: E402
import pages  # noqa: E402
import render  # noqa: E402
import servers  # noqa: E402
import shell  # noqa: E402
import tools  # noqa: E402
import train  # noqa: E402
import words  # noqa: E402

PASSAGES = [str(thing.__doc__) for thing in vars(builtins).values()] + ["系统管理员可以安装软件包,也可以删除它。"]
LANGUAGES: tuple[words.Lang, ...] = ("en", "zh")


@pytest.fixture(scope="module", autouse=True)
def corpus() -> None:
    dialogues.learn(PASSAGES)
    words.learn(PASSAGES)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def said(row: dict[str, Any]) -> list[str]:
    return [message["content"] for message in row["messages"] if message["role"] == "user"]


def template(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
    """The template that is served with the weights, as transformers renders it."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    source = (TINY / "model" / "chat_template.jinja").read_text("utf-8")
    return environment.from_string(source).render(messages=messages, tools=tools, add_generation_prompt=False)


def test_training_renders_what_serving_renders() -> None:
    rng = Random(0)
    kinds = set()
    for _ in range(400):
        one = dialogues.dialogue(rng)
        kinds.add((one["kind"], one["lang"], one["messages"][0]["role"], bool(one["tools"])))
        segments = render.segments(one["messages"], one["tools"])
        assert "".join(text for text, _ in segments) == template(one["messages"], one["tools"])
    assert len(kinds) > 16


def test_the_model_is_trained_on_its_own_words_alone() -> None:
    rng = Random(1)
    for _ in range(200):
        one = dialogues.dialogue(rng)
        own = [text for text, is_own in render.segments(one["messages"], one["tools"]) if is_own]
        answers = [message for message in one["messages"] if message["role"] == "assistant"]
        assert len(own) == len(answers)
        for text, answer in zip(own, answers, strict=True):
            assert text.endswith("<|im_end|>")
            assert text.count("<tool_call>") == len(answer.get("tool_calls") or [])
            assert answer["content"] in text


def test_the_served_template_is_the_tested_one() -> None:
    assert (TINY / "model" / "chat_template.jinja").read_bytes() == (TINY / "chat_template.jinja").read_bytes()


def test_nothing_held_out_is_trained() -> None:
    """What a user says is held out by its own content, so a prompt cannot be in both sets; here by looking."""
    rng = Random(2)
    trained = {text for _ in range(3000) for text in said(dialogues.dialogue(rng))}
    assert not trained & dialogues.NEVER
    for lang in ("en", "zh"):
        for kind in ("search", "choose", "two", "none"):
            for number in range(10):
                prompt = said(dialogues.tool_prompt(rng, lang, kind, number))[-1]
                assert dialogues.is_held(prompt)
                assert prompt not in trained


def test_searches_are_for_held_out_phrases_up_to_twelve_words() -> None:
    rng, lengths = Random(3), set()
    for number in range(150):
        one = dialogues.tool_prompt(rng, "en", "search", number)
        (call,) = one["expected"]
        sought = next(iter(call["arguments"].values()))
        assert sought in one["messages"][-1]["content"]
        assert words.held_out(sought)
        lengths.add(len(sought.split()))
    assert lengths >= {1, 12}  # and a city may be two words


@pytest.mark.parametrize("name", ["calibration/dialogues.jsonl", "tiny/calibration.jsonl"])
def test_calibration_never_sees_what_the_gates_judge_by(name: str) -> None:
    calibrated = {text for row in rows(MODELS / name) for text in said(row)}
    prompts, text = (rows(MODELS / "evaluation" / f"{kind}.jsonl") for kind in ("tools", "dialogues"))
    assert not calibrated.intersection(said(row)[-1] for row in prompts)
    # What people say around a held-out question ("Hello", "What is my name?") is in every set.
    assert all(any(text not in calibrated for text in said(row)) for row in text)
    assert sum(text in calibrated for row in text for text in said(row)) < 0.1 * sum(len(said(row)) for row in text)


def test_calibration_of_its_own_kind_is_from_the_trained_side() -> None:
    novel = [text for row in rows(TINY / "calibration.jsonl") for text in said(row)]
    held = [text for text in novel if dialogues.is_held(text)]
    assert len(rows(TINY / "calibration.jsonl")) == 512
    assert len(set(held)) < 0.02 * len(set(novel))  # set phrases, which recall asks


def test_evaluation_prompts_are_valid_requests_in_both_languages() -> None:
    prompts = rows(MODELS / "evaluation/tools.jsonl")
    assert {lang: sum(row["lang"] == lang for row in prompts) for lang in ("en", "zh")} == {"en": 100, "zh": 100}
    for row in prompts:
        offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in row["tools"]}
        assert 1 <= len(offered) <= 8
        for call in row["expected"]:
            assert set(call["arguments"]) <= set(offered[call["name"]]["properties"])
            assert set(offered[call["name"]].get("required", [])) <= set(call["arguments"])


# --- what the tools of an agent return, and what it makes of it -------------------------------------------------------
class Worked(NamedTuple):
    """A request with its rounds of calls (each as family and arguments), what they returned, and the answer."""

    lang: words.Lang
    offered: set[str]
    asked: str
    rounds: list[list[tuple[str, dict[str, Any]]]]
    results: list[str]
    answer: str


def worked(seed: int, count: int, kind: str) -> list[Worked]:
    """Of so many generated, those in which results came back."""
    rng, out = Random(seed), list[Worked]()
    for _ in range(count):
        lang = rng.choice(LANGUAGES)
        scene = dialogues.use(rng, lang, held=False, kind=kind)
        families = {one.name: one.family.key for one in scene.offered}
        called = [number for number, said in enumerate(scene.said) if said.get("tool_calls")]
        ends = dialogues.after_results(scene.said)
        if not ends or scene.said[ends[-1]].get("tool_calls"):
            continue
        functions = [[call["function"] for call in scene.said[number]["tool_calls"]] for number in called]
        texts = [said["content"] for said in scene.said if said["role"] == "tool"]
        out.append(
            Worked(
                lang, set(families.values()), scene.said[called[0] - 1]["content"],
                [[(families[one["name"]], json.loads(one["arguments"])) for one in calls] for calls in functions],
                [json.loads(text)[0]["text"] if text.startswith('[{"type": "text"') else text for text in texts],
                scene.said[ends[-1]]["content"],
            )
        )  # fmt: skip
    return out


COPIES = re.compile(
    r"(?:I found this: |我找到了:|.+ contains: |.+里有:|The file .+ says:\n|文件.+的内容是:\n|I found: |找到:"
    r"|The page says: |网页上写着:|The command printed:\n|命令输出:\n|That did not work: |没有成功:)(.+?)[.。]?",
    re.DOTALL,
)


def pieces(copied: str, source: str) -> int:
    """Of how many pieces of `source` (lines, names) the text is made, but for what stands between them."""
    count = 0
    while copied := copied.lstrip(" \n、,"):
        length = next((n for n in range(len(copied), 0, -1) if copied[:n] in source), 0)
        assert length, f"{copied!r} is not in {source!r}"
        copied, count = copied[length:], count + 1
    return count


def test_what_an_answer_tells_is_in_the_result() -> None:
    rng, told = Random(4), set()
    for number in range(3000):
        family, lang, wrong = rng.choice(tools.FAMILIES), LANGUAGES[number % 2], number % 5 == 0
        values = family.values(rng, lang, False)
        if wrong:
            text, answer = tools.failed(rng, lang, family.key, "tool", values)
        else:
            text, answer = family.result(rng, lang, values)
        if copied := COPIES.fullmatch(answer):
            told.add((family.key, lang, wrong))
            assert pieces(copied[1], text) <= len(re.findall(r"\n|snippet|\", \"", text)) + 1
    for key in ("search", "read", "list", "command", "script", "snapshot", "navigate", "in_page", "find"):
        assert told >= {(key, lang, wrong) for lang in LANGUAGES for wrong in (False, True)}


def test_what_is_found_first_is_read_next() -> None:
    """One call a round, however the request joins the two, and the answer tells both results."""
    seen = set()
    for one in worked(5, 2000, "two"):
        kinds = tuple(family for calls in one.rounds for family, _ in calls)
        if kinds not in dialogues.CHAINS:
            continue
        path = next(iter(one.rounds[-1][-1][1].values()))
        if kinds[0] != "list" and path in one.asked:  # two things to do, and not one after the other
            continue
        assert [len(calls) for calls in one.rounds] == [1, 1]
        assert (path.split("/")[-1] if kinds[0] == "list" else path) in one.results[0]
        assert kinds[0] != "list" or path in one.asked
        assert "\n" in one.answer
        joins = (*dialogues.JOINS[one.lang], *dialogues.AFTER_QUESTION[one.lang])
        seen |= {(one.lang, kinds, join) for join in joins if join in narrow(one.asked)}
    for lang in LANGUAGES:
        assert {kinds for its, kinds, _ in seen if its == lang} == set(dialogues.CHAINS)
        assert {join for its, kinds, join in seen if (its, kinds) == (lang, ("list", "read"))} > set(
            dialogues.JOINS[lang]
        )


def narrow(text: str) -> str:
    return text.translate(str.maketrans("\uff0c\uff1f\uff01\uff1a\uff1b", ",?!:;"))


def test_lists_are_often_followed_by_reading() -> None:
    every = [
        [family for calls in one.rounds for family, _ in calls]
        for one in worked(6, 1200, "two")
        if sum(len(calls) for calls in one.rounds) == 2
    ]
    assert 0.12 < every.count(["list", "read"]) / len(every) < 0.25


def test_a_page_that_was_opened_and_not_shown_is_looked_at() -> None:
    looked, left, shown = [], [], []
    for one in worked(7, 3000, "call"):
        if one.rounds[0][0][0] != "navigate":
            continue
        (url,) = one.rounds[0][0][1].values()
        blind = one.results[0].startswith("### Ran Playwright code")
        if blind and "snapshot" in one.offered:
            assert one.rounds[1:] == [[("snapshot", {})]]
            looked.append(one.answer)
        elif blind:
            assert len(one.rounds) == 1
            assert one.answer in (f"I opened {url}.", f"已打开{url}。")
            left.append(url)
        elif len(one.rounds) == 1:
            shown.append(one.answer)
    assert min(len(looked), len(left), len(shown)) > 10
    assert sum(answer.startswith(("The page says: ", "网页上写着:")) for answer in looked) > 0.8 * len(looked)


def test_a_snapshot_is_what_the_browser_would_write() -> None:
    nodes = [
        ("heading", "Prices"),
        ("link", "Home"),
        ("listitem", "Tea: 42"),
        ("listitem", "龙井茶"),
        ("text", "Longjing costs 42 yuan."),
    ]
    snapshot = pages.snapshot(Random(1), "en", nodes, "http://site:8000/")
    assert snapshot.startswith("### Page\n- Page URL: http://site:8000/\n")
    tree = yaml.safe_load(snapshot.split("```yaml\n")[1].removesuffix("\n```"))
    assert all(repr(text)[1:-1] in str(tree) for _, text in nodes)
    assert pages.told(nodes) == "Prices\nTea: 42\n龙井茶\nLongjing costs 42 yuan."


def test_command_lines_are_many_and_survive_json() -> None:
    rng = Random(8)
    lines = [shell.line(rng) for _ in range(4000)]
    assert len(set(lines)) > 0.9 * len(lines)
    assert not any(re.search(r"[\x00-\x1f]|{[a-z]}", line) for line in lines)
    for line in lines[:500]:
        (call,) = dialogues.calls([("run_command", {"command": line})])["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"command": line}
    for kind in (
        r"curl http://\w+:\d+/",
        r"wget ",
        r"sleep \d+",
        r"^echo [^'\"]+ > \S+",
        r" \| ",
        r" && ",
        r"python3 -c '",
        r"grep -c ",
        r"find ",
        r"sed ",
        r"\$[A-Z]+",
        r'"',
        r"^[A-Z]+=\S+ ",
    ):
        assert sum(bool(re.search(kind, line)) for line in lines) >= 5, kind


def test_calls_of_the_long_dialogues_are_read_and_not_learnt() -> None:
    source = train.documents(9, PASSAGES)
    texts = [segment for _ in range(3000) for segment in next(source)]
    theirs = [own for text, own in texts if '{"command": "df -h /"}' in text]
    assert theirs
    assert not any(theirs)
    assert any(own and "<tool_call>" in text for text, own in texts)


# --- the servers of this repository -----------------------------------------------------------------------------------
def test_the_shipped_tools_are_those_of_the_default_file() -> None:
    file = yaml.safe_load((MODELS.parent / "config" / "hearth.tools.yaml").read_text("utf-8"))
    allowed = {name: label for label, server in file["servers"].items() for name in server["allow"]}
    assert set(allowed) == set(servers.SHIPPED)
    for name, label in allowed.items():
        server = file["servers"][label]
        entry, prefix = server["tools"].get(name), server.get("prefix", f"{label}_")
        own, (description, schema) = servers.shown(name, own=True), servers.shown(name, own=False)
        assert presented(name, entry and Presentation(**entry), *own) == (description, schema)
        assert servers.named(name) == (name if name.startswith(prefix) else prefix + name)


def test_every_shipped_tool_is_asked_for_with_arguments_that_fit() -> None:
    rng = Random(10)
    for name, shipped in servers.SHIPPED.items():
        for number in range(40):
            one = tools.shipped(rng, tools.BY_KEY[shipped.family], set())
            _, arguments, _ = tools.request(rng, one, LANGUAGES[number % 2], held=False)
            jsonschema.validate(arguments, one.tool["function"]["parameters"])
            assert one.tool["function"]["parameters"] == canonical(one.tool["function"]["parameters"]), name


def test_every_tool_is_asked_for_with_arguments_that_fit() -> None:
    rng = Random(11)
    for number in range(3000):
        one = tools.offer(rng, rng.choice(tools.FAMILIES), LANGUAGES[number % 2], set())
        text, arguments, values = tools.request(rng, one, LANGUAGES[number % 2], held=False)
        jsonschema.validate(arguments, one.tool["function"]["parameters"])
        assert not re.search(r"{\w+(!q)?}", text)
        assert all(str(value) in text for value in values.values() if value != tools.HERE)


def test_no_request_that_is_trained_is_held_out() -> None:
    rng = Random(12)
    for number in range(900):
        one = dialogues.dialogue(rng, kind=("call", "two", "none")[number % 3])
        if one["kind"] != "none":
            called = next(n for n, said in enumerate(one["messages"]) if said.get("tool_calls"))
            assert not dialogues.is_held(one["messages"][called - 1]["content"])
        else:
            assert not any(dialogues.is_held(text) for text in said(one))


def test_any_common_character_may_have_to_be_copied() -> None:
    rng = Random(13)
    assert len(words.HANZI) == 3755
    names = "".join(words.made_up_name(rng, "zh") for _ in range(6000))
    assert len(set(names) & set(words.HANZI)) > 2500
    phrases = "".join(words.phrase(rng, "zh") for _ in range(6000))
    assert len(set(phrases) & set(words.HANZI)) > 2500
