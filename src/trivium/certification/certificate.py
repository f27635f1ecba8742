"""The certificate: what was certified, what was asked, what was found. JSON with a versioned schema and a digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from trivium.certification.earlier import former, modern
from trivium.certification.listing import ProgramRecord
from trivium.certification.safety import SafetyRecord
from trivium.certification.source import CertificatePart, Source
from trivium.certification.specification import Result, Specification, first_problem
from trivium.errors import InputError, require
from trivium.former import warn
from trivium.jsontext import json_text
from trivium.jsontext import read_json as read_object

SCHEMA: Literal["trivium.certificate/3"] = "trivium.certificate/3"
#: Of certificates from before rules were captured; they are still read, and checked as far as they go.
BEFORE: Literal["trivium.certificate/1"] = "trivium.certificate/1"
#: Every schema that is read; those before the present one have former names in their files.
READ: Final = (BEFORE, "trivium.certificate/2", SCHEMA)
#: The version of the text of derivations in a certificate that names none.
FIRST_TEXT: Final = 1


class Versions(CertificatePart):
    """What the certificate was made with."""

    trivium: str
    torch: str
    python: str


class FeatureRange(CertificatePart):
    """The range of one feature; the certificate speaks about every point of the box they span."""

    low: float
    high: float
    integer: bool = False
    shared: bool = False
    pairwise: bool = False
    numbers: int = 0


class CertifiedConstants(CertificatePart):
    """The derived constants: ``Infinity`` where nothing is known."""

    influence: float = Field(description="β ≥ log(max w / min w), nats")
    floor: float = Field(description="a ≤ min w")
    cap: float = Field(description="b ≥ max w")
    total_lipschitz: float = Field(description="Σ_f L_f, for the sup metric over all features")
    lipschitz: dict[str, float] = Field(description="L_f, nats a unit of feature f")
    log_ratio: tuple[tuple[float, ...], ...] = Field(description="gap[j][k] ≤ log(w_j / w_k), nats")


class Breach(CertificatePart):
    """What the monitor did about one axiom in a run."""

    axiom: str
    action: str = Field(description="raised, repaired or recorded")
    count: int
    worst: float | None = Field(description="largest residual; null where it was not a number")


class ObservedRun(CertificatePart):
    """What the monitor saw over all steps of a training run, from its trace."""

    folder: str
    steps: int = Field(description="the last step in the trace")
    monitored: int = Field(description="lines of the trace that hold residuals")
    worst: dict[str, float] = Field(description="largest residual of each axiom; Infinity where one was not a number")
    violations: tuple[Breach, ...]
    trace_sha256: str
    safety: SafetyRecord | None = Field(None, description="of a run that declared what its student must not do")


class Certificate(CertificatePart):
    """What a weighting operator guarantees, with how sure that is.

    ``digest`` is SHA-256 over the canonical JSON of the rest. It shows that a field was changed and the digest left as
    it was. It is no signature: whoever changes a field can compute it again, so it says nothing of who wrote the file.
    ``trivium verify`` does not rest on it: it computes everything again and compares.
    """

    model_config = ConfigDict(title="Trivium certificate", populate_by_name=True)

    schema_: Literal["trivium.certificate/1", "trivium.certificate/2", "trivium.certificate/3"] = Field(
        SCHEMA, alias="schema"
    )
    kind: Literal["rule", "scheme", "run"]
    name: str
    formula: str
    description: str = Field(description="the operator in full, a line a part")
    source: Source
    versions: Versions
    created: str = Field(description="UTC, ISO 8601")
    specification: Specification
    search: dict[str, float] = Field(description="seconds and seed that the search was given")
    box: dict[str, FeatureRange]
    per_entry: bool = Field(
        False,
        description="weights differ by vocabulary entry: the pool is renormalized; T7, T8 and S1 do not hold (T10)",
    )
    constants: CertifiedConstants | None = Field(description="null where no part declares or guarantees anything")
    text: int = Field(
        FIRST_TEXT, ge=FIRST_TEXT, description="version of the text of its derivations, where not the first"
    )
    derivation: tuple[str, ...] = Field(description="the proof, a line a step, with theorem numbers")
    programs: tuple[ProgramRecord, ...] | None = Field(
        None, description="the graph of each user's rule; null in a file of schema 1, which held none"
    )
    results: tuple[Result, ...]
    run: ObservedRun | None = None

    @property
    def question(self) -> Specification:
        """The former name of ``specification``."""
        warn("question of Certificate", "specification")
        return self.specification

    @property
    def findings(self) -> tuple[Result, ...]:
        """The former name of ``results``."""
        warn("findings of Certificate", "results")
        return self.results

    @property
    def violated(self) -> tuple[Result, ...]:
        """The findings whose verdict is VIOLATED."""
        return tuple(result for result in self.results if result.verdict == "VIOLATED")

    def __str__(self) -> str:
        """Return the formula, then a line a finding: axiom, word, what a witness shows or why a rule is opaque."""
        lines = [self.formula]
        for result in self.results:
            why = result.where if result.where.startswith("opaque") else ""
            why = why if result.witness is None else result.witness.note
            lines.append(f"{result.axiom} {result.verdict}" + (f": {why}" if why else ""))
        return "\n".join(lines)

    def to_data(self) -> dict[str, Any]:
        """Return plain JSON values, with the digest last; one that was read keeps the names of its schema, so its
        digest."""
        data: dict[str, Any] = json.loads(self.model_dump_json(by_alias=True))
        if self.programs is None:  # of schema 1
            del data["programs"]
        if self.run is not None and self.run.safety is None:
            del data["run"]["safety"]
        if self.text == FIRST_TEXT:
            del data["text"]
        if self.schema_ != SCHEMA:
            data = former(data)
        return {**data, "digest": digest_of(data)}

    def to_json(self) -> str:
        """:meth:`to_data`, indented."""
        return json_text(self.to_data(), indent=1) + "\n"

    def write(self, path: str | Path) -> None:
        """Write :meth:`to_json` to a file; its folder is made."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.to_json(), encoding="utf-8")


