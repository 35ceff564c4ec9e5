"""The back end auto-gptq: AutoGPTQ 0.7.1, in a Python of its own, since it needs the transformers of early 2025.

Only the quantization runs there (`auto_gptq_worker`). Rows are tokenized and results judged in this process, with the
same libraries whatever the back end, so that two artifacts differ by the back end alone.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hearth_quantizer.artifact import read_json, sha256
from hearth_quantizer.log import Advance
from hearth_quantizer.recipe import AutoGptqQuantization, Quantization
from hearth_quantizer.refusal import Refusal

PYTHON = "HEARTH_AUTO_GPTQ_PYTHON"  # set in the image that has it
_WORKER = "hearth_quantizer.backends.auto_gptq_worker"
_VERSIONS = "from importlib.metadata import version; print(version('auto-gptq'), version('transformers'))"
_LAYER = re.compile(r"Start quantizing layer (\d+)/\d+")


def versions() -> dict[str, str]:
    """The versions of AutoGPTQ and of its own transformers, and a digest of the modules here that use them."""
    asked = subprocess.run([_python(), "-c", _VERSIONS], capture_output=True, text=True, check=True)  # noqa: S603
    library, transformers = asked.stdout.split()
    code = "".join(sha256(Path(__file__).with_name(f"{name}.py"))[:6] for name in ("auto_gptq", "auto_gptq_worker"))
    return {"auto_gptq": library, "auto_gptq_transformers": transformers, "auto_gptq_code": code}


def quantize(
    source: Path,
    sequences: Sequence[Sequence[int]],
    settings: Quantization,
    out: Path,
    advance: Advance,
    device_memory: float | None = None,
) -> None:
    """See `Backend`."""
    assert isinstance(settings, AutoGptqQuantization)
    if device_memory is not None:
        raise Refusal("back end auto-gptq: keeps to no --device-memory; the back end gptqmodel does")
    config = read_json(source / "config.json")
    common = settings.model_dump(exclude={"backend", "options"})
    options = settings.options.model_dump()
    _work(
        {
            "source": str(source),
            "config": transformers_4(config),
            "sequences": sequences,
            "quantization": common | options,
            "out": str(out),
        },
        advance,
    )
    # What AutoGPTQ writes lacks the format's name and `lm_head`, and has keys that other loaders stumble over.
    meta = {"quantizer": [f"auto_gptq:{versions()['auto_gptq']}"], **options}
    stated = {"quant_method": "gptq", "checkpoint_format": "gptq", "lm_head": False, **common, "meta": meta}
    for name, data in {"quantize_config.json": stated, "config.json": config | {"quantization_config": stated}}.items():
        (out / name).write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", "utf-8")


def transformers_4(config: Mapping[str, Any]) -> dict[str, Any]:
    """A Qwen3 config.json for transformers 4, which looks for `rope_theta` at the top and else takes 10,000."""
    older = dict(config)
    rope = dict(older.pop("rope_parameters", None) or {})
    if "rope_theta" in rope:
        older["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        older["rope_scaling"] = rope
    if "dtype" in older:
        older["torch_dtype"] = older.pop("dtype")
    return older


def _work(job: Mapping[str, Any], advance: Advance) -> None:
    """Run the worker on a job, pass on what it prints, and read its progress from it."""
    command = [_python(), "-m", _WORKER]
    done = 0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        json.dump(job, file)
        file.seek(0)
        with subprocess.Popen(  # noqa: S603
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as worker:
            assert worker.stdout is not None
            try:
                for line in worker.stdout:
                    print(line, end="", flush=True)
                    if layer := _LAYER.search(line):
                        done = int(layer[1])
                        advance(done - 1)
            except BaseException:  # an interrupted run must not go on behind its caller's back
                worker.kill()
                raise
    if worker.returncode:
        raise RuntimeError(f"AutoGPTQ ended with status {worker.returncode}")
    advance(done)


def _python() -> str:
    path = os.environ.get(PYTHON, "")
    if not os.access(path, os.X_OK):
        raise Refusal(
            f"back end auto-gptq: {PYTHON} names no Python that has it ({path or 'it is not set'}); "
            "the quantizer image built with HEARTH_BACKEND=auto-gptq has one"
        )
    return path
