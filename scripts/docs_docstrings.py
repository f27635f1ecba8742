"""Docstrings are written to be read in a terminal; this makes Markdown of what Markdown would spoil.

A griffe extension, loaded by ``mkdocs.yml``: doctests and tables ruled with ``=`` go into fences (``>>>`` would be
three nested quotations), and cross-references such as ``:class:`Order``` lose their role. A room's page shows a name in
the module that defines it, so what ``__init__`` merely exports again is left out; the package's own page keeps it.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|data|attr|mod|exc):`~?([^`]+)`")
_RULE = re.compile(r" *=+(?:  +=+)+ *$")


def to_markdown(text: str) -> str:
    """The docstring with fences around doctests and ruled tables, and without roles."""
    lines: list[str] = []
    kind, fence, rules = "", "", 0
    for line in _ROLE.sub(r"`\1`", text).splitlines():
        ruled = bool(_RULE.match(line))
        if kind and not line.strip():
            lines.append(fence)
            kind = ""
        elif not kind and (ruled or line.lstrip().startswith(">>> ")):
            kind, rules = ("table", 0) if ruled else ("doctest", 0)
            fence = line[: len(line) - len(line.lstrip())] + "```"
            lines += ["", fence + ("text" if ruled else "pycon")]
        lines.append(line)
        if kind == "table" and ruled:
            rules += 1
            if rules == 3:  # above the head, below it, at the end
                lines.append(fence)
                kind = ""
    return "\n".join([*lines, fence] if kind else lines)


class ReadableDocstrings(griffe.Extension):
    """Rewrites every docstring once it has been collected, and drops what a room exports a second time."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """The package itself, which is no object to the event above."""
        if pkg.docstring is not None:
            pkg.docstring.value = to_markdown(pkg.docstring.value)

    def on_module_members(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        if mod.is_init_module and not mod.is_package:
            for name in [name for name, member in mod.members.items() if member.is_alias]:
                mod.del_member(name)
