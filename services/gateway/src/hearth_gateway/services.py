"""What the routers share."""

import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hearth_gateway.admission import Admission, Rates
from hearth_gateway.batch import Batcher
from hearth_gateway.engine import Engine
from hearth_gateway.metrics import Metrics
from hearth_gateway.replay import ReplayLog
from hearth_gateway.responses.store import ResponseStore
from hearth_gateway.settings import Settings, SettingsError
from hearth_gateway.tools.approval import Approvals
from hearth_gateway.tools.types import Toolbox
from hearth_gateway.trace import Traces

if TYPE_CHECKING:
    from hearth_gateway.shared.state import SharedState
    from hearth_gateway.shared.store import SharedResponses


@dataclass(frozen=True)
class Services:
    settings: Settings
    engine: Engine
    metrics: Metrics
    hub: Toolbox | None = None
    """The tool servers; None where no file names any. (Theirs is a module that is loaded only then: the MCP SDK costs
    as much memory as all the rest.)"""

    @cached_property
    def shared(self) -> "SharedState | None":
        """Raises SettingsError."""
        settings = self.settings
        if settings.shared_state_url is None:
            return None
        from hearth_gateway.shared.state import SharedState

        return SharedState(settings.shared_state_url, settings.shared_state_password_file, self.metrics)

    @cached_property
    def admission(self) -> Admission:
        rates: Rates | None = None
        if self.shared:
            from hearth_gateway.shared.rates import SharedRates

            settings = self.settings
            rates = SharedRates(self.shared, settings.requests_per_minute, settings.tokens_per_minute)
        return Admission(self.settings, self.metrics, rates)

    @cached_property
    def batcher(self) -> Batcher | None:
        return Batcher(self.settings.batch_window_ms) if self.settings.batch_window_ms else None

    @cached_property
    def traces(self) -> Traces:
        return Traces(self.settings.tracing)

    @cached_property
    def replay_log(self) -> ReplayLog:
        return ReplayLog(self.settings.replay_log, self.settings.replay_log_bytes)

    @cached_property
    def approvals(self) -> Approvals:
        """Raises SettingsError when the key cannot be used."""
        file = self.settings.approval_key_file
        try:
            key = file.read_bytes() if file else secrets.token_bytes(32)
            return Approvals(key, self.settings.approval_seconds)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"HEARTH_APPROVAL_KEY_FILE={file}: {reason}") from None

    async def agree(self) -> None:
        """On what gateways with a shared state have in common. Raises SettingsError."""
        if self.shared and self.settings.approval_key_file is None:
            self.approvals.adopt(await self.shared.secret("approval-key", secrets.token_bytes(32)))

    @cached_property
    def responses(self) -> "ResponseStore | SharedResponses":
        settings = self.settings
        if self.shared:
            from hearth_gateway.shared.store import SharedResponses

            return SharedResponses(self.shared, settings.responses_seconds, settings.responses_bytes)
        return ResponseStore(settings.responses_file, settings.responses_seconds, settings.responses_bytes)
