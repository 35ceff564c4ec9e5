"""Tools an agent is offered, what users ask for that needs them, and what comes back."""
# ruff: noqa: E501, S608, SIM905

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import knowledge as k
from words import Json, Lang, made_up, made_up_name, phrase, pick, quoted

Values = dict[str, str | int]


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
    result: Callable[[Random, Lang, Values], tuple[str, str]] = field(repr=False)  # what the tool returns, the answer


# --- values -----------------------------------------------------------------------------------------------------------
HERE = "."  # what tools call the folder that they work in
_FOLDERS = "src docs data logs config home tmp var etc backup notes reports images scripts tests build projects photos music archive".split()
_STEMS = "main report notes todo readme config settings index data invoice letter plan budget summary server client app test backup draft table list log".split()
_ENDINGS = "txt md py json yaml csv log html js rs c sh pdf toml ini xml sql".split()


def stem(rng: Random) -> str:
    word = rng.choice(_STEMS) if rng.random() < 0.55 else made_up(rng)
    return word + pick(rng, "", "", "", f"_{rng.randint(1, 99)}", f"-{made_up(rng)}", str(rng.randint(1, 2030)))


def folder(rng: Random) -> str:
    parts = [rng.choice(_FOLDERS) if rng.random() < 0.7 else made_up(rng) for _ in range(rng.randint(1, 3))]
    return pick(rng, "/", "", "./", "/home/user/", "~/") + "/".join(parts)


def file(rng: Random) -> str:
    name = f"{stem(rng)}.{rng.choice(_ENDINGS)}"
    return name if rng.random() < 0.4 else f"{folder(rng)}/{name}"


def url(rng: Random) -> str:
    host = (
        pick(rng, "", "www.", "docs.")
        + pick(
            rng,
            "example",
            "wikipedia",
            "debian",
            "python",
            "github",
            "openai",
            made_up(rng),
            made_up(rng) + made_up(rng),
        )
        + pick(rng, ".com", ".org", ".net", ".cn", ".io", ".de")
    )
    path = pick(
        rng, "", "", "/", "/" + made_up(rng), f"/{rng.choice(_FOLDERS)}/{rng.randint(1, 999)}", f"/{made_up(rng)}.html"
    )
    return pick(rng, "https://", "https://", "http://") + host + path


def shell_line(rng: Random) -> str:
    return pick(
        rng,
        "ls -la", "pwd", "df -h", "free -m", "uname -a", "whoami", "date", "ps aux", "uptime", "git status", "git log -n 5", "docker ps", "nvidia-smi",
        f"ls -l {folder(rng)}", f"cat {file(rng)}", f"echo {made_up(rng)}", f"grep -rn {made_up(rng)} {folder(rng)}", f"wc -l {file(rng)}",
        f"mkdir -p {folder(rng)}", f"python3 {stem(rng)}.py", f"pip install {made_up(rng)}", f"du -sh {folder(rng)}", f"head -n {rng.randint(1, 50)} {file(rng)}",
        f"ping -c {rng.randint(1, 5)} {made_up(rng)}.com", f"tar -xzf {stem(rng)}.tar.gz", f"make {made_up(rng)}", f"echo {rng.randint(1, 9999)}", "npm test", "make test",
    )  # fmt: skip


def expression(rng: Random) -> str:
    text = str(rng.randint(1, 9999))
    for _ in range(rng.randint(1, 3)):
        text += pick(rng, " + ", " - ", " * ", " / ", "+", "*") + str(rng.randint(1, 999))
    return text


def city(rng: Random, lang: Lang) -> str:
    if rng.random() < 0.25:
        return (
            made_up(rng).capitalize()
            if lang == "en"
            else rng.choice(k.COMMON_HANZI) + rng.choice(k.COMMON_HANZI) + pick(rng, "市", "县", "")
        )
    return rng.choice(k.CITIES)[0 if lang == "en" else 1]


