"""What an INT4 artifact lost: figures from arrays, the verdict on them, and the report that holds both.

Pure, and without torch: the engine reads reports with it. KL divergences are in nats, of the source's next-token
distribution from the other's; shares are fractions of 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hearth_quantizer.recipe import Limits

Ratios = NDArray[np.float64]
Flags = NDArray[np.bool_]
Item = TypeVar("Item")
HISTOGRAM = np.linspace(-8, 2, 51)  # log10 of a token's KL divergence
CANARY_TOKENS = 64


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class TextScores(_Part):
    """One variant of the model on the held-out text; the source's own divergence is 0 and its agreement 1."""

    perplexity: float
    kl_mean: float
    kl_p999: float
    top1: float


class Scores(TextScores):
    """… and the share of held-out tool prompts that it answers right."""

    tool_match: float


class Metrics(_Part):
    """The 16 bit source, the INT4 artifact, and the source rounded to nearest on the same grid."""

    fp: Scores
    int4: Scores
    rtn: Scores


class Interval(_Part):
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class ToolDifference(_Part):
    """INT4's tool match less the source's, prompt by prompt."""

    all: Interval
    by_language: dict[str, Interval]


class Position(_Part):
    """Share of tokens from position `start` to before `end` where the source's favourite stays the favourite."""

    start: int
    end: int
    int4: float
    rtn: float


class Histogram(_Part):
    """Tokens by log10 of their KL divergence; what lies outside the edges is in the outermost bins."""

    edges: tuple[float, ...]
    int4: tuple[int, ...]
    rtn: tuple[int, ...]


class WorstText(_Part):
    """The token of a text row that diverges most: what stands before it, what comes, and what each would have said."""

    row: int
    kl_row: float
    kl_token: float
    context: str
    actual: str
    fp: str
    int4: str


class WorstTool(_Part):
    """A tool prompt that the two answer differently or that INT4 gets wrong, with both answers."""

    id: str
    lang: str
    kind: str
    prompt: str
    expected: str
    fp: str
    int4: str
    fp_right: bool
    int4_right: bool


class Measured(_Part):
    """Everything that was measured, before any verdict."""

    device: str
    precision: str = Field(description="of activations and dense weights while measuring")
    text_rows: int
    text_tokens: int
    tool_prompts: dict[str, int] = Field(description="by language")
    metrics: Metrics
    tools: dict[str, dict[str, float]] = Field(description="language -> fp, int4, rtn -> tool match")
    tools_by_kind: dict[str, dict[str, float]]
    tool_difference: ToolDifference
    layers: tuple[float, ...] = Field(description="mean KL divergence with this one layer quantized")
    positions: tuple[Position, ...]
    histogram: Histogram
    worst_text: tuple[WorstText, ...]
    worst_tools: tuple[WorstTool, ...]


class Gate(_Part):
    """One limit: what was measured, what is allowed, and what to try where it is missed."""

    name: str
    title: str
    measured: float
    limit: float
    rule: Literal["at most", "at least"]
    passed: bool
    advice: str


class Report(Measured):
    """reports/quality.json."""

    version: Literal[1] = Field(default=1, alias="schema")
    model: str
    backend: str
    passed: bool
    gates: tuple[Gate, ...]
    versions: dict[str, str]


class Summary(_Part):
    """What the manifest keeps of a report."""

    passed: bool
    metrics: Metrics
    tool_difference: Interval
    gates: tuple[Gate, ...]


@dataclass(frozen=True)
class Tokens:
    """One variant on the held-out text; an element a predicted token, in the same order for all variants."""

    nll: Ratios
    top: NDArray[np.int64]
    kl: Ratios


def text_scores(tokens: Tokens, source: Tokens) -> TextScores:
    return TextScores(
        perplexity=float(np.exp(tokens.nll.mean())),
        kl_mean=float(tokens.kl.mean()),
        kl_p999=float(np.quantile(tokens.kl, 0.999)),
        top1=float((tokens.top == source.top).mean()),
    )


def scores(tokens: Tokens, source: Tokens, right: Flags) -> Scores:
    """`right` says which tool prompts were answered right."""
    return Scores(**dict(text_scores(tokens, source)), tool_match=float(right.mean()))


def split(flags: Flags, labels: Sequence[str]) -> dict[str, Flags]:
    """The flags of each label, labels in alphabetical order."""
    column = np.array(labels)
    return {str(label): flags[column == label] for label in np.unique(column)}


def paired_difference(ours: Flags, theirs: Flags, *, draws: int = 10_000) -> Interval:
    """The mean of ours - theirs over pairs, and the interval that resampling whole pairs gives it; seeded."""
    count = len(ours)
    difference = ours.astype(int) - theirs
    shares = [float((difference == value).mean()) for value in (-1, 0, 1)]
    drawn = np.random.default_rng(0).multinomial(count, shares, size=draws)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / count, [0.025, 0.975])
    return Interval(mean=float(difference.mean()), low=float(low), high=float(high))


