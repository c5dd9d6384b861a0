"""What the check of every exercise does, whatever the chapter: with a right answer, a known mistake, any other one."""

import importlib
import pydoc
import re
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import nbformat
import pytest
import torch
from checking import EXERCISES, rightly, told

from gbi_helpers import checks
from gbi_helpers.checks.contest import Contest
from gbi_helpers.checks.exercise import NEARLY, Exercise
from gbi_helpers.checks.written import OURS, called

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
EXAMPLE = r" \((?:Row \d+ on|On) input \d+: yours "
every_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
EXACT = {key: exercise for key, exercise in EXERCISES.items() if not isinstance(exercise, Contest)}
every_exact_one = pytest.mark.parametrize("exercise", EXACT.values(), ids=EXACT)
MISTAKES = {
    f"{key}-{number}": (exercise, mistake)
    for key, exercise in EXERCISES.items()
    for number, mistake in enumerate(exercise.mistakes)
}
HARD = {
    f"{key}-{number}": (exercise, *hard)
    for key, exercise in EXERCISES.items()
    for number, hard in enumerate(exercise.hard)
}


def parts_of(answer):
    """What a function returned, in float64, as a list, several for a tuple."""
    return [torch.as_tensor(part).double() for part in (answer if isinstance(answer, tuple) else (answer,))]


def changed(exercise, change, part=None):
    """The right answer after ``change``, of one part or of all."""

    def answer(*inputs):
        right = zip(exercise.parts, parts_of(rightly(exercise)(*inputs)), strict=True)
        parts = [change(value) if part in (None, name) else value for name, value in right]
        return tuple(parts) if len(parts) > 1 else parts[0]

    return answer


def mistaken(exercise, mistake, rounding=1.0):
    """An answer with a known mistake, and the other parts right."""

    def answer(*inputs):
        parts = parts_of(rightly(exercise)(*inputs))
        parts[exercise.parts.index(mistake.part or exercise.parts[0])] = mistake.wrong(*inputs) * rounding
        return tuple(parts) if len(parts) > 1 else parts[0]

    return answer


def part_by_part(exercise, change):
    """What is told when one part alone is changed, without the name and the example; for each part."""
    for part in exercise.parts:
        says = told(exercise, changed(exercise, change, part))
        start = f"{exercise.name}: not yet. " + (f"{part}: " if len(exercise.parts) > 1 else "")
        assert says.startswith(start)
        yield re.split(EXAMPLE, says.removeprefix(start))[0]


def dimensions(exercise):
    return parts_of(exercise.reference(*exercise.cases[0]))[0].dim()


# -- an exercise and its place -----------------------------------------------------------------------------------------
def test_each_exercise_is_known_by_its_name_and_says_what_is_asked():
    assert [exercise.name for exercise in EXERCISES.values()] == [key.split(".")[1] for key in EXERCISES]
    for exercise in EXERCISES.values():
        assert re.match(r"student\(.+\) -> ", exercise.what), exercise.what
        assert repr(exercise) == f"{exercise.name}: {exercise.what}"
        assert exercise.what in pydoc.render_doc(exercise)


def test_the_exercises_are_those_of_the_notebooks():
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        called = set(re.findall(r"checks\.(ch\d\d\.\w+)\(", path.read_text("utf-8")))
        assert called == {key for key in EXERCISES if key.startswith(f"ch{path.name[:2]}.")}, path.name


