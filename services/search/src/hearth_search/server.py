"""The MCP server: one tool over one source."""

from dataclasses import asdict
from typing import Annotated, Protocol

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field

from hearth_search.result import Answer, SearchError, listing
from hearth_search.services import Service
from hearth_search.settings import Settings
from hearth_search.workspace import Workspace

_LOCAL = (
    "Search the documents in the workspace (text, Markdown, HTML, PDF) by their words, in any language, and get "
    "titles, paths and extracts, best first. Answer from the extracts, or read a file by its path for more."
)
_WEB = "Search the web and get titles, URLs and extracts, best first. Answer from the extracts and name the URLs used."


class Source(Protocol):
    async def search(self, query: str, max_results: int) -> Answer:
        """Raises SearchError."""
        ...


def create_server(settings: Settings) -> MCPServer:
    """The server for the source that the settings name."""
    local = settings.provider == "local"
    source: Source = Workspace(settings) if local else Service(settings)
    server = MCPServer("hearth-search", log_level="WARNING", subscriptions=False)

    @server.tool(
        description=_LOCAL if local else _WEB,
        annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=not local),
    )
    async def search(
        query: Annotated[str, Field(min_length=1, max_length=400, description="The words to look for.")],
        max_results: Annotated[int, Field(ge=1, le=20, description="How many results to return.")] = 5,
    ) -> Annotated[CallToolResult, Answer]:
        try:
            answer = await source.search(query, max_results)
        except SearchError as error:
            raise ToolError(str(error)) from None
        return CallToolResult(
            content=[TextContent(type="text", text=listing(answer, query))],
            structured_content=asdict(answer),
        )

    return server
