"""Load by vLLM's own generator (`vllm bench serve`): requests of random tokens, streamed, each to its full length."""

import argparse
import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hearth_engine.bench.figures import Load
from hearth_engine.bench.meter import Meter, metered
from hearth_engine.bench.variants import PORT, Variant


class LoadError(RuntimeError):
    """Not every request was answered."""


class Shape(BaseModel):
    """`requests` of `prompt` and `answer` tokens, `concurrency` at a time; the first `prefix` tokens of a prompt are
    the same in all of them."""

    model_config = ConfigDict(frozen=True)

    concurrency: int
    requests: int
    prompt: int
    answer: int
    prefix: int = 0


class Shapes(BaseModel):
    """All loads of a run."""

    model_config = ConfigDict(frozen=True)

    loads: tuple[Shape, ...]
    prompts: tuple[Shape, ...]
    turn: Shape


def shapes(device: Literal["cpu", "cuda"], context: int) -> Shapes:
    """What is asked of a device; prompts are cut to the context. A CPU gets fewer and shorter requests: minutes, not
    hours, and the same code."""
    if device == "cuda":
        sizes, prompt, answer, long, turn = {1: 8, 16: 64, 64: 256}, 256, 256, (2048, 30_000), (2800, 256)
    else:
        sizes, prompt, answer, long, turn = {1: 4, 4: 12, 16: 48}, 128, 32, (1024, 3500), (1400, 128)
    room = context - answer - 64  # words that are written and read again may become a few tokens more
    return Shapes(
        loads=tuple(
            Shape(concurrency=streams, requests=requests, prompt=prompt, answer=answer)
            for streams, requests in sizes.items()
        ),
        prompts=tuple(Shape(concurrency=1, requests=3, prompt=min(tokens, room), answer=8) for tokens in long),
        turn=Shape(concurrency=1, requests=6, prompt=sum(turn), answer=8, prefix=turn[0]),
    )


def put(shape: Shape, variant: Variant, meter: Meter, seed: int) -> Load:
    """Put one load on a running variant. Equal seeds give equal prompts, which the prefix cache knows.

    Raises LoadError.
    """
    from vllm.benchmarks import serve

    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)
    arguments = parser.parse_args(_flags(shape, variant, seed))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        result, joules = metered(meter, lambda: serve.main(arguments))
    if result["completed"] != shape.requests:
        raise LoadError(f"{result['completed']} of {shape.requests} requests were answered:\n{said.getvalue()[-1000:]}")
    return read(shape, result, joules)


def read(shape: Shape, result: Mapping[str, Any], joules: float | None) -> Load:
    """vLLM's result of a load as figures."""
    return Load(
        concurrency=shape.concurrency,
        requests=shape.requests,
        prompt_tokens=round(result["total_input_tokens"] / shape.requests),
        answer_tokens=round(result["total_output_tokens"] / shape.requests),
        ttft_ms=result["median_ttft_ms"],
        ttft_p99_ms=result["p99_ttft_ms"],
        tpot_ms=result["median_tpot_ms"],
        tpot_p99_ms=result["p99_tpot_ms"],
        tokens_per_s=result["output_throughput"],
        joules_per_token=None if joules is None else joules / result["total_output_tokens"],
    )


def _flags(shape: Shape, variant: Variant, seed: int) -> Sequence[str]:
    common = {
        "--host": "127.0.0.1",
        "--port": PORT,
        "--model": variant.model_dir,
        "--served-model-name": variant.served_name,
        "--num-prompts": shape.requests,
        "--max-concurrency": shape.concurrency,
        "--seed": seed,
        "--temperature": 0,
        # They take what happens once, and leave a shared prefix in the cache.
        "--num-warmups": min(shape.concurrency, 2),
    }
    if shape.prefix:
        lengths = {
            "--dataset-name": "prefix_repetition",
            "--prefix-repetition-num-prefixes": 1,
            "--prefix-repetition-prefix-len": shape.prefix,
            "--prefix-repetition-suffix-len": shape.prompt - shape.prefix,
            "--prefix-repetition-output-len": shape.answer,
        }
    else:
        lengths = {
            "--dataset-name": "random",
            "--random-input-len": shape.prompt,
            "--random-output-len": shape.answer,
        }
    values = [str(word) for pair in (common | lengths).items() for word in pair]
    return ["--ignore-eos", "--disable-tqdm", *values]