@pytest.fixture
def other_default():
    """A student may have set the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("other_default")
@pytest.mark.parametrize("chapter", sorted({key.split(".")[0] for key in EXERCISES}))
def test_neither_the_default_type_nor_the_global_generator_matters(chapter, monkeypatch):
    state = torch.random.get_rng_state()
    for name in [name for name in sys.modules if name.startswith(f"gbi_helpers.checks.{chapter}")]:
        monkeypatch.setattr(checks, name.rpartition(".")[2], sys.modules[name])  # comes back when the test has ended
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(checks, name.rpartition(".")[2])
    again = importlib.import_module(f"gbi_helpers.checks.{chapter}")  # its inputs are drawn under the other default
    for exercise in (value for key, value in EXERCISES.items() if key.startswith(chapter)):
        copy = getattr(again, exercise.name)
        ours, theirs = ([i for inputs in e.cases for i in inputs if torch.is_tensor(i)] for e in (exercise, copy))
        assert copy is not exercise
        torch.testing.assert_close(theirs, ours, rtol=0, atol=0, equal_nan=True)
        assert not told(copy, rightly(exercise))
        assert all(m.advice in told(copy, mistaken(exercise, m)) for m in exercise.mistakes)
    assert torch.equal(state, torch.random.get_rng_state())


# -- a right answer ----------------------------------------------------------------------------------------------------
@every_exercise
def test_a_right_answer_prints_one_stable_line(exercise, capsys):
    for _ in range(2):
        exercise(rightly(exercise))
        count = len(exercise.cases) + len(exercise.hard)
        assert capsys.readouterr().out == f"✓ {exercise.name}: right on {count} random inputs\n"


@every_exercise
def test_a_stub_is_said_to_be_not_tried_and_stops_nothing(exercise, capsys):
    exercise(unwritten)
    said = f"{exercise.name}: not tried yet. Write your answer in place of the stub, then run this check again.\n"
    assert capsys.readouterr().out == said
    with pytest.raises(AssertionError, match="not tried yet"):
        exercise.grade(unwritten)


@every_exercise
def test_a_grade_says_what_is_right_and_warns_of_nothing(exercise, capfd):
    def loud(*inputs):
        print("hello", file=sys.stderr)
        warnings.warn("careful", stacklevel=1)
        return rightly(exercise)(*inputs)

    exercise.grade(loud)
    count = len(exercise.cases) + len(exercise.hard)
    assert capfd.readouterr() == (f"✓ {exercise.name}: right on {count} random inputs\n", "")
    assert exercise.settled(loud) is loud
    assert exercise.settled(unwritten) is exercise.reference
    assert capfd.readouterr() == ("", "")


@every_exercise
def test_a_right_answer_that_changes_its_input_is_told(exercise):
    def greedy(*inputs):
        found = changed(exercise, torch.clone)(*inputs)
        for tensor in filter(torch.is_tensor, inputs):
            tensor.add_(1)
        return found

    has_tensors = any(map(torch.is_tensor, exercise.cases[0]))
    assert has_tensors or exercise.name == "norms_at_corners"  # which is given a function and a number
    assert ("changes its input" in told(exercise, greedy)) == has_tensors


@every_exercise
def test_a_right_answer_in_float32_is_right_or_told_of_the_digits_only(exercise):
    def in_float32(*inputs):
        return rightly(exercise)(*(i.float() if torch.is_tensor(i) and i.is_floating_point() else i for i in inputs))

    says = told(exercise, in_float32)
    assert not says or NEARLY in says or "RuntimeError" in says, says  # two types in one product


@every_exact_one
def test_a_right_answer_with_few_digits_is_told_of_the_digits_only(exercise):
    assert set(part_by_part(exercise, lambda a: a * (1 + 1e-5))) == {NEARLY}
    rounded = told(exercise, changed(exercise, lambda a: a.mul(1e5).round() / 1e5))
    assert not rounded or NEARLY in rounded  # counts, and what is one of the candidates, have few


# -- an answer that lets others answer ---------------------------------------------------------------------------------
def calls(name, inside):
    """An answer that is right, and would call ``name``; by a function inside it, or itself."""
    names = {"right": lambda *inputs: inside.reference(*inputs)}
    lines = ["def answer(*inputs):", f"    later = lambda: ours.{name}", "    return right(*inputs)"]
    exec("\n".join(lines), names)
    return names["answer"]


@every_exercise
def test_a_right_answer_that_calls_what_is_asked_is_refused(exercise, capsys):
    assert not told(exercise, calls("anything_else", exercise))
    assert "✓" in capsys.readouterr().out
    for name in (*exercise.without, *exercise.given, "reference", "settled"):
        for attempt in (exercise, exercise.grade):
            with pytest.raises(AssertionError, match=f"not yet. .* this calls {name}, which is what you are asked to"):
                attempt(calls(name, exercise))
    assert "this calls reference" in told(exercise, exercise.reference)
    assert capsys.readouterr().out == ""


def test_an_answer_is_read_through_its_decorators_and_imports():
    overlap = EXERCISES["ch03.overlap"]

    @torch.no_grad()
    def borrowed(first, second):
        from gbi_helpers.modularity import overlap as ours

        return ours(torch.stack([first, second], dim=-2))

    assert "this calls overlap" in told(overlap, borrowed)
    assert "this calls shuffled_z" in told(EXERCISES["ch02.reorder_blocks"], lambda z, block, order: z.shuffled_z())
    assert not told(overlap, partial(changed(overlap, torch.clone)))  # no code of its own to read


OWN = """
from gbi_helpers.checks import ch01, ch09
from gbi_helpers.metrics import backward_transfer as borrowed
reference = ch01.posterior.reference

