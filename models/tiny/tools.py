"""Tools an agent is offered, what users ask for that needs them, and what comes back."""
# ruff: noqa: E501, SIM905

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random

import knowledge as k
import pages
import servers
import shell
from things import (
    ENDINGS,
    FOLDERS,
    HERE,
    about,
    city,
    clock,
    email,
    expression,
    file,
    file_name,
    folder,
    sql,
    statement,
    stem,
    url,
)
from words import Json, Lang, made_up, made_up_name, phrase, pick, quoted, sentence, typed

Values = dict[str, str | int]
Result = tuple[str, str]  # what a tool returned, the answer that tells it


@dataclass(frozen=True)
class Parameter:
    names: list[str]
    en: list[str]
    zh: list[str]
    type: str = "string"


@dataclass(frozen=True)
class Family:
    """Tools that do the same under different names. `ask` holds requests with `{parameter}` (`{parameter!q}`: in quotes)."""

    key: str
    names: list[str]
    en: list[str]  # descriptions
    zh: list[str]
    parameters: dict[str, Parameter]
    values: Callable[[Random, Lang, bool], Values]
    ask_en: list[str]
    ask_zh: list[str]
    result: Callable[[Random, Lang, Values], Result] = field(repr=False)
    optional: frozenset[str] = frozenset()  # parameters that not every request has
    together: tuple[str, ...] = ()  # parameters that some tools take as one list of objects


# --- results ----------------------------------------------------------------------------------------------------------
def wrapped(rng: Random, text: str) -> str:
    """The shapes in which results arrive: plain, or as MCP's content list."""
    if rng.random() < 0.8 or any(mark in text for mark in '"\\\r`') or text.startswith("Error: "):
        return text
    return json.dumps([{"type": "text", "text": text}], ensure_ascii=False)


def nothing(rng: Random, lang: Lang, sought: str) -> Result:
    text = pick(rng, "No results.", "[]", "no results found", "No matches found", *[f"Nothing found for: {sought}"] * 3)
    return text, "The search found nothing." if lang == "en" else "没有找到结果。"


def found(rng: Random, lang: Lang, values: Values) -> Result:
    """`holds`, among the values: the path that the first result shall have."""
    query, path = str(values["query"]), values.get("holds")
    if not path and rng.random() < 0.08:
        return nothing(rng, lang, query)
    lines, heads = [], []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        lines.append(about(rng, lang, query) if len(query) < 30 and rng.random() < 0.3 else statement(rng, lang))
        if rng.random() < 0.1:
            lines[-1] += pick(rng, "" if lang == "zh" else " ", " ") + statement(rng, lang)
        if rng.random() < 0.04:
            lines[-1] = pick(rng, "…{}", "{}…", "…{}…").format(lines[-1])
        heads.append(
            pick(rng, made_up_name(rng, lang), query, pages.heading(rng, lang), f"{made_up(rng).capitalize()} - Wiki")
        )
    style = 3 if path else pick(rng, 0, 1, 2, 3, 3, 4)
    pairs = list(zip(heads, lines, strict=True))
    if style == 0:
        text = "\n".join(f"{n}. {head}: {line}" for n, (head, line) in enumerate(pairs, 1))
    elif style == 1:
        text = json.dumps([{"title": head, "snippet": line} for head, line in pairs], ensure_ascii=False)
    elif style == 2:
        text = "\n".join(lines)
    elif style == 3:
        places = [str(path or file(rng, lang)), *(file(rng, lang) for _ in pairs)]
        text = "\n\n".join(
            f"{n}. {pick(rng, where.split('/')[-1], head)}\n{where}\n{line}"
            for n, (where, (head, line)) in enumerate(zip(places, pairs, strict=False), 1)
        )
    else:
        text = "\n\n".join(f"{head}\n{url(rng)}\n{line}" for head, line in pairs)
    return text, f"I found this: {' '.join(lines)}" if lang == "en" else f"我找到了:{''.join(lines)}"


def contents(rng: Random, lang: Lang, values: Values) -> Result:
    path = values["path"]
    if rng.random() < 0.02:
        return "(no output)", f"The file {path} is empty." if lang == "en" else f"文件{path}是空的。"
    kinds: list[Callable[[], str]] = [
        lambda: statement(rng, lang),
        lambda: statement(rng, lang),
        lambda: f"{made_up(rng)}: {rng.randint(1, 9999)}",
        lambda: f"{made_up(rng)} = {made_up(rng)}",
        lambda: phrase(rng, lang),
        lambda: f"{pick(rng, '#', '##', '-')} {phrase(rng, lang)}",
    ]
    text = "\n".join(rng.choice(kinds)() for _ in range(rng.choice([1, 1, 1, 2, 3])))
    return (
        text + pick(rng, "", "", "\n"),
        f"The file {path} says:\n{text}" if lang == "en" else f"文件{path}的内容是:\n{text}",
    )


def _some(rng: Random, lang: Lang, holds: str) -> list[str]:
    names = [
        pick(rng, file_name(rng, lang), file_name(rng, lang), rng.choice(FOLDERS))
        for _ in range(rng.choice([1, 2, 3, 3, 4, 5, 7]))
    ]
    if holds:
        names.insert(rng.randint(0, len(names)), holds)
    return list(dict.fromkeys(names))


def entries(rng: Random, lang: Lang, values: Values) -> Result:
    """`holds`, among the values: a name that shall be there."""
    here = values["path"] == HERE
    place = values["path"] if not here else "The workspace" if lang == "en" else "工作区"
    if "holds" not in values and rng.random() < 0.02:
        return "(no output)", f"{place} is empty." if lang == "en" else f"{place}是空的。"
    names = _some(rng, lang, str(values.get("holds", "")))
    text = pick(
        rng,
        "\n".join(names),
        "\n".join(f"[{'FILE' if '.' in name else 'DIR'}] {name}" for name in names),
        "\n".join(f"[{'FILE' if '.' in name else 'DIR'}] {name}" for name in names),
        json.dumps(names, ensure_ascii=False),
    )
    return text, f"{place} contains: {', '.join(names)}." if lang == "en" else f"{place}里有:{'、'.join(names)}。"


def paths(rng: Random, lang: Lang, values: Values) -> Result:
    """Of files by their names. `holds`, among the values: the path of the first."""
    pattern, first = str(values["pattern"]), str(values.get("holds", ""))
    if not first and rng.random() < 0.1:
        return nothing(rng, lang, pattern)
    stem, _, ending = pattern.rpartition(".")
    named = f"{stem.replace('*', made_up(rng)) or pattern}.{ending if stem else rng.choice(ENDINGS)}"
    root = first.rpartition("/")[0] or pick(
        rng, "/workspace", "/workspace", f"/workspace/{rng.choice(FOLDERS)}", "/data"
    )
    hits = [first or f"{root}/{named}"]
    for _ in range(rng.choice([0, 0, 1, 2])):
        hits.append(f"{root}/{rng.choice(FOLDERS)}/{pick(rng, made_up(rng), rng.choice(FOLDERS))}/{named}")
    hits = list(dict.fromkeys(hits))
    return "\n".join(hits), f"I found: {', '.join(hits)}." if lang == "en" else f"找到:{'、'.join(hits)}。"


