"""What the language study measures with: windows, training, inference, streams, held-out sources, maps, reading."""

import dataclasses
import math
import re
from dataclasses import replace

import pytest
import torch

from gbi_helpers import max_entropy, type_along
from gbi_helpers.data.text import load_text
from gbi_helpers.data.vocabulary import Vocabulary
from gbi_helpers.experiments.cost import language as benchmark_language
from gbi_helpers.experiments.language import inference, maps, measures, novel, stream
from gbi_helpers.experiments.language.reading import continue_text, delta_of, load_language, read_words, word_slopes
from gbi_helpers.experiments.language.recipes import told_z, train
from gbi_helpers.experiments.language.windows import Corpus, Windows, by_source, corpus_of, even_windows, random_windows
from gbi_helpers.models.language import WordLSTM

V, K = 40, 3


def chain(source, length, draw):
    """Text of a source: each word is followed by its own successors, which differ a little from source to source."""
    words = [2]
    steps = torch.randint(0, 3, (length,), generator=draw)
    for step in steps:
        words.append(2 + (words[-1] * (source + 2) + int(step)) % (V - 2))
    return torch.tensor(words[1:])


@pytest.fixture(scope="module", name="vocabulary")
def small_vocabulary():
    return Vocabulary(("<unk>", "<bos>", *(chr(97 + i % 26) * (1 + i // 26) for i in range(V - 2))))


@pytest.fixture(scope="module", name="corpus")
def made_text(vocabulary):
    draw = torch.Generator().manual_seed(0)
    train_text, validation, test = (tuple(chain(k, n, draw) for k in range(K)) for n in (3000, 500, 500))
    return Corpus(("a", "b", "c"), vocabulary, train_text, validation, test)


@pytest.fixture(scope="module", name="pair")
def trained(corpus):
    sizes = {"steps": 250, "per_source": 8, "window": 16, "hidden": 24, "looks": (100, 250)}
    return {name: train(corpus, 0, told=told, **sizes) for name, told in (("gbi", "true"), ("lstm", "nothing"))}


# Windows


def test_windows_begin_with_the_mark_and_predict_every_word(corpus):
    windows = random_windows(corpus, 2, 8, seed=4)
    assert windows.words.shape == (6, 8)
    assert windows.task.tolist() == [0, 0, 1, 1, 2, 2]
    assert windows.inputs[:, 0].eq(1).all()
    torch.testing.assert_close(windows.inputs[:, 1:], windows.words[:, :-1])
    assert torch.equal(random_windows(corpus, 2, 8, seed=4).words, windows.words)
    assert not torch.equal(random_windows(corpus, 2, 8, seed=5).words, windows.words)


def test_even_windows_cover_a_stream_from_its_first_word_to_its_last():
    windows = even_windows([torch.arange(100)], 1, 5, 10)
    assert windows.words[0, 0] == 0
    assert windows.words[-1, -1] == 99
    with pytest.raises(ValueError, match="fewer than 200 words"):
        even_windows([torch.arange(100)], 1, 5, 200)


def test_marks_between_documents_are_taken_out(vocabulary):
    @dataclasses.dataclass
    class Text:
        tasks = ("a", "b")
        train = validation = test = (torch.tensor([1, 5, 6, 1, 7]), torch.tensor([1, 8]))

    text = Text()
    text.vocabulary = vocabulary
    assert [part.tolist() for part in corpus_of(text).train] == [[5, 6, 7], [8]]


def test_a_source_can_be_left_out_or_taken_alone(corpus):
    assert corpus.without("b").tasks == ("a", "c")
    assert torch.equal(corpus.without("b").train[1], corpus.train[2])
    assert corpus.only(["c", "a"]).tasks == ("c", "a")
    with pytest.raises(ValueError, match="no source 'd': choose among a, b, c"):
        corpus.without("d")


def test_by_source_is_the_mean_of_each():
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0], [0.0, 0.0]])
    assert by_source(values, torch.tensor([0, 0, 1])).tolist() == [4.0, 0.0]


# Training


def test_what_is_told():
    task = torch.tensor([0, 2, 1] * 200)
    assert told_z(task, K, "true").argmax(1).equal(task)
    assert told_z(task, K, "nothing").eq(1 / K).all()
    shuffled = told_z(task, K, "shuffled", seed=1)
    assert shuffled.amax(1).eq(1).all()
    assert 0.2 < shuffled.argmax(1).eq(task).float().mean() < 0.46
    dropped = told_z(task, K, "true", udrop=0.3, seed=1).amax(1) < 1
    assert 0.2 < dropped.float().mean() < 0.4


def test_training_told_the_source_pays(corpus, pair):
    gbi, lstm = (pair[name][1].curves["validation"] for name in ("gbi", "lstm"))
    assert gbi.shape == (2, K)
    assert float(gbi[-1].mean()) < float(lstm[-1].mean()) - 0.05
    facts = pair["gbi"][1].facts
    assert facts["tokens"] == 250 * 8 * K * 16
    assert facts["tokens_per_cpu_second"] > 0


def test_other_text_is_another_corpus(corpus):
    other = replace(corpus, test=(corpus.test[0].flip(0), *corpus.test[1:]))  # as many words, in another order
    assert other.digest != corpus.digest
    assert replace(corpus).digest == corpus.digest


def test_tokens_are_counted_between_looks():
    steps = torch.tensor([100, 200, 400])
    assert measures.share_of_tokens(steps, torch.tensor([5.0, 4.0, 3.0]), 3.5) == pytest.approx(300 / 400)
    assert measures.share_of_tokens(steps, torch.tensor([5.0, 4.0, 3.0]), 6.0) == pytest.approx(100 / 400)
    assert math.isinf(measures.share_of_tokens(steps, torch.tensor([5.0, 4.0, 3.0]), 2.0))


# Inference


def test_the_source_is_named_and_the_gap_brings_one_step_to_bayes(corpus, pair):
    model = pair["gbi"][0]
    found = inference.naming(model, corpus, inference.fit_gaps(model, corpus, (1, 5, 12)), per_source=40)
    exact, corrected = found["exact_accuracy"], found["corrected_accuracy"]
    assert exact[0] < exact[-1]
    assert exact[-1] > 80
    assert corrected[-1] > exact[-1] - 8
    assert found["matched_kl"][-1] < found["corrected_kl"][-1] < found["one_step_kl"][-1]
    assert found["bigram_accuracy"][-1] > 90  # the text is a chain of pairs
    assert len(found["bigram_share"]) == 3


def test_counted_pairs_have_a_share_for_each_length(corpus, pair):
    model, lengths = pair["gbi"][0], (2, 12)
    windows = even_windows(corpus.test, corpus.start, 10, 12)
    gaps = inference.fit_gaps(model, corpus, lengths, per_source=4)
    shares = {2: 0.8, 12: 0.1}
    scores = inference.source_scores(model, corpus, windows, shares, gaps)
    for n, share in shares.items():
        own = inference.naive_bayes(corpus, windows.first(n), share).sum(1).float()
        torch.testing.assert_close(scores[n]["bigram"], own)


def test_naive_bayes_counts(corpus):
    windows = Windows(torch.tensor([[5, 9]]), torch.tensor([0]), 1)
    log_p = inference.naive_bayes(corpus, windows)
    counted = (corpus.train[1] == 9).sum() + 0.5
    assert float(log_p[0, 1, 1]) == pytest.approx(float((counted / (3000 + V / 2)).log()), abs=1e-4)
    pairs = inference.naive_bayes(corpus, windows, share=0.5)
    before = corpus.train[1][:-1] == 5
    after = (before & (corpus.train[1][1:] == 9)).sum() / (corpus.train[1] == 5).sum()
    mixed = 0.5 * after + 0.5 * counted / (3000 + V / 2)
    assert float(pairs[0, 1, 1]) == pytest.approx(float(mixed.log()), abs=1e-4)
    assert torch.equal(pairs[:, 0], log_p[:, 0])


# Streams


def test_streams_are_made_of_whole_pieces_of_their_sources(corpus):
    made = stream.make_streams(corpus, "test", 2, 200, seed=0, sources=[0, 2])
    assert set(made.task.unique().tolist()) == {0, 2}
    starts = made.age == 0
    assert starts[:, 0].all()
    assert (made.task[:, 1:] != made.task[:, :-1]).equal(starts[:, 1:])
    lengths = starts[0].nonzero()[:, 0].diff()
    assert lengths.min() >= stream.PIECE[0]
    assert lengths.max() <= stream.PIECE[1]
    text = corpus.test[int(made.task[0, 0])].tolist()
    piece = made.words[0, : int(lengths[0])].tolist()
    assert any(text[i : i + len(piece)] == piece for i in range(len(text)))


def test_streams_need_two_sources_with_text_enough(corpus):
    with pytest.raises(ValueError, match="1 source is too few"):
        stream.make_streams(corpus, "test", 1, 240, seed=7, sources=[2, 2])
    with pytest.raises(ValueError, match="has fewer words than one piece"):
        stream.make_streams(corpus, "test", 1, 240, seed=7, piece=(30, 10_000))
    with pytest.raises(ValueError, match="too few words for training windows"):
        random_windows(corpus, 2, 10_000, seed=0)


def test_a_filter_that_is_told_the_truth_reads_as_the_truth(corpus, pair):
    made = stream.make_streams(corpus, "test", 2, 60, seed=1)
    model = pair["gbi"][0]
    for reread in (0, 10):
        never = stream.Filter(chunk=7, hazard=1.0, reread=reread)  # all belief leaks: z stays uniform
        torch.testing.assert_close(stream.read_inferred(model, made, never).loss, stream.read_told(model, made).loss)


def test_words_are_read_again_with_the_new_belief(corpus, pair):
    made = stream.make_streams(corpus, "test", 2, 20, seed=1)
    model = pair["gbi"][0]
    past = stream._Past(model, 20, made.inputs[:, :0])
    for word in made.inputs.split(1, 1):
        past.add(word, torch.tensor([[1.0, 0, 0]] * 2))
    other = torch.tensor([[0, 1.0, 0]] * 2)
    again = past.read_again(other)
    assert again is not None
    whole = model.read(made.inputs, model.place(other))[1]
    torch.testing.assert_close(again, whole)


def test_readers_side_by_side_are_bayes(corpus, pair):
    made = stream.make_streams(corpus, "test", 3, 40, seed=4)
    model = pair["gbi"][0]
    read = stream.read_side_by_side(model, made, hazard=0.0)
    each = [stream.read_told(model, made, z.expand(3, 40, 3)).loss.sum(1) for z in torch.eye(3)]
    together = -torch.logsumexp(-torch.stack(each, 1), 1) + math.log(3)  # the chain rule: p(text) = mean of p(text | k)
    torch.testing.assert_close(read.loss.sum(1), together)


def test_the_filter_lies_between_no_z_and_the_true_one(corpus, pair):
    made = stream.make_streams(corpus, "test", 6, 240, seed=2)
    filters = {"filter": stream.Filter(), "exact": stream.Filter(exact=True)}
    found = stream.compare(pair["gbi"][0], pair["lstm"][0], corpus, made, filters)
    assert found["true"]["loss"] < found["filter"]["loss"] < found["uniform"]["loss"]
    assert abs(found["filter"]["loss"] - found["exact"]["loss"]) < 0.1
    assert found["filter"]["settled"] > found["filter"]["recovered"] > 0
    assert found["filter"]["accuracy"] > 50
    assert found["side_by_side"]["loss"] < found["filter"]["loss"] + 0.05
    way = [found[key]["recovered"] for key in ("true", "late_1", "late_5", "lstm")]
    assert way[0] == 100
    assert way[3] == 0
    assert way[0] > way[1] > way[2]


# Held-out sources


def test_a_novel_source_is_found_without_touching_a_weight(corpus, pair):
    model = pair["gbi"][0]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = novel.adaptation(model, pair["lstm"][0], corpus, "c", per_source=16)
    assert found["known"] == ["a", "b"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    adapted = found["gbi"]["2048"]
    assert adapted["single_task"] == 2
    assert adapted["logits"][-1] < found["gbi"]["uniform"] - 0.05
    assert adapted["logits"][0] == pytest.approx(found["gbi"]["uniform"], abs=1e-5)
    assert torch.tensor(adapted["z_logits"]).argmax() == 2
    assert found["gbi"]["tuned_2048"]["test"][-1] < found["gbi"]["uniform"]


# Structure


def test_modules_are_counted_by_source(corpus):
    class Fake(torch.nn.Module):
        n_tasks = 2

        def units(self, inputs, z):
            noise = torch.randn(*inputs.shape, 2, generator=torch.Generator().manual_seed(0))
            own = torch.stack([torch.ones(len(z)), z[:, 0]], 1)  # one unit serves both sources, one the first alone
            return noise * own[:, None]

    windows = even_windows(corpus.test[:2], 1, 20, 16)
    found = maps.modules(Fake(), windows)
    assert found["tasks_per_unit"] == pytest.approx(1.5)
    assert found["selectivity"] == pytest.approx(0.25, abs=0.03)


def test_between_two_sources_the_loss_turns_over(corpus, pair):
    model = pair["gbi"][0]
    windows = even_windows(corpus.test, 1, 16, 32)
    cross = maps.cross_losses(model, windows)
    assert cross.argmin(1).tolist() == [0, 1, 2]
    first, second = maps.farthest_pair(cross)
    found = maps.interpolation(model, windows, first, second)
    assert found["first"] == sorted(found["first"])
    assert found["second"] == sorted(found["second"], reverse=True)
    assert found["first"][0] == pytest.approx(float(cross[first, first]), abs=1e-4)


def test_a_map_is_read_at_its_places(corpus):
    torch.manual_seed(0)
    model = WordLSTM(V, K, hidden=8, plane=2)
    found = maps.source_map(model, corpus, side=4, per_source=2)
    assert found["loss"].shape == (4, 4, K)
    low, high = found["sources"].amin(0), found["sources"].amax(0)
    assert found["x"][0] < low[0]
    assert found["y"][-1] > high[1]
    said = maps.texts_on([0.0, 1.0, 2.0], [5.0, 6.0, 7.0], lambda place: f"{place[0]:.0f} {place[1]:.0f}")
    assert said == [["0 5", "2 5"], ["0 7", "2 7"]]


# Reading and writing


def test_slopes_of_words_add_up_to_one_step(corpus, pair):
    model = pair["gbi"][0]
    words = corpus.test[1][:11]
    total = word_slopes(model, words, 1).cumsum(0)
    for n in (1, 4, 11):
        torch.testing.assert_close(
            total[n - 1 : n], inference.slopes(model, Windows(words[None, :n], torch.tensor([1]), 1))
        )


def test_a_text_is_read_word_by_word(corpus, pair, vocabulary):
    model = pair["gbi"][0]
    text = vocabulary.decode(corpus.test[2][:30])
    record = read_words(model, vocabulary, text, tasks=corpus.tasks, true=2)
    assert record.words == text.split()
    strange = read_words(model, vocabulary, f"{record.words[0]} xyzzy", tasks=corpus.tasks)
    assert strange.words == [record.words[0], "<unk>"]
    assert record.belief.shape == (30, K)
    torch.testing.assert_close(record.belief, torch.softmax(record.evidence.cumsum(0), 1))
    assert int(record.belief[-1].argmax()) == 2
    assert record.true.eq(2).all()
    facts = {"tasks": ["a", "b", "c"], "deltas": {"10": [5.0, 0.0, -5.0]}}
    moved = read_words(model, vocabulary, text, tasks=corpus.tasks, facts=facts)
    odds = [one.belief[9].log() for one in (moved, record)]
    torch.testing.assert_close((odds[0] - odds[1]).diff(), torch.tensor([-5.0, -5.0]), atol=1e-3, rtol=1e-3)
    assert len(read_words(model, vocabulary, "did  n't", tasks=corpus.tasks).words) in (1, 2)
    book = read_words(model, vocabulary, "strange " * 100_000 + text, tasks=corpus.tasks)
    assert book.words[-30:] == record.words
    with pytest.raises(ValueError, match="no word to read"):
        read_words(model, vocabulary, " -- ", tasks=corpus.tasks)


def test_a_text_in_any_script_is_read_by_whole_words_or_refused(corpus, pair, vocabulary):
    def read(text):
        return read_words(pair["gbi"][0], vocabulary, text, tasks=corpus.tasks)

    assert read("नमस्ते दुनिया").words == ["<unk>", "<unk>"]
    assert len(read("he said 你好 to me").words) == 5
    told = r"^This text is Thai, which is written without spaces, so it cannot be cut into words: put a space between"
    with pytest.raises(ValueError, match=told):
        read("สวัสดีชาวโลก")
    typed = type_along(read, text="a b")
    typed.text.value = "สวัสดีชาวโลก"
    assert re.match(told, typed.view.message)
    assert typed.view.header["text"] == read("a b").words


def test_the_gap_is_drawn_in_between():
    facts = {"tasks": ["a"], "deltas": {"1": [1.0], "3": [2.0]}}
    assert delta_of(facts, 5)[:, 0].tolist() == [1.0, 1.5, 2.0, 2.5, 3.0]


def test_what_is_said_is_seeded_and_never_unknown(vocabulary):
    torch.manual_seed(0)
    model = WordLSTM(V, K, hidden=8).eval()
    with torch.no_grad():
        model.bias[:2] = 50.0  # it would say nothing else
    z = max_entropy(1, K)[0]
    said = continue_text(model, vocabulary, z, "a b", words=40)
    assert said == continue_text(model, vocabulary, z, "a b", words=40)
    assert said != continue_text(model, vocabulary, z, "a b", words=40, seed=1)
    assert len(said.split()) == 40
    assert continue_text(model, vocabulary, z, "a b " * 5_000, words=2) == continue_text(
        model, vocabulary, z, "a b " * 1_000, words=2
    )
    assert "<unk>" not in said
    assert "\n" not in said
    with pytest.raises(ValueError, match="temperature must be above 0"):
        continue_text(model, vocabulary, z, temperature=0.0)


def test_a_vector_is_found_that_matches_posteriors_shifted_by_it():
    draw = torch.Generator().manual_seed(0)
    slope, shift = 2 * torch.randn(200, K, generator=draw), torch.tensor([2.0, -0.5, -1.5])
    torch.testing.assert_close(inference.matched(slope, slope + shift), shift, atol=1e-2, rtol=0)


# What is shipped


def test_the_shipped_model_reads_and_writes():
    model, vocabulary, tasks, facts = load_language("packages")
    assert len(tasks) == model.n_tasks == 8
    text = "chop the onion and fry it in a little oil . add the eggs and some salt"
    record = read_words(model, vocabulary, text, tasks=tasks, facts=facts)
    assert tasks[int(record.belief[-1].argmax())] == "recipe"
    assert record.words == text.split()
    assert read_words(model, vocabulary, "stir the xyzzy", tasks=tasks).words == ["stir", "the", "<unk>"]
    said = {task: continue_text(model, vocabulary, torch.eye(8)[k], words=60) for k, task in enumerate(tasks)}
    assert len(set(said.values())) == 8
    for task in ("recipe", "chat", "speech"):  # what it says of itself it takes for its own
        again = read_words(model, vocabulary, said[task], tasks=tasks, facts=facts)
        assert int(again.belief[-1].argmax()) == tasks.index(task)


def test_the_shipped_plane_has_a_place_for_each_source():
    model, vocabulary, tasks, _ = load_language("plane")
    assert model.place(torch.eye(len(tasks))).shape == (8, 2)
    said = continue_text(model, vocabulary, model.place(torch.eye(8))[0].detach(), words=5)
    assert said == continue_text(model, vocabulary, torch.eye(8)[0], words=5)


def test_benchmark_times_every_kind():
    found = benchmark_language.rates(rounds=1, steps=1, batch=2, window=4)
    over = benchmark_language.ratios(found)
    assert set(over) == set(benchmark_language.KINDS)
    assert over["plain"] == 1
    assert all(rate > 0 for rate in found[0].values())


# Real text, trained from scratch


@pytest.mark.parametrize(
    "name", [pytest.param("packages", marks=pytest.mark.slow), pytest.param("babylm", marks=pytest.mark.realdata)]
)
def test_telling_the_source_lowers_the_loss_of_real_text(name):
    data = load_text(name)
    corpus = corpus_of(data)
    nets = {
        name: train(corpus, 0, told=told, steps=200, looks=(200,))
        for name, told in (("gbi", "true"), ("lstm", "nothing"))
    }
    losses = {name: float(record.curves["validation"][-1].mean()) for name, (_, record) in nets.items()}
    assert losses["gbi"] < losses["lstm"] - 0.05  # three seeds: .12 to .21, see the records
    gbi = nets["gbi"][0]
    windows = even_windows(corpus.test, corpus.start, 40, 50)
    exact = inference.log_likelihoods(gbi, windows, [5, 50])
    right = {n: float((score.argmax(1) == windows.task).float().mean()) for n, score in exact.items()}
    one_step = float((inference.slopes(gbi, windows).argmax(1) == windows.task).float().mean())
    assert 0.35 < right[5] < right[50]
    assert right[50] > 0.75
    assert one_step > 0.65
