"""Parts of the stack die under load: nobody is refused, a cut answer ends in a proper error, and all comes back."""

import time
from typing import Any

import pytest
import requests

from .conftest import ENGINES, Scale, host, in_network_of, wait_until
from .load import End, Load

# Of what comes and goes; the engine's own watch asks it within its container, and sees nothing amiss.
RULES = [["INPUT", "!", "-i", "lo", "-j", "DROP"], ["OUTPUT", "!", "-o", "lo", "-j", "DROP"]]


def settled(load: Load) -> None:
    wait_until(lambda: load.after(0) >= 20, "no load", 120)


def goes_on(load: Load, moment: float, count: int = 20) -> None:
    """So many answers came whole that were asked for since."""
    wait_until(lambda: load.after(moment) >= count, f"only {load.after(moment)} answers since", 180)


def takes_traffic(scale: Scale, engine: str, figures: dict[str, Any], name: str) -> None:
    """The engine becomes healthy and then gets requests again."""
    wait_until(lambda: scale.healthy(engine), f"{engine} does not come back", 240)
    ready, before = time.monotonic(), scale.engine_metric(engine, "vllm:prompt_tokens_total")
    # More than the watch's own tokens: each of the load's prompts has more than twenty.
    wait_until(lambda: scale.engine_metric(engine, "vllm:prompt_tokens_total") > before + 100, f"{engine} gets nothing")
    figures[name] = {"s from readiness to traffic": round(time.monotonic() - ready, 2)}


def summary(load: Load, moment: float) -> dict[str, Any]:
    return {
        **{end.value: load.counted[end] for end in End},
        "no first event anywhere, s": {
            "before": round(load.gap(until=moment), 2), "after": round(load.gap(moment, moment + 30), 2),
        },
        "longest wait for a first event, s": {
            "before": round(load.wait(until=moment), 2), "after": round(load.wait(since=moment), 2),
        },
    }  # fmt: skip


def test_an_engine_is_killed_under_load(scale: Scale, figures: dict[str, Any]) -> None:
    with Load(scale, gateways=(0, 1)) as load:
        settled(load)
        moment = scale.kill(ENGINES[0])
        goes_on(load, moment)
        takes_traffic(scale, ENGINES[0], figures, "engine back")
    figures["engine killed"] = summary(load, moment)
    assert not load.problems()
    assert load.counted[End.CUT] <= 6


def test_an_engine_is_killed_while_answers_stream(scale: Scale, figures: dict[str, Any]) -> None:
    """Long ones, several on each engine."""
    with Load(scale, clients=8, tokens=400) as load:
        wait_until(lambda: load.streaming >= 6, "no streams", 120)
        moment = scale.kill(ENGINES[1])
        goes_on(load, moment, 8)
    figures["engine killed while answers stream"] = summary(load, moment)
    assert not load.problems()
    assert load.counted[End.CUT] >= 1


def test_an_engine_is_reached_by_no_packet(scale: Scale, figures: dict[str, Any]) -> None:
    """Neither refused nor reset: silence. Its router gives it up, and then it comes back without having died."""
    engine = scale.container(ENGINES[0])
    with Load(scale, gateways=(0, 1)) as load:
        settled(load)
        for rule in RULES:
            in_network_of(engine, "iptables", "-I", *rule)
        moment = time.monotonic()
        try:
            wait_until(lambda: not scale.workers()[ENGINES[0]], "the router sends to it still")
            noticed = time.monotonic() - moment
            goes_on(load, time.monotonic())
        finally:
            for rule in RULES:
                in_network_of(engine, "iptables", "-D", *rule)
        takes_traffic(scale, ENGINES[0], figures, "engine reachable again")
    figures["engine reached by no packet"] = summary(load, moment) | {"noticed after, s": round(noticed, 2)}
    assert not load.problems()
    assert scale.container(ENGINES[0]).attrs["State"]["StartedAt"] == engine.attrs["State"]["StartedAt"]


def test_the_router_is_killed_under_load(scale: Scale, figures: dict[str, Any]) -> None:
    with Load(scale, gateways=(0, 1)) as load:
        settled(load)
        moment = scale.kill("router")
        goes_on(load, moment)
    first = min(seen.first for seen in load.seen if seen.first and seen.began > moment)
    figures["router killed"] = summary(load, moment) | {"serves again after, s": round(first - moment, 2)}
    assert not load.problems()


def test_every_engine_starts_anew_under_load(scale: Scale, figures: dict[str, Any]) -> None:
    before = {engine: scale.container(engine).id for engine in ENGINES}
    with Load(scale, gateways=(0, 1)) as load:
        settled(load)
        moment = time.monotonic()
        host("docker/roll.sh", scale.env)
        seconds = time.monotonic() - moment
        goes_on(load, time.monotonic())
    figures["rolling update"] = summary(load, moment) | {"took, s": round(seconds, 1)}
    assert load.counted.keys() == {End.WHOLE}
    assert not before.items() & {engine: scale.container(engine).id for engine in ENGINES}.items()


class TestGateways:
    @pytest.fixture
    def limited(self, scale: Scale) -> Scale:
        """One request a minute."""
        scale.up("gateway", "gateway-2", HEARTH_REQUESTS_PER_MINUTE="1")
        yield scale
        scale.up("gateway", "gateway-2")

    def test_one_of_two_is_killed_and_limits_hold_across_both(self, limited: Scale) -> None:
        assert limited.chat("Hi", gateway=0).status_code == 200
        assert limited.chat("Hi", gateway=1).status_code == 429
        limited.kill("gateway")
        refused = limited.chat("Hi", gateway=1)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        wait_until(lambda: limited.healthy("gateway"), "it does not come back")

    def test_one_of_two_is_killed_and_the_clients_of_the_other_see_nothing(
        self, scale: Scale, figures: dict[str, Any]
    ) -> None:
        with Load(scale, gateways=(1,)) as load:
            settled(load)
            moment = scale.kill("gateway")
            goes_on(load, moment)
        figures["the other gateway killed"] = summary(load, moment)
        assert load.counted.keys() == {End.WHOLE}

    def test_what_the_killed_one_asked_the_other_is_told(self, scale: Scale) -> None:
        tools = [{"type": "mcp", "server_label": "files", "require_approval": "always"}]
        first = scale.chat("list the files in the workspace", tools=tools, max_tokens=256).json()
        token = first["choices"][0]["message"]["hearth"]["approval"]["token"]
        scale.kill("gateway")
        done = scale.chat(
            "list the files in the workspace", gateway=1, tools=tools, max_tokens=256,
            hearth_approval={"token": token, "approve": True},
        )  # fmt: skip
        assert done.status_code == 200, done.text
        assert 'outcome="ok",server="files"' in requests.get(f"{scale.urls[1]}/metrics", timeout=60).text
