"""Measures an INT4 artifact beside its 16 bit source and beside plain rounding, by transformers, on CUDA or CPU.

One model is on the device, and weights are swapped in it. What it computes with are dense weights: the verdict is about
the artifact's numbers, not about a kernel. Of the source, the last hidden state of each token is kept: heads are never
quantized, so its logits can be had again from there a chunk at a time, and no more than a chunk of them is ever held.
"""

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth_quantizer import calibration, int4, quality, tensors, toolcalls
from hearth_quantizer.artifact import Model, read_json, read_tensors
from hearth_quantizer.calibration import Row
from hearth_quantizer.int4 import Floats
from hearth_quantizer.log import Log
from hearth_quantizer.manifest import Canary
from hearth_quantizer.memory import GIB
from hearth_quantizer.quality import Flags, Measured, Metrics, Tokens, WorstText, WorstTool
from hearth_quantizer.recipe import Evaluation
from hearth_quantizer.refusal import Refusal
from hearth_quantizer.toolcalls import ToolPrompt

Read = Callable[[str], Floats]
Sequences = Sequence[Sequence[int]]
# What another computation of the same weights may differ by, averaged over a prompt's tokens: so many times what
# bfloat16 does to that prompt, and no less than this. On the demo model vLLM's INT4 kernel for CPUs came to twice what
# bfloat16 does, and scales of one layer that are 5 % too large to six times and more.
CANARY_FACTOR, CANARY_LEAST = 3.5, 0.005
_CHUNK = 1 << 26  # logits held at once
_BATCH = 8192  # tokens of text in one forward pass
_ANSWERS = 32  # tool prompts answered at once
_LAYER_TOKENS = 2048  # text that each layer is measured on alone
_WORST = 8


class EvaluationError(Refusal):
    """The artifact or the held-out data cannot be measured, and why."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out data, and its tokens as source and artifact alike make them."""

    rows: list[Row]
    prompts: list[ToolPrompt]
    text: list[list[int]]
    asked: list[list[int]]
    tokenizer: Any


def read(evaluation: Evaluation, seen: Iterable[Path], root: Path) -> tuple[list[Row], list[ToolPrompt]]:
    """The held-out rows and prompts. Raises EvaluationError for a row that calibration sees too."""
    rows = calibration.read(root / path for path in evaluation.text)
    known = {row.model_dump_json(): row.place for row in calibration.read(seen)}
    if problems := [
        f"{row.place}: is calibration's row {known[row.model_dump_json()]} too: it is not held out"
        for row in rows
        if row.model_dump_json() in known
    ]:
        raise EvaluationError("\n".join(problems))
    return rows, toolcalls.read(root / path for path in evaluation.tools)


def encode(rows: list[Row], prompts: list[ToolPrompt], source: Path, artifact: Path, evaluation: Evaluation) -> HeldOut:
    """Raises EvaluationError where the artifact's tokenizer or template makes other tokens than the source's."""
    from transformers import AutoTokenizer

    def tokens(folder: Path) -> tuple[Any, list[list[int]], list[list[int]]]:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        row_tokens = calibration.encoder(folder)
        asked = [
            tokenizer.apply_chat_template(
                prompt.chat(), tools=list(prompt.tools), add_generation_prompt=True, tokenize=True, return_dict=False
            )
            for prompt in prompts
        ]
        return tokenizer, [row_tokens(row)[: evaluation.tokens] for row in rows], asked

    tokenizer, text, asked = tokens(source)
    _, text_here, asked_here = tokens(artifact)
    places = [*(row.place for row in rows), *(f"tool prompt {prompt.id}" for prompt in prompts)]
    for place, theirs, ours in zip(places, [*text, *asked], [*text_here, *asked_here], strict=True):
        if theirs != ours:
            raise EvaluationError(f"{artifact}: its tokenizer or chat template makes other tokens of {place}")
    if short := [row.place for row, ids in zip(rows, text, strict=True) if len(ids) < 2]:
        raise EvaluationError(f"{short[0]}: has no token to predict")
    return HeldOut(rows, prompts, text, asked, tokenizer)


