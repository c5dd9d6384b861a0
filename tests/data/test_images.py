"""MNIST and Fashion-MNIST: what is loaded, from where, and what is said when it cannot be."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from gbi_helpers import data, files
from gbi_helpers.data import DataError, Images, image_files, image_sets, images, listing, make_slices

REAL = os.environ.get("GBI_DATA_DIR")
SIZES = {"train": 10_000, "validation": 2_000, "test": 2_000}


@pytest.fixture(autouse=True)
def fresh_clone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data, an empty cache, the quick profile, and no network to wait for."""
    for name in ("GBI_DATA_DIR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GBI_PROFILE", "quick")
    monkeypatch.setenv("GBI_OFFLINE", "1")


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **environment}, timeout=240
    )


# --- the shipped slices -------------------------------------------------------------------------------------------


def test_the_slice_of_mnist():
    mnist = data.load_mnist()
    for name, size in SIZES.items():
        split = getattr(mnist, name)
        assert len(split) == size
        assert (split.x.shape, split.x.dtype) == ((size, 28, 28), torch.uint8)
        assert (split.y.shape, split.y.dtype) == ((size,), torch.int64)
        assert set(split.y.tolist()) == set(range(10))
    assert mnist.classes == tuple("0123456789")
    assert mnist.source == "MNIST, the 14,000 images that come with the course"
    assert repr(mnist) == f"ImageData({mnist.source}: train 10,000, validation 2,000, test 2,000)"


def test_the_slice_of_fashion_mnist_has_test_images_only():
    fashion = data.load_fashion_mnist("slice")
    assert fashion.train is None
    assert fashion.validation is None
    assert len(fashion.test) == 2_000
    assert torch.bincount(fashion.test.y).tolist() == [200] * 10
    assert (len(fashion.classes), fashion.classes[8]) == (10, "Bag")
    assert "2,000 images that come with the course" in fashion.source
    part = fashion.cut(10, 10, 30)
    assert (part.train, part.validation, len(part.test)) == (None, None, 30)


def test_pixels_and_choosing_images():
    test = data.load_mnist("slice").test
    pixels = test[:5].pixels()
    assert (pixels.shape, pixels.dtype) == ((5, 1, 28, 28), torch.float32)
    assert (pixels.min(), pixels.max()) == (0.0, 1.0)
    assert torch.equal((pixels[:, 0] * 255).round().byte(), test.x[:5])
    assert torch.equal(test[3].x, test.x[3:4])
    assert torch.equal(test[-1].y, test.y[-1:])
    assert torch.equal(test[test.y == 7].y, torch.full((int((test.y == 7).sum()),), 7))
    assert torch.equal(test[[4, 2]].x, test.x[[4, 2]])
    with pytest.raises(IndexError):
        test[2_000]
    assert len(list(test[:4])) == 4
    assert repr(test) == "Images(2,000 of 28x28, classes 10)"


@pytest.mark.parametrize(
    "three", [np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), torch.tensor(3).to(torch.uint8)]
)
def test_one_image_is_a_batch_of_one_whatever_counted_to_it(three):
    test = data.load_mnist("slice").test
    one = test[three]
    assert (len(one), one.x.shape, one.pixels().shape) == (1, (1, 28, 28), (1, 1, 28, 28))
    assert torch.equal(one.x, test.x[3:4])


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.zeros(10, 28, 28, dtype=torch.uint8), torch.zeros(9).long()),
        (torch.rand(10, 28, 28), torch.zeros(10).long()),
        (torch.zeros(10, 1, 28, 28, dtype=torch.uint8), torch.zeros(10).long()),
    ],
    ids=["a label short", "scaled before", "channels first"],
)
def test_images_of_another_kind_are_refused_with_their_shapes(x, y):
    with pytest.raises(ValueError, match=r"Images need x in uint8, .* and y \(") as told:
        Images(x, y)
    assert str(tuple(x.shape)) in str(told.value)
    assert str(tuple(y.shape)) in str(told.value)


