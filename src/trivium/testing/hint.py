"""How to see a breach again: a command where the rule can be loaded from its file, otherwise three lines of Python."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from trivium.certification.certificate import Certificate
from trivium.certification.source import BuiltInSource, FileSource
from trivium.certification.specification import Specification, Witness
from trivium.jsontext import json_text
from trivium.weighting.base import Operator


def replay_hint(operator: Operator, certificate: Certificate, witness: Witness) -> list[str]:
    """Return lines to copy. The command makes the same search again and evaluates its witness in another process."""
    source = certificate.source
    if isinstance(source, FileSource) and _loads(operator, source):
        return _commands(f"{source.path}:{source.name}", {}, certificate)
    if isinstance(source, BuiltInSource):
        return _commands(source.name, source.options, certificate)
    plain = json_text(witness.to_json())
    return [
        "import json; from trivium.certification import Witness; from trivium.certification.falsify import replay",
        f"replay(YOUR_RULE, Witness.from_json(json.loads({plain!r})))",
    ]


def _loads(operator: Operator, source: FileSource) -> bool:
    """Return whether the file has the rule under its name, so that ``FILE.py:NAME`` finds it; one in a function
    is not."""
    wanted = Path(source.path).resolve()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and Path(file).resolve() == wanted and getattr(module, source.name, None) is operator:
            return True
    return False


def _commands(target: str, options: dict[str, Any], certificate: Certificate) -> list[str]:
    out = f"{certificate.name}.witness.json"
    words = ["trivium", "certify", target, *_flags(certificate.specification)]
    for name, value in options.items():
        words += ["--param", f"{name}={_plain(value)}"]
    words += ["--seconds", f"{certificate.search['seconds']:g}", "--seed", f"{certificate.search['seed']:g}"]
    return [shlex.join([*words, "--json", out]), shlex.join(["trivium", "replay", out])]


def _flags(specification: Specification) -> list[str]:
    flags = ["--teachers", str(specification.num_teachers), "--names", ",".join(specification.names)]
    for name in ("floor", "cap", "influence", "lipschitz"):
        value = getattr(specification, name)
        if value is not None:
            flags += [f"--{name}", repr(value)]
    if specification.order is not None:
        flags += [
            "--order",
            specification.order.text(specification.names),
            "--margin",
            repr(specification.order_margin),
        ]
    return flags


def _plain(value: Any) -> str:
    """As ``--param`` reads it.

    >>> _plain((0, 1)), _plain(None), _plain(2.0)
    ('0,1', 'none', '2.0')
    """
    if isinstance(value, tuple | list):
        return ",".join(str(item) for item in value)
    return "none" if value is None else str(value)
