"""Where a run keeps what: Qwen3-4B on cards of several sizes."""

import pytest

from hearth_quantizer import memory
from hearth_quantizer.artifact import Model
from hearth_quantizer.memory import GIB, Placement, TooSmallError

MODEL = Model(
    architecture="Qwen3ForCausalLM",
    layers=36,
    hidden_size=2560,
    intermediate_size=9728,
    heads=32,
    kv_heads=8,
    head_dim=128,
    vocab_size=151936,
    max_position_embeddings=262144,
    tied_embeddings=True,
)


@pytest.mark.parametrize(
    ("gib", "tokens", "batch_size", "placement"),
    [
        (80, 512, 16, Placement(batch_size=16, activations_on_device=True)),
        (12, 512, 8, Placement(batch_size=8, activations_on_device=True)),
        (12, 4096, 8, Placement(batch_size=8, activations_on_device=False)),
        (5.5, 512, 8, Placement(batch_size=8, activations_on_device=False)),
        (5.5, 1024, 64, Placement(batch_size=16, activations_on_device=False)),
        (4, 512, 64, Placement(batch_size=8, activations_on_device=False)),
    ],
)
def test_activations_move_to_the_host_before_batches_shrink(
    gib: float, tokens: int, batch_size: int, placement: Placement
) -> None:
    assert memory.place(MODEL, 512, tokens, batch_size, round(gib * GIB) - memory.CONTEXT) == placement


def test_layers_of_the_model_do_not_count() -> None:
    twice = MODEL.model_copy(update={"layers": 72})
    assert memory.working_bytes(twice, 512) == memory.working_bytes(MODEL, 512)


def test_a_device_that_holds_no_layer_is_refused() -> None:
    with pytest.raises(
        TooSmallError, match=r"one layer at a time needs 3\.5 GiB, 2\.0 GiB may be used; raise --device-"
    ):
        memory.place(MODEL, 512, 512, 8, 2 * GIB - memory.CONTEXT)
