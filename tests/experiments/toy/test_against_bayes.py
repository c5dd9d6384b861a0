"""Whose error it is, on losses whose two errors are known; and the frozen networks that are shipped."""

import dataclasses

import pytest
import torch

from gbi_helpers.data.toy import steady_windows, switching_stream
from gbi_helpers.experiments.results import load_results
from gbi_helpers.experiments.toy import against_bayes, networks
from gbi_helpers.experiments.toy.inference import Windows, fresh_windows, unseen_means
from gbi_helpers.experiments.toy.recipes import train
from gbi_helpers.inference import max_entropy

MEANS = torch.tensor([[0.2], [0.8]])


def windows(believed=MEANS, bend=0.0, samples=5):
    """Windows, and the loss of a readout that is linear in z but for a bend, which is nought at the pure contexts."""
    x, context = steady_windows(MEANS, 0.3, 200, samples + 1, seeds=2)
    scored = x[:, 1:]
    exact = torch.log_softmax(-(scored[..., None, :] - MEANS).square().sum((1, 3)) / (2 * 0.3**2), -1)

    def loss(z):
        error = (scored - (z @ believed)[:, None]).square().sum((1, 2)) / (2 * 0.3**2)
        return error + bend * torch.sin(2 * torch.pi * z[:, 1])

    return Windows(x, context, exact, loss, max_entropy(len(x), 2), 2)


def test_a_bend_is_the_inferences_error_alone():
    found = against_bayes.split(windows(bend=0.5))
    assert found["K passes"].abs().max() < 1e-5
    assert found["one step"].min() > 0.01
    torch.testing.assert_close(found["one step"], found["between"], rtol=1e-3, atol=1e-5)
    assert found["apart"].min() > 0


def test_wrong_means_are_the_networks_error_alone():
    found = against_bayes.split(windows(believed=MEANS + 0.1))
    assert found["between"].abs().max() < 1e-5
    assert found["K passes"].min() > 0.01
    assert found["apart"].max() == 0


def test_adapting_looked_at_on_the_way_is_adapting():
    run = train(switching_stream(2, blocks=6, block=20), "post")
    search = {"rates": (0.2,), "looks": (3,), "trial": 1}
    found = against_bayes.adapted(run, {"after": (3, 60), "tries": 2, "spaces": ("logits", "free"), **search})
    for space in ("free", "logits"):
        torch.testing.assert_close(found[space], unseen_means(run, space, lr=0.2, tries=2))
    torch.testing.assert_close(found["free, later"][1], found["free"])
    assert found["free, later"][0].mean() > found["free"].mean()  # three steps are not enough


def test_rate_and_steps_are_chosen_on_other_windows_and_tested_on_the_usual_ones(monkeypatch):
    """On the other windows the Z that went farthest is made to look best."""
    run = train(switching_stream(2, blocks=6, block=20), "idle")
    asked = {"after": (60,), "tries": 2, "spaces": ("free",), "rates": (0.1, 0.8), "looks": (2, 9), "trial": 1}
    told = against_bayes.adapted(run, {**asked, "rates": (0.8,), "looks": (9,)})["free, chosen"]

    def flattering(run, z, tries, draw, tested=against_bayes._tested):
        if draw == against_bayes.TEST[1]:
            return tested(run, z, tries, draw)
        return -(z - 0.5).abs().mean() + torch.zeros(15, 2)

    monkeypatch.setattr(against_bayes, "_tested", flattering)
    found = against_bayes.adapted(run, asked)
    assert found["free, rate"].tolist() == pytest.approx([0.8, 0.8])
    assert found["free, steps"].tolist() == [9, 9]
    torch.testing.assert_close(found["free, chosen"], told)
    assert found["free, tried"].shape == (2, 2, 2)


def test_the_mean_of_more_numbers_is_nearer():
    found = against_bayes.averages_of(20, 0.3, tries=10)
    for numbers, excess in found.items():
        assert excess.mean() == pytest.approx(0.3**2 / int(numbers), rel=0.05)


def test_the_shipped_networks_are_the_first_of_the_record():
    there = load_results("toy").values("judged/GBI concat", "windows", "one step")[:2, 2]
    run = networks.trained("concat", 2)
    here = against_bayes.split(fresh_windows(run))["one step"]
    torch.testing.assert_close(here.double(), there, rtol=1e-2, atol=1e-5)
    assert run.stream.n_seeds == run.model.n_seeds == 2


def test_the_full_profile_trains_them(monkeypatch):
    short = lambda name, seeds: switching_stream(seeds, blocks=2, block=10)  # noqa: E731
    monkeypatch.setattr(networks, "_stream", short)
    monkeypatch.setenv("GBI_PROFILE", "full")
    assert len(networks.trained("post", 1).online.loss) == 15
    monkeypatch.setenv("GBI_PROFILE", "quick")
    assert len(networks.trained("post", 1).online.loss) == 0


@pytest.mark.parametrize(("name", "seeds"), [("LSTM", 1), ("post", 0), ("post", 6)])
def test_what_is_not_shipped_is_named(name, seeds):
    with pytest.raises(ValueError, match=r"three on a line.* 1 to 5"):
        networks.trained(name, seeds)


def test_shipping_writes_what_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "ASSETS", tmp_path)
    monkeypatch.setattr(networks, "add_asset", lambda path, **facts: None)
    monkeypatch.setattr(networks, "STACK", 5)
    whole = networks._stream
    cut = lambda s: dataclasses.replace(s, x=s.x[:, :20], context=s.context[:, :20])  # noqa: E731
    monkeypatch.setattr(networks, "_stream", lambda name, seeds: cut(whole(name, seeds)))
    (path,) = networks.ship(None, None)
    monkeypatch.setattr(networks, "SHIPPED", path)
    trained = train(networks._stream("post", 5), "post", schedule="cosine").model
    torch.testing.assert_close(networks.trained("post", 5).model.weight_hh, trained.weight_hh.detach())
