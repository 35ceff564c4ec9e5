"""Plans are compared whole with golden files, so that a review sees every flag that changes.

`UPDATE_GOLDEN=1 pytest tests/unit/engine` writes them anew.
"""

import json
import os
import shlex
from pathlib import Path

import pytest

from hearth_engine.graphs import decode_sizes, prompt_sizes
from hearth_engine.hardware import CARDS, Cpu, Gpu
from hearth_engine.memory import GIB, LOGITS_COPIES, KvType, OverBudgetError, judge
from hearth_engine.plan import CANARY, Plan, PlanError, plan
from hearth_engine.settings import Settings
from hearth_quantizer.manifest import Canary, Manifest
from hearth_quantizer.recipe import Serving

GOLDEN = Path(__file__).parent / "golden"


def agrees_with_golden(decided: Plan, name: str) -> None:
    path, now = GOLDEN / f"{name}.json", decided.model_dump(mode="json")
    now["flags"] = [shlex.join(flag) for flag in decided.flags]  # one flag a line
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(json.dumps(now, indent=2, ensure_ascii=False) + "\n", "utf-8")
    assert now == json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("card", CARDS)
def test_4b_model_on_each_known_card(qwen3_4b: Manifest, settings: Settings, card: str) -> None:
    agrees_with_golden(plan(qwen3_4b, settings, CARDS[card]), f"qwen3-4b-{card}")


def test_tiny_model_on_the_cpu(tiny: Manifest, settings: Settings, cpu: Cpu) -> None:
    agrees_with_golden(plan(tiny, settings, cpu), "tiny-cpu")


def test_every_setting_at_once(qwen3_4b: Manifest) -> None:
    settings = Settings(
        model_dir="/models/4b",
        engine_host="127.0.0.1",
        engine_port=9000,
        context_length=40000,
        vram_budget_gib=11,
        kv_cache_dtype="fp8",
        max_num_seqs=8,
        max_num_batched_tokens=2048,
        cache_dir="/cache",
        engine_args="--seed 7 --stream-interval=4",
    )
    agrees_with_golden(plan(qwen3_4b, settings, CARDS["rtx-3060-12g"]), "qwen3-4b-every-setting")


def test_speculation_on_a_gpu(qwen3_4b: Manifest) -> None:
    decided = plan(qwen3_4b, Settings(speculation="ngram", max_num_seqs=8), CARDS["rtx-4090-24g"])
    agrees_with_golden(decided, "qwen3-4b-speculation")


def test_a_canary_is_checked_by_a_middleware(tiny: Manifest, settings: Settings, cpu: Cpu) -> None:
    canary = Canary(prompts=((1, 2),), logprobs=((-1.0,),), limits=(0.05,))
    without = plan(tiny, settings, cpu)
    checked = plan(tiny.model_copy(update={"canary": canary}), settings, cpu)
    assert set(checked.flags) - set(without.flags) == {("--middleware", CANARY)}


def test_every_golden_file_belongs_to_a_test() -> None:
    more = {"tiny-cpu", "tiny-cpu-avx2", "qwen3-4b-every-setting", "qwen3-4b-speculation"}
    names = {f"qwen3-4b-{card}" for card in CARDS} | more
    assert {path.stem for path in GOLDEN.glob("*.json")} == names


def flag(decided: Plan, name: str) -> str:
    (values,) = [values for first, *values in decided.flags if first == name]
    return " ".join(values)


@pytest.mark.parametrize("card", [card for card in CARDS if card != "rtx-3050-6g"])
def test_32k_context_stays_within_6_gib_or_nearly(qwen3_4b: Manifest, settings: Settings, card: str) -> None:
    """Nearly: cards before 8.9 read no fp8 without nvcc, and int8 keeps a scale a head."""
    decided = plan(qwen3_4b, settings, CARDS[card])
    limit = 6 * GIB if CARDS[card].capability >= (8, 9) else 6.07 * GIB
    assert decided.context_length == 32768
    assert sum(line.bytes for line in decided.memory) <= decided.memory_budget <= limit


