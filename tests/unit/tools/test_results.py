"""Results as text, within a budget of tokens, and the rest of them."""

import random
from typing import Any

import pytest
from mcp_types import CallToolResult
from tests.unit.tools.conftest import TINY
from tokenizers import Tokenizer

from hearth_gateway.tools.config import ResultsConfig
from hearth_gateway.tools.results import READ_RESULT, Results, measure, render

TOKENIZER = Tokenizer.from_file(str(TINY / "tokenizer.json"))


def tokens(text: str) -> int:
    return len(TOKENIZER.encode(text, add_special_tokens=False).ids)


def result(*content: dict[str, Any], **more: Any) -> CallToolResult:
    return CallToolResult.model_validate({"content": list(content)} | more)


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def media(kind: str, mime_type: str) -> dict[str, Any]:
    return {"type": kind, "data": "aGVsbG8h", "mimeType": mime_type}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (result(text("a"), text("b")), "a\nb"),
        (result(), "(no output)"),
        (result(text("")), "(no output)"),
        (result(text("{}"), structuredContent={"a": 1}), "{}"),
        (result(structuredContent={"a": "ä"}), '{"a":"ä"}'),
        (result(text("no"), isError=True), "Error: no"),
        (result(text("Error: no"), isError=True), "Error: no"),
        (result(media("image", "image/png")), "[image, image/png, 6 bytes: not shown]"),
        (result(media("audio", "audio/wav")), "[audio, audio/wav, 6 bytes: not shown]"),
        (
            result({"type": "resource_link", "uri": "file:///a", "name": "a", "description": "b"}),
            "[resource file:///a: a b]",
        ),
        (result({"type": "resource", "resource": {"uri": "file:///a", "text": "b"}}), "[resource file:///a]\nb"),
        (
            result({"type": "resource", "resource": {"uri": "file:///a", "blob": "aGVsbG8h"}}),
            "[resource file:///a, unknown type, 6 bytes: not shown]",
        ),
    ],
)  # fmt: skip
def test_everything_becomes_text(given: CallToolResult, expected: str) -> None:
    assert render(given) == expected


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert render(result(text("a\ud800b"))) == "a?b"


def counted(value: str, budget: int, count: Any = tokens) -> tuple[int, int]:
    """(characters that fit, how many texts were counted)"""
    measuring, asked = measure(value, budget), 0
    try:
        piece = next(measuring)
        while True:
            asked += 1
            piece = measuring.send(count(piece))
    except StopIteration as stop:
        return stop.value, asked


def test_short_results_are_not_counted() -> None:
    assert counted("x" * 500, 500) == (500, 0)
    assert counted("字" * 166, 500) == (166, 0)


SAMPLES = {
    "English": "The quick brown fox jumps over the lazy dog. " * 900,
    "Chinese": "人工智能发展趋势。" * 3000,
    "lines": "\n".join(f"{number} a line of words" for number in range(4000)),
    "noise": "".join(random.Random(1).choices("abcdefghij0123456789{}[]", k=40_000)),
    "no spaces": "=" * 50_000,
    "a short one that fits after all": "The quick brown fox " * 60,
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("budget", [200, 1000])
def test_the_budget_is_kept_and_used(name: str, budget: int) -> None:
    sample = SAMPLES[name]
    end, asked = counted(sample, budget)
    assert tokens(sample[:end]) <= budget
    assert end == len(sample) or tokens(sample[:end]) > budget * 0.5
    assert asked <= 4


def test_an_engine_that_does_not_count_costs_only_length() -> None:
    assert counted("x" * 1000, 200, lambda _: None) == (200, 1)
    assert counted("字" * 1000, 200, lambda _: None) == (66, 1)


def test_a_cut_is_between_lines_or_words() -> None:
    end, _ = counted(SAMPLES["lines"], 200)
    assert SAMPLES["lines"][end - 1] == "\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def count(value: str) -> int:
    return tokens(value)


def kept(clock: Clock, **limits: Any) -> Results:
    return Results(ResultsConfig(**limits), count, clock)


def handle_of(cut: str) -> str:
    return cut.split('handle="')[1].split('"')[0]


async def test_what_was_cut_can_be_read_to_its_end() -> None:
    results, whole = kept(Clock()), SAMPLES["English"][:9000]
    cut = await results.cut(whole, 500, "ann")
    read, note = cut.rsplit("\n\n[", 1)
    assert note == f'Cut here: characters 0 to {len(read)} of 9000. Read on with hearth_read_result(handle="' + (
        f'{handle_of(cut)}", offset={len(read)}).]'
    )
    while not note.endswith("the end of the result.]"):
        more, is_error = await results.read({"handle": handle_of(cut), "offset": len(read)}, 500, "ann")
        assert not is_error
        part, note = more.rsplit("\n\n[", 1)
        read += part
    assert read == whole


async def test_the_same_result_has_the_same_handle() -> None:
    results = kept(Clock())
    first = await results.cut(SAMPLES["lines"], 200, "ann")
    assert await results.cut(SAMPLES["lines"], 200, "ann") == first
    assert handle_of(await results.cut(SAMPLES["lines"] + "!", 200, "ann")) != handle_of(first)


async def test_what_fits_is_left_alone() -> None:
    assert await kept(Clock()).cut("short", 200, "ann") == "short"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"handle": "nope"}, "there is no result nope"),
        ({}, "there is no result None"),
        ({"offset": -1}, "offset should be between 0 and 49999"),
        ({"offset": 50_000}, "offset should be between 0 and 49999"),
        ({"offset": "1"}, "offset should be between 0 and 49999"),
        ({"find": "zebra"}, "does not have that text after offset 0"),
    ],
)
async def test_what_cannot_be_read_is_an_error(arguments: dict[str, Any], error: str) -> None:
    results = kept(Clock())
    handle = handle_of(await results.cut(SAMPLES["no spaces"], 200, "ann"))
    given = ({"handle": handle} if arguments.keys() - {"handle"} else {}) | arguments
    told, is_error = await results.read(given, 200, "ann")
    assert is_error
    assert error in told
    assert told.startswith("Error: ")


async def test_only_whose_call_it_was_can_read_on() -> None:
    results = kept(Clock())
    handle = handle_of(await results.cut(SAMPLES["lines"], 200, "ann"))
    assert (await results.read({"handle": handle}, 200, "bob"))[1]
    assert not (await results.read({"handle": handle}, 200, "ann"))[1]


async def test_results_go_after_their_time_and_stay_when_read() -> None:
    clock = Clock()
    results = kept(clock, seconds=10)
    old = handle_of(await results.cut(SAMPLES["lines"], 200, "ann"))
    read = handle_of(await results.cut(SAMPLES["noise"], 200, "ann"))
    clock.now = 9
    assert not (await results.read({"handle": read}, 200, "ann"))[1]
    clock.now = 11
    assert (await results.read({"handle": old}, 200, "ann"))[1]
    assert not (await results.read({"handle": read}, 200, "ann"))[1]


async def test_memory_is_bounded() -> None:
    results = kept(Clock(), megabytes=1)
    handles = [handle_of(await results.cut(f"{number} " + "=" * 400_000, 200, "ann")) for number in range(5)]
    there = [not (await results.read({"handle": handle}, 200, "ann"))[1] for handle in handles]
    assert there == [False, False, False, True, True]
    cut = await results.cut("=" * 2**20 + "!", 200, "ann")
    assert cut.endswith("The rest is too large to be kept: ask the tool for less.]")


def test_the_tool_that_reads_on_is_described() -> None:
    assert READ_RESULT.function()["function"]["parameters"]["required"] == ["handle"]
