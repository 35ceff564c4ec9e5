"""What the routers share."""

import secrets
from dataclasses import dataclass
from functools import cached_property

from hearth_gateway.admission import Admission
from hearth_gateway.batch import Batcher
from hearth_gateway.engine import Engine
from hearth_gateway.metrics import Metrics
from hearth_gateway.replay import ReplayLog
from hearth_gateway.responses.store import ResponseStore
from hearth_gateway.settings import Settings, SettingsError
from hearth_gateway.tools.approval import Approvals
from hearth_gateway.tools.types import Toolbox
from hearth_gateway.trace import Traces


@dataclass(frozen=True)
class Services:
    settings: Settings
    engine: Engine
    metrics: Metrics
    hub: Toolbox | None = None
    """The tool servers; None where no file names any. (Theirs is a module that is loaded only then: the MCP SDK costs
    as much memory as all the rest.)"""

    @cached_property
    def admission(self) -> Admission:
        return Admission(self.settings, self.metrics)

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

    @cached_property
    def responses(self) -> ResponseStore:
        settings = self.settings
        return ResponseStore(settings.responses_file, settings.responses_seconds, settings.responses_bytes)
