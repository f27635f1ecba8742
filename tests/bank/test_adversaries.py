"""No word of a certificate is false of what trains, however hard a rule tries. Catches stand-ins that differ from
tensors, dropped arguments, state and number formats; every other test assumes rules that mean well."""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch
from torch import Tensor

from bank.adversaries import ADVERSARIES, Adversary
from tiers import spread
from trivium.axioms import Normalization
from trivium.certification.assemble import certify
from trivium.errors import TriviumError
from trivium.simplex.rounding import log_slack, weight_slack


def rows(case: Adversary) -> Tensor:
    """Where the breach is hoped for, corners, ties, and 20,000 rows of the box; float32."""
    generator = torch.Generator().manual_seed(7)
    uniform = 10 * torch.rand(20_000, 3, generator=generator)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1e-3, 1.0, 2.0, 5.0, 10.0])] * 3)
    special = torch.tensor(case.points) if case.points else corners[:1]
    return torch.cat([special, corners, uniform])


@pytest.mark.parametrize("case", spread(ADVERSARIES, 15, attrgetter("name")))
def test_no_word_is_false_of_what_trains(case: Adversary) -> None:
    made = case.make()
    try:
        certificate = certify(made, case.specification, seconds=0.3)
    except TriviumError:
        return  # refused by name
    words = {result.axiom: result.verdict for result in certificate.results}
    claimed = {axiom for axiom, word in words.items() if word in ("PROVED", "VERIFIED")}
    case.later()
    points = rows(case)
    with torch.no_grad(), case.around():
        try:
            w = made.weights({"entropy": points}).double()
        except TriviumError:
            return  # training refuses it
        again = made.weights({"entropy": points.flip(0)}).double().flip(0)
        alone = torch.stack([made.weights({"entropy": row}) for row in points[:64]]).double()
    slack = weight_slack(torch.float32, 3)
    if "W-F" in claimed:
        assert float((w - again).abs().nan_to_num(0.0).max()) <= slack
        assert float((w[:64] - alone).abs().nan_to_num(0.0).max()) <= slack
    if "W-N" in claimed:
        assert float((w.sum(-1) - 1).abs().max()) <= Normalization().tolerance(torch.float32, 3)
    if "W-P" in claimed:
        assert float(w.min()) > 0
    if "W-B" in claimed:
        asked = case.specification
        assert float(w.min()) >= (asked.floor or 0.0) - slack
        ratio = w.log().amax(-1) - w.log().amin(-1)
        assert asked.influence is None or float(ratio.max()) <= asked.influence + log_slack(torch.float32)
    if "W-R" in claimed:
        assert case.specification.lipschitz is not None
        logs, other = w.log(), w.log().roll(1, 0)
        apart = (points - points.roll(1, 0)).abs().amax(-1)
        moved = (logs - other).amax(-1) - (logs - other).amin(-1)
        assert float((moved - case.specification.lipschitz * apart).max()) <= 4 * log_slack(torch.float32)


def test_the_bank_is_large_and_no_name_comes_twice() -> None:
    assert len({case.name for case in ADVERSARIES}) == len(ADVERSARIES) >= 70
