"""The policy as it is written: what a rule grants, and what is refused in one line when a file is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.access import policy
from chassis.access.errors import CallerForbidden, CallerRateLimited
from chassis.access.groups import CONTRACT, GROUPS
from chassis.access.policy import Policy, PolicyWrong, parse, read

METHODS = ("/vibework.users.v1.UserService/GetUser", "/example.v1.OtherService/Do")


def written(callers: list[str], rpcs: list[str], more: str = "") -> str:
    """Return one rule."""
    return f"[[rules]]\ncallers = {callers!r}\nrpcs = {rpcs!r}\n{more}\n"


def parsed(text: str, now: float = 0.0) -> Policy:
    """Return a policy whose clock stands still."""
    return parse(text.encode(), METHODS, lambda: now)


def allowed(rules: Policy, caller: str, method: str) -> bool:
    """Say whether a call is let through."""
    try:
        rules.admit(caller, method)
    except CallerForbidden:
        return False
    return True


def waiting(rules: Policy) -> float:
    """Call, and return after how many seconds it may be tried again; 0: it was let through."""
    try:
        rules.admit("web", METHODS[0])
    except CallerRateLimited as error:
        return error.retry_after.total_seconds() if error.retry_after else 0.0
    return 0.0


@pytest.mark.parametrize(
    "rpc", ["UserService/GetUser", "vibework.users.v1.UserService/GetUser", "UserService/*", "*/Get*", "*", "read"]
)
def test_an_rpc_may_be_named_in_several_ways(rpc: str) -> None:
    """By its name with or without the package, by a pattern, and by a group; each grants no other RPC than it says."""
    rules = parsed(written(["web"], [rpc]))
    assert allowed(rules, "web", METHODS[0])
    assert allowed(rules, "web", METHODS[1]) == (rpc == "*")
    assert not allowed(rules, "web2", METHODS[0])


@given(st.text("ab*/:", min_size=1, max_size=12), st.text("ab*/:", max_size=12))
def test_a_star_stands_for_any_characters_and_nothing_else_does(pattern: str, caller: str) -> None:
    """A pattern of callers matches as another matcher says, so no character has a meaning by surprise."""

    def matches(parts: str, text: str) -> bool:
        if not parts:
            return not text
        if parts[0] == "*":
            return any(matches(parts[1:], text[start:]) for start in range(len(text) + 1))
        return bool(text) and text[0] == parts[0] and matches(parts[1:], text[1:])

    rules = parsed(written([pattern], ["*"]))
    assert bool(rules.granting(caller, "UserService/GetUser")) == matches(pattern, caller)


@pytest.mark.parametrize("special", [".", "?", "[ab]", "+", "(a)", "|"])
def test_what_other_patterns_give_a_meaning_is_a_character_here(special: str) -> None:
    """A dot of a DNS name is a dot, or `web.internal` would let `webXinternal` in."""
    rules = parsed(written([f"web{special}x"], ["*"]))
    assert allowed(rules, f"web{special}x", METHODS[0])
    for other in ("webx", "webax", "web1x", "web", "x"):
        assert not allowed(rules, other, METHODS[0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules = 1", "rules: "),
        ("", "rules is missing"),
        ("rules = []", "rules: "),
        ("[[rules]\n", "the file is no TOML: "),
        (written([], ["read"]), "rule 1.callers: "),
        (written(["web"], []), "rule 1.rpcs: "),
        (written(["a b"], ["read"]), "rule 1.callers.0: "),
        (written(["web"], ["reads"]), "rule 1: there is no group reads"),
        (written(["web"], ["read"]) + written(["web"], ["UserService/Get"]), "rule 2: there is no RPC UserService/Get"),
        (written(["web"], ["NoService/*"]), "rule 1: there is no RPC NoService/*"),
        (written(["web"], ["read"], "calls_per_second = 0"), "rule 1.calls_per_second: "),
        (written(["web"], ["read"], "calls_per_second = true"), "rule 1.calls_per_second: "),
        (written(["web"], ["read"], "burst = 5"), "rule 1: burst goes with calls_per_second"),
        (written(["web"], ["read"], "deny = true"), "rule 1.deny: "),
    ],
)
def test_what_is_wrong_is_told_in_one_line(text: str, told: str) -> None:
    """A misspelt key, group or RPC would otherwise grant less, or more, than its author thinks."""
    with pytest.raises(PolicyWrong) as caught:
        parsed(text)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_a_policy_of_the_pair_serves_both(tmp_path: Path) -> None:
    """One file may hold the rules of both services: what the other one has is known, too."""
    path = tmp_path / "policy.toml"
    path.write_text(written(["web"], sorted({"UserService/GetUser", "DeliveryService/SendDirect", *GROUPS})))
    assert read(path, METHODS[:1]).granting("web", "DeliveryService/SendDirect")
    assert len(CONTRACT) > 60


@pytest.mark.parametrize("content", [b"#" * (policy.MOST_BYTES + 1), b"\xff"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    """A device, a core dump or a wrong mount is told like any other mistake."""
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(PolicyWrong):
        read(path, METHODS)
    with pytest.raises(PolicyWrong, match="there is no such file"):
        read(tmp_path / "none", METHODS)


@given(
    st.floats(0.01, 100),
    st.integers(1, 20),
    st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_a_rate_is_never_exceeded_and_never_withheld(per_second: float, burst: int, pauses: list[float]) -> None:
    """However calls are spaced, in any span as many pass as the rate and the burst allow, and one more never does."""
    clock = [0.0]
    more = f"calls_per_second = {per_second}\nburst = {burst}"
    rules = parse(written(["web"], ["*"], more).encode(), METHODS, lambda: clock[0])
    passed: list[float] = []
    for pause in pauses:
        clock[0] += pause
        if wait := waiting(rules):
            clock[0] += wait + 1e-6
            assert waiting(rules) == 0.0
        passed.append(clock[0])
    for start in range(len(passed)):
        for end in range(start, len(passed)):
            assert end - start + 1 <= burst + (passed[end] - passed[start]) * per_second + 1e-3


def test_a_call_is_counted_by_every_rule_that_grants_it_or_by_none() -> None:
    """Of two rates the smaller decides, and what one refuses is not taken from the other."""
    rules = parsed(
        written(["web"], ["*"], "calls_per_second = 1\nburst = 2") + written(["*"], ["read"], "calls_per_second = 1")
    )
    rules.admit("web", METHODS[0])
    for _ in range(3):
        with pytest.raises(CallerRateLimited):
            rules.admit("web", METHODS[0])
    rules.admit("web", METHODS[1])
    with pytest.raises(CallerRateLimited):
        rules.admit("web", METHODS[1])


def test_a_rule_without_a_rate_lifts_none() -> None:
    """A second rule grants RPCs, not calls: the rate of the first still counts."""
    rules = parsed(written(["web"], ["*"], "calls_per_second = 1") + written(["web"], ["*"]))
    rules.admit("web", METHODS[0])
    with pytest.raises(CallerRateLimited):
        rules.admit("web", METHODS[0])


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names callers prove, memory stays the same."""
    monkeypatch.setattr(policy, "MOST_REMEMBERED", 10)
    rules = parsed(written(["*"], ["*"], "calls_per_second = 1\nburst = 2"))
    for number in range(50):
        rules.admit(f"web{number}", METHODS[0])
        rules.admit_unlisted(f"web{number}", f"/a.b/{number}")
    assert len(rules._decisions) == len(rules._buckets) == 10


def test_every_group_has_names_of_one_form() -> None:
    """Groups hold RPCs as policies name them."""
    assert all(re.fullmatch(r"[A-Za-z]+/[A-Za-z]+", rpc) for rpc in CONTRACT)
