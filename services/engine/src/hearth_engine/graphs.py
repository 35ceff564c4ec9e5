"""CUDA graphs: which steps get one, and what vLLM does otherwise than its configuration can say.

Python takes 35 ms to ask for the 700 kernels of a step, whatever its length; a graph asks for all of them at once. A
step of decoding is one graph. A step with prompts in it is one from each attention to the next ("breakable", in vLLM's
words): attention is asked for outside of graphs, so a graph need not know how long each prompt and its past are.
"""

from typing import Any

# Steps are padded to the next of these. Each takes a tenth of a second of the start and 12 MiB.
_PROMPT_SIZES = (64, 128, 256, 512, 768, 1024, 1536, 2048)
_WORTH_IT = 512  # tokens a step; who asks for fewer wants the memory


def decode_sizes(sequences: int) -> list[int]:
    """Decode batches that get a CUDA graph, in sequences."""
    return sorted({1, 2, 4, sequences, *range(8, sequences, 8)} - {size for size in (1, 2, 4) if size > sequences})


def prompt_sizes(sequences: int, batched_tokens: int) -> list[int]:
    """Steps with prompts in them that get CUDA graphs, in tokens: none where steps are short, to save memory."""
    if batched_tokens < _WORTH_IT:
        return []
    longest = min(batched_tokens, _PROMPT_SIZES[-1])
    return sorted({longest, *(size for size in _PROMPT_SIZES if sequences <= size < longest)})


def install() -> None:
    """Have vLLM capture what the plan counts, and no more."""
    import torch
    from vllm.config import CUDAGraphMode
    from vllm.v1.attention.backends.flash_attn import FlashAttentionMetadataBuilder
    from vllm.v1.worker.gpu.cudagraph_utils import CudaGraphManager, ModelCudaGraphManager

    candidates_by_vllm = CudaGraphManager._init_candidates
    capture_by_vllm = ModelCudaGraphManager.capture
    builder_by_vllm = FlashAttentionMetadataBuilder.__init__

    def candidates(self: Any) -> None:
        """vLLM captures steps with prompts at the sizes of decoding as well, a second more at each start."""
        if self.cudagraph_mode is not CUDAGraphMode.FULL_AND_PIECEWISE:
            candidates_by_vllm(self)
            return
        config, whole, most = self.compilation_config, self.cudagraph_mode, self.max_num_reqs
        sizes = config.cudagraph_capture_sizes
        try:
            self.cudagraph_mode = CUDAGraphMode.FULL_DECODE_ONLY
            config.cudagraph_capture_sizes = [size for size in sizes if size <= most]
            candidates_by_vllm(self)
            self.cudagraph_mode = CUDAGraphMode.PIECEWISE
            config.cudagraph_capture_sizes = [size for size in sizes if size >= most]
            candidates_by_vllm(self)
        finally:
            self.cudagraph_mode, config.cudagraph_capture_sizes = whole, sizes

    def capture(self: Any, *args: Any, **kwargs: Any) -> None:
        """Each size is run once before its capture: that memory has no use any more, as the graphs have their own."""
        capture_by_vllm(self, *args, **kwargs)
        torch.cuda.empty_cache()

    def builder(self: Any, *args: Any, **kwargs: Any) -> None:
        """FlashAttention 3 sets aside a copy of its output for each of 32 parts that it may split a captured step into:
        a GiB for 2048 tokens. What is not captured it splits as it sees fit, and that holds for prompts here."""
        builder_by_vllm(self, *args, **kwargs)
        if self.compilation_config.cudagraph_mode is CUDAGraphMode.FULL_AND_PIECEWISE:
            self.max_cudagraph_size = self.vllm_config.scheduler_config.max_num_seqs

    CudaGraphManager._init_candidates = candidates
    ModelCudaGraphManager.capture = capture
    FlashAttentionMetadataBuilder.__init__ = builder