def printed(rng: Random, lang: Lang, values: Values) -> Result:
    text = shell.output(rng, str(values.get("command") or values["script"]))
    if not text.strip():
        silent = "The command printed nothing." if lang == "en" else "命令没有输出。"
        return pick(rng, "(no output)", "(no output)", "(no output)", ""), silent
    said = f"The command printed:\n{text}" if lang == "en" else f"命令输出:\n{text}"
    return text + pick(rng, "", "\n"), said


def weather(rng: Random, lang: Lang, values: Values) -> Result:
    sky = rng.choice(k.pairs("sunny=晴;cloudy=多云;rainy=有雨;snowy=有雪;windy=有风;foggy=有雾"))[
        0 if lang == "en" else 1
    ]
    degrees, place = rng.randint(-20, 42), values["city"]
    text = pick(
        rng,
        f"{degrees} °C, {sky}",
        json.dumps({"temperature": degrees, "condition": sky}, ensure_ascii=False),
        f"{place}: {sky}, {degrees} °C",
    )
    return text, f"In {place} it is {degrees} °C and {sky}." if lang == "en" else f"{place}现在{degrees} °C,{sky}。"


def told(en: str, zh: str, make: Callable[[Random, Lang], str]) -> Callable[[Random, Lang, Values], Result]:
    def result(rng: Random, lang: Lang, values: Values) -> Result:
        text = make(rng, lang)
        return text, (en if lang == "en" else zh).format(result=text, **values)

    return result


def done(en: str, zh: str, code: str = "") -> Callable[[Random, Lang, Values], Result]:
    """`code`: how Playwright's server tells what it did."""

    def result(rng: Random, lang: Lang, values: Values) -> Result:
        answer = (en if lang == "en" else zh).format(**values)
        if code and rng.random() < 0.5:
            role = pick(rng, "button", "link")
            return pages.acted(rng, lang, code.format(role=role, name=made_up(rng).capitalize(), **values)), answer
        subject = next(iter(values.values()), "it")
        text = pick(
            rng, "ok", "OK", "done", "Success", "true", '{"ok": true}', "成功", f"Successfully changed {subject}",
            f"Done: {subject}", f"Successfully wrote to {subject}",
        )  # fmt: skip
        return text, answer

    return result


def _absolute(path: str | int) -> str:
    return str(path) if str(path).startswith("/") else f"/workspace/{str(path).removeprefix('./')}"


def edited(rng: Random, lang: Lang, values: Values) -> Result:
    answer = f"{values['path']} has been changed." if lang == "en" else f"{values['path']}已修改。"
    if rng.random() < 0.4:
        return done(answer, answer)(rng, lang, {})
    path = _absolute(values["path"])
    diff = f"Index: {path}\n{'=' * 67}\n--- {path}\toriginal\n+++ {path}\tmodified\n@@ -1,1 +1,1 @@\n-{values['old']}\n+{values['new']}\n"
    return f"```diff\n{diff}```", answer


def moved(rng: Random, lang: Lang, values: Values) -> Result:
    text, answer = done("{source} is now {destination}.", "{source}已移到{destination}。")(rng, lang, values)
    return text if rng.random() < 0.5 else "Successfully moved {source} to {destination}".format(**values), answer


def page_says(lang: Lang, nodes: list[pages.Node]) -> str:
    text = pages.told(nodes)
    if not text:
        return "The page is empty." if lang == "en" else "网页是空的。"
    return f"The page says: {text}" if lang == "en" else f"网页上写着:{text}"


def opened(rng: Random, lang: Lang, values: Values) -> Result:
    """An answer of "" where the tool shows nothing of the page: it has to be looked at with another tool."""
    address = str(values["url"])
    if rng.random() < 0.7:
        blind = [
            "ok",
            "done",
            f"Navigated to {address}",
            f"Successfully navigated to {address}",
            json.dumps({"url": address, "title": made_up(rng).capitalize()}),
        ]
        return pages.acted(rng, lang, f"goto('{address}')", address) if rng.random() < 0.8 else rng.choice(blind), ""
    nodes = pages.page(rng, lang)
    shape = pages.plain if rng.random() < 0.5 else pages.markdown
    return shape(rng, nodes), page_says(lang, nodes)


def only_opened(lang: Lang, values: Values) -> str:
    return f"I opened {values['url']}." if lang == "en" else f"已打开{values['url']}。"


def looked(rng: Random, lang: Lang, values: Values) -> Result:
    """What the open page shows; `url`, among the values: its address, where that is known."""
    nodes = pages.page(rng, lang) if rng.random() < 0.98 else []
    shape = rng.random()
    if shape < 0.75:
        text = pages.snapshot(rng, lang, nodes, str(values.get("url") or url(rng)))
    else:
        text = pages.markdown(rng, nodes) if shape < 0.9 else pages.plain(rng, nodes)
    return text, page_says(lang, nodes)


def in_page(rng: Random, lang: Lang, values: Values) -> Result:
    sought = str(values["text"])
    if rng.random() < 0.2:
        return f'### Result\nNo matches found for "{sought}".', nothing(rng, lang, sought)[1]
    line = pick(rng, "{s}", "{s} {t}", "{t} {s}").format(s=sought, t=statement(rng, lang))
    where = pages.tree(rng, [("paragraph", pages.cleaned(line))])
    text = f'### Result\nFound 1 match for "{sought}":\n\n{where}'
    line = pages.cleaned(line)
    return text, f"The page says: {line}" if lang == "en" else f"网页上写着:{line}"


def goes_wrong(rng: Random, family: str, values: Values) -> bool:
    command = str(values.get("command") or values.get("script", ""))
    return shell.fails(rng, command) if family in ("command", "script") else rng.random() < 0.08


