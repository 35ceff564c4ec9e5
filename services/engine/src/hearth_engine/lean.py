"""`python -m hearth_engine.lean ARGS…` is vLLM's server without PyTorch's compiler, for plans that compile nothing.

Much of the time until vLLM has been imported goes into torch._dynamo and torch._inductor (`make bench-start`). vLLM,
torch and transformers import them for decorators and base classes that matter only once something is compiled. Here
those two packages exist from the start but run their code when somebody asks them for more than a mark on a function: a
plan that compiles after all gets the real thing, later. Collecting garbage while thousands of modules come in frees
nothing, so that waits as well. And all this goes on while the launcher verifies the artifact: only then is it read.
"""

import functools
import gc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

SERVER = "vllm.entrypoints.launchers.api_server.entry"
SERVERS = "vllm.entrypoints.cli.serve"  # several of them
_PACKAGES = ("torch._dynamo", "torch._inductor")
# What vllm.env_override sets for every process besides patching the compiler, which nobody has imported here.
_ENVIRONMENT = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
# Transformers imports it for pictures wherever it is installed, and it alone takes half a second.
_UNUSED = "torchvision"
# What vLLM would import other models for, before it finds that the model at hand is none of them.
_WARMUPS = ("minimax_m3_msa_warmup", "qwen_vl_triton_warmup")
PERMISSION = "HEARTH_PERMISSION"  # the file descriptor that says when the artifact may be read (`watch`)


def main() -> None:
    gc.disable()
    several = "--api-server-count" in sys.argv
    if several:  # before prometheus_client is imported, which then counts where each process can read it
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="hearth-metrics-")
    trim()
    server = importlib.import_module(SERVER)
    importlib.import_module("vllm.v1.engine.core")
    if os.environ.get("HEARTH_DEVICE") == "cuda":
        from hearth_engine import graphs, kernels

        kernels.install()
        graphs.install()
    elif "--speculative-config" in sys.argv:
        from hearth_engine import speculation

        speculation.install()
    # The engine's process inherits what is imported in place of importing it again. vLLM spawns on the CPU, whatever is
    # asked for, because threads do not survive a fork: there are none yet.
    processes: Any = importlib.import_module("vllm.v1.engine.utils")
    processes.get_mp_context = lambda: multiprocessing.get_context("fork")
    servers: Any = importlib.import_module(SERVERS) if several else None
    gc.enable()
    gc.freeze()  # what was imported stays: no later collection need look at it
    wait_for_permission()
    if several:
        serve_by_several(servers)
    else:
        server.main()


def serve_by_several(servers: Any) -> None:
    """What `vllm serve` does with --api-server-count, and SERVER alone does not know. They are forked as well."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    processes: Any = importlib.import_module("vllm.v1.utils")
    forks = multiprocessing.get_context("fork")
    processes.multiprocessing = SimpleNamespace(**vars(multiprocessing) | {"get_context": lambda _: forks})
    cli_env_setup()
    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args()
    validate_parsed_serve_args(arguments)
    servers.run_multi_api_server(arguments)


def wait_for_permission() -> None:
    """Return once the launcher has verified the artifact; end with status 1 where it gave up. Without one: at once."""
    if (descriptor := os.environ.pop(PERMISSION, None)) is None:
        return
    with open(int(descriptor), "rb") as pipe:
        if pipe.read(1) != b"1":
            sys.exit(1)


def trim() -> None:
    """Put the stand-ins in place. Call it before anything imports torch."""
    os.environ.update(_ENVIRONMENT)
    sys.meta_path.insert(0, _Finder())
    sys.modules["vllm.env_override"] = ModuleType("vllm.env_override")
    sys.modules[_UNUSED] = None  # type: ignore[assignment]  # Python's own way to say that there is none
    for name in _WARMUPS:
        warmup = ModuleType(f"vllm.model_executor.warmup.{name}")
        warmup.__dict__[name] = lambda *_: None
        sys.modules[warmup.__name__] = warmup
    decorators = ModuleType("vllm.compilation.decorators")
    # Each wraps a model's class in its own compiler, which does nothing where the plan compiles nothing.
    decorators.__dict__.update(
        support_torch_compile=mark, ignore_torch_compile=mark, should_torch_compile_mm_encoder=lambda *_: False
    )
    sys.modules[decorators.__name__] = decorators

    import torch._library.triton
    import torch.compiler

    torch.compile = _at_first_call(torch.compile)
    torch.compiler.__dict__.update(_MARKS)
    # What an operator would show the compiler: found by reading its source, with the compiler's help.
    torch._library.triton.get_inner_triton_kernels = lambda _: []

    import transformers.utils

    # Configurations and tokenizers are all that it is asked for. What it shards models with brings in sympy, which
    # takes as long as half of vLLM.
    for module in (transformers.utils, transformers.utils.import_utils):
        module.is_torch_distributed_available = lambda: False


def mark(function: Any = None, *_: object, **__: object) -> Any:
    """A decorator, with or without arguments, that tells a compiler something about a function."""
    return function if callable(function) else mark


def _mark_with_arguments(*_: object, **__: object) -> Callable[[Any], Any]:
    return mark


_MARKS: dict[str, Any] = {
    **dict.fromkeys(("allow_in_graph", "assume_constant_result", "disable", "disallow_in_graph"), mark),
    "substitute_in_graph": _mark_with_arguments,
}
# What else is asked of the compiler's packages by code that does not compile.
_STANDING_IN = {
    "torch._dynamo": {
        **_MARKS,
        "decorators": SimpleNamespace(mark_unbacked=_mark_with_arguments),  # of a tensor's dimension
        "trace_rules": SimpleNamespace(clear_lru_cache=lambda: None),
    }
}


def _at_first_call(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile, which imports the compiler where it decorates, as something that does so where that is called."""

    def compile_later(model: Any = None, **options: Any) -> Any:
        if model is None:
            return functools.partial(compile_later, **options)
        if not callable(model) or isinstance(model, type) or hasattr(model, "forward"):
            return compile_(model, **options)
        compiled: list[Callable[..., Any]] = []

        @functools.wraps(model)
        def called(*args: Any, **kwargs: Any) -> Any:
            if not compiled:
                for package in filter(None, map(sys.modules.get, _PACKAGES)):
                    run(package)
                compiled.append(compile_(model, **options))
            return compiled[0](*args, **kwargs)

        return called

    return compile_later


class _Later(ModuleType):
    """A package whose submodules can be imported and whose own code has not run."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if importlib.machinery.PathFinder.find_spec(f"{self.__name__}.{name}", self.__path__):
            return importlib.import_module(f"{self.__name__}.{name}")
        run(self)
        return getattr(self, name)


def run(package: ModuleType) -> None:
    """Make the real package of a stand-in."""
    if not isinstance(package, _Later):
        return
    for name in _STANDING_IN.get(package.__name__, {}):
        del package.__dict__[name]
    package.__class__ = ModuleType  # type: ignore[assignment]
    assert package.__spec__
    assert package.__spec__.loader
    package.__spec__.loader.exec_module(package)


class _Finder:
    """Finds the packages as everybody does, and gives them a loader that does not run them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _PACKAGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, real: Any) -> None:
        super().__init__(real.name, real.path)
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Later(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__
        module.__spec__.loader = module.__loader__ = self._real
        module.__dict__.update(_STANDING_IN.get(module.__name__, {}))


if __name__ == "__main__":
    main()