def shares(right: Mapping[str, Flags], labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """label -> variant -> share of its prompts that were answered right."""
    parts = {variant: split(flags, labels) for variant, flags in right.items()}
    return {
        label: {variant: float(part[label].mean()) for variant, part in parts.items()} for label in sorted(set(labels))
    }


def tool_difference(int4: Flags, source: Flags, languages: Sequence[str]) -> ToolDifference:
    ours, theirs = split(int4, languages), split(source, languages)
    return ToolDifference(
        all=paired_difference(int4, source),
        by_language={name: paired_difference(ours[name], theirs[name]) for name in ours},
    )


def positions(where: NDArray[np.int64], source: Tokens, int4: Tokens, rtn: Tokens) -> tuple[Position, ...]:
    """Agreement in bins that double in width; `where` is each predicted token's position in its row."""
    found = []
    start, end = 0, 8
    while start <= where.max():
        here = (where >= start) & (where < end)
        if here.any():
            agree = {name: float((tokens.top == source.top)[here].mean()) for name, tokens in
                     (("int4", int4), ("rtn", rtn))}  # fmt: skip
            found.append(Position(start=start, end=end, **agree))
        start, end = end, 2 * end
    return tuple(found)


def histogram(int4: Ratios, rtn: Ratios) -> Histogram:
    def counts(kl: Ratios) -> tuple[int, ...]:
        inside = np.clip(np.log10(np.maximum(kl, 1e-30)), HISTOGRAM[0], HISTOGRAM[-1])
        return tuple(int(count) for count in np.histogram(inside, HISTOGRAM)[0])

    return Histogram(edges=tuple(float(edge) for edge in HISTOGRAM.round(3)), int4=counts(int4), rtn=counts(rtn))


def worst(kl: Ratios, row: NDArray[np.int64], count: int) -> list[tuple[int, float, int]]:
    """The rows that diverge most on average: (row, its mean, index of its worst token), worst first."""
    sums = np.bincount(row, weights=kl) / np.maximum(np.bincount(row), 1)
    picked = np.argsort(-sums, kind="stable")[:count]
    return [(int(index), float(sums[index]), int(np.argmax(np.where(row == index, kl, -1)))) for index in picked]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of the items, evenly spaced."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def canary_prompts(
    text: Sequence[Sequence[int]], wide: Sequence[bool], tools: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...], ...]:
    """Ends of held-out sequences: up to three rows of text that are `wide` (Chinese), four others, one tool prompt."""
    chinese = [row for row, is_wide in zip(text, wide, strict=True) if is_wide]
    others = [row for row, is_wide in zip(text, wide, strict=True) if not is_wide]
    picked = [*spread(chinese, 3), *spread(others, 4), *spread(tools, 1)]
    return tuple(tuple(sequence[-CANARY_TOKENS:]) for sequence in picked)


def canary_differences(recorded: Sequence[Sequence[float]], computed: Sequence[Sequence[float]]) -> list[float]:
    """Mean |Δ ln p| of each prompt."""
    return [
        float(np.abs(np.array(theirs) - np.array(ours)).mean()) for theirs, ours in zip(recorded, computed, strict=True)
    ]


def judge(metrics: Metrics, limits: Limits) -> tuple[Gate, ...]:
    """Each limit of the recipe, held against what was measured."""
    fp, int4, rtn = metrics.fp, metrics.int4, metrics.rtn

    def gate(name: str, title: str, measured: float, rule: Literal["at most", "at least"], advice: str) -> Gate:
        limit = getattr(limits, name)
        over = measured - limit if rule == "at most" else limit - measured
        passed = over <= 1e-9  # 0.97 - 0.96 is a little more than 0.01
        return Gate(name=name, title=title, measured=measured, limit=limit, rule=rule, passed=passed, advice=advice)

    return (
        gate(
            "kl_ratio",
            "KL / KL of rounding",
            int4.kl_mean / max(rtn.kl_mean, float(np.finfo(np.float32).tiny)),
            "at most",
            "calibration hardly helped: more rows, closer to real use (calibration.samples, files); --sweep",
        ),
        gate(
            "kl_mean",
            "KL divergence, mean",
            int4.kl_mean,
            "at most",
            "options.mse 2.4, group_size 64 or 32, --sweep; the report's plot by layer shows where it is lost",
        ),
        gate(
            "perplexity_increase",
            "perplexity increase",
            int4.perplexity / fp.perplexity - 1,
            "at most",
            "rows of the same languages and kinds as the held-out text; group_size 64 or 32",
        ),
        gate(
            "top1",
            "same top token",
            int4.top1,
            "at least",
            "as for the KL divergence; a drop late in a row asks for longer rows (calibration.tokens)",
        ),
        gate(
            "tool_match_drop",
            "tool calls lost",
            fp.tool_match - int4.tool_match,
            "at most",
            "more tool-calling rows among calibration's, in each language; the report shows the worst prompts",
        ),
        gate(
            "tool_match",
            "tool calls right",
            int4.tool_match,
            "at least",
            "where the source does no better, the model or the prompts are at fault, not the quantization",
        ),
    )


def table(model: str, gates: Sequence[Gate]) -> str:
    """The verdict as aligned plain text: what, how much, how much is allowed, and what to try where it is missed."""
    missed = sum(not gate.passed for gate in gates)
    lines = [
        f"{model}: {missed} of {len(gates)} quality gates missed" if missed else f"{model}: all quality gates passed"
    ]
    for gate in gates:
        verdict = "ok    " if gate.passed else "MISSED"
        lines.append(f"  {verdict}  {gate.title:<21} {gate.measured:>9.4f}  ({gate.rule} {gate.limit:g})")
        if not gate.passed:
            lines.append(f"          try: {gate.advice}")
    return "\n".join(lines)


def report(measured: Measured, limits: Limits, *, model: str, backend: str, versions: Mapping[str, str]) -> Report:
    gates = judge(measured.metrics, limits)
    return Report(
        **dict(measured),
        model=model,
        backend=backend,
        passed=all(gate.passed for gate in gates),
        gates=gates,
        versions=dict(versions),
    )


def summary(found: Report) -> Summary:
    return Summary(
        passed=found.passed, metrics=found.metrics, tool_difference=found.tool_difference.all, gates=found.gates
    )
