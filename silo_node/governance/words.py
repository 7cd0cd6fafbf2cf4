"""A plan in plain words, for the one who answers for the patients: what is trained, on whom, what leaves, what it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from privacy.guarantee import guarantee_of, score_releases
from protocol.plan import Plan
from protocol.plan.about_code import about, stands_for
from protocol.plan.code import PREFIX
from protocol.plan.privacy import PatientPrivacy


@dataclass(frozen=True)
class Line:
    """One question and its answer. `loud`: the answer deserves a second look."""

    question: str
    answer: str
    loud: bool = False


def plain_words(plan: Plan) -> tuple[Line, ...]:
    """What `plan` would do at a hospital, one line a question. Raises PlanError if no noise keeps what it promises."""
    return (_goal(plan), _data(plan), _training(plan), *_code(plan), *_leaves(plan), _privacy(plan), _together(plan))


def _goal(plan: Plan) -> Line:
    kinds = ", ".join(plan.task.names)
    use = f" Intended use: {plan.intended_use}" if plan.intended_use else ""
    return Line("What is learned?", f"{plan.title or plan.name}: to tell {kinds} apart in an image.{use}")


def _data(plan: Plan) -> Line:
    split = plan.data.split
    shares = f"{split.validation_fraction:.0%} of the patients validate, {split.test_fraction:.0%} are tested, the others train"
    parts = "the store's own fold column decides who trains, validates and is tested" if split.use_fold_column else shares
    return Line(
        "On which images?", f"Every image of the cohort whose label {plan.task.target!r} is one of the classes; {parts}."
    )


def _training(plan: Plan) -> Line:
    training = plan.training
    steps, passes = training.local_steps, training.local_epochs or 1
    work = f"{steps} step{'s' * (steps != 1)}" if steps else f"{passes} pass{'es' * (passes != 1)} over the images"
    network, rounds = plan.network.name.removeprefix(PREFIX), plan.federation.rounds
    return Line(
        "What is computed here?", f"{network} is trained in {rounds} rounds of {work} each. Images stay in the hospital."
    )


def _code(plan: Plan) -> tuple[Line, ...]:
    if plan.code is None:
        return ()
    brings = (
        f"Yes: {about(plan.code)}. It stands for {stands_for(plan)}. Its text is part of what you approve: one letter changed, "
        "and it is another plan. Read it whole, or have someone read it who writes such programs."
    )
    apart = (
        "It runs apart, without network, files, keys and ledger, with limited memory and time; all that comes back is numbers. "
    )
    private = isinstance(plan.privacy, PatientPrivacy)
    if private:
        can = (
            "Each time it sees one patient and is then ended, and what it computes is cut to size and noised outside of it. "
            f"So a patient pays at most epsilon {guarantee_of(plan).epsilon:.3g}, whatever the program computes, as far as "
            "this machine keeps its processes apart. It can make the model useless."
        )
    else:
        can = (
            "But it sees the images, and the numbers leave. A program that means harm could carry images out in them, "
            "disguised as the change of the model or as scores, and nothing here would notice. Only differential privacy "
            "rules that out."
        )
    return (
        Line("Does it bring a program of its own?", brings, loud=True),
        Line("What can that program do?", apart + can, loud=not private),
    )


def _leaves(plan: Plan) -> tuple[Line, ...]:
    secure, private = plan.privacy.secure_aggregation, isinstance(plan.privacy, PatientPrivacy)
    if secure:
        update = "The change of the model's weights, masked: the aggregator can read the sum over hospitals and no single one."
    else:
        update = "The change of the model's weights, which the aggregator can read for this hospital alone."
    lines = [Line("What leaves each round?", update, loud=not secure and not private)]
    releases = score_releases(plan)
    asked = plan.evaluation
    models = (
        1 + asked.alone + (asked.personalise != "none") + (asked.recalibrate != "none") + (asked.site_threshold is not None)
    )
    times = f"{_times(releases['validation'])} on validation patients, {_times(releases['test'] * models)} on test patients"
    how = "with noise" if private else "exact"
    whose = "only summed over hospitals" if plan.evaluation.scores == "summed" else "for this hospital"
    lines.append(Line("Which figures leave?", f"How the model scores, as counts, {how}, {whose}: {times}.{_audit(plan)}"))
    if not private:
        counts = (
            "How many patients and images there are in each part, and of each class; scanner makers that ten patients share."
        )
        lines.append(Line("What is told of the cohort?", counts))
    return tuple(lines)


def _audit(plan: Plan) -> str:
    audit = plan.evaluation.audit
    if audit is None:
        return ""
    named = [*audit.attributes, *(" with ".join(parts) for parts in audit.intersections)]
    summed = "summed over hospitals" if plan.privacy.secure_aggregation else "for this hospital"
    told = f" At the end the test is counted by {', '.join(named)}, {summed}; cells below {audit.smallest_cell} are not shown."
    if audit.compare_with is None:
        return told
    return f"{told} A second model, the file {audit.compare_with[:19]}, is scored on the same images: ask whose it is."


def _privacy(plan: Plan) -> Line:
    guarantee = guarantee_of(plan)
    if math.isinf(guarantee.epsilon):
        return Line(
            "What does it cost a patient?",
            "Epsilon is infinite: there is no differential privacy. The finished model may reveal who was in it.",
            loud=True,
        )
    notes = "".join(f" {note}" for note in guarantee.notes)
    text = f"At most epsilon {guarantee.epsilon:.3g} at delta {guarantee.delta:g} ({guarantee.mechanism} noise).{notes}"
    return Line("What does it cost a patient?", text, loud=bool(guarantee.notes))


def _together(plan: Plan) -> Line:
    least = plan.federation.quorum
    hospitals = "one hospital" if least == 1 else f"{least} hospitals"
    return Line("With whom?", f"At least {hospitals} must send their part, or a round does not count.")


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")
