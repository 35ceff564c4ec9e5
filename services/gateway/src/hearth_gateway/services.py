"""What the routers share."""

from dataclasses import dataclass

from hearth_gateway.engine import Engine
from hearth_gateway.metrics import Metrics
from hearth_gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    engine: Engine
    metrics: Metrics
