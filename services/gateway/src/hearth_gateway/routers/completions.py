"""POST /v1/completions"""

from fastapi import APIRouter
from starlette.routing import Route

from hearth_gateway.relay import Relay
from hearth_gateway.request import COMPLETIONS
from hearth_gateway.services import Services


def router(services: Services) -> APIRouter:
    return APIRouter(routes=[Route("/completions", Relay(COMPLETIONS, services), methods=["POST"])])
