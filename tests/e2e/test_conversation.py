"""Conversations of several turns: what the engine does not compute again, and what a restart does not forget."""

import os
import subprocess

import requests
from openai import OpenAI

from .conftest import ROOT, Stack, wait_until
from .test_chat import MODEL

BLOCK = 128  # tokens: the engine's --block-size on the CPU; only whole blocks are cached
INSTRUCTIONS = "You are a careful assistant. " + " ".join(
    f"Rule {number}: be brief and polite." for number in range(40)
)
TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search the documents in the workspace.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}


def cached(stack: Stack) -> float:
    """Prompt tokens that the engine had in its cache, over all requests so far."""
    return stack.engine_metric("vllm:prefix_cache_hits_total")


def test_each_turn_finds_the_last_one_s_prompt_in_the_prefix_cache(stack: Stack, openai: OpenAI) -> None:
    messages = [{"role": "system", "content": INSTRUCTIONS}]
    last = 0
    for question in ("Hello!", "What is your name?", "List three colours.", "Thank you."):
        messages.append({"role": "user", "content": question})
        before = cached(stack)
        answer = openai.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL], max_tokens=32)
        assert answer.usage is not None
        hits = cached(stack) - before
        if last:
            assert hits >= last // BLOCK * BLOCK > 0
        last = answer.usage.prompt_tokens
        messages.append({"role": "assistant", "content": answer.choices[0].message.content or ""})


def test_a_restart_of_the_gateway_forgets_no_response(stack: Stack, openai: OpenAI) -> None:
    first = openai.responses.create(model=MODEL, input="My name is Ada.", max_output_tokens=8)
    compose = ["docker", "compose", "restart", "gateway"]
    subprocess.run(compose, cwd=ROOT, env=os.environ | stack.env, check=True, capture_output=True)
    wait_until(lambda: alive(stack))
    assert openai.responses.retrieve(first.id).output_text == first.output_text
    second = openai.responses.create(model=MODEL, input="My name?", previous_response_id=first.id, max_output_tokens=8)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens
    code, out = stack.container("gateway").exec_run(["stat", "-c", "%a %u", "/var/lib/hearth/responses.sqlite"])
    assert (code, out.split()) == (0, [b"600", b"1000"])


def alive(stack: Stack) -> bool:
    try:
        return requests.get(f"{stack.url}/healthz", timeout=5).ok
    except requests.ConnectionError:
        return False
