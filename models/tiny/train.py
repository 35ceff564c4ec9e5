"""Trains the demo model on one GPU, from nothing: python train.py --corpus corpus.jsonl --out model

corpus.jsonl is what corpus.py writes. The data are endless (dialogues.py), so nothing is seen twice but by chance;
README.md is the model's card. Needs torch, transformers, tokenizers and the files of this folder.
"""
# ruff: noqa: E501, S311

import argparse
import importlib.util
import json
import math
import multiprocessing as mp
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import dialogues
import numpy as np
import render
import words

HERE = Path(__file__).parent
VOCABULARY = 8192
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Qwen's control tokens are special: dropped from answers. Its tags are plain: the tool parser reads them.
SPECIAL = (END_OF_TEXT, TURN_START, TURN_END)
TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
# Qwen's splitting (single digits, line breaks apart), but a word never takes what stands before it along: what is copied
# from a sentence into a call's JSON then is the same tokens in both, which a model of this size learns to do exactly.
SPLIT = r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s"
CONTEXT = 4096
# Every dimension that GPTQ's groups or an INT4 kernel's tiles run along is a multiple of 128.
SHAPE = {"hidden_size": 512, "intermediate_size": 1280, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 128}  # fmt: skip
OTHERS_WEIGHT = 0.1  # of the loss on what the model reads; 1 on what it says
PROSE, CALIBRATION = 0.10, 0.03  # shares of documents: passages of the corpus, long dialogues as calibration has them


