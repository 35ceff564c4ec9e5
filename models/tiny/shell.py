"""Command lines and scripts to run, what they print, and how they fail: as `run_command` of the command server tells it."""
# ruff: noqa: E501, SIM905

import re
from collections.abc import Callable
from random import Random

from things import file, file_name, folder, host, statement, stem, url
from words import Lang, made_up, phrase, pick, sentence

# What `{x}` stands for in the tables below; every one is drawn anew.
_PARTS: dict[str, Callable[[Random], str]] = {
    "w": lambda rng: _word(rng),
    "t": lambda rng: _text(rng),
    "q": lambda rng: _quoted(rng),
    "f": lambda rng: file(rng, pick(rng, "en", "en", "en", "zh")),
    "b": file_name,
    "s": stem,
    "d": folder,
    "u": url,
    "h": host,
    "n": lambda rng: str(rng.randint(1, 10 ** rng.randint(1, 4))),
    "k": lambda rng: str(rng.randint(1, 9)),
    "g": lambda rng: "*." + rng.choice("py txt log md json csv".split()),
    "v": lambda rng: pick(rng, "HOME", "PATH", "USER", "LANG", made_up(rng).upper()),
    "o": lambda rng: pick(rng, "-v", "-q", "--help", "--version", "-n {k}", f"--{made_up(rng)}", f"--{made_up(rng)}={{n}}", "-o {b}"),
}  # fmt: skip
_PLAIN = "ls;ls -la;pwd;df -h;free -m;uname -a;whoami;date;ps aux;uptime;git status;docker ps;nvidia-smi;env;id;hostname;npm test;make;git diff;ip addr".split(
    ";"
)
_PRINTING = """ls {d}|ls -l {d}|ls -l {f}|ls -t {d}|cat {f}|cat {f}|cat {b}|cat {f} {b}|head -n {n} {f}|head -{k} {f}|tail -n {n} {f}|tail -f {f}|wc -l {f}|wc -w {b}|grep {w} {f}
grep -c {w} {f}|grep -n {q} {f}|grep -rn {w} {d}|grep -i {q} {f}|grep -v {w} {f}|grep -rl {q} {d}|find . -name {q}|find {d} -name '{g}'|find {d} -type f|find . -mtime -{k}|find {d} -size +{n}k
find . -maxdepth {k} -type d|sed -n '{k},{n}p' {f}|sed 's/{w}/{w}/g' {f}|sed -n {k}p {b}|awk '{print ${k}}' {f}|cut -d, -f{k} {f}|sort {f}|sort -u {f}|uniq -c {f}|du -sh {d}|du -sh {d}/*|stat {f}|file {f}|md5sum {f}
echo {t}|echo {t}|echo {q}|echo {n}|echo ${v}|printf '{w}\\n'|printenv {v}|date +%Y|date -d '{k} days ago'|seq {k} {n}|expr {n} + {n}|which {w}|python3 -c 'print({n} * {n})'|python3 -c "print('{w}')"|python3 -c 'import {w}; print({w}.{w})'
python3 {s}.py|python3 {f} {o}|python {s}.py {w} {n}|node {s}.js|bash {s}.sh {w}|sh {f}|./{s}.sh|./{s} {o}|java -jar {s}.jar|make {w}|make -j{k} {w}|npm run {w}|npm install {w}|pip install {w}|pip show {w}|apt-get install {w}|cargo build {o}|go run {s}.go
git log -n {n}|git log --oneline|git diff {f}|git checkout {w}|git commit -m {q}|git clone {u}|docker logs {w}|docker run {w}|ping -c {k} {h}|nslookup {h}|curl {u}|curl {u}|curl -s {u}|curl -I {u}|curl -sS {u}|curl -fsSL {u}|curl -o {b} {u}|wget {u}|wget -q {u}
wget -O {b} {u}|curl -X POST -d '{w}={n}' {u}|curl -H 'Accept: {w}' {u}|diff {f} {f}|tar -tf {s}.tar.gz|tar -xzf {s}.tar.gz|unzip -l {s}.zip|{w} {f}|{w} {o} {w}|{w} {o} {f}|ps -p {n}|lsof -i :{n}|ssh {h} {w}|base64 {f}|xxd {f}|rev {b}|nl {f}|tac {b}""".replace(
    "\n", "|"
).split("|")
_SILENT = "sleep {n}|sleep {k}|mkdir {w}|mkdir -p {d}|touch {f}|rm {f}|rm -r {d}|cp {f} {f}|mv {f} {b}|chmod +x {f}|ln -s {f} {b}|kill {n}|true|cd {d}|export {v}={w}|sed -i 's/{w}/{w}/' {f}".split(
    "|"
)
_WRITING = "echo {t} > {f}|echo {t} > {b}|echo {q} > {f}|echo {t} >> {f}|printf {q} > {b}|cat {f} > {b}|date > {b}|sort {f} > {b}|curl {u} > {b}|ls {d} > {b}".split(
    "|"
)
_FILTERS = "head -n {k}|head -{n}|tail -{k}|sort|sort -n|sort -hr|sort -r|uniq -c|wc -l|wc -c|grep {w}|grep -c {w}|grep -v {q}|cut -d: -f{k}|awk '{print ${k}}'|tr a-z A-Z|sed 's/{w}/{w}/'|xargs {w}|tee {b}|base64|rev|jq .{w}".split(
    "|"
)
_STARTS = "{v}={w} |{v}={n} |sudo |time |timeout {k} |nohup ".split("|")
_PYTHON = "print({n} + {n})|print('{w}')|import {w}|for i in range({k}): print(i)|{w} = {n}|{w} = '{t}'|print({w})|print(sum(range({n})))|open('{b}').read()".split(
    "|"
)


