"""Where models come from: a hub played by a small server that can break off, damage and refuse."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"architectures": ["Qwen3ForCausalLM"]}',
    "model.safetensors": b"weights!" * (2 << 20),
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
    "pytorch_model.bin": b"a pickle, which nobody wants",
    "README.md": b"long",
    "onnx/config.json": b"{}",
}
WEIGHTS = FILES["model.safetensors"]
KEPT = constants.DOWNLOAD_CHUNK_SIZE  # of 3/4 of the weights: the library writes whole chunks
SHARD = f"/owner/model/resolve/{REVISION}/model.safetensors"


class Hub(ThreadingHTTPServer):
    """As much of the hub's API as a download by commit asks for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = dict(FILES)  # what is sent; the listing tells sizes and hashes of FILES
        self.gated = False
        self.knows_ranges = True
        self.breaks = 0  # so many times, the weights' connection ends after three quarters of the file
        self.fails_after_breaks = False
        self.asked: list[str] = []
        self.ranges: list[str | None] = []
        self.tokens: set[str | None] = set()


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.gated:
            return self.reply(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        if self.path.startswith(f"/api/models/owner/model/revision/{REVISION}"):
            siblings = [{"rfilename": name, "size": len(data), **hashes(name, data)} for name, data in FILES.items()]
            info = {"id": "owner/model", "sha": REVISION, "siblings": siblings, "private": False, "tags": []}
            return self.reply(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        if self.path.startswith(f"/owner/model/resolve/{REVISION}/"):
            return self.send_file(self.path.split(f"/{REVISION}/")[1])
        code = "RevisionNotFound" if "owner/model" in self.path else "RepoNotFound"
        return self.reply(404, b"{}", {"X-Error-Code": code})

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

    def send_file(self, name: str) -> None:
        data, start = self.server.files[name], 0
        if name == "model.safetensors":
            self.server.ranges.append(self.headers["Range"])
            if self.server.fails_after_breaks and not self.server.breaks and len(self.server.ranges) == 2:
                return self.reply(500, b"", {})
        if self.headers["Range"] and self.server.knows_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        rest = data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if name == "model.safetensors" and self.server.breaks:
            self.server.breaks -= 1
            rest = data[start : len(data) * 3 // 4]
        self.wfile.write(rest)
        return None

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def hashes(name: str, data: bytes) -> dict[str, object]:
    """As the hub lists them: git's own hash of each file, of which a large one is but a pointer to its content."""
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    if name.endswith(".safetensors"):
        return {"blobId": "0" * 40, "lfs": {"sha256": sha256(data), "size": len(data), "pointerSize": 1}}
    return {"blobId": git}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(hub: Hub, work: Path, *, name: str = "owner/model", revision: str = REVISION, token: str = "") -> str:
    """Fetch in a process of its own, because the hub's address is read on import. Returns what it prints."""
    code = f"""
from pathlib import Path
from hearth_quantizer import log, recipe, refusal, source, steps
wanted = recipe.HubSource(kind="hub", id={name!r}, revision={revision!r})
with steps.workshop(Path({str(work)!r}), log.Log()) as shop:
    try:
        print(source.fetch(wanted, Path("."), shop))
    except refusal.Refusal as error:
        print(error)
"""
    environment = {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(work / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": token,
        "PATH": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert not token or token not in done.stdout + done.stderr
    return done.stdout.strip()


def test_a_hub_model_comes_at_its_commit_without_pickles(hub: Hub, tmp_path: Path) -> None:
    folder = Path(fetch(hub, tmp_path))
    assert folder.name.startswith("fetch-")
    wanted = FILES.keys() - {"pytorch_model.bin", "README.md", "onnx/config.json"}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == wanted | {"chat_template.jinja"}
    assert all((folder / name).read_bytes() == FILES[name] for name in wanted)
    assert (folder / "chat_template.jinja").read_text() == "{{ messages }}"
    assert all(REVISION in line for line in hub.asked)


def test_a_fetched_model_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    first = fetch(hub, tmp_path)
    hub.asked.clear()
    assert fetch(hub, tmp_path) == first
    assert hub.asked == []


def test_the_token_is_sent_and_kept_nowhere(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path, token="hf_secret")
    assert hub.tokens == {"Bearer hf_secret"}
    assert not any(b"hf_secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_without_a_token_none_is_sent(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path)
    assert hub.tokens == {None}


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json"])
def test_a_damaged_file_is_refused_and_fetched_anew(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.files[name] = FILES[name].swapcase()
    assert f"{name} arrived damaged; run again to fetch it anew" in fetch(hub, tmp_path)
    assert not list(tmp_path.rglob(name))
    hub.files[name] = FILES[name]
    assert (Path(fetch(hub, tmp_path)) / name).read_bytes() == FILES[name]


def test_a_broken_connection_goes_on_where_it_broke_off(hub: Hub, tmp_path: Path) -> None:
    hub.breaks = 1
    assert (Path(fetch(hub, tmp_path)) / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.ranges == [None, f"bytes={KEPT}-"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_the_next_run_goes_on_where_the_last_one_broke_off(hub: Hub, tmp_path: Path, knows_ranges: bool) -> None:
    hub.breaks, hub.fails_after_breaks, hub.knows_ranges = 1, True, knows_ranges
    assert "owner/model: could not be fetched: " in fetch(hub, tmp_path)
    (part,) = tmp_path.rglob("model.safetensors")
    assert part.read_bytes() == WEIGHTS[:KEPT]
    hub.asked.clear()
    folder = Path(fetch(hub, tmp_path))
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.ranges[2] == f"bytes={KEPT}-"
    assert [line for line in hub.asked if "/resolve/" in line] == [f"GET {SHARD}"]
    assert not (folder / ".parts").exists()


def test_more_than_the_file_holds_is_not_gone_on_from(hub: Hub, tmp_path: Path) -> None:
    hub.breaks, hub.fails_after_breaks = 1, True
    fetch(hub, tmp_path)
    (part,) = tmp_path.rglob("model.safetensors")
    part.write_bytes(WEIGHTS + b"more")
    assert (Path(fetch(hub, tmp_path)) / "model.safetensors").read_bytes() == WEIGHTS


def test_refusals_of_the_hub_are_said_plainly(hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path, revision="f" * 40) == f"owner/model: has no commit {'f' * 40}"
    assert "other/model: is not on the hub, or needs a token in HF_TOKEN" in fetch(hub, tmp_path, name="other/model")
    hub.gated = True
    assert "owner/model: needs its licence accepted on the hub and a token" in fetch(hub, tmp_path)


def test_an_unreachable_hub_is_said_plainly(hub: Hub, tmp_path: Path) -> None:
    hub.shutdown()
    hub.server_close()
    assert fetch(hub, tmp_path).startswith("owner/model: could not be fetched: ")
