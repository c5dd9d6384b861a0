"""CIFAR-100 and its stand-in: what is loaded, from where, and what is said when it cannot be."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from makers import makers_files
from torch.nn import functional

from gbi_helpers import data
from gbi_helpers.data import DataError, cifar, image_files, standin

REAL = os.environ.get("GBI_DATA_DIR")
LABELS = {"train": np.arange(600) % 100, "test": np.arange(200) % 100}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """One cache for the module: rendering takes seconds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def fresh_clone(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """No data, a cache with nothing but the stand-in, the quick profile, and no network to wait for."""
    for name in ("GBI_DATA_DIR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GBI_CACHE_DIR", str(cache))
    monkeypatch.setenv("GBI_PROFILE", "quick")
    monkeypatch.setenv("GBI_OFFLINE", "1")


# --- the stand-in --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def some() -> tuple[np.ndarray, np.ndarray]:
    return standin.render_standin(3_000, seed=5)


def test_the_standin_has_a_hundred_named_classes_in_twenty_families(some):
    x, y = some
    assert (x.shape, x.dtype, y.dtype) == ((3_000, 32, 32, 3), np.uint8, np.int64)
    assert np.bincount(y).tolist() == [30] * 100
    assert len(set(standin.CLASSES)) == 100
    assert np.bincount(standin.GROUP_OF).tolist() == [5] * len(standin.GROUPS) == [5] * 20
    assert standin.CLASSES[standin.GROUP_OF.index(standin.GROUPS.index("chess"))] == "king"


def test_rendering_again_gives_the_same_bytes_and_another_seed_others(some):
    again, other = standin.render_standin(300, seed=5), standin.render_standin(300, seed=6)
    assert np.array_equal(again[0], standin.render_standin(300, seed=5)[0])
    assert not np.array_equal(again[0], other[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert np.array_equal(again[0], standin.render_standin(300, seed=5)[0]), "threads change it"
    finally:
        torch.set_num_threads(threads)
    with pytest.raises(ValueError, match="ask for one picture"):
        standin.render_standin(0)


def test_every_glyph_is_drawn_and_no_two_classes_look_alike():
    masks, first, fonts = standin._masks()
    assert len(masks) == fonts.sum()
    ink = masks.flatten(1).sum(1)
    assert ink.min() > 20, "an empty glyph: its font lacks it"
    assert masks[:, 0, [0, -1]].amax() == masks[:, 0, :, [0, -1]].amax() == 0, "cut at the border"
    plain = masks[torch.from_numpy(first)].flatten(1)
    likeness = functional.normalize(plain, dim=1) @ functional.normalize(plain, dim=1).T
    assert (likeness - torch.eye(100)).max() < 0.97  # a font's box for a missing glyph would be the same in two


def test_the_pictures_differ_within_a_class_and_glyphs_stand_out(some):
    x, y = some
    king = x[y == standin.CLASSES.index("king")].astype(float)
    assert np.abs(king[0] - king[1]).mean() > 20
    middle, edge = x[:, 12:20, 12:20].astype(float).std((1, 2)).mean(), x[:, :4].astype(float).std((1, 2)).mean()
    assert middle > 1.3 * edge  # a glyph is in the middle, clutter anywhere


def test_a_mean_picture_a_class_names_few_and_a_linear_map_more():
    """The difficulty is of CIFAR-100's kind: nearest mean 10 % there, linear on pixels 18 %, families are easier."""
    pictures = data.load_cifar100("standin")
    train, test = (functional.avg_pool2d(part.pixels(), 4).flatten(1) for part in (pictures.train, pictures.test))
    y = pictures.train.y
    means = torch.stack([train[y == k].mean(0) for k in range(100)])
    nearest = torch.cdist(test, means).argmin(1)
    within = torch.cov((train - means[y]).T) + 1e-3 * torch.eye(192)
    weights = torch.linalg.solve(within, means.T)
    linear = (test @ weights - (means.T * weights).sum(0) / 2).argmax(1)
    right = [float((guess == pictures.test.y).float().mean()) for guess in (nearest, linear)]
    group = torch.tensor(pictures.group_of)
    assert 0.05 < right[0] < 0.2
    assert right[0] + 0.05 < right[1] < 0.4
    assert (group[nearest] == group[pictures.test.y]).float().mean() > 0.2


def test_without_the_set_the_standin_is_loaded_by_its_own_name_without_a_warning(cache):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = data.load_cifar100()
    assert pictures.name == "Glyphs-100"
    assert pictures.source.startswith("Glyphs-100")
    assert "a stand-in for CIFAR-100, since" in pictures.source
    assert [len(part) for part in (pictures.train, pictures.validation, pictures.test)] == [16_000, 2_000, 2_000]
    for part in (pictures.train, pictures.validation, pictures.test):
        assert torch.bincount(part.y).tolist() == [len(part) // 100] * 100
    assert (pictures.classes, pictures.groups) == (standin.CLASSES, standin.GROUPS)
    pixels = pictures.test[:7].pixels()
    assert (pixels.shape, pixels.dtype, pixels.is_contiguous()) == ((7, 3, 32, 32), torch.float32, True)
    assert torch.equal((pixels * 255).round().byte().permute(0, 2, 3, 1), pictures.test.x[:7])
    assert repr(pictures.test[:7]).startswith("Images(7 of 32x32x3")
    assert [path.name for path in cache.iterdir()] == [cifar.STANDIN_FILE]


def test_the_standin_is_rendered_once_and_a_damaged_copy_again(cache, monkeypatch):
    first = data.load_cifar100("standin")
    monkeypatch.setattr(standin, "render_standin", lambda n: pytest.fail("rendered again"))
    assert torch.equal(data.load_cifar100("standin").test.x, first.test.x)
    monkeypatch.undo()
    monkeypatch.setenv("GBI_CACHE_DIR", str(cache / "other"))
    (cache / "other").mkdir()
    (cache / "other" / cifar.STANDIN_FILE).write_bytes((cache / cifar.STANDIN_FILE).read_bytes()[:1_000_000])
    monkeypatch.setattr(standin, "render_standin", lambda n: (np.zeros((n, 32, 32, 3), np.uint8), np.arange(n) % 100))
    assert not data.load_cifar100("standin").test.x.any()
    with np.load(cache / "other" / cifar.STANDIN_FILE) as stored:
        assert stored["x"].shape == (20_000, 32, 32, 3)


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(standin, "render_standin", lambda n: (np.zeros((n, 32, 32, 3), np.uint8), np.arange(n) % 100))
    assert len(data.load_cifar100("standin").train) == 16_000


def test_a_wrong_size():
    with pytest.raises(ValueError, match="use 'slice', 'full', 'standin', or None"):
        data.load_cifar100("small")


def test_loading_the_standin_imports_no_torchvision_and_no_pyplot():
    program = (
        "import sys, gbi_helpers.data as data; data.load_cifar100(); data.catalogue()\n"
        "print([name for name in ('torchvision', 'matplotlib.pyplot', 'ipywidgets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "[]", done.stderr


# --- a small set, laid as npz, in torchvision's layout, or served ----------------------------------------------------


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.RandomState(seed)
    made: dict[str, np.ndarray] = {"fine_label_names": np.array(cifar.CLASSES)}
    for part, y in LABELS.items():
        made[f"x_{part}"] = random.randint(0, 256, (len(y), 32, 32, 3)).astype(np.uint8)
        made[f"y_{part}"] = y.astype(np.uint8)
    return made


@pytest.fixture
def small(monkeypatch) -> dict[str, np.ndarray]:
    """CIFAR-100 with 600 + 200 images in place of the real one."""
    monkeypatch.setattr(cifar, "TRAIN", 600)
    monkeypatch.setattr(cifar, "TEST", 200)
    monkeypatch.setattr(cifar, "HELD_OUT", 100)
    monkeypatch.setattr(cifar, "SLICE", {"train": 200, "validation": 50, "test": 100})
    return arrays()


@pytest.fixture
def torchvision_files(small, monkeypatch) -> dict[str, bytes]:
    """The same images as torchvision's files, whose MD5 it is told."""
    pictures = {part: small[f"x_{part}"].transpose(0, 3, 1, 2).reshape(len(y), -1) for part, y in LABELS.items()}
    return makers_files(monkeypatch, pictures, LABELS)


def lay(root: Path, files: dict[str, bytes]) -> Path:
    folder = root / cifar.FOLDER
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def own_cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "own"))
    return tmp_path / "own"


def test_the_npz_in_gbi_data_dir(small, tmp_path, monkeypatch):
    np.savez(tmp_path / cifar.FILE, **small)
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    full, part = data.load_cifar100("full"), data.load_cifar100("slice")
    assert full.source == "CIFAR-100, all 800 images at hand, from GBI_DATA_DIR"
    assert part.source == "CIFAR-100, 350 of the 800 images at hand, from GBI_DATA_DIR"
    assert [len(split) for split in (full.train, full.validation, full.test)] == [500, 100, 200]
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(part, name).x, getattr(full, name).x[: cifar.SLICE[name]])
    assert torch.bincount(full.train.y, minlength=100).tolist() == [5] * 100
    both = torch.cat([full.train.x, full.validation.x]).reshape(600, -1).numpy()
    given = {image.tobytes(): y for image, y in zip(small["x_train"], LABELS["train"], strict=True)}
    labels = torch.cat([full.train.y, full.validation.y]).tolist()
    assert [given.pop(image.tobytes()) for image in both] == labels
    assert given == {}
    assert full.groups[full.group_of[full.classes.index("trout")]] == "fish"
    monkeypatch.setenv("GBI_PROFILE", "full")
    assert data.load_cifar100().source == full.source


def test_the_order_does_not_depend_on_that_of_the_file(small, tmp_path, monkeypatch):
    np.savez(tmp_path / cifar.FILE, **small)
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    first = data.load_cifar100("full")
    mixed = np.random.RandomState(3).permutation(600)
    np.savez(tmp_path / cifar.FILE, **{**small, **{f"{k}_train": small[f"{k}_train"][mixed] for k in "xy"}})
    again = data.load_cifar100("full")
    assert torch.equal(first.train.x, again.train.x)
    assert torch.equal(first.train.y, again.train.y)


def test_torchvisions_layout_gives_the_same_set(small, torchvision_files, tmp_path, monkeypatch):
    lay(tmp_path, torchvision_files)
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    one = data.load_cifar100("full")
    assert one.source == "CIFAR-100, all 800 images at hand, from GBI_DATA_DIR"
    np.savez(tmp_path / cifar.FILE, **small)
    two = data.load_cifar100("full")
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(one, name).x, getattr(two, name).x)
        assert torch.equal(getattr(one, name).y, getattr(two, name).y)


BAD = {
    "cut": lambda a: None,
    "no test labels": lambda a: {k: v for k, v in a.items() if k != "y_test"},
    "floats": lambda a: a | {"x_train": a["x_train"].astype(np.float32)},
    "grey": lambda a: a | {"x_test": a["x_test"][..., 0]},
    "channels first": lambda a: a | {"x_train": a["x_train"].transpose(0, 3, 1, 2)},
    "too few": lambda a: a | {k: a[k][:300] for k in ("x_train", "y_train")},
    "no test images": lambda a: a | {k: a[k][:0] for k in ("x_test", "y_test")},
    "labels from 1": lambda a: a | {"y_train": a["y_train"] + 1},
    "float labels": lambda a: a | {"y_train": a["y_train"].astype(float)},
    "other names": lambda a: a | {"fine_label_names": a["fine_label_names"][::-1]},
    "objects": lambda a: a | {"y_train": np.array([{}] * 600, dtype=object)},
}


@pytest.mark.parametrize("how", BAD)
def test_a_damaged_npz_is_one_sentence(small, tmp_path, monkeypatch, how):
    path = tmp_path / cifar.FILE
    np.savez(path, **(BAD[how](small) or small))
    if how == "cut":
        path.write_bytes(path.read_bytes()[:100_000])
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    for size in ("slice", "full"):
        with pytest.raises(DataError, match=r"^\S*cifar-100.npz is damaged or not CIFAR-100 \(.*\): put the original"):
            data.load_cifar100(size)
    assert path.exists()
    row = next(row for row in data.catalogue() if row.key == "cifar-100")
    assert (row.checksum, row.uses) == ("wrong", "nothing, until that is mended")
    assert "put the original" in row.problem


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_damaged_torchvision_folder_is_one_sentence(torchvision_files, tmp_path, monkeypatch, how):
    bad = lay(tmp_path, torchvision_files) / "test"
    bad.unlink() if how == "missing" else bad.write_bytes(bad.read_bytes() + b"x")
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"cifar-100-python is damaged or not CIFAR-100 \(a file in it is missing or"):
        data.load_cifar100()


