"""Whether the network can learn a handful of examples by heart, and whether its own optimizer does it.

Karpathy (2019) and the cs231n notes ask for it before anything else: what cannot fit twenty examples will not fit
twenty thousand. Augmentation, dropout, label smoothing and penalties are off. The same first steps show which
parameters gradients reach, and by how much a step changes them.

Shape key: B examples in the batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from torch import nn
from torch.optim import Optimizer

from assay.data.batches import Batch
from assay.data.survey import Step
from assay.diagnosis.before.bench import Bench, entropy
from assay.diagnosis.finding import Chart, Finding, Series, Severity
from assay.recipe.schema import AdamOptimizer, SquaredErrorLoss
from assay.recipe.schema import Optimizer as OptimizerSection
from assay.records import StepRecord
from assay.training.loop import train
from assay.training.losses import build_loss
from assay.training.optimizers import build_optimizer, scaled_rate
from assay.training.penalties import Penalty
from assay.training.schedules import FixedSchedule

MOST_EXAMPLES, FEWEST_EXAMPLES = 32, 8
MOST_STEPS, FEWEST_STEPS = 200, 40
"""Of the own optimizer; Adam gets `PATIENCE` times as many, for what it fails at is laid to the network."""
PATIENCE = 3
SECONDS = 2.0
"""Work of one attempt, as far as the fewest examples and steps allow."""
ADAM_RATES = (1e-3, 1e-2, 1e-4)
"""In the order tried; the usual one first, and an order of magnitude to both sides."""
LEARNED = 0.1
"""Of the entropy of the batch's labels: with ten classes the right one then has 80 % of the probability."""
SLOW, STUCK = 0.25, 0.5
"""Of the same: above the first the batch was not learned, above the second no attempt came anywhere."""
NO_BETTER = 0.98
"""Of the same, which is what can be reached with the inputs zeroed."""
MOVED = 0.02
"""Share of its first value by which the own optimizer's loss must fall, to count as moving at all."""
_IN_A_ROW = 3
"""Steps at which every example is right, before that counts."""
_WATCHED = 5
"""Steps whose gradients and changes are looked at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attempt:
    """An attempt to learn a batch by heart.

    Attributes:
        losses: cross-entropy at each step, before it.
        learned: whether every example was right, with a loss near 0.
        first_gradients: norm of each trainable parameter's gradient at the first step; not-a-number if there is none.
        reached: whether a parameter ever had a gradient that is finite and not zero, in the first steps.
        updates: norm of the first steps' changes over that of the weights, of tensors of two dimensions or more.
        called: parameters of modules that took part.
        weight_norms: of tensors of two dimensions or more, as they start.
    """

    rate: float
    losses: tuple[float, ...]
    learned: bool
    first_gradients: dict[str, float] = field(default_factory=dict)
    reached: dict[str, bool] = field(default_factory=dict)
    updates: dict[str, list[float]] = field(default_factory=dict)
    called: frozenset[str] = frozenset()
    weight_norms: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> float:
        return min((loss for loss in self.losses if math.isfinite(loss)), default=math.inf)


def size_of_attempt(bench: Bench) -> tuple[int, int]:
    """Examples and steps."""
    total = bench.affordable(SECONDS)
    examples = max(FEWEST_EXAMPLES, min(MOST_EXAMPLES, total // MOST_STEPS, len(bench.data.splits["train"])))
    return examples, max(FEWEST_STEPS, min(MOST_STEPS, total // examples))


def attempting(bench: Bench, batch: Batch, section: OptimizerSection, steps: int) -> Generator[Step, None, Attempt]:
    """Train a fresh network on one batch, at the constant rate of the optimizer section.

    Args:
        bench: whose network.
        batch: what to learn by heart.
        section: the optimizer; its rate is that of the recipe's batches.
        steps: at most.
    """
    model, labels_B = bench.fresh(), batch[1]
    rate = scaled_rate(section, bench.recipe.train.batch_size)
    near_zero = LEARNED * entropy(labels_B, bench.classes)
    if isinstance(bench.recipe.loss, SquaredErrorLoss):
        near_zero = math.inf  # the cross-entropy of scores that fit it stays well above 0
    watch = _Watch(model)
    losses: list[float] = []
    right_in_a_row, learned = 0, False
    for record in _steps_on(bench, model, batch, build_optimizer(section, model), rate, steps):
        losses.append(record.loss)
        watch.after(record.step)
        right_in_a_row = right_in_a_row + 1 if record.correct == len(labels_B) else 0
        learned = right_in_a_row >= _IN_A_ROW and record.loss < near_zero
        yield Step(doing="one batch by heart", done=record.step + 1, total=steps)
        if learned and record.step >= _WATCHED:
            break
    watch.close()
    return Attempt(
        rate=rate,
        losses=tuple(losses),
        learned=learned,
        first_gradients=watch.first_gradients,
        reached=watch.reached,
        updates=watch.updates,
        called=frozenset(watch.called),
        weight_norms=watch.weight_norms,
    )


def _steps_on(
    bench: Bench, model: nn.Module, batch: Batch, optimizer: Optimizer, rate: float, steps: int
) -> Iterator[StepRecord]:
    """Steps on one and the same batch, without penalties."""
    ramp, recipe = ramp_steps(bench, steps), bench.recipe
    return train(
        model,
        ((batch[0].clone(), batch[1]) for _ in range(steps)),  # a model may write to what it is given
        optimizer,
        FixedSchedule(lambda step: rate * min(1.0, (step + 1) / (ramp + 1))),
        build_loss(recipe.loss.model_copy(update={"label_smoothing": 0.0})),
        Penalty(model, l1=0.0, l2=0.0),
        bench.arithmetic(),
        clip_norm=recipe.train.clip_norm,
    )


def ramp_steps(bench: Bench, steps: int) -> int:
    """A tenth of the steps where the recipe's own rate rises from near zero, too."""
    schedule = bench.recipe.schedule
    return steps // 10 if schedule.name == "one_cycle" or schedule.warmup_epochs > 0 else 0


