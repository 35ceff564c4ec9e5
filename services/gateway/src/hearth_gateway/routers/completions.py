"""POST /v1/completions"""

from starlette.routing import Route

from hearth_gateway.relay import Relay
from hearth_gateway.request import COMPLETIONS
from hearth_gateway.services import Services


def route(services: Services) -> Route:
    return Route(COMPLETIONS.path, Relay(COMPLETIONS, services), methods=["POST"])
