"""What is known of each trial of a search, read from its study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trivium.errors import InputError
from trivium.training.recipe import SchemeSection

Outcome = Literal["complete", "stopped", "not proved", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: from 0; ``name`` is what the first ones are (``recipe``, ``uniform``), else empty.
        outcome: ``complete``; ``stopped`` against the median; ``not proved`` or ``failed``, with the reason.
        value: the objective, of a stopped trial the last it reached; None where there is none.
        influence: the derived β, nats.
        validations: (step, value) while it was trained.
    """

    number: int
    name: str
    outcome: Outcome
    value: float | None
    section: SchemeSection | None
    params: Mapping[str, Any]
    influence: float | None
    reason: str
    validations: Mapping[int, float]
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "number": self.number,
            "name": self.name,
            "outcome": self.outcome,
            "value": self.value,
            "influence": self.influence if self.influence is not None and math.isfinite(self.influence) else None,
            "reason": self.reason,
            "seconds": self.seconds,
            "params": dict(self.params),
            "validations": {str(step): value for step, value in self.validations.items()},
            "scheme": None if self.section is None else self.section.model_dump(),
        }


def records_of(trials: Sequence[Any], starts: Sequence[str]) -> list[TrialRecord]:
    """What Optuna's trials say.

    Args:
        trials: all that were judged, in order.
        starts: the names of the first.
    """
    names, records = list(starts), []
    for number, trial in enumerate(trials):
        attributes = trial.user_attrs
        scheme = attributes.get("scheme")
        records.append(
            TrialRecord(
                number=number,
                name=names[number] if number < len(names) else "",
                outcome=attributes["outcome"],
                value=trial.value,
                section=None if scheme is None else SchemeSection.model_validate(scheme),
                params=trial.params,
                influence=attributes.get("influence"),
                reason=attributes.get("reason", ""),
                validations=trial.intermediate_values,
                seconds=attributes.get("seconds"),
            )
        )
    return records


def best_of(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The complete trial of least value, the earliest among equals."""
    complete = [record for record in records if record.outcome == "complete" and record.value is not None]
    return min(complete, key=lambda record: (record.value, record.number), default=None)


def chosen(records: Sequence[TrialRecord]) -> TrialRecord:
    """The best trial; raises InputError, with the commonest reason, where no trial was completed."""
    best = best_of(records)
    if best is None or best.section is None:
        reasons = [record.reason for record in records if record.reason]
        common = max(set(reasons), key=reasons.count, default="no trial was run")
        raise InputError("a search must complete a trial", common, "Raise --budget, or lower --floor or the margin.")
    return best
