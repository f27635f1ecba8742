"""Questions and witnesses: what they refuse, and that JSON gives back what it was given."""

from __future__ import annotations

import json
import math

import pytest

from trivium.certification.specification import Specification, Witness
from trivium.errors import InfeasibleError, InputError
from trivium.simplex.order import Order


@pytest.mark.parametrize(
    ("arguments", "axioms"),
    [
        ({}, ("W-F", "W-N", "W-P")),
        ({"floor": 0.0}, ("W-F", "W-N", "W-P", "W-B")),
        ({"influence": 3.0}, ("W-F", "W-N", "W-P", "W-B")),
        ({"cap": 0.9, "lipschitz": 1.0}, ("W-F", "W-N", "W-P", "W-B", "W-R")),
        ({"order": Order(((0,), (1, 2)))}, ("W-F", "W-N", "W-P", "W-S")),
    ],
)
def test_axioms_follow_from_the_parameters(arguments: dict[str, object], axioms: tuple[str, ...]) -> None:
    assert Specification(3, **arguments).axioms == axioms  # type: ignore[arg-type]


def test_names_are_letters_by_position_and_never_run_out() -> None:
    assert Specification(3).names == ("a", "b", "c")
    assert len(set(Specification(30).names)) == 30


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_teachers": 0},
        {"num_teachers": 2, "names": ("a",)},
        {"num_teachers": 2, "names": ("a", "a")},
        {"num_teachers": 2, "lipschitz": -1.0},
        {"num_teachers": 2, "influence": math.nan},
        {"num_teachers": 2, "order_margin": 0.5},
        {"num_teachers": 2, "order": Order(((0,), (1,), (2,)))},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Specification(**arguments)  # type: ignore[arg-type]


def test_a_floor_that_no_weights_meet_is_refused_with_the_relaxation() -> None:
    with pytest.raises(InfeasibleError, match=r"0\.333"):
        Specification(3, floor=0.4)


def test_a_witness_survives_json_bit_for_bit() -> None:
    features = {"entropy": [[0.1, 1 / 3, 5e-324]], "domain": [[2.0]]}
    specification = Specification(3, floor=0.1, order=Order(((1,), (0, 2))), order_margin=0.0)
    witness = Witness(
        "W-R", features, {"entropy": [[math.pi, 0.0, -0.0]]}, "bfloat16", 3, math.inf, "x", 1, specification
    )
    assert Witness.from_json(json.loads(json.dumps(witness.to_json(), allow_nan=False))) == witness


def test_a_witness_of_another_shape_is_refused_in_one_line() -> None:
    data = Witness("W-N", {"x": [[0.0]]}, None, "float32", 1, 0.1, "note").to_json()
    for broken in ({**data, "surprise": 1}, {**data, "features": "none"}, {"axiom": "W-N"}):
        with pytest.raises(InputError) as caught:
            Witness.from_json(broken)
        assert "\n" not in str(caught.value)


def test_zero_breaks_the_strict_axiom_alone() -> None:
    def witness(axiom: str) -> Witness:
        return Witness(axiom, {"x": [[0.0]]}, None, "float32", 1, 0.0, "note")

    assert witness("W-P").breaks(0.0)
    assert not witness("W-N").breaks(0.0)
    assert witness("W-N").breaks(math.nan)