class Checkpoint:
    """The weights of a model folder as dense float32 [outputs, inputs], read from disk as they are asked for."""

    def __init__(self, folder: Path) -> None:
        config = read_json(folder / "config.json")
        self.model = Model.from_config(config)
        self.group_size: int | None = config.get("quantization_config", {}).get("group_size")
        self._folder = folder
        self._held = read_tensors(folder)

    def tensor(self, name: str) -> NDArray[Any]:
        try:
            return tensors.values(self._folder / self._held[name].file, name)
        except KeyError:
            raise EvaluationError(f"{self._folder}: {name}: is missing") from None

    def weight(self, name: str) -> Floats:
        """A parameter under the name it has in the dense model, be it stored dense or as codes."""
        linear = name.removesuffix(".weight")
        if f"{linear}.qweight" not in self._held:
            return self.tensor(name).astype(np.float32, copy=False)
        return int4.unpack(*(self.tensor(f"{linear}.{part}") for part in ("qweight", "scales", "qzeros")))

    def rounded(self, group_size: int) -> Read:
        """The same weights, rounded to nearest on the grid that GPTQ's codes lie on."""
        return lambda name: int4.round_to_nearest(self.weight(name), group_size)


class Subject:
    """The dense model on the device, whose weights are swapped."""

    def __init__(self, folder: Path, device_memory: float | None) -> None:
        import torch
        from transformers import GenerationConfig, Qwen3ForCausalLM

        self._torch = torch
        loaded = Qwen3ForCausalLM.from_pretrained(folder)
        self.device, self.precision = _place(torch, loaded.num_parameters(), device_memory)
        self._model = loaded.to(self.device, self.precision).eval()
        ends = self._model.generation_config.eos_token_id
        self._ends = ends if isinstance(ends, list) else [ends]
        # Greedy, whatever the model's own defaults of sampling are.
        self._model.generation_config = GenerationConfig(
            eos_token_id=self._ends, pad_token_id=self._ends[0], do_sample=False
        )
        self._parameters = dict(self._model.named_parameters())

    @property
    def head(self) -> Any:
        """A copy of the head's weight: that of another variant may replace it."""
        return self._model.lm_head.weight.detach().clone()

    def load(self, names: Iterable[str], read: Read) -> None:
        """Replace the named parameters in place."""
        wanted = sorted(names)
        with self._torch.no_grad(), ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(wanted), 8):  # a few at a time: dense float32 weights are large
                part = wanted[start : start + 8]
                for name, weight in zip(part, pool.map(read, part), strict=True):
                    self._parameters[name].copy_(self._torch.from_numpy(weight))

    def hidden(self, sequences: Sequences) -> Any:
        """The last hidden state of every token but each sequence's last, [tokens, hidden], in the sequences' order."""
        torch = self._torch
        found: list[Any] = [None] * len(sequences)
        with torch.inference_mode():
            for batch in _batches(sequences, _BATCH):
                longest = max(len(sequences[index]) for index in batch)
                # Padding on the right is not seen by what stands before it.
                ids = torch.tensor([[*sequences[index], *[0] * (longest - len(sequences[index]))] for index in batch])
                states = self._model.model(input_ids=ids.to(self.device), use_cache=False).last_hidden_state
                for position, index in enumerate(batch):
                    found[index] = states[position, : len(sequences[index]) - 1].clone()
        return torch.cat(found)

    def compare(self, hidden: Any, reference: Any, reference_head: Any, sequences: Sequences) -> Tokens:
        """This variant's hidden states beside the source's. Raises EvaluationError for logits that are no numbers."""
        torch = self._torch
        actual = torch.tensor([token for sequence in sequences for token in sequence[1:]], device=self.device)
        nll, top, kl = [], [], []
        with torch.inference_mode():
            head = self._model.lm_head.weight
            step = max(1, _CHUNK // head.shape[0])
            for start in range(0, len(actual), step):
                part = slice(start, start + step)
                ours = (hidden[part] @ head.T).float().log_softmax(-1)
                theirs = (reference[part] @ reference_head.T).float().log_softmax(-1)
                nll.append(-ours.gather(1, actual[part, None])[:, 0])
                top.append(ours.argmax(-1))
                kl.append((theirs.exp() * (theirs - ours)).sum(-1))
            found = Tokens(
                nll=torch.cat(nll).double().cpu().numpy(),
                top=torch.cat(top).cpu().numpy(),
                kl=torch.cat(kl).double().cpu().numpy(),
            )
        broken = int(np.count_nonzero(~(np.isfinite(found.nll) & np.isfinite(found.kl))))
        if broken:
            raise EvaluationError(f"{broken} of {len(found.nll)} tokens of the held-out text get no finite logits")
        return found

    def answers(self, asked: Sequences, limit: int, advance: Callable[[int], None]) -> list[list[int]]:
        """Greedy answers in tokens, in the prompts' order; `advance` gets the number of answers so far."""
        torch = self._torch
        found: list[list[int]] = [[] for _ in asked]
        order = sorted(range(len(asked)), key=lambda index: len(asked[index]))
        for start in range(0, len(order), _ANSWERS):
            batch = order[start : start + _ANSWERS]
            longest = len(asked[batch[-1]])
            padding = [longest - len(asked[index]) for index in batch]
            ids = torch.tensor([[0] * gap + list(asked[index]) for gap, index in zip(padding, batch, strict=True)])
            mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in padding])
            with torch.inference_mode():
                made = self._model.generate(
                    input_ids=ids.to(self.device), attention_mask=mask.to(self.device), max_new_tokens=limit
                )
            for index, row in zip(batch, made[:, longest:].tolist(), strict=True):
                stop = next((place for place, token in enumerate(row) if token in self._ends), len(row))
                found[index] = row[: stop + 1]
            advance(start + len(batch))
        return found

    def answers_like(
        self, drafts: Sequences, asked: Sequences, limit: int, advance: Callable[[int], None]
    ) -> list[list[int]]:
        """The same answers as `answers`, sooner: those of another variant are checked in one pass.

        Tokens are made one by one only from where this variant would have said something else.
        """
        both = [[*prompt, *draft] for prompt, draft in zip(asked, drafts, strict=True)]
        said = self._favourites(both, [len(draft) for draft in drafts])
        found: list[list[int]] = []
        for own, draft in zip(said, drafts, strict=True):
            pairs = zip(own, draft, strict=True)
            same = next((place for place, (ours, theirs) in enumerate(pairs) if ours != theirs), len(draft))
            found.append(own[: same + 1])
        open_ended = [index for index, row in enumerate(found) if row[-1] not in self._ends and len(row) < limit]
        settled = len(asked) - len(open_ended)
        advance(settled)
        begun = [[*asked[index], *found[index]] for index in open_ended]
        for index, rest in zip(
            open_ended, self.answers(begun, limit, lambda done: advance(settled + done)), strict=True
        ):
            found[index] = (found[index] + rest)[:limit]
        return found

    def _favourites(self, sequences: Sequences, counts: Sequence[int]) -> list[list[int]]:
        """The most likely token at each of the last `count` places of each sequence, given what stands before it."""
        hidden = self.hidden(sequences)
        ends = np.cumsum([len(sequence) - 1 for sequence in sequences])
        with self._torch.inference_mode():
            head = self._model.lm_head.weight
            return [
                (hidden[end - count : end] @ head.T).argmax(-1).tolist()
                for end, count in zip(ends, counts, strict=True)
            ]

    def logprobs(self, sequences: Sequences) -> tuple[tuple[float, ...], ...]:
        """ln p of every token but the first of each sequence."""
        hidden, head = self.hidden(sequences), self.head
        tokens = -self.compare(hidden, hidden, head, sequences).nll
        ends = np.cumsum([len(sequence) - 1 for sequence in sequences])
        return tuple(tuple(float(value) for value in part.round(5)) for part in np.split(tokens, ends[:-1]))

    def logprobs_bfloat16(self, sequences: Sequences) -> tuple[tuple[float, ...], ...]:
        """The same at an engine's precision; the last thing to ask of a subject, whose weights stay rounded."""
        self._model.to(self._torch.bfloat16)
        return self.logprobs(sequences)


