"""The files that the rules of a scheme come from."""

from __future__ import annotations

from pathlib import Path

from trivium.scheme.tree import leaves
from trivium.store.code import source_files
from trivium.weighting.base import Operator, UserRule


def rule_files(operator: Operator, base: Path) -> dict[str, str]:
    """Return SHA-256 of the file of each user rule in an operator tree, and of what it imports beside it, by its path
    as seen from ``base``."""
    files = [leaf.source for leaf in leaves(operator) if isinstance(leaf, UserRule) and Path(leaf.source).is_file()]
    return {path: sha256 for file in files for path, sha256 in source_files(file, base).items()}
