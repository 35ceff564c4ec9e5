"""What a search found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    title: str
    location: str
    """Path in the workspace, or URL."""
    snippet: str


@dataclass(frozen=True)
class Answer:
    results: list[Result]
    note: str = ""
    """What the reader should know of the results, if anything."""


class SearchError(Exception):
    """The search could not be done; the message, for the model and the operator, says why and what would help."""


def listing(answer: Answer, query: str) -> str:
    """The answer as a model reads it."""
    found = [
        f"{number}. {result.title}\n{result.location}\n{result.snippet}".rstrip()
        for number, result in enumerate(answer.results, 1)
    ] or [f"Nothing found for: {query}"]
    return "\n\n".join([*found, answer.note] if answer.note else found)