def test_no_image_is_in_two_splits_and_classes_keep_their_shares():
    with np.load(data.load_asset("data/mnist-slice.npz")) as stored:
        train, validation = stored["train_index"], stored["validation_index"]
        labels = {name: stored[f"{name}_y"] for name in SIZES}
    assert len(np.union1d(train, validation)) == 12_000
    shares = np.array([0.0987, 0.1124, 0.0993, 0.1022, 0.0974, 0.0904, 0.0986, 0.1044, 0.0975, 0.0992])  # of the 60,000
    for name, size in SIZES.items():
        if name != "test":
            assert np.abs(np.bincount(labels[name]) - shares * size).max() < 4
    first, whole = np.bincount(labels["test"][:200], minlength=10) / 200, np.bincount(labels["test"]) / 2_000
    assert np.abs(first - whole).max() < 0.02  # the beginning of a split is a fair sample of it


def test_stratified_order():
    labels = np.random.RandomState(0).choice(4, size=1_000, p=[0.6, 0.2, 0.15, 0.05])
    order = images.stratified_order(labels, seed=3)
    assert sorted(order) == list(range(1_000))
    assert np.array_equal(order, images.stratified_order(labels, seed=3))
    assert not np.array_equal(order, images.stratified_order(labels, seed=4))
    for start, end in ((0, 100), (500, 600), (900, 1_000)):
        counts = np.bincount(labels[order[start:end]], minlength=4)
        assert np.abs(counts - np.bincount(labels) / 10).max() < 2


def test_a_wrong_size_and_a_wrong_profile(monkeypatch):
    with pytest.raises(ValueError, match="use 'slice', 'full', or None"):
        data.load_mnist("small")
    monkeypatch.setenv("GBI_PROFILE", "slow")
    with pytest.raises(ValueError, match="quick, full"):
        data.load_mnist()


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_slice_is_one_sentence(tmp_path, monkeypatch, cut):
    shutil.copytree(files.ASSETS / "data", tmp_path / "data")
    shutil.copy(files.ASSETS / files.MANIFEST, tmp_path)
    bad = tmp_path / "data" / "mnist-slice.npz"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:100_000] if cut else whole[:-9] + b"x" + whole[-8:])
    monkeypatch.setattr(files, "ASSETS", tmp_path)
    with pytest.raises(DataError, match=r"^The shipped file .* restore it with 'git checkout"):
        data.load_mnist()
    row = data.catalogue()[0]
    assert (row.found, row.checksum, row.uses) == ("not here", "wrong", "nothing, until that is mended")


def test_importing_data_and_loading_the_slice_import_no_torchvision():
    program = (
        "import sys, gbi_helpers.data as data; data.load_mnist('slice'); data.catalogue()\n"
        "print([name for name in ('torchvision', 'matplotlib', 'ipywidgets') if name in sys.modules])"
    )
    assert run(program).stdout.strip() == "[]"


# --- a small set, served or laid in folders as the real one is -------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


@pytest.fixture(scope="module")
def raw() -> dict[str, bytes]:
    random = np.random.RandomState(1)
    made = {}
    for part, size in (("train", 300), ("t10k", 100)):
        made[f"{part}-images-idx3-ubyte"] = idx(random.randint(0, 256, (size, 28, 28)).astype(np.uint8))
        made[f"{part}-labels-idx1-ubyte"] = idx(np.arange(size, dtype=np.uint8) % 10)
    return made


@pytest.fixture
def small(raw, monkeypatch) -> image_files.ImageSet:
    """MNIST with 300 + 100 images in place of the real one; its shipped slice stays the real one."""
    digests = tuple(hashlib.sha256(raw[name]).hexdigest() for name in image_files.FILES)
    spec = dataclasses.replace(image_sets.MNIST, digests=digests, total=400)
    monkeypatch.setattr(images, "MNIST", spec)
    monkeypatch.setattr(listing, "SETS", (spec,))
    monkeypatch.setattr(images, "HELD_OUT", 50)
    return spec


