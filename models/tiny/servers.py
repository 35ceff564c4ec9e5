"""The tools of config/hearth.tools.yaml, as a gateway with that file shows them; a test compares."""
# ruff: noqa: E501

from dataclasses import dataclass

from words import Json


def _text(description: str = "") -> Json:
    return {"type": "string"} | ({"description": description} if description else {})


@dataclass(frozen=True)
class Shipped:
    """A tool: `own` is its server's description of it and its parameters, `short` what the file has in their place."""

    family: str
    server: str
    names: dict[str, str]  # what it calls the family's parameters
    required: list[str]
    own: tuple[str, Json]
    short: tuple[str, dict[str, str]] | None = None


_CWD = _text("Current working directory, leave empty in most cases") | {"default": ""}
_ELEMENT = _text("Human-readable element description used to obtain permission to interact with the element")
_TARGET = _text("Exact target element reference from the page snapshot, or a unique element selector")
_FILES = "Only works within allowed directories."

SHIPPED = {
    "list_directory": Shipped(
        "list", "files", {"path": "path"}, ["path"],
        (f"Get a detailed listing of all files and directories in a specified path. Results clearly distinguish between files and directories with [FILE] and [DIR] prefixes. This tool is essential for understanding directory structure and finding specific files within a directory. {_FILES}", {"path": _text()}),
        ("List the files of a directory.", {"path": "Path of the directory"}),
    ),
    "read_file": Shipped(
        "read", "files", {"path": "path"}, ["path"],
        (f"Read the complete contents of a file from the file system. Handles various text encodings and provides detailed error messages if the file cannot be read. Use this tool when you need to examine the contents of a single file. {_FILES}", {"path": _text()}),
        ("Read the contents of a file.", {"path": "Path of the file"}),
    ),
    "write_file": Shipped(
        "write", "files", {"path": "path", "content": "content"}, ["path", "content"],
        (f"Create a new file or completely overwrite an existing file with new content. Use with caution as it will overwrite existing files without warning. Handles text content with proper encoding. {_FILES}", {"path": _text(), "content": _text()}),
        ("Write text to a file.", {"path": "Path of the file", "content": "Text to write"}),
    ),
    "edit_file": Shipped(
        "edit", "files", {"path": "path", "old": "oldText", "new": "newText"}, ["path", "edits"],
        (f"Make line-based edits to a text file. Each edit replaces exact line sequences with new content. Returns a git-style diff showing the changes made. {_FILES}", {
            "path": _text(),
            "edits": {"type": "array", "items": {"type": "object", "properties": {"oldText": _text("Text to search for - must match exactly"), "newText": _text("Text to replace with")}, "required": ["oldText", "newText"], "additionalProperties": False}},
            "dryRun": {"type": "boolean", "default": False, "description": "Preview changes using git-style diff format"},
        }),
    ),
    "create_directory": Shipped(
        "mkdir", "files", {"path": "path"}, ["path"],
        (f"Create a new directory or ensure a directory exists. Can create multiple nested directories in one operation. If the directory already exists, this operation will succeed silently. Perfect for setting up directory structures for projects or ensuring required paths exist. {_FILES}", {"path": _text()}),
        ("Create a directory.", {"path": "Path of the directory"}),
    ),
    "move_file": Shipped(
        "move", "files", {"source": "source", "destination": "destination"}, ["source", "destination"],
        ("Move or rename files and directories. Can move files between directories and rename them in a single operation. If the destination exists, the operation will fail. Works across different directories and can be used for simple renaming within the same directory. Both source and destination must be within allowed directories.", {"source": _text(), "destination": _text()}),
        ("Move or rename a file.", {"source": "Path of the file", "destination": "The new path"}),
    ),
    "search_files": Shipped(
        "find", "files", {"path": "path", "pattern": "pattern"}, ["path", "pattern"],
        ("Recursively search for files and directories matching a pattern. Searches through all subdirectories from the starting path. The search is case-insensitive and matches partial names. Returns full paths to all matching items. Great for finding files when you don't know their exact location. Only searches within allowed directories.", {"path": _text(), "pattern": _text(), "excludePatterns": {"type": "array", "items": {"type": "string"}, "default": []}}),
    ),
    "run_command": Shipped(
        "command", "commands", {"command": "command"}, ["command"],
        ("Run a command on this linux machine", {"command": _text("Command with args"), "cwd": _CWD}),
        ("Run a shell command.", {"command": "The command line"}),
    ),
    "run_script": Shipped(
        "script", "commands", {"script": "script", "interpreter": "interpreter"}, ["script"],
        ("Run a script on this linux machine", {"interpreter": _text("Command with arguments. Script will be piped to stdin. Examples: bash, fish, zsh, python, or: bash --norc"), "script": _text("Script to run"), "cwd": _CWD}),
    ),
    "browser_navigate": Shipped(
        "navigate", "browser", {"url": "url"}, ["url"],
        ("Navigate to a URL", {"url": _text("The URL to navigate to")}),
        ("Open a page in the browser.", {"url": "The address"}),
    ),
    "browser_navigate_back": Shipped("back", "browser", {}, [], ("Go back to the previous page in the history", {})),
    "browser_snapshot": Shipped(
        "snapshot", "browser", {}, [],
        ("Capture accessibility snapshot of the current page, this is better than screenshot", {
            "target": _TARGET,
            "filename": _text("Save snapshot to a file instead of returning it in the response. Relative file names are resolved against the workspace root."),
            "depth": {"description": "Limit the depth of the snapshot tree", "type": "number"},
            "boxes": {"description": "Include each element's bounding box as [box=x,y,width,height] in the snapshot. Coordinates are viewport-relative, in CSS pixels (Element.getBoundingClientRect)", "type": "boolean"},
        }),
        ("Read the page that is open in the browser.", {}),
    ),
    "browser_find": Shipped(
        "in_page", "browser", {"text": "text"}, [],
        ("Search the accessibility snapshot of the current page for text or a regular expression. Returns matching snapshot nodes with a few lines of surrounding context (like search snippets), each shown under its path from the root of the tree, which is cheaper than capturing the whole snapshot when you only need to locate an element and its ref.", {
            "text": _text("Plain text to search for in the page snapshot (case-insensitive substring match). Provide either text or regex, not both."),
            "regex": _text('Regular expression to search for in the page snapshot. Matching is case-sensitive by default; wrap the pattern in slashes to add flags, e.g. "/error/i" for case-insensitive. Provide either text or regex, not both.'),
            "filename": _text("Save results to a file instead of returning them in the response. Relative file names are resolved against the workspace root."),
        }),
    ),
    "browser_click": Shipped(
        "click", "browser", {"target": "target"}, ["target"],
        ("Perform click on a web page", {
            "element": _ELEMENT, "target": _TARGET,
            "doubleClick": {"description": "Whether to perform a double click instead of a single click", "type": "boolean"},
            "button": {"description": "Button to click, defaults to left", "type": "string", "enum": ["left", "right", "middle"]},
            "modifiers": {"description": "Modifier keys to press", "type": "array", "items": {"type": "string", "enum": ["Alt", "Control", "ControlOrMeta", "Meta", "Shift"]}},
        }),
    ),
    "browser_type": Shipped(
        "fill", "browser", {"target": "target", "text": "text"}, ["target", "text"],
        ("Type text into editable element", {
            "element": _ELEMENT, "target": _TARGET, "text": _text("Text to type into the element"),
            "submit": {"description": "Whether to submit entered text (press Enter after)", "type": "boolean"},
            "slowly": {"description": "Whether to type one character at a time. Useful for triggering key handlers in the page. By default entire text is filled in at once.", "type": "boolean"},
        }),
    ),
    "search": Shipped(
        "search", "search", {"query": "query", "count": "max_results"}, ["query"],
        ("Search the documents in the workspace (text, Markdown, HTML, PDF) by their words, in any language, and get titles, paths and extracts, best first. Answer from the extracts, or read a file by its path for more.", {
            "query": {"description": "The words to look for.", "maxLength": 400, "minLength": 1, "title": "Query", "type": "string"},
            "max_results": {"default": 5, "description": "How many results to return.", "maximum": 20, "minimum": 1, "title": "Max Results", "type": "integer"},
        }),
        ("Search the documents in the workspace.", {"query": "What to search for"}),
    ),
}  # fmt: skip
BY_FAMILY = {shipped.family: name for name, shipped in SHIPPED.items()}
_DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#", "additionalProperties": False}
_DIALECT: dict[str, Json] = {
    "files": _DRAFT_7,
    "commands": _DRAFT_7,
    "browser": {"$schema": "https://json-schema.org/draft/2020-12/schema", "additionalProperties": False},
    "search": {"title": "searchArguments"},
}


def named(name: str) -> str:
    """Its name with the prefix that its server has in the file."""
    return f"files_{name}" if SHIPPED[name].server == "files" else name


def shown(name: str, *, own: bool) -> tuple[str, Json]:
    """(description, schema), the server's own or as the file has it."""
    shipped = SHIPPED[name]
    description, properties = shipped.own
    if shipped.short and not own:
        description, wanted = shipped.short
        properties = {key: properties[key] | {"description": text} for key, text in wanted.items()}
    schema: Json = {"type": "object", "properties": properties} | _DIALECT[shipped.server]
    return description, schema | ({"required": shipped.required} if shipped.required else {})
