"""What a client may ask of the engine: the rules, one by one."""

import json
from pathlib import Path
from typing import Any

import pytest

from hearth_gateway.catalog import Catalog
from hearth_gateway.errors import Problem
from hearth_gateway.request import CHAT, COMPLETIONS, Endpoint, clean, parse
from hearth_gateway.settings import Settings

CATALOG = Catalog(names=("hearth-tiny", "qwen3-4b-gptq"), context_length=4096)
HELLO = [{"role": "user", "content": "hello"}]
CLIENTS = Path(__file__).parents[2] / "fixtures" / "clients"


def sent(
    endpoint: Endpoint = CHAT, *, catalog: Catalog = CATALOG, settings: Settings | None = None, **body: Any
) -> dict[str, Any]:
    """What the engine gets for a minimal request with `body` added."""
    minimal = {"messages": HELLO} if endpoint is CHAT else {"prompt": "hello"}
    raw = json.dumps({"model": "hearth-tiny"} | minimal | body).encode()
    return json.loads(clean(parse(raw), endpoint, catalog, settings or Settings()))


def problem(endpoint: Endpoint = CHAT, **arguments: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        sent(endpoint, **arguments)
    return caught.value


class TestForwarded:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("temperature", 0.7), ("top_p", 0.9), ("top_k", 20), ("min_p", 0.1), ("seed", 1), ("stop", ["\n"]),
            ("presence_penalty", 0.5), ("frequency_penalty", 0.5), ("repetition_penalty", 1.1), ("n", 2),
            ("logit_bias", {"5": 1}), ("logprobs", True), ("top_logprobs", 3), ("stream", True), ("max_tokens", 16),
            ("stream_options", {"include_usage": True}), ("max_completion_tokens", 16), ("ignore_eos", True),
            ("tools", [{"type": "function", "function": {"name": "f"}}]), ("parallel_tool_calls", False),
            ("reasoning_effort", "low"), ("response_format", {"type": "json_object"}), ("stop_token_ids", [5]),
            ("structured_outputs", {"choice": ["yes", "no"]}), ("skip_special_tokens", False),
        ],
    )  # fmt: skip
    def test_parameters_the_engine_may_see(self, name: str, value: Any) -> None:
        assert sent(**{name: value})[name] == value

    def test_messages_keep_their_order_and_every_field(self) -> None:
        messages = [
            {"role": "system", "content": "be brief"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "done"}]},
        ]
        assert sent(messages=messages)["messages"] == messages

    def test_completions_take_one_prompt(self) -> None:
        assert sent(COMPLETIONS, prompt="once")["prompt"] == "once"
        assert sent(COMPLETIONS, prompt=["once"])["prompt"] == ["once"]

    def test_chat_parameters_are_no_completion_parameters(self) -> None:
        assert "tools" not in sent(COMPLETIONS, tools=[{}])


class TestDropped:
    @pytest.mark.parametrize("name", ["thinking", "stop_sequences", "store", "metadata", "user", "request_id", "Model"])
    def test_what_nobody_here_knows(self, name: str) -> None:
        assert name not in sent(**{name: {"type": "disabled"}})

    @pytest.mark.parametrize("name", ["seed", "stop", "tools", "max_tokens", "response_format", "n", "chat_template"])
    def test_nulls(self, name: str) -> None:
        assert name not in sent(**{name: None})

    @pytest.mark.parametrize(("name", "inert"), [("echo", False), ("min_tokens", 0), ("bad_words", []), ("suffix", ""),
                                                 ("best_of", 1)])  # fmt: skip
    def test_refused_parameters_that_ask_for_nothing(self, name: str, inert: Any) -> None:
        assert name not in sent(COMPLETIONS, **{name: inert})

    def test_an_empty_tool_list_and_the_choice_among_it(self) -> None:
        body = sent(tools=[], tool_choice="auto")
        assert "tools" not in body
        assert "tool_choice" not in body


