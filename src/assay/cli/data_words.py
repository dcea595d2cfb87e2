"""What `assay data stats` and `assay data check` say on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from assay.cli.words import counted, visible

if TYPE_CHECKING:
    from assay.data.check import Findings, Pair

_SHOWN = 10
_CLASSES_SHOWN = 20


def print_statistics(source: str, facts: dict[str, Any]) -> None:
    """The statistics of a data set, with the digits that matter."""
    split = "training split" if facts["split"] == "train" else "all examples"
    size = _side(facts["size"]) or (
        f"{_side(facts['smallest'])} to {_side(facts['largest'])}" if facts["smallest"] else "points"
    )
    click.echo(
        f"{visible(source)}, {split}: {facts['count']:,} examples, {size}, {counted(facts['channels'], 'channel')}"
    )
    unit = " (pixels scaled to 0–1)" if facts["smallest"] else ""
    click.echo(f"  mean                {_numbers(facts['mean'])}{unit}")
    click.echo(f"  standard deviation  {_numbers(facts['std'])}")
    names, counts = facts["classes"], facts["counts"]
    click.echo(f"\n{len(names)} classes:")
    width = max(len(name) for name in names[:_CLASSES_SHOWN])
    click.echo("  " + " " * width + "".join(f"{split:>9}" for split in counts))
    for label, name in enumerate(names[:_CLASSES_SHOWN]):
        click.echo(f"  {visible(name):<{width}}" + "".join(f"{of[label]:>9,}" for of in counts.values()))
    _more(len(names), _CLASSES_SHOWN)
    _listed("Left out", facts["skipped"])


def _numbers(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:.6f}" for value in values[:_SHOWN])
    return shown + (f" and {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else "")


def _side(side: Sequence[int] | None) -> str:
    return f"{side[0]} × {side[1]}" if side else ""


def print_findings(source: str, findings: Findings) -> None:
    """Everything found, section by section, the first ten of each."""
    survey = findings.survey
    counts = findings.counts()
    splits = ", ".join(f"{sum(of):,} {split}" for split, of in counts.items())
    click.echo(
        f"{visible(source)}: {counted_commas(len(survey.names_N), 'image')} in {len(survey.classes)} classes ({splits})"
    )
    _print_pairs("Equal images", findings, findings.exact, "=")
    _print_pairs("Nearly equal images", findings, findings.near, "≈")
    if findings.near_above:
        click.echo(
            f"  So many pairs are alike that only the most alike, above {findings.near_above:.3f}, are kept: images of "
            "one kind, such as\n  drawings, are hard to tell from copies."
        )
    large = sorted((cluster for cluster in findings.clusters if len(cluster) > 2), key=len, reverse=True)
    if large:
        click.echo(f"  {counted_commas(len(large), 'group')} of three or more; the largest has {len(large[0]):,}.")
    conflicts = [pair for pair in findings.pairs if findings.conflicting(pair)]
    _listed("Label conflicts", [_pair(findings, pair, "=" if pair.exact else "≈") for pair in conflicts], none="none")
    _print_classes(findings)
    _print_sizes(findings)
    _listed("Unreadable files", [f"{name}: {why}" for name, why in survey.unreadable.items()], none="none")
    _listed("Images of one value throughout", [survey.names_N[at] for at in findings.constant()], none="none")
    _listed("Remarks", survey.remarks)


def _print_pairs(title: str, findings: Findings, pairs: Sequence[Pair], sign: str) -> None:
    across = sum(map(findings.across_splits, pairs))
    conflicts = sum(map(findings.conflicting, pairs))
    what = f"{counted_commas(len(pairs), 'pair')}, {across:,} across splits, {conflicts:,} with two labels"
    click.echo(f"\n{title}: {what if pairs else 'none'}")
    worst = sorted(pairs, key=lambda pair: not findings.across_splits(pair))  # what spoils a test comes first
    for pair in worst[:_SHOWN]:
        click.echo(f"  {_pair(findings, pair, sign)}")
    _more(len(pairs))


def _pair(findings: Findings, pair: Pair, sign: str) -> str:
    survey = findings.survey
    notes = [f"{pair.similarity:.2f}"] if not pair.exact else []
    notes += ["mirrored"] if pair.mirrored else []
    if findings.across_splits(pair):
        notes.append(f"{survey.splits_N[pair.first]} and {survey.splits_N[pair.second]}")
    if findings.conflicting(pair):
        first, second = (survey.classes[int(survey.labels_N[at])] for at in (pair.first, pair.second))
        notes.append(f"labels {first} and {second}")
    text = f"{survey.names_N[pair.first]} {sign} {survey.names_N[pair.second]}"
    return visible(f"{text}  ({', '.join(notes)})" if notes else text)


def _print_classes(findings: Findings) -> None:
    from assay.data.check import MOST_IMBALANCE

    totals = [sum(of) for of in zip(*findings.counts().values(), strict=True)]
    names = findings.survey.classes
    small, large = totals.index(min(totals)), totals.index(max(totals))
    ratio = findings.imbalance()
    click.echo(
        f"\nClasses: from {totals[small]:,} images ({visible(names[small])}) to {totals[large]:,} "
        f"({visible(names[large])}), a ratio of {ratio:.3g}"
    )
    if ratio > MOST_IMBALANCE:
        click.echo(f"  Imbalanced: above {MOST_IMBALANCE:g}, accuracy says little of small classes.")
    for split, name in findings.absent()[:_SHOWN]:
        click.echo(f"  {visible(name)} has no image in {split}")
    _more(len(findings.absent()))


def _print_sizes(findings: Findings) -> None:
    sizes = findings.sizes()
    sides = [side for side, _ in sizes]
    if len(sides) == 1:
        click.echo(f"\nSizes: all {_side(sides[0])} (height × width)")
        return
    smallest, largest = (choose(sides, key=lambda side: side[0] * side[1]) for choose in (min, max))
    most, count = sizes[0]
    click.echo(
        f"\nSizes: {len(sides):,} different, {_side(smallest)} to {_side(largest)} (height × width); "
        f"most often {_side(most)}, {counted_commas(count, 'image')}"
    )
    odd = findings.odd_aspects
    if odd:
        click.echo(
            f"  {counted_commas(len(odd), 'image')} of unusual shape, which cropping to the usual one would halve:"
        )
        for at in odd[:_SHOWN]:
            click.echo(f"    {visible(findings.survey.names_N[at])}: {_side(findings.survey.sizes_N2[at].tolist())}")
        _more(len(odd), indent="    ")


def _listed(title: str, lines: Sequence[str], none: str = "") -> None:
    if not lines:
        if none:
            click.echo(f"\n{title}: {none}")
        return
    click.echo(f"\n{title}: {len(lines):,}")
    for line in lines[:_SHOWN]:
        click.echo(f"  {visible(line)}")
    _more(len(lines))


def _more(total: int, shown: int = _SHOWN, indent: str = "  ") -> None:
    if total > shown:
        click.echo(f"{indent}… and {total - shown:,} more")


def counted_commas(number: int, what: str) -> str:
    """A number of things, thousands separated: ``1 pair``, ``1,277 pairs``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
