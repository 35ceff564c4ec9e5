"""POST /v1/chat/completions"""

from starlette.routing import Route

from hearth_gateway.relay import Relay
from hearth_gateway.request import CHAT
from hearth_gateway.services import Services


def route(services: Services) -> Route:
    return Route(CHAT.path, Relay(CHAT, services), methods=["POST"])
