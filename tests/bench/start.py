"""How long the CPU engine takes from its process to the first answered /health: as planned, and by vLLM's own way.

    python -m tests.bench.start IMAGE [--rounds 3]

Both ways in turn in the image, with the plan's flags and variables and without verification and canary, which are the
same for both. Prints the rounds and the median of their ratios.
"""

import argparse
import statistics
import subprocess

# In the container: runs the plan, or the plan with vLLM's own entry point, until it answers.
RUN = """
import os, subprocess, sys, time, urllib.request
from hearth_engine import hardware, lean, settings
from hearth_engine.plan import plan
from hearth_quantizer.manifest import Manifest

chosen = settings.load()
manifest = Manifest.load(chosen.model_dir).model_copy(update={"canary": None})
decided = plan(manifest, chosen, hardware.detect("cpu"))
command = [lean.SERVER if word == "hearth_engine.lean" and sys.argv[1] == "vllm" else word for word in decided.command]
assert (lean.SERVER in command) == (sys.argv[1] == "vllm"), command
began = time.monotonic()
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
child = subprocess.Popen(command, env=os.environ | decided.environment, **quiet)
while child.poll() is None:
    try:
        urllib.request.urlopen("http://127.0.0.1:8000/health", timeout=1).close()
    except OSError:
        time.sleep(0.05)
    else:
        print(time.monotonic() - began)
        break
child.kill()
"""


def seconds(image: str, way: str) -> float:
    hardened = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"]
    writable = ["--tmpfs", "/tmp:exec,mode=1777", "--tmpfs", "/home/hearth:exec,uid=1000,gid=1000"]
    command = ["docker", "run", "--rm", "--init", *hardened, *writable, "--entrypoint", "python", image, "-c", RUN, way]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
    if not printed:
        raise SystemExit(f"{way}: vLLM ended before it answered")
    return float(printed)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    ratios = []
    print("| round | vLLM's own entry point, s | as planned, s |\n| --- | --- | --- |")
    for number in range(given.rounds):
        own, planned = seconds(given.image, "vllm"), seconds(given.image, "planned")
        ratios.append(planned / own)
        print(f"| {number + 1} | {own:.1f} | {planned:.1f} |", flush=True)
    print(f"\nas planned : own, median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
