"""The views of the chapter: what each shows of a discovery, a text, embeddings and pairs is what these hold."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gbi_helpers.data.toy import switching_stream
from gbi_helpers.discovery import DiscoveryRecord, discover
from gbi_helpers.experiments.questions import views
from gbi_helpers.experiments.questions.unlabelled import Chunks
from gbi_helpers.models.hundred import on_sphere
from gbi_helpers.models.slots import Samples, Words, WordSlots
from gbi_helpers.models.toy import ToyLSTM
from gbi_helpers.starts import visible

SQUARE = torch.tensor([[0.2, 0.2], [0.2, 0.8], [0.8, 0.2], [0.8, 0.8]])
STREAM = switching_stream(2, means=SQUARE, sd=0.15, blocks=6, block=20)


@pytest.fixture(scope="module")
def found():
    torch.manual_seed(0)
    model = ToyLSTM(STREAM.seeds, "post", n_tasks=5, size=2, hidden=6)
    return discover(Samples(model, STREAM.x), "exact")


# ---------------------------------------------------------------- a stream that discovers its tasks


def curves(panel):
    return {curve.name: curve for curve in panel.curves}


def test_the_plane_shows_what_slots_said_at_each_stop_and_the_numbers_are_the_records(found):
    slides = views.discovery_view({"exact": found}, STREAM, row=1).slides
    at = torch.tensor(slides.sliders["sample"]).long()
    plane, bars = slides.panels
    here = curves(plane)
    inside = found.prediction[at, 1].clamp(0.2 - 0.45, 0.8 + 0.45).double().numpy()
    assert here["slots"].x == pytest.approx(inside[..., 0])
    assert here["slots"].y == pytest.approx(inside[..., 1])
    assert here["slots"].names == tuple("01234")
    assert here["mean of each task"].x[0] == pytest.approx(SQUARE[:, 0].numpy())
    assert bars.curves[0].y == pytest.approx(found.belief[at, 1].double().numpy())
    task = STREAM.context[1, -len(found.belief) :]
    assert slides.says["true task"].tolist() == task[at].tolist()
    assert slides.says["exact: slot"].tolist() == found.slot[at, 1].tolist()
    assert slides.says["exact: noise"] == pytest.approx(found.sd[at, 1].double().numpy())
    samples = STREAM.x[1, -len(found.belief) :]
    assert here["this sample"].x[:, 0] == pytest.approx(samples[at, 0].double().numpy())


def test_the_trail_is_the_last_samples_each_once_and_the_newest_is_full(found):
    slides = views.discovery_view({"exact": found}, STREAM, row=0).slides
    trail = curves(slides.panels[0])["last 40 samples"]
    samples = STREAM.x[0, -len(found.belief) :, 0].double().numpy()
    full = [(place, int(t)) for place, t in enumerate(slides.sliders["sample"]) if t >= 39]
    assert len(full) > 5
    for place, t in full:
        assert sorted(trail.x[place]) == pytest.approx(sorted(samples[t - 39 : t + 1]))
        assert trail.x[place][trail.fill[place].argmax()] == pytest.approx(samples[t])
    young = trail.fill[0]
    assert (young > 0.5).sum() == 1  # at the first sample there is no other


def test_the_circle_is_the_noise_around_the_slot_believed_most(found):
    slides = views.discovery_view({"exact": found}, STREAM, row=0).slides
    at, here = torch.tensor(slides.sliders["sample"]).long(), curves(slides.panels[0])
    circle = here["noise, around the slot believed most"]
    top = found.slot[at, 0].numpy()
    each = np.arange(len(at))
    away = np.hypot(circle.x.T - here["slots"].x[each, top], circle.y.T - here["slots"].y[each, top])
    assert away == pytest.approx(np.tile(found.sd[at, 0].numpy(), (17, 1)), abs=1e-6)


def test_it_stops_at_every_switch_and_more_often_early(found):
    stops = views._stops(STREAM.context[0])
    switch = STREAM.context[0].diff().nonzero()[:, 0] + 1
    assert set(switch.tolist()) <= set(stops.tolist())
    assert {0, len(STREAM.context[0]) - 1} <= set(stops.tolist())
    assert (stops < 20).sum() > (stops >= 100).sum()


def test_percent_right_is_that_of_the_best_naming():
    task = torch.tensor([0, 0, 1, 1, 2, 2])
    slot = torch.tensor([7, 7, 3, 3, 3, 3])
    assert views._right(slot, task, torch.tensor([1, 3, 5])) == pytest.approx([100, 100, 100 * 4 / 6])


def test_two_records_stand_side_by_side_in_little_room(found):
    shown = views.discovery_view({"one step": found, "exact": found}, STREAM, 0, "Who is who?")
    titles = ["one step", "exact", "one step: belief in each slot", "exact: belief in each slot"]
    assert [panel.title for panel in shown.slides.panels] == titles
    assert len(json.dumps(shown._repr_mimebundle_())) < 100_000


def test_a_record_of_words_or_of_one_number_is_refused(found):
    for prediction in (None, found.prediction[..., :1]):
        other = DiscoveryRecord(found.belief, found.nats, found.sd, found.hazard, prediction)
        with pytest.raises(ValueError, match="'exact' holds no predictions in the plane"):
            views.discovery_view({"exact": other}, STREAM, 0)


# ---------------------------------------------------------------- a text read in slots


VOCABULARY = SimpleNamespace(words=["<unk>", "soup", "rain", "12", "wind"])
CORPUS = SimpleNamespace(vocabulary=VOCABULARY, tasks=("kitchen", "weather"))


def read():
    draw = torch.Generator().manual_seed(0)
    chunks = Chunks(torch.randint(5, (2, 6, 3), generator=draw), torch.randint(2, (2, 6), generator=draw))
    model = WordSlots(torch.full((5,), 0.2).log(), 3, start=1.0)
    return chunks, model, discover(Words(model, chunks.words), "exact", lr=0)


def test_slots_are_named_after_the_words_they_make_most_frequent():
    model = WordSlots(torch.zeros(5), 2)
    with torch.no_grad():
        model.entry.copy_(torch.tensor([[9, 3, 1, 8, 2], [0, -1, 2, 9, 3.0]]))
    assert views.slot_words(model, VOCABULARY) == ["0 soup wind", "1 wind rain"]
    assert views.slot_words(model, VOCABULARY, 0) == ["0", "1"]


def test_a_text_is_shown_as_the_slots_read_it():
    chunks, model, found = read()
    shown = views.words_of(found, chunks, CORPUS, model, row=1, first=2, count=3)
    ids = chunks.words[1, 2:5].flatten()
    assert shown.words == [VOCABULARY.words[k] for k in ids.tolist()]
    assert shown.sources == ["kitchen", "weather"]
    assert shown.true.tolist() == chunks.task[1, 2:5].repeat_interleave(3).tolist()
    torch.testing.assert_close(shown.belief[::3], found.belief[2:5, 1])
    torch.testing.assert_close(shown.belief[2::3], found.belief[2:5, 1])
    p = torch.softmax(model.bias + model.entry, -1).detach()
    torch.testing.assert_close(shown.evidence.softmax(-1), p[:, ids].T / p[:, ids].sum(0)[:, None])
    expected = [-(found.belief[1 + t // 3, 1] @ p[:, k]).log() for t, k in enumerate(ids.tolist())]
    torch.testing.assert_close(shown.loss, torch.stack(expected))


def test_the_first_chunk_is_read_with_all_slots_alike_and_the_last_ends_the_text():
    chunks, model, found = read()
    shown = views.words_of(found, chunks, CORPUS, model, count=100)
    assert len(shown.words) == 18
    p = torch.softmax(model.bias + model.entry, -1).detach().mean(0)
    torch.testing.assert_close(shown.loss[:3], -p[chunks.words[0, 0]].log())
    with pytest.raises(ValueError, match="6 chunks, so none to show from number 6"):
        views.words_of(found, chunks, CORPUS, model, first=6)


# ---------------------------------------------------------------- embeddings, pairs


def test_embeddings_are_cut_to_their_axes_and_full_where_one_step_can_name_them():
    means = torch.randn(20, 8, generator=torch.Generator().manual_seed(1)) + 5
    slides = views.sphere_view(means, (2, 4, 8)).slides
    free, sphere, share = slides.panels
    dots = [panel.curves[0] for panel in (free, sphere)]
    assert dots[0].fill[-1].tolist() == visible(means.double()).double().tolist()
    assert dots[1].fill[-1].tolist() == visible(on_sphere(means.double())).double().tolist()
    assert (dots[0].x == dots[0].x[0]).all()  # the first two axes are the same in any number of dimensions
    flat = np.hypot(dots[1].x[0], dots[1].y[0])
    assert flat == pytest.approx(np.full(20, flat[0]))  # in two dimensions the sphere is the circle that is drawn
    assert flat[0] == pytest.approx(np.hypot(sphere.curves[1].x[0], sphere.curves[1].y[0])[0])
    for name, dot in zip(("free lengths", "on a sphere"), dots, strict=True):
        assert slides.says[f"{name}: nameable"].tolist() == dot.fill.sum(1).tolist()
    assert share.curves[0].y[0] == pytest.approx(dots[0].fill.mean(1))


@pytest.mark.parametrize("dims", [(1, 2), (2, 9)])
def test_more_axes_than_there_are_are_refused(dims):
    with pytest.raises(ValueError, match="from 2 to 8 here"):
        views.sphere_view(torch.randn(20, 8, generator=torch.Generator().manual_seed(1)), dims)


def test_pairs_never_seen_are_framed_and_have_a_mean_of_their_own():
    unseen = np.eye(3, 4, dtype=bool)
    figure = views.pairs_figure({"late": np.where(unseen, 30, 80), "at once": np.where(unseen, 10, 80)}, unseen)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["late\nseen 80, never seen 30", "at once\nseen 80, never seen 10"]
    assert [len(ax.patches) for ax in figure.axes] == [3, 3]
