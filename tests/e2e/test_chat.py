"""The stack as its users meet it: the openai client and requests, through the gateway, to the INT4 model."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from openai import BadRequestError, NotFoundError, OpenAI

from .conftest import ROOT, Stack, wait_until

MODEL = "hearth-tiny"
FIXTURES = sorted((ROOT / "tests/fixtures/clients").glob("*.json"))


def test_a_plain_answer(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello!"}], max_tokens=16
    )
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert 1 <= answer.usage.completion_tokens <= 16
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_a_streamed_answer_arrives_in_pieces(openai: OpenAI) -> None:
    stream = openai.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello!"}], max_tokens=32, stream=True,
        stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
    )  # fmt: skip
    chunks = list(stream)
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) > 4
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["length"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 32


def test_greedy_decoding_repeats_itself_streamed_or_not(openai: OpenAI) -> None:
    ask = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 12, "temperature": 0}
    plain = openai.chat.completions.create(**ask).choices[0].message.content
    streamed = "".join(c.choices[0].delta.content or "" for c in openai.chat.completions.create(**ask, stream=True))
    assert plain == streamed


def test_the_second_turn_carries_the_first(openai: OpenAI) -> None:
    turns = [{"role": "user", "content": "My name is Ada."}]
    first = openai.chat.completions.create(model=MODEL, messages=turns, max_tokens=8)
    turns += [
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "My name?"},
    ]
    second = openai.chat.completions.create(model=MODEL, messages=turns, max_tokens=8)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.prompt_tokens > first.usage.prompt_tokens + first.usage.completion_tokens


def test_completions(openai: OpenAI) -> None:
    answer = openai.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=8)
    assert answer.choices[0].text
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 8


def test_models_shows_the_aliases(openai: OpenAI) -> None:
    assert {m.id for m in openai.models.list()} == {MODEL, "qwen3-4b-gptq"}
    assert openai.chat.completions.create(
        model="qwen3-4b-gptq", messages=[{"role": "user", "content": "Hi"}], max_tokens=2
    ).choices  # fmt: skip


def test_a_named_tool_choice_gives_a_valid_call(openai: OpenAI) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "pick",
            "description": "Pick a colour.",
            "strict": True,  # without it vLLM only asks for JSON of any shape
            "parameters": {
                "type": "object",
                "properties": {"colour": {"enum": ["red", "green"]}},
                "required": ["colour"],
                "additionalProperties": False,
            },
        },
    }
    answer = openai.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Pick one."}], tools=[tool], max_tokens=64,
        tool_choice={"type": "function", "function": {"name": "pick"}},
    )  # fmt: skip
    (call,) = answer.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments)["colour"] in ("red", "green")


def test_errors_have_openai_shape(openai: OpenAI) -> None:
    with pytest.raises(NotFoundError) as unknown:
        openai.chat.completions.create(model="nope", messages=[{"role": "user", "content": "Hi"}])
    assert "nope" in unknown.value.message
    with pytest.raises(BadRequestError) as bad:
        openai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}], temperature=9)
    assert bad.value.param == "temperature"


def post_fixture(url: str, path: Path) -> tuple[str, requests.Response]:
    headers = {"authorization": "Bearer sk-client", "content-type": "application/json", "x-stainless-timeout": "600"}
    return path.stem, requests.post(f"{url}/v1/chat/completions", data=path.read_bytes(), headers=headers, timeout=300)


def test_every_captured_client_is_served(stack: Stack) -> None:
    assert len(FIXTURES) == 7
    with ThreadPoolExecutor() as pool:
        answers = dict(pool.map(lambda path: post_fixture(stack.url, path), FIXTURES))
    image = answers.pop("ui-tars-step")
    assert image.status_code == 400
    assert "image" in image.json()["error"]["message"]
    for name, answer in answers.items():
        assert answer.status_code == 200, (name, answer.text)
        if json.loads((ROOT / f"tests/fixtures/clients/{name}.json").read_text()).get("stream"):
            events = [line for line in answer.text.splitlines() if line]
            assert events[-1] == "data: [DONE]", (name, events[-3:])
            assert not any('"error"' in event[:12] for event in events), name
        else:
            assert answer.json()["choices"][0]["finish_reason"], name


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_request_in_the_engine(stack: Stack, stream: bool) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Go on and on."}], "max_tokens": 3500,
            "stream": stream, "ignore_eos": True}  # fmt: skip
    before = stack.engine_metric("vllm:generation_tokens_total")
    timeout = (10, 60) if stream else (10, 2)
    try:
        answer = requests.post(f"{stack.url}/v1/chat/completions", json=body, stream=True, timeout=timeout)
        assert answer.status_code == 200, answer.text
        pieces = answer.iter_content(64)  # kept: a generator that is dropped closes the connection
        assert next(pieces)
        answer.close()
    except requests.ReadTimeout:
        assert not stream
    wait_until(lambda: stack.engine_metric("vllm:num_requests_running") == 0)
    produced = stack.engine_metric("vllm:generation_tokens_total")
    time.sleep(1)
    assert stack.engine_metric("vllm:generation_tokens_total") - produced <= 1  # the engine's own look at itself
    assert 0 < produced - before < body["max_tokens"], "it never began, or ran to its end"


def test_health_readiness_and_metrics(stack: Stack) -> None:
    assert requests.get(f"{stack.url}/healthz", timeout=10).status_code == 200
    assert requests.get(f"{stack.url}/readyz", timeout=60).status_code == 200
    text = requests.get(f"{stack.url}/metrics", timeout=10).text
    assert 'route="/v1/chat/completions"' in text


@pytest.mark.parametrize("path", ["/tokenize", "/load", "/version", "/pause", "/v1/../tokenize"])
def test_the_engines_other_paths_are_out_of_reach(stack: Stack, path: str) -> None:
    prepared = requests.Request("POST", stack.url, json={"prompt": "x"}).prepare()
    prepared.url = stack.url + path  # not normalised by the client
    answer = requests.Session().send(prepared, timeout=10)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


def test_smoke_passes_and_can_fail(stack: Stack, images: dict[str, str]) -> None:
    def smoke(url: str) -> tuple[int, str]:
        container = stack.client.containers.run(
            images["gateway"],
            ["smoke", "--url", url],
            network_mode="host",
            read_only=True,
            cap_drop=["ALL"],
            detach=True,
        )
        try:
            return container.wait()["StatusCode"], container.logs().decode()
        finally:
            container.remove(force=True)

    code, table = smoke(stack.url)
    assert code == 0, table
    assert "TTFT" in table
    assert {"search, Chinese", "list, then read", "command without end", "page"} <= {
        row.split("│")[1].strip() for row in table.splitlines() if "│ pass │" in row
    }
    assert smoke("http://127.0.0.1:1")[0] != 0
