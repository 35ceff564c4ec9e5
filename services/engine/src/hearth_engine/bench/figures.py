"""What a run of the benchmark found, as it is written to bench.json, and whether the stack's promises hold. Pure."""

from collections.abc import Sequence
from statistics import median
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hearth_engine.bench.variants import Name
from hearth_engine.memory import GIB

# The promises, for a card with 32k of context.
MEMORY_LIMIT = 6 * GIB
TOKEN_LIMIT_MS = 80.0
START_LIMIT_S = 15.0
SCHEMA: Literal[2] = 2
_REPEATED = ("ttft_ms", "ttft_p99_ms", "tpot_ms", "tpot_p99_ms", "tokens_per_s", "joules_per_token")


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True)


class Stage(_Figures):
    """One part of a start, in seconds."""

    name: str
    seconds: float


class Start(_Figures):
    """Seconds from the process to its first token, and the parts that they are made of."""

    ready_s: float
    stages: list[Stage]


class Load(_Figures):
    """Requests of one shape, as many at a time as `concurrency`: token counts a request, times in ms at p50 and p99,
    output tokens a second of all together, and joules an output token where the device tells."""

    concurrency: int
    requests: int
    prompt_tokens: int
    answer_tokens: int
    ttft_ms: float
    ttft_p99_ms: float
    tpot_ms: float
    tpot_p99_ms: float
    tokens_per_s: float
    joules_per_token: float | None = None
    noise: dict[str, float] = {}
    """By figure, where the load was repeated: half the range of the repeats, as a share of their median."""


class Run(_Figures):
    """One variant. Sizes in bytes; memory is the device's in all on a GPU, that of the engine's processes on a CPU."""

    name: Name
    title: str
    weights_bytes: int
    start: Start
    memory_ready: int
    memory_loaded: int
    loads: list[Load]
    prompts: list[Load]
    """Long prompts, one at a time."""
    turn: Load
    """The fifth turn of a conversation whose four before are in the prefix cache."""

    @property
    def single(self) -> Load:
        return self.loads[0]


class Verdict(_Figures):
    """A promise, what was measured of it, and whether it holds; None where this machine cannot say."""

    promise: str
    measured: str
    holds: bool | None


class Report(_Figures):
    """Everything; `context` in tokens."""

    schema_: Literal[2] = Field(default=SCHEMA, alias="schema")
    date: str
    model: str
    hardware: str
    device: Literal["cpu", "cuda"]
    context: int
    versions: dict[str, str]
    runs: list[Run]
    missing: dict[Name, str] = {}
    """Variants that did not start or broke off, and why."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def run(self, name: Name) -> Run | None:
        return next((run for run in self.runs if run.name == name), None)


def together(repeats: Sequence[Load]) -> Load:
    """Repeats of one load as one: the median of each figure, and its noise."""
    if len(repeats) == 1:
        return repeats[0]
    found, noise = dict[str, float](), dict[str, float]()
    for name in _REPEATED:
        values = [value for load in repeats if (value := getattr(load, name)) is not None]
        if len(values) == len(repeats):
            found[name] = median(values)
            noise[name] = (max(values) - min(values)) / 2 / found[name] if found[name] else 0.0
    return repeats[0].model_copy(update={**found, "noise": noise})


def verdicts(report: Report) -> list[Verdict]:
    """The promises beside hearth's own run, and beside none where it is missing."""
    run = report.run("hearth")
    if run is None:
        return []
    memory = max(run.memory_ready, run.memory_loaded)
    slowest = max(load.tpot_ms for load in [run.single, *run.prompts])
    on_gpu = report.device == "cuda"
    return [
        Verdict(
            promise=f"device memory ≤ 6 GiB with {report.context} tokens of context",
            measured=f"{memory / GIB:.2f} GiB" if on_gpu else "no GPU",
            holds=memory <= MEMORY_LIMIT if on_gpu else None,
        ),
        Verdict(promise="< 80 ms a token", measured=f"{slowest:.1f} ms", holds=slowest < TOKEN_LIMIT_MS),
        Verdict(
            promise="ready in < 15 s", measured=f"{run.start.ready_s:.1f} s", holds=run.start.ready_s < START_LIMIT_S
        ),
    ]


def ratio(report: Report, name: Name, of: Name, concurrency: int) -> float | None:
    """Output tokens a second of one variant to another's at as many requests at a time."""
    values = [
        next((load.tokens_per_s for load in run.loads if load.concurrency == concurrency), None) if run else None
        for run in (report.run(name), report.run(of))
    ]
    return values[0] / values[1] if values[0] and values[1] else None
