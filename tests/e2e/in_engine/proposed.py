"""Samples with proposed tokens, for requests of several temperatures, top_k and top_p beside each other.

Prints as JSON how many tokens were impossible under them, how many greedy ones were not the likeliest, and how far the
counts of the others are from what is expected: the largest distance, in standard errors.
"""

import json
from types import SimpleNamespace

import torch
from vllm.platforms import current_platform
from vllm.v1.sample import rejection_sampler

from hearth_engine import speculation

EACH, VOCABULARY, PROPOSED = 4000, 24, 2
# Temperature, top_k, top_p.
KINDS = [(0.0, VOCABULARY, 1.0), (0.7, 5, 1.0), (1.3, VOCABULARY, 0.8), (1.0, VOCABULARY, 1.0)]


def expected(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    likely, order = torch.softmax(logits / temperature, -1).sort(descending=True)
    likely[top_k:] = 0
    likely /= likely.sum()
    likely[likely.cumsum(-1) - likely >= top_p] = 0
    return torch.zeros_like(likely).scatter(0, order, likely / likely.sum())


def main() -> None:
    torch.manual_seed(1)
    current_platform.import_kernels()
    current_platform.register_triton_kernel_overrides()
    speculation.install()
    rows = 2 * torch.randn(PROPOSED, VOCABULARY)
    requests = EACH * len(KINDS)
    temperature, top_k, top_p = (torch.tensor(column).repeat(EACH) for column in zip(*KINDS, strict=True))
    metadata = SimpleNamespace(
        all_greedy=False, all_random=False, temperature=temperature, top_k=top_k.int(), top_p=top_p, generators={}
    )
    proposed = torch.multinomial(torch.softmax(rows, -1), requests, replacement=True).T.reshape(-1).int()
    ends = PROPOSED * torch.arange(1, requests + 1, dtype=torch.int32)
    logits = rejection_sampler.apply_sampling_constraints(rows.repeat(requests, 1), ends, metadata)
    after = torch.zeros(requests, 1, dtype=torch.int32)
    sampled = rejection_sampler.rejection_sample(
        proposed, [PROPOSED] * requests, PROPOSED, ends, None, logits, after, metadata
    )
    impossible, not_likeliest, furthest = 0, 0, 0.0
    for number, kind in enumerate(KINDS):
        for position, row in enumerate(rows):
            tokens = sampled[number :: len(KINDS), position]
            tokens = tokens[tokens >= 0].long()  # below 0: a proposal before it was refused
            if not kind[0]:
                not_likeliest += int((tokens != row.argmax()).sum())
                continue
            counts, likely = torch.bincount(tokens, minlength=VOCABULARY), expected(row, *kind)
            impossible += int(counts[likely == 0].sum())
            errors = (counts - len(tokens) * likely) / (len(tokens) * likely * (1 - likely)).sqrt()
            furthest = max(furthest, float(errors[likely > 0].abs().max()))
    print(json.dumps({"impossible": impossible, "not_likeliest": not_likeliest, "furthest": furthest}))


main()
