"""Web pages as browser tools return them, and what a reader would tell of them."""
# ruff: noqa: E501, SIM905

import re
from random import Random

from things import statement, url
from words import Lang, made_up, made_up_name, phrase, pick

Node = tuple[str, str]  # role, text

_READ = {"heading", "paragraph", "listitem", "text"}  # what is told; links, buttons and the rest are not
_CLICKED = {"en": "Home;Next;Sign in;About;Contact;Search;More;Buy;Login;Help".split(";"), "zh": "首页;下一页;登录;关于;联系我们;搜索;更多;购买;帮助".split(";")}  # fmt: skip


def page(rng: Random, lang: Lang) -> list[Node]:
    nodes: list[Node] = []
    if rng.random() < 0.35:
        nodes += [
            (pick(rng, "link", "link", "button"), rng.choice(_CLICKED[lang])) for _ in range(rng.choice([1, 1, 2]))
        ]
    if rng.random() < 0.8:
        nodes.append(("heading", heading(rng, lang)))
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
        kind = rng.random()
        if kind < 0.75:
            nodes.append(("paragraph" if kind < 0.65 else "text", _text(rng, lang)))
        else:
            nodes += [("listitem", cleaned(phrase(rng, lang, longest=4))) for _ in range(rng.choice([2, 2, 3]))]
    if rng.random() < 0.25:
        nodes.append((pick(rng, "link", "button", "img"), rng.choice(_CLICKED[lang])))
    return nodes


def heading(rng: Random, lang: Lang) -> str:
    text = pick(rng, cleaned(phrase(rng, lang, longest=4)), made_up_name(rng, lang))
    return text[0].upper() + text[1:]


def cleaned(text: str) -> str:
    """Without what YAML or JSON would write otherwise than the page shows it."""
    return re.sub(r'["\\{}`]', "", text)


def _text(rng: Random, lang: Lang) -> str:
    text = statement(rng, lang)
    if rng.random() < 0.15:
        text += " " + statement(rng, pick(rng, "en", "zh"))
    return cleaned(text)


def told(nodes: list[Node]) -> str:
    return "\n".join(text for role, text in nodes if role in _READ)


# --- as @playwright/mcp shows it ---------------------------------------------------------------------------------------
def _yaml(text: str) -> str:
    """Its rule for when a value is in quotes."""
    needs = re.search(r"^\s|\s$|^-|:(\s|$)|\s#|^[&*\],?!>|@\"'#%\[]", text)
    return (
        f'"{text}"'
        if needs or not re.search(r"[^\d.]", text) or text.lower() in ("y", "n", "yes", "no", "on", "off")
        else text
    )


def tree(rng: Random, nodes: list[Node]) -> str:
    if not nodes:
        return ""
    frame, ref = pick(rng, "", "", "", "f1", f"f{rng.randint(2, 9)}"), 0

    def mark() -> str:
        nonlocal ref
        ref += rng.choice([1, 1, 1, 2])
        return f"[ref={frame}e{ref}]"

    indent = ""
    lines = []
    for role in pick(rng, ["generic [active]"], ["generic [active]"], ["generic"], ["generic [active]", "main"], []):
        lines.append(f"{indent}- {role} {mark()}:")
        indent += "  "
    in_list = False
    for role, text in nodes:
        if role == "listitem" and not in_list:
            lines.append(f"{indent}- list {mark()}:")
        in_list = role == "listitem"
        if role == "heading":
            lines.append(f'{indent}- heading "{text}" [level={rng.choice([1, 1, 1, 2])}] {mark()}')
        elif role == "text":
            lines.append(f"{indent}- text: {_yaml(text)}")
        elif role in _READ:
            lines.append(f"{indent}{'  ' * in_list}- {role} {mark()}: {_yaml(text)}")
        else:
            pointer = " [cursor=pointer]" if rng.random() < 0.4 else ""
            lines.append(f'{indent}- {role} "{text}" {mark()}{pointer}' + ":" * (role == "link"))
            if role == "link":
                lines.append(f"{indent}  - /url: {pick(rng, '/', '#', '/' + made_up(rng))}")
    return "\n".join(lines)


def about(rng: Random, lang: Lang, address: str) -> str:
    lines = ["### Page", f"- Page URL: {address}"]
    if rng.random() < 0.8:
        lines.append(f"- Page Title: {heading(rng, lang)}")
    if rng.random() < 0.06:
        lines.append(f"- HTTP status: {pick(rng, '403 Forbidden', '404 Not Found', '500 Internal Server Error')}")
    if rng.random() < 0.1:
        lines.append(f"- Console: {rng.randint(0, 3)} errors, {rng.randint(0, 3)} warnings")
    return "\n".join(lines)


def acted(rng: Random, lang: Lang, code: str, address: str = "") -> str:
    """What it says of an action: the code that did it, and not what the page shows."""
    text = f"### Ran Playwright code\n```js\nawait page.{code};\n```"
    if rng.random() < 0.45:
        text += "\n" + about(rng, lang, address or url(rng))
    if rng.random() < 0.3:
        when = f"20{rng.randint(25, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}-{rng.randint(0, 59):02}-{rng.randint(0, 59):02}-{rng.randint(0, 999):03}Z"
        text += f"\n### Events\n- New console entries: {pick(rng, '', 'output/', '.playwright-mcp/')}console-{when}.log#L{rng.choice([1, 1, 2, 3])}"
    return text


def snapshot(rng: Random, lang: Lang, nodes: list[Node], address: str) -> str:
    return f"{about(rng, lang, address)}\n### Snapshot\n```yaml\n{tree(rng, nodes)}\n```"


def failed(rng: Random, address: str) -> tuple[str, str]:
    """(what it says of a page that does not open, the reason in it)."""
    name = pick(
        rng,
        "NAME_NOT_RESOLVED",
        "CONNECTION_REFUSED",
        "TIMED_OUT",
        "TUNNEL_CONNECTION_FAILED",
        "BLOCKED_BY_CLIENT",
        "ABORTED",
    )
    reason = f"net::ERR_{name} at {address}"
    text = f'Error: ### Error\nError: page.goto: {reason}\nCall log:\n  - navigating to "{address}", waiting until "domcontentloaded"\n'
    return text, reason


# --- as others do -----------------------------------------------------------------------------------------------------
def markdown(rng: Random, nodes: list[Node]) -> str:
    lines: list[str] = []
    for role, text in nodes:
        shown = {"heading": f"# {text}", "listitem": f"- {text}", "link": f"[{text}](/{made_up(rng)})"}
        if role in shown or role in _READ:
            lines.append(shown.get(role, text))
    return pick(rng, "\n", "\n\n").join(lines)


def plain(rng: Random, nodes: list[Node]) -> str:
    return pick(rng, "\n", "\n\n").join(text for role, text in nodes if role in _READ)
