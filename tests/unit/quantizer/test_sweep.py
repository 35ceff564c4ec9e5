"""The search over a recipe's options, with made-up losses."""

from collections.abc import Callable

import pytest

from hearth_quantizer import sweep
from hearth_quantizer.quality import TextScores
from hearth_quantizer.recipe import Recipe
from hearth_quantizer.sweep import Change

GAIN = {"mse": 0.3, "damp_percent": 0.1, "samples": 0.2}


def recipe(**options: float) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "small",
            "source": {"kind": "folder", "path": "model"},
            "quantization": {"options": options},
            "calibration": {"files": ["rows.jsonl"], "samples": 128},
            "evaluation": {"text": ["held.jsonl"], "tools": ["tools.jsonl"]},
            "serving": {"context_length": 4096, "served_name": "small"},
        }
    )


def option(key: str, value: float | bool) -> Change:
    return Change(section="options", key=key, value=value)


def lossy(loss: Callable[[tuple[Change, ...]], float]) -> sweep.Score:
    return lambda changes: TextScores(perplexity=10, kl_mean=loss(changes), kl_p999=0.1, top1=0.9)


def test_one_value_is_changed_at_a_time_and_none_to_what_the_recipe_has() -> None:
    found = sweep.changes(recipe(mse=2.4), rows=300)
    assert option("mse", 0.0) in found
    assert option("mse", 2.4) not in found
    assert option("act_group_aware", False) in found
    assert option("gptaq_alpha", 0.25) in found
    assert [change.value for change in found if change.key == "samples"] == [256]


def test_changes_make_a_valid_recipe() -> None:
    changed = sweep.apply(
        recipe(), [option("mse", 2.4), Change(section="calibration", key="samples", value=256)]
    )  # fmt: skip
    assert changed.quantization.options.mse == 2.4
    assert changed.calibration.samples == 256
    assert changed.model_copy(update={"quantization": recipe().quantization}) != recipe()
    assert sweep.apply(recipe(), []) == recipe()


def test_changes_that_help_are_combined_best_first() -> None:
    candidates = [option("mse", 2.4), option("damp_percent", 0.1), option("damp_percent", 0.01), option("samples", 256)]

    def loss(changes: tuple[Change, ...]) -> float:
        return 1 - sum(GAIN[change.key] / (2 if change.value == 0.01 else 1) for change in changes)

    tried = sweep.search(candidates, lossy(loss))
    assert [change.key for change in tried[0].changes] == ["mse", "samples", "damp_percent"]
    assert tried[0].changes[-1].value == 0.1
    assert tried[0].scores.kl_mean == pytest.approx(0.4)
    assert len(tried) == 1 + 4 + 2


def test_a_combination_that_is_worse_than_its_best_part_is_not_kept() -> None:
    tried = sweep.search(
        [option("mse", 2.4), option("samples", 256)],
        lossy(lambda changes: {0: 1.0, 1: 0.5 + 0.1 * (changes[:1] != (option("mse", 2.4),)), 2: 0.8}[len(changes)]),
    )
    assert tried[0].changes == (option("mse", 2.4),)


def test_a_recipe_that_nothing_improves_stays_as_it_is() -> None:
    tried = sweep.search([option("mse", 2.4)], lossy(lambda changes: 1 + len(changes)))
    assert [one.changes for one in tried] == [(), (option("mse", 2.4),)]
    rounding = TextScores(perplexity=11, kl_mean=3, kl_p999=9, top1=0.5)
    lines = sweep.table(tried, rounding).splitlines()
    assert lines[1].startswith("the recipe as it is")
    assert lines[2].startswith("mse 2.4")
    assert lines[-1].startswith("rounding to nearest")
    assert len({len(line) for line in lines}) == 1
