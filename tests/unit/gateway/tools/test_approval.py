"""Tokens of consent: what is granted, and every way in which one is refused."""

import base64
from typing import Any

import orjson
import pytest

from hearth_gateway.errors import Problem
from hearth_gateway.tools.approval import Approvals, Decision, Pending, PendingCall

KEY, NOW = b"k" * 32, 1_800_000_000.0
APPROVALS = Approvals(KEY, seconds=600)
PENDING = Pending(
    "I write.",
    (
        PendingCall("c1", "files_write", '{"path": "a"}', "ask", "files", "write"),
        PendingCall("c2", "files_read", '{"path": "b"}', "ours", "files", "read", result="text"),
        PendingCall("c3", "click", "{}", "client"),
        PendingCall("c4", "run", '{"command": "搜索"}', "ask", "commands", "run_command"),
    ),
    ({"role": "assistant", "content": "before"},),
)
TOKEN = APPROVALS.issue(PENDING, "ada", NOW)


def decide(now: float = NOW, user: str = "ada", approvals: Approvals = APPROVALS, **answer: Any) -> Decision:
    return approvals.decide({"token": TOKEN, "approve": True} | answer, user, now)


def refused(**answer: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        decide(**answer)
    assert caught.value.status == 400
    return caught.value


class TestDecided:
    def test_the_turn_comes_back_as_it_was(self) -> None:
        assert decide().pending == PENDING

    @pytest.mark.parametrize(
        ("approve", "granted"), [(True, {"c1", "c4"}), (False, set()), (["c4"], {"c4"}), ([], set())]
    )
    def test_all_none_or_some(self, approve: Any, granted: set[str]) -> None:
        assert decide(approve=approve).granted == granted

    def test_a_reason_is_handed_on(self) -> None:
        assert decide(approve=False, reason="not there").reason == "not there"

    def test_another_process_with_the_key_reads_it(self) -> None:
        assert decide(approvals=Approvals(KEY, seconds=1)).pending == PENDING

    def test_it_is_good_until_its_last_second(self) -> None:
        assert decide(now=NOW + 599).granted


class TestRefused:
    def test_expired(self) -> None:
        problem = refused(now=NOW + 600)
        assert (problem.code, problem.param) == ("approval_expired", "hearth_approval.token")

    def test_another_user(self) -> None:
        assert "another user" in refused(user="bob").message
        assert "another user" in refused(user="").message

    def test_another_key(self) -> None:
        assert "not issued by this gateway" in refused(approvals=Approvals(b"x" * 32, 600)).message

    def test_every_changed_character(self) -> None:
        for index, character in enumerate(TOKEN):
            other = "A" if character != "A" else "B"
            forged = TOKEN[:index] + other + TOKEN[index + 1 :]
            if _bytes(forged) != _bytes(TOKEN):  # the last characters hold bits that mean nothing
                assert refused(token=forged).code == "invalid_approval"

    def test_a_payload_of_ones_own_with_the_signature_of_another(self) -> None:
        prefix, _, signature = TOKEN.split(".")
        payload = base64.urlsafe_b64encode(orjson.dumps(["ada", 9e9, "", [], []])).rstrip(b"=").decode()
        assert refused(token=f"{prefix}.{payload}.{signature}").code == "invalid_approval"

    @pytest.mark.parametrize(
        "token", [None, 5, "", "x", "hearth-approval-1.", "hearth-approval-1.é.é", ["a"], "a.b.c.d"]
    )
    def test_what_is_no_token(self, token: Any) -> None:
        assert refused(token=token).code == "invalid_approval"

    @pytest.mark.parametrize("approve", [None, "yes", 1, ["c2"], ["c9"], [5], {}])
    def test_an_answer_that_is_neither_yes_nor_no_nor_calls_that_asked(self, approve: Any) -> None:
        problem = refused(approve=approve)
        assert problem.param == "hearth_approval.approve"
        assert "c1, c4" in problem.message

    @pytest.mark.parametrize("reason", [5, ["x"], "x" * 1001])
    def test_a_reason_that_is_no_short_text(self, reason: Any) -> None:
        assert refused(reason=reason).param == "hearth_approval.reason"

    def test_unknown_keys(self) -> None:
        assert "has no aprove. Allowed: approve, reason, token." in refused(aprove=True).message

    @pytest.mark.parametrize("answer", [None, "yes", []])
    def test_what_is_no_object(self, answer: Any) -> None:
        with pytest.raises(Problem, match="should be an object"):
            APPROVALS.decide(answer, "ada", NOW)

    def test_a_key_that_can_be_guessed(self) -> None:
        with pytest.raises(ValueError, match="at least 32 bytes"):
            Approvals(b"short", 600)


def _bytes(token: str) -> list[bytes]:
    try:
        return [base64.b64decode(part + "==", altchars=b"-_") for part in token.split(".")[1:]] + [token[:18].encode()]
    except ValueError:
        return []
