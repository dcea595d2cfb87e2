"""What is wrong with a recipe, told before it is trained, in seconds.

The checks go from the data to the network, its scores, its gradients and its learning rate, so that what others follow
from comes first. Nothing is written, and the process is left as it was found.
"""

from __future__ import annotations

from collections.abc import Generator

from assay.data.batches import batch_bounds
from assay.data.load import load_source
from assay.data.survey import Step
from assay.diagnosis.before.bench import Bench, lay_out
from assay.diagnosis.before.classes import imbalance, labels_at_random, missing_classes
from assay.diagnosis.before.copies import looking_for_copies
from assay.diagnosis.before.gradients import fading, unreached, update_ratio
from assay.diagnosis.before.inputs import input_scale, scales, split_shift
from assay.diagnosis.before.memorise import memorise_one_batch, memorising
from assay.diagnosis.before.rate import learning_rate, trying_rates
from assay.diagnosis.before.scores import batch_leak, constant_scores, initial_loss, squashed_scores, untrained
from assay.diagnosis.before.units import idle_units, traced
from assay.diagnosis.before.weights import equal_units, nothing_to_train
from assay.diagnosis.finding import Finding, worst_first
from assay.errors import AssayError
from assay.recipe.hardware import settled
from assay.recipe.schema import FittedAtOnce, NoAveraging, Recipe
from assay.training.isolation import isolated, torch_device
from assay.training.prepare import prepare_data

OF_DATA = {
    "class_missing": "every class is in training",
    "class_imbalance": "classes are of like size",
    "inputs": "inputs are finite and of unit size",
    "split_shift": "validation and test inputs are scaled as those of training",
    "constant_images": "no image is blank",
    "contradicting_labels": "equal images have equal labels",
    "split_leak": "no held-out image is a training image",
    "near_copies": "none is nearly one",
    "labels_at_random": "images say something of their labels",
}
OF_THE_NETWORK = {
    "network_breaks": "the network runs",
    "initial_loss": "the untrained loss is that of knowing nothing",
    "softmax_twice": "the network ends in no softmax",
    "squashed_scores": "nor in a sigmoid or tanh",
    "last_relu": "nor in a ReLU",
    "constant_scores": "scores depend on the input",
    "batch_leak": "and on no other example of the batch",
    "dead_units": "units fire",
    "saturated_units": "units are not saturated",
}
OF_TRAINING = {
    "frozen_everything": "something is trained",
    "equal_units": "units start different",
    "memorise_one_batch": "a handful of examples can be learned by heart",
    "zeroed_input": "better than without images",
    "gradients_reach_every_layer": "gradients reach every layer",
    "unused_parameters": "every layer is used",
    "fading_gradients": "gradients do not fade on the way",
    "update_ratio": "steps are of a sane size",
    "learning_rate": "the learning rate is within two orders of magnitude of what a sweep finds",
}
"""Every rule, with what it asks for: what was found in order where there is no finding."""


def checks_of(recipe: Recipe) -> dict[str, str]:
    """The rules that a recipe is held against: of a model that is fitted at once those of data, and of one that is not
    to be trained not those of training."""
    if isinstance(recipe.model, FittedAtOnce):
        return OF_DATA
    if recipe.train.epochs == 0:
        return {**OF_DATA, **OF_THE_NETWORK}
    return {**OF_DATA, **OF_THE_NETWORK, **OF_TRAINING}


def examine(recipe: Recipe, device: str = "cpu") -> tuple[Finding, ...]:
    """What is wrong with a recipe, worst first; nothing is trained for longer than seconds.

    Raises:
        InputError: the recipe does not fit its data or its model.
    """
    work = examining(recipe, device)
    while True:
        try:
            next(work)
        except StopIteration as end:
            findings: tuple[Finding, ...] = end.value
            return findings


def examining(recipe: Recipe, device: str = "cpu") -> Generator[Step, None, tuple[Finding, ...]]:
    """The same as `examine`, telling how far it is. As long as it is under way the process computes as a run does.

    Raises:
        InputError: the recipe does not fit its data or its model.
    """
    where = torch_device(device)
    recipe = _by_torch(settled(recipe, device))
    with isolated(threads=recipe.train.threads, seed=recipe.seed, device=where):
        yield Step(doing="reading the data", done=0, total=1)
        examples = load_source(recipe.data)
        findings = missing_classes(examples)
        if findings:
            return tuple(findings)
        data = prepare_data(recipe, where)
        found = scales(data, recipe.seed)
        findings += [*imbalance(data), *input_scale(recipe, data, found), *split_shift(found)]
        yield Step(doing="labels", done=0, total=1)
        findings += labels_at_random(data, recipe.seed)
        findings += yield from looking_for_copies(examples, data, recipe.seed)
        finite = all(scale.finite for scale in found.values())
        if not isinstance(recipe.model, FittedAtOnce) and finite:
            bench = lay_out(recipe, data, where)
            try:
                findings += yield from _of_the_network(bench)
            except AssayError:
                raise
            except Exception as error:  # noqa: BLE001 - a network may raise whatever it likes
                findings.append(_broken(error))
    return worst_first(findings)


def _broken(error: Exception) -> Finding:
    return Finding(
        rule="network_breaks",
        severity="severe",
        title="The network breaks",
        seen=f"With training examples it raised {type(error).__name__}: {str(error).partition(chr(10))[0][:300]}.",
        why="Training would end with the same error; nothing more of the network could be examined.",
        cause="Its code, which works for a batch of zeros in evaluation mode.",
        cure="Run it in training mode on a batch of the data, in a debugger.",
    )


def _of_the_network(bench: Bench) -> Generator[Step, None, list[Finding]]:
    yield Step(doing="the untrained network", done=0, total=1)
    trains = bench.recipe.train.epochs > 0
    findings = [*nothing_to_train(bench), *equal_units(bench)] if trains else []
    first = untrained(bench)
    findings += [*initial_loss(bench, first), *squashed_scores(bench, first), *constant_scores(bench, first)]
    findings += [*batch_leak(bench), *idle_units(bench, traced(bench))]
    if trains and any(parameter.requires_grad for parameter in bench.network.parameters()):
        findings += yield from _of_training(bench)
    return findings


def _of_training(bench: Bench) -> Generator[Step, None, list[Finding]]:
    found = yield from memorising(bench)
    findings = memorise_one_batch(bench, found)
    train, section = bench.data.splits["train"], bench.recipe.train
    steps = section.epochs * len(batch_bounds(len(train), section.batch_size))
    findings += [*unreached(found.own), *fading(bench, found.own)]
    of_rate = learning_rate(bench, (yield from trying_rates(bench))) if found.learned else []
    return findings + (of_rate or update_ratio(bench, found.own, steps))  # which would say the same with less evidence


def _by_torch(recipe: Recipe) -> Recipe:
    """The same network and optimizer, whichever engine is to train them; an average would only trail behind."""
    train = recipe.train.model_copy(update={"engine": "torch"})
    return recipe.model_copy(update={"train": train, "averaging": NoAveraging(name="none")})
