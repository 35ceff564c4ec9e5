"""The workspace's documents in SQLite FTS5: brought up to date before each search by what changed on disk."""

import heapq
import logging
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import monotonic

from hearth_search.document import Document, UnreadableError, read
from hearth_search.result import Answer, Result
from hearth_search.words import joined, match_expression, separated

_log = logging.getLogger(__name__)

VERSION = 1
"""Of the tables and of what is put into them: an index of another version is made anew."""

REFRESH_SECONDS = 5
"""So long a search reads changed documents; then it looks in what there is, and the next one goes on."""

_SCHEMA = """
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, path TEXT UNIQUE NOT NULL, modified INTEGER NOT NULL, size INTEGER NOT NULL
);
CREATE VIRTUAL TABLE words USING fts5 (path, title, text, tokenize = 'porter unicode61 remove_diacritics 2');
"""
_START, _END = "\x02", "\x03"  # around a hit, in what highlight() returns; taken out of the text before it is stored
# A hit in the name or the title says more than one in the text.
_BEST = f"""
SELECT path, title, highlight(words, 2, '{_START}', '{_END}') FROM words
WHERE words MATCH ? ORDER BY bm25(words, 3.0, 5.0, 1.0), path LIMIT ?
"""  # noqa: S608
_WAITING = "The index is still being made, {} documents are not in it yet: search again in a moment for more."
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class Limits:
    """What of a workspace is indexed."""

    documents: int
    file_bytes: int
    characters: int


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    modified: int
    size: int