def email(rng: Random) -> str:
    return f"{pick(rng, rng.choice(k.NAMES).lower(), made_up(rng))}{pick(rng, '', '.' + made_up(rng), str(rng.randint(1, 99)))}@{pick(rng, 'example', made_up(rng))}.{pick(rng, 'com', 'org', 'net', 'cn')}"


def clock(rng: Random, lang: Lang) -> str:
    hour, minute = rng.randint(0, 23), rng.choice([0, 5, 15, 30, 45])
    return (
        f"{hour}:{minute:02}" if lang == "en" or rng.random() < 0.5 else f"{hour}点" + (f"{minute}分" if minute else "")
    )


# --- results ----------------------------------------------------------------------------------------------------------
def fact(rng: Random, lang: Lang) -> str:
    """A sentence about something made up: only the tool's result can tell it."""
    name = made_up_name(rng, lang, plain=True)
    n = rng.randint(2, 9999)
    if lang == "en":
        return pick(
            rng,
            f"The {name} tower is {n} metres high.", f"{name} has {n} inhabitants.", f"{name} was founded in {rng.randint(1000, 2026)}.", f"The mayor of {name} is {made_up_name(rng, lang)}.",
            f"Version {rng.randint(0, 20)}.{rng.randint(0, 30)} of {name} was released in {rng.choice(k.MONTHS)[0]}.", f"The {name} river is {n} kilometres long.", f"A ticket to {name} costs {n} euros.",
            f"{name} is a {rng.choice(k.CATEGORIES[13][3])[0]} city in {rng.choice(k.COUNTRIES)[0]}.", f"The {name} museum opens at {clock(rng, lang)}.", f"{name} needs {n} MB of memory.",
            f"The author of {name} is {made_up_name(rng, lang)}.", f"{name} is written in {rng.choice(k.CATEGORIES[1][3])[0]}.", f"The answer is {pick(rng, n, made_up(rng))}.", f"The price of {name} is {n} dollars.",
        )  # fmt: skip
    return pick(
        rng,
        f"{name}塔高{n}米。", f"{name}有{n}名居民。", f"{name}建于{rng.randint(1000, 2026)}年。", f"{name}的市长是{made_up_name(rng, lang)}。", f"{name}河长{n}公里。", f"去{name}的票价是{n}元。",
        f"{name}于{rng.choice(k.MONTHS)[1]}发布了新版本。", f"{name}博物馆{clock(rng, lang)}开门。", f"{name}需要{n}MB内存。", f"{name}的作者是{made_up_name(rng, lang)}。", f"答案是{pick(rng, n, phrase(rng, lang, longest=3))}。",
        f"{name}的价格是{n}元。", f"{name}位于{rng.choice(k.COUNTRIES)[1]}。",
    )  # fmt: skip


def wrapped(rng: Random, text: str) -> str:
    """The shapes in which results arrive: plain, or as MCP's content list."""
    shape = rng.random()
    if shape < 0.75:
        return text
    return json.dumps([{"type": "text", "text": text}], ensure_ascii=False)


def found(rng: Random, lang: Lang, values: Values) -> tuple[str, str]:
    facts = [fact(rng, lang) for _ in range(rng.choice([1, 1, 2, 3]))]
    heads = [
        pick(rng, made_up_name(rng, lang), str(values["query"]), f"{made_up(rng).capitalize()} - Wiki") for _ in facts
    ]
    style = rng.randrange(5)
    if style == 0:
        text = "\n".join(f"{n}. {head}: {line}" for n, (head, line) in enumerate(zip(heads, facts, strict=True), 1))
    elif style == 1:
        text = json.dumps(
            [{"title": head, "snippet": line} for head, line in zip(heads, facts, strict=True)], ensure_ascii=False
        )
    elif style == 2:
        text = "\n".join(facts)
    elif style == 3:
        text = "\n\n".join(
            f"{n}. {head}\n{file(rng)}\n{line}" for n, (head, line) in enumerate(zip(heads, facts, strict=True), 1)
        )
    else:
        text = "\n\n".join(f"{head}\n{url(rng)}\n{line}" for head, line in zip(heads, facts, strict=True))
    if rng.random() < 0.06:
        return pick(
            rng, "No results.", "[]", "no results found", f"Nothing found for: {values['query']}"
        ), "The search found nothing." if lang == "en" else "没有找到结果。"
    return text, f"I found this: {' '.join(facts)}" if lang == "en" else f"我找到了:{''.join(facts)}"