def failed(rng: Random, lang: Lang, family: str, tool: str, values: Values) -> Result:
    """A result that says why it did not work, and the answer that tells it."""
    if family in ("command", "script"):
        command = values.get("command") or values["script"]
        called = command if family == "command" else values.get("interpreter", "bash")
        text, reason = shell.failure(rng, str(command), str(called))
    elif family == "navigate" and rng.random() < 0.6:
        text, reason = pages.failed(rng, str(values["url"]))
    else:
        server = pick(rng, "files", "commands", "browser", "search", made_up(rng))
        reasons = [
            "file not found", "permission denied", "no such file or directory", "timeout", "connection refused", "not a directory", "invalid argument",
            f"{made_up(rng)} is not available", f"tool {server} is not reachable", f"The tool server {server} is not available: {pick(rng, 'connection refused', 'it does not answer', phrase(rng, 'en', longest=4))}.",
            f"{tool} did not finish within {rng.randint(5, 120)} s and was cancelled.", f"{tool} failed several times in a row and is not called for another {rng.randint(1, 60)} s.",
        ]  # fmt: skip
        if (path := values.get("path") or values.get("source")) and path != HERE:
            reasons += [f"ENOENT: no such file or directory, open '{_absolute(path)}'"] * 5
            reasons += [
                f"EACCES: permission denied, open '{path}'",
                f"Access denied - path outside allowed directories: {path} not in /workspace",
            ] * 2
        if old := values.get("old"):
            reasons += [f"Could not find exact match for edit:\n{old}"] * 4
        reason = rng.choice(reasons)
        text = pick(rng, "Error: ", "Error: ", "error: ", "ERROR: ") + reason
    reason = reason.split("\n")[0].rstrip(".:")
    return text, f"That did not work: {reason}." if lang == "en" else f"没有成功:{reason}。"


# --- the families -----------------------------------------------------------------------------------------------------
PATH = Parameter(
    ["path", "path", "file_path", "filename", "file", "filepath"],
    ["Path of the file", "The file's path", "File to use", "Absolute or relative path"],
    ["文件路径", "要操作的文件", "文件的路径"],
)
DIRECTORY = Parameter(
    ["path", "directory", "dir", "folder"],
    ["Path of the directory", "The folder", "Directory to use"],
    ["目录路径", "文件夹", "要操作的目录"],
)
QUERY = Parameter(
    ["query", "query", "q", "keywords", "search_query", "text", "term"],
    ["The search query", "What to search for", "Search terms", "Keywords"],
    ["搜索关键词", "要搜索的内容", "查询词"],
)
COUNT = Parameter(
    ["count", "limit", "max_results", "num_results", "top_k"],
    ["How many results", "Maximum number of results", "Number of results"],
    ["结果数量", "最多返回多少条"],
    "integer",
)
URL = Parameter(
    ["url", "url", "address", "link"],
    ["The address", "URL to open", "Address of the page"],
    ["网址", "网页地址", "要打开的链接"],
)
CITY = Parameter(["city", "location", "place"], ["Name of the city", "The city", "Where"], ["城市名", "地点", "城市"])
TEXT = Parameter(
    ["text", "content", "message"], ["The text", "Text to use", "What to write"], ["文字内容", "文本", "要写的内容"]
)
COMMAND = Parameter(
    ["command", "command", "cmd"],
    ["The command line", "Shell command to run", "Command to execute"],
    ["命令行", "要执行的命令", "命令"],
)


def values_of(**makers: Callable[[Random, Lang, bool], str | int]) -> Callable[[Random, Lang, bool], Values]:
    return lambda rng, lang, held: {name: make(rng, lang, held) for name, make in makers.items()}


def _phrase(rng: Random, lang: Lang, held: bool) -> str:
    return phrase(rng, lang, held=held)


def _content(rng: Random, lang: Lang, held: bool) -> str:
    return phrase(rng, lang, held=held) if rng.random() < 0.6 else sentence(rng, lang, held=held)


def _target(rng: Random, lang: Lang, held: bool) -> str:
    """An element of a page: its label, or its mark in a snapshot."""
    if rng.random() < 0.3:
        return pick(rng, "", "", f"f{rng.randint(1, 9)}") + f"e{rng.randint(2, 99)}"
    return phrase(rng, lang, held=held, longest=2)


def _found(rng: Random, lang: Lang, held: bool) -> Values:
    """A name to find, or part of one; mostly in the folder that the tools work in, which requests do not name."""
    pattern = pick(rng, file_name(rng, lang), stem(rng, lang), "*." + rng.choice(ENDINGS))
    return {"path": HERE if rng.random() < 0.6 else folder(rng), "pattern": pattern}


def _changed(rng: Random, lang: Lang, held: bool) -> Values:
    old, new = (
        pick(rng, phrase(rng, lang, held=held, longest=4), made_up(rng), str(rng.randint(1, 9999))) for _ in range(2)
    )
    return {"path": file(rng, lang), "old": old, "new": new}


def _script(rng: Random, lang: Lang, held: bool) -> Values:
    interpreter, lines = shell.script(rng)
    values: Values = {"script": lines}
    return values | {"interpreter": interpreter} if rng.random() < 0.5 else values


