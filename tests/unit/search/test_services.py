"""What each search service is asked, and what its documented answer becomes."""

import pytest

from hearth_search.result import Answer, Result, SearchError, listing
from hearth_search.services import Request, request, results

# After the services' own documentation, shortened.
SEARXNG = {
    "query": "tea", "number_of_results": 0, "answers": [], "corrections": [], "infoboxes": [], "suggestions": [],
    "unresponsive_engines": [],
    "results": [
        {"url": "https://tea.example/a", "title": "Tea &amp; prices", "content": "Longjing\n costs 42.",
         "engine": "bing",
         "parsed_url": ["https", "tea.example", "/a", "", "", ""], "engines": ["bing"], "positions": [1], "score": 1.0,
         "category": "general"},
        {"url": "https://tea.example/b", "title": "B", "content": None, "engine": "bing"},
    ],
}  # fmt: skip
TAVILY = {
    "query": "tea", "answer": None, "images": [], "response_time": "1.67", "request_id": "123e4567",
    "auto_parameters": {},
    "results": [
        {"title": "Tea", "url": "https://tea.example/a", "content": "Longjing costs 42.", "score": 0.81,
         "raw_content": None},
    ],
}  # fmt: skip
DUCKDUCKGO = {
    "Abstract": "Tea is a drink.", "AbstractText": "Tea is a drink.", "AbstractSource": "Wikipedia",
    "AbstractURL": "https://en.wikipedia.org/wiki/Tea", "Heading": "Tea", "Type": "A", "Answer": "",
    "Results": [{"Text": "Official site - tea.example", "FirstURL": "https://tea.example/", "Icon": {}}],
    "RelatedTopics": [
        {"Text": "Green tea - Tea that is not oxidized.", "FirstURL": "https://duckduckgo.com/Green_tea", "Icon": {}},
        {"Name": "See also", "Topics": [{"Text": "Tea house", "FirstURL": "https://duckduckgo.com/Tea_house"}]},
    ],
}  # fmt: skip
NOTHING = {"AbstractText": "", "AbstractURL": "", "Heading": "", "Results": [], "RelatedTopics": [], "Type": ""}


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("searxng", Request("GET", "http://s/search", {"q": "tea 茶", "format": "json"})),
        (
            "tavily",
            Request(
                "POST",
                "http://s/search",
                headers={"Authorization": "Bearer key"},
                json={"query": "tea 茶", "max_results": 3, "search_depth": "basic"},
            ),
        ),
        (
            "duckduckgo",
            Request("GET", "http://s/", {"q": "tea 茶", "format": "json", "no_html": "1", "skip_disambig": "1"}),
        ),
    ],
)
def test_what_is_asked(provider: str, expected: Request) -> None:
    assert request(provider, "http://s", "key", "tea 茶", 3) == expected


@pytest.mark.parametrize(
    ("provider", "answer", "expected"),
    [
        (
            "searxng",
            SEARXNG,
            [
                Result("Tea & prices", "https://tea.example/a", "Longjing costs 42."),
                Result("B", "https://tea.example/b", ""),
            ],
        ),
        ("tavily", TAVILY, [Result("Tea", "https://tea.example/a", "Longjing costs 42.")]),
        (
            "duckduckgo",
            DUCKDUCKGO,
            [
                Result("Tea", "https://en.wikipedia.org/wiki/Tea", "Tea is a drink."),
                Result("Official site", "https://tea.example/", "Official site - tea.example"),
                Result("Green tea", "https://duckduckgo.com/Green_tea", "Green tea - Tea that is not oxidized."),
                Result("Tea house", "https://duckduckgo.com/Tea_house", "Tea house"),
            ],
        ),
        ("duckduckgo", NOTHING, []),
    ],
)
def test_what_its_answer_becomes(provider: str, answer: dict, expected: list[Result]) -> None:
    assert results(provider, answer, 10) == expected
    assert results(provider, answer, 1) == expected[:1]


@pytest.mark.parametrize("provider", ["searxng", "tavily", "duckduckgo"])
@pytest.mark.parametrize(
    "answer", [{}, [], None, "text", {"results": [{}]}, {"AbstractText": "", "RelatedTopics": [{}]}]
)
def test_an_answer_of_another_shape_is_an_error_that_names_the_service(provider: str, answer: object) -> None:
    with pytest.raises(SearchError, match=provider):
        results(provider, answer, 10)


def test_the_listing_is_what_a_model_reads() -> None:
    found = [Result("Tea", "tea.md", "costs 42"), Result("B", "b.txt", "")]
    assert listing(Answer(found, "More later."), "tea") == "1. Tea\ntea.md\ncosts 42\n\n2. B\nb.txt\n\nMore later."
    assert listing(Answer([]), "tea") == "Nothing found for: tea"
