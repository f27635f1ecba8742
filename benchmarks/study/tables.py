"""Markdown from ``study.json``; the tables of ``docs/results.md`` are cut from the same functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Result = Mapping[str, Any]
CONDITIONS = ("clean", "corrupted")
METRICS = ("loss", "error")


def page(result: Result) -> str:
    """The whole page: what was run, the claim, ranks, wins and losses, then each setting."""
    parts = [
        "# The catalogue of weighting rules on real settings",
        _setup(result),
        "## The claim",
        f"*{result['claim'][0].upper()}{result['claim'][1:]}* (what the student loses: corrupted − clean).",
        claims(result),
        worse(result),
        "The same claim of every rule, settings and metrics counted:",
        kept(result),
    ]
    for metric, by_part in result["ranks"].items():
        if by_part:
            parts += [f"## Average ranks by {metric}", ranks(result, metric)]
    parts += ["## Wins and losses", wins(result)]
    for name, setting in result["settings"].items():
        parts += [f"## {name}: {setting['title']}", _about(setting), one_setting(setting)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _setup(result: Result) -> str:
    run = result["run"]
    seeds = ", ".join(f"{name} {s['seeds']}" for name, s in result["settings"].items())
    steps = ", ".join(f"{name} {count}" for name, count in run["steps"].items())
    cut = "" if run["complete"] else f" Cells planned: {run['planned']}, finished: {run['finished']}."
    return (
        f"Run on {run['machine']}, {run['cpu_minutes']:.0f} CPU-minutes{_kept_settings(run)}. "
        f"Paired seeds: {seeds}. Steps: {steps}.{cut} Equal distillation mass (weights that "
        "do not sum to one are normalized), equal steps, initial weights and batches by seed. Intervals: 95 %, paired "
        "bootstrap over test examples (documents in `text`) and seeds. They do not cover the choice of data, of "
        "teachers or of the corruption."
    )


def _kept_settings(run: Result) -> str:
    names = run.get("kept") or []
    return f", but for {', '.join(names)}, whose numbers are those of an earlier run" if names else ""


def claims(result: Result) -> str:
    """The claim, a line a setting and metric: what each scheme loses, what a third of uniform's loss leaves of it."""
    names = list(result["claims"][0]["schemes"])
    head = ["setting", "measured in", "uniform loses"]
    for name in names:
        head += [f"{name.removesuffix(', conforming')} loses", "− uniform/3: the claim"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in result["claims"]:
        unit = "error" if row["metric"] == "error" else result["settings"][row["setting"]]["unit"]
        cells = [row["setting"], unit, _with(row["uniform"]["mean"], row["uniform"]["interval"])]
        for name in names:
            damage, third = row["schemes"][name]["damage"], row["schemes"][name]["third"]
            cells.append(_with(damage["mean"], damage["interval"]))
            cells.append(f"{_with(third['value'], third['interval'])} **{third['verdict']}**")
        lines.append("| " + " | ".join(cells) + " |")
    harmless = [f"`{row['setting']}` ({row['metric']})" for row in result["claims"] if row["harmless"]]
    note = f"\n\nUniform itself loses nothing that shows in {', '.join(harmless)}." if harmless else ""
    return "\n".join(lines) + note


EVERY = ("conforming", "ours", "published", "baseline")


def kept(result: Result, kinds: tuple[str, ...] = EVERY, places: bool = True) -> str:
    """How often the claim holds of each arm, by loss and by error, best first; with ``places``, where it fails."""
    verdicts: dict[str, list[tuple[str, str]]] = {}
    for setting, about in result["settings"].items():
        for name, arm in about["arms"].items():
            if arm["kind"] in kinds and name != "uniform":
                found = verdicts.setdefault(name, [])
                found += [(third["verdict"], f"{setting} ({metric})") for metric, third in arm["third"].items()]
    head = ["rule", "form", "holds", "open", "fails", *(["fails in"] if places else [])]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    rows = []
    for name, found in verdicts.items():
        holds, open_, fails = (sum(said == word for said, _ in found) for word in ("holds", "open", "fails"))
        cells = [name, _kind(result, name), str(holds), str(open_), str(fails)]
        cells += [", ".join(place for said, place in found if said == "fails")] if places else []
        rows.append((fails, -holds, "| " + " | ".join(cells) + " |"))
    return "\n".join(lines + [line for *_, line in sorted(rows)])


def ranks(result: Result, metric: str) -> str:
    """Average rank of each arm over all blocks, best first, and how far apart two must be."""
    by_part = result["ranks"][metric]
    whole = by_part["all"]
    order = sorted(range(len(whole["arms"])), key=lambda k: whole["seeds_as_blocks"]["average"][k])
    shown = [part for part in ("all", *CONDITIONS, "without labels") if part in by_part]
    lines = ["| rule | form | " + " | ".join(shown) + " |", "|---|---|" + "---|" * len(shown)]
    for k in order:
        name = whole["arms"][k]
        cells = []
        for part in shown:
            listed = by_part[part]["arms"]
            average = by_part[part]["seeds_as_blocks"]["average"]
            cells.append(f"{average[listed.index(name)]:.1f}" if name in listed else "")
        lines.append(f"| {name} | {_kind(result, name)} | {' | '.join(cells)} |")
    notes = []
    for part in shown:
        fine, coarse = by_part[part]["seeds_as_blocks"], by_part[part]["settings_as_blocks"]
        notes.append(
            f"{part}: {fine['critical']:.1f} over {fine['blocks']} blocks (Friedman p = {fine['p']:.2g}), "
            f"{coarse['critical']:.1f} if seeds of one setting count as one ({coarse['blocks']} blocks, "
            f"p = {coarse['p']:.2g})"
        )
    said = "Critical differences at 5 % (Nemenyi), " + "; ".join(notes) + "."
    return (
        "\n".join(lines)
        + f"\n\n{said} Seeds of one setting are no independent evidence about rules: the second is the honest one."
    )


def free(result: Result) -> str:
    """Those that see no training labels, by average rank of the loss, with wins and losses against uniform."""
    part = result["ranks"]["loss"]["without labels"]
    average = part["seeds_as_blocks"]["average"]
    lines = [
        "| rule | form | average rank | by loss: better than uniform | worse | no difference "
        "| by error: better | worse | no difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for k in sorted(range(len(part["arms"])), key=lambda k: average[k]):
        name = part["arms"][k]
        cells = [_count([found["interval"] for *_, found in _against_uniform(result, name, m)]) for m in METRICS]
        lines.append(f"| {name} | {_kind(result, name)} | {average[k]:.1f} | {' | '.join(cells)} |")
    coarse = part["settings_as_blocks"]
    return (
        "\n".join(lines)
        + f"\n\nTwo ranks differ at 5 % if they are {coarse['critical']:.1f} apart (Nemenyi, {coarse['blocks']} "
        f"settings and conditions, seeds of one counted as one; Friedman p = {coarse['p']:.1g})."
    )


def worse(result: Result) -> str:
    """A sentence for each scheme of the claim: where its student is worse than uniform's beyond its interval."""
    sentences = []
    for name in result["claims"][0]["schemes"]:
        found = [
            f"`{setting}` {condition}, {metric} {_with(change['difference'], change['interval'])}"
            for metric in METRICS
            for setting, condition, change in _against_uniform(result, name, metric)
            if change["interval"][0] > 0
        ]
        where = "; ".join(found) or "no setting"
        sentences.append(f"The student of *{name}* is worse than that of uniform weights in: {where}.")
    return "\n\n".join(sentences)


def _against_uniform(result: Result, name: str, metric: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(setting, condition, difference to uniform) wherever an arm has this metric."""
    for setting, about in result["settings"].items():
        for condition in CONDITIONS:
            measured = about["arms"].get(name, {}).get(condition, {}).get(metric)
            if measured is not None:
                yield setting, condition, measured["minus_uniform"]


def _kind(result: Result, name: str) -> str:
    for setting in result["settings"].values():
        if name in setting["arms"]:
            arm = setting["arms"][name]
            return arm["kind"] + (", sees labels" if arm["labels"] else "")
    return ""


def wins(result: Result) -> str:
    """In how many settings and conditions each arm beats uniform or loses to it, and the conforming scheme each arm."""
    lines = [
        "| rule | form | better than uniform | worse | no difference "
        "| conforming scheme better than it | worse | no difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = list(dict.fromkeys(name for s in result["settings"].values() for name in s["arms"]))
    for name in names:
        arms = [s["arms"][name] for s in result["settings"].values() if name in s["arms"]]
        found = [arm[condition]["loss"] for arm in arms for condition in CONDITIONS]
        cells = [_count([f[key]["interval"] for f in found]) for key in ("minus_uniform", "conforming_minus_this")]
        lines.append(f"| {name} | {_kind(result, name)} | {' | '.join(cells)} |")
    return (
        "By the student's loss, each setting and condition once; a difference counts where its interval excludes "
        "zero.\n\n" + "\n".join(lines)
    )


def _count(intervals: list[list[float]]) -> str:
    better, worse = sum(high < 0 for _, high in intervals), sum(low > 0 for low, _ in intervals)
    return f"{better} | {worse} | {len(intervals) - better - worse}"


def _about(setting: Result) -> str:
    text = (
        f"Teachers: {', '.join(setting['teachers'])}; corrupted: {setting['corrupted_teacher']} "
        f"({setting['corruption']}). {setting['train']} examples to distil on, {setting['validation']} with labels for "
        f"validation, {setting['test']} to test ({setting['units']} resampled units), {setting['seeds']} seeds. "
        f"Loss in {setting['unit']}."
    )
    for name, why in setting["failed"].items():
        text += f" **{name} failed**: {why}"
    return text


def one_setting(setting: Result) -> str:
    """Students' loss (and error), what corruption costs, the mixture's own loss, the corrupted teacher's share."""
    error = any("error" in arm["clean"] for arm in setting["arms"].values())
    victim = setting["teachers"].index(setting["corrupted_teacher"])
    head = ["rule", "clean", "corrupted", "corruption costs"]
    head += ["error clean", "error corrupted"] if error else []
    head += ["mixture clean", "mixture corrupted", "share of the corrupted teacher", "undefined rows"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, arm in sorted(setting["arms"].items(), key=lambda item: item[1]["corrupted"]["loss"]["mean"]):
        cells = [name]
        for condition in CONDITIONS:
            cells.append(_with(arm[condition]["loss"]["mean"], arm[condition]["loss"]["interval"], sign=False))
        cells.append(_with(arm["damage"]["loss"]["mean"], arm["damage"]["loss"]["interval"]))
        if error:
            cells += [f"{100 * arm[c]['error']['mean']:.1f} %" for c in CONDITIONS]
        cells += [f"{arm[c]['mixture']['loss']:.3f}" if "mixture" in arm[c] else "" for c in CONDITIONS]
        share = "" if name == "hard labels" else " → ".join(f"{arm[c]['shares'][victim]:.3f}" for c in CONDITIONS)
        lost = " → ".join(f"{100 * arm[c]['undefined']:.2g} %" for c in CONDITIONS)
        cells += [share, lost if any(arm[c]["undefined"] for c in CONDITIONS) else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _with(value: float, interval: list[float], sign: bool = True) -> str:
    show = _signed if sign else "{:.3f}".format
    return f"{show(value)} [{show(interval[0])}, {show(interval[1])}]"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
