"""The head of a request to the engine."""

import aiohttp
import pytest
from yarl import URL

from hearth_gateway.engine import Resource


@pytest.fixture
async def resource() -> Resource:
    async with aiohttp.ClientSession() as session:
        return Resource("POST", URL("http://[::1]:8000/v1/chat/completions"), session=session)


async def test_it_has_what_http_asks_for_and_our_headers(resource: Resource) -> None:
    assert resource.head(12, {"x-request-id": "a", "x-session-id": "b"}).split(b"\r\n") == [
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: [::1]:8000",
        b"x-request-id: a",
        b"x-session-id: b",
        b"content-length: 12",
        b"",
        b"",
    ]


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
async def test_no_header_smuggles_another(resource: Resource, end: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        resource.head(0, {"x-request-id": f"a{end}x-admin: 1"})
