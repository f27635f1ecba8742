"""The safety order of the teachers: tiers from safest to least safe, every teacher in exactly one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trivium.errors import InputError, nearest, require
from trivium.former import renamed
from trivium.simplex.typed import Typed, typed


@renamed(teachers="num_teachers")
@dataclass(frozen=True)
class Order(Typed):
    """A weak order of K teachers. ``tiers`` hold teacher indices, safest tier first; inside a tier nothing is required.

    >>> order = Order.parse("a > b = c", ["c", "b", "a"])
    >>> order.tiers
    ((2,), (1, 0))
    >>> list(order.pairs())
    [(2, 1), (2, 0)]
    >>> order.ranks(3)
    (0, 0, 1)

    Raises:
        InputError: an empty tier, or indices that are not 0 … K−1, each once.
    """

    tiers: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        require(bool(self.tiers) and all(self.tiers), "every tier of a safety order needs a teacher", self.tiers)
        members = sorted(teacher for tier in self.tiers for teacher in tier)
        require(
            members == list(range(len(members))),
            "a safety order must hold each teacher 0 … K−1 exactly once",
            self.tiers,
        )

    @classmethod
    @typed()
    def parse(cls, text: str, names: Sequence[str]) -> Order:
        """Read ``"a>b=c"``: a is safer than b and c, which are not ordered among themselves. Spaces do not matter.

        Raises:
            InputError: no teacher between two signs, an unknown name (with the nearest), a teacher named twice, or
                one left out; all names must be distinct.
        """
        require(len(set(names)) == len(names), "teachers need distinct names", ", ".join(names))
        index = {name: k for k, name in enumerate(names)}
        written = [[name.strip() for name in tier.split("=")] for tier in text.split(">")]
        seen: set[str] = set()
        for name in (name for tier in written for name in tier):
            if not name:
                raise InputError(
                    "a safety order names a teacher on both sides of each sign", repr(text), "Write it as 'a>b=c'"
                )
            if name not in index:
                raise InputError("a safety order may name the teachers only", repr(name), nearest(name, names))
            if name in seen:
                raise InputError(f"a safety order names each teacher once; {name!r} comes twice", repr(text))
            seen.add(name)
        missing = [name for name in names if name not in seen]
        if missing:
            raise InputError(
                f"a safety order must place every teacher; missing: {', '.join(missing)}",
                repr(text),
                "Use '=' for teachers that are equally safe",
            )
        return cls(tuple(tuple(index[name] for name in tier) for tier in written))

    @property
    def num_teachers(self) -> int:
        """K, the number of teachers."""
        return sum(len(tier) for tier in self.tiers)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield every (j, k) with teacher j in a safer tier than teacher k."""
        for place, safer in enumerate(self.tiers):
            for less in self.tiers[place + 1 :]:
                for j in safer:
                    for k in less:
                        yield j, k

    def ranks(self, num_teachers: int) -> tuple[int, ...]:
        """r_k per teacher: 0 in the least safe tier, one more in each safer one.

        Raises:
            InputError: ``num_teachers`` is not the number of teachers of this order.
        """
        require(
            num_teachers == self.num_teachers, f"this safety order is over {self.num_teachers} teachers", num_teachers
        )
        rank = [0] * num_teachers
        for height, tier in enumerate(reversed(self.tiers)):
            for teacher in tier:
                rank[teacher] = height
        return tuple(rank)

    def among(self, teachers: Sequence[int]) -> Order:
        """Return the order of some of the teachers, renumbered 0, 1, … as they are listed.

        >>> Order(((2,), (0, 3), (1,))).among([1, 3]).tiers
        ((1,), (0,))
        """
        place = {teacher: number for number, teacher in enumerate(teachers)}
        kept = (tuple(place[teacher] for teacher in tier if teacher in place) for tier in self.tiers)
        return Order(tuple(tier for tier in kept if tier))

    def text(self, names: Sequence[str]) -> str:
        """Return the inverse of :meth:`parse`, for example ``"a>b=c"``."""
        require(len(names) == self.num_teachers, f"this safety order is over {self.num_teachers} teachers", len(names))
        return ">".join("=".join(names[teacher] for teacher in tier) for tier in self.tiers)