# --- data -------------------------------------------------------------------------------------------------------------
def calibration_module() -> Any:
    spec = importlib.util.spec_from_file_location("calibration_generate", HERE.parent / "calibration" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documents(seed: int, corpus: list[str]) -> Iterator[list[tuple[str, bool]]]:
    """Endless documents as segments (see render); a passage counts as said by the model."""
    rng, long = Random(seed), calibration_module()
    while True:
        kind = rng.random()
        if kind < PROSE:
            yield [(rng.choice(corpus) + END_OF_TEXT, True)]
            continue
        if kind < PROSE + CALIBRATION:
            one = long.dialogue(rng, rng.choice(["en", "zh"]), rng.random() < 0.4)
            # Its few commands and paths are to be read, not learnt by heart: they came back where others were asked for.
            said = render.segments(one["messages"], one.get("tools"))
            yield [(text, own and "<tool_call>" not in text) for text, own in said]
            continue
        one = dialogues.dialogue(rng)
        yield render.segments(one["messages"], one["tools"])


def read_corpus(path: Path, *, only_words: bool = False) -> list[str]:
    """Its passages; the generator takes words from them and, but with `only_words`, what they say: data that this
    repository holds quote none of it."""
    with path.open(encoding="utf-8") as lines:
        corpus = [json.loads(line) for line in lines]
    words.learn(corpus, only_words=only_words)
    if not only_words:
        dialogues.learn(corpus)
    return corpus


def make_tokenizer(corpus: list[str], out: Path) -> None:
    """Byte-level BPE that fills the vocabulary exactly."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    def texts() -> Iterator[str]:
        yield from corpus
        source = documents(7, corpus)
        for _ in range(30_000):
            yield "".join(text for text, _ in next(source))

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(TAGS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=16,
    )
    bpe.train_from_iterator(texts(), trainer)
    bpe.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    bpe.add_tokens([AddedToken(token, normalized=False) for token in TAGS])
    assert bpe.get_vocab_size() == VOCABULARY
    bpe.save(str(out / "tokenizer.json"))
    write_json(
        out / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": None, "eos_token": TURN_END, "pad_token": END_OF_TEXT,
         "unk_token": None, "model_max_length": CONTEXT, "clean_up_tokenization_spaces": False},
    )  # fmt: skip
    (out / "chat_template.jinja").write_text((HERE / "chat_template.jinja").read_text("utf-8"), "utf-8")


def rows(seed: int, corpus: list[str], folder: Path, context: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless rows of `context + 1` tokens, documents end to end, with the loss weight of each token."""
    from tokenizers import Tokenizer

    bpe = Tokenizer.from_file(str(folder / "tokenizer.json"))
    source = documents(seed, corpus)
    ids: list[int] = []
    weights: list[float] = []
    while True:
        batch = [next(source) for _ in range(64)]
        encoded = iter(bpe.encode_batch([text for document in batch for text, _ in document], add_special_tokens=False))
        for document in batch:
            for _, own in document:
                piece = next(encoded).ids
                ids += piece
                weights += [1.0 if own else OTHERS_WEIGHT] * len(piece)
        while len(ids) > context:
            yield np.array(ids[: context + 1], np.int32), np.array(weights[1 : context + 1], np.float32)
            ids, weights = ids[context:], weights[context:]


def work(seed: int, corpus_path: Path, folder: Path, context: int, queue: "mp.Queue[Any]") -> None:
    corpus = read_corpus(corpus_path)
    source = rows(seed, corpus, folder, context)
    while True:
        several = [next(source) for _ in range(8)]
        queue.put((np.stack([row for row, _ in several]), np.stack([weight for _, weight in several])))


# --- training ---------------------------------------------------------------------------------------------------------
def build_model() -> Any:
    import torch
    from tokenizers import Tokenizer  # noqa: F401 - fails early where it is missing
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        **SHAPE, vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=VOCABULARY - len(TAGS) - 1, pad_token_id=VOCABULARY - len(TAGS) - 3, initializer_range=0.02, use_cache=False,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


def train(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from torch.nn import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    model = build_model()
    if options.resume:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(options.resume), strict=False)  # the head is tied to the embeddings
        model.tie_weights()
    model = model.to(device)
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    others = [weight for name, weight in model.named_parameters() if weight.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=options.lr, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=options.lr, weight_decay=0.0, betas=(0.9, 0.95), fused=device == "cuda"),
    ]

    def loss_of(ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16):
            logits = model(input_ids=ids[:, :-1]).logits
        each = functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten().long(), reduction="none")
        return (each * weights.flatten()).sum() / weights.sum()

    step_of = torch.compile(loss_of) if device == "cuda" else loss_of
    queue: mp.Queue[Any] = mp.get_context("spawn").Queue(maxsize=64)
    workers = [
        mp.get_context("spawn").Process(
            target=work, args=(1000 + n, options.corpus, options.out, options.context, queue), daemon=True
        )
        for n in range(options.workers)
    ]
    for worker in workers:
        worker.start()
    budget, began, tokens, step, shown = options.minutes * 60, 0.0, 0, 0, 0.0
    started = time.time()
    while True:
        parts = [queue.get() for _ in range(options.batch // 8)]
        ids = torch.from_numpy(np.concatenate([row for row, _ in parts])).to(device, non_blocking=True)
        weights = torch.from_numpy(np.concatenate([weight for _, weight in parts])).to(device, non_blocking=True)
        loss = step_of(ids, weights)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        progress = (time.time() - began) / budget if began else 0.0
        rate = options.lr * min(1.0, (step + 1) / 100) * min(1.0, max(0.0, (1 - progress) / 0.5))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        tokens += ids.shape[0] * (ids.shape[1] - 1)
        step += 1
        if step == 3:  # compilation is over
            torch.cuda.synchronize() if device == "cuda" else None
            began, first = time.time(), tokens
        if time.time() - shown > 10:
            shown = time.time()
            speed = (tokens - first) / (time.time() - began) if began and step > 3 else 0.0
            print(
                f"{shown - started:6.0f} s  step {step:5}  loss {float(loss.detach()):.4f}  norm {float(norm):.2f}  lr {rate:.5f}  {speed / 1e3:.0f}k tokens/s  queue {queue.qsize()}",
                flush=True,
            )
        if began and progress >= 1:
            break
    for worker in workers:
        worker.terminate()
    model.to(torch.bfloat16)
    model.config.use_cache = True
    model.config.dtype = torch.bfloat16
    model.save_pretrained(options.out)
    ids_of = {
        "eos_token_id": [VOCABULARY - len(TAGS) - 1, VOCABULARY - len(TAGS) - 3],
        "pad_token_id": VOCABULARY - len(TAGS) - 3,
    }
    write_json(
        options.out / "generation_config.json",
        ids_of | {"do_sample": True, "temperature": 0.2, "top_k": 20, "top_p": 0.9},
    )
    parameters = sum(weight.numel() for weight in model.parameters())
    return {
        "parameters": parameters,
        "steps": step,
        "tokens": tokens,
        "seconds": round(time.time() - started, 1),
        "loss": float(loss.detach()),
    }


# --- measuring --------------------------------------------------------------------------------------------------------
def answers(
    folder: Path,
    prompts: list[tuple[list[dict[str, Any]], list[dict[str, Any]] | None]],
    batch: int = 64,
    longest: int = 160,
) -> list[str]:
    """What the bf16 model says to each (messages, tools), greedily; control tokens removed, tags kept."""
    import torch
    from tokenizers import Tokenizer
    from transformers import Qwen3ForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(device).eval()
    bpe = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pad, end = model.config.pad_token_id, model.config.eos_token_id
    encoded = [
        bpe.encode(
            "".join(text for text, _ in render.segments(*prompt)) + "<|im_start|>assistant\n", add_special_tokens=False
        ).ids
        for prompt in prompts
    ]
    order = sorted(range(len(encoded)), key=lambda n: len(encoded[n]))
    said = [""] * len(encoded)
    for start in range(0, len(order), batch):
        chunk = order[start : start + batch]
        width = max(len(encoded[n]) for n in chunk)
        ids = torch.tensor([[pad] * (width - len(encoded[n])) + encoded[n] for n in chunk], device=device)
        mask = torch.tensor([[0] * (width - len(encoded[n])) + [1] * len(encoded[n]) for n in chunk], device=device)
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=longest,
                do_sample=False,
                temperature=None,
                top_k=None,
                top_p=None,
                eos_token_id=[end],
                pad_token_id=pad,
            )
        for n, row in zip(chunk, out[:, width:].tolist(), strict=True):
            cut = row.index(end) if end in row else len(row)
            said[n] = bpe.decode(row[:cut], skip_special_tokens=False)
    return said


def called(text: str) -> list[dict[str, Any]] | None:
    """The tool calls in an answer; None where one is malformed."""
    found = []
    for part in text.split("<tool_call>")[1:]:
        try:
            call = json.loads(part.split("</tool_call>")[0])
            found.append({"name": call["name"], "arguments": call["arguments"]})
        except (ValueError, KeyError, TypeError):
            return None
    return found


def measure(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Exact match of tool calls, verbatim copies of what was searched, what follows a result where one call follows
    another, plain questions and recall, on held-out prompts."""
    rng, report = Random(seed), dict[str, Any]()
    mistakes = []
    for lang in ("en", "zh"):
        kinds = ["search", "search", "choose", "choose", "two", "none"]
        prompts = [dialogues.tool_prompt(rng, lang, kinds[n % len(kinds)], n) for n in range(count)]
        said = answers(folder, [(one["messages"], one["tools"]) for one in prompts])
        right = [called(text) == one["expected"] for one, text in zip(prompts, said, strict=True)]
        for kind in dict.fromkeys(kinds[:count]):
            hits = [hit for one, hit in zip(prompts, right, strict=True) if one["kind"] == kind]
            report[f"{lang}_{kind}"] = round(sum(hits) / len(hits), 4)
        report[f"{lang}_exact"] = round(sum(right) / len(right), 4)
        searches = [(one, text) for one, text in zip(prompts, said, strict=True) if one["kind"] == "search"]
        copied = [
            next(iter(one["expected"][0]["arguments"].values()))
            in [v for call in called(text) or [] for v in call["arguments"].values()]
            for one, text in searches
        ]
        report[f"{lang}_copy"] = round(sum(copied) / len(copied), 4)
        mistakes += [
            {"asked": one["messages"][-1]["content"], "expected": one["expected"], "said": text}
            for one, text, hit in zip(prompts, said, right, strict=True)
            if not hit
        ]
        cases = []
        while len(cases) < count // 2:
            one = dialogues.dialogue(rng, held=True, kind=["two", "call"][len(cases) % 2], lang=lang)
            if one["kind"] == "one by one" and any(m["role"] == "tool" for m in one["messages"]):
                cases.append(one)
        ends = [rng.choice(dialogues.after_results(one["messages"])) for one in cases]
        said = answers(folder, [(one["messages"][:end], one["tools"]) for one, end in zip(cases, ends, strict=True)])
        wanted = [render.said(one["messages"][end]) for one, end in zip(cases, ends, strict=True)]
        hits = [text == right for text, right in zip(said, wanted, strict=True)]
        report[f"{lang}_chain"] = round(sum(hits) / len(hits), 4)
        mistakes += [
            {"asked": one["messages"][end - 1]["content"], "expected": right, "said": text}
            for one, end, right, text, hit in zip(cases, ends, wanted, said, hits, strict=True)
            if not hit
        ]
        for kind in ("question", "memory", "call"):
            cases = []
            while len(cases) < count // 2:
                one = dialogues.dialogue(rng, held=True, kind="call" if kind == "call" else "chat", lang=lang)
                if (
                    one["kind"] == kind
                    and one["messages"][-1]["role"] == "assistant"
                    and (kind != "call" or one["messages"][-2]["role"] == "tool")
                ):
                    cases.append(one)
            said = answers(folder, [(one["messages"][:-1], one["tools"]) for one in cases])
            hits = [text == one["messages"][-1]["content"] for one, text in zip(cases, said, strict=True)]
            report[f"{lang}_{'result' if kind == 'call' else kind}"] = round(sum(hits) / len(hits), 4)
            mistakes += [
                {"asked": one["messages"][-2]["content"], "expected": one["messages"][-1]["content"], "said": text}
                for one, text, hit in zip(cases, said, hits, strict=True)
                if not hit
            ]
    rng.shuffle(mistakes)
    return {"prompts": count, "figures": report, "mistakes": mistakes[:40]}


def write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "model")
    parser.add_argument("--minutes", type=float, default=12.0, help="of training, compilation apart")
    parser.add_argument("--batch", type=int, default=32, help="rows of a step, a multiple of 8")
    parser.add_argument("--context", type=int, default=CONTEXT, help="tokens of a row")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--workers", type=int, default=max(1, mp.cpu_count() - 2))
    parser.add_argument("--prompts", type=int, default=500, help="held-out prompts a language, for the measurement")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on from these weights")
    parser.add_argument("--measure-only", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    corpus = read_corpus(options.corpus)
    result: dict[str, Any] = {}
    if not options.measure_only:
        started = time.time()
        if not (options.out / "tokenizer.json").is_file():
            make_tokenizer(corpus, options.out)
        print(f"tokenizer: {time.time() - started:.0f} s", flush=True)
        result = {"training": train(options)}
        print(json.dumps(result), flush=True)
    result |= measure(options.out, options.prompts, seed=99)
    write_json(options.out / "training.json", {key: value for key, value in result.items() if key != "mistakes"})
    print(json.dumps(result["figures"], indent=1))
    for mistake in result["mistakes"]:
        print(json.dumps(mistake, ensure_ascii=False))
    assert math.isfinite(result.get("training", {}).get("loss", 0.0))


if __name__ == "__main__":
    main()
