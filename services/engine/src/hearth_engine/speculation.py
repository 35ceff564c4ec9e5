"""What vLLM 0.32 gets wrong about speculation on a CPU without Triton.

Its stand-in for the kernel that repeats a request's temperature, top_k and top_p for each proposed token writes into a
copy (vllm#55005, open): the sampler divides by what was in memory before, and the engine dies of the first request that
samples. Greedy requests are not concerned.
"""

import torch


def expand_batch_to_tokens(
    x: torch.Tensor, cu_num_tokens: torch.Tensor, num_tokens: int, replace_from: int = 0, replace_to: int = 0
) -> torch.Tensor:
    """Repeat each request's value for each of its tokens, `replace_from` as `replace_to`."""
    counts = torch.diff(cu_num_tokens, prepend=cu_num_tokens.new_zeros(1))
    return x.masked_fill(x == replace_from, replace_to).repeat_interleave(counts, output_size=num_tokens)


def install() -> None:
    """Have vLLM's rejection sampler use it."""
    from vllm.v1.sample import rejection_sampler

    rejection_sampler.expand_batch_to_tokens = expand_batch_to_tokens
