"""Kernels that stand in for what torch.compile would have fused (docs/benchmarks.md, "Kernels").

One kernel takes the place of five between a layer's first matrix and its attention: two norms, rotary embedding,
quantizing the query, writing keys and values into the cache. Another multiplies two halves of the MLP as the compiler's
did. Both are token by token, for prompts as for answers.
"""

import functools
from typing import Any

import torch
import triton
import triton.language as tl

from hearth_engine import dense, gemm, gemv
from hearth_engine.memory import UNPACKED_ROWS


@triton.jit
def _attention_inputs(
    qkv, row, positions, table, q_weight, k_weight, q_out, cache, slots, slot_count, q_scale, k_scale, v_scale, eps,
    block_stride, head_stride, token_stride,
    page: tl.constexpr, heads: tl.constexpr, kv_heads: tl.constexpr, dim: tl.constexpr,
    fp8_query: tl.constexpr, fp8_cache: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)  # the query's heads, then the keys'
    half = tl.arange(0, dim // 2)
    start = qkv + token * row + head * dim
    left = tl.load(start + half).to(tl.float32)
    right = tl.load(start + dim // 2 + half).to(tl.float32)
    norm = tl.rsqrt((tl.sum(left * left, 0) + tl.sum(right * right, 0)) / dim + eps)
    weight = q_weight if head < heads else k_weight
    # Rounded where vLLM's own kernels round: before the weight, after it, and after the rotation.
    left = (left * norm).to(tl.bfloat16).to(tl.float32) * tl.load(weight + half).to(tl.float32)
    right = (right * norm).to(tl.bfloat16).to(tl.float32) * tl.load(weight + dim // 2 + half).to(tl.float32)
    left = left.to(tl.bfloat16).to(tl.float32)
    right = right.to(tl.bfloat16).to(tl.float32)
    angle = table + tl.load(positions + token) * dim
    cosine = tl.load(angle + half).to(tl.float32)
    sine = tl.load(angle + dim // 2 + half).to(tl.float32)
    first = (left * cosine - right * sine).to(tl.bfloat16)
    second = (right * cosine + left * sine).to(tl.bfloat16)
    if head < heads:
        query = q_out + (token * heads + head) * dim
        if fp8_query:
            scale = tl.load(q_scale)
            tl.store(query + half, (first.to(tl.float32) / scale).to(tl.float8e4nv))
            tl.store(query + dim // 2 + half, (second.to(tl.float32) / scale).to(tl.float8e4nv))
        else:
            tl.store(query + half, first)
            tl.store(query + dim // 2 + half, second)
    elif token < slot_count:  # a batch may be padded beyond its slots
        slot = tl.load(slots + token)
        if slot >= 0:
            key = cache + (slot // page) * block_stride + (head - heads) * head_stride + (slot % page) * token_stride
            value = qkv + token * row + (head + kv_heads) * dim
            value_left = tl.load(value + half)
            value_right = tl.load(value + dim // 2 + half)
            if fp8_cache:
                scale = tl.load(k_scale)
                tl.store(key + half, (first.to(tl.float32) / scale).to(tl.float8e4nv))
                tl.store(key + dim // 2 + half, (second.to(tl.float32) / scale).to(tl.float8e4nv))
                scale = tl.load(v_scale)
                tl.store(key + dim + half, (value_left.to(tl.float32) / scale).to(tl.float8e4nv))
                tl.store(key + dim + dim // 2 + half, (value_right.to(tl.float32) / scale).to(tl.float8e4nv))
            else:
                tl.store(key + half, first)
                tl.store(key + dim // 2 + half, second)
                tl.store(key + dim + half, value_left)
                tl.store(key + dim + dim // 2 + half, value_right)


def attention_inputs(
    qkv: torch.Tensor,
    positions: torch.Tensor,
    table: torch.Tensor,
    q_weight: torch.Tensor,
    k_weight: torch.Tensor,
    eps: float,
    heads: int,
    kv_heads: int,
    cache: torch.Tensor | None,
    slots: torch.Tensor | None,
    scales: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    *,
    fp8_query: bool,
) -> torch.Tensor:
    """RMS norm and rotary embedding of queries and keys; keys and values go into the cache. Returns the queries.

    `qkv` is [tokens, (heads + 2 kv_heads) x dim] in bfloat16, `positions` [tokens], `table` [positions, dim]: cosines,
    then sines. `cache` is vLLM's [blocks, kv_heads, page, 2 dim], bfloat16 or the bytes of float8_e4m3, `slots` [at
    most tokens] where in it each token goes, below 0 nowhere; both are None while vLLM measures. `scales` are those of
    query, key and value, a float32 each. The result is [tokens, heads, dim].
    """
    tokens, dim = qkv.shape[0], table.shape[1]
    query = torch.empty((tokens, heads, dim), dtype=torch.float8_e4m3fn if fp8_query else qkv.dtype, device=qkv.device)
    fp8_cache = cache is not None and cache.dtype == torch.uint8
    if cache is None or slots is None:
        cache, slots, count, strides, page = qkv, positions, 0, (0, 0, 0), 1
    else:
        cache = cache.view(torch.float8_e4m3fn) if fp8_cache else cache
        count, strides, page = slots.shape[0], cache.stride()[:3], cache.shape[2]
    _attention_inputs[(tokens, heads + kv_heads)](
        qkv, qkv.stride(0), positions, table, q_weight, k_weight, query, cache, slots, count, *scales, eps, *strides,
        page=page, heads=heads, kv_heads=kv_heads, dim=dim, fp8_query=fp8_query, fp8_cache=fp8_cache, num_warps=1,
    )  # fmt: skip
    return query


@triton.jit
def _silu_and_mul(halves, out, width, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * block + tl.arange(0, block)
    mask = column < width
    gate = tl.load(halves + row * 2 * width + column, mask=mask).to(tl.float32)
    up = tl.load(halves + row * 2 * width + width + column, mask=mask).to(tl.float32)
    # Rounded between the two, as vLLM's kernel does.
    gate = (gate * tl.sigmoid(gate)).to(tl.bfloat16).to(tl.float32)
    tl.store(out + row * width + column, (gate * up).to(tl.bfloat16), mask=mask)


def silu_and_mul(halves: torch.Tensor) -> torch.Tensor:
    """silu(left half) x right half: [tokens, 2 width] -> [tokens, width], both contiguous bfloat16."""
    tokens, width = halves.shape[0], halves.shape[1] // 2
    out = torch.empty((tokens, width), dtype=halves.dtype, device=halves.device)
    block = 1024
    _silu_and_mul[(tokens, triton.cdiv(width, block))](halves, out, width, block=block, num_warps=4)
    return out


def install() -> None:
    """Have vLLM's Qwen3 and MLP use them, wherever their shapes are those that the kernels were made for."""
    from vllm.model_executor.kernels.linear.mixed_precision.marlin import MarlinLinearKernel
    from vllm.model_executor.layers.activation import SiluAndMul
    from vllm.model_executor.layers.attention.attention import _encode_layer_name, get_attention_context
    from vllm.model_executor.layers.quantization.utils.marlin_utils import get_marlin_workspace
    from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbedding
    from vllm.model_executor.models.qwen3 import Qwen3Attention
    from vllm.scalar_type import scalar_types

    @functools.cache
    def workspaces(device: torch.device) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Made with the first prompt that vLLM measures: not while a graph is captured. Marlin's own as well: it may be
        asked for nothing while vLLM warms up, and afterwards vLLM lets nobody make one."""
        get_marlin_workspace(device)
        return gemv.workspace(device), gemm.workspace(device)

    attention_by_vllm = Qwen3Attention.forward
    activation_by_vllm = SiluAndMul.forward_cuda
    matrix_by_vllm = MarlinLinearKernel.apply_weights

    def attention(self: Any, positions: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        layer, rotary = self.attn, self.rotary_emb
        made_for = (
            layer.attn_backend.get_name() == "FLASH_ATTN"
            and type(rotary) is RotaryEmbedding
            and rotary.is_neox_style
            and rotary.rotary_dim == self.head_dim
        )
        if not made_for:
            return attention_by_vllm(self, positions, hidden_states)
        qkv, _ = self.qkv_proj(hidden_states)
        _, _, cache, slots = get_attention_context(layer.layer_name)
        query = attention_inputs(
            qkv, positions, rotary._match_cos_sin_cache_dtype(qkv), self.q_norm.weight, self.k_norm.weight,
            self.q_norm.variance_epsilon, self.num_heads, self.num_kv_heads, cache if cache.numel() else None, slots,
            (layer._q_scale, layer._k_scale, layer._v_scale), fp8_query=layer.query_quant is not None,
        )  # fmt: skip
        tokens = qkv.shape[0]
        key, value = (part.view(tokens, self.num_kv_heads, self.head_dim)
                      for part in qkv[:, self.q_size :].split(self.kv_size, dim=-1))  # fmt: skip
        out = torch.empty((tokens, self.num_heads, self.head_dim), dtype=qkv.dtype, device=qkv.device)
        name = _encode_layer_name(layer.layer_name)
        torch.ops.vllm.unified_attention_with_output(query, key, value, out, name, kv_cache_dummy_dep=None)
        projected, _ = self.o_proj(out.view(tokens, -1))
        return projected

    def activation(self: Any, x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 2 and x.is_contiguous() and x.dtype == torch.bfloat16:
            return silu_and_mul(x)
        return activation_by_vllm(self, x)

    def matrix(self: Any, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        for_gemv, for_gemm = workspaces(x.device)
        inputs, outputs = self.config.partition_weight_shape
        words, scales, _ = self._get_weight_params(layer)
        ours = x.dim() == 2 and bias is None and self.config.weight_type == scalar_types.uint4b8
        if ours and gemv.reads(x, words, scales, inputs, outputs):
            rows = x.shape[0]
            if rows == 1 and (inputs, outputs) in gemv.CONFIGS:
                return gemv.gemv(x, words, scales, outputs, *for_gemv)
            if not hasattr(layer, "suits_gemm"):
                layer.suits_gemm = gemm.suits(scales)
            if layer.suits_gemm and (inputs, outputs, gemm.bucket(rows)) in gemm.CONFIGS:
                return gemm.gemm(x, words, scales, outputs, *for_gemm)
            if rows >= UNPACKED_ROWS:
                return dense.matmul(x, words, scales, outputs)
        return matrix_by_vllm(self, layer, x, bias)

    Qwen3Attention.forward = attention
    SiluAndMul.forward_cuda = activation
    MarlinLinearKernel.apply_weights = matrix
