"""The LSTM that names the source reads as the LSTM does, and is told from a file again."""

import torch

from gbi_helpers.checkpoints import load_model, save_checkpoint
from gbi_helpers.models.naming import WordNamer

V, K = 30, 3


def made():
    torch.manual_seed(0)
    return WordNamer(V, K, hidden=8).eval()


def test_it_reads_as_the_lstm_told_nothing():
    model, words = made(), torch.randint(V, (2, 12), generator=torch.Generator().manual_seed(1))
    logits, source = model.both(words)
    torch.testing.assert_close(logits, model(words, torch.full((2, K), 1 / K)))
    assert source.shape == (2, 12, K)
    torch.testing.assert_close(source, model.named(words))


def test_a_file_brings_it_back(tmp_path):
    model = made()
    again, _ = load_model(save_checkpoint(tmp_path / "namer.safetensors", model, {}, half=False), WordNamer)
    words = torch.tensor([[1, 5, 7]])
    torch.testing.assert_close(again.named(words), model.named(words))
