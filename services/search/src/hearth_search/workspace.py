"""The workspace as a source of search: the index, kept off the event loop."""

import asyncio
import logging
import sqlite3

from hearth_search.index import Index, Limits
from hearth_search.result import Answer, SearchError
from hearth_search.settings import Settings

_log = logging.getLogger(__name__)


class Workspace:
    def __init__(self, settings: Settings) -> None:
        limits = Limits(settings.max_documents, settings.max_file_bytes, settings.max_characters)
        self._index = Index(settings.index, settings.workspace, limits)
        self._snippet = settings.snippet_characters

    async def search(self, query: str, max_results: int) -> Answer:
        try:
            return await asyncio.to_thread(self._index.search, query, max_results, self._snippet)
        except OSError as error:
            raise SearchError(f"the workspace cannot be read: {error.strerror}") from None
        except sqlite3.Error as error:
            _log.error("the index failed: %s", error)
            raise SearchError("the full-text index failed; the server's log says why") from None
