"""Collects English and Chinese text from Debian's documentation packages: python corpus.py OUT.jsonl

    apt-get install python3.11-doc debian-reference-en debian-reference-zh-cn debian-handbook debian-faq \
        debian-faq-zh-cn maint-guide-zh-cn installation-guide-amd64 manpages-zh

or, without installing them, `dpkg -x PACKAGE ROOT` each and `--root ROOT`. One JSON string a line: a passage of prose.
"""

import argparse
import gzip
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

PYTHON = "usr/share/doc/python3.11/html/_sources"
PAGES = [
    "usr/share/doc/debian-handbook/html/en-US",
    "usr/share/doc/debian-handbook/html/zh-CN",
    "usr/share/doc/installation-guide-amd64/en",
    "usr/share/doc/installation-guide-amd64/zh_CN",
    "usr/share/debian-reference",
]
TEXTS = [
    "usr/share/doc/debian/FAQ/debian-faq.en.txt.gz",
    "usr/share/doc/debian/FAQ/debian-faq.zh-cn.txt.gz",
    "usr/share/doc/maint-guide-zh-cn/maint-guide.zh-cn.txt.gz",
]
MANUALS = "usr/share/man/zh_CN"
LONGEST = 1500  # characters of a passage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--root", type=Path, default=Path("/"))
    options = parser.parse_args()
    passages = sorted({passage for text in texts(options.root) for passage in cut(text)})
    with options.out.open("w", encoding="utf-8") as out:
        for passage in passages:
            out.write(json.dumps(passage, ensure_ascii=False) + "\n")
    print(f"{options.out}: {len(passages)} passages, {sum(map(len, passages)) / 1e6:.1f} million characters")


def texts(root: Path) -> Iterator[str]:
    for path in sorted((root / PYTHON).rglob("*.rst.txt")):
        yield re.sub(
            r"^\.\. .*$|:[a-z:]+:`", lambda hit: "`" if hit[0].endswith("`") else "", path.read_text(), flags=re.M
        )
    for folder in PAGES:
        for path in sorted((root / folder).rglob("*.html")):
            yield from paragraphs(path.read_text("utf-8", errors="ignore"))
    for name in TEXTS:
        yield gzip.decompress((root / name).read_bytes()).decode("utf-8", errors="ignore")
    for path in sorted((root / MANUALS).rglob("*.gz")):
        if path.is_file():
            lines = gzip.decompress(path.read_bytes()).decode("utf-8", errors="ignore").splitlines()
            plain = (re.sub(r"\\f[A-Z]|\\", "", line) for line in lines if not line.startswith((".", "'")))
            yield "\n".join(plain)


def paragraphs(page: str) -> Iterator[str]:
    body = re.sub(r"(?s)<(script|style|head).*?</\1>", "", page)
    for block in re.findall(r"(?s)<(?:p|li|dd|pre|h[1-4])\b[^>]*>(.*?)</(?:p|li|dd|pre|h[1-4])>", body):
        yield re.sub(r"[ \t]*\n[ \t]*", " ", html.unescape(re.sub(r"<[^>]+>", "", block))).strip()


def cut(text: str) -> Iterator[str]:
    """Passages of whole paragraphs, at most LONGEST characters, with some prose in them."""
    passage = ""
    for paragraph in re.split(r"\n\s*\n", text):
        paragraph = paragraph.strip("\n")[:LONGEST]
        if passage and len(passage) + len(paragraph) > LONGEST:
            if len(passage) > 60:
                yield passage
            passage = ""
        passage += ("\n\n" if passage else "") + paragraph
    if len(passage) > 60:
        yield passage


if __name__ == "__main__":
    main()
