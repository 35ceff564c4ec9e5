"""Text as FTS5 stores it, and queries as it understands them: asked of the real SQLite."""

import sqlite3

import pytest

from hearth_search.words import joined, match_expression, separated

TEXTS = [
    "2026年人工智能的发展趋势是小模型。",
    "人工湖的水很清。",
    "Trends in artificial intelligence: small local models.",
    "The party at the art museum.",
    "用GPT4模型写诗",
]


def found(query: str) -> list[int]:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE t USING fts5 (x, tokenize = 'porter unicode61 remove_diacritics 2')")
    db.executemany("INSERT INTO t (x) VALUES (?)", [(separated(text),) for text in TEXTS])
    expression = match_expression(query)
    return [row - 1 for (row,) in db.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank", (expression,))]


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        ("人工智能发展趋势", [0, 1]),  # the text says 智能的发展: its two-character words are what it has in common
        ("趋势", [0]),
        ("湖", [1]),
        ("人工智能", [0, 1]),
        ("trend", [2]),  # by its stem
        ("What is the trend of ARTIFICIAL intelligence?", [2]),
        ("art", [3]),  # a word, not a part of `party` or `artificial`
        ("GPT4", [4]),
        ("模型", [0, 4]),
        ('"unbalanced AND (NEAR', []),  # no syntax of FTS5's
        ("小模型 models", [0, 2, 4]),
    ],
)
def test_words_are_found_in_any_language(query: str, texts: list[int]) -> None:
    assert sorted(found(query)) == texts


def test_the_text_with_most_of_the_words_is_first() -> None:
    assert found("人工智能发展趋势")[0] == 0


def test_common_words_count_only_where_there_are_no_others() -> None:
    assert match_expression("what is the party") == '"party"'
    assert match_expression("what is the") == '"what" OR "is" OR "the"'


def test_a_query_without_words_is_empty() -> None:
    assert match_expression("?!… _ ") == ""


def test_a_long_query_stays_within_what_sqlite_parses() -> None:
    assert match_expression(" ".join(f"w{n}" for n in range(400))).count(" OR ") == 63


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_stored_can_be_shown_again(text: str) -> None:
    assert joined(separated(text)) == text