class Index:
    """Safe to use from several threads, which wait for one another. Raises sqlite3.Error; OSError where the workspace
    cannot be read."""

    def __init__(self, file: Path, workspace: Path, limits: Limits) -> None:
        self._workspace = workspace
        self._limits = limits
        self._lock = Lock()
        self._db = _open(file)

    def search(self, query: str, max_results: int, snippet_characters: int) -> Answer:
        """The best documents, after the index was brought up to date."""
        expression = match_expression(query)
        with self._lock:
            waiting = self._refresh(monotonic() + REFRESH_SECONDS)
            rows = self._db.execute(_BEST, (expression, max_results)).fetchall() if expression else []
        results = [
            Result(joined(title), joined(path), extract(joined(marked), snippet_characters))
            for path, title, marked in rows
        ]
        return Answer(results, _WAITING.format(waiting) if waiting else "")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _refresh(self, until: float) -> int:
        """Forgets what is gone, reads what is new or was changed; returns how many documents are still to be read."""
        known = {path: (id_, state) for id_, path, *state in self._db.execute("SELECT * FROM documents")}
        # Sorted, so that beyond the limit it is always the same documents that are found.
        files = heapq.nsmallest(self._limits.documents, self._files(), key=lambda file: file.path)
        changed = []
        for file in files:
            id_, state = known.pop(file.path, (None, None))
            if state != [file.modified, file.size]:
                changed.append((id_, file))
        for id_, _ in known.values():
            self._forget(id_)
        while changed and monotonic() < until:
            self._put(*changed.pop())
        self._db.commit()
        return len(changed)

    def _files(self) -> Iterator[_File]:
        """Regular files below the workspace; none that is hidden, reached over a link, or named other than in UTF-8."""
        for folder, folders, names, descriptor in os.fwalk(self._workspace, onerror=self._unreadable):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if name.startswith("."):
                    continue
                try:
                    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                except OSError:
                    continue  # it went away meanwhile
                path = os.path.relpath(os.path.join(folder, name), self._workspace)
                if stat.S_ISREG(status.st_mode) and _utf8(path):
                    yield _File(path, status.st_mtime_ns, status.st_size)

    def _unreadable(self, error: OSError) -> None:
        if error.filename == os.fspath(self._workspace):
            raise error

    def _put(self, id_: int | None, file: _File) -> None:
        document = self._read(file)
        if id_ is not None:
            self._forget(id_)
        cursor = self._db.execute(
            "INSERT INTO documents (path, modified, size) VALUES (?, ?, ?)", (file.path, file.modified, file.size)
        )
        values = (_CONTROL.sub(" ", value) for value in (file.path, document.title, document.text))
        self._db.execute(
            "INSERT INTO words (rowid, path, title, text) VALUES (?, ?, ?, ?)",
            (cursor.lastrowid, *map(separated, values)),
        )

    def _forget(self, id_: int) -> None:
        self._db.execute("DELETE FROM documents WHERE id = ?", (id_,))
        self._db.execute("DELETE FROM words WHERE rowid = ?", (id_,))

    def _read(self, file: _File) -> Document:
        """What the file says; where that cannot be had, its name alone, which is tried anew when it changes."""
        try:
            if file.size > self._limits.file_bytes:
                raise UnreadableError(f"larger than {self._limits.file_bytes} bytes")
            return read(file.path, self._bytes(file.path), self._limits.characters)
        except UnreadableError as error:
            reason: object = error
        except OSError as error:
            reason = error.strerror
        _log.info("a file is found by its name only: %s", reason)
        return Document(os.path.basename(file.path), "")

    def _bytes(self, path: str) -> bytes:
        """Opened folder by folder: a folder that became a link since it was listed is not followed."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        *folders, name = path.split(os.sep)
        at = os.open(self._workspace, flags | os.O_DIRECTORY)
        try:
            for folder in folders:
                below = os.open(folder, flags | os.O_DIRECTORY, dir_fd=at)
                os.close(at)
                at = below
            descriptor = os.open(name, flags, dir_fd=at)
        finally:
            os.close(at)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnreadableError("not a regular file")
            data = file.read(self._limits.file_bytes + 1)
        if len(data) > self._limits.file_bytes:
            raise UnreadableError(f"larger than {self._limits.file_bytes} bytes")
        return data


def extract(marked: str, length: int) -> str:
    """The stretch of at most `length` characters with the most different hits in it, the first of several; hits stand
    between the marks."""
    text: list[str] = []
    hits: list[tuple[int, str]] = []
    at = 0
    for piece in re.split(f"{_START}(.*?){_END}", marked, flags=re.DOTALL):
        if len(text) % 2:  # every second piece stood between marks
            hits.append((at, piece.lower()))
        text.append(piece)
        at += len(piece)
    whole = "".join(text)
    if len(whole) <= length:
        return " ".join(whole.split())
    # A window starts a little before one of the hits, so that the sentence around it is read too.
    best, most, first = 0, 0, 0
    inside: dict[str, int] = {}
    for last, (position, word) in enumerate(hits):
        inside[word] = inside.get(word, 0) + 1
        while position + len(word) - hits[first][0] > length - length // 4:
            gone = hits[first][1]
            inside[gone] -= 1
            if not inside[gone]:
                del inside[gone]
            first += 1
            if first > last:
                break
        if len(inside) > most:
            best, most = hits[first][0], len(inside)
    start = max(0, min(best - length // 4, len(whole) - length))
    end = start + length
    # Not in the middle of a word, unless it is longer than words are.
    start = next((at for at in range(start, start + 24) if not _within_word(whole, at)), start)
    end = next((at for at in range(end, end - 24, -1) if not _within_word(whole, at)), end)
    shown = " ".join(whole[start:end].split())
    return f"{'…' if start > 0 else ''}{shown}{'…' if end < len(whole) else ''}"


def _within_word(text: str, at: int) -> bool:
    around = text[at - 1 : at + 1] if at else ""
    return len(around) == 2 and around.isascii() and around.isalnum()


def _utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, check_same_thread=False)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError:
        version = None
    if version == VERSION:
        return db
    db.close()
    _log.info("making a new index at %s", file)
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    db = sqlite3.connect(file, check_same_thread=False)
    db.executescript(_SCHEMA)
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.commit()
    return db
