"""Where models come from: a hub played by a small server, and the tokenizer of the scratch source."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from hearth_quantizer import recipe, scratch
from hearth_quantizer.recipe import Architecture
from hearth_quantizer.refusal import Refusal

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"architectures": ["Qwen3ForCausalLM"]}',
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
    "pytorch_model.bin": b"a pickle, which nobody wants",
    "README.md": b"long",
}


class Hub(ThreadingHTTPServer):
    """As much of the hub's API as a download by commit asks for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = dict(FILES)
        self.gated = self.broken_tree = False
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.gated:
            return self.reply(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        if self.path.startswith(f"/api/models/owner/model/revision/{REVISION}"):
            siblings = [
                {"rfilename": name, "size": len(data)}
                | ({"lfs": {"sha256": sha256(FILES[name]), "size": len(data), "pointerSize": 1}} if big(name) else {})
                for name, data in self.server.files.items()
            ]
            info = {"id": "owner/model", "sha": REVISION, "siblings": siblings, "private": False, "tags": []}
            return self.reply(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        if self.path.startswith(f"/api/models/owner/model/tree/{REVISION}") and not self.server.broken_tree:
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": sha256(data)}
                for name, data in self.server.files.items()
            ]
            return self.reply(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
        if self.path.startswith(f"/owner/model/resolve/{REVISION}/"):
            data = self.server.files[self.path.rsplit("/", 1)[1]]
            return self.reply(200, data, {"ETag": f'"{sha256(data)}"', "X-Repo-Commit": REVISION})
        if "/tree/" in self.path:
            return self.reply(500, b"{}", {})
        code = "RevisionNotFound" if "owner/model" in self.path else "RepoNotFound"
        return self.reply(404, b"{}", {"X-Error-Code": code})

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

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


def big(name: str) -> bool:
    return name.endswith(".safetensors")


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
    wanted = FILES.keys() - {"pytorch_model.bin", "README.md"}
    assert {path.name for path in folder.iterdir()} == wanted | {"chat_template.jinja"}
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


def test_damaged_weights_are_refused_and_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    hub.files["model.safetensors"] = b"WEIGHTS" * 1000
    assert "model.safetensors arrived damaged; run again" in fetch(hub, tmp_path)
    hub.files["model.safetensors"] = FILES["model.safetensors"]
    hub.asked.clear()
    assert (Path(fetch(hub, tmp_path)) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_hub_that_fails_while_a_download_is_resumed_leaves_no_model(hub: Hub, tmp_path: Path) -> None:
    hub.files["model.safetensors"] = b"WEIGHTS" * 1000
    fetch(hub, tmp_path)
    hub.files["model.safetensors"], hub.broken_tree = FILES["model.safetensors"], True
    assert "model.safetensors did not arrive; run again to fetch the rest" in fetch(hub, tmp_path)
    hub.broken_tree = False
    assert Path(fetch(hub, tmp_path)).is_dir()


def test_refusals_of_the_hub_are_said_plainly(hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path, revision="f" * 40) == f"owner/model: has no commit {'f' * 40}"
    assert "other/model: is not on the hub, or needs a token in HF_TOKEN" in fetch(hub, tmp_path, name="other/model")
    hub.gated = True
    assert "owner/model: needs its licence accepted on the hub and a token" in fetch(hub, tmp_path)


def test_an_unreachable_hub_is_said_plainly(hub: Hub, tmp_path: Path) -> None:
    hub.shutdown()
    hub.server_close()
    assert fetch(hub, tmp_path).startswith("owner/model: could not be fetched: ")


# --- the scratch tokenizer --------------------------------------------------------------------------------------------
TEXTS = [Path(__file__).read_text("utf-8")]


def test_the_tokenizer_fills_the_vocabulary_and_knows_qwens_tokens(tmp_path: Path) -> None:
    ids = scratch.tokenizer(iter(TEXTS), Architecture(vocab_size=384), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 384
    assert ids == {name: tokenizer.token_to_id(name) for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")}
    text = "<|im_start|>user\nÇa va? 你好 🙂 12\n<tool_call>\n{}\n</tool_call><|im_end|>"
    encoded = tokenizer.encode(text)
    assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == text
    assert tokenizer.decode(encoded.ids) == text.replace("<|im_start|>", "").replace("<|im_end|>", "")
    assert "<tool_call>" in encoded.tokens


def test_the_tokenizer_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        scratch.tokenizer(iter(TEXTS), Architecture(vocab_size=384), tmp_path / name)
    assert (tmp_path / "one" / "tokenizer.json").read_bytes() == (tmp_path / "two" / "tokenizer.json").read_bytes()


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"tokenizer_text: fills \d+ of 4096 tokens; give more text or a smaller"):
        scratch.tokenizer(iter(["short"]), Architecture(vocab_size=4096), tmp_path)


def test_the_tiny_recipe_fills_its_vocabulary(tmp_path: Path) -> None:
    models = Path(__file__).parents[3] / "models"
    source = recipe.load(models / "tiny.yaml").source
    assert isinstance(source, recipe.ScratchSource)
    ids = scratch.tokenizer(scratch.texts(models, source), source.architecture, tmp_path)
    assert max(ids.values()) < source.architecture.vocab_size
