"""ChatML as chat_template.jinja writes it, as segments with a flag for what the model itself must say.

Ten times faster than the template, which matters when training renders millions of dialogues; a test compares the two.
"""

import json

from words import Json

TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
    "</tool_call><|im_end|>\n"
)


def segments(messages: list[Json], tools: list[Json] | None) -> list[tuple[str, bool]]:
    """(text, whether the model says it) in order; no two neighbours are of one kind."""
    out: list[tuple[str, bool]] = []
    text = ""
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    if tools:
        text += "<|im_start|>system\n" + (system + "\n\n" if system else "") + TOOLS_HEAD
        text += "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in tools) + TOOLS_TAIL
    elif system:
        text += f"<|im_start|>system\n{system}<|im_end|>\n"
    last = ""
    for index, message in enumerate(messages):
        role = message["role"]
        if role == "user":
            text += f"<|im_start|>user\n{message['content']}<|im_end|>\n"
        elif role == "assistant":
            out += [(text + "<|im_start|>assistant\n", False), (said(message) + "<|im_end|>", True)]
            text = "\n"
        elif role == "tool":
            text += (
                "" if last == "tool" else "<|im_start|>user"
            ) + f"\n<tool_response>\n{message['content']}\n</tool_response>"
            if index + 1 == len(messages) or messages[index + 1]["role"] != "tool":
                text += "<|im_end|>\n"
        last = role
    return [*out, (text, False)] if text else out


def said(message: Json) -> str:
    """What the model says in a message of its own, calls included."""
    text: str = message.get("content") or ""
    for number, call in enumerate(message.get("tool_calls") or []):
        function = call["function"]
        arguments = function["arguments"]
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        text += "\n" if text or number else ""
        text += f'<tool_call>\n{{"name": "{function["name"]}", "arguments": {arguments}}}\n</tool_call>'
    return text
