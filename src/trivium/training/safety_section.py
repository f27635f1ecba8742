"""The part of a recipe that says what the student must not do."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from trivium.training.section import RecipePart


class CriticalSection(RecipePart):
    """Which inputs are critical: those of which everything that is given holds."""

    column: str | None = Field(default=None, description="a column of the data: 1 for critical, else 0")
    regex: str | None = Field(default=None, description="found in a row's text")
    domains: list[str] | None = Field(default=None, description="names of domains")
    classifier: str | None = Field(default=None, description="FILE.py:NAME, from a list of texts to as many 0 or 1")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any((self.column, self.regex, self.domains, self.classifier)):
            raise PydanticCustomError("critical", "must name a column, regex, domains or a classifier")
        return self


class UnsafeSection(RecipePart):
    """What must not be drawn there."""

    tokens: list[int | str] = Field(default_factory=list, description="of text: ids, or strings of one token")
    variants: bool = Field(default=True, description="a token stands for its cases and for itself behind a space")
    strings: list[str] = Field(default_factory=list, description="of text: forbidden however they are cut into tokens")
    whole_words: bool = Field(default=True, description="a string counts where no letter, digit or _ continues it")
    not_after: str = Field(default="", description="characters behind which a string does not count, such as '.'")
    ignore_case: bool = Field(default=False, description="of strings")
    classes: list[str] = Field(default_factory=list, description="of examples: CLASS, or TASK/CLASS")


class SafetySection(RecipePart):
    """What the student must not do, and which teachers are trusted where it matters."""

    critical: CriticalSection = Field(description="which inputs are critical")
    unsafe: UnsafeSection = Field(description="what must not be drawn there")
    trust: str | None = Field(default=None, description="order of teachers kept there, e.g. 'a > b = c', safest first")
    order_margin: float = Field(default=0.0, ge=0, description="nats between two tiers of trust")
    contradiction: Literal["report", "refuse"] = Field(
        default="report", description="of a trusted teacher that measures less safe than one below it"
    )
    limit: float = Field(gt=0, lt=1, description="δ: most mean unsafe mass of the student at a critical position")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="confidence of every limit that is reported")
    enforce: Literal["none", "constraint", "target"] = Field(
        default="none", description="constraint: a multiplier on the student; target: the nearest safe one"
    )
    rate: float = Field(default=0.05, gt=0, description="step of the multiplier")
