"""The checks of the exercises accept right answers, and name the mistake in wrong ones."""

import importlib
import pkgutil

import pytest
import torch
from checking import assert_broken_is_told, assert_one_stable_line, assert_told

from gbi_helpers import checks
from gbi_helpers.checks import ch01
from gbi_helpers.checks.exercise import NEARLY, Exercise


# -- right answers, written as a student would -----------------------------------------------------------------------
def posterior(x, means, sd, prior):
    log_lik = -((x[:, :, None] - means) ** 2) / (2 * sd**2)
    joint = prior.log() + log_lik.sum(1)
    return joint - joint.logsumexp(1, keepdim=True)


def predict_next(belief, means, hazard):
    jump = torch.full((len(means), len(means)), hazard / (len(means) - 1), dtype=belief.dtype)
    jump.fill_diagonal_(1 - hazard)
    return belief @ jump @ means


def m_step(x, r):
    share = r.sum(0)
    means = x @ r / share
    variance = (r * (x[:, None] - means) ** 2).sum(0) / share
    return means, variance**0.5, share / len(x)


def one_step_by_hand(patterns, x, sd):
    z = torch.full((len(x), len(patterns)), 1 / len(patterns), dtype=x.dtype, requires_grad=True)
    loss = ((x - z @ patterns) ** 2).sum() / (2 * sd**2)
    loss.backward()
    return torch.log_softmax(-z.grad, 1)


def curvature(patterns, sd):
    return -(((patterns - patterns.mean(0)) / sd) ** 2).sum(1) / 2 + 3.0  # a constant is no mistake


RIGHT = {f.__name__: f for f in (posterior, predict_next, m_step, one_step_by_hand, curvature)}


# -- wrong answers: (exercise, the mistake, what the message must speak of) ------------------------------------------
def _log_lik(x, means, sd):
    return -((x[:, :, None] - means) ** 2) / (2 * sd**2)


def product_of_probabilities(x, means, sd, prior):
    joint = prior * _log_lik(x, means, sd).exp().prod(1)
    return (joint / joint.sum(1, keepdim=True)).log()


def half_missing(x, means, sd, prior):
    return torch.log_softmax(prior.log() + 2 * _log_lik(x, means, sd).sum(1), -1)


def gradient_from(start, reduce=torch.sum, sign=-1.0, scale=1.0):
    def answer(patterns, x, sd):
        z = start(len(x), len(patterns)).to(x).requires_grad_()
        loss = reduce((x - z @ patterns) ** 2) / (2 * sd**2) * scale
        return torch.log_softmax(sign * torch.autograd.grad(loss, z)[0], -1)

    return answer


def uniform(batch, tasks):
    return torch.full((batch, tasks), 1 / tasks, dtype=torch.float64)


def exact(patterns, x, sd):
    return torch.log_softmax(-((x[:, None] - patterns) ** 2).sum(-1) / (2 * sd**2), -1)


