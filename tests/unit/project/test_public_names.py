"""What ``import trivium as tv`` offers: every name is there, light until it is used, and one object by any way."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain

import pytest

import trivium as tv
from trivium.aggregation import POOLS
from trivium.errors import InputError
from trivium.scheme import WRAPPERS
from trivium.weighting import RULES

ORDERS = (
    "import trivium as tv",
    "import trivium.training.trainer; import trivium as tv",
    "import trivium.cli; import trivium.certification; import trivium as tv",
    "from trivium.training.recipe import Recipe; import trivium.rules; import trivium as tv; tv.distill",
    "import trivium as tv; tv.DistillationTrainer; import trivium.training.distiller, trivium.cli.whole",
)


@pytest.mark.deep
@pytest.mark.parametrize("order", ORDERS)
def test_every_name_is_one_object_in_whatever_order_things_are_imported(order: str) -> None:
    code = f"""
{order}
import sys
from importlib import import_module
first = {{name: getattr(tv, name) for name in tv.__all__}}
for name, (room, own) in tv._LATER.items():
    assert first[name] is vars(import_module(room))[own], name
    assert name in dir(tv) and first[name] is getattr(tv, name), name
for name in tv.rules.__all__:
    assert vars(tv).get(name, vars(tv.rules)[name]) is vars(tv.rules)[name], name
assert tv.rules is sys.modules["trivium.rules"]
assert set(tv.__all__) <= set(dir(tv)) and len(set(tv.__all__)) == len(tv.__all__)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_names_are_light_until_they_are_used() -> None:
    code = """
import sys, time, torch
begun = time.process_time()
import trivium as tv
seconds = time.process_time() - begun
scheme = tv.compose(["a", "b"], token=[tv.Entropy()], floor=0.01)
assert seconds < 0.3, seconds
for heavy in ("transformers", "pydantic", "datasets", "accelerate", "typer"):
    assert heavy not in sys.modules, heavy
distiller = tv.Distiller(scheme)
out = distiller(torch.zeros(2, 3, requires_grad=True), {"a_logits": torch.ones(2, 3), "b_logits": torch.zeros(2, 3)})
assert out.loss.item() < 1e-6 and set(out.shares) == {"a", "b"}
assert "transformers" not in sys.modules and "datasets" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_a_name_that_does_not_exist_is_said_to() -> None:
    with pytest.raises(AttributeError, match="module 'trivium' has no attribute 'Distillerr'"):
        tv.Distillerr  # type: ignore[attr-defined]  # noqa: B018


def test_every_rule_pool_and_wrapper_is_in_one_place() -> None:
    pools = (type(pool) for pool in POOLS.values())
    wanted = {found.__name__: found for found in chain(RULES.values(), pools, WRAPPERS)}
    assert {name: vars(tv.rules)[name] for name in tv.rules.__all__ if name != "Product"} == wanted


def test_a_rule_or_a_scheme_is_certified_in_one_call() -> None:
    certificate = tv.certify(tv.Margin(), num_teachers=3, floor=0.1, seconds=0.2)
    assert isinstance(certificate, tv.Certificate)
    assert {result.axiom: result.verdict for result in certificate.results}["W-B"] == "PROVED"
    assert certificate.specification.num_teachers == 3
    broken = tv.certify(tv.Margin(), num_teachers=3, floor=0.3, seconds=0.2)
    assert [result.axiom for result in broken.violated] == ["W-B"]
    scheme = tv.compose(["code", "prose"], token=[tv.Entropy()], floor=0.05, order="code > prose")
    own = tv.certify(scheme, seconds=0.2)  # what it claims, for the teachers it has
    assert own.specification.names == ("code", "prose")
    assert own.specification.floor == 0.05
    assert own.specification.order is not None
    with pytest.raises(InputError, match=r"number of teachers must be given; received none\. Add num_teachers=3\."):
        tv.certify(tv.Margin())
    with pytest.raises(InputError, match="num_teachers must agree with what the scheme has; received 3 and 2"):
        tv.certify(scheme, num_teachers=3)