class _Watch:
    """Notes what the first steps do to a model."""

    def __init__(self, model: nn.Module) -> None:
        self.first_gradients: dict[str, float] = {}
        self.reached: dict[str, bool] = {}
        self.updates: dict[str, list[float]] = {}
        self.called: set[str] = set()
        self._trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._before = {name: p.detach().clone() for name, p in self._trained.items()}
        self.weight_norms = {name: float(p.norm()) for name, p in self._before.items() if p.ndim >= 2}
        self._hooks = [
            module.register_forward_pre_hook(lambda _module, _args, name=name: self._call(name, _module))
            for name, module in model.named_modules()
        ]

    def _call(self, name: str, module: nn.Module) -> None:
        dot = "." if name else ""
        self.called.update(name + dot + own for own, _ in module.named_parameters(recurse=False))

    def after(self, step: int) -> None:
        if step >= _WATCHED:
            return
        for name, parameter in self._trained.items():
            gradient = parameter.grad
            norm = math.nan if gradient is None else float(gradient.norm())
            if step == 0:
                self.first_gradients[name] = norm
                self.close()
            self.reached[name] = self.reached.get(name, False) or (math.isfinite(norm) and norm > 0.0)
            if parameter.ndim >= 2:
                now, before = parameter.detach(), self._before[name]
                size = float(before.norm())
                if size > 0.0:
                    self.updates.setdefault(name, []).append(float((now - before).norm()) / size)
                self._before[name] = now.clone()

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


@dataclass(frozen=True, kw_only=True, eq=False)
class Memorised:
    """What attempts came to: with the recipe's own optimizer, and with Adam where that failed."""

    batch: Batch
    own: Attempt
    others: tuple[Attempt, ...] = ()

    @property
    def learned(self) -> bool:
        return self.own.learned or any(attempt.learned for attempt in self.others)

    @property
    def best(self) -> float:
        return min(attempt.best for attempt in (self.own, *self.others))


def memorising(bench: Bench) -> Generator[Step, None, Memorised]:
    """Attempts until one succeeds: that with the own optimizer, then with Adam at several rates."""
    examples, steps = size_of_attempt(bench)
    batch = bench.few(examples)
    section = bench.recipe.optimizer
    update = {"weight_decay": 0.0} if hasattr(section, "weight_decay") else {}
    own = yield from attempting(bench, batch, section.model_copy(update=update), steps)
    others: list[Attempt] = []
    for rate in () if own.learned else ADAM_RATES:
        others.append((yield from attempting(bench, batch, AdamOptimizer(name="adam", lr=rate), PATIENCE * steps)))
        if others[-1].learned:
            break
    return Memorised(batch=batch, own=own, others=tuple(others))


