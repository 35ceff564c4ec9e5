"""What clients, models and tool servers may send: anything, and often nearly what they should."""

import json
from typing import Any

from hypothesis import strategies as st

TEXT = st.text(max_size=20) | st.sampled_from(
    ["", "\x00", "\n\ndata: [DONE]\n\n", "\r", "\u2028", "</tool_call>", "<tool_call>", '"', "\\", "../..", "ﬁ", "😀"]
)
NUMBER = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALAR = st.none() | st.booleans() | NUMBER | TEXT
WIDE = SCALAR | st.integers(-(2**80), 2**80)
"""Also numbers that only a text can hold: `json_of` these is for models and tool servers, of which Python reads any."""


def json_of(scalar: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Any JSON, made of these."""
    return st.recursive(
        scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """With any of these fields, and perhaps others."""
    return st.builds(
        lambda known, more: more | known,
        st.fixed_dictionaries({}, optional={name: SOMETIMES_ODD(value) for name, value in fields.items()}),
        st.dictionaries(TEXT, SCALAR, max_size=1),
    )


@st.composite
def nearly(draw: st.DrawFn, **fields: st.SearchStrategy[Any]) -> dict[str, Any]:
    """With most of these fields."""
    missing = draw(st.sets(st.sampled_from(sorted(fields)), max_size=2)) if draw(st.integers(0, 3)) == 3 else ()
    return {name: draw(SOMETIMES_ODD(value)) for name, value in fields.items() if name not in missing}


def SOMETIMES_ODD(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:  # noqa: N802
    return st.one_of(*[value] * 7, JSON)


JSON = json_of(SCALAR, TEXT)

PARTS = st.lists(
    TEXT
    | nearly(
        type=st.sampled_from(
            ["text", "input_text", "output_text", "refusal", "image_url", "input_image", "input_audio"]
        ),
        text=TEXT,
        uuid=TEXT,
        image_url=st.sampled_from(["http://10.0.0.1/", {"url": "http://10.0.0.1/"}, {"url": "data:,"}]),
        input_audio=JSON,
    ),
    max_size=3,
)
CALL = nearly(
    id=st.sampled_from(["a", "b"]),
    type=st.just("function"),
    function=nearly(name=st.sampled_from(["files_read", "click"]), arguments=st.sampled_from(["{}", "x", ""])),
)
CARRIED = st.lists(
    st.one_of(
        st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": TEXT, "content": TEXT}),
        st.fixed_dictionaries({"role": st.just("assistant"), "content": TEXT}, optional={"tool_calls": st.lists(CALL)}),
        JSON,
    ),
    max_size=3,
)
MESSAGE = objects(
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=TEXT | PARTS,
    tool_calls=st.lists(CALL, max_size=2),
    tool_call_id=st.sampled_from(["a", "b"]),
    hearth=st.fixed_dictionaries({"carry": CARRIED}, optional={"approval": JSON}),
)
FUNCTION = nearly(
    type=st.just("function"),
    function=nearly(name=st.sampled_from(["click", "files_read"]), parameters=JSON, strict=st.booleans()),
)
HOSTED = objects(
    type=st.just("mcp"),
    server_label=st.sampled_from(["files", "web", "down", "nowhere"]),
    allowed_tools=st.sampled_from([["read"], ["nope"], {"read_only": True}, {"tool_names": ["search"]}]),
    require_approval=st.sampled_from(["always", "never", {"always": {"tool_names": ["read"]}}]),
    server_url=TEXT,
)
CHOICE = st.sampled_from(
    ["auto", "none", "required", {"type": "function", "function": {"name": "click"}},
     {"type": "mcp", "server_label": "files", "name": "read"}]
)  # fmt: skip
_CHAT = objects(
    model=st.sampled_from(["hearth-tiny", "qwen3-4b-gptq", "", "gpt"]),
    messages=st.lists(MESSAGE, min_size=1, max_size=4),
    prompt=TEXT | st.lists(TEXT, max_size=2),
    n=st.integers(-1, 6),
    logprobs=st.integers(-1, 30) | st.booleans(),
    top_logprobs=st.integers(-1, 30),
    max_tokens=NUMBER,
    max_completion_tokens=NUMBER,
    stop=TEXT | st.lists(TEXT, max_size=3),
    stream=st.booleans(),
    stream_options=objects(include_usage=st.booleans(), hearth_events=st.booleans()),
    tools=st.lists(FUNCTION | HOSTED, max_size=3),
    tool_choice=CHOICE,
    response_format=objects(type=st.sampled_from(["text", "json_object", "json_schema", "regex"]), json_schema=JSON),
    structured_outputs=objects(regex=TEXT, json=JSON, choice=st.lists(TEXT)),
    chat_template=TEXT,
    prompt_logprobs=st.integers(0, 3),
    cache_salt=TEXT,
    kv_transfer_params=JSON,
    hearth_approval=objects(token=TEXT, approve=st.booleans()),
)
PLAIN = st.fixed_dictionaries({"messages": st.lists(MESSAGE, min_size=1, max_size=4), "prompt": TEXT})
CHAT = st.builds(lambda plain, more: plain | more, PLAIN, _CHAT) | _CHAT
ITEM = objects(
    type=st.sampled_from(
        ["message", "function_call", "function_call_output", "mcp_call", "mcp_approval_request", "reasoning",
         "mcp_approval_response"]
    ),
    role=st.sampled_from(["user", "assistant", "system", "developer"]),
    content=TEXT | PARTS,
    call_id=st.sampled_from(["a", "b"]),
    id=st.sampled_from(["a", "token:a"]),
    name=TEXT,
    arguments=TEXT,
    output=TEXT | PARTS,
    error=JSON,
    approve=st.booleans(),
    approval_request_id=st.sampled_from(["token:a", "other:b"]),
    hearth=objects(carry=CARRIED),
)  # fmt: skip
RESPONSE = objects(
    model=st.sampled_from(["hearth-tiny", "gpt"]),
    input=TEXT | st.lists(ITEM, max_size=4),
    instructions=TEXT,
    tools=st.lists(
        HOSTED | objects(type=st.just("function"), name=TEXT, parameters=JSON, strict=st.booleans()), max_size=2
    ),
    tool_choice=CHOICE,
    text=objects(format=objects(type=st.sampled_from(["text", "json_object", "json_schema"]), name=TEXT, schema=JSON)),
    metadata=st.dictionaries(TEXT, TEXT, max_size=2),
    max_output_tokens=st.integers(-1, 10**6),
    max_tool_calls=st.integers(-1, 10),
    temperature=NUMBER,
    previous_response_id=TEXT,
    n=st.integers(0, 9),
    chat_template=TEXT,
)


@st.composite
def pieces_of(draw: st.DrawFn, whole: st.SearchStrategy[Any]) -> list[Any]:
    """Something with a length, cut anywhere."""
    data = draw(whole)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@st.composite
def nearly_json(draw: st.DrawFn, value: st.SearchStrategy[Any] = json_of(WIDE, TEXT)) -> str:  # noqa: B008
    """JSON, often with something taken out or put in."""
    text = json.dumps(draw(value), ensure_ascii=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from(["", "}", "{", '"', ",", "\\", "\x00", "NaN", "9" * 25, "9" * 400, "[" * 300]))
            + text[at + draw(st.integers(0, 3)) :]
        )
    return text