class TestRefused:
    @pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS], ids=["chat", "completions"])
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("chat_template", "{{ 1 }}"), ("chat_template_kwargs", {"a": 1}), ("best_of", 2), ("echo", True),
            ("prompt_logprobs", 5), ("bad_words", ["x"]), ("min_tokens", 5), ("cache_salt", "x"),
            ("kv_transfer_params", {"a": 1}), ("ec_transfer_params", {"a": 1}), ("prompt_embeds", "AAAA"),
            ("logprob_token_ids", [1]), ("allowed_token_ids", [1]), ("use_beam_search", True), ("priority", 1),
            ("mm_processor_kwargs", {"a": 1}), ("media_io_kwargs", {"a": {}}), ("vllm_xargs", {"a": 1}),
            ("truncate_prompt_tokens", 5), ("continue_final_message", True), ("documents", [{}]), ("suffix", "x"),
            ("guided_json", {"type": "object"}), ("guided_regex", "a+"), ("functions", [{}]),
        ],
    )  # fmt: skip
    def test_dangerous_parameters_by_name(self, endpoint: Endpoint, name: str, value: Any) -> None:
        refused = problem(endpoint, **{name: value})
        assert (refused.status, refused.param, refused.code) == (400, name, "unsupported_parameter")
        assert name in refused.message

    @pytest.mark.parametrize("n", [5, 0, -1, 16384, "2", 2.0, True])
    def test_n_is_a_whole_number_within_the_setting(self, n: Any) -> None:
        refused = problem(n=n)
        assert (refused.status, refused.param) == (400, "n")
        assert "between 1 and 4" in refused.message

    def test_the_cap_of_n_is_a_setting(self) -> None:
        assert sent(n=8, settings=Settings(max_choices=8))["n"] == 8

    @pytest.mark.parametrize("count", [-1, 21, "5"])  # to the engine, -1 is the whole vocabulary
    def test_logprobs_are_bounded(self, count: Any) -> None:
        assert problem(top_logprobs=count).param == "top_logprobs"
        assert problem(COMPLETIONS, logprobs=count).param == "logprobs"

    @pytest.mark.parametrize("prompt", [["a", "b"], [], [1, 2, 3], [[1, 2], [3]], 5, {}, [["a"]]])
    def test_prompts_other_than_one_string(self, prompt: Any) -> None:
        assert problem(COMPLETIONS, prompt=prompt).param == "prompt"

    @pytest.mark.parametrize(
        "messages",
        [[], "hello", {}, ["hello"], [None], *([{"role": "user", "content": bad}] for bad in ({"a": 1}, 5, True, [5]))],
    )
    def test_messages_that_are_none(self, messages: Any) -> None:
        refused = problem(messages=messages)
        assert (refused.status, refused.code) == (400, "invalid_type")
        assert (refused.param or "").startswith("messages")


class TestModel:
    def test_every_served_name_is_accepted(self) -> None:
        assert sent(model="qwen3-4b-gptq")["model"] == "qwen3-4b-gptq"

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_no_name_is_the_served_one(self, nothing: Any) -> None:
        assert sent(model=nothing)["model"] == "hearth-tiny"

    def test_another_name_is_404_and_tells_which_are_served(self) -> None:
        unknown = problem(model="gpt-4")
        assert (unknown.status, unknown.code, unknown.param) == (404, "model_not_found", "model")
        assert "hearth-tiny, qwen3-4b-gptq" in unknown.message

    def test_what_is_no_name_is_400(self) -> None:
        assert problem(model=5).status == 400

    def test_while_the_catalog_is_empty_the_engine_decides(self) -> None:
        assert sent(model="mock-0", catalog=Catalog())["model"] == "mock-0"
        assert sent(model=None, catalog=Catalog()).get("model") is None


class TestContext:
    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
    @pytest.mark.parametrize("asked", [4097, 65_535, 10**30, 65_535.0])
    def test_an_answer_longer_than_the_context_is_clamped_to_it(self, name: str, asked: float) -> None:
        assert sent(**{name: asked})[name] == 4096

    def test_completions_are_clamped_too_not_left_to_the_engines_default_of_16(self) -> None:
        assert sent(COMPLETIONS, max_tokens=65_535)["max_tokens"] == 4096

    @pytest.mark.parametrize("asked", [1, 4096])
    def test_an_answer_within_the_context_is_left_to_the_engine(self, asked: int) -> None:
        assert sent(max_tokens=asked)["max_tokens"] == asked

    def test_an_unknown_context_clamps_nothing(self) -> None:
        assert sent(max_tokens=65_535, catalog=Catalog())["max_tokens"] == 65_535


def part(kind: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, {"type": kind} | fields]}]


PNG = "data:image/png;base64,iVBORw0KGgo="


