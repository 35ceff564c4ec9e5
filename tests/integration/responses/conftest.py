"""The fixtures of chat's tests: a gateway with real tool servers, in front of an engine whose answers are scripted."""

from tests.integration.chat.conftest import chat, engine, model, server, start

__all__ = ["chat", "engine", "model", "server", "start"]