FAMILIES = [
    Family("search", ["search", "search", "search", "web_search", "search_web", "google_search", "internet_search", "find_online", "bing_search"],
           ["Search the web.", "Search the internet for information.", "Look something up on the web and return results.", "Web search: returns titles and snippets.", "Find pages on the internet that match a query.", "Search the web", "Searches online", "web search", "Search the documents in the workspace by their words, and get titles, paths and extracts.", "Find documents that match a query."],
           ["搜索网络。", "在互联网上搜索信息。", "网络搜索,返回标题和摘要。", "上网查找资料。", "联网搜索", "在工作区的文档中搜索,返回标题、路径和摘录。"],
           {"query": QUERY}, values_of(query=_phrase),
           ["Search for {query!q}", "Search for {query!q}.", "Please search for {query!q}.", "Search the web for {query!q}.", "Look up {query!q} online.", "Can you search for {query!q}?", "Find information about {query!q}.", "Use the search tool to look for {query!q}.", "search {query!q}", "Look for {query!q} on the internet.", "I need information on {query!q}. Search the web, please.", "Could you look up {query!q}?", "Web search: {query}", "Search for {query}", "Search: {query}", "Do a web search for {query!q}.", "What does the web say about {query!q}?"],
           ["搜索{query!q}", "请搜索{query!q}。", "搜一下{query!q}", "帮我搜索{query!q}。", "在网上搜索{query!q}", "请上网查一下{query!q}。", "帮我查一下{query!q}", "用搜索工具查找{query!q}", "搜索:{query}", "搜索一下{query!q}。", "查找关于{query!q}的信息。", "能帮我搜索{query!q}吗?", "我想了解{query!q},请搜索。", "网上搜{query!q}", "搜索{query}"],
           found),
    Family("read", ["read_file", "read_file", "open_file", "view_file", "get_file_contents", "file_read", "cat"],
           ["Read a file.", "Read the contents of a file.", "Return the text of a file.", "Open a file and return what is in it.", "Show what a file contains."],
           ["读取文件。", "读取文件的内容。", "返回文件中的文字。", "打开文件并返回内容。"],
           {"path": PATH}, values_of(path=lambda rng, lang, held: file(rng, lang)),
           ["Read {path}", "Read the file {path}.", "Show me the contents of {path}.", "What is in {path}?", "Open {path} and tell me what it says.", "Please read {path!q}.", "What does the file {path} say?", "Read the file at {path}", "Can you show me {path}?", "Print the file {path}.", "Read {path!q}"],
           ["读取{path}", "请读取文件{path}。", "{path}里有什么?", "打开{path}看看内容。", "显示{path}的内容。", "看看文件{path}写了什么。", "帮我读一下{path}", "请读取{path!q}。"],
           contents),
    Family("write", ["write_file", "write_file", "save_file", "create_file", "file_write"],
           ["Write text to a file.", "Create a file with the given content.", "Save text into a file.", "Overwrite a file with new content."],
           ["写入文件。", "用给定内容创建文件。", "把文字保存到文件。"],
           {"path": PATH, "content": Parameter(["content", "text", "data"], ["Text to write", "The new content", "What the file shall hold"], ["要写入的内容", "文件内容"])},
           values_of(path=lambda rng, lang, held: file(rng, lang), content=_content),
           ["Write {content!q} to {path}.", "Save {content!q} in the file {path}.", "Create the file {path} with the text {content!q}.", "Put {content!q} into {path}", "Make a file {path} that says {content!q}."],
           ["把{content!q}写入{path}。", "新建文件{path},内容为{content!q}。", "将{content!q}保存到{path}", "在{path}里写上{content!q}。"],
           done("{path} has been written.", "{path}已写好。")),
    Family("list", ["list_directory", "list_directory", "list_files", "list_dir", "directory_list", "ls"],
           ["List the files of a directory.", "List what is in a folder.", "Return the names of files and folders in a directory.", "Show a directory's entries."],
           ["列出目录中的文件。", "列出文件夹的内容。", "返回目录下的文件名。"],
           {"path": DIRECTORY}, values_of(path=lambda rng, lang, held: HERE if rng.random() < 0.25 else folder(rng)),
           ["List the files in {path}.", "What files are in {path}?", "Show the directory {path}.", "List {path}", "Which files does the folder {path} hold?", "List the directory {path!q}.", "Show me what is in the folder {path}.",
            "List the files in the workspace.", "What is in the workspace?", "Show me the files in the workspace.", "Which files are there?", "List the workspace", "What files are in the current folder?", "List the files here.", "list the files in the workspace", "Show the files in the current directory."],
           ["列出{path}里的文件。", "{path}目录下有哪些文件?", "查看目录{path}。", "列出目录{path}", "文件夹{path}里有什么?", "请列出{path}中的文件",
            "列出工作区里的文件。", "工作区里有什么文件?", "看看工作区里有哪些文件。", "列出当前目录的文件。", "当前文件夹里有什么?", "列出工作区的文件", "这里有哪些文件?"],
           entries),
    Family("command", ["run_command", "run_command", "execute_command", "shell", "bash", "run_shell", "terminal"],
           ["Run a shell command.", "Execute a command line and return its output.", "Run a command in the terminal.", "Execute a command on this machine."],
           ["运行shell命令。", "执行命令行并返回输出。", "在终端运行命令。"],
           {"command": COMMAND}, values_of(command=lambda rng, lang, held: shell.line(rng)),
           ["Run {command!q}", "Run {command!q}", "Run {command!q}.", "Run the command {command!q}.", "Run: {command}", "Execute {command!q}.", "Please run {command!q} in the terminal.", "Run `{command}`", "Execute the shell command {command!q}.", "What does {command!q} print? Run it."],
           ["运行{command!q}", "运行{command!q}", "运行{command!q}。", "运行:{command}", "请执行命令{command!q}。", "在终端运行{command!q}。", "执行`{command}`", "运行命令{command!q}看看结果。", "帮我跑一下{command!q}"],
           printed),
    Family("navigate", ["browser_navigate", "browser_navigate", "navigate", "open_url", "goto", "visit_page"],
           ["Open a page in the browser.", "Navigate the browser to a URL.", "Go to a web address.", "Load a website in the browser."],
           ["在浏览器中打开网页。", "让浏览器访问网址。", "打开一个网站。"],
           {"url": URL}, values_of(url=lambda rng, lang, held: url(rng)),
           ["Open {url}", "Open {url}", "Go to {url}.", "Open the page {url} in the browser.", "Navigate to {url}", "Visit {url}.", "Please open the website {url}", "Show me {url}",
            "Open {url} and tell me what it says.", "Open {url} and read it.", "What does the page {url} say?", "What does {url} say?", "Read the page {url}.", "Go to {url} and tell me what is there.", "What is on the page {url}?"],
           ["打开{url}", "打开{url}", "请打开网页{url}", "访问{url}", "在浏览器中打开{url}", "浏览{url}", "转到网址{url}",
            "打开{url},告诉我上面写着什么。", "打开{url}看看写了什么", "网页{url}上写着什么?", "{url}上写了什么?", "读一下网页{url}。", "访问{url}并告诉我内容。"],
           opened),
    Family("snapshot", ["browser_snapshot", "browser_snapshot", "browser_get_markdown", "browser_get_text", "get_page_text", "read_page", "page_snapshot"],
           ["Read the page that is open in the browser.", "Capture accessibility snapshot of the current page.", "Get the content of the current page as markdown.", "Get the text of the current page.", "Return what the open page shows."],
           ["读取浏览器中打开的网页。", "获取当前页面的快照。", "返回当前网页的文字。"],
           {}, values_of(),
           ["What does the page say?", "Read the page.", "Read the page that is open.", "What is on the page?", "Tell me what the page says.", "Show me the text of the current page.", "What does the open page show?"],
           ["网页上写着什么?", "读一下当前的网页。", "页面上有什么?", "告诉我网页写了什么。", "看看打开的网页写着什么。", "读取当前页面的内容。"],
           looked),
    Family("back", ["browser_navigate_back", "browser_navigate_back", "browser_go_back", "go_back", "browser_back"],
           ["Go back to the previous page.", "Go back to the previous page in the history", "Return to the page before."],
           ["返回上一页。", "回到前一个网页。"],
           {}, values_of(),
           ["Go back.", "Go back to the previous page.", "Return to the last page.", "Back to the page before, please.", "Please go back one page."],
           ["返回上一页。", "回到上一个页面", "请后退一页。", "退回前一页"],
           done("I went back.", "已返回上一页。", "goBack()")),
    Family("in_page", ["browser_find", "browser_find", "find_in_page", "search_page", "find_on_page"],
           ["Find text on the page that is open.", "Search the current page for a text.", "Search the snapshot of the current page for text."],
           ["在当前网页中查找文字。", "在打开的页面里搜索。"],
           {"text": Parameter(["text", "text", "query", "needle"], ["Text to find", "What to look for on the page"], ["要查找的文字"])},
           values_of(text=lambda rng, lang, held: phrase(rng, lang, held=held, longest=4)),
           ["Find {text!q} on the page.", "Look for {text!q} on this page.", "Is {text!q} on the page?", "Search the page for {text!q}.", "Where on the page is {text!q}?"],
           ["在网页上找{text!q}。", "在当前页面中查找{text!q}", "页面上有没有{text!q}?", "在这个网页里搜索{text!q}。"],
           in_page),
    Family("click", ["browser_click", "click", "click_element", "mouse_click"],
           ["Click an element of the page.", "Click a button or link.", "Press a button on the current page."],
           ["点击页面上的元素。", "点击按钮或链接。"],
           {"target": Parameter(["selector", "element", "target", "label"], ["What to click", "The element", "Label of the button"], ["要点击的元素", "按钮的名称"])},
           values_of(target=_target),
           ["Click {target!q}.", "Click on the button {target!q}", "Press the button {target!q}.", "Click the link {target!q}."],
           ["点击{target!q}。", "点一下{target!q}按钮", "请按下{target!q}按钮。", "点击链接{target!q}"],
           done("I clicked {target}.", "已点击{target}。", "getByRole('{role}', {{ name: '{name}' }}).click()")),
    Family("fill", ["browser_type", "browser_type", "fill", "browser_fill", "type_into", "fill_field"],
           ["Type text into an element of the page.", "Type text into editable element", "Fill in a field of the page.", "Enter text into an input field."],
           ["在页面元素中输入文字。", "填写网页上的输入框。"],
           {"target": Parameter(["target", "selector", "element", "field"], ["The field", "Where to type", "Element to type into"], ["输入框", "要填写的元素"]), "text": TEXT},
           values_of(target=_target, text=_phrase),
           ["Type {text!q} into {target!q}.", "Type {text!q} into the field {target!q}.", "Fill {text!q} into {target}.", "Enter {text!q} in the field {target!q}", "Fill in {target!q} with {text!q}."],
           ["在{target!q}中输入{text!q}。", "在{target}里输入{text!q}", "把{text!q}填入{target!q}。", "在输入框{target!q}里填写{text!q}"],
           done("I typed the text.", "已输入文字。", "getByRole('textbox', {{ name: '{name}' }}).fill('{text}')")),
    Family("type", ["type_text", "keyboard_type", "input_text", "browser_type"],
           ["Type text into the focused field.", "Enter text with the keyboard.", "Fill in a text field."],
           ["在输入框中输入文字。", "用键盘输入文本。"],
           {"text": TEXT}, values_of(text=_phrase),
           ["Type {text!q}.", "Enter the text {text!q}", "Type {text!q} into the field.", "Fill in {text!q}."],
           ["输入{text!q}。", "在输入框里输入{text!q}", "键入{text!q}"],
           done("I typed the text.", "已输入文字。")),
    Family("weather", ["get_weather", "get_weather", "weather", "current_weather"],
           ["Get the current weather of a city.", "Tells the weather at a place.", "Current weather"],
           ["查询城市的天气。", "获取当前天气。"],
           {"city": CITY}, values_of(city=lambda rng, lang, held: city(rng, lang)),
           ["What is the weather in {city}?", "How is the weather in {city}?", "Tell me the weather in {city}.", "Weather in {city}", "Is it raining in {city}?", "What's the weather like in {city} today?"],
           ["{city}的天气怎么样?", "{city}天气如何?", "查一下{city}的天气。", "今天{city}下雨吗?", "告诉我{city}的天气"],
           weather),
    Family("time", ["get_time", "current_time", "get_current_time", "clock"],
           ["Get the current time of a city.", "Tells what time it is at a place.", "Current local time"],
           ["查询城市的当前时间。", "获取当地时间。"],
           {"city": Parameter(["city", "location", "timezone"], ["The city", "Where"], ["城市", "地点"])}, values_of(city=lambda rng, lang, held: city(rng, lang)),
           ["What time is it in {city}?", "Tell me the time in {city}.", "What is the current time in {city}?", "How late is it in {city}?"],
           ["{city}现在几点?", "{city}现在是什么时间?", "告诉我{city}的时间。"],
           told("It is {result} in {city}.", "{city}现在是{result}。", clock)),
    Family("calculate", ["calculator", "calculate", "evaluate", "math"],
           ["Evaluate an arithmetic expression.", "Calculate the value of an expression.", "A calculator"],
           ["计算算术表达式。", "计算器"],
           {"expression": Parameter(["expression", "expr", "formula"], ["The expression", "What to calculate"], ["算式", "要计算的表达式"])}, values_of(expression=lambda rng, lang, held: expression(rng)),
           ["Use the calculator: {expression}", "Calculate {expression} with the calculator.", "Use the calculator to work out {expression}.", "Evaluate {expression} with the tool."],
           ["用计算器算{expression}", "请用计算器计算{expression}。", "用工具计算{expression}"],
           told("The result is {result}.", "结果是{result}。", lambda rng, lang: pick(rng, str(rng.randint(0, 99999)), f"{rng.random() * 1000:.2f}"))),
    Family("email", ["send_email", "send_email", "email", "send_mail"],
           ["Send an email.", "Send a mail to somebody.", "Sends an e-mail message"],
           ["发送电子邮件。", "发邮件给某人。"],
           {"to": Parameter(["to", "recipient", "address"], ["Who gets it", "The recipient's address"], ["收件人", "收件地址"]), "subject": Parameter(["subject", "title"], ["The subject", "Subject line"], ["主题", "邮件标题"])},
           values_of(to=lambda rng, lang, held: email(rng), subject=lambda rng, lang, held: phrase(rng, lang, held=held, longest=6)),
           ["Send an email to {to} with the subject {subject!q}.", "Email {to} about {subject!q}.", "Write a mail to {to}, subject {subject!q}."],
           ["给{to}发一封邮件,主题是{subject!q}。", "发邮件到{to},标题为{subject!q}", "请发邮件给{to},主题{subject!q}。"],
           done("The email to {to} has been sent.", "给{to}的邮件已发送。")),
    Family("translate", ["translate", "translate_text", "translator"],
           ["Translate text into another language.", "Translates a text."],
           ["把文本翻译成另一种语言。", "翻译文本。"],
           {"text": TEXT, "language": Parameter(["language", "target_language", "to"], ["The target language", "Into which language"], ["目标语言"])},
           values_of(text=_phrase, language=lambda rng, lang, held: rng.choice(k.COUNTRIES)[6 if lang == "en" else 7]),
           ["Use the translator to turn {text!q} into {language}.", "Translate {text!q} into {language} with the tool.", "Use the tool to translate {text!q} to {language}."],
           ["用翻译工具把{text!q}翻译成{language}。", "请用工具将{text!q}译成{language}"],
           told("The translation is: {result}", "译文是:{result}", lambda rng, lang: phrase(rng, lang))),
    Family("screenshot", ["browser_screenshot", "screenshot", "take_screenshot"],
           ["Take a screenshot.", "Take a picture of the screen.", "Capture the current page as an image."],
           ["截取屏幕。", "对当前页面截图。"],
           {}, values_of(),
           ["Take a screenshot.", "Make a screenshot of the page.", "Capture the screen.", "Please take a screenshot", "Screenshot, please."],
           ["截个图。", "请截屏。", "对页面截图", "截一张屏幕图片。"],
           done("I took a screenshot.", "已截图。")),
    Family("delete", ["delete_file", "remove_file", "rm"],
           ["Delete a file.", "Remove a file from the disk."],
           ["删除文件。", "从磁盘上删除文件。"],
           {"path": PATH}, values_of(path=lambda rng, lang, held: file(rng, lang)),
           ["Delete {path}", "Delete the file {path}.", "Remove the file {path}.", "Please delete {path!q}."],
           ["删除{path}", "请删除文件{path}。", "把文件{path}删掉。"],
           done("{path} has been deleted.", "{path}已删除。")),
    Family("move", ["move_file", "rename_file", "mv"],
           ["Move or rename a file.", "Move a file to another place."],
           ["移动或重命名文件。", "把文件移到别处。"],
           {"source": Parameter(["source", "from", "src"], ["The file to move", "Where it is"], ["源文件"]), "destination": Parameter(["destination", "to", "dst", "target"], ["Where it goes", "The new path"], ["目标路径"])},
           values_of(source=lambda rng, lang, held: file(rng, lang), destination=lambda rng, lang, held: file(rng, lang)),
           ["Move {source} to {destination}.", "Rename {source} to {destination}.", "Move the file {source} to {destination}"],
           ["把{source}移动到{destination}。", "将{source}重命名为{destination}", "把文件{source}移到{destination}"],
           moved),
    Family("edit", ["edit_file", "edit_file", "str_replace", "replace_in_file", "file_edit", "patch_file"],
           ["Edit a file: replace text in it.", "Replace a text in a file by another.", "Make line-based edits to a text file.", "Change part of a file."],
           ["修改文件:替换其中的文字。", "把文件中的一段文字换成另一段。"],
           {"path": PATH, "old": Parameter(["oldText", "old_text", "old_string", "old", "find"], ["Text to search for", "The text to be replaced"], ["要替换的文字"]), "new": Parameter(["newText", "new_text", "new_string", "new", "replacement"], ["Text to replace with", "The new text"], ["新的文字"])},
           _changed,
           ["Replace {old!q} with {new!q} in {path}.", "In {path}, replace {old!q} by {new!q}.", "Change {old!q} to {new!q} in the file {path}.", "Edit {path}: {old!q} shall become {new!q}."],
           ["把{path}里的{old!q}改成{new!q}。", "在{path}中用{new!q}替换{old!q}", "将文件{path}中的{old!q}替换为{new!q}。"],
           edited, together=("old", "new")),
    Family("find", ["search_files", "search_files", "find_files", "find_file", "file_search", "glob"],
           ["Find files by their names.", "Recursively search for files and directories matching a pattern.", "Search a folder for files whose names match.", "Find files whose place is not known."],
           ["按名称查找文件。", "在目录中查找名称匹配的文件。"],
           {"path": DIRECTORY, "pattern": Parameter(["pattern", "pattern", "name", "glob"], ["Part of the name", "The name or pattern"], ["文件名", "名称或模式"])},
           _found,
           ["Find files named {pattern!q} in {path}.", "Which files in {path} have {pattern!q} in their names?", "Find the file {pattern!q} in the folder {path}.", "Look in {path} for files called {pattern!q}.",
            "Find the file {pattern}.", "Where is the file {pattern}?", "Find files named {pattern!q}.", "Find all files in the workspace with {pattern!q} in their names.", "Search the workspace for files called {pattern!q}.", "Find files whose names contain {pattern!q}."],
           ["在{path}里查找名为{pattern!q}的文件。", "{path}里哪些文件的名字含有{pattern!q}?", "在文件夹{path}中找文件{pattern}。",
            "查找文件{pattern}。", "文件{pattern}在哪里?", "在工作区里找名为{pattern!q}的文件。", "哪些文件的名字里有{pattern!q}?", "找一下文件名包含{pattern!q}的文件"],
           paths),
    Family("script", ["run_script", "run_script", "execute_script", "run_code", "exec_script"],
           ["Run a script.", "Run a script on this machine.", "Pipe a script into an interpreter and return its output.", "Execute several lines of code."],
           ["运行脚本。", "用解释器执行脚本。"],
           {"script": Parameter(["script", "script", "code", "source"], ["Script to run", "The lines of the script"], ["要运行的脚本"]), "interpreter": Parameter(["interpreter", "interpreter", "language"], ["What runs it, bash for example", "Command that the script is piped to"], ["解释器"])},
           _script,
           ["Run the script {script!q}.", "Run this script:\n{script}", "Execute the script {script!q}", "Run the {interpreter} script {script!q}.", "Run this {interpreter} script:\n{script}", "Run this script with {interpreter}:\n{script}", "Run this script with {interpreter}: {script}"],
           ["运行脚本{script!q}。", "运行这个脚本:\n{script}", "执行脚本:{script}", "用{interpreter}运行脚本{script!q}。", "用{interpreter}执行这个脚本:\n{script}", "运行{interpreter}脚本:{script}"],
           printed, optional=frozenset({"interpreter"})),
    Family("grep", ["search_files", "grep", "find_in_files", "file_search"],
           ["Search for text in files.", "Find files that contain a text.", "Search the files of this machine for a pattern."],
           ["在文件中搜索文本。", "查找包含某段文字的文件。"],
           {"pattern": Parameter(["pattern", "text", "regex"], ["The text to find", "What to look for"], ["要查找的文字", "匹配内容"]), "path": DIRECTORY},
           values_of(pattern=lambda rng, lang, held: phrase(rng, lang, held=held, longest=2), path=lambda rng, lang, held: folder(rng)),
           ["Find files in {path} that contain {pattern!q}.", "Search the files of {path} for {pattern!q}.", "Grep for {pattern!q} in {path}.", "Which files in {path} contain {pattern!q}?"],
           ["在{path}的文件中查找{pattern!q}。", "{path}里哪些文件包含{pattern!q}?", "在目录{path}的文件里搜索{pattern!q}"],
           told("It is in: {result}", "在这里:{result}", lambda rng, lang: file(rng))),
    Family("mkdir", ["create_directory", "make_directory", "mkdir"],
           ["Create a directory.", "Make a new folder."],
           ["创建目录。", "新建文件夹。"],
           {"path": DIRECTORY}, values_of(path=lambda rng, lang, held: folder(rng)),
           ["Create the directory {path}.", "Make a folder {path}", "Create a new folder called {path}."],
           ["创建目录{path}。", "新建文件夹{path}", "请创建文件夹{path}。"],
           done("The folder {path} has been created.", "文件夹{path}已创建。")),
    Family("remind", ["set_reminder", "create_reminder", "add_reminder", "remind"],
           ["Set a reminder.", "Remind the user of something at a given time."],
           ["设置提醒。", "在指定时间提醒用户。"],
           {"text": TEXT, "time": Parameter(["time", "at", "when"], ["The time", "When"], ["时间"])},
           values_of(text=lambda rng, lang, held: phrase(rng, lang, held=held, longest=6), time=lambda rng, lang, held: clock(rng, lang)),
           ["Remind me of {text!q} at {time}.", "Set a reminder {text!q} for {time}.", "At {time}, remind me: {text!q}"],
           ["{time}提醒我{text!q}。", "设置一个{time}的提醒:{text!q}", "请在{time}提醒我{text!q}"],
           done("I will remind you at {time}.", "我会在{time}提醒你。")),
    Family("note", ["save_note", "add_note", "remember", "store_memory"],
           ["Save a note for later.", "Store a note in the user's notebook."],
           ["保存一条笔记。", "把笔记存入笔记本。"],
           {"text": Parameter(["note", "text", "content"], ["The note", "What to keep"], ["笔记内容"])}, values_of(text=_phrase),
           ["Save a note: {text!q}", "Add the note {text!q}.", "Note down {text!q}.", "Put {text!q} into my notes."],
           ["记一条笔记:{text!q}", "保存笔记{text!q}。", "把{text!q}记到笔记里"],
           done("I saved the note.", "笔记已保存。")),
    Family("stock", ["get_stock_price", "stock_price", "quote"],
           ["Get the price of a stock.", "Current share price of a company."],
           ["查询股票价格。", "获取公司的股价。"],
           {"symbol": Parameter(["symbol", "ticker", "company"], ["The ticker symbol", "The company"], ["股票代码", "公司"])},
           values_of(symbol=lambda rng, lang, held: made_up(rng).upper()[:5]),
           ["What is the stock price of {symbol}?", "How much is a share of {symbol}?", "Get the price of the stock {symbol}."],
           ["{symbol}的股价是多少?", "查一下{symbol}的股票价格。", "{symbol}一股多少钱?"],
           told("{symbol} stands at {result}.", "{symbol}的股价是{result}。", lambda rng, lang: f"{rng.random() * 900:.2f}")),
    Family("music", ["play_music", "play_song", "music_player"],
           ["Play music.", "Play a song."],
           ["播放音乐。", "播放歌曲。"],
           {"title": Parameter(["title", "song", "name"], ["The song", "Title of the song"], ["歌名"])}, values_of(title=lambda rng, lang, held: phrase(rng, lang, held=held, longest=5)),
           ["Play {title!q}.", "Play the song {title!q}", "Put on the song {title!q}, please."],
           ["播放{title!q}。", "放一首{title!q}", "请播放歌曲{title!q}"],
           done("Now playing {title}.", "正在播放{title}。")),
    Family("sql", ["query_database", "run_sql", "sql_query"],
           ["Run an SQL query.", "Query the database and return rows."],
           ["执行SQL查询。", "查询数据库并返回结果。"],
           {"sql": Parameter(["sql", "query", "statement"], ["The SQL", "The statement"], ["SQL语句"])},
           values_of(sql=lambda rng, lang, held: sql(rng)),
           ["Run the SQL {sql!q}.", "Query the database with {sql!q}", "Execute this SQL: {sql}"],
           ["执行SQL:{sql}", "在数据库中运行{sql!q}。", "用{sql!q}查询数据库"],
           told("The database returned: {result}", "数据库返回:{result}", lambda rng, lang: pick(rng, str(rng.randint(0, 9999)), f"{made_up(rng)}, {rng.randint(1, 99)}"))),
    Family("download", ["download_file", "download", "fetch_file"],
           ["Download a file from the web.", "Save what is at a URL to the disk."],
           ["从网上下载文件。", "把网址上的文件保存到磁盘。"],
           {"url": URL}, values_of(url=lambda rng, lang, held: url(rng)),
           ["Download {url}", "Download the file at {url}.", "Please download {url} for me."],
           ["下载{url}", "请下载文件{url}", "帮我把{url}下载下来"],
           done("The download is complete.", "下载完成。")),
]  # fmt: skip
BY_KEY = {family.key: family for family in FAMILIES}
MORE_RESULTS = {
    "en": [" Show {n} results.", " Give me {n} results.", " Limit it to {n} results."],
    "zh": ["给我{n}条结果。", "只要{n}条结果。", "返回{n}条结果。"],
}


