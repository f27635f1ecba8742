"""Certification: what a weighting rule guarantees, with the strongest word that was earned.

In the order in which a certificate comes about: :mod:`~trivium.certification.specification` is what is asked,
:mod:`~trivium.certification.calculus` derives constants by the steps that compositions declare,
:mod:`~trivium.certification.decisions` tells what follows from them, :mod:`~trivium.certification.falsify` searches
for a breach, :mod:`~trivium.certification.assemble` puts the words together into a
:mod:`~trivium.certification.certificate`, :mod:`~trivium.certification.run` adds what a training run saw,
:mod:`~trivium.certification.page` makes it readable and :mod:`~trivium.certification.recheck` checks it again.
"""

from trivium.certification.assemble import certify, claims
from trivium.certification.calculus import derive, node
from trivium.certification.certificate import Certificate, load, schema
from trivium.certification.page import as_markdown
from trivium.certification.recheck import recheck
from trivium.certification.run import add_run
from trivium.certification.specification import VERDICTS, Result, Specification, Verdict, Witness

__all__ = [
    "VERDICTS",
    "Certificate",
    "Result",
    "Specification",
    "Verdict",
    "Witness",
    "add_run",
    "as_markdown",
    "certify",
    "claims",
    "derive",
    "load",
    "node",
    "recheck",
    "schema",
]
