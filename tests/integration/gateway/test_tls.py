"""The gateway over TLS: the real process, clients that verify, certificates that are renewed while it runs."""

import asyncio
import io
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import aiohttp
import openai
import pytest
import trustme
from cryptography import x509
from rich.console import Console
from tests.integration.gateway.conftest import CHAT, ask, origin
from tests.integration.gateway.fake_engine import EVENTS, Exchange, FakeEngine
from yarl import URL

from hearth_gateway.auth import issue
from hearth_gateway.health import lives
from hearth_gateway.smoke import run as smoke
from hearth_gateway.tls import trust

SERVE = "import sys; from hearth_gateway.cli import main; sys.exit(main(['serve']))"


class Files:
    """A certificate and its key, as an operator lays them out."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.certificate, self.key, self.ca_file = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"
        self.ca.cert_pem.write_to_path(self.ca_file)
        self.renew()

    def renew(self, keys_of: trustme.LeafCert | None = None) -> int:
        """Replace both, as ACME clients do; returns the serial number of what is there now."""
        made = self.ca.issue_cert("127.0.0.1", "localhost")
        for file, pem in ((self.certificate, made.cert_chain_pems[0]), (self.key, (keys_of or made).private_key_pem)):
            new = file.with_suffix(".new")
            pem.write_to_path(new)
            new.replace(file)
        return serial(ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode()))


def serial(der: bytes) -> int:
    return x509.load_der_x509_certificate(der).serial_number


class Gateway:
    """A process of its own, with uvloop and all. Use as a context manager."""

    def __init__(self, files: Files, folder: Path, **settings: object) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {"port": self.port, "tls_certificate_file": files.certificate, "tls_key_file": files.key} | settings
        env = {name: value for name, value in os.environ.items() if not name.startswith("HEARTH_")}
        self._env = env | {f"HEARTH_{name.upper()}": str(value) for name, value in settings.items()}
        self.files, self._log = files, folder / "log"
        self.url = f"https://127.0.0.1:{self.port}"
        self.trusted = ssl.create_default_context(cafile=files.ca_file)

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([sys.executable, "-c", SERVE], env=self._env, stderr=log)
        until(self._listens)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(self.url, connector=aiohttp.TCPConnector(ssl=self.trusted))

    def openai(self, key: str = "none") -> openai.AsyncOpenAI:
        client = openai.DefaultAsyncHttpxClient(verify=self.trusted)
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, http_client=client, max_retries=0)

    async def certificate(self, **limits: ssl.TLSVersion) -> int:
        """Serial number of what a new connection is shown."""
        context = ssl.create_default_context(cafile=self.files.ca_file)
        for name, version in limits.items():
            setattr(context, name, version)
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        shown = serial(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.close()
        await writer.wait_closed()
        return shown

    def logged(self, text: str) -> list[str]:
        return [line for line in self._log.read_text().splitlines() if text in line]


def until(condition: Callable[[], bool]) -> None:
    """The limit is for what never happens."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all who do not ask its engine, which is not there."""
    folder = tmp_path_factory.mktemp("tls")
    with Gateway(Files(folder), folder, engine_url="http://127.0.0.1:9") as gateway:
        yield gateway