@dataclass(frozen=True)
class Offer:
    """A family as one request offers it: its tool, and what the tool calls the family's parameters."""

    family: Family
    tool: Json
    names: dict[str, str]
    listed: str = ""  # the parameter that takes the family's `together` as one list of objects

    @property
    def name(self) -> str:
        name: str = self.tool["function"]["name"]
        return name


# What servers and gateways add to a tool: a label before its name, more sentences, parameters that nobody needs.
_LABELS = {
    "files": (
        "read write list delete move grep mkdir edit find".split(),
        "files files fs filesystem workspace disk".split(),
    ),
    "commands": (["command", "script"], "commands shell terminal sandbox exec".split()),
    "browser": (
        "navigate snapshot back in_page click fill type screenshot".split(),
        "browser browser page web chrome".split(),
    ),
    "search": (["search"], "search docs web knowledge library".split()),
}
_SENTENCES = {
    "en": ["Only works within allowed directories.", "Returns a clear error when something is wrong.", "Use this tool when you need its result, and only then.", "Handles text in any language and encoding.", "Long results are cut.", "The result is plain text.", "It is safe to call it more than once.", "Takes a few seconds at most.", "Relative names start at the workspace root.", "Great for finding things when you do not know their exact place.", "Answer from the result, or call another tool for more."],
    "zh": ["只能在允许的目录内使用。", "出错时返回明确的错误信息。", "只在需要结果时使用。", "结果是纯文本。", "过长的结果会被截断。", "可以多次调用。"],
}  # fmt: skip
_UNNEEDED: dict[str, Json] = {
    "cwd": {"type": "string", "default": "", "description": "Current working directory, leave empty in most cases"},
    "timeout": {"type": "number", "minimum": 1, "description": "Seconds to wait"},
    "encoding": {"type": "string", "enum": ["utf-8", "utf-16", "latin-1"]},
    "recursive": {"type": "boolean", "default": False, "description": "Whether to go into subdirectories"},
    "head": {"type": "integer", "description": "Only the first lines"},
    "tail": {"type": "integer", "description": "Only the last lines"},
    "dryRun": {"type": "boolean", "default": False, "description": "Show what would be done"},
    "depth": {"type": "number", "description": "How deep to go"},
    "exclude_patterns": {"type": "array", "items": {"type": "string"}, "default": []},
    "slowly": {"type": "boolean", "description": "Whether to take more time"},
    "boxes": {"type": "boolean", "description": "Whether to include the place of each element"},
    "submit": {"type": "boolean", "description": "Whether to press Enter after"},
    "format": {"type": "string", "enum": ["text", "json"]},
    "verbose": {"type": "boolean"},
}