WRONG = [
    ("posterior", lambda x, m, s, p: torch.log_softmax(_log_lik(x, m, s).sum(1), -1), "prior is missing"),
    ("posterior", lambda x, m, s, p: torch.log_softmax((p.log() + _log_lik(x, m, s)).sum(1), -1), "once per sample"),
    ("posterior", lambda x, m, s, p: torch.log_softmax(p + _log_lik(x, m, s).sum(1), -1), "logarithm of the prior"),
    ("posterior", lambda x, m, s, p: torch.log_softmax(p.log() + _log_lik(x, m, s).mean(1), -1), "Evidence adds up"),
    ("posterior", half_missing, "1/2"),
    ("posterior", lambda x, m, s, p: posterior(x, m, s**0.5, p), "sd squared"),
    ("posterior", lambda x, m, s, p: torch.log_softmax(p.log() - _log_lik(x, m, s).sum(1), -1), "sign"),
    ("posterior", lambda x, m, s, p: torch.log_softmax(p.log() + _log_lik(x, m, s).sum(1), 0), "wrong axis"),
    ("posterior", lambda x, m, s, p: posterior(x, m, s, p).exp(), "return their logarithms"),
    ("posterior", lambda x, m, s, p: p.log() + _log_lik(x, m, s).sum(1), "not normalised"),
    ("posterior", product_of_probabilities, "underflows"),
    ("posterior", lambda x, m, s, p: posterior(x, m, s, p).T, "axes are swapped"),
    ("posterior", lambda x, m, s, p: torch.log_softmax(p.log() + _log_lik(x, m, s), -1), "shape should be"),
    ("posterior", lambda x, m, s, p: posterior(x, m, s, p) * float("nan"), "NaN"),
    ("posterior", lambda x, m, s, p: posterior(x, m, s, p).mul(1e4).round() / 1e4, "Nearly right"),
    ("predict_next", lambda b, m, h: b @ m, "switch is missing"),
    ("predict_next", lambda b, m, h: m[b.argmax(1)], "Average over the contexts"),
    ("predict_next", lambda b, m, h: ((1 - h) * b + h * (1 - b)) @ m, "two contexts only"),
    ("predict_next", lambda b, m, h: ((1 - h) * b + h / len(m)) @ m, "*other* contexts"),
    ("predict_next", lambda b, m, h: predict_next(b, m, 1 - h), "swapped"),
    ("m_step", lambda x, r: ((r * x[:, None]).mean(0), *m_step(x, r)[1:]), "means: Divide by the share"),
    ("m_step", lambda x, r: (x.mean().repeat(r.shape[1]), *m_step(x, r)[1:]), "means: You use every sample alike"),
    ("m_step", lambda x, r: (m_step(x, r)[0], m_step(x, r)[1] ** 2, r.mean(0)), "sds: That is the variance"),
    ("m_step", lambda x, r: (*m_step(x, r)[:2], r.sum(0)), "weights: These are counts"),
    ("m_step", lambda x, r: (m_step(x, r)[0], x.std().repeat(r.shape[1]), r.mean(0)), "sds: You use every sample"),
    ("m_step", lambda x, r: m_step(x, r)[0], "return 3 things"),
    ("m_step", lambda x, r: (m_step(x, r)[0], 1.5 * m_step(x, r)[1], r.mean(0)), "sds: It is always 1.5 times"),
    ("one_step_by_hand", gradient_from(uniform, sign=1.0), "sign"),
    ("one_step_by_hand", gradient_from(torch.zeros), "1/K everywhere"),
    ("one_step_by_hand", gradient_from(torch.ones), "sum to 1"),
    ("one_step_by_hand", gradient_from(lambda b, k: torch.eye(k)[:1].repeat(b, 1)), "corner"),
    ("one_step_by_hand", gradient_from(uniform, torch.mean), "over batch and data"),
    ("one_step_by_hand", gradient_from(uniform, lambda e: e.mean(1).sum()), "evidence is D times too weak"),
    ("one_step_by_hand", gradient_from(uniform, lambda e: e.sum(1).mean()), "B times too small"),
    ("one_step_by_hand", gradient_from(uniform, scale=2.0), "1/2"),
    ("one_step_by_hand", lambda w, x, s: one_step_by_hand(w, x, 1.0), "noise is missing"),
    ("one_step_by_hand", exact, "exact posterior"),
    ("curvature", lambda w, s: -curvature(w, s), "sign"),
    ("curvature", lambda w, s: -((w / s) ** 2).sum(1) / 2, "not from the origin"),
    ("curvature", lambda w, s: 2 * curvature(w, s), "1/2"),
    ("curvature", lambda w, s: curvature(w, s**0.5), "sd squared"),
    ("curvature", lambda w, s: curvature(w, s) / w.shape[1], "sum"),
    ("curvature", lambda w, s: curvature(w, torch.ones_like(s)), "noise is missing"),
    ("curvature", lambda w, s: curvature(w, s).sum(), "shape should be"),
    ("curvature", lambda w, s: w[:, 0], "numbers are wrong"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_prints_one_stable_line(name, capsys):
    assert_one_stable_line(getattr(ch01, name), RIGHT[name], capsys)


@pytest.mark.parametrize(("name", "wrong", "speaks_of"), WRONG, ids=[f"{w[0]}-{w[2]}" for w in WRONG])
def test_a_wrong_answer_is_told_what_is_wrong(name, wrong, speaks_of):
    assert_told(getattr(ch01, name), wrong, speaks_of)


@pytest.mark.parametrize("name", RIGHT)
def test_an_empty_or_broken_answer_is_told_so(name):
    assert_broken_is_told(getattr(ch01, name))


def test_the_caller_is_left_alone():
    """The checks neither draw from the global generator nor depend on the default dtype."""
    state = torch.random.get_rng_state()
    ch01.one_step_by_hand(one_step_by_hand)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.set_default_dtype(torch.float64)
    try:
        for name, right in RIGHT.items():
            getattr(ch01, name)(right)
    finally:
        torch.set_default_dtype(torch.float32)


# -- what holds for the exercises of all chapters --------------------------------------------------------------------
@pytest.fixture(scope="module")
def exercises():
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exercise, "check", lambda self, student: seen.append(self))
        for module in (m for m in pkgutil.iter_modules(checks.__path__) if m.name.startswith("ch")):
            chapter = importlib.import_module(f"gbi_helpers.checks.{module.name}")
            for function in vars(chapter).values():
                if getattr(function, "__module__", "") == chapter.__name__ and not function.__name__.startswith("_"):
                    function(None)
    assert len(seen) >= len(RIGHT)
    return seen


def changed(answer, change):
    """A right answer after ``change`` of each of its tensors that holds no integers."""
    parts = [change(p) if p.is_floating_point() else p for p in (answer if isinstance(answer, tuple) else (answer,))]
    return tuple(parts) if len(parts) > 1 else parts[0]


def told(exercise, student):
    """What the check says of a student's function; empty if it is right."""
    try:
        exercise.check(student)
    except AssertionError as error:
        return str(error)
    return ""


def test_a_right_answer_that_changes_its_input_is_told(exercises):
    def greedy(reference):
        def answer(*inputs):
            found = changed(reference(*inputs), torch.clone)
            for tensor in filter(torch.is_tensor, inputs):
                tensor.add_(1)
            return found

        return answer

    with_tensors = [e for e in exercises if any(map(torch.is_tensor, e.cases[0]))]
    assert len(with_tensors) >= len(exercises) - 1  # norms_at_corners is given a function and a number
    for exercise in with_tensors:
        assert "changes its input" in told(exercise, greedy(exercise.reference)), exercise.name


def test_a_right_answer_in_float32_is_told_of_the_digits_only(exercises):
    def in_float32(reference):
        return lambda *inputs: reference(
            *(i.float() if torch.is_tensor(i) and i.is_floating_point() else i for i in inputs)
        )

    for exercise in exercises:
        says = told(exercise, in_float32(exercise.reference))
        assert not says or NEARLY in says or "RuntimeError" in says, says  # two types in one product


def test_a_right_answer_with_five_digits_is_told_of_the_digits_only(exercises):
    for exercise in exercises:
        says = told(exercise, lambda *inputs, e=exercise: changed(e.reference(*inputs), lambda a: a * (1 + 1e-5)))
        assert NEARLY in says or exercise.name == "next_merge", says  # which answers with integers


def test_zeros_are_not_told_of_a_factor(exercises):
    for exercise in exercises:
        says = told(exercise, lambda *inputs, e=exercise: changed(e.reference(*inputs), torch.zeros_like))
        assert "times the right answer" not in says, says
        assert NEARLY not in says, says


def test_known_mistakes_differ_from_the_right_answer(exercises):
    """A mistake that equals the reference, or an earlier mistake, on all inputs could never be named."""
    for exercise in exercises:
        right = exercise._answers(exercise.reference)
        for mistake in exercise.mistakes:
            index = exercise.parts.index(mistake.part or exercise.parts[0])
            wrong = [torch.as_tensor(mistake.wrong(*inputs)).double() for inputs in exercise.cases]
            want = [answer[index] for answer in right]
            assert [w.shape for w in wrong] == [w.shape for w in want]
            assert not exercise._same(wrong, want), f"{exercise.name}: {mistake.advice}"
            assert exercise._recognise(exercise.parts[index], wrong) == mistake.advice
