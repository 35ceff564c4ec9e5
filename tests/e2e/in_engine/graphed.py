"""Prints as JSON which CUDA graph vLLM takes for a step: its kind and tokens, or null; and what it would capture."""

import json
import sys
from types import SimpleNamespace

from vllm.config import CUDAGraphMode
from vllm.v1.worker.gpu.cudagraph_utils import CudaGraphManager

from hearth_engine import graphs

SEQUENCES, TOKENS = 64, 2048


def main() -> None:
    graphs.install()
    sizes = sorted({*graphs.decode_sizes(SEQUENCES), *graphs.prompt_sizes(SEQUENCES, TOKENS)})
    config = SimpleNamespace(cudagraph_capture_sizes=sizes, max_cudagraph_capture_size=sizes[-1])
    manager = object.__new__(CudaGraphManager)  # without the device that its constructor asks for memory
    manager.__dict__.update(
        max_num_reqs=SEQUENCES, decode_query_len=1, cudagraph_mode=CUDAGraphMode.FULL_AND_PIECEWISE,
        varlen_decode=False, lora_capture_cases=[0], ubatch_runner=None, compilation_config=config,
        vllm_config=SimpleNamespace(
            speculative_config=None, cache_config=SimpleNamespace(use_kda_recoverssm=False)
        ),
        _candidates={}, _capture_descs={}, _graphs_captured=True, _lora_dispatch_map={}, _max_lora_case=0,
    )  # fmt: skip
    manager._init_candidates()

    def taken(requests: int, tokens: int) -> list[object] | None:
        same = tokens // requests if tokens % requests == 0 else None
        graph = manager.dispatch(requests, tokens, same, 0)
        return None if graph.cg_mode is CUDAGraphMode.NONE else [graph.cg_mode.name, graph.num_tokens]

    captured = {mode.name: sorted(graph.num_tokens for graph in found)
                for mode, found in manager._capture_descs.items()}  # fmt: skip
    restored = manager.cudagraph_mode is CUDAGraphMode.FULL_AND_PIECEWISE and config.cudagraph_capture_sizes == sizes
    print(json.dumps({"captured": captured, "restored": restored,
                      "taken": [taken(*step) for step in json.loads(sys.argv[1])]}))  # fmt: skip


if __name__ == "__main__":
    main()