def backward_transfer(r):
    return {backward}

def final_accuracy(r):
    return r[-1].mean()

def forgets(r):
    return (r.nan_to_num(-torch.inf).amax(0) - r[-1])[:-1].mean()

def summary(r):
    return final_accuracy(r), r.diagonal().mean(), forgets(r), backward_transfer(r)

def posterior(*inputs):
    return reference(*inputs)
"""


def test_a_helper_of_ones_own_may_have_any_name_and_is_read_as_well():
    names = {"torch": torch}
    exec(OWN.format(backward="(r[-1] - r.diagonal())[:-1].mean()"), names)
    assert not told(EXERCISES["ch09.summary"], names["summary"])
    assert "this calls reference" in told(EXERCISES["ch01.posterior"], names["posterior"])
    exec(OWN.format(backward="borrowed(r)"), names)
    assert "this calls backward_transfer" in told(EXERCISES["ch09.summary"], names["summary"])


BORROWED = """
import gbi_helpers
from gbi_helpers import checks
from gbi_helpers.checks import ch02 as second
from gbi_helpers.checks.ch02 import _gated as mine

def by_checks(*inputs):
    return checks.ch02._gated(*inputs)

def by_chapter(*inputs):
    return second._gated(*inputs)

def by_package(*inputs):
    return gbi_helpers.checks.ch02._gated(*inputs)

def by_name(*inputs):
    return mine(*inputs)

def inside(*inputs):
    from gbi_helpers.checks.ch02 import _gated
    return _gated(*inputs)

def inside_by_package(*inputs):
    from gbi_helpers import checks as its
    return its.ch02._gated(*inputs)
