"""How often the doctor is right about finished runs: trains the bank, diagnoses it, and scores every finding.

    python benchmarks/doctor_bank/bank.py --store bank-runs --jobs 2

Runs that the store has are not trained again. Prints precision and recall for each rule and part, the share of healthy
runs without a severe finding, and what each fault was called. Needs MNIST, CIFAR-10, and, as folders, 100 classes of
Tiny ImageNet (``tiny-imagenet-100``) and the 15 scenes (``scene15-160``), in $ASSAY_DATA.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cases import Case, every_case
from truth import CONSEQUENCES, EXPECTED, MEASURED, Fact, facts_of
from units import facts_of_units

from assay.diagnosis.run import RULES, diagnose
from assay.errors import AssayError
from assay.recipe.schema import Recipe
from assay.run_names import fingerprint_now
from assay.studies.store.contract import StoredRun
from assay.studies.store.folder import FolderStore


def train(recipe: Recipe, store: Path) -> float:
    """Train one run into the store; its seconds."""
    sys.path.insert(0, str(Path(__file__).parent))
    from assay.training.run import run_recipe

    since = time.perf_counter()
    FolderStore(store).add(run_recipe(recipe, fingerprint=fingerprint_now(recipe)))
    return time.perf_counter() - since


def bank_runs(cases: tuple[Case, ...], store: Path, jobs: int) -> dict[str, StoredRun]:
    """Every case with its stored run, trained if it was missing."""
    recipes = {case.name: Recipe.model_validate(case.recipe) for case in cases}
    names = {name: fingerprint_now(recipe) for name, recipe in recipes.items()}
    keeper = FolderStore(store)
    missing = [name for name in recipes if keeper.get(names[name]) is None]
    with ProcessPoolExecutor(jobs) as pool:
        futures = {pool.submit(train, recipes[name], store): name for name in missing}
        for done, future in enumerate(as_completed(futures), start=1):
            try:
                seconds = future.result()
            except AssayError as error:
                pool.shutdown(wait=False, cancel_futures=True)
                raise SystemExit(f"{futures[future]}: {error}") from error
            print(f"[{done}/{len(missing)}] {futures[future]}: {seconds:.0f} s", file=sys.stderr, flush=True)
    found = {name: keeper.get(fingerprint) for name, fingerprint in names.items()}
    return {name: run for name, run in found.items() if run is not None}


@dataclass
class Score:
    """Of one rule in one part: findings that were right and wrong, and those that had to be there."""

    right: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    found: int = 0


def score(case: Case, run: StoredRun, scores: dict[str, Score]) -> set[str]:
    """Add one run to the scores; the rules of its findings."""
    findings = {finding.rule for finding in diagnose(run)}
    facts = facts_of(run, case.fault) | facts_of_units(run)
    expected = EXPECTED.get(case.fault, ())
    named = frozenset().union(*expected) | CONSEQUENCES.get(case.fault, frozenset())
    for rule in findings:
        fact = facts.get(rule, Fact(right=False)) if rule in MEASURED else Fact(right=rule in named)
        right = True if rule in named else fact.right
        if right is not None:
            (scores[rule].right if right else scores[rule].wrong).append(case.name)
    for alternatives in expected:
        _count(findings & alternatives, sorted(alternatives)[0], case.name, scores, alternatives)
    settled = frozenset().union(*expected)
    for rule, fact in facts.items():
        if fact.must and rule not in settled:
            _count(findings & {rule}, rule, case.name, scores, frozenset({rule}))
    return findings


def _count(hit: set[str], rule: str, name: str, scores: dict[str, Score], alternatives: frozenset[str]) -> None:
    if hit:
        scores[sorted(hit)[0]].found += 1
    else:
        scores[rule].missed.append(f"{name} (none of {', '.join(sorted(alternatives))})")


def print_part(part: str, scores: dict[str, Score]) -> None:
    print(f"\n{part}\n{'rule':32}{'right':>7}{'wrong':>7}{'precision':>11}{'found':>7}{'missed':>8}{'recall':>8}")
    total = Score()
    for rule in sorted(scores):
        one = scores[rule]
        print(_row(rule, one))
        total.right += one.right
        total.wrong += one.wrong
        total.missed += one.missed
        total.found += one.found
    print(_row("all together", total))
    for rule, one in sorted(scores.items()):
        for name in one.wrong:
            print(f"  wrong   {rule}: {name}")
        for name in one.missed:
            print(f"  missed  {rule}: {name}")


def _row(name: str, one: Score) -> str:
    told, asked = len(one.right) + len(one.wrong), one.found + len(one.missed)
    precision = f"{len(one.right) / told:.2f}" if told else "–"
    recall = f"{one.found / asked:.2f}" if asked else "–"
    return (
        f"{name:32}{len(one.right):>7}{len(one.wrong):>7}{precision:>11}{one.found:>7}{len(one.missed):>8}{recall:>8}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("bank-runs"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--part", choices=["tuning", "held_out"], help="this part alone")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    asked = parser.parse_args()
    cases = tuple(case for case in every_case() if asked.only in case.name and asked.part in (None, case.part))
    runs = bank_runs(cases, asked.store, asked.jobs)
    scores: dict[str, dict[str, Score]] = defaultdict(lambda: defaultdict(Score))
    severe: Counter[tuple[str, bool]] = Counter()
    for case in cases:
        findings = score(case, runs[case.name], scores[case.part])
        worst = [finding for finding in diagnose(runs[case.name]) if finding.severity == "severe"]
        if case.fault == "none":
            severe[case.part, bool(worst)] += 1
        accuracy = runs[case.name].record.metrics
        print(
            f"{case.part:9} {case.name:45} train {accuracy['train_accuracy'] or 0:.3f} test "
            f"{accuracy['test_accuracy'] or 0:.3f}  {', '.join(sorted(findings)) or 'nothing'}"
            + (f"  SEVERE {[one.rule for one in worst]}" if case.fault == "none" and worst else "")
        )
    for part, of_part in scores.items():
        print_part(part, of_part)
        healthy = severe[part, False] + severe[part, True]
        print(f"healthy runs without a severe finding: {severe[part, False]} of {healthy}")
    print(f"\n{len(cases)} runs, {len(RULES)} rules")


if __name__ == "__main__":
    main()
