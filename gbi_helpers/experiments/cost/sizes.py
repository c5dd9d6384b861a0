"""How near one step comes to the posterior of trained networks as it sees more data, by kind of network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gbi_helpers.experiments.borrowed import World
from gbi_helpers.experiments.cost.asked import Asked, Says, Settings, each, of_images, of_words, opened, passes, slopes
from gbi_helpers.experiments.cost.judged import centred, judged
from gbi_helpers.experiments.study import Row

Scores = dict[str, Any]


def sizes(world: World, seed: int, settings: Settings) -> Scores:
    """Lists over the amounts of data, words read or pixels seen of a test sample.

    "one_step", "corrected" (the gap of validation samples put back) and "exact", each judged; "evidence": range over
    tasks of the exact log likelihood, nats; "gap": range of the gap of each sample, of it "mean_gap", of their mean,
    and "gap_per_nat", the first over the evidence.
    """
    validation, test = opened(world, seed, settings)
    fit = validation.rows(slice(settings["fit_samples"]))
    asked = test.rows(slice(None, None, max(len(test.task) // settings["samples"], 1)))
    found: dict[str, list[float]] = {}
    for known, seen in zip(_seen(fit, settings["sizes"]), _seen(asked, settings["sizes"]), strict=True):
        for key, value in _one_size(known, seen).items():
            found.setdefault(key, []).append(value)
    return {"sizes": list(settings["sizes"]), **found}


def _seen(asked: Asked, amounts: tuple[int, ...]) -> Iterator[Asked]:
    """The same samples, of each no more than so much data: the first words, or pixels at random, the same for all."""
    for n in amounts:
        if asked.given.is_floating_point():
            yield replace(asked, says=_of_pixels(asked.says, _mask(asked.target[0], n)))
        else:
            yield replace(asked, given=asked.given[:, :n], target=asked.target[:, :n])


def _mask(image: Tensor, n: int) -> Tensor:
    """Which n pixels are seen, more of them with n."""
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(image.numel(), generator=draw, device=draw.device)
    return (order < n).view(image.shape).to(image.device)


def _of_pixels(says: Says, mask: Tensor) -> Says:
    """The same likelihood of some pixels alone."""
    return replace(says, nll=lambda output, x: says.nll(output[:, mask], x[:, mask]))


def _one_size(known: Asked, seen: Asked) -> dict[str, float]:
    slope, exact = each(seen, slopes), each(seen, passes)
    gap, mean = centred(exact - slope), centred(each(known, passes) - each(known, slopes)).mean(0)
    ways = {"one_step": slope, "corrected": slope + mean, "exact": exact}
    found = {f"{w}_{key}": value for w, s in ways.items() for key, value in judged(s, exact, seen.task).items()}
    evidence, apart = (float((part.amax(1) - part.amin(1)).mean()) for part in (exact, gap))
    shared = float(mean.max() - mean.min())
    return {**found, "evidence": evidence, "gap": apart, "mean_gap": shared, "gap_per_nat": apart / evidence}


WORDS = {"sizes": (1, 2, 5, 10, 20, 50, 100), "per_source": 64, "samples": 512, "fit_samples": 96}
PIXELS = {"sizes": (12, 49, 196, 784), "samples": 2000, "fit_samples": 500}
KINDS = {
    "gbi": "words: LSTM, z beside and as a gate",
    "gate": "words: LSTM, z as a gate on the output",
    "concat": "words: LSTM, z beside each word",
    "gatein": "words: LSTM, z as a gate inside the recurrence",
    "transformer": "words: Transformer",
}
IMAGES = {
    "vae_mul": "pixels: VAE-mul",
    "faithful": "pixels: z concatenated, code of 3",
    "add": "pixels: z added, code of 3",
}
ROWS = {
    **{f"sizes/{kind}": Row(sizes, said, of_words(kind, 100, **WORDS)) for kind, said in KINDS.items()},
    **{f"sizes/{kind}": Row(sizes, said, of_images(kind, **PIXELS)) for kind, said in IMAGES.items()},
}
