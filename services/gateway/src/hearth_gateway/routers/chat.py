"""POST /v1/chat/completions"""

from fastapi import APIRouter
from starlette.routing import Route

from hearth_gateway.relay import Relay
from hearth_gateway.request import CHAT
from hearth_gateway.services import Services


def router(services: Services) -> APIRouter:
    return APIRouter(routes=[Route("/chat/completions", Relay(CHAT, services), methods=["POST"])])