def _word(rng: Random) -> str:
    return made_up(rng) if rng.random() < 0.5 else re.sub(r"\W", "", phrase(rng, "en", longest=1)) or made_up(rng)


def _text(rng: Random) -> str:
    """Words that a shell leaves as they are."""
    lang: Lang = pick(rng, "en", "en", "en", "zh")
    text = pick(rng, phrase, sentence)(rng, lang) if rng.random() < 0.8 else statement(rng, lang)
    return re.sub(r"[\"'`$&|;<>()#*?!\\]", "", text).strip()


def _quoted(rng: Random) -> str:
    mark = pick(rng, '"', '"', "'")
    return mark + _text(rng) + mark


def _filled(rng: Random, template: str) -> str:
    while re.search(r"\{[a-z]\}", template):
        template = re.sub(r"\{([a-z])\}", lambda part: _PARTS[part[1]](rng), template)
    return template


def _command(rng: Random) -> str:
    kind = rng.random()
    return rng.choice(_PLAIN if kind < 0.1 else _PRINTING if kind < 0.8 else _SILENT if kind < 0.9 else _WRITING)


def line(rng: Random) -> str:
    """A command line. Commands are put together at random: what is to be learnt is that it is copied."""
    template = _command(rng)
    shape = rng.random()
    if shape < 0.14:
        template = rng.choice(_PRINTING)
        for _ in range(rng.choice([1, 1, 2])):
            template += " | " + rng.choice(_FILTERS)
    elif shape < 0.26:
        template += pick(rng, " && ", " && ", "; ", " || ") + _command(rng)
    elif shape < 0.31:
        template = rng.choice(_STARTS) + template
    elif shape < 0.34:
        template += pick(rng, " 2>&1", " 2>/dev/null", " &")
    return _filled(rng, template)


def script(rng: Random) -> tuple[str, str]:
    """(an interpreter, lines for it)."""
    interpreter = pick(rng, "bash", "bash", "sh", "python", "python3")
    lines = _PYTHON if interpreter.startswith("python") else _PRINTING + _WRITING + _SILENT
    return interpreter, "\n".join(_filled(rng, rng.choice(lines)) for _ in range(rng.choice([1, 1, 2, 2, 3])))


def output(rng: Random, command: str) -> str:
    """What it prints; nothing, if one can see that it does not print."""
    last = re.split(r" && |; |\n", command)[-1]
    if re.match(rf"({'|'.join(silent.split()[0] for silent in _SILENT)})\b", last) or re.search(r">>? \S+$", last):
        return "" if rng.random() < 0.9 else _printed(rng)
    if echoed := re.fullmatch(r"echo (['\"]?)([^'\"$|&;<>]+)\1", command):
        return echoed[2]
    return "" if rng.random() < 0.04 else _printed(rng)