@pytest.mark.parametrize(
    ("settings", "kv_tokens", "held_mib"),
    # What nvidia-smi said after a prompt of 32,000 tokens (docs/benchmarks.md, "Memory").
    [
        (Settings(), 33_904, 6149),
        (Settings(max_num_seqs=8, max_num_batched_tokens=256), 32_864, 5697),
    ],
)
def test_the_memory_model_predicts_what_the_h100_held(
    qwen3_4b: Manifest, settings: Settings, kv_tokens: int, held_mib: int
) -> None:
    decided = plan(qwen3_4b, settings, CARDS["h100-80g"])
    besides = sum(line.bytes for line in decided.memory if line.name != "KV cache")
    a_token = KvType(name=decided.kv_cache_type, backend="").bytes_per_token(qwen3_4b)
    kv = (kv_tokens + 16) * a_token  # and the page that vLLM keeps for itself
    assert (besides + kv) / 2**20 == pytest.approx(held_mib, rel=0.005)


@pytest.mark.parametrize(
    ("sequences", "sizes"),
    [(1, [1]), (3, [1, 2, 3]), (16, [1, 2, 4, 8, 16]), (20, [1, 2, 4, 8, 16, 20]), (24, [1, 2, 4, 8, 16, 24])],
)
def test_every_decode_batch_has_a_graph(sequences: int, sizes: list[int]) -> None:
    assert decode_sizes(sequences) == sizes


@pytest.mark.parametrize(
    ("sequences", "tokens", "sizes"),
    [
        (64, 2048, [64, 128, 256, 512, 768, 1024, 1536, 2048]),
        (64, 8192, [64, 128, 256, 512, 768, 1024, 1536, 2048]),
        (200, 1000, [256, 512, 768, 1000]),
        (8, 512, [64, 128, 256, 512]),
        (8, 511, []),
        (600, 600, [600]),
    ],
)
def test_steps_with_prompts_have_graphs(sequences: int, tokens: int, sizes: list[int]) -> None:
    assert prompt_sizes(sequences, tokens) == sizes


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        (Settings(), "FULL_AND_PIECEWISE"),
        (Settings(speculation="ngram"), "FULL_DECODE_ONLY"),
        (Settings(kv_cache_dtype="int8_per_token_head"), "FULL_DECODE_ONLY"),
        (Settings(max_num_batched_tokens=256), "FULL_DECODE_ONLY"),
    ],
)
def test_prompts_have_graphs_where_they_were_measured(qwen3_4b: Manifest, settings: Settings, mode: str) -> None:
    """Elsewhere vLLM is not told to break graphs at attention."""
    decided = plan(qwen3_4b, settings, CARDS["h100-80g"])
    assert json.loads(flag(decided, "--compilation-config"))["cudagraph_mode"] == mode
    assert ("VLLM_USE_BREAKABLE_CUDAGRAPH" in decided.environment) == (mode == "FULL_AND_PIECEWISE")
    elsewhere = plan(qwen3_4b, settings, CARDS["rtx-4090-24g"])
    assert "VLLM_USE_BREAKABLE_CUDAGRAPH" not in elsewhere.environment


@pytest.mark.parametrize(("servers", "processes"), [(None, "0"), (1, "0"), (3, "1")])
def test_several_servers_need_the_engine_in_a_process_of_its_own(
    tiny: Manifest, cpu: Cpu, servers: int | None, processes: str
) -> None:
    decided = plan(tiny, Settings(api_servers=servers), cpu)
    assert decided.environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == processes
    assert (("--api-server-count", "3") in decided.flags) == (servers == 3)


