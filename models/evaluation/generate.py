"""Writes the held-out text and tool prompts of the quality gates: python generate.py --corpus corpus.jsonl

dialogues.jsonl: long dialogues as calibration has them, in which no user says what one says there, and dialogues as
the demo model was trained on, with prompts from its held-out set. tools.jsonl: held-out prompts with the tool calls
they ask for. Neither calibration nor the demo model's training has seen what users say here; corpus.jsonl is what
../tiny/corpus.py writes.
"""
# ruff: noqa: E402, S311

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tiny"))

import dialogues
from train import calibration_module, read_corpus
from words import Json

SEED = 20261123
LONG, SHORT, PROMPTS = 24, 48, 100  # rows, dialogues, tool prompts a language
KINDS = ["search", "search", "choose", "choose", "two", "none"]


def said(row: Json) -> list[str]:
    return [message["content"] for message in row["messages"] if message["role"] == "user"]


def text(rng: Random) -> Iterator[Json]:
    long = calibration_module()
    calibrated = (HERE.parent / "calibration" / "dialogues.jsonl").read_text("utf-8").splitlines()
    seen = {text for row in calibrated for text in said(json.loads(row))}
    for number in range(LONG):
        one: Json = {}
        while not one or seen.intersection(said(one)):  # in Chinese only what tools are asked varies enough
            one = long.dialogue(rng, "zh" if number % 3 == 1 else "en", number % 3 == 1 or number % 4 == 0)
        seen.update(said(one))
        yield one
    for _ in range(SHORT):
        one = dialogues.dialogue(rng, held=True)
        yield {"messages": one["messages"]} | ({"tools": one["tools"]} if one["tools"] else {})


def prompts(rng: Random) -> Iterator[Json]:
    for number in range(PROMPTS):
        yield dialogues.tool_prompt(rng, "en", KINDS[number % len(KINDS)], number)
        yield dialogues.tool_prompt(rng, "zh", KINDS[number % len(KINDS)], number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    read_corpus(parser.parse_args().corpus, only_words=True)
    rng = Random(SEED)
    for name, rows in (("dialogues.jsonl", text(rng)), ("tools.jsonl", prompts(rng))):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (HERE / name).write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