def test_a_damaged_copy_in_the_cache_is_set_aside_and_told_once(small, tmp_path, monkeypatch):
    folder = own_cache(monkeypatch, tmp_path)
    folder.mkdir()
    (folder / cifar.FILE).write_bytes(b"half")
    monkeypatch.setattr(standin, "render_standin", lambda n: (np.zeros((n, 32, 32, 3), np.uint8), np.arange(n) % 100))
    with pytest.warns(UserWarning, match=r"CIFAR-100 in the cache is damaged .* moved to .*npz\.damaged") as told:
        assert data.load_cifar100().name == "Glyphs-100"
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.load_cifar100().name == "Glyphs-100"
    np.savez(folder / cifar.FILE, **small)
    assert data.load_cifar100().source.endswith("from the cache")


def test_a_whole_copy_in_the_cache_is_used_beside_a_damaged_one(small, torchvision_files, tmp_path, monkeypatch):
    cache = own_cache(monkeypatch, tmp_path)
    folder = lay(cache, torchvision_files)
    (cache / cifar.FILE).write_bytes(b"cut")
    assert (row().found, row().checksum) == ("cache", "wrong"), "the catalogue only looks"
    with pytest.warns(UserWarning, match="moved to .*npz.damaged"):
        assert data.fetch("cifar-100") == folder
    assert left(cache) == [cifar.FOLDER, f"{cifar.FILE}.damaged"]
    assert data.load_cifar100("full").source.endswith("from the cache")
    assert (row().found, row().checksum) == ("cache", "ok")