def test_with_speculation_a_step_has_several_tokens_of_each_request(qwen3_4b: Manifest) -> None:
    """Each is sampled, and a graph's size is counted in tokens."""
    card = CARDS["h100-80g"]
    plain, ngram = (
        plan(qwen3_4b, Settings(speculation=way, max_num_seqs=4, max_num_batched_tokens=256), card)
        for way in ("off", "ngram")
    )
    config = json.loads(flag(ngram, "--speculative-config"))
    assert config["method"] == "ngram_gpu"
    step = 1 + config["num_speculative_tokens"]
    sizes = [json.loads(flag(decided, "--compilation-config"))["cudagraph_capture_sizes"] for decided in (plain, ngram)]
    assert sizes == [[1, 2, 4], [step, 2 * step, 4 * step]]
    activations, searched = (
        sum(line.bytes for line in ngram.memory if line.name == name) for name in ("activations", "tokens")
    )
    (before,) = [line.bytes for line in plain.memory if line.name == "activations"]
    assert activations - before == (step - 1) * 4 * qwen3_4b.model.vocab_size * 4 * LOGITS_COPIES
    assert searched == 4 * ngram.context_length * 4


def test_speculation_on_the_cpu(tiny: Manifest, cpu: Cpu) -> None:
    plain, ngram = (plan(tiny, Settings(speculation=way), cpu) for way in ("off", "ngram"))
    ((name, config),) = set(ngram.flags) - set(plain.flags)
    assert (name, json.loads(config)["method"]) == ("--speculative-config", "ngram")
    assert {line.name for line in ngram.memory} - {line.name for line in plain.memory} == {"speculation"}
    assert ngram.notes == (*plain.notes, "speculation: vLLM refuses requests with min_p or logit_bias")


def test_speculation_needs_graphs_for_it(qwen3_4b: Manifest) -> None:
    settings = Settings(speculation="ngram", kv_cache_dtype="fp8")
    with pytest.raises(PlanError, match="HEARTH_SPECULATION=ngram: FlashInfer"):
        plan(qwen3_4b, settings, CARDS["rtx-3060-12g"])
    assert flag(plan(qwen3_4b, settings, CARDS["h100-80g"]), "--attention-backend") == "FLASH_ATTN"


def test_the_rotary_table_is_as_long_as_the_context(qwen3_4b: Manifest) -> None:
    decided = plan(qwen3_4b, Settings(context_length=8192), CARDS["h100-80g"])
    (rotary,) = [line.bytes for line in decided.memory if line.name == "rotary table"]
    assert rotary == 8192 * 256
    assert flag(decided, "--hf-overrides") == '{"max_position_embeddings": 8192}'


@pytest.mark.parametrize(
    ("used", "said"),
    [(5.7, None), (5.9, None), (5.4, "5.40 GiB of device memory are in use, the plan says 5.70 GiB")],
)
def test_memory_that_is_held_is_compared_with_the_plan(used: float, said: str | None) -> None:
    assert judge(int(used * GIB), int(5.7 * GIB), 6 * GIB, chosen=True) == said


def test_more_memory_than_a_chosen_budget_is_refused() -> None:
    with pytest.raises(OverBudgetError, match=r"6\.10 GiB .* the budget is 6\.00 GiB: raise HEARTH_VRAM_BUDGET_GIB"):
        judge(int(6.1 * GIB), int(5.9 * GIB), 6 * GIB, chosen=True)
    said = judge(int(6.1 * GIB), int(5.9 * GIB), 6 * GIB, chosen=False)
    assert said == "6.10 GiB of device memory are in use, the plan says 5.90 GiB"


def test_16_bit_kv_is_kept_where_it_fits(qwen3_4b: Manifest) -> None:
    decided = plan(qwen3_4b, Settings(vram_budget_gib=9), CARDS["rtx-4090-24g"])
    assert (decided.kv_cache_type, decided.notes) == ("bfloat16", ())


