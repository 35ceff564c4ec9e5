"""The demo model's data: what it is trained on, what is held out, and that both are written as it is served."""

import builtins
import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MODELS = Path(__file__).parents[3] / "models"
TINY = MODELS / "tiny"
sys.path.append(str(TINY))

import dialogues  # noqa: E402
import render  # noqa: E402
import words  # noqa: E402

PASSAGES = [str(thing.__doc__) for thing in vars(builtins).values()] + ["系统管理员可以安装软件包,也可以删除它。"]


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
                assert said(dialogues.tool_prompt(rng, lang, kind, number))[-1] not in trained


def test_searches_are_for_held_out_phrases_up_to_twelve_words() -> None:
    rng, lengths = Random(3), set()
    for number in range(150):
        one = dialogues.tool_prompt(rng, "en", "search", number)
        (call,) = one["expected"]
        sought = next(iter(call["arguments"].values()))
        assert sought in one["messages"][-1]["content"]
        assert words.held_out(sought)
        lengths.add(len(sought.split()))
    assert min(lengths) == 1
    assert max(lengths) == 12


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
