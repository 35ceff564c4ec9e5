"""Figures, verdicts and the report: against counting by hand."""

import math

import numpy as np
import pytest

from hearth_quantizer import quality
from hearth_quantizer.quality import Metrics, Scores, Tokens
from hearth_quantizer.recipe import Limits


def tokens(count: int = 2000, seed: int = 0, kl: float = 0.01) -> Tokens:
    random = np.random.default_rng(seed)
    return Tokens(nll=random.gamma(2, 1, count), top=random.integers(0, 3, count), kl=random.exponential(kl, count))


def scores(**changes: float) -> Scores:
    base = {"perplexity": 10.0, "kl_mean": 0.004, "kl_p999": 0.1, "top1": 0.95, "tool_match": 0.97}
    return Scores.model_validate(base | changes)


def metrics(**int4: float) -> Metrics:
    return Metrics(fp=scores(kl_mean=0, kl_p999=0, top1=1), int4=scores(**int4), rtn=scores(kl_mean=0.01))


def test_scores_are_means_and_quantiles_over_tokens() -> None:
    fp, other = tokens(), tokens(seed=1)
    right = np.array([True] * 3 + [False])
    found = quality.scores(other, fp, right)
    assert found.perplexity == pytest.approx(math.exp(sum(other.nll) / 2000))
    assert found.kl_mean == pytest.approx(sum(other.kl) / 2000)
    assert sum(other.kl > found.kl_p999) == 2
    assert found.top1 == sum(a == b for a, b in zip(fp.top, other.top, strict=True)) / 2000
    assert found.tool_match == 0.75


def test_shares_are_split_by_label_and_variant() -> None:
    right = {"fp": np.array([True, True, False]), "int4": np.array([True, False, False])}
    assert quality.shares(right, ["zh", "en", "zh"]) == {
        "en": {"fp": 1.0, "int4": 0.0},
        "zh": {"fp": 0.5, "int4": 0.5},
    }


def test_the_bootstrap_interval_is_that_of_resampled_pairs() -> None:
    random = np.random.default_rng(0)
    theirs = random.random(400) < 0.95
    ours = np.where(random.random(400) < 0.97, theirs, ~theirs)
    found = quality.paired_difference(ours, theirs)
    assert found.mean == pytest.approx(ours.mean() - theirs.mean())
    difference = ours.astype(int) - theirs
    means = [random.choice(difference, 400).mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.004), pytest.approx(high, abs=0.004))
    assert found == quality.paired_difference(ours, theirs)


def test_pairs_that_agree_leave_no_doubt() -> None:
    flags = np.array([True, False, True])
    found = quality.paired_difference(flags, flags)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_a_language_has_an_interval_of_its_own() -> None:
    fp, int4 = np.array([True] * 100), np.array([True] * 50 + [False] * 50)
    found = quality.tool_difference(int4, fp, ["en"] * 50 + ["zh"] * 50)
    assert (found.all.mean, found.by_language["en"].mean, found.by_language["zh"].mean) == (-0.5, 0, -1)
    assert found.all.low < -0.5 < found.all.high


def test_agreement_by_position_has_bins_that_double() -> None:
    where = np.concatenate([np.arange(20), np.arange(5)])
    source = Tokens(nll=np.zeros(25), top=np.zeros(25, int), kl=np.zeros(25))
    rtn = Tokens(nll=np.zeros(25), top=np.where(where >= 16, 1, 0), kl=np.zeros(25))
    found = quality.positions(where, source, source, rtn)
    assert [(part.start, part.end, part.int4, part.rtn) for part in found] == [
        (0, 8, 1.0, 1.0),
        (8, 16, 1.0, 1.0),
        (16, 32, 1.0, 0.0),
    ]


def test_every_token_is_in_the_histogram() -> None:
    kl = np.array([0.0, -1e-9, 1e-12, 0.001, 1.0, 5000.0])
    found = quality.histogram(kl, kl[:2])
    assert (sum(found.int4), sum(found.rtn)) == (6, 2)
    assert (found.int4[0], found.int4[-1]) == (3, 1)
    assert len(found.edges) == len(found.int4) + 1