def logprobs(
    source: Path, artifact: Path, prompts: Sequences, device_memory: float | None = None
) -> tuple[tuple[float, ...], ...]:
    """ln p of every token but the first of each prompt, by the artifact's weights."""
    subject, quantized = Subject(source, device_memory), Checkpoint(artifact)
    subject.load(_names(quantized), quantized.weight)
    return subject.logprobs(prompts)


def divergence(
    source: Path, artifact: Path | None, group_size: int, text: Sequences, device_memory: float | None = None
) -> tuple[Tokens, Tokens]:
    """The source, and beside it the artifact or, without one, rounding to nearest, on the text."""
    original, subject = Checkpoint(source), Subject(source, device_memory)
    reference, head = subject.hidden(text), subject.head
    own = subject.compare(reference, reference, head, text)
    linears = [f"{name}.weight" for name in original.model.linears()]
    subject.load(linears, Checkpoint(artifact).weight if artifact else original.rounded(group_size))
    return own, subject.compare(subject.hidden(text), reference, head, text)


def measure(
    source: Path, artifact: Path, held: HeldOut, evaluation: Evaluation, log: Log, device_memory: float | None = None
) -> tuple[Measured, Canary]:
    """Everything the report says, and the canary. Raises EvaluationError."""
    original, quantized = Checkpoint(source), Checkpoint(artifact)
    if quantized.group_size is None:
        raise EvaluationError(f"{artifact}: config.json: quantization_config.group_size is missing")
    subject = Subject(source, device_memory)
    linears = [f"{name}.weight" for name in original.model.linears()]
    said: dict[str, list[list[int]]] = {}
    tokens: dict[str, Tokens] = {}
    reference, head = subject.hidden(held.text), subject.head
    log.say("evaluate", f"{len(held.text)} rows of text, {len(held.asked)} tool prompts, on {subject.device}")
    with log.progress("evaluate", 3 * len(held.asked), "answers") as advance:

        def score(variant: str) -> None:
            done = len(said) * len(held.asked)
            answer = partial(subject.answers_like, said["fp"]) if said else subject.answers
            said[variant] = answer(held.asked, evaluation.answer_tokens, lambda count: advance(done + count))
            tokens[variant] = subject.compare(subject.hidden(held.text), reference, head, held.text)

        score("fp")
        layers = _by_layer(subject, original, quantized, held.text, head)
        subject.load(linears, original.rounded(quantized.group_size))
        score("rtn")
        subject.load(_names(quantized), quantized.weight)
        score("int4")
    wide = [_is_wide(held.tokenizer.decode(ids)) for ids in held.text]
    prompts = quality.canary_prompts(held.text, wide, held.asked)
    logprobs = subject.logprobs(prompts)
    noise = quality.canary_differences(logprobs, subject.logprobs_bfloat16(prompts))
    limits = tuple(round(max(CANARY_LEAST, CANARY_FACTOR * one), 5) for one in noise)
    log.say("evaluate", f"canary: bfloat16 moves log-probabilities by {min(noise):.4f} to {max(noise):.4f}")
    canary = Canary(prompts=prompts, logprobs=logprobs, limits=limits)

    answers = {
        variant: [held.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in made]
        for variant, made in said.items()
    }
    right = {variant: _right(held.prompts, texts) for variant, texts in answers.items()}
    languages = [prompt.lang for prompt in held.prompts]
    lengths = [len(sequence) - 1 for sequence in held.text]
    where = np.concatenate([np.arange(length) for length in lengths])
    row = np.repeat(np.arange(len(lengths)), lengths)
    measured = Measured(
        device=subject.device,
        precision=str(subject.precision).removeprefix("torch."),
        text_rows=len(held.text),
        text_tokens=len(where),
        tool_prompts={language: languages.count(language) for language in sorted(set(languages))},
        metrics=Metrics(**{name: quality.scores(tokens[name], tokens["fp"], right[name]) for name in tokens}),
        tools=quality.shares(right, languages),
        tools_by_kind=quality.shares(right, [prompt.kind for prompt in held.prompts]),
        tool_difference=quality.tool_difference(right["int4"], right["fp"], languages),
        layers=layers,
        positions=quality.positions(where, tokens["fp"], tokens["int4"], tokens["rtn"]),
        histogram=quality.histogram(tokens["int4"].kl, tokens["rtn"].kl),
        worst_text=tuple(_worst_text(held, tokens, row, where)),
        worst_tools=tuple(_worst_tools(held.prompts, answers, right)),
    )
    return measured, canary