"""


@pytest.mark.parametrize("way", ["by_checks", "by_chapter", "by_package", "by_name", "inside", "inside_by_package"])
def test_an_answer_that_is_taken_out_of_the_check_is_refused(way):
    names = {}
    exec(BORROWED, names)
    assert "this calls the check itself" in told(EXERCISES["ch02.gated"], names[way])


def test_what_is_right_but_no_tensor_is_not_put_to_use(capsys):
    exercise = EXERCISES["ch08.after_each_word"]
    right = exercise.reference
    assert not told(exercise, by_numpy := lambda *inputs: right(*inputs).numpy())
    assert exercise.settled(by_numpy) is exercise.reference
    assert "yours returns no tensor" in capsys.readouterr().out


def test_what_is_right_in_float64_alone_is_right_but_not_put_to_use(capsys):
    right = EXERCISES["ch00.log_score"].reference

    def log_score(x, y, pictures):
        score = right(x, y, pictures)
        torch.ones(1, 1, dtype=torch.float64) @ x.flatten()[:1, None]  # as where a start is made in float64
        return score

    exercise = EXERCISES["ch00.log_score"]
    assert not told(exercise, log_score)
    assert exercise.settled(log_score) is exercise.reference
    assert "yours takes float64 alone" in capsys.readouterr().out
    own = partial(right)
    assert exercise.settled(own) is own


def test_what_an_answer_may_not_call_is_there_and_no_solution_calls_it():
    notebooks = {path.name[:2]: nbformat.read(path, as_version=4).cells for path in NOTEBOOKS.glob("[0-9]*.ipynb")}
    package = "\n".join(path.read_text("utf-8") for path in Path(checks.__file__).parents[1].rglob("*.py"))
    known = {"gbi_helpers", "theory", "autograd", "backward", "roc_auc_score"}
    for key, exercise in EXERCISES.items():
        cells = [cell for cell in notebooks[key[2:4]] if cell.cell_type == "code"]
        sources = "\n".join([package, *(cell.source for cell in cells)])
        assert all(re.search(rf"^def {name}\(", package, re.M) for name in {*exercise.without} - known), key
        assert all(re.search(rf"^def {name}\(", sources, re.M) for name in exercise.given), key
        (solution,) = (c.source for c in cells if c.source.count("_solution") and f"checks.{key}(" in c.source)
        names = {}
        exec(re.split(r"\nchecks\.", solution)[0], names)
        (answer,) = (value for name, value in names.items() if name.endswith("_solution"))
        assert not called(answer, exercise.given) & {*OURS, *exercise.without, *exercise.given}, key


# -- a known mistake ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("rounding", [1.0, 1 + 1e-9], ids=["as it is", "rounded otherwise"])
def test_a_known_mistake_is_told_its_own_advice(exercise, mistake, rounding):
    part = f"{mistake.part}: " if len(exercise.parts) > 1 else ""
    says = told(exercise, mistaken(exercise, mistake, rounding))
    start = f"{exercise.name}: not yet. {part}{mistake.advice}"
    assert says.startswith(start)
    yours, right = re.fullmatch(EXAMPLE + r"(\[.+\]), right (\[.+\])\.\)", says.removeprefix(start)).groups()
    assert yours != right or rounding > 1, "the example shows a row that differs"


@every_exercise
def test_a_mistake_of_one_part_is_not_told_of_another(exercise):
    for mistake in exercise.mistakes:
        for other in set(exercise.parts) - {mistake.part or exercise.parts[0]}:
            assert mistake.advice not in told(exercise, mistaken(exercise, replace(mistake, part=other)))


@pytest.mark.parametrize(("exercise", "hard", "advice"), HARD.values(), ids=HARD)
def test_an_answer_that_breaks_on_hard_inputs_only_is_told_why(exercise, hard, advice):
    def right_but(change):
        def student(*inputs):
            is_hard = torch.equal(inputs[0], hard[0])
            return changed(exercise, change if is_hard else torch.clone)(*inputs)

        return student

    for change in (lambda a: a * float("nan"), lambda a: torch.full_like(a, -float("inf")), lambda a: a + 1 + a.abs()):
        assert told(exercise, right_but(change)).startswith(f"{exercise.name}: not yet. {advice} (")
    says = told(exercise, right_but(lambda a: a * (1 + 1e-5)))
    assert says == f"{exercise.name}: not yet. {NEARLY}" or not exercise.reference(*hard).any()  # 0 has all digits
    assert "the shape should be" in told(exercise, right_but(lambda a: a[None]))


# -- any other wrong answer --------------------------------------------------------------------------------------------
def unwritten(*_):
    raise NotImplementedError


def not_for_this_type(*_):
    raise NotImplementedError("\"histogram_cpu\" not implemented for 'Long'")  # as PyTorch says it


@every_exercise
def test_an_answer_that_is_not_written_or_does_not_run_is_told(exercise):
    for broken, speaks_of in [
        (unwritten, "not tried yet"),
        (not_for_this_type, "stopped with NotImplementedError: .* for 'Long'"),
        (lambda *_: None, "not yet. your function returns nothing"),
        (lambda *_: 1 / 0, "stopped with ZeroDivisionError: .* It was called with "),
        (lambda: 1, "stopped with TypeError: .* It was called with "),
        (lambda *_: "a text", "return (a tensor of numbers, not str|[0-9] things)"),
    ]:
        assert re.match(f"{exercise.name}: .*{speaks_of}", told(exercise, broken))


def test_an_imaginary_part_is_told_and_none_is_no_fault(exercise_of_one_part):
    exercise, right = exercise_of_one_part, rightly(exercise_of_one_part)
    with pytest.raises(AssertionError, match="your answer is complex, with an imaginary part: return real"):
        exercise(lambda *inputs: right(*inputs).to(torch.complex128) + 1j)
    with pytest.raises(AssertionError, match="your answer is complex"):
        exercise(lambda *inputs: right(*inputs).numpy() * (1 + 0.5j))
    exercise(lambda *inputs: right(*inputs).to(torch.complex128))


def test_a_sparse_answer_counts_as_what_it_says(exercise_of_one_part):
    exercise, right = exercise_of_one_part, rightly(exercise_of_one_part)
    exercise(lambda *inputs: right(*inputs).to_sparse())
    with pytest.raises(AssertionError, match="not yet"):
        exercise(lambda *inputs: (2 * right(*inputs)).to_sparse())


@pytest.fixture
def exercise_of_one_part():
    return EXERCISES["ch01.posterior"]


def test_values_and_places_of_a_maximum_are_told_apart():
    assert "return its `.values`" in told(EXERCISES["ch06.relative_score"], lambda loss, grad: (-grad).max(-1))


@every_exercise
def test_an_answer_of_another_shape_is_told(exercise):
    for change in (lambda a: a[None], lambda a: a[..., None], *([torch.sum] if dimensions(exercise) else [])):
        assert "the shape should be (" in told(exercise, changed(exercise, change))
    if dimensions(exercise) == 2:
        assert "The two axes are swapped." in told(exercise, changed(exercise, torch.t))


@every_exercise
def test_all_parts_of_an_answer_are_asked_for(exercise):
    says = told(exercise, lambda *inputs: parts_of(rightly(exercise)(*inputs))[0])
    things = f"return {len(exercise.parts)} things, in this order: {', '.join(exercise.parts)}."
    assert says == (f"{exercise.name}: not yet. {things}" if len(exercise.parts) > 1 else "")


@every_exact_one
def test_what_is_wrong_with_an_unknown_answer_is_described(exercise):
    def all_told(change):
        return set(part_by_part(exercise, change))

    assert all("NaN or infinite" in says for says in all_told(lambda a: a * float("nan")))
    assert all("sign" in says.lower() for says in all_told(torch.neg))
    assert all("It is always 1.5 times the right answer" in says for says in all_told(lambda a: 1.5 * a))
    otherwise = "do not sum to 1, and that is not the only thing" if exercise.logs else "The numbers are wrong."
    assert all(otherwise in says for says in all_told(lambda a: a + 0.7 * a.sin()))
    known = [mistake.advice for mistake in exercise.mistakes]  # one may give zeros
    nothing = all_told(torch.zeros_like)  # neither a factor, nor nearly right
    assert all(otherwise in says or says in known for says in nothing)


def test_a_number_where_no_answer_can_lie_is_called_impossible():
    overlap = EXERCISES["ch03.overlap"]
    says = told(overlap, lambda a, b: torch.minimum(a, b).square().sum(-1) + 44)
    assert re.search(r"The numbers are wrong\. One is \d\d\.\d: impossible, for they lie between 0 and 1\.", says)
    below = told(overlap, lambda a, b: torch.minimum(a, b).square().sum(-1) - 44)
    assert re.search(r"One is -\d\d\.\d: impossible, for they lie between 0 and 1\.", below)
    assert "impossible" not in told(overlap, lambda a, b: torch.full((len(a),), 0.5))


def test_small_numbers_are_not_nearly_right_because_they_are_small():
    tiny = Exercise("tiny", "student(x ()) -> x / 100,000 ().", lambda x: 1e-5 * x, [(torch.tensor(2.0),)])
    assert not told(tiny, lambda x: x / 100_000)
    assert "The numbers are wrong." in told(tiny, torch.zeros_like)


@every_exercise
def test_log_probabilities_are_asked_for_and_a_constant_may_be_no_mistake(exercise):
    shifted = told(exercise, changed(exercise, lambda a: a + 3))
    assert not shifted if exercise.up_to_constant else shifted
    if exercise.logs:
        assert "it is not normalised" in shifted
        assert "These are probabilities; return their logarithms." in told(exercise, changed(exercise, torch.exp))