def memorise_one_batch(bench: Bench, found: Memorised) -> list[Finding]:
    """Whether a handful of examples could be learned, and if not, whether that lies with the optimizer."""
    if found.own.learned:
        return []
    learned = next((attempt for attempt in found.others if attempt.learned), None)
    if learned is not None:
        return _optimizer_fails(bench, found, learned)
    share = found.best / entropy(found.batch[1], bench.classes)
    if share >= NO_BETTER:
        return [_input_ignored(bench, found)]
    if share <= SLOW:
        return []
    return [_cannot_learn(bench, found, "severe" if share > STUCK else "warning")]


def _optimizer_fails(bench: Bench, found: Memorised, learned: Attempt) -> list[Finding]:
    own, section = found.own, bench.recipe.optimizer
    finite = math.isfinite(own.losses[-1])
    fell = 1.0 - own.best / own.losses[0] if math.isfinite(own.losses[0]) else 0.0
    if finite and fell > MOVED:
        return []  # it learns, if slowly; whether its rate is right is asked elsewhere
    how = f"went from {own.losses[0]:.3g} to {own.losses[-1]:.3g}" if finite else "was no longer finite"
    return [
        Finding(
            rule="memorise_one_batch",
            severity="warning",
            title="The optimizer cannot learn a handful of examples that Adam learns",
            seen=f"On {len(found.batch[1])} training examples, the loss {how} in {len(own.losses)} steps of "
            f"{section.name} "
            f"at rate {own.rate:g}; with Adam at rate {learned.rate:g} all were right after {len(learned.losses)}.",
            why="The network can learn them, so what is in the way is how it is trained.",
            cause="A learning rate that is far too low or too high for this optimizer.",
            cure="Try assay lr for a rate, or Adam.",
            changes={"optimizer": {"name": "adam", "lr": learned.rate}},
            chart=_chart(found),
        )
    ]


def _cannot_learn(bench: Bench, found: Memorised, severity: Severity) -> Finding:
    return Finding(
        rule="memorise_one_batch",
        severity=severity,
        title="The network cannot learn a handful of examples by heart",
        seen=f"On {len(found.batch[1])} training examples, without augmentation, dropout and penalties, the loss "
        f"stayed at {found.best:.3g} or more in {_tries(found)}; knowing the classes' shares alone gives "
        f"{entropy(found.batch[1], bench.classes):.3g}.",
        why="What cannot fit a handful of examples will not fit all of them.",
        cause="A last layer that bounds the scores, dead units, frozen layers, a gradient that is cut, or initial "
        "weights that are far off scale.",
        cure="Mend what other findings name first; else leave layers out until the batch is learned.",
        chart=_chart(found),
    )


def _input_ignored(bench: Bench, found: Memorised) -> Finding:
    floor = entropy(found.batch[1], bench.classes)
    return Finding(
        rule="zeroed_input",
        severity="severe",
        title="The network learns no more with images than without",
        seen=f"On {len(found.batch[1])} training examples its loss stayed at {found.best:.3g} or more in "
        f"{_tries(found)}; with every input zeroed {floor:.3g} can be reached, by the classes' shares alone.",
        why="Nothing it learns has to do with the images.",
        cause="Units that are all dead or equal, frozen layers, a gradient that is cut, or an input that is not used.",
        cure="Mend what other findings name first; else follow one image through the layers: assay inspect lists them.",
        chart=_chart(found),
    )


def _tries(found: Memorised) -> str:
    steps = len(found.own.losses)
    return (
        f"{steps} steps of its optimizer, and of Adam at rates {', '.join(f'{other.rate:g}' for other in found.others)}"
    )


def _chart(found: Memorised) -> Chart:
    named = [("own optimizer", found.own), *((f"adam {other.rate:g}", other) for other in found.others)]
    series = tuple(
        Series(name=name, x=tuple(map(float, range(1, len(one.losses) + 1))), y=one.losses) for name, one in named
    )
    return Chart(x="step", y="loss", series=series)