@pytest.mark.parametrize("content", [b"garbage", b"", b"PK\x03\x04garbage"])
def test_what_is_no_npz_is_said_to_be_none(tmp_path, monkeypatch, content):
    """NumPy would advise to load it unsafely, with allow_pickle."""
    (tmp_path / cifar.FILE).write_bytes(content)
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    with pytest.raises(
        DataError, match=r"not CIFAR-100 \(it is no whole npz file\): put the original in its place"
    ) as error:
        data.load_cifar100()
    assert "pickle" not in str(error.value)


def test_full_without_the_set_says_why_and_takes_the_standin():
    with pytest.warns(UserWarning, match=r"^CIFAR-100 is not at hand, so a stand-in is used\. GBI_OFFLINE is set"):
        pictures = data.load_cifar100("full")
    assert pictures.name == "Glyphs-100"


# --- the catalogue -------------------------------------------------------------------------------------------------


def row() -> data.DataSet:
    return next(row for row in data.catalogue() if row.key == "cifar-100")


def test_the_row_in_the_catalogue(small, tmp_path, monkeypatch):
    cache = own_cache(monkeypatch, tmp_path)
    assert (row().name, row().found, row().bytes, row().problem) == ("CIFAR-100", "not here", 0, "")
    assert "not shipped" in row().licence
    assert "350 rendered pictures, a stand-in" in row().uses
    assert not cache.exists()
    monkeypatch.setenv("GBI_PROFILE", "full")
    assert "since GBI_OFFLINE is set" in row().uses
    monkeypatch.delenv("GBI_OFFLINE")
    assert "downloaded at first use" in row().uses
    np.savez(tmp_path / cifar.FILE, **small)
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    assert (row().found, row().checksum) == ("GBI_DATA_DIR", "ok")
    assert row().bytes == (tmp_path / cifar.FILE).stat().st_size
    assert row().uses == "all 800 images, from GBI_DATA_DIR"
    monkeypatch.setenv("GBI_PROFILE", "quick")
    assert row().uses == "350 images, from GBI_DATA_DIR"