def _names(checkpoint: Checkpoint) -> list[str]:
    """Every parameter of the dense model."""
    return [*(f"{name}.weight" for name in checkpoint.model.linears()), *checkpoint.model.plain()]


def _by_layer(
    subject: Subject, original: Checkpoint, quantized: Checkpoint, text: Sequences, head: Any
) -> tuple[float, ...]:
    """Mean KL divergence with one layer quantized at a time, on the first tokens of rows spread over the text."""
    rows = quality.spread(text, 16)
    part = [list(sequence[: max(2, _LAYER_TOKENS // len(rows))]) for sequence in rows]
    reference = subject.hidden(part)
    found = []
    for layer in range(original.model.layers):
        names = [f"{name}.weight" for name in original.model.linears() if name.startswith(f"model.layers.{layer}.")]
        subject.load(names, quantized.weight)
        found.append(float(subject.compare(subject.hidden(part), reference, head, part).kl.mean()))
        subject.load(names, original.weight)
    return tuple(found)


def _right(prompts: Sequence[ToolPrompt], answers: Sequence[str]) -> Flags:
    return np.array(
        [toolcalls.matches(text, prompt.expected) for prompt, text in zip(prompts, answers, strict=True)], dtype=bool
    )


def _worst_text(
    held: HeldOut, tokens: dict[str, Tokens], row: NDArray[np.int64], where: NDArray[np.int64]
) -> Iterator[WorstText]:
    decode = held.tokenizer.decode
    for index, mean, token in quality.worst(tokens["int4"].kl, row, _WORST):
        position = int(where[token])
        yield WorstText(
            row=index + 1,
            kl_row=mean,
            kl_token=float(tokens["int4"].kl[token]),
            context=decode(held.text[index][max(0, position - 60) : position + 1]),
            actual=decode([held.text[index][position + 1]]),
            fp=decode([int(tokens["fp"].top[token])]),
            int4=decode([int(tokens["int4"].top[token])]),
        )


def _worst_tools(
    prompts: Sequence[ToolPrompt], answers: dict[str, list[str]], right: dict[str, Flags]
) -> Iterator[WorstTool]:
    """What INT4 lost first, then what it gets wrong like the source, then what it merely says otherwise."""

    def badness(index: int) -> tuple[bool, bool]:
        return bool(right["int4"][index]), not right["fp"][index]

    differ = [
        index
        for index in range(len(prompts))
        if not right["int4"][index] or answers["int4"][index] != answers["fp"][index]
    ]
    for index in sorted(differ, key=badness)[:_WORST]:
        prompt = prompts[index]
        asked = [message.content for message in prompt.messages if message.role in ("user", "tool")]
        yield WorstTool(
            id=prompt.id,
            lang=prompt.lang,
            kind=prompt.kind,
            prompt=(asked[-1] if asked else None) or "",
            expected="\n".join(call.model_dump_json() for call in prompt.expected),
            fp=answers["fp"][index],
            int4=answers["int4"][index],
            fp_right=bool(right["fp"][index]),
            int4_right=bool(right["int4"][index]),
        )


def _batches(sequences: Sequences, tokens: int) -> Iterator[list[int]]:
    """Indices of sequences of like length, so many that they hold about `tokens` with their padding."""
    batch: list[int] = []
    for index in sorted(range(len(sequences)), key=lambda index: len(sequences[index])):
        if batch and (len(batch) + 1) * len(sequences[index]) > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _is_wide(text: str) -> bool:
    """Whether a good part of the text is Chinese."""
    return sum("一" <= letter <= "鿿" for letter in text) > len(text) / 8


def _place(torch: Any, parameters: int, device_memory: float | None) -> tuple[str, Any]:
    """Device and precision: float32 where the model fits twice over, so that rounding of activations does not blur what
    is measured; the CPU where the model does not fit a GPU even at 16 bit."""
    if torch.cuda.is_available():
        gc.collect()  # what the back end left on the device
        torch.cuda.empty_cache()
        free = torch.cuda.mem_get_info()[0]
        if device_memory is not None:
            free = min(free, device_memory * GIB)
        if 3 * parameters < free:
            return "cuda", torch.float32 if 8 * parameters < free else torch.bfloat16
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return "cpu", torch.float32 if 8 * parameters < free else torch.bfloat16
