"""The scratch source: a small Qwen3 model with seeded random weights and a tokenizer trained on text of the repo."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hearth_quantizer import calibration
from hearth_quantizer.artifact import CHAT_TEMPLATE
from hearth_quantizer.recipe import Architecture, ScratchSource
from hearth_quantizer.refusal import Refusal

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Qwen's control tokens are special: dropped from answers. Its tags are plain: the tool parser reads them.
SPECIAL = (END_OF_TEXT, TURN_START, TURN_END)
TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
# Qwen's own splitting: single digits, at most one leading space, line breaks apart.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build(source: ScratchSource, root: Path, out: Path) -> None:
    """Write a bf16 model folder to `out`. Paths in `source` are relative to `root`.

    Raises Refusal where the text is too short to fill the vocabulary.
    """
    ids = tokenizer(texts(root, source), source.architecture, out)
    (out / CHAT_TEMPLATE).write_text((root / source.chat_template).read_text("utf-8"), "utf-8")
    _weights(source, ids, out)
    generation = {"eos_token_id": [ids[TURN_END], ids[END_OF_TEXT]], "pad_token_id": ids[END_OF_TEXT]}
    _write_json(out / "generation_config.json", generation)


def texts(root: Path, source: ScratchSource) -> Iterator[str]:
    """What the tokenizer learns from: contents, tool calls and tools of the source's rows."""
    for row in calibration.read(root / path for path in source.tokenizer_text):
        yield from (message.content for message in row.messages if message.content)
        for message in row.messages:
            yield from (json.dumps(call, ensure_ascii=False) for call in message.tool_calls or ())
        yield from (json.dumps(tool, ensure_ascii=False) for tool in row.tools or ())


def tokenizer(text: Iterator[str], architecture: Architecture, out: Path) -> dict[str, int]:
    """Train byte-level BPE that fills the vocabulary exactly; returns the ids of the special tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    size = architecture.vocab_size
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL) - len(TAGS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(text, trainer)
    bpe.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    bpe.add_tokens([AddedToken(token, normalized=False) for token in TAGS])
    if bpe.get_vocab_size() != size:
        raise Refusal(
            f"source.tokenizer_text: fills {bpe.get_vocab_size()} of {size} tokens; give more text or a smaller "
            "source.architecture.vocab_size"
        )
    bpe.save(str(out / "tokenizer.json"))
    _write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None,
            "eos_token": TURN_END,
            "pad_token": END_OF_TEXT,
            "unk_token": None,
            "model_max_length": architecture.max_position_embeddings,
            "clean_up_tokenization_spaces": False,
        },
    )
    vocabulary: dict[str, int] = bpe.get_vocab()
    return {token: vocabulary[token] for token in SPECIAL}


def _weights(source: ScratchSource, ids: dict[str, int], out: Path) -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    dims = source.architecture
    config = Qwen3Config(
        hidden_size=dims.hidden_size,
        intermediate_size=dims.intermediate_size,
        num_hidden_layers=dims.layers,
        num_attention_heads=dims.heads,
        num_key_value_heads=dims.kv_heads,
        head_dim=dims.head_dim,
        vocab_size=dims.vocab_size,
        max_position_embeddings=dims.max_position_embeddings,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=ids[TURN_END],
        pad_token_id=ids[END_OF_TEXT],
    )
    torch.manual_seed(source.seed)
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(out)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", "utf-8")
