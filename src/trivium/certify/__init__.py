"""Certification: what a weighting rule guarantees, with the strongest word that was earned.

In the order in which a certificate comes about: :mod:`~trivium.certify.question` is what is asked,
:mod:`~trivium.certify.calculus` derives constants by the steps of :mod:`~trivium.certify.nodes`,
:mod:`~trivium.certify.decisions` tells what follows from them,
:mod:`~trivium.certify.falsify` searches for a breach, :mod:`~trivium.certify.assemble` puts the words together into a
:mod:`~trivium.certify.certificate`, :mod:`~trivium.certify.run` adds what a training run saw,
:mod:`~trivium.certify.page` makes it readable and :mod:`~trivium.certify.recheck` checks it again.
"""

from trivium.certify import nodes  # importing it registers the steps of the schemes
from trivium.certify.assemble import certify, claims
from trivium.certify.calculus import derive, node
from trivium.certify.certificate import Certificate, load, schema
from trivium.certify.page import as_markdown
from trivium.certify.question import VERDICTS, Finding, Question, Verdict, Witness
from trivium.certify.recheck import recheck
from trivium.certify.run import add_run

__all__ = [
    "VERDICTS",
    "Certificate",
    "Finding",
    "Question",
    "Verdict",
    "Witness",
    "add_run",
    "as_markdown",
    "certify",
    "claims",
    "derive",
    "load",
    "node",
    "nodes",
    "recheck",
    "schema",
]
