import pytest
import torch
from torch.nn import functional

from gbi_helpers import enumerate_tasks, max_entropy, one_step
from gbi_helpers.data.vocabulary import Vocabulary
from gbi_helpers.experiments.language.inference import evidence, fit_gaps, log_likelihoods, slopes
from gbi_helpers.experiments.language.windows import Corpus, Windows, losses, random_windows
from gbi_helpers.inference import loss_of
from gbi_helpers.models.language import CONDITIONINGS, WordLSTM, window_nll, word_nll
from gbi_helpers.models.transformer import WordTransformer
from gbi_helpers.theory import fit_delta

K, V, T = 3, 17, 9


def made(conditioning="both", seed=0, **sizes):
    torch.manual_seed(seed)
    model = WordLSTM(V, K, hidden=8, conditioning=conditioning, **sizes).eval()
    with torch.no_grad():
        model.embedding.weight.mul_(10)  # else an untrained network hardly minds what it reads
    return model


MODELS = {name: lambda name=name: made(name) for name in CONDITIONINGS} | {
    "plane": lambda: made(plane=2),
    "transformer": lambda: WordTransformer(V, K, width=8, layers=1, heads=2, longest=T).eval(),
}
every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(name="windows")
def some_windows():
    draw = torch.Generator().manual_seed(3)
    return Windows(torch.randint(2, V, (5, T), generator=draw), torch.arange(5) % K, start=1)


@every_model
def test_gradients_of_a_batch_are_those_of_each_text_alone(name, windows):
    model = MODELS[name]()
    together = slopes(model, windows)
    alone = torch.cat([slopes(model, windows.rows(slice(i, i + 1))) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@every_model
def test_gradients_are_those_of_finite_differences(name, windows):
    model = MODELS[name]().double()
    loss = evidence(model, windows)
    z0 = max_entropy(5, K, torch.float64)
    ways = 1e-5 * torch.eye(K, dtype=torch.float64)
    differences = torch.stack([(loss(z0 + way) - loss(z0 - way)) / 2e-5 for way in ways], dim=1)
    torch.testing.assert_close(one_step(loss, z0).grad, differences, atol=1e-6, rtol=1e-6)


@every_model
def test_no_word_sees_a_later_one(name, windows):
    model = MODELS[name]()
    z = windows.z(K)
    changed = windows.inputs.clone()
    changed[:, 6:] = 2
    before, after = model(windows.inputs, z), model(changed, z)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.equal(before[:, 6:], after[:, 6:])


def test_a_mean_loss_divides_the_evidence_by_the_words(windows):
    model = made()
    z0 = max_entropy(5, K)
    mean = loss_of(model, windows.inputs, lambda logits, _: word_nll(logits, windows.words).mean(1))
    torch.testing.assert_close(one_step(mean, z0).grad * T, -slopes(model, windows))


@pytest.mark.parametrize("name", ["concat", "gate", "both", "gatein", "plane"])
def test_reading_in_parts_is_reading_at_once(name, windows):
    model = MODELS[name]()
    place = model.place(windows.z(K))
    whole, _ = model.read(windows.inputs, place)
    first, state = model.read(windows.inputs[:, :4], place)
    second, _ = model.read(windows.inputs[:, 4:], place, state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


@pytest.mark.parametrize("name", ["concat", "gate", "both", "gatein", "plane"])
def test_a_z_for_each_word_may_be_the_same_for_all(name, windows):
    model = MODELS[name]()
    z = windows.z(K)
    torch.testing.assert_close(model(windows.inputs, z[:, None].expand(-1, T, -1)), model(windows.inputs, z))


def test_units_are_what_the_read_out_sees(windows):
    model = made()
    z = windows.z(K)
    read = functional.linear(model.units(windows.inputs, z), model.embedding.weight, model.bias)
    torch.testing.assert_close(read, model(windows.inputs, z))


def test_the_loss_of_a_window_is_the_sum_over_its_words(windows):
    logits = torch.randn(5, T, V)
    torch.testing.assert_close(window_nll(logits, windows.words), word_nll(logits, windows.words).sum(1))
    p = torch.softmax(logits, -1).gather(2, windows.words[..., None]).log()
    torch.testing.assert_close(word_nll(logits, windows.words), -p[..., 0])


def test_k_passes_of_the_longest_text_serve_all_lengths(windows):
    model = made()
    found = log_likelihoods(model, windows, (2, T))
    for n, score in found.items():
        exact = enumerate_tasks(evidence(model, windows.first(n)), max_entropy(5, K))
        torch.testing.assert_close(score, -exact.loss)


def test_the_gap_makes_one_step_exact_on_average():
    model = made()
    stream = torch.randint(2, V, (200,), generator=torch.Generator().manual_seed(0))
    words = Vocabulary(("<unk>", "<bos>", *map(str, range(V - 2))))
    corpus = Corpus(("a", "b", "c"), words, (stream,) * K, (stream,) * K, (stream,) * K)
    delta, _ = fit_gaps(model, corpus, [5], per_source=4)[5]
    windows = random_windows(corpus, 4, 5, seed=77)
    torch.testing.assert_close(delta, fit_delta(evidence(model, windows), max_entropy(12, K)))
    exact, slope = log_likelihoods(model, windows, [5])[5], slopes(model, windows)
    off = (exact - exact.mean(1, keepdim=True)) - (slope - slope.mean(1, keepdim=True)) - delta
    torch.testing.assert_close(off.mean(0), torch.zeros(K), atol=1e-4, rtol=0)


def test_uniform_z_is_the_default_of_losses(windows):
    model = made()
    torch.testing.assert_close(losses(model, windows), losses(model, windows, torch.full((K,), 1 / K)))


def test_bad_arguments_are_named(windows):
    with pytest.raises(ValueError, match="conditioning is 'add'"):
        WordLSTM(V, K, conditioning="add")
    for make in MODELS.values():
        for shape in ((5, K + 1), (4, K), (5, T + 1, K), (K,)):
            with pytest.raises(ValueError, match=rf"z must be \(5, {K}\) or \(5, {T}, {K}\), not"):
                make()(windows.inputs, torch.ones(shape))
    with pytest.raises(ValueError, match=r"z must be \(batch, 3\)"):
        made().place(torch.ones(5, K + 1))
    with pytest.raises(ValueError, match="9 positions"):
        MODELS["transformer"]()(torch.zeros(1, T + 1, dtype=torch.long), torch.ones(1, K) / K)