def _labelled(rng: Random, family: Family, name: str) -> str:
    labels = next((labels for keys, labels in _LABELS.values() if family.key in keys), ["tools", "my", "mcp", "web"])
    return rng.choice(labels) + pick(rng, "_", "_", "_", "__", "-") + name


def canonical(schema: Json) -> Json:
    """In the order in which a gateway sends tools to the model: keys sorted, required properties first."""
    ordered = {key: canonical(value) if isinstance(value, dict) else value for key, value in sorted(schema.items())}
    if isinstance(properties := ordered.get("properties"), dict):
        names = [*ordered.get("required", []), *properties]
        ordered["properties"] = {name: properties[name] for name in dict.fromkeys(names)}
    return ordered


def read_more(rng: Random) -> Json:
    """What a gateway offers beside a request's tools, so that the rest of a long result can be read. No call of it is
    trained: it has to be passed over."""
    properties: Json = {"handle": {"description": "The handle in the note of the cut result.", "type": "string"}}
    if rng.random() < 0.5:
        properties["find"] = {"description": "Start at the first place that has this text.", "type": "string"}
    properties["offset"] = {"description": "The character to start from.", "minimum": 0, "type": "integer"}
    description = "Read more of a tool result that was too long and therefore cut."
    if rng.random() < 0.7:
        description += " The note at the end of the cut result has the handle and the offset to go on from."
    schema = {"additionalProperties": False, "properties": properties, "required": ["handle"], "type": "object"}
    name = pick(rng, "hearth_read_result", "hearth_read_result", "read_more", f"{made_up(rng)}_read_rest")
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def shipped(rng: Random, family: Family, taken: set[str]) -> Offer:
    """The tool for it that this repository's servers have."""
    name = servers.BY_FAMILY[family.key]
    description, schema = servers.shown(name, own=rng.random() < 0.25)
    label = servers.named(name) if rng.random() < 0.8 else pick(rng, name, _labelled(rng, family, name))
    taken.add(label)
    function = {"name": label, "description": description, "parameters": canonical(schema)}
    names = {
        key: own for key, own in servers.SHIPPED[name].names.items() if family.together or own in schema["properties"]
    }
    return Offer(family, {"type": "function", "function": function}, names, "edits" if family.together else "")