def failed(rng: Random, lang: Lang) -> tuple[str, str]:
    reason = pick(
        rng,
        "file not found",
        "permission denied",
        "no such file or directory",
        "timeout",
        "connection refused",
        "not a directory",
        "invalid argument",
        f"{made_up(rng)} is not available",
    )
    return pick(
        rng, f"Error: {reason}", f"error: {reason}", f"ERROR: {reason}"
    ), f"That did not work: {reason}." if lang == "en" else f"没有成功:{reason}。"


def contents(rng: Random, lang: Lang, values: Values) -> tuple[str, str]:
    lines = [
        pick(
            rng,
            fact(rng, lang),
            f"{made_up(rng)}: {rng.randint(1, 9999)}",
            f"{made_up(rng)} = {made_up(rng)}",
            phrase(rng, lang),
        )
        for _ in range(rng.choice([1, 1, 2, 3]))
    ]
    text = "\n".join(lines)
    return (
        text,
        f"The file {values['path']} says:\n{text}" if lang == "en" else f"文件{values['path']}的内容是:\n{text}",
    )


def entries(rng: Random, lang: Lang, values: Values) -> tuple[str, str]:
    names = list(
        dict.fromkeys(
            pick(rng, f"{stem(rng)}.{rng.choice(_ENDINGS)}", rng.choice(_FOLDERS)) for _ in range(rng.randint(1, 5))
        )
    )
    text = pick(
        rng,
        "\n".join(names),
        "\n".join(f"[{'FILE' if '.' in name else 'DIR'}] {name}" for name in names),
        json.dumps(names),
    )
    place = values["path"] if values["path"] != HERE else "The workspace" if lang == "en" else "工作区"
    return text, f"{place} contains: {', '.join(names)}." if lang == "en" else f"{place}里有:{'、'.join(names)}。"


def printed(rng: Random, lang: Lang, values: Values) -> tuple[str, str]:
    text = "\n".join(
        pick(
            rng,
            made_up(rng),
            str(rng.randint(1, 99999)),
            f"{made_up(rng)} {rng.randint(1, 999)}",
            folder(rng),
            phrase(rng, "en", longest=4),
        )
        for _ in range(rng.choice([1, 1, 2, 3]))
    )
    return text, f"The command printed:\n{text}" if lang == "en" else f"命令输出:\n{text}"


def weather(rng: Random, lang: Lang, values: Values) -> tuple[str, str]:
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


def told(
    key: str, en: str, zh: str, make: Callable[[Random, Lang], str]
) -> Callable[[Random, Lang, Values], tuple[str, str]]:
    def result(rng: Random, lang: Lang, values: Values) -> tuple[str, str]:
        text = make(rng, lang)
        return text, (en if lang == "en" else zh).format(result=text, **values)

    return result


def done(en: str, zh: str) -> Callable[[Random, Lang, Values], tuple[str, str]]:
    def result(rng: Random, lang: Lang, values: Values) -> tuple[str, str]:
        about = next(iter(values.values()), "it")
        text = pick(
            rng, "ok", "OK", "done", "Success", "true", '{"ok": true}', "成功", f"Successfully changed {about}",
            f"Done: {about}", f"Successfully wrote to {about}",
        )  # fmt: skip
        return text, (en if lang == "en" else zh).format(**values)

    return result


def page(rng: Random, lang: Lang, values: Values) -> tuple[str, str]:
    title, text = made_up_name(rng, lang), fact(rng, lang)
    return pick(
        rng, f"# {title}\n{text}", f"{title}\n\n{text}", text
    ), f"The page says: {text}" if lang == "en" else f"网页上写着:{text}"


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
    ["command", "command", "cmd", "script"],
    ["The command line", "Shell command to run", "Command to execute"],
    ["命令行", "要执行的命令", "命令"],
)