@pytest.mark.parametrize(
    ("capability", "budget", "kv_type", "backend"),
    [
        ((8, 0), 6.2, "int8_per_token_head", "TRITON_ATTN"),
        ((8, 6), 6.2, "int8_per_token_head", "TRITON_ATTN"),
        ((8, 9), 6.0, "fp8", "TRITON_ATTN"),
        ((9, 0), 6.0, "fp8", "FLASH_ATTN"),
        ((12, 0), 6.0, "fp8", "TRITON_ATTN"),
    ],
)
def test_8_bit_kv_type_depends_on_the_gpu(
    qwen3_4b: Manifest, capability: tuple[int, int], budget: float, kv_type: str, backend: str
) -> None:
    gpu = Gpu(name="GPU", memory_bytes=12 * GIB, capability=capability)
    decided = plan(qwen3_4b, Settings(vram_budget_gib=budget), gpu)
    assert (flag(decided, "--kv-cache-dtype"), flag(decided, "--attention-backend")) == (kv_type, backend)


@pytest.mark.parametrize("card", ["rtx-3060-12g", "rtx-4060-8g", "h100-80g"])
def test_4_bit_kv_holds_twice_the_context_and_is_chosen_only_by_name(qwen3_4b: Manifest, card: str) -> None:
    int4 = Settings(kv_cache_dtype="int4_per_token_head", context_length=65536, max_num_seqs=16)
    decided = plan(qwen3_4b, int4, CARDS[card])
    assert decided.memory_budget == 6 * GIB
    assert (decided.kv_cache_type, flag(decided, "--attention-backend")) == ("int4_per_token_head", "TRITON_ATTN")
    with pytest.raises(PlanError, match="does not fit"):
        plan(qwen3_4b, int4.model_copy(update={"kv_cache_dtype": "auto"}), CARDS[card])


def test_hopper_unpacks_weights_for_long_steps(qwen3_4b: Manifest) -> None:
    def besides(card: str, tokens: int) -> set[str]:
        decided = plan(qwen3_4b, Settings(max_num_batched_tokens=tokens), CARDS[card])
        return {line.name for line in decided.memory}

    assert besides("h100-80g", 1024) - besides("rtx-4090-24g", 1024) == {"unpacked weights"}
    assert besides("h100-80g", 256) == besides("rtx-4090-24g", 256)


def test_flashinfer_is_chosen_only_by_name(qwen3_4b: Manifest) -> None:
    """It compiles its kernels with nvcc, which the image does not have."""
    decided = plan(qwen3_4b, Settings(kv_cache_dtype="fp8"), CARDS["rtx-3060-12g"])
    assert flag(decided, "--attention-backend") == "FLASHINFER"
    assert any("nvcc" in note for note in decided.notes)


def test_the_default_budget_stretches_for_the_recipes_context_only(qwen3_4b: Manifest) -> None:
    card, longer = CARDS["rtx-3060-12g"], Serving(context_length=36_864, tool_parser=None, served_name="m")
    recipe = qwen3_4b.recipe.model_copy(update={"serving": longer})
    decided = plan(qwen3_4b.model_copy(update={"recipe": recipe}), Settings(), card)
    assert 6 * GIB < decided.memory_budget < 6.3 * GIB
    assert "in place of the default 6.00 GiB" in decided.notes[0]
    with pytest.raises(PlanError, match="does not fit"):
        plan(qwen3_4b, Settings(context_length=36_864), card)


@pytest.mark.parametrize(("card", "settings"), [("rtx-3050-6g", Settings()), ("h100-80g", Settings(vram_budget_gib=5))])
def test_a_context_that_nobody_chose_gives_way_and_says_so(qwen3_4b: Manifest, card: str, settings: Settings) -> None:
    decided = plan(qwen3_4b, settings, CARDS[card])
    assert decided.memory_budget == 5 * GIB
    assert 8192 <= decided.context_length < 32768
    assert decided.kv_cache_tokens >= decided.context_length
    assert decided.notes[0] == (
        f"a context of {decided.context_length} tokens: the recipe's 32768 do not fit in 5.00 GiB"
    )
    longer = settings.model_copy(update={"context_length": decided.context_length + 16})
    with pytest.raises(PlanError, match=f"the longest that fits is {decided.context_length} "):
        plan(qwen3_4b, longer, CARDS[card])


