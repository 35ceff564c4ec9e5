"""How far the log-probabilities that vLLM computes are from those that the manifest recorded (its canary).

Run as a script by the image's build, over the whole artifact: `score.py MODEL_DIR REPORTS_DIR` writes engine.json or
ends with status 1. It needs nothing but vLLM, so that a change of the launcher does not run it again.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPORT = "engine.json"


class CanaryError(RuntimeError):
    """vLLM computes something else from these weights than the reference did."""


@dataclass(frozen=True)
class Distance:
    """|Δ ln p| between reference and vLLM: the mean of each prompt, the mean and the worst of all tokens, and the
    highest share of its limit that a prompt's mean takes."""

    prompts: list[float]
    mean: float
    worst: float
    tokens: int
    share: float


def measure(
    expected: Sequence[Sequence[float]], computed: Sequence[Sequence[float]], limits: Sequence[float]
) -> Distance:
    """Compare ln p of every token but each prompt's first; a prompt that vLLM was given the beginning of counts so far.

    Raises CanaryError that names the first prompt whose mean is above its limit, or is no number.
    """
    if len(computed) != len(expected):
        raise CanaryError(f"canary: {len(computed)} of {len(expected)} prompts were answered")
    rows = []
    for index, (reference, row) in enumerate(zip(expected, computed, strict=True)):
        if not 1 <= len(row) <= len(reference):
            raise CanaryError(f"canary prompt {index}: {len(row)} log-probabilities to compare with {len(reference)}")
        rows.append([abs(theirs - ours) for theirs, ours in zip(reference, row, strict=False)])
    means = [sum(row) / len(row) for row in rows]
    for index, (mean, limit) in enumerate(zip(means, limits, strict=True)):
        if not mean <= limit:  # NaN is above every limit
            raise CanaryError(
                f"canary prompt {index}: log-probabilities differ by {mean:.4f} from the manifest's, at most {limit:g} "
                "is allowed: the weights, or the kernels that read them, are not those that were evaluated"
            )
    every = [difference for row in rows for difference in row]
    share = max(mean / limit for mean, limit in zip(means, limits, strict=True))
    return Distance(means, sum(every) / len(every), max(every), len(every), share)


def logprobs(prompt: Sequence[int], positions: Sequence[Any]) -> list[float]:
    """ln p of each prompt token but the first, out of vLLM's `prompt_logprobs` (objects, or from JSON)."""
    found = []
    for token, position in zip(prompt[1:], positions[1:], strict=True):
        entry = position[str(token)] if str(token) in position else position[token]
        found.append(float(entry["logprob"] if isinstance(entry, dict) else entry.logprob))
    return found


def main() -> None:
    folder, reports = map(Path, sys.argv[1:])
    manifest = json.loads((folder / "hearth.json").read_text("utf-8"))
    canary = manifest.get("canary")
    if canary is None:
        print("score: the manifest has no canary, there is nothing to compare with")
        return
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        print("score: vLLM's INT4 kernel needs a CPU with AVX-512; the engine unpacks the weights and asks the canary")
        return
    report = _run(folder, canary)
    (reports / REPORT).write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(
        f"score: {report['tokens']} tokens of {len(report['prompts'])} prompts, mean |Δ ln p| {report['mean']:.4f}, "
        f"worst {report['worst']:.4f}, {report['share_of_limit']:.0%} of a limit; {', '.join(report['kernels'])}"
    )


def _run(folder: Path, canary: dict[str, Any]) -> dict[str, Any]:
    """The report's content, as `quality` reads it."""
    # As the plan has it for CPUs: one process, nothing compiled, nothing fetched.
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_CPU_INT4_W4A8": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "",
    }
    import torch
    import vllm

    prompts = [list(prompt) for prompt in canary["prompts"]]
    llm = vllm.LLM(
        str(folder),
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=max(map(len, prompts)) + 1,
        max_num_seqs=len(prompts),
        kv_cache_memory_bytes=2**28,
        model_loader_extra_config={"enable_weights_track": True},
    )
    answers = llm.generate(
        [{"prompt_token_ids": prompt} for prompt in prompts],
        vllm.SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0),
        use_tqdm=False,
    )
    computed = [logprobs(prompt, answer.prompt_logprobs) for prompt, answer in zip(prompts, answers, strict=True)]
    distance = measure(canary["logprobs"], computed, canary["limits"])
    cache = llm.llm_engine.vllm_config.cache_config.cache_dtype
    return {
        "schema": 1,
        "prompts": distance.prompts,
        "mean": distance.mean,
        "worst": distance.worst,
        "tokens": distance.tokens,
        "share_of_limit": distance.share,
        "kernels": sorted(set().union(*llm.apply_model(_kernels))),
        "kv_cache": "bfloat16" if cache == "auto" else cache,
        "versions": {"vllm": vllm.__version__, "torch": torch.__version__},
    }


def _kernels(model: Any) -> set[str]:
    """Class names of the INT4 kernels that the model's linears chose."""
    methods: Iterable[Any] = (getattr(module, "quant_method", None) for module in model.modules())
    return {type(method.kernel).__name__ for method in methods if hasattr(method, "kernel")}


if __name__ == "__main__":
    try:
        main()
    except CanaryError as error:
        sys.exit(f"score: {error}")