def _with_infinity(part: Any) -> Any:
    """Return JSON has no infinity, so every number of the schema may also be one of three strings."""
    if isinstance(part, list):
        return [_with_infinity(item) for item in part]
    if not isinstance(part, dict):
        return part
    rest = {key: _with_infinity(value) for key, value in part.items()}
    if rest.get("type") == "number":
        del rest["type"]
        rest["anyOf"] = [{"type": "number"}, {"enum": ["Infinity", "-Infinity", "NaN"]}]
    return rest


def digest_of(data: dict[str, Any]) -> str:
    """Return SHA-256 over the canonical JSON (sorted keys, no spaces) of all fields but ``digest``."""
    rest = {key: value for key, value in data.items() if key != "digest"}
    canonical = json_text(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def load(path: str | Path) -> Certificate:
    """Return a certificate from its file, checked against the schema, not against the digest.

    Raises:
        InputError: no such file, no JSON, another schema, or a field that is missing, unknown or of the wrong kind.
    """
    return parse(read_json(path), str(path))


def parse(data: dict[str, Any], where: str = "certificate") -> Certificate:
    """Return a certificate from plain data."""
    schema = data.get("schema")
    if schema not in READ:
        raise InputError(f"{where} must have the schema {SCHEMA!r}", repr(schema), "Make it again with this version.")
    fix = "Make it again with `trivium certify`."
    try:
        content = {key: value for key, value in data.items() if key != "digest"}
        found = Certificate.model_validate(content if schema == SCHEMA else modern(content))
    except ValidationError as error:
        raise InputError(f"{where} must follow its schema", first_problem(error), fix) from None
    if (found.programs is None) != (schema == BEFORE) or (schema == BEFORE and "programs" in data):
        raise InputError(f"{where} must follow its schema", f"programs do not belong to {schema!r}", fix)
    return found


def read_json(path: str | Path) -> dict[str, Any]:
    """Return a JSON object from a file.

    Raises:
        InputError: no such file, or no JSON object in it.
    """
    place = Path(path)
    waits = place.exists() and not (place.is_file() or place.is_dir())
    require(not waits, "a certificate must be a file", f"{str(path)!r}, a pipe or device", "Save it.")
    try:
        data = read_object(place.read_bytes())
    except OSError as error:
        raise InputError("the file must be readable", f"{str(path)!r} ({error.strerror})", "Check the path.") from None
    except ValueError as error:
        raise InputError(f"{path} must be JSON", str(error), "It may have been cut off.") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} must hold a JSON object", type(data).__name__, "Give a certificate.")
    return data


def schema() -> dict[str, Any]:
    """Return the JSON schema of a certificate file, for docs and other readers."""
    published: dict[str, Any] = _with_infinity(Certificate.model_json_schema(by_alias=True))
    published["properties"]["digest"] = {"type": "string", "description": "SHA-256 over the canonical JSON of the rest"}
    published["required"].append("digest")
    return published