def test_too_short_a_context_is_not_chosen(qwen3_4b: Manifest) -> None:
    with pytest.raises(PlanError, match="a context of 32768 tokens does not fit, the longest that fits is"):
        plan(qwen3_4b, Settings(vram_budget_gib=4.0), CARDS["h100-80g"])


def test_kv_cache_is_no_larger_than_all_requests_can_use(tiny: Manifest, settings: Settings) -> None:
    assert plan(tiny, settings, CARDS["h100-80g"]).kv_cache_tokens == 64 * 4096


def test_budget_beside_a_small_card_leaves_room_for_a_display(tiny: Manifest, settings: Settings) -> None:
    small = Gpu(name="GPU", memory_bytes=4 * GIB, capability=(8, 6))
    decided = plan(tiny, settings, small)
    assert decided.memory_budget == 3 * GIB
    assert flag(decided, "--gpu-memory-utilization") == "0.7500"


def test_a_context_that_does_not_fit_names_the_longest_that_does(qwen3_4b: Manifest) -> None:
    card = CARDS["rtx-4060-8g"]
    with pytest.raises(PlanError) as refused:
        plan(qwen3_4b, Settings(context_length=40000), card)
    assert str(refused.value) == (
        "a context of 40000 tokens does not fit, the longest that fits is 36800 (fp8 KV cache in 2.54 GiB); "
        "set HEARTH_CONTEXT_LENGTH, or HEARTH_VRAM_BUDGET_GIB=6.22"
    )
    assert plan(qwen3_4b, Settings(context_length=36800), card).kv_cache_tokens == 36800
    with pytest.raises(PlanError, match="longest that fits is 36800"):
        plan(qwen3_4b, Settings(context_length=36801), card)


@pytest.mark.parametrize("context", [37000, 40000, 50001])
def test_the_budget_that_an_error_asks_for_is_enough_and_no_more(qwen3_4b: Manifest, context: int) -> None:
    card = CARDS["rtx-4060-8g"]
    with pytest.raises(PlanError) as refused:
        plan(qwen3_4b, Settings(context_length=context), card)
    asked = float(str(refused.value).rpartition("HEARTH_VRAM_BUDGET_GIB=")[2])
    assert plan(qwen3_4b, Settings(context_length=context, vram_budget_gib=asked), card).context_length == context
    with pytest.raises(PlanError):
        plan(qwen3_4b, Settings(context_length=context, vram_budget_gib=asked - 0.02), card)


def test_a_context_too_long_for_the_whole_card_asks_for_no_budget(qwen3_4b: Manifest) -> None:
    with pytest.raises(PlanError, match=r"NVIDIA GeForce RTX 3070 has 8\.00 GiB and this takes \d+\.\d\d GiB$"):
        plan(qwen3_4b, Settings(context_length=131072), CARDS["rtx-3070-8g"])


def test_no_context_fits_where_the_budget_is_too_small_for_the_weights(qwen3_4b: Manifest) -> None:
    with pytest.raises(PlanError, match="does not fit, none does"):
        plan(qwen3_4b, Settings(vram_budget_gib=2), CARDS["rtx-4060-8g"])


def test_context_longer_than_the_model_is_refused(tiny: Manifest, cpu: Cpu) -> None:
    with pytest.raises(PlanError, match="5000 tokens is longer than the model's 4096 positions"):
        plan(tiny, Settings(context_length=5000), cpu)


def test_budget_larger_than_the_card_is_refused(qwen3_4b: Manifest) -> None:
    with pytest.raises(PlanError, match=r"HEARTH_VRAM_BUDGET_GIB: 9\.00 GiB is more than NVIDIA GeForce RTX 3070 has"):
        plan(qwen3_4b, Settings(vram_budget_gib=9), CARDS["rtx-3070-8g"])