def offer(rng: Random, family: Family, lang: Lang, taken: set[str]) -> Offer:
    name = rng.choice(family.names)
    style = rng.random()
    if style < 0.1:  # nothing but the description tells what it does
        name = pick(rng, f"tool_{rng.randint(1, 99)}", f"{made_up(rng)}_{made_up(rng)}", f"fn{rng.randint(1, 999)}")
    elif style < 0.18:
        name = pick(rng, "mcp_", "web-", "my_", f"{made_up(rng)}__") + name
    elif style < 0.45:
        name = _labelled(rng, family, name)
    while name in taken:
        name += pick(rng, "_2", "_tool", "_v2")
    taken.add(name)
    in_chinese = lang == "zh" and rng.random() < 0.4
    names: dict[str, str] = {}
    properties: Json = {}
    described, titled = rng.random() < 0.5, rng.random() < 0.08
    parameters = dict(family.parameters)
    if family.key == "search" and rng.random() < 0.35:
        parameters["count"] = COUNT
    for key, parameter in parameters.items():
        names[key] = rng.choice([option for option in parameter.names if option not in names.values()])
        properties[names[key]] = {"type": parameter.type}
        if described:
            properties[names[key]]["description"] = rng.choice(parameter.zh if in_chinese else parameter.en)
        if titled:
            properties[names[key]]["title"] = names[key].replace("_", " ").title()
    listed = pick(rng, "", "edits", "edits", "changes") if family.together else ""
    if listed:
        each = {names[key]: properties.pop(names[key]) for key in family.together}
        item: Json = {"type": "object", "properties": each, "required": list(each)}
        properties[listed] = {"type": "array", "items": item}
    if rng.random() < 0.3:
        for unneeded in rng.sample(list(_UNNEEDED), rng.choice([1, 1, 2, 3])):
            properties.setdefault(unneeded, dict(_UNNEEDED[unneeded]))
    schema: Json = {"type": "object", "properties": properties}
    required = [names[key] for key in family.parameters if key not in family.optional and names[key] in properties]
    required += [listed] if listed else []
    if required and rng.random() < 0.85:
        schema["required"] = required
    if rng.random() < 0.2:
        schema["additionalProperties"] = False
    if titled:
        schema["title"] = f"{name}Arguments"
    if rng.random() < 0.12:
        schema = {
            "$schema": pick(
                rng, "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"
            )
        } | schema
    description = rng.choice(family.zh if in_chinese else family.en)
    if rng.random() < 0.3:
        description = " ".join(
            [description, *rng.sample(_SENTENCES["zh" if in_chinese else "en"], rng.choice([1, 1, 2, 3]))]
        )
    function: Json = {
        "name": name,
        "description": description,
        "parameters": canonical(schema) if rng.random() < 0.6 else schema,
    }
    if rng.random() < 0.04:
        function["strict"] = True
    return Offer(family, {"type": "function", "function": function}, names, listed)