def _printed(rng: Random) -> str:
    size = rng.randint(1, 99999)
    kinds: list[Callable[[], str]] = [
        lambda: made_up(rng),
        lambda: str(size),
        lambda: f"{made_up(rng)} {rng.randint(1, 999)}",
        lambda: folder(rng),
        lambda: phrase(rng, "en", longest=4),
        lambda: statement(rng, pick(rng, "en", "zh")),
        lambda: (
            f"-rw-r--r-- 1 {pick(rng, 'root root', 'user user', '1000 1000')} {size} {pick(rng, 'Jan', 'May', 'Nov')} {rng.randint(1, 28)} {rng.randint(0, 23):02}:{rng.randint(0, 59):02} {file_name(rng)}"
        ),
        lambda: f"{size} {file(rng)}",
        lambda: f"{file(rng)}:{rng.randint(1, 99)}: {phrase(rng, 'en', longest=5)}",
        lambda: f"{rng.randint(1, 99)}G\t{folder(rng)}",
    ]
    return "\n".join(rng.choice(kinds)() for _ in range(rng.choice([1, 1, 2, 3])))


_METER = (
    "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n"
    "                                 Dload  Upload   Total   Spent    Left  Speed\n\r"
)
_NOTHING_YET = "  0     0    0     0    0     0      0      0 --:--:-- --:--:-- --:--:--     0"


def fails(rng: Random, command: str) -> bool:
    """More often what a sandbox without a network and with little time does not let through."""
    return rng.random() < (0.4 if re.search(r"\b(curl|wget|sleep)\b", command) else 0.12)


def failure(rng: Random, command: str, called: str) -> tuple[str, str]:
    """(what the server says of a command or script that failed, the reason in it). `called`: what the server ran."""
    said, reason = _complaint(rng, command)
    if said.startswith("curl:") and "-s" not in command and rng.random() < 0.6:
        said = _METER + "\r".join([_NOTHING_YET] * pick(rng, 1, 1, 2)) + said
    again = f"\n{said}\n" if said and rng.random() < 0.85 else ""
    return f"Error: Command failed: {called}\n{said}\n{again}", reason or f"Command failed: {called}"


def _complaint(rng: Random, command: str) -> tuple[str, str]:
    """(what it writes to stderr, the telling line of it); both "" if it fails without a word."""
    name = re.sub(r"^(\w+=\S+ |sudo |time |nohup |timeout \d+ )", "", command).split()[0]
    address = re.search(r"https?://([^/\s:]+)(?::(\d+))?", command)
    path = re.search(r" ((?:~?/|\./)?[\w./-]+\.\w+)", command)
    target = re.search(r">>? (\S+)$", command)
    killed = f"killed: still running after {pick(rng, 30, 30, rng.randint(1, 120))} s"
    if name == "sleep" or rng.random() < 0.12:
        said = killed
    elif name == "curl" and address:
        host, port = address[1], address[2] or ("443" if "https:" in command else "80")
        said = pick(
            rng,
            *[f"curl: (6) Could not resolve host: {host}"] * (not host[0].isdigit()),
            f"curl: (7) Failed to connect to {host} port {port} after {rng.randint(0, 99)} ms: Couldn't connect to server",
        )
    elif name == "wget" and address and not address[1][0].isdigit():
        said = f"wget: unable to resolve host address ‘{address[1]}’"
    elif name.startswith("python") or re.search(r"\bprint\(|^import ", command):
        word = made_up(rng)
        error = pick(
            rng,
            f"ModuleNotFoundError: No module named '{word}'",
            f"NameError: name '{word}' is not defined",
            "SyntaxError: invalid syntax",
        )
        return (
            f'Traceback (most recent call last):\n  File "<string>", line {rng.randint(1, 9)}, in <module>\n{error}',
            error,
        )
    elif target and rng.random() < 0.7:
        said = f"/bin/bash: line 1: {target[1]}: {pick(rng, 'Permission denied', 'No such file or directory', 'Read-only file system')}"
    elif name == "ls" and path:
        said = f"ls: cannot access '{path[1]}': No such file or directory"
    elif path and rng.random() < 0.8:
        said = f"{name}: {path[1]}: {pick(rng, 'No such file or directory', 'No such file or directory', 'Permission denied')}"
    elif " -" in command and rng.random() < 0.4:
        line = f"{name}: invalid option -- '{rng.choice('abxyz')}'"
        return f"{line}\nTry '{name} --help' for more information.", line
    else:
        said = pick(
            rng,
            "",
            f"/bin/bash: line {rng.randint(1, 3)}: {name}: command not found",
            f"{name}: {phrase(rng, 'en', longest=5)}",
        )
    return said, said
