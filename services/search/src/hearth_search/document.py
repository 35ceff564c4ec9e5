"""What a file says: bytes → title and text, for text, Markdown, HTML and PDF."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import PurePath

PDF_SECONDS = 20
"""A PDF is read by a process of its own, for at most so long: some make a reader loop or fill the memory."""
PDF_MEMORY = 2**30
PDF_PAGES = 500

_SILENT = {"script", "style", "template", "noscript", "svg", "head"}
_BLOCKS = {
    "p", "div", "br", "li", "ul", "ol", "tr", "table", "section", "article", "header", "footer", "pre", "blockquote",
    "h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd", "main", "nav", "aside", "figure", "hr",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    text: str


class UnreadableError(ValueError):
    """A file whose text cannot be had; the message says why."""


def read(path: str, data: bytes, limit: int) -> Document:
    """The document in `data`, its text cut to `limit` characters. `path` gives the kind and, where the document has
    none, the title. Raises UnreadableError."""
    suffix = PurePath(path).suffix.lower()
    if suffix == ".pdf" or data.startswith(b"%PDF-"):
        title, text = "", _pdf(data, limit)
    elif suffix in (".html", ".htm", ".xhtml"):
        title, text = _html(_decoded(data))
    else:
        text = _decoded(data)
        title = _heading(text) if suffix in (".md", ".markdown") else ""
    return Document(title or PurePath(path).name, text[:limit])


def _decoded(data: bytes) -> str:
    """UTF-8, UTF-16 with its mark, else the common Chinese encoding."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:8192]:
        raise UnreadableError("a binary file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030", errors="replace")


def _heading(markdown: str) -> str:
    match = re.search(r"^#{1,3}[ \t]+(.+?)[ \t#]*$", markdown, re.MULTILINE)
    return match[1] if match else ""


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.pieces: list[str] = []
        self._silent: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title"
        if tag in _SILENT:
            self._silent.append(tag)
        elif tag == "body":  # a head that was never closed
            self._silent.clear()
        elif tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._silent:
            self.pieces.append(data)


def _html(page: str) -> tuple[str, str]:
    parser = _Text()
    parser.feed(page)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.pieces).splitlines())
    return " ".join(parser.title.split()), "\n".join(line for line in lines if line)


def _pdf(data: bytes, limit: int) -> str:
    try:
        done = subprocess.run(  # noqa: S603 (a program of ours)
            [sys.executable, "-m", __name__, str(limit)], input=data, capture_output=True, timeout=PDF_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise UnreadableError(f"a PDF that takes longer than {PDF_SECONDS} s to read") from None
    if done.returncode != 0:
        raise UnreadableError("a PDF that is damaged, encrypted or too large to read")
    return done.stdout.decode()


def _pages(data: bytes, limit: int) -> Iterator[str]:
    from pypdf import PdfReader

    for page in PdfReader(io.BytesIO(data)).pages[:PDF_PAGES]:
        text = page.extract_text()
        yield text + "\n"
        limit -= len(text)
        if limit <= 0:
            return


def _pdf_process() -> None:
    """PDF on standard input → its text on standard output."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (PDF_MEMORY, PDF_MEMORY))
    limit = int(sys.argv[1])
    text = "".join(_pages(sys.stdin.buffer.read(), limit))[:limit]
    sys.stdout.buffer.write(text.encode(errors="replace"))


if __name__ == "__main__":
    _pdf_process()
