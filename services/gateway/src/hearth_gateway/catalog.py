"""The names under which the engine serves its model, as `GET /v1/models` tells."""

from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Catalog:
    """`names`: the served name first, then its aliases; empty when the engine does not tell, and then any name goes.
    `context_length`: tokens of prompt and answer together, or None when the engine does not tell."""

    names: tuple[str, ...] = ()
    context_length: int | None = None
    created: int = 0

    @classmethod
    def parse(cls, body: bytes) -> "Catalog":
        """From the engine's answer. Whatever does not look like a list of models is an empty catalog."""
        try:
            data = orjson.loads(body)["data"]
            cards = [card for card in data if isinstance(card["id"], str)]
            context = cards[0].get("max_model_len")
            created = cards[0].get("created")
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError):
            return cls()
        return cls(
            names=tuple(card["id"] for card in cards),
            context_length=context if isinstance(context, int) else None,
            created=created if isinstance(created, int) else 0,
        )

    def cards(self) -> list[dict[str, Any]]:
        """For clients: the engine's own cards also tell the path of the weights and mean nothing more."""
        return [self.card(name) for name in self.names]

    def card(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self.created,
            "owned_by": "hearth",
            "root": self.names[0],
            "max_model_len": self.context_length,
        }
