"""The engine's list of models, and what clients see of it."""

import json

import pytest

from hearth_gateway.catalog import Catalog

LIST = {
    "object": "list",
    "data": [
        {"id": name, "created": 7, "owned_by": "vllm", "root": "/models/weights", "max_model_len": 4096}
        for name in ("hearth-tiny", "qwen3-4b-gptq")
    ],
}


def test_names_and_context_are_read() -> None:
    assert Catalog.parse(json.dumps(LIST).encode()) == Catalog(("hearth-tiny", "qwen3-4b-gptq"), 4096, 7)


@pytest.mark.parametrize(
    "body", [b"", b"no", b"[]", b"{}", b'{"data": 5}', b'{"data": []}', b'{"data": [{}]}', b'{"data": ["x"]}']
)
def test_what_is_no_list_is_an_empty_catalog(body: bytes) -> None:
    assert Catalog.parse(body) == Catalog()


def test_a_list_without_lengths_still_names_models() -> None:
    assert Catalog.parse(b'{"data": [{"id": "a"}]}') == Catalog(("a",), None)


def test_clients_see_each_name_and_no_path() -> None:
    cards = Catalog.parse(json.dumps(LIST).encode()).cards()
    assert [card["id"] for card in cards] == ["hearth-tiny", "qwen3-4b-gptq"]
    assert all(card["root"] == "hearth-tiny" and card["object"] == "model" for card in cards)
    assert "weights" not in json.dumps(cards)