class TestContent:
    @pytest.mark.parametrize("kind", ["image_url", "input_audio", "video_url", "audio_url", "file", "image_embeds",
                                      "prompt_embeds", "input_image", "nonsense"])  # fmt: skip
    def test_a_text_model_refuses_other_parts_and_says_what_it_reads(self, kind: str) -> None:
        refused = problem(messages=part(kind, **{kind: {"url": PNG}}))
        assert (refused.status, refused.code) == (400, "unsupported_content")
        assert f"reads text only, it cannot take a part of type {kind}" in refused.message

    @pytest.mark.parametrize("fields", [{"image_url": PNG}, {"uuid": "1"}, {"uuid": "1", "image_url": PNG}])
    def test_media_does_not_hide_in_a_text_part(self, fields: dict[str, Any]) -> None:
        assert problem(messages=part("text", text="", **fields)).status == 400

    def test_a_part_without_type_is_refused(self) -> None:  # the engine would guess one from its keys
        assert problem(messages=[{"role": "user", "content": [{"image_url": PNG}]}]).status == 400

    def test_a_model_that_reads_images_gets_them(self) -> None:
        messages = part("image_url", image_url={"url": PNG, "detail": "auto"})
        assert sent(messages=messages, settings=Settings(modalities=["text", "image"]))["messages"] == messages

    @pytest.mark.parametrize("url", ["http://169.254.169.254/", "https://example.org/a.png", "file:///etc/passwd", 5])
    def test_even_then_nothing_is_fetched(self, url: Any) -> None:
        settings = Settings(modalities=["text", "image"])
        assert "data:" in problem(messages=part("image_url", image_url={"url": url}), settings=settings).message
        assert "data:" in problem(messages=part("image_url", image_url=url), settings=settings).message


class TestStructuredOutput:
    @pytest.mark.parametrize("kind", ["structural_tag", "regex", None])
    def test_only_openais_formats(self, kind: Any) -> None:
        assert problem(response_format={"type": kind}).param == "response_format"

    def test_schemas_are_bounded(self) -> None:
        schema = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(5000)}}
        refused = problem(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
        assert refused.param == "response_format"
        assert "at most 65536" in refused.message
        assert problem(structured_outputs={"json": schema}).param == "structured_outputs"

    @pytest.mark.parametrize("name", ["regex", "grammar"])
    def test_patterns_are_bounded_more_tightly(self, name: str) -> None:
        assert problem(structured_outputs={name: "a" * 3000}).param == f"structured_outputs.{name}"
        assert sent(structured_outputs={name: "a+"})["structured_outputs"] == {name: "a+"}

    @pytest.mark.parametrize("value", [{"structural_tag": "x"}, "x", ["json"]])
    def test_other_constraints_are_refused(self, value: Any) -> None:
        assert problem(structured_outputs=value).param == "structured_outputs"

    @pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
    def test_tools_are_bounded_where_they_become_a_grammar(self, choice: Any) -> None:
        tools = [{"type": "function", "function": {"name": "f", "description": "x" * 70_000}}]
        assert problem(tools=tools, tool_choice=choice).param == "tools"
        assert sent(tools=tools, tool_choice="auto")["tools"] == tools


class TestJson:
    @pytest.mark.parametrize(
        "raw",
        [b"", b"{", b"nonsense", b'{"model": NaN}', b'{"a": Infinity}', b'{"a": "\xff"}', b'{"a": "\\ud83d"}', b"[]",
         b'"text"', b"null", b"[" * 100_000, b'{"a":' * 2000 + b"1" + b"}" * 2000],
    )  # fmt: skip
    def test_what_is_not_an_object_is_400(self, raw: bytes) -> None:
        with pytest.raises(Problem) as caught:
            clean(parse(raw), CHAT, CATALOG, Settings())
        assert (caught.value.status, caught.value.code) == (400, "invalid_json")

    @pytest.mark.parametrize("name", ["tools", "response_format", "stop"])
    def test_deep_nesting_is_400(self, name: str) -> None:
        deep = b"[" * 500 + b"]" * 500
        fixed = b'{"type": "json_schema", "json_schema": %s}' % deep if name == "response_format" else deep
        raw = b'{"messages": [{"role": "user", "content": ""}], "%s": %s}' % (name.encode(), fixed)
        with pytest.raises(Problem, match="nested too deep"):
            clean(parse(raw), CHAT, CATALOG, Settings())

    def test_of_repeated_keys_the_engine_sees_the_one_that_was_checked(self) -> None:
        raw = b'{"n": 100, "messages": [{"role": "user", "content": ""}], "n": 1}'
        assert clean(parse(raw), CHAT, Catalog(), Settings()).count(b'"n"') == 1


@pytest.mark.parametrize("path", sorted(CLIENTS.glob("*.json")), ids=lambda path: path.stem)
def test_requests_of_real_clients(path: Path) -> None:
    raw = path.read_bytes()
    if path.stem == "ui-tars-step":
        with pytest.raises(Problem, match="reads text only"):
            clean(parse(raw), CHAT, CATALOG, Settings())
        return
    given, body = json.loads(raw), json.loads(clean(parse(raw), CHAT, CATALOG, Settings()))
    dropped = {"thinking", "stop_sequences"}
    expected = {name: value for name, value in given.items() if name not in dropped}
    if "max_tokens" in expected:
        expected["max_tokens"] = min(expected["max_tokens"], 4096)
    assert body == expected
