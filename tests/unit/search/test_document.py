"""What files say."""

import pytest

from hearth_search.document import Document, UnreadableError, read


def pdf(*lines: str) -> bytes:
    """A PDF of one page, as its specification has it."""
    text = "".join(f"({line}) Tj T* " for line in lines)
    stream = f"BT /F1 12 Tf 14 TL 72 720 Td {text}ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj%b endobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"xref\n0 6\n0000000000 65535 f \n%btrailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        table, len(out),
    )  # fmt: skip


PAGE = """<!doctype html><html><head><title>Tea &amp; prices</title><style>p {color: red}</style></head>
<body><script>track()</script><h1>Price list</h1><p>Longjing&nbsp;tea<br>costs <b>42</b> yuan.</p></body></html>"""


@pytest.mark.parametrize(
    ("path", "data", "title", "text"),
    [
        ("notes.txt", "茶的价格".encode(), "notes.txt", "茶的价格"),
        ("old.txt", "茶的价格".encode("gb18030"), "old.txt", "茶的价格"),
        ("windows.txt", b"\xff\xfe" + "tea".encode("utf-16-le"), "windows.txt", "tea"),
        ("a/b.md", b"intro\n\n## Tea prices ##\ntext", "Tea prices", "intro\n\n## Tea prices ##\ntext"),
        ("page.html", PAGE.encode(), "Tea & prices", "Price list\nLongjing tea\ncosts 42 yuan."),
        ("empty.csv", b"", "empty.csv", ""),
    ],
)
def test_text(path: str, data: bytes, title: str, text: str) -> None:
    assert read(path, data, 1000) == Document(title, text)


def test_text_of_a_pdf() -> None:
    document = read("list.pdf", pdf("Longjing tea", "costs 42 yuan"), 1000)
    assert document.title == "list.pdf"
    assert document.text.split() == ["Longjing", "tea", "costs", "42", "yuan"]


def test_no_more_than_the_limit() -> None:
    assert read("a.txt", b"x" * 5000, 100).text == "x" * 100
    assert len(read("a.pdf", pdf("x" * 500), 100).text) == 100


@pytest.mark.parametrize(
    ("path", "data", "why"),
    [
        ("photo.png", b"\x89PNG\r\n\x1a\n\0\0\0", "binary"),
        ("broken.pdf", b"%PDF-1.4 and nothing more", "damaged"),
        ("broken.pdf", b"no PDF at all", "damaged"),
    ],
)
def test_what_cannot_be_read_says_why(path: str, data: bytes, why: str) -> None:
    with pytest.raises(UnreadableError, match=why):
        read(path, data, 1000)