@cache
def _asking(key: str, lang: Lang, named: frozenset[str]) -> list[str]:
    """A family's requests that name exactly these parameters."""
    asked = BY_KEY[key].ask_en if lang == "en" else BY_KEY[key].ask_zh
    return [template for template in asked if set(re.findall(r"{(\w+)", template)) == named]


def request(
    rng: Random, chosen: Offer, lang: Lang, *, held: bool, values: Values | None = None
) -> tuple[str, Json, Values]:
    """What the user says, the call's arguments, and the values in them by the family's own names. A value is said in
    the request, but for HERE."""
    values = values or chosen.family.values(rng, lang, held)
    named = frozenset(key for key, value in values.items() if key in chosen.family.parameters and value != HERE)
    text = rng.choice(_asking(chosen.family.key, lang, named))
    text = typed(rng, text) if lang == "zh" else text
    fill = {key: str(values[key]) for key in named}
    text = re.sub(r"{(\w+)(!q)?}", lambda part: quoted(rng, fill[part[1]], lang) if part[2] else fill[part[1]], text)
    arguments: Json = {
        chosen.names[key]: value
        for key, value in values.items()
        if key in chosen.family.parameters and key in chosen.names
    }
    if chosen.listed:
        each = {chosen.names[key]: arguments.pop(chosen.names[key]) for key in chosen.family.together}
        arguments[chosen.listed] = [each]
    if "count" in chosen.names and rng.random() < 0.3:
        n = rng.randint(1, 20)
        more = rng.choice(MORE_RESULTS[lang]).format(n=n)
        text += more if text[-1] in ".。?!?\uff1f" else ("." if lang == "en" else "。") + more
        arguments[chosen.names["count"]] = n
    return text, arguments, values
