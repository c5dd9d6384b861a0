"""A stand-in for CIFAR-100 that needs no download: a hundred glyphs in twenty families, rendered from bundled fonts.

matplotlib brings its fonts along, so the pictures can be made anywhere. Each is 32x32 in colour: one glyph, in any of
several fonts, turned, slanted, sized, moved, and coloured at random, before a patchy background with pieces of other
glyphs in it. As in photographs, the background gives the family away now and then: each family has a favourite hue.
How hard it is, is of CIFAR-100's kind (a mean image a class names few, a network names many); the numbers differ.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gbi_helpers.progress import progress_bar

LETTERS = ("Sans", "Sans-Bold", "Serif", "Serif-Italic", "SansMono", "Serif-Bold")
SYMBOLS = ("Sans", "Sans-Bold")  # the only ones that have them
FAMILIES: dict[str, str] = {
    "round capitals": "C G O Q D",
    "straight capitals": "E F H L T",
    "slanted capitals": "A V W M K",
    "small bowls": "b d p q g",
    "digits": "2 3 5 6 8",
    "Greek": "Delta=Δ Theta=Θ Lambda=Λ Xi=Ξ Omega=Ω",
    "Cyrillic": "Zhe=Ж Ef=Ф Tse=Ц Sha=Ш Ya=Я",
    "Georgian": "An=ა Ban=ბ Gan=გ Don=დ En=ე",
    "Armenian": "Ayb=Ա Ben=Բ Gim=Գ Da=Դ Ech=Ե",
    "currencies": "dollar=$ euro=€ pound=£ yen=¥ cent=¢",
    "operators": "plus=+ minus=− times=× divide=÷ equals==",
    "sets": "union=∪ intersection=∩ subset=⊂ superset=⊃ element=∈",
    "arrows": "left=← up=↑ right=→ down=↓ both_ways=↔",
    "chess": "king=♚ queen=♛ rook=♜ bishop=♝ knight=♞",
    "music": "quarter=♩ eighth=♪ eighths=♫ sixteenths=♬ flat=♭",
    "weather": "sun=☀ cloud=☁ umbrella=☂ snowman=☃ moon=☾",
    "zodiac": "Aries=♈ Taurus=♉ Gemini=♊ Cancer=♋ Leo=♌",
    "stars": "star=★ four_points=✦ six_points=✶ twelve_points=✹ ringed=✪",
    "shapes": "square=■ triangle=▲ disc=● diamond=◆ wedge=▼",
    "flowers": "black_floret=✿ white_floret=❀ six_petals=✾ eight_petals=❁ teardrops=❃",
}
GROUPS = tuple(FAMILIES)
CLASSES = tuple(word.split("=")[0] for members in FAMILIES.values() for word in members.split())
GROUP_OF = tuple(group for group in range(len(GROUPS)) for _ in range(5))
SEED = 100
SIDE = 32
ATLAS = 48  # pixels of a glyph's mask, whose longest side takes
GLYPH = 32  # of them
CHUNK = 1_000


def render_standin(n: int = 20_000, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """``n`` pictures: x (n, 32, 32, 3) uint8 and their classes y (n,) int64, each class as often as the others.

    The same bytes for the same ``n`` and ``seed`` on one machine; another FreeType draws edges a little differently.
    Raises ``ValueError`` for n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}: ask for one picture or more.")
    masks, first, fonts = _masks()
    draw = np.random.RandomState(seed)  # its stream is frozen: the same numbers in every version of NumPy
    y = draw.permutation(np.arange(n) % len(CLASSES))
    x = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for start in progress_bar(range(0, n, CHUNK), desc="rendering"):
        part = y[start : start + CHUNK]
        x[start : start + CHUNK] = _pictures(part, masks, first, fonts, draw)
    return x, y.astype(np.int64)


def _masks() -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Each class in each of its fonts: masks (M, 1, 48, 48) in [0, 1], the first of each class, and how many fonts."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    masks, counts = [], []
    for word in (word for members in FAMILIES.values() for word in members.split()):
        glyph = word.split("=", 1)[-1]
        names = LETTERS if glyph.isalnum() else SYMBOLS
        masks += [_mask(glyph, folder / f"DejaVu{name}.ttf") for name in names]
        counts.append(len(names))
    fonts = np.array(counts)
    return torch.from_numpy(np.stack(masks))[:, None], np.cumsum(fonts) - fonts, fonts


