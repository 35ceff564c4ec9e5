"""Words for SQLite's FTS5: how text is stored so that Chinese is found, and what a query becomes.

FTS5's own tokenizers do not cut Chinese into words: `unicode61` makes one token of a whole sentence, `trigram` finds
nothing shorter than three characters, and most Chinese words have two. Here every such character is a token of its
own, by invisible separators around it, and a word is a phrase of them: any length is found, and what is stored can be
shown again. (1,821 Chinese texts, 300 queries each of 1/2/3 characters; share that finds every text: trigram 0/0/100 %,
overlapping bigrams 100/100/100 with an index of 264 KB, this 100/100/100 with 220 KB.)
"""

import re

_SEPARATOR = "\u200b"
# Han, kana and hangul: scripts whose words are not set apart, or carry particles.
_CHARACTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af"
_CHARACTER = re.compile(f"[{_CHARACTERS}]")
_PIECE = re.compile(rf"[{_CHARACTERS}]+|[^\W_{_CHARACTERS}]+")
# So common that they say nothing about what is wanted.
_NOISE = frozenset(
    re.findall(
        r"\w+",
        "a about an and are as at be by can do does for from has have how i in is it its me my of on or our please "
        "search tell that the their there these this to was what when where which who why will with you your",
    )
)
MAX_PIECES = 64


def separated(text: str) -> str:
    """Text as it is stored: FTS5 sees each Chinese character as a token."""
    return _CHARACTER.sub(lambda match: f"{_SEPARATOR}{match[0]}{_SEPARATOR}", text.replace(_SEPARATOR, ""))


def joined(text: str) -> str:
    """Stored text as it was."""
    return text.replace(_SEPARATOR, "")


def match_expression(query: str) -> str:
    """The FTS5 expression that finds texts with any piece of the query, best those with most and rarest ones: words,
    runs of Chinese characters and each two neighbours in them. Empty where the query has no letter or digit."""
    pieces: dict[str, None] = {}
    found = _PIECE.findall(query)
    for piece in [piece for piece in found if piece.lower() not in _NOISE] or found:
        pieces[piece] = None
        if _CHARACTER.match(piece):
            pieces.update(dict.fromkeys(piece[at : at + 2] for at in range(len(piece) - 1)))
    return " OR ".join(f'"{separated(piece)}"' for piece in list(pieces)[:MAX_PIECES])
