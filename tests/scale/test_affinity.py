"""A conversation stays with the engine that has its beginning in its cache; many of them are spread."""

import itertools
import json
from typing import Any

import pytest
import requests

from .conftest import ENGINES, MODEL, Scale

SESSIONS, TURNS = 8, 4
# In the router's container: one-token completions by way of the router and past it, in turn, over connections that
# stay. Prints the medians in milliseconds.
OVERHEAD = """
import http.client, json, statistics, time
body = json.dumps({"model": "qwen3-4b-gptq", "prompt": "One", "max_tokens": 1, "temperature": 0})
headers = {"content-type": "application/json", "x-session-id": "overhead"}
ways = {"router": http.client.HTTPConnection("127.0.0.1", 8000), "engine": http.client.HTTPConnection("engine-a", 8000)}
took = {way: [] for way in ways}
for _ in range(100):
    for way, connection in ways.items():
        began = time.perf_counter()
        connection.request("POST", "/v1/completions", body, headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        took[way].append((time.perf_counter() - began) * 1e3)
print(json.dumps({way: round(statistics.median(each), 2) for way, each in took.items()}))
"""
_numbers = itertools.count()


def trace(scale: Scale, kind: str) -> float:
    """Conversations of several turns, in turn, that nobody has had before: the share of their prompts' tokens that was
    found in a cache."""
    beginnings = [f"{next(_numbers):04d} " + "I have been to the harbour of this town. " * 24 for _ in range(SESSIONS)]
    told = [[beginning] for beginning in beginnings]
    before = scale.hits()
    for _ in range(TURNS):
        for index, turns in enumerate(told):
            if kind == "chat":
                answer = scale.chat(*turns, gateway=index % 2)
                said = answer.json()["choices"][0]["message"]["content"] or "-"
            else:
                body = {"model": MODEL, "prompt": "".join(turns), "max_tokens": 8, "temperature": 0}
                answer = requests.post(f"{scale.urls[index % 2]}/v1/completions", json=body, timeout=120)
                said = answer.json()["choices"][0]["text"]
            assert answer.status_code == 200, answer.text
            turns += [said, "And what did you see there then? Tell me."]
    after = scale.hits()
    return (after["hits"] - before["hits"]) / (after["queries"] - before["queries"])


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_two_engines_find_as_much_in_their_caches_as_one(scale: Scale, figures: dict[str, Any], kind: str) -> None:
    two = trace(scale, kind)
    scale.get("router", "8000/remove_worker?url=http://engine-b:8000", "POST")
    try:
        one = trace(scale, kind)
    finally:
        scale.get("router", "8000/add_worker?url=http://engine-b:8000", "POST")
    figures[f"prefix-cache hits, {kind}"] = {"two engines": round(two, 3), "one engine": round(one, 3)}
    assert two >= 0.95 * one


def test_the_router_passes_on(scale: Scale, figures: dict[str, Any]) -> None:
    code, out = scale.container("router").exec_run(["python", "-c", OVERHEAD])
    assert code == 0, out.decode()
    figures["one token, p50 in ms"] = json.loads(out)


def test_sixty_four_conversations_are_spread(scale: Scale, figures: dict[str, Any]) -> None:
    before = scale.routed()
    for number in range(64):
        answer = scale.chat(f"Conversation {number} of many. Hello!", gateway=number % 2, max_tokens=1)
        assert answer.status_code == 200, answer.text
    after = scale.routed()
    spread = sorted(after[engine] - before[engine] for engine in ENGINES)
    figures["64 conversations over two engines"] = spread
    assert spread[0] + spread[1] >= 64
    assert spread[1] <= 1.3 * spread[0]


def test_all_rounds_of_a_tool_loop_go_to_one_engine(scale: Scale) -> None:
    before = scale.routed()
    tools = [{"type": "mcp", "server_label": "files"}]
    answer = scale.chat("list the files in the workspace", tools=tools, max_tokens=256)
    assert answer.status_code == 200, answer.text
    metrics = "".join(requests.get(f"{url}/metrics", timeout=60).text for url in scale.urls)
    assert 'hearth_tool_calls_total{outcome="ok",server="files"' in metrics
    after = scale.routed()
    asked = sorted(after[engine] - before[engine] for engine in ENGINES)
    assert asked[0] == 0
    assert asked[1] >= 2


def test_a_response_and_what_follows_it_go_to_one_engine_whichever_gateway_is_asked(scale: Scale) -> None:
    before, previous = scale.routed(), None
    for turn in range(4):
        body = {"model": MODEL, "input": f"Turn {turn}.", "previous_response_id": previous, "max_output_tokens": 4}
        answer = requests.post(f"{scale.urls[turn % 2]}/v1/responses", json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        previous = answer.json()["id"]
    after = scale.routed()
    assert sorted(after[engine] - before[engine] for engine in ENGINES) == [0, 4]


def test_no_engine_is_bound_to_a_core(scale: Scale) -> None:
    """Both would be bound to the same one."""
    for engine in ENGINES:
        code, out = scale.container(engine).exec_run(
            ["sh", "-c", "grep -h Cpus_allowed_list /proc/[0-9]*/task/*/status | sort -u"]
        )
        assert code == 0, out.decode()
        assert len(out.splitlines()) == 1, out.decode()  # grep itself may use all that the container may