def test_the_worst_rows_are_those_of_the_highest_mean() -> None:
    row = np.array([0, 0, 1, 1, 2, 2])
    kl = np.array([0.1, 0.3, 0.9, 0.0, 0.0, 0.1])
    assert quality.worst(kl, row, 2) == [(1, pytest.approx(0.45), 2), (0, pytest.approx(0.2), 1)]


def test_the_canary_has_both_languages_and_the_end_of_a_tool_prompt() -> None:
    text = [list(range(row, row + 100)) for row in range(0, 2000, 100)]
    prompts = quality.canary_prompts(text, [row < 5 for row in range(20)], [[9] * 30, [8] * 30])
    assert [prompt[-1] for prompt in prompts] == [99, 199, 399, 599, 899, 1299, 1699, 9]
    assert [len(prompt) for prompt in prompts] == [64] * 7 + [30]
    assert len(quality.canary_prompts(text[:2], [False, False], [])) == 2


def test_canary_differences_are_means_of_a_prompt() -> None:
    assert quality.canary_differences([[-1.0, -2.0], [-3.0]], [[-1.5, -1.5], [-3.0]]) == [0.5, 0.0]
    assert math.isnan(quality.canary_differences([[-1.0]], [[math.nan]])[0])


# --- gates ------------------------------------------------------------------------------------------------------------
LIMITS = Limits(tool_match=0.95)


def test_a_good_artifact_passes_every_gate() -> None:
    gates = quality.judge(metrics(perplexity=10.1, tool_match=0.96), LIMITS)
    assert all(gate.passed for gate in gates)
    assert {gate.name for gate in gates} == set(Limits.model_fields)
    assert quality.table("small", gates).startswith("small: all quality gates passed\n  ok      KL / KL of rounding")


@pytest.mark.parametrize(
    ("name", "measured", "changes"),
    [
        ("kl_ratio", 0.61, {"kl_mean": 0.0061}),
        ("perplexity_increase", 0.031, {"perplexity": 10.31}),
        ("top1", 0.899, {"top1": 0.899}),
        ("tool_match", 0.949, {"tool_match": 0.949}),
    ],
)
def test_each_limit_is_a_gate_of_its_own(name: str, measured: float, changes: dict[str, float]) -> None:
    gates = quality.judge(metrics(**changes), LIMITS)
    (missed,) = [gate for gate in gates if not gate.passed]
    assert (missed.name, missed.measured) == (name, pytest.approx(measured))
    table = quality.table("small", gates)
    assert table.startswith("small: 1 of 6 quality gates missed")
    assert f"MISSED  {missed.title}" in table
    assert f"try: {missed.advice}" in table


def test_lost_tool_calls_are_measured_against_the_source() -> None:
    found = {gate.name: gate for gate in quality.judge(metrics(tool_match=0.93), Limits())}
    assert found["tool_match_drop"].measured == pytest.approx(0.04)
    assert (found["tool_match_drop"].passed, found["tool_match"].passed) == (False, True)


def test_a_loss_of_just_the_limit_passes() -> None:
    found = {gate.name: gate for gate in quality.judge(metrics(tool_match=0.96), Limits(tool_match_drop=0.01))}
    assert found["tool_match_drop"].measured > 0.01  # as a float
    assert found["tool_match_drop"].passed


def test_a_high_divergence_fails_though_rounding_is_worse_still() -> None:
    found = Metrics(fp=scores(), int4=scores(kl_mean=0.06), rtn=scores(kl_mean=0.2))
    assert [gate.name for gate in quality.judge(found, LIMITS) if not gate.passed] == ["kl_mean"]


def test_without_any_loss_by_rounding_the_ratio_is_finite_and_missed() -> None:
    found = Metrics(fp=scores(), int4=scores(kl_mean=0.001), rtn=scores(kl_mean=0))
    assert [gate.name for gate in quality.judge(found, LIMITS) if not gate.passed] == ["kl_ratio"]