async def test_the_openai_client_asks_and_streams_over_tls_with_a_key(engine: FakeEngine, tmp_path: Path) -> None:
    """The stream is not held back: the client has each event before the engine says the next."""
    had = asyncio.Event()

    async def one_by_one(exchange: Exchange) -> None:
        await exchange.start_stream()
        for event in EVENTS:
            await exchange.chunk(event)
            await had.wait()
            had.clear()
        await exchange.end_stream()

    key = issue(tmp_path / "api_keys", "alice")
    question = ask()["messages"]
    with Gateway(Files(tmp_path), tmp_path, engine_url=engine.url, secrets=tmp_path) as gateway:
        async with gateway.openai(key) as client:
            answer = await client.chat.completions.create(model="hearth-tiny", messages=question)
            assert answer.choices[0].message.content
            stream = await client.chat.completions.create(model="hearth-tiny", messages=question, stream=True)
            chunks = [chunk async for chunk in stream]
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        async with gateway.openai("wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        engine.completes = one_by_one
        events = 0
        async with (
            gateway.session() as session,
            session.post(CHAT, json=ask(stream=True), headers={"authorization": f"Bearer {key}"}) as answer,
            asyncio.timeout(30),
        ):
            async for line in answer.content:
                if line.startswith(b"data:"):
                    events += 1
                    had.set()
        assert events == sum(event.count(b"data:") for event in EVENTS)


class TestRenewal:
    async def test_a_renewed_certificate_is_shown_to_who_comes_next(self, gateway: Gateway) -> None:
        async with gateway.session() as client:
            async with client.get("/healthz") as answer:
                assert answer.status == 200
            before = await gateway.certificate()
            renewed = gateway.files.renew()
            assert renewed != before
            assert await gateway.certificate() == renewed
            async with client.get("/healthz") as answer:  # the connection from before is none the worse
                assert answer.status == 200
        assert gateway.logged("the certificate was read again")

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda files: files.renew(keys_of=files.ca.issue_cert("127.0.0.1")), "is not the certificate's"),
            (lambda files: files.key.unlink(), "No such file"),
            (lambda files: files.certificate.write_text("rubbish"), "holds no certificate in PEM"),
        ],
        ids=["mismatch", "missing", "rubbish"],
    )
    async def test_a_broken_one_leaves_the_last_in_force_and_the_log_says_why(
        self, gateway: Gateway, damage: Callable[[Files], object], reason: str
    ) -> None:
        before = await gateway.certificate()
        complaints = len(gateway.logged("the last certificate stays in force"))
        damage(gateway.files)
        for _ in range(3):
            assert await gateway.certificate() == before
        (*_, complaint) = gateway.logged("the last certificate stays in force")
        assert reason in complaint
        assert len(gateway.logged("the last certificate stays in force")) == complaints + 1
        renewed = gateway.files.renew()
        assert await gateway.certificate() == renewed


class TestWhoMayConnect:
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_todays_versions(self, gateway: Gateway, version: ssl.TLSVersion) -> None:
        assert await gateway.certificate(minimum_version=version, maximum_version=version)

    @pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated")
    async def test_older_ones_are_refused(self, gateway: Gateway) -> None:
        old = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await gateway.certificate(minimum_version=old, maximum_version=old)

    async def test_who_speaks_plain_http_is_told_what_to_do(self, gateway: Gateway) -> None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as client:
            for _ in range(2):
                async with client.post("/v1/chat/completions", json=ask()) as answer:
                    assert answer.status == 400
                    assert (await answer.json())["error"]["code"] == "tls_required"
        async with gateway.session() as client, client.get("/healthz") as answer:
            assert answer.status == 200

    async def test_who_speaks_anything_else_is_shut_out(self, gateway: Gateway) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"\x00" * 64)
        async with asyncio.timeout(30):
            assert b"HTTP" not in await reader.read()
        writer.close()

    async def test_a_client_that_does_not_know_the_ca_does_not_go_on(self, gateway: Gateway) -> None:
        async with aiohttp.ClientSession(gateway.url) as client:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await client.get("/healthz")


async def test_the_health_check_finds_it_alive(gateway: Gateway, client: aiohttp.ClientSession, free_port: int) -> None:
    """With TLS and without; and not where there is nobody."""
    plain = URL(await origin(client)).port
    found = [await asyncio.to_thread(lives, port) for port in (gateway.port, plain, free_port)]
    assert found == [True, True, False]


@pytest.mark.parametrize("trusted", ["ca_file", "certificate"])
async def test_the_smoke_test_believes_a_ca_or_the_certificate_itself(gateway: Gateway, trusted: str) -> None:
    for tls, believed in ((trust(getattr(gateway.files, trusted)), True), (None, False)):
        output = io.StringIO()
        # There is no engine, so it fails; the question is of what.
        assert not await smoke(gateway.url, timeout=5, console=Console(file=output, width=300), tls=tls)
        assert ("certificate verify failed" not in output.getvalue()) is believed