def lay(root: Path, raw: dict[str, bytes]) -> Path:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in raw.items():
        (folder / name).write_bytes(content)
    return folder


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_gbi_data_dir_comes_first(small, raw, tmp_path, monkeypatch):
    folder = tmp_path / "my data, ü"
    lay(folder, raw)
    monkeypatch.setenv("GBI_DATA_DIR", str(folder))
    full = data.load_mnist("full")
    assert full.source == "MNIST, all 400 images, from GBI_DATA_DIR"
    assert [len(split) for split in (full.train, full.validation, full.test)] == [250, 50, 100]
    assert torch.bincount(full.validation.y).tolist() == [5] * 10
    pictures = np.frombuffer(raw["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(300, 784)
    both = torch.cat([full.train.x, full.validation.x]).reshape(300, 784).numpy()
    assert sorted(map(bytes, both)) == sorted(map(bytes, pictures))
    monkeypatch.setenv("GBI_PROFILE", "full")
    assert data.load_mnist().source == full.source
    row = data.catalogue()[0]
    assert (row.found, row.checksum, row.uses) == (
        "GBI_DATA_DIR, shipped slice",
        "ok",
        "all 400 images, from GBI_DATA_DIR",
    )


def test_the_slice_is_the_beginning_of_the_full_set(small, raw, tmp_path, monkeypatch):
    lay(tmp_path / "cache", raw)
    spec = dataclasses.replace(small, shipped={"train": 40, "validation": 20, "test": 30})
    monkeypatch.setattr(images, "MNIST", spec)
    part, full = data.load_mnist("slice"), data.load_mnist("full")
    assert part.source == "MNIST, 90 of its 400 images, from the cache"
    for name, size in spec.shipped.items():
        assert torch.equal(getattr(part, name).x, getattr(full, name).x[:size])
        assert torch.equal(getattr(part, name).y, getattr(full, name).y[:size])


def test_a_gbi_data_dir_without_the_set_is_passed_over(small, tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path))
    assert "come with the course" in data.load_mnist("slice").source


@pytest.mark.parametrize("how", ["truncated", "changed", "missing"])
def test_damaged_files_in_gbi_data_dir_are_an_error_and_left_alone(small, raw, tmp_path, monkeypatch, how):
    bad = lay(tmp_path / "mine", raw) / "train-labels-idx1-ubyte"
    if how == "missing":
        bad.unlink()
    else:
        bad.write_bytes(bad.read_bytes()[:-1] + (b"" if how == "truncated" else b"\xff"))
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path / "mine"))
    for size in ("slice", "full"):
        with pytest.raises(
            DataError, match=r"train-labels-idx1-ubyte(: put what is missing| is damaged.*put the original)"
        ):
            data.load_mnist(size)
    row = data.catalogue()[0]
    assert (row.checksum, row.uses) == ("wrong", "nothing, until that is mended")
    assert "train-labels" in row.problem
    assert len(left(bad.parent)) == (3 if how == "missing" else 4)


@pytest.mark.parametrize("named", ["nowhere", "~nobodyxx/x"])
def test_a_gbi_data_dir_that_is_no_folder(tmp_path, monkeypatch, named):
    monkeypatch.setenv("GBI_DATA_DIR", named if named.startswith("~") else str(tmp_path / named))
    with pytest.raises(DataError, match="no folder: correct it, or unset it"):
        data.load_mnist()
    assert "correct it" in data.catalogue()[0].problem