def test_gpu_without_bfloat16_is_refused(qwen3_4b: Manifest, settings: Settings) -> None:
    turing = Gpu(name="NVIDIA T4", memory_bytes=15 * GIB, capability=(7, 5))
    with pytest.raises(PlanError, match=r"NVIDIA T4 has compute capability 7\.5; .* need 8\.0 or newer"):
        plan(qwen3_4b, settings, turing)


def test_without_avx512_the_weights_are_unpacked(tiny: Manifest, settings: Settings, cpu: Cpu) -> None:
    old = cpu.model_copy(update={"flags": frozenset({"avx2", "avx512f", "avx512vl"})})
    decided = plan(tiny, settings, old)
    agrees_with_golden(decided, "tiny-cpu-avx2")
    assert decided.unpack
    assert decided.model_dir == flag(decided, "--model") == str(settings.cache_dir / "unpacked")
    assert flag(decided, "--dtype") == decided.kv_cache_type == "float32"
    assert any("AVX-512 (avx512bw, avx512dq missing)" in note for note in decided.notes)
    assert not plan(tiny, settings, cpu).unpack


def test_a_cpu_without_avx2_is_refused(tiny: Manifest, settings: Settings, cpu: Cpu) -> None:
    with pytest.raises(PlanError, match="needs AVX2, its INT4 kernel AVX-512; Test CPU has neither"):
        plan(tiny, settings, cpu.model_copy(update={"flags": frozenset({"sse4_2"})}))


def test_large_model_in_a_small_container_is_refused(qwen3_4b: Manifest, settings: Settings, cpu: Cpu) -> None:
    with pytest.raises(PlanError, match=r"or give the container \d+\.\d\d GiB of memory"):
        plan(qwen3_4b, settings, cpu)


def test_settings_for_gpus_are_noted_on_the_cpu(tiny: Manifest, cpu: Cpu) -> None:
    notes = " ".join(plan(tiny, Settings(kv_cache_dtype="fp8", vram_budget_gib=6), cpu).notes)
    assert "HEARTH_KV_CACHE_DTYPE=fp8" in notes
    assert "HEARTH_VRAM_BUDGET_GIB" in notes


def test_what_the_model_is_not_good_for_is_noted_first(tiny: Manifest, settings: Settings, cpu: Cpu) -> None:
    warned = tiny.model_copy(update={"source": tiny.source.model_copy(update={"warning": "only to be measured"})})
    assert plan(warned, settings, cpu).notes == ("only to be measured", *plan(tiny, settings, cpu).notes)


def test_threads_on_the_cpu_can_be_set(tiny: Manifest, cpu: Cpu) -> None:
    assert plan(tiny, Settings(cpu_threads=1), cpu).environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("card", [None, *CARDS])
def test_promises_hold_in_every_plan(tiny: Manifest, settings: Settings, cpu: Cpu, card: str | None) -> None:
    decided = plan(tiny, settings, CARDS[card] if card else cpu)
    names = {name for name, *_ in decided.flags}
    assert json.loads(flag(decided, "--model-loader-extra-config")) == {"enable_weights_track": True}
    assert decided.environment["HF_HUB_OFFLINE"] == decided.environment["VLLM_NO_USAGE_STATS"] == "1"
    assert names.isdisjoint({"--quantization", "--trust-remote-code", "--enable-log-requests", "--tool-call-parser"})


def test_command_runs_vllm_with_every_flag_in_order(tiny: Manifest, cpu: Cpu) -> None:
    command = plan(tiny, Settings(engine_args="--seed 7"), cpu).command
    assert command[1:5] == ["-m", "hearth_engine.lean", "--model", "/opt/hearth/model"]
    assert command[-2:] == ["--seed", "7"]