def _mask(glyph: str, font_file: Path) -> np.ndarray:
    """One glyph (48, 48), centred, its longest side 32 pixels."""
    from PIL import ImageFont

    def font(size: int) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(str(font_file), size, layout_engine=ImageFont.Layout.BASIC)

    left, top, right, bottom = font(100).getbbox(glyph)
    drawn = font(round(100 * GLYPH / max(right - left, bottom - top))).getmask(glyph, mode="L")
    ink = np.array(drawn, dtype=np.float32).reshape(drawn.size[::-1]) / 255
    rows, columns = np.flatnonzero(ink.max(1)), np.flatnonzero(ink.max(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][:ATLAS, :ATLAS]
    mask = np.zeros((ATLAS, ATLAS), np.float32)
    y, x = (ATLAS - ink.shape[0]) // 2, (ATLAS - ink.shape[1]) // 2
    mask[y : y + ink.shape[0], x : x + ink.shape[1]] = ink
    return mask


def _pictures(
    y: np.ndarray, masks: Tensor, first: np.ndarray, fonts: np.ndarray, draw: np.random.RandomState
) -> np.ndarray:
    """One picture (32, 32, 3) uint8 for each class in y: background, clutter, glyph, light and noise."""
    n = len(y)
    hue = np.array(GROUP_OF)[y] * 0.618 + draw.normal(0, 0.12, n)
    dark = draw.uniform(size=n) < np.where(np.array(GROUP_OF)[y] % 2, 0.8, 0.2)
    value = np.where(dark, draw.uniform(0.15, 0.5, n), draw.uniform(0.55, 0.95, n))
    picture = _background(hue, value, draw)
    for _ in range(2):
        which = draw.randint(len(masks), size=n)
        ink = _placed(masks[which], draw, scale=(0.5, 1.6), shift=0.9, turn=3.0)
        tint = _colour(hue + draw.normal(0, 0.15, n), draw.uniform(0.2, 0.8, n), value + draw.normal(0, 0.2, n))
        picture += 0.5 * ink * (tint - picture)
    ink = _placed(masks[first[y] + draw.randint(fonts[y])], draw, scale=(0.6, 1.0), shift=0.25, turn=0.25)
    contrast = draw.uniform(0.35, 0.65, n) * np.where(dark, 1, -1)
    picture += ink * (_colour(draw.uniform(size=n), draw.uniform(0, 0.9, n), value + contrast) - picture)
    picture *= torch.from_numpy(draw.uniform(0.75, 1.15, (n, 1, 1, 1)).astype(np.float32))
    picture += torch.from_numpy(draw.randint(0, 256, picture.shape, dtype=np.uint8)) * (0.14 / 255) - 0.07
    return (picture.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def _background(hue: np.ndarray, value: np.ndarray, draw: np.random.RandomState) -> Tensor:
    """Patches (n, 3, 32, 32) that go softly over into one another, around one colour each."""
    n = len(hue)
    base = _colour(hue, draw.uniform(0.2, 0.8, n), value)
    patches = torch.from_numpy(draw.normal(0, 0.13, (n, 3, 4, 4)).astype(np.float32))
    patches += torch.from_numpy(draw.normal(0, 0.1, (n, 1, 4, 4)).astype(np.float32))
    return base + functional.interpolate(patches, size=SIDE, mode="bilinear", align_corners=True)


def _placed(
    masks: Tensor, draw: np.random.RandomState, scale: tuple[float, float], shift: float, turn: float
) -> Tensor:
    """Masks (n, 1, 32, 32) as seen in the picture: sized, turned (sd in radians), slanted and shifted at random."""
    n = len(masks)
    size = SIDE / ATLAS / draw.uniform(*scale, n)  # of a step in the picture, in the mask
    angle, slant = draw.normal(0, turn, n), draw.normal(0, 0.15, n)
    wide = size * np.exp(draw.normal(0, 0.1, n))
    cos, sin = np.cos(angle), np.sin(angle)
    rows = np.stack([cos * wide, slant * size - sin * wide, sin * size, cos * size], 1).reshape(n, 2, 2)
    moved = np.einsum("nij,nj->ni", rows, draw.uniform(-shift, shift, (n, 2)))
    places = torch.from_numpy(np.concatenate([rows, moved[:, :, None]], 2).astype(np.float32))
    grid = functional.affine_grid(places, [n, 1, SIDE, SIDE], align_corners=False)
    return functional.grid_sample(masks, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _colour(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> Tensor:
    """Colours (n, 3, 1, 1) in [0, 1] from hue (1 is once around), saturation and value, (n,) each."""
    sector = (hue[:, None] * 6 + np.array([5, 3, 1])) % 6
    dip = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    colour = np.clip(value, 0.05, 0.98)[:, None] * (1 - saturation[:, None] * dip)
    return torch.from_numpy(colour.astype(np.float32))[:, :, None, None]