def values_of(**makers: Callable[[Random, Lang, bool], str | int]) -> Callable[[Random, Lang, bool], Values]:
    return lambda rng, lang, held: {name: make(rng, lang, held) for name, make in makers.items()}


def _phrase(rng: Random, lang: Lang, held: bool) -> str:
    return phrase(rng, lang, held=held)


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
           {"path": PATH}, values_of(path=lambda rng, lang, held: file(rng)),
           ["Read {path}", "Read the file {path}.", "Show me the contents of {path}.", "What is in {path}?", "Open {path} and tell me what it says.", "Please read {path!q}.", "What does the file {path} say?", "Read the file at {path}", "Can you show me {path}?", "Print the file {path}."],
           ["读取{path}", "请读取文件{path}。", "{path}里有什么?", "打开{path}看看内容。", "显示{path}的内容。", "看看文件{path}写了什么。", "帮我读一下{path}", "请读取{path!q}。"],
           contents),
    Family("write", ["write_file", "write_file", "save_file", "create_file", "file_write"],
           ["Write text to a file.", "Create a file with the given content.", "Save text into a file.", "Overwrite a file with new content."],
           ["写入文件。", "用给定内容创建文件。", "把文字保存到文件。"],
           {"path": PATH, "content": Parameter(["content", "text", "data"], ["Text to write", "The new content", "What the file shall hold"], ["要写入的内容", "文件内容"])},
           values_of(path=lambda rng, lang, held: file(rng), content=_phrase),
           ["Write {content!q} to {path}.", "Save {content!q} in the file {path}.", "Create the file {path} with the text {content!q}.", "Put {content!q} into {path}", "Make a file {path} that says {content!q}."],
           ["把{content!q}写入{path}。", "新建文件{path},内容为{content!q}。", "将{content!q}保存到{path}", "在{path}里写上{content!q}。"],
           done("{path} has been written.", "{path}已写好。")),
    Family("list", ["list_directory", "list_directory", "list_files", "list_dir", "directory_list", "ls"],
           ["List the files of a directory.", "List what is in a folder.", "Return the names of files and folders in a directory.", "Show a directory's entries."],
           ["列出目录中的文件。", "列出文件夹的内容。", "返回目录下的文件名。"],
           {"path": DIRECTORY}, values_of(path=lambda rng, lang, held: folder(rng)),
           ["List the files in {path}.", "What files are in {path}?", "Show the directory {path}.", "List {path}", "Which files does the folder {path} hold?", "List the directory {path!q}.", "Show me what is in the folder {path}."],
           ["列出{path}里的文件。", "{path}目录下有哪些文件?", "查看目录{path}。", "列出目录{path}", "文件夹{path}里有什么?", "请列出{path}中的文件"],
           entries),
    Family("command", ["run_command", "run_command", "execute_command", "shell", "bash", "run_shell", "terminal"],
           ["Run a shell command.", "Execute a command line and return its output.", "Run a command in the terminal.", "Execute a command on this machine."],
           ["运行shell命令。", "执行命令行并返回输出。", "在终端运行命令。"],
           {"command": COMMAND}, values_of(command=lambda rng, lang, held: shell_line(rng)),
           ["Run {command!q}", "Run the command {command!q}.", "Execute {command!q}.", "Please run {command!q} in the terminal.", "Run `{command}`", "Execute the shell command {command!q}.", "What does {command!q} print? Run it."],
           ["运行{command!q}", "请执行命令{command!q}。", "在终端运行{command!q}。", "执行`{command}`", "运行命令{command!q}看看结果。", "帮我跑一下{command!q}"],
           printed),
    Family("navigate", ["browser_navigate", "browser_navigate", "navigate", "open_url", "goto", "visit_page"],
           ["Open a page in the browser.", "Navigate the browser to a URL.", "Go to a web address.", "Load a website in the browser."],
           ["在浏览器中打开网页。", "让浏览器访问网址。", "打开一个网站。"],
           {"url": URL}, values_of(url=lambda rng, lang, held: url(rng)),
           ["Open {url}", "Go to {url}.", "Open the page {url} in the browser.", "Navigate to {url}", "Visit {url}.", "Please open the website {url}", "Show me {url}"],
           ["打开{url}", "请打开网页{url}", "访问{url}", "在浏览器中打开{url}", "浏览{url}", "转到网址{url}"],
           page),
    Family("click", ["browser_click", "click", "click_element", "mouse_click"],
           ["Click an element of the page.", "Click a button or link.", "Press a button on the current page."],
           ["点击页面上的元素。", "点击按钮或链接。"],
           {"target": Parameter(["selector", "element", "target", "label"], ["What to click", "The element", "Label of the button"], ["要点击的元素", "按钮的名称"])},
           values_of(target=lambda rng, lang, held: phrase(rng, lang, held=held, longest=2)),
           ["Click {target!q}.", "Click on the button {target!q}", "Press the button {target!q}.", "Click the link {target!q}."],
           ["点击{target!q}。", "点一下{target!q}按钮", "请按下{target!q}按钮。", "点击链接{target!q}"],
           done("I clicked {target}.", "已点击{target}。")),
    Family("type", ["browser_type", "type_text", "fill", "input_text"],
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
           told("time", "It is {result} in {city}.", "{city}现在是{result}。", clock)),
    Family("calculate", ["calculator", "calculate", "evaluate", "math"],
           ["Evaluate an arithmetic expression.", "Calculate the value of an expression.", "A calculator"],
           ["计算算术表达式。", "计算器"],
           {"expression": Parameter(["expression", "expr", "formula"], ["The expression", "What to calculate"], ["算式", "要计算的表达式"])}, values_of(expression=lambda rng, lang, held: expression(rng)),
           ["Use the calculator: {expression}", "Calculate {expression} with the calculator.", "Use the calculator to work out {expression}.", "Evaluate {expression} with the tool."],
           ["用计算器算{expression}", "请用计算器计算{expression}。", "用工具计算{expression}"],
           told("n", "The result is {result}.", "结果是{result}。", lambda rng, lang: pick(rng, str(rng.randint(0, 99999)), f"{rng.random() * 1000:.2f}"))),
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
           told("t", "The translation is: {result}", "译文是:{result}", lambda rng, lang: phrase(rng, lang))),
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
           {"path": PATH}, values_of(path=lambda rng, lang, held: file(rng)),
           ["Delete {path}", "Delete the file {path}.", "Remove the file {path}.", "Please delete {path!q}."],
           ["删除{path}", "请删除文件{path}。", "把文件{path}删掉。"],
           done("{path} has been deleted.", "{path}已删除。")),
    Family("move", ["move_file", "rename_file", "mv"],
           ["Move or rename a file.", "Move a file to another place."],
           ["移动或重命名文件。", "把文件移到别处。"],
           {"source": Parameter(["source", "from", "src"], ["The file to move", "Where it is"], ["源文件"]), "destination": Parameter(["destination", "to", "dst", "target"], ["Where it goes", "The new path"], ["目标路径"])},
           values_of(source=lambda rng, lang, held: file(rng), destination=lambda rng, lang, held: file(rng)),
           ["Move {source} to {destination}.", "Rename {source} to {destination}.", "Move the file {source} to {destination}"],
           ["把{source}移动到{destination}。", "将{source}重命名为{destination}", "把文件{source}移到{destination}"],
           done("{source} is now {destination}.", "{source}已移到{destination}。")),
    Family("grep", ["search_files", "grep", "find_in_files", "file_search"],
           ["Search for text in files.", "Find files that contain a text.", "Search the files of this machine for a pattern."],
           ["在文件中搜索文本。", "查找包含某段文字的文件。"],
           {"pattern": Parameter(["pattern", "text", "regex"], ["The text to find", "What to look for"], ["要查找的文字", "匹配内容"]), "path": DIRECTORY},
           values_of(pattern=lambda rng, lang, held: phrase(rng, lang, held=held, longest=2), path=lambda rng, lang, held: folder(rng)),
           ["Find files in {path} that contain {pattern!q}.", "Search the files of {path} for {pattern!q}.", "Grep for {pattern!q} in {path}.", "Which files in {path} contain {pattern!q}?"],
           ["在{path}的文件中查找{pattern!q}。", "{path}里哪些文件包含{pattern!q}?", "在目录{path}的文件里搜索{pattern!q}"],
           told("m", "It is in: {result}", "在这里:{result}", lambda rng, lang: file(rng))),
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
           told("p", "{symbol} stands at {result}.", "{symbol}的股价是{result}。", lambda rng, lang: f"{rng.random() * 900:.2f}")),
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
           values_of(sql=lambda rng, lang, held: pick(rng, f"SELECT * FROM {made_up(rng)}", f"SELECT {made_up(rng)} FROM {made_up(rng)} LIMIT {rng.randint(1, 99)}", f"SELECT count(*) FROM {made_up(rng)}")),
           ["Run the SQL {sql!q}.", "Query the database with {sql!q}", "Execute this SQL: {sql}"],
           ["执行SQL:{sql}", "在数据库中运行{sql!q}。", "用{sql!q}查询数据库"],
           told("r", "The database returned: {result}", "数据库返回:{result}", lambda rng, lang: pick(rng, str(rng.randint(0, 9999)), f"{made_up(rng)}, {rng.randint(1, 99)}"))),
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

    @property
    def name(self) -> str:
        name: str = self.tool["function"]["name"]
        return name


