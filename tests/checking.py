"""What the check of every exercise must do, whatever the chapter."""

import pytest


def assert_one_stable_line(check, answer, capsys):
    """A right answer prints one line, the same each time."""
    check(answer)
    first = capsys.readouterr().out
    check(answer)
    assert first == capsys.readouterr().out
    assert first.startswith(f"✓ {check.__name__}: right on ")
    assert first.count("\n") == 1


def assert_told(check, wrong, speaks_of):
    """A wrong answer is told what is wrong, under the exercise's name."""
    with pytest.raises(AssertionError) as caught:
        check(wrong)
    assert str(caught.value).startswith(f"{check.__name__}: ")
    assert speaks_of in str(caught.value)


def assert_broken_is_told(check):
    """An answer that is not written, or does not run, is told so."""

    def unwritten(*_):
        raise NotImplementedError

    def not_for_this_type(*_):
        raise NotImplementedError("\"histogram_cpu\" not implemented for 'Long'")  # as PyTorch says it

    for broken, speaks_of in [
        (unwritten, "write your answer first"),
        (not_for_this_type, "stopped with NotImplementedError: .* for 'Long'"),
        (lambda *_: None, "returns nothing"),
        (lambda *_: 1 / 0, "ZeroDivisionError"),
        (lambda: 1, "TypeError"),
    ]:
        with pytest.raises(AssertionError, match=speaks_of):
            check(broken)
