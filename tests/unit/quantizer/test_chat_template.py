"""The tiny model's chat template writes Qwen3-Instruct-2507's format."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

SOURCE = (Path(__file__).parents[3] / "models" / "tiny" / "chat_template.jinja").read_text("utf-8")
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}


def environment() -> Environment:
    """Set up as transformers sets it up."""
    found = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    found.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return found


def render(*messages: dict[str, Any], tools: list[dict[str, Any]] | None = None, prompt: bool = True) -> str:
    return environment().from_string(SOURCE).render(messages=messages, tools=tools, add_generation_prompt=prompt)


def user(content: Any = "Hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_a_question_and_the_prompt_for_its_answer() -> None:
    assert render(user()) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert render(user(), prompt=False) == "<|im_start|>user\nHi<|im_end|>\n"


def test_system_and_several_turns() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        user(),
        {"role": "assistant", "content": "Hello."},
        user("Bye"),
    ]
    assert render(*turns) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_later_system_message_stays_in_its_place() -> None:
    assert "Hi<|im_end|>\n<|im_start|>system\nNow in French.<|im_end|>\n" in render(
        user(), {"role": "system", "content": "Now in French."}
    )


def test_tools_are_listed_in_the_system_turn() -> None:
    listed = (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
        + json.dumps(TOOL)
        + "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
        "</tool_call><|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    )
    assert render(user(), tools=[TOOL], prompt=False) == "<|im_start|>system\n" + listed
    assert (
        render({"role": "system", "content": "Be brief."}, user(), tools=[TOOL], prompt=False)
        == "<|im_start|>system\nBe brief.\n\n" + listed
    )


def test_calls_are_hermes_tags_and_results_share_one_user_turn() -> None:
    text = render(
        user(),
        {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "4 °C"},
        {"role": "tool", "tool_call_id": "2", "content": "rain"},
        {"role": "assistant", "content": "Cold and wet."},
        prompt=False,
    )
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    assert text == (
        f"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n{call}\n{call}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n4 °C\n</tool_response>\n<tool_response>\nrain\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nCold and wet.<|im_end|>\n"
    )


def test_text_before_a_call_and_arguments_as_a_string() -> None:
    """OpenAI's clients send arguments as a JSON string, which must not be quoted again."""
    call = {"function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    text = render(user(), {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}, prompt=False)
    assert text.endswith(
        "assistant\nLet me see.\n<tool_call>\n"
        '{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>\n'
    )


def test_content_may_be_null_absent_or_a_list_of_parts() -> None:
    plain = render(user(""), {"role": "assistant", "content": "", "tool_calls": [CALL]})
    assert render(user(None), {"role": "assistant", "content": None, "tool_calls": [CALL]}) == plain
    assert render({"role": "user"}, {"role": "assistant", "tool_calls": [CALL]}) == plain
    assert render(user([{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}])) == render(user("Hi!"))
    assert render({"role": "system", "content": None}, user()) == render({"role": "system", "content": ""}, user())


def test_chinese_is_not_escaped() -> None:
    tool = {"type": "function", "function": {"name": "查天气"}}
    assert '"查天气"' in render(user("你好"), tools=[tool])
