"""What a run says of its targets."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.bench.calls import HashCaller
from tests.bench.plot import svg
from tests.bench.record import outcomes
from tests.bench.rounds import Measurement, Results, seconds_each
from tests.bench.scenarios import Group, Subject


def _measured(**rates: list[float]) -> Results:
    rounds = {
        key.replace("__", "/"): [Measurement(rate, {"50": 1.0}, 1e6 / rate) for rate in many]
        for key, many in rates.items()
    }
    return Results(3, rounds)


def test_a_ratio_is_taken_within_each_round() -> None:
    """A machine that slows down for a round slows both alike, and the ratio stays."""
    results = _measured(validate__service=[700.0, 350.0, 720.0], validate__echo=[1000.0, 500.0, 1000.0])
    (found,) = outcomes(results, None)
    assert found.title == "ValidateSession / bare echo"
    assert found.values == pytest.approx([0.7, 0.7, 0.72])
    assert found.met is True
    assert found.by_cpu == pytest.approx(0.72)  # of the best rounds


def test_a_target_that_is_missed_is_told() -> None:
    """Nothing is rounded into success."""
    (found,) = outcomes(_measured(validate__service=[699.0], validate__echo=[1000.0]), None)
    assert found.met is False


def test_latency_beyond_the_echo_and_the_database() -> None:
    """At one call in flight the three medians of the same round are compared."""
    keys = ("validate@1/service", "validate@1/echo", "validate@1/driver")
    p50 = dict(zip(keys, (1.4, 0.6, 0.5), strict=True))
    results = Results(1, {key: [Measurement(1.0, {"50": value}, 1.0)] for key, value in p50.items()})
    (found,) = outcomes(results, None)
    assert found.value == pytest.approx(0.3)
    assert found.met is True


def test_latency_beyond_a_database_that_rests() -> None:
    """What a database that rests takes is what an echo that asks it takes beyond an echo."""
    keys = ("get@1/native", "get@1/echo", "get@1/through")
    p50 = dict(zip(keys, (1.4, 0.3, 1.2), strict=True))
    results = Results(1, {key: [Measurement(1.0, {"50": value}, 1.0)] for key, value in p50.items()})
    (found,) = outcomes(results, None)
    assert found.title == "GetNotification, native, 1 in flight: p50 beyond the database that rests between calls"
    assert found.value == pytest.approx(0.5)
    assert found.met is None


def test_the_picture_is_well_formed_and_names_each_ratio() -> None:
    """Every ratio has its bar."""
    rates = {"validate__service": [7.0], "validate__echo": [10.0], "deep__last": [1.0], "deep__first": [1.0]}
    found = outcomes(_measured(**rates), None)
    picture = ET.fromstring(svg(found, "4 cores & more"))  # noqa: S314 - our own
    texts = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {one.title for one in found} <= texts


def test_all_rounds_fit_into_the_budget() -> None:
    """However many subjects there are, a run ends when it was to end."""
    groups = [Group("a", [Subject("a/x", HashCaller())] * 20), Group("b", [Subject("b/x", HashCaller())] * 4, 0.25)]
    seconds = seconds_each(groups, budget=240, rounds=5)
    assert 5 * (21 * seconds + 24 * 0.3) <= 240.001
