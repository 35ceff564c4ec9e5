"""The comparison with the canary, on numbers; whether vLLM agrees is asked by the image's build and at each start."""

import math
from types import SimpleNamespace

import pytest

from hearth_engine.score import CanaryError, logprobs, measure

EXPECTED = [[-1.0, -2.0, -3.0], [-0.5, -0.5]]


def test_the_distance_is_over_tokens_and_the_limit_over_each_prompt() -> None:
    distance = measure(EXPECTED, [[-1.1, -2.0, -2.8], [-0.5, -0.6]], [0.11, 0.11])
    assert distance.prompts == pytest.approx([0.1, 0.05])
    assert distance.mean == pytest.approx(0.4 / 5)
    assert distance.worst == pytest.approx(0.2)
    assert distance.tokens == 5


def test_the_beginning_of_a_prompt_is_compared_with_its_beginning() -> None:
    assert measure(EXPECTED, [[-1.0], [-0.5]], [0.01, 0.01]).tokens == 2


@pytest.mark.parametrize(
    ("computed", "says"),
    [
        ([[-1.0, -2.0, -3.0], [-0.5, -0.8]], "canary prompt 1: .* differ by 0.1500 .* at most 0.1 is allowed"),
        ([[-1.0, math.nan, -3.0], [-0.5, -0.5]], "canary prompt 0: .* differ by nan"),
        ([[-1.0, -math.inf, -3.0], [-0.5, -0.5]], "canary prompt 0: .* differ by inf"),
        ([[-1.0, -2.0, -3.0]], "1 of 2 prompts"),
        ([[-1.0, -2.0, -3.0], []], "canary prompt 1: 0 log-probabilities to compare with 2"),
        ([[-1.0, -2.0, -3.0, -4.0], [-0.5]], "canary prompt 0: 4 log-probabilities to compare with 3"),
    ],
)
def test_what_differs_is_named(computed: list[list[float]], says: str) -> None:
    with pytest.raises(CanaryError, match=says):
        measure(EXPECTED, computed, [0.1, 0.1])


def test_logprobs_of_a_prompt_as_vllm_and_as_json_have_them() -> None:
    """The first token has none; a position may hold the likeliest token beside the prompt's own."""
    in_python = [None, {7: SimpleNamespace(logprob=-1.5), 9: SimpleNamespace(logprob=-0.1)}]
    in_json = [None, {"7": {"logprob": -1.5, "rank": 2}, "9": {"logprob": -0.1, "rank": 1}}]
    assert logprobs([3, 7], in_python) == logprobs([3, 7], in_json) == [-1.5]
    with pytest.raises(ValueError, match="shorter"):
        logprobs([3, 7, 9], in_json)