# --- downloads by torchvision, from a server on this machine ---------------------------------------------------------


@pytest.fixture
def server(torchvision_files, tmp_path, monkeypatch) -> Iterator[http.server.ThreadingHTTPServer]:
    """torchvision's CIFAR100, with its archive on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    with tarfile.open(folder / "c.tar.gz", "w:gz") as archive:
        for name, content in torchvision_files.items():
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    dataset = data.torchvision().datasets.CIFAR100
    monkeypatch.setattr(dataset, "url", f"http://127.0.0.1:{served.server_address[1]}/c.tar.gz")
    monkeypatch.setattr(dataset, "tgz_md5", hashlib.md5((folder / "c.tar.gz").read_bytes()).hexdigest())
    monkeypatch.setattr(image_files.time, "sleep", lambda seconds: None)
    monkeypatch.delenv("GBI_OFFLINE")
    own_cache(monkeypatch, tmp_path)
    yield served
    served.shutdown()
    served.server_close()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_full_is_downloaded_once_and_then_cached(server, tmp_path):
    assert data.load_cifar100("full").source == "CIFAR-100, all 800 images at hand, downloaded by torchvision"
    assert data.load_cifar100("full").source == "CIFAR-100, all 800 images at hand, from the cache"
    assert data.fetch("CIFAR-100") == data.fetch("cifar-100") == tmp_path / "own" / cifar.FOLDER
    assert left(tmp_path / "own") == [cifar.FOLDER]
    assert row().found == "cache"


@pytest.mark.parametrize("name", [cifar.FILE, f"{cifar.FOLDER}/train"])
def test_a_damaged_copy_in_the_cache_costs_one_download_and_no_more(server, tmp_path, name, monkeypatch):
    path = tmp_path / "own" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cut")
    with pytest.warns(UserWarning, match="damaged or incomplete, so it is not used"):
        assert data.fetch("cifar-100") == tmp_path / "own" / cifar.FOLDER
    monkeypatch.setenv("GBI_OFFLINE", "1")
    assert data.fetch("cifar-100") == tmp_path / "own" / cifar.FOLDER


def test_a_download_that_keeps_failing_is_one_sentence_and_leaves_nothing(server, tmp_path, monkeypatch):
    monkeypatch.setattr(data.torchvision().datasets.CIFAR100, "tgz_md5", "0" * 32)
    with pytest.raises(DataError, match=r"^CIFAR-100 could not be downloaded in 3 tries: try again later"):
        data.fetch("cifar-100")
    assert left(tmp_path / "own") == []


def test_no_network_is_one_sentence(server, monkeypatch):
    monkeypatch.setattr(data.torchvision().datasets.CIFAR100, "url", "http://127.0.0.1:9/c.tar.gz")
    with pytest.raises(DataError, match=r"^No server of CIFAR-100 can be reached: check the network"):
        data.fetch("cifar-100")


# --- the real set --------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_the_real_set(monkeypatch):
    folder = Path(REAL) if REAL else None
    if folder is None or not cifar.lies_in(folder):
        pytest.skip("CIFAR-100 is not in GBI_DATA_DIR")
    monkeypatch.setenv("GBI_DATA_DIR", str(folder))
    full = data.load_cifar100("full")
    assert [len(part) for part in (full.train, full.validation)] == [45_000, 5_000]
    assert torch.bincount(full.train.y).tolist() == [450] * 100
    pixels = torch.cat([full.train.x, full.validation.x]).double() / 255
    assert torch.allclose(pixels.mean((0, 1, 2)), torch.tensor([0.5071, 0.4865, 0.4409]).double(), atol=1e-4)
    assert torch.allclose(pixels.std((0, 1, 2)), torch.tensor([0.2673, 0.2564, 0.2762]).double(), atol=1e-4)
    with np.load(folder / cifar.FILE) as stored:
        if "fine_to_coarse" in stored:
            assert tuple(stored["fine_to_coarse"].tolist()) == cifar.GROUP_OF
            assert tuple(stored["coarse_label_names"].tolist()) == cifar.GROUPS