# What servers and gateways add to a tool: a label before its name, more sentences, parameters that nobody needs.
_LABELS = {
    "files": (
        ["read", "write", "list", "delete", "move", "grep", "mkdir"],
        "files fs filesystem workspace disk".split(),
    ),
    "commands": (["command"], "commands shell terminal sandbox exec".split()),
    "browser": (["navigate", "click", "type", "screenshot"], "browser page web chrome".split()),
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
    "interpreter": {"type": "string", "description": "Command with arguments, bash for example"},
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
    if rng.random() < 0.3:
        for unneeded in rng.sample(list(_UNNEEDED), rng.choice([1, 1, 2, 3])):
            properties.setdefault(unneeded, dict(_UNNEEDED[unneeded]))
    schema: Json = {"type": "object", "properties": properties}
    required = [names[key] for key in family.parameters]
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
    return Offer(family, {"type": "function", "function": function}, names)


_HERE = {
    "en": ["List the files in the workspace.", "What is in the workspace?", "Show me the files in the workspace.", "Which files are there?", "List the workspace", "What files are in the current folder?", "List the files here.", "list the files in the workspace", "Show the files in the current directory."],
    "zh": ["列出工作区里的文件。", "工作区里有什么文件?", "看看工作区里有哪些文件。", "列出当前目录的文件。", "当前文件夹里有什么?", "列出工作区的文件", "这里有哪些文件?"],
}  # fmt: skip


def request(rng: Random, chosen: Offer, lang: Lang, *, held: bool) -> tuple[str, Json, Values]:
    """What the user says, the call's arguments, and the values in them by the family's own names."""
    values = chosen.family.values(rng, lang, held)
    template = rng.choice(chosen.family.ask_en if lang == "en" else chosen.family.ask_zh)
    if chosen.family.key == "list" and rng.random() < 0.15:
        values, template = {"path": HERE}, rng.choice(_HERE[lang])
    text = template
    for key, value in values.items():
        text = text.replace(f"{{{key}!q}}", quoted(rng, str(value), lang)).replace(f"{{{key}}}", str(value))
    arguments: Json = {chosen.names[key]: values[key] for key in chosen.family.parameters}
    if "count" in chosen.names and rng.random() < 0.3:
        n = rng.randint(1, 20)
        text += (
            rng.choice(MORE_RESULTS[lang]).format(n=n)
            if text[-1] in ".。?!?"
            else ("." if lang == "en" else "。") + rng.choice(MORE_RESULTS[lang]).format(n=n)
        )
        arguments[chosen.names["count"]] = n
    return text, arguments, values
