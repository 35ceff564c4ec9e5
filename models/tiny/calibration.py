"""Writes calibration.jsonl, what the demo model is calibrated on beside ../calibration.

    python calibration.py --corpus corpus.jsonl

Dialogues of the kind it was trained on, not held out, long enough for a calibration sample: most offer tools.
"""
# ruff: noqa: S311

import argparse
import json
from pathlib import Path
from random import Random

import dialogues
import render
from tokenizers import Tokenizer
from train import read_corpus

HERE = Path(__file__).parent
SEED, ROWS, SHORTEST = 20261124, 512, 300  # tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    read_corpus(parser.parse_args().corpus, only_words=True)
    bpe, rng, lines = Tokenizer.from_file(str(HERE / "model" / "tokenizer.json")), Random(SEED), list[str]()
    while len(lines) < ROWS:
        one = dialogues.dialogue(rng)
        text = "".join(part for part, _ in render.segments(one["messages"], one["tools"]))
        if SHORTEST <= len(bpe.encode(text, add_special_tokens=False).ids) <= 2 * SHORTEST:
            row = {"messages": one["messages"]} | ({"tools": one["tools"]} if one["tools"] else {})
            lines.append(json.dumps(row, ensure_ascii=False))
    (HERE / "calibration.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
