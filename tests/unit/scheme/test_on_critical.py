"""A safety order on critical inputs alone: kept there, nothing done elsewhere, and two mutants that must not pass.

No other test asks W-S of some inputs and not of others.
"""

import pytest
import torch
from torch import Tensor

import trivium as tv
from trivium.axioms import OrdinalSafety
from trivium.certification import certify
from trivium.certification.assemble import claims
from trivium.certification.falsify import replay
from trivium.errors import InputError
from trivium.scheme import OnCritical, Scheme
from trivium.simplex.geometry import hilbert
from trivium.weighting.base import Features

NAMES = ("a", "b", "c")


def scheme_of(**more: object) -> Scheme:
    return tv.compose(NAMES, token=[tv.Entropy(budget=3.0)], floor=0.05, critical_order="a > b = c", **more)  # type: ignore[arg-type]


def points(n: int = 500) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"entropy": 12 * torch.rand(n, 3, dtype=torch.float64), "critical": torch.randint(0, 2, (n, 1)).double()}


def test_the_order_holds_on_critical_inputs_and_elsewhere_nothing_changes() -> None:
    scheme, features = scheme_of(critical_margin=0.3), points()
    assert isinstance(scheme.root, OnCritical)
    w, bare = scheme.log_weights(features), scheme.root.part.log_weights(features)
    critical = features["critical"].squeeze(-1) > 0.5
    axiom = OrdinalSafety(scheme.trusted.order, 0.3)  # type: ignore[union-attr, arg-type]
    assert float(axiom.residual(w, critical).max()) <= axiom.tolerance(w.dtype, 3)
    assert float(axiom.residual(w, ~critical).max()) > 1.0
    assert float(axiom.leak(w, bare, critical).max()) == 0.0


def test_its_constants_hold_and_the_jump_is_counted() -> None:
    scheme = scheme_of()
    constants = scheme.root.constants(scheme.root.part.constants(tv.Entropy(budget=3.0).constants(3)))  # type: ignore[attr-defined]
    features = points()
    w = scheme.log_weights(features)
    moved = hilbert(w[:-1], w[1:])
    reach = sum(
        value * (features[name][:-1] - features[name][1:]).abs().amax(-1) for name, value in constants.lipschitz.items()
    )
    assert bool((moved <= reach + 1e-9).all())
    assert bool(
        (
            moved > constants.lipschitz["entropy"] * (features["entropy"][:-1] - features["entropy"][1:]).abs().amax(-1)
        ).any()
    )
    lead = w.unsqueeze(-1) - w.unsqueeze(-2)
    assert bool((lead >= constants.log_ratio - 1e-9).all())


def test_w_s_is_proved_on_critical_inputs_alone() -> None:
    scheme = scheme_of(critical_margin=0.3)
    certificate = certify(scheme, claims(scheme, 3, NAMES), seconds=0.2)
    words = {result.axiom: result.verdict for result in certificate.results}
    assert words["W-S"] == words["W-B"] == words["W-R"] == "PROVED", words
    assert certificate.specification.critical
    found = next(result for result in certificate.results if result.axiom == "W-S")
    assert found.derivation[0].endswith("on critical inputs")


def _mutant(scheme: Scheme, kind: str) -> Scheme:
    root = scheme.root
    assert isinstance(root, OnCritical)

    class Mutant(OnCritical):
        def log_weights(self, features: Features) -> Tensor:
            everywhere = torch.ones_like(features["critical"]) * (1.0 if kind == "leaks" else 0.0)
            return OnCritical.log_weights(self, {**features, "critical": everywhere})

    return Scheme(
        scheme.teacher_names, scheme.scales, Mutant(root.part, root.conforming), scheme.conforming, scheme.trusted
    )


def test_a_mutant_that_does_nothing_is_violated_on_a_critical_input() -> None:
    scheme = scheme_of()
    certificate = certify(_mutant(scheme, "nothing"), claims(scheme, 3, NAMES), seconds=0.5)
    found = next(result for result in certificate.results if result.axiom == "W-S")
    assert found.verdict == "VIOLATED"
    assert found.witness is not None
    assert found.witness.features["critical"][found.witness.row] == [1.0]
    assert replay(_mutant(scheme, "nothing"), found.witness) > 0


def test_a_mutant_that_leaks_to_other_inputs_is_seen() -> None:
    scheme, features = scheme_of(), points()
    assert isinstance(scheme.root, OnCritical)
    critical = features["critical"].squeeze(-1) > 0.5
    axiom = OrdinalSafety(scheme.trusted.order)  # type: ignore[union-attr, arg-type]
    leaking, bare = _mutant(scheme, "leaks").log_weights(features), scheme.root.part.log_weights(features)
    assert float(axiom.residual(leaking, critical).max()) <= axiom.tolerance(leaking.dtype, 3)
    assert float(axiom.leak(leaking, bare, critical).max()) > 0.5


def test_an_order_everywhere_and_one_on_critical_inputs_contradict_each_other() -> None:
    with pytest.raises(InputError, match="not both"):
        tv.compose(NAMES, order="a>b>c", critical_order="c>b>a")
    with pytest.raises(InputError, match="needs an order there"):
        tv.compose(NAMES, critical_margin=0.5)