@pytest.mark.parametrize("how", ["truncated", "missing"])
def test_a_damaged_cache_is_set_aside_and_the_slice_used(small, raw, tmp_path, how):
    bad = lay(tmp_path / "cache", raw) / "t10k-images-idx3-ubyte"
    bad.unlink() if how == "missing" else bad.write_bytes(bad.read_bytes()[:2_000])
    assert data.catalogue()[0].checksum == "wrong"
    with pytest.warns(UserWarning, match=r"MNIST in the cache is damaged .* moved to .*MNIST.damaged"):
        mnist = data.load_mnist("slice")
    assert "come with the course" in mnist.source
    assert left(tmp_path / "cache") == ["MNIST.damaged"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load_mnist("slice")  # it is told once
    assert data.catalogue()[0].checksum == "ok"


def test_full_without_the_set_says_why_and_takes_the_slice(small):
    with pytest.warns(UserWarning, match=r"^Not all of MNIST is at hand, so the shipped slice is used\. GBI_"):
        mnist = data.load_mnist("full")
    assert len(mnist.train) == 10_000
    assert "all of MNIST was asked for" in mnist.source


# --- downloads by torchvision, from a server on this machine ---------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.failures:
            self.server.failures -= 1
            self.send_error(503)
        else:
            with contextlib.suppress(ConnectionError):  # torchvision first asks without reading
                super().do_GET()


@pytest.fixture
def mirror(small, raw, tmp_path, monkeypatch) -> Iterator[http.server.ThreadingHTTPServer]:
    """torchvision's MNIST, with its mirrors on this machine; its first ``failures`` requests fail."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    resources = []
    for name in image_files.FILES:
        packed = gzip.compress(raw[name], mtime=0)
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.asked, server.failures, server.folder = [], 0, folder
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    dataset = data.torchvision().datasets.MNIST
    monkeypatch.setattr(dataset, "mirrors", [f"http://127.0.0.1:{server.server_address[1]}/"])
    monkeypatch.setattr(dataset, "resources", resources)
    monkeypatch.setattr(image_files.time, "sleep", lambda seconds: None)
    monkeypatch.delenv("GBI_OFFLINE")
    yield server
    server.shutdown()
    server.server_close()


def test_full_is_downloaded_once_and_then_cached(mirror, tmp_path):
    assert data.load_mnist("full").source == "MNIST, all 400 images, downloaded by torchvision"
    assert data.load_mnist("full").source == "MNIST, all 400 images, from the cache"
    assert data.fetch("MNIST") == tmp_path / "cache" / "MNIST" / "raw"
    asked = len(mirror.asked)
    data.load_mnist("full")
    assert len(mirror.asked) == asked > 0
    assert left(tmp_path / "cache") == ["MNIST"]
    assert left(tmp_path / "cache" / "MNIST" / "raw") == sorted(image_files.FILES)
    assert data.catalogue()[0].found == "cache, shipped slice"


def test_the_slice_is_never_downloaded(mirror):
    assert "come with the course" in data.load_mnist("slice").source
    assert mirror.asked == []


def test_a_server_that_fails_twice_is_asked_again(mirror, tmp_path):
    mirror.failures = 2
    assert data.fetch("mnist").is_dir()
    assert left(tmp_path / "cache") == ["MNIST"]


@pytest.mark.parametrize("how", ["500", "truncated", "wrong"])
def test_a_download_that_keeps_failing_is_one_sentence_and_leaves_nothing(mirror, tmp_path, how):
    file = mirror.folder / "t10k-labels-idx1-ubyte.gz"
    if how == "500":
        mirror.failures = 99
    else:
        file.write_bytes(file.read_bytes()[:20] + (b"" if how == "truncated" else b"x"))
    with pytest.raises(DataError, match=r"^MNIST could not be downloaded in 3 tries: try again later, .* with it\.$"):
        data.fetch("mnist")
    assert left(tmp_path / "cache") == []
    with pytest.warns(UserWarning, match="could not be downloaded"):
        assert len(data.load_mnist("full").train) == 10_000


def test_a_download_of_other_images_is_refused(mirror, tmp_path, monkeypatch):
    spec = dataclasses.replace(image_sets.MNIST, digests=("0" * 64,) * 4)
    with pytest.raises(DataError, match="SHA-256 is not the one expected"):
        image_files.fetch_images(spec)
    assert left(tmp_path / "cache") == []


def test_a_damaged_cache_is_fetched_again(mirror, raw, tmp_path):
    lay(tmp_path / "cache", raw)
    (tmp_path / "cache" / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"half")
    with pytest.warns(UserWarning, match="set aside|damaged or incomplete"):
        assert data.load_mnist("full").source.endswith("downloaded by torchvision")
    assert left(tmp_path / "cache") == ["MNIST", "MNIST.damaged"]


def test_another_process_that_was_quicker_wins(mirror, small, raw, tmp_path, monkeypatch):
    settle = image_files._settle

    def late(spec, part, cache):
        lay(cache, raw)
        return settle(spec, part, cache)

    monkeypatch.setattr(image_files, "_settle", late)
    assert image_files.fetch_images(small) == tmp_path / "cache" / "MNIST" / "raw"
    assert left(tmp_path / "cache") == ["MNIST"]


def test_old_part_folders_of_killed_processes_are_swept(mirror, tmp_path):
    for name, age in ((".MNIST.old.part", 2e5), (".MNIST.new.part", 60)):
        folder = tmp_path / "cache" / name
        folder.mkdir(parents=True)
        os.utime(folder, (folder.stat().st_mtime - age,) * 2)
    data.fetch("mnist")
    assert left(tmp_path / "cache") == [".MNIST.new.part", "MNIST"]


def test_no_network_is_one_sentence(mirror, monkeypatch):
    monkeypatch.setattr(data.torchvision().datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(DataError, match=r"^No server of MNIST can be reached: check the network, or set GBI_DATA_DIR"):
        data.fetch("mnist")


def test_a_file_where_the_cache_folder_should_be(mirror, tmp_path):
    (tmp_path / "cache").write_text("I am a file")
    with pytest.raises(DataError, match=r"cannot be written .*: set GBI_CACHE_DIR to a folder of yours"):
        data.fetch("mnist")
    with pytest.warns(UserWarning, match="cannot be written"):
        assert "come with the course" in data.load_mnist("full").source
    assert mirror.asked == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(mirror, tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def full(*args: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(utils, "open", full, raising=False)
    with pytest.raises(DataError, match=r"cannot be written to the cache \(No space left on device\): free some space"):
        data.fetch("mnist")
    assert left(tmp_path / "cache") == []


def test_fetching_an_unknown_name_lists_the_names():
    with pytest.raises(DataError, match=r"no data set 'minst': choose one of mnist, .*babylm\."):
        data.fetch("minst")


def test_the_catalogue_only_looks(tmp_path, monkeypatch):
    rows = [row for row in data.catalogue() if "mnist" in row.key]
    assert [(row.name, row.key, row.licence) for row in rows] == [
        ("MNIST", "mnist", "CC BY-SA 3.0"),
        ("Fashion-MNIST", "fashion-mnist", "MIT"),
    ]
    assert all(row.checksum == "ok" and row.found == "shipped slice" and not row.problem for row in rows)
    assert rows[0].uses == "14,000 images, from the shipped slice"
    assert rows[0].bytes == data.load_asset("data/mnist-slice.npz").stat().st_size
    monkeypatch.setenv("GBI_PROFILE", "full")
    assert "since GBI_OFFLINE is set" in data.catalogue()[0].uses
    monkeypatch.delenv("GBI_OFFLINE")
    assert "downloaded at first use" in data.catalogue()[0].uses
    assert not (tmp_path / "cache").exists()


# --- torchvision, guarded --------------------------------------------------------------------------------------------


def test_torchvision_is_usable_here():
    vision = data.torchvision()
    assert vision is data.torchvision() is sys.modules["torchvision"]
    assert vision.models.squeezenet1_1(num_classes=3) is not None


FAKE = """
import sys, torch
sys.path.insert(0, {folder!r})
torch.version.cuda = {cuda!r}
from gbi_helpers.data import torchvision
try:
    print("imported", torchvision().__name__)
except Exception as error:
    print(type(error).__name__, error)
print("declared" if hasattr(torch.ops.torchvision, "nms") else "left alone")
"""
NEEDS_NMS = "import torch\nif not hasattr(torch.ops.torchvision, 'nms'): raise RuntimeError({text!r})\n"
MISSING = "operator torchvision::nms does not exist"


@pytest.mark.parametrize(
    ("source", "cuda", "said"),
    [
        (NEEDS_NMS.format(text=MISSING), None, ["imported torchvision", "declared"]),
        (NEEDS_NMS.format(text=MISSING), "12.8", [f"RuntimeError {MISSING}", "left alone"]),
        ("raise RuntimeError('another fault')", None, ["RuntimeError another fault", "left alone"]),
        ("raise ImportError('not built')", None, ["ImportError not built", "left alone"]),
        (f"raise RuntimeError({MISSING!r})", None, [f"RuntimeError {MISSING}", "declared"]),
        ("ok = 1", None, ["imported torchvision", "left alone"]),
    ],
)
def test_only_the_known_fault_of_torchvision_is_repaired(tmp_path, source, cuda, said):
    (tmp_path / "torchvision.py").write_text(source)
    done = run(FAKE.format(folder=str(tmp_path), cuda=cuda))
    assert done.stdout.strip().splitlines() == said, done.stderr


# --- making the slices -----------------------------------------------------------------------------------------------


def test_equal_arrays_make_equal_files(tmp_path):
    arrays = {"x": np.arange(1000, dtype=np.uint8), "index": np.arange(5, dtype=np.int32)}
    one, two = (make_slices.write_npz(tmp_path / name, arrays) for name in ("a.npz", "b.npz"))
    assert one.read_bytes() == two.read_bytes()
    with np.load(one) as stored:
        assert all(np.array_equal(stored[name], array) for name, array in arrays.items())


def test_making_slices_without_the_set_says_so(tmp_path):
    with pytest.raises(DataError, match="put them there"):
        make_slices.make(tmp_path, tmp_path)


@pytest.mark.realdata
@pytest.mark.skipif(not REAL, reason="needs the full sets in GBI_DATA_DIR")
class TestReal:
    def test_the_slice_equals_the_full_set_at_its_indices(self):
        train_x, train_y, test_x, test_y = (images.read_idx(Path(REAL, "MNIST", "raw", n)) for n in image_files.FILES)
        with np.load(data.load_asset("data/mnist-slice.npz")) as stored:
            for name in SIZES:
                x, y = (test_x, test_y) if name == "test" else (train_x, train_y)
                assert np.array_equal(stored[f"{name}_x"], x[stored[f"{name}_index"]])
                assert np.array_equal(stored[f"{name}_y"], y[stored[f"{name}_index"]])

    @pytest.mark.parametrize("load", [data.load_mnist, data.load_fashion_mnist])
    def test_the_same_images_from_the_course_and_from_the_full_set(self, load, monkeypatch):
        shipped = load("slice")
        monkeypatch.setenv("GBI_DATA_DIR", REAL)
        part, full = load("slice"), load("full")
        assert [len(s) for s in (full.train, full.validation, full.test)] == [55_000, 5_000, 10_000]
        for name in SIZES:
            mine: Images | None = getattr(shipped, name)
            if mine is not None:
                for other in (getattr(part, name), getattr(full, name)[: len(mine)]):
                    assert torch.equal(mine.x, other.x)
                    assert torch.equal(mine.y, other.y)

    def test_the_slices_are_made_again_with_the_same_content(self, tmp_path):
        for path in make_slices.make(Path(REAL), tmp_path):
            with np.load(path) as new, np.load(files.ASSETS / "data" / path.name) as old:
                assert new.files == old.files
                assert all(np.array_equal(new[name], old[name]) for name in old.files)


def test_other_labels_are_other_data():
    x = torch.zeros(3, 28, 28, dtype=torch.uint8)
    parts = [Images(x, torch.tensor(y)) for y in ([0, 1, 2], [0, 1, 3])]
    first, second = (data.ImageData("a", "s", part, part, part, ("0",) * 4) for part in parts)
    assert first.digest != second.digest


def test_the_order_of_the_slices_is_the_one_that_was_shipped():
    order = images.stratified_order(np.arange(1000) % 7, images.SEED)
    assert order[:6].tolist() == [895, 775, 659, 196, 311, 431]


def test_a_copy_that_the_system_will_not_open_is_not_set_aside(monkeypatch, tmp_path):
    cache = files.cache_dir() / image_sets.MNIST.folder
    cache.mkdir(parents=True)
    refused = DataError("too many open files")
    refused.__cause__ = OSError(errno.EMFILE, "Too many open files")

    def present(*_):
        raise refused

    monkeypatch.setattr(image_files, "present", present)
    with pytest.raises(DataError, match="too many open"):
        image_files.cached(image_sets.MNIST)
    assert cache.exists()
