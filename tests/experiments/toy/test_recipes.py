"""The toy chapters' claims, at the tolerances that hold over seeds ("robust enough to assert").

Ten seeds, 40 blocks of 25 samples, 32 units, learning rate 3e-3: the quick setting.
"""

import functools
from types import SimpleNamespace

import pytest
import torch

from gbi_helpers.data.toy import floors, steady_windows, switching_stream
from gbi_helpers.experiments.toy import inference, modules
from gbi_helpers.experiments.toy import theory as in_networks
from gbi_helpers.experiments.toy.recipes import NETWORKS, drive, labels, shuffled_order, train
from gbi_helpers.inference import enumerate_tasks, one_step

SEEDS = 10


@functools.cache
def quick(name, schedule="constant", blocks=40, block=25):
    return train(switching_stream(SEEDS, blocks=blocks, block=block), schedule=schedule, **NETWORKS[name])


# ---------------------------------------------------------------- training


def test_a_seed_learns_the_same_alone_and_with_others():
    sizes = {"blocks": 3, "block": 20}
    together, alone = (train(switching_stream(s, **sizes), "rec", frames=3) for s in (3, [1]))
    for name, curve in alone.online.curves.items():
        torch.testing.assert_close(together.online.curves[name][:, 1:2], curve, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(together.modules.activation[:, 1:2], alone.modules.activation, rtol=1e-2, atol=1e-4)


def test_predictions_are_made_before_the_update_that_learns_from_them():
    run = train(switching_stream(2, blocks=2, block=10), "lstm", lr=1e-12)
    stream, model = run.stream, run.model
    with torch.no_grad():
        seen = model(stream.x[:, 3:8])[:, -1]
    torch.testing.assert_close(run.online.curves["excess"][3], (seen - stream.true_mean[:, 8]).square().mean(-1))
    torch.testing.assert_close(run.online.curves["absolute"][3], (seen - stream.x[:, 8]).abs().mean(-1))
    assert run.blocks().shape == (2, 2)


def test_frames_are_views_of_the_units_during_training():
    stream = switching_stream(2, means=(0.1, 0.5, 0.9), blocks=4, block=10)
    seen = train(stream, "post", frames=5).modules
    assert seen.step.tolist() == [0, 8, 17, 26, 35]
    assert seen.activation.shape == seen.z_only.shape == seen.gate.shape == (5, 2, 3, 32)
    assert ((seen.gate == 0) <= (seen.activation == 0)).all()  # a closed unit does not move the output
    plain = train(stream, "lstm", frames=2).modules
    assert plain.gate is None
    assert (plain.curves["z-only overlap"] == 1).all()  # without Z there is nothing to change


def test_the_record_of_the_modules_can_be_kept(tmp_path):
    seen = train(switching_stream(2, blocks=2, block=10), "rec", frames=2).modules
    back = type(seen).load(seen.save(tmp_path / "modules.npz"))
    assert torch.equal(back.activation, seen.activation)
    assert torch.equal(back.curves["overlap"], seen.curves["overlap"])
    assert back.facts == seen.facts


def test_drive_is_what_a_unit_adds_to_the_output():
    run = train(switching_stream(2, blocks=2, block=10), "lstm")
    windows = torch.randn(1, 4, 1)
    units = run.model.hidden(windows.repeat(2, 1, 1)).abs().mean(1) * run.model.weight_out[:, 0].abs()
    torch.testing.assert_close(drive(run.model, windows), units.detach())


def test_what_is_no_label_is_refused():
    with pytest.raises(ValueError, match="told is 'nonsense'"):
        train(switching_stream(1, blocks=1), "post", told="nonsense")


def test_labels_are_spoilt_as_their_name_says():
    stream = switching_stream(2, blocks=3, block=4)
    assert torch.equal(labels(stream, "true"), stream.z)
    assert torch.equal(labels(stream, "renamed"), 1 - stream.z)
    assert torch.equal(labels(stream, "one late")[:, 1:], stream.z[:, :-1])
    switches = labels(stream, "switches")
    assert switches[:, [4, 8]].tolist() == [[[1, 0]] * 2] * 2  # the same for either context
    assert (switches[:, [0, 1, 2, 3, 5, 6, 7, 9, 10, 11]] == 0.5).all()


def test_the_shuffled_order_has_every_window_once_and_is_a_seed_s_own():
    stream = switching_stream(3, blocks=2, block=10)
    order = shuffled_order(stream)
    assert torch.equal(order.sort(1).values, torch.arange(15).expand(3, -1))
    assert not torch.equal(order[0], order[1])
    assert torch.equal(shuffled_order(switching_stream([1], blocks=2, block=10))[0], order[1])


@pytest.mark.parametrize("variant", ["lstm", "post"])
def test_windows_in_another_order_are_the_same_windows(variant):
    stream = switching_stream(2, blocks=2, block=10)
    order = torch.arange(15).expand(2, -1)
    as_it_came, in_order = train(stream, variant), train(stream, variant, order=order)
    assert torch.equal(in_order.online.curves["excess"], as_it_came.online.curves["excess"])
    resting, turned = (train(stream, variant, order=o, lr=1e-12) for o in (order, order.flip(1)))
    for name, curve in resting.online.curves.items():
        torch.testing.assert_close(turned.online.curves[name].flip(0), curve, msg=name)


# ---------------------------------------------------------------- robust enough to assert


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GBI post", "GBI post, learned gates", "GBI recurrent", "GBI concat"])
def test_with_z_the_excess_error_is_a_third_or_less(name):
    late = [quick(n).blocks()[20:].mean(0) for n in ("LSTM", name)]
    assert float((late[0] / late[1]).mean()) > 4
    assert (late[0] / late[1]).min() > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random Z per block", "random Z per step", "shuffled Z"])
def test_it_is_the_meaning_of_z_that_helps(name):
    random, lstm = (quick(n).blocks()[20:].mean(0) for n in (name, "LSTM"))
    assert 0.8 < float((random / lstm).mean()) < 1.3
    scores = modules.modules_of(quick(name))
    assert scores["z-only overlap"].mean() > 0.45
    assert scores["output gain"].mean().abs() < 0.15


@pytest.mark.slow
def test_z_only_overlap_tells_true_z_from_random_z():
    true = modules.modules_of(quick("GBI post"))
    assert true["z-only overlap"].max() < 0.35
    assert float(true["output gain"].mean()) == pytest.approx(0.6, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GBI post", "GBI post, learned gates", "GBI add"])
def test_one_step_is_k_passes_where_the_output_is_linear_in_z(name):
    for samples in (1, 5, 20):
        test = inference.fresh_windows(quick(name), samples)
        step, passes = (infer(test.loss, test.z0).q for infer in (one_step, enumerate_tasks))
        assert (step - passes).abs().max() < 1e-5


@pytest.mark.slow
def test_one_step_serves_as_likelihood_in_bayes_rule():
    scores = inference.filter_test(quick("GBI post", "cosine", 100, 50)).scores()
    assert scores["kl"].mean() < 0.006
    assert scores["r"].min() > 0.99
    assert (scores["exact accuracy"] - scores["accuracy"]).max() < 0.01
    assert (scores["accuracy"] - scores["one-step accuracy"]).min() > 0.05


@pytest.mark.slow
def test_uniform_is_the_best_start_and_one_the_best_step():
    run = quick("GBI post", "cosine")
    starts = {name: float(scores["kl"].mean()) for name, scores in inference.over_starts(run).items()}
    assert starts["uniform"] < 0.02 < 0.05 < min(starts["tilted"], starts["zeros"], starts["one-hot"])
    sizes = inference.over_step_sizes(run, (0.25, 1.0, 4.0)).mean(1)
    assert sizes.argmin() == 1
    mean_loss = inference.over_step_sizes(run, (1.0, 5 / (2 * 0.3**2)), mean_loss=True).mean(1)
    assert mean_loss[0] > 0.3
    torch.testing.assert_close(mean_loss[1], sizes[1], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_free_z_reaches_means_that_no_simplex_holds():
    run = quick("GBI post", "cosine", 100, 50)
    free = inference.unseen_means(run, "free").mean(1)  # of 160 Z, or the floor itself is too noisy
    simplex, before = (inference.unseen_means(run, space, tries=2).mean(1) for space in ("logits", None))
    outside = torch.tensor([mean < 0.15 or mean > 0.85 for mean in inference.UNSEEN])
    assert free.max() < 0.005
    assert simplex[~outside].max() < 0.01
    assert simplex[outside].mean() > 0.04
    assert before[outside].mean() > 0.2
    idle = inference.unseen_means(quick("LSTM, idle inputs", "cosine", 100, 50), "free", tries=2).mean(1)
    assert idle[outside].mean() > 2 * free[outside].mean()


@pytest.mark.slow
def test_forgetting():
    lstm, gbi = (modules.forgetting(quick(name, blocks=10, block=200)) for name in ("LSTM", "GBI post"))
    given, inferred = (gbi[way]["previous"].mean() for way in ("given", "inferred"))
    assert inferred <= 1.5 * given
    assert lstm["given"]["previous"].mean() >= 8 * given
    assert set(lstm) == {"given"}


@pytest.mark.parametrize(("sample", "seen"), [(0, True), (5, True), (6, False)])
def test_forgetting_lets_a_network_without_z_see_what_z_is_inferred_from(monkeypatch, sample, seen):
    """Six numbers each; a seventh, which is to be predicted, nobody."""

    def spoilt(*args, **options):
        windows, context = steady_windows(*args, **options)
        windows[:, sample] = torch.nan
        return windows, context

    stream = switching_stream(2, blocks=2, block=10)
    lstm, gbi = (train(stream, variant) for variant in ("lstm", "concat"))
    monkeypatch.setattr(modules, "steady_windows", spoilt)
    monkeypatch.setattr(modules, "one_step", lambda loss, z: SimpleNamespace(q=z + 0 * loss(z)[:, None]))
    for run, way in ((lstm, "given"), (gbi, "inferred")):
        assert modules.forgetting(run, 4)[way]["previous"].isnan().all() == seen


@pytest.mark.slow
def test_a_lesion_of_one_module_hurts_one_task():
    excess = modules.lesion(quick("GBI post")).mean(0)
    hurt = excess[1:] - excess[0]
    assert hurt[1, 1] > 0.05
    assert hurt[1, 1] > 5 * hurt[1, 0].abs()


def test_a_linear_readout_never_chooses_a_context_between_others():
    found = in_networks.linear_in_between(seeds=5)
    assert (found["one step, inner"] == 0).all()
    torch.testing.assert_close(found["corrected"], found["Bayes"])
    assert float(found["one step"].mean()) == pytest.approx(0.5, abs=0.01)
    assert found["Bayes"].mean() > 0.85


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "broken"), [("post", 0), ("rec", 0), ("concat", 0)])
@pytest.mark.parametrize("means", [(0.2, 0.8), in_networks.FOUR])
def test_bounds_hold_in_trained_networks(variant, broken, means):
    run = train(switching_stream(4, means=means, blocks=40), variant, schedule="cosine")
    gap = in_networks.gap_in_networks(run, rows=10)
    assert in_networks.broken(gap).tolist() == [broken] * 4
    if len(means) == 2 and variant != "concat":  # where z scales what is computed the objective is concave
        assert gap["concave"].all()
    if variant == "post":  # linear in z, so the gap is the same for all data, and the bound is reached
        torch.testing.assert_close(gap["range"], gap["bound"], rtol=1e-6, atol=1e-9)
    if len(means) == 4:
        assert gap["kl"].mean() > 0.5 > 0.2 > gap["corrected kl"].mean()
        found = in_networks.in_between(run)
        assert found["corrected"].mean() > found["one step"].mean() + 0.2
        assert found["one step, inner"].mean() < 0.05 < found["corrected, inner"].mean()


def test_l2_stands_for_the_entropy_near_the_uniform_point_only():
    for n_tasks in (2, 5):
        curve = in_networks.l2_against_entropy(n_tasks)
        small, large = 1, -1
        assert float(curve["l2"][small] / curve["entropy"][small]) == pytest.approx(1, abs=0.1)
        assert curve["entropy"][large] < torch.tensor(n_tasks).log() < curve["l2"][large]
    kl = in_networks.penalties(1.0, problems=50)
    assert kl["entropy"] < 1e-3 < kl["l2 / K"] < kl["l2"]


# ---------------------------------------------------------------- views and streams


def test_the_live_filter_agrees_with_itself_sample_by_sample():
    run = train(switching_stream(2, blocks=2, block=10), "post")
    stream = switching_stream([7, 8], blocks=2, block=10)
    whole = inference.live_filter(run.model, stream)
    assert whole.belief.shape == whole.exact.shape == (2, 15, 2)
    cut = type(stream)(stream.x[:, :12], stream.context[:, :12], *list(vars(stream).values())[2:])
    torch.testing.assert_close(inference.live_filter(run.model, cut).belief, whole.belief[:, :7], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_tasks", [2, 3])
def test_the_landscape_covers_the_simplex(n_tasks):
    run = train(switching_stream(2, means=list(range(n_tasks)), blocks=2, block=10), "post")
    seen = inference.landscape(run.model.one(0), run.stream.x[0, :6], 0.3, fineness=10)
    assert len(seen.z) == {2: 11, 3: 66}[n_tasks]
    torch.testing.assert_close(seen.z.sum(1), torch.ones(len(seen.z)))
    assert seen.step.grad.shape == (1, n_tasks)
    assert seen.loss.shape == (len(seen.z),)


def test_the_lstm_cannot_beat_the_exact_filter():
    stream = switching_stream(SEEDS, blocks=40, block=25)
    assert quick("LSTM").blocks()[20:].mean() > floors(stream).filter_excess
