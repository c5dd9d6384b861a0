"""Every set, laid in GBI_DATA_DIR as other sites and tools lay it: it is read, or named in one sentence."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from makers import makers_files

from gbi_helpers import data
from gbi_helpers.data import DataError, cifar, image_sets, images, layouts, listing, text

NAMES = image_sets.FILES
LOAD = {"MNIST": data.load_mnist, "FashionMNIST": data.load_fashion_mnist}


@pytest.fixture(autouse=True)
def fresh_clone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, the quick profile, and no network to wait for."""
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GBI_PROFILE", "quick")
    monkeypatch.setenv("GBI_OFFLINE", "1")
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()


@pytest.fixture
def packages(monkeypatch) -> None:
    """The packages' text, made short: to prepare it takes seconds."""
    texts = {task: {split: [task] for split in text.SPLITS} for task in ("speech", "recipe")}
    monkeypatch.setattr(text, "_prepared", lambda: texts)


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def loaded(load, *arguments):
    """What ``load`` returns, and its warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        return load(*arguments), [str(warning.message) for warning in told]


def row(key: str) -> data.DataSet:
    return next(row for row in data.catalogue() if row.key == key)


def one_good_sentence(told: str, path: Path, root: Path) -> bool:
    """It names what lies there, says where it belongs, and neither to set what is set nor to delete anything."""
    assert str(path) in told
    assert f"into {root}" in told
    assert told.endswith(".")
    assert "\n" not in told
    assert "set GBI_DATA_DIR" not in told
    assert "delete" not in told
    return True


# --- MNIST and Fashion-MNIST -----------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def made(seed: int) -> dict[str, bytes]:
    random = np.random.RandomState(seed)
    parts = {}
    for part, size in (("train", 60), ("t10k", 20)):
        parts[f"{part}-images-idx3-ubyte"] = idx(random.randint(0, 256, (size, 28, 28)).astype(np.uint8))
        parts[f"{part}-labels-idx1-ubyte"] = idx(random.randint(0, 10, size).astype(np.uint8))
    return parts


@pytest.fixture
def sets(monkeypatch) -> dict[str, dict[str, bytes]]:
    """MNIST and Fashion-MNIST with 60 + 20 images each."""
    contents = {spec.folder: made(seed) for seed, spec in enumerate(image_sets.SETS)}
    small = {}
    for spec in image_sets.SETS:
        digests = tuple(hashlib.sha256(contents[spec.folder][name]).hexdigest() for name in NAMES)
        small[spec.folder] = dataclasses.replace(spec, digests=digests, total=80)
    monkeypatch.setattr(images, "MNIST", small["MNIST"])
    monkeypatch.setattr(images, "FASHION_MNIST", small["FashionMNIST"])
    for module in (listing, image_sets):
        monkeypatch.setattr(module, "SETS", tuple(small.values()))
    monkeypatch.setattr(images, "HELD_OUT", 10)
    return contents


# Where each file lies, and the folder below the set's that GBI_DATA_DIR names instead.
READ = {
    "as torchvision lays it": ("{set}/raw/{name}", ""),
    "packed": ("{set}/raw/{name}.gz", ""),
    "packed, its ending in capitals": ("{set}/raw/{name}.GZ", ""),
    "without raw": ("{set}/{name}", ""),
    "in lower case": ("{lower}/RAW/{name}", ""),
    "with hyphens": ("{key}/{name}.gz", ""),
    "files in capitals": ("{set}/raw/{NAME}", ""),
    "Kaggle's dots": ("{set}/{dots}", ""),
    "Kaggle's dots, in a folder of its own": ("archive/{dots}", ""),
    "a folder for each file": ("{set}/{name}/{name}", ""),
    "files alone": ("{name}", ""),
    "files alone, packed": ("{name}.gz", ""),
    "one folder too deep": ("{set}/raw/{name}", "{set}"),
    "two folders too deep": ("{set}/raw/{name}.gz", "{set}/raw"),
    "one folder too shallow": ("sets/{set}/raw/{name}", ""),
    "too shallow, packed, no raw": ("sets/{lower}/{name}.gz", ""),
}


def lay(root: Path, layout: str, folder: str, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        dots = name.replace("-idx", ".idx")
        key = {"MNIST": "mnist", "FashionMNIST": "Fashion-MNIST"}[folder]
        path = layout.format(set=folder, lower=folder.lower(), key=key, name=name, NAME=name.upper(), dots=dots)
        put(root / path, gzip.compress(content, 1) if path.lower().endswith(".gz") else content)


@pytest.mark.parametrize("folder", LOAD)
@pytest.mark.parametrize("how", READ)
def test_an_image_set_is_read_however_it_is_laid(sets, tmp_path, monkeypatch, how, folder):
    layout, deeper = READ[how]
    root = tmp_path / "mine"
    lay(root, layout, folder, sets[folder])
    monkeypatch.setenv("GBI_DATA_DIR", str(root / deeper.format(set=folder)))
    full, told = loaded(LOAD[folder], "full")
    assert (full.source.split(", ", 1)[1], told) == ("all 80 images, from GBI_DATA_DIR", [])
    pictures = np.frombuffer(sets[folder]["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(20, 784)
    assert sorted(map(bytes, full.test.x.reshape(20, 784).numpy())) == sorted(map(bytes, pictures))
    own = {"MNIST": "mnist", "FashionMNIST": "fashion-mnist"}
    found = row(own.pop(folder))
    assert (found.found, found.checksum, found.problem) == ("GBI_DATA_DIR, shipped slice", "ok", "")
    other = row(*own.values())  # of the same file names
    assert (other.found, other.problem) == ("shipped slice", "")


def test_sets_in_folders_without_a_name_are_told_apart_by_their_content(sets, tmp_path):
    lay(tmp_path / "mine" / "a", "{name}.gz", "FashionMNIST", sets["FashionMNIST"])
    lay(tmp_path / "mine" / "b", "{name}", "MNIST", sets["MNIST"])
    lay(tmp_path / "mine" / "KMNIST", "raw/{name}", "MNIST", made(7))  # torchvision's, with the same names again
    for folder, load in LOAD.items():
        full, told = loaded(load, "full")
        assert told == []
        assert full.test.y.sort().values.tolist() == sorted(sets[folder]["t10k-labels-idx1-ubyte"][8:])


@pytest.mark.skipif(os.name != "posix", reason="makes folders that differ in case alone")
def test_torchvisions_own_folder_comes_first(sets, tmp_path):
    lay(tmp_path / "mine", "{lower}/{name}", "MNIST", sets["MNIST"])
    lay(tmp_path / "mine", "{set}/raw/{name}", "MNIST", sets["MNIST"])
    put(tmp_path / "mine" / "MNIST" / "raw" / f"{NAMES[0]}.gz", b"left over")
    assert image_sets.given(images.MNIST)[0] == tmp_path / "mine" / "MNIST" / "raw" / NAMES[0]
    assert row("mnist").bytes == sum(map(len, sets["MNIST"].values())) + os.path.getsize(
        data.load_asset("data/mnist-slice.npz")
    )


@pytest.mark.parametrize("left", [NAMES[:1], NAMES[:3]])
def test_files_that_are_missing_are_named(sets, tmp_path, left):
    files = {name: content for name, content in sets["MNIST"].items() if name in left}
    lay(tmp_path / "mine", "{lower}/{name}.gz", "MNIST", files)
    with pytest.raises(DataError) as error:
        data.load_mnist()
    missing = " and ".join(name for name in NAMES if name not in left)
    assert str(error.value) == f"MNIST lacks {missing}: put what is missing into {tmp_path / 'mine' / 'mnist'}."
    assert row("mnist").problem == str(error.value)


@pytest.mark.parametrize("spoil", [lambda packed: packed[:-9], lambda packed: packed[:30] + b"\xff\xff" + packed[32:]])
def test_a_damaged_packed_file_is_one_sentence(sets, tmp_path, spoil):
    lay(tmp_path / "mine", "{set}/{name}.gz", "MNIST", sets["MNIST"])
    bad = tmp_path / "mine" / "MNIST" / f"{NAMES[2]}.gz"
    put(bad, spoil(bad.read_bytes()))
    with pytest.raises(DataError, match=r"^\S+images-idx3-ubyte.gz is damaged.*put the original in its place, or take"):
        data.load_mnist()


NAMED = {
    "Kaggle's tables": ("mnist_train.csv", "fashion-mnist_train.csv"),
    "tables in a folder": ("archive/mnist_test.csv", "archive/fashion-mnist_test.csv"),
    "an archive": ("MNIST.zip", "FashionMNIST.tar.gz"),
    "Keras' file": ("mnist.npz", "fashion_mnist.npz"),
    "pictures": ("mnist_png/3/1.png", "fashion_mnist_png/3/1.png"),
    "torchvision's old file": ("MNIST/processed/training.pt", "FashionMNIST/processed/training.pt"),
}


@pytest.mark.parametrize("size", [None, "slice", "full"])
@pytest.mark.parametrize("number", [0, 1], ids=LOAD)
@pytest.mark.parametrize("how", NAMED)
def test_what_only_looks_like_an_image_set_is_named_once(tmp_path, how, number, size):
    folder, load = list(LOAD.items())[number]
    put(tmp_path / "mine" / NAMED[how][number])
    found, (told,) = loaded(load, size)
    assert "come with the course" in found.source
    named = tmp_path / "mine" / "/".join(NAMED[how][number].split("/")[: 2 if "archive/" in NAMED[how][number] else 1])
    assert one_good_sentence(told.split(" is used. ")[-1], named, tmp_path / "mine" / folder / "raw")
    rows = {row.key: row for row in data.catalogue()}
    own, other = ("mnist", "fashion-mnist")[:: 1 - 2 * number]
    assert rows[own].problem in told
    assert rows[own].problem
    assert (rows[own].checksum, rows[own].found) == ("ok", "shipped slice")
    assert rows[other].problem == ""
    assert (tmp_path / "mine" / NAMED[how][number]).exists()


def test_files_of_that_name_with_other_content_are_named(tmp_path):
    lay(tmp_path / "mine", "archive/{dots}", "MNIST", made(5))
    for folder, load in LOAD.items():
        _, (told,) = loaded(load)
        assert one_good_sentence(told, tmp_path / "mine" / "archive", tmp_path / "mine" / folder / "raw")


def test_what_does_not_look_like_a_set_is_passed_over(tmp_path, packages):
    for name in ("notes/mnist.md", "train_mnist.py", "KMNIST/raw/x", "cifar-10.npz", ".MNIST.zip", "text.py", "a.csv"):
        put(tmp_path / "mine" / name)
    for load in (*LOAD.values(), data.load_text):
        assert loaded(load)[1] == []
    assert [row.problem for row in data.catalogue()] == [""] * 4


def test_without_a_network_nobody_is_told_to_set_what_is_set(tmp_path, monkeypatch):
    _, (told,) = loaded(data.load_mnist, "full")
    assert f"put it into GBI_DATA_DIR ({tmp_path / 'mine'})" in told
    assert "set GBI_DATA_DIR" not in told.replace("unset", "")
    monkeypatch.delenv("GBI_DATA_DIR")
    _, (told,) = loaded(data.load_mnist, "full")
    assert "set GBI_DATA_DIR to a folder with it" in told


def test_a_folder_with_a_loop_in_it_is_looked_through(tmp_path, sets):
    (tmp_path / "mine" / "MNIST").mkdir()
    try:
        (tmp_path / "mine" / "MNIST" / "raw").symlink_to(tmp_path / "mine", target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    lay(tmp_path / "mine", "archive/{name}", "MNIST", sets["MNIST"])
    assert len(image_sets.given(images.MNIST)) == 4
    assert len(list(layouts.folders(tmp_path / "mine", image_sets.FOLDERS))) < 20


# --- CIFAR-100 -------------------------------------------------------------------------------------------------------

LABELS = {"train": np.arange(100), "test": np.arange(100)[::-1]}


@pytest.fixture
def python_files(monkeypatch) -> dict[str, bytes]:
    """The files of CIFAR-100's makers with 100 + 100 images, whose MD5 torchvision is told."""
    monkeypatch.setattr(cifar, "TRAIN", 100)
    monkeypatch.setattr(cifar, "TEST", 100)
    monkeypatch.setattr(cifar, "HELD_OUT", 10)
    monkeypatch.setattr(cifar, "_load_standin", lambda why: dataclasses.make_dataclass("Standin", ["source"])(why))
    random = np.random.RandomState(0)
    pictures = {part: random.randint(0, 256, (100, 3072)).astype(np.uint8) for part in LABELS}
    return makers_files(monkeypatch, pictures, LABELS)


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{cifar.FOLDER}/{name}", content)
    return packed.getvalue()


CIFAR_FOLDERS = {
    "torchvision's folder": (cifar.FOLDER, ""),
    "in another case": ("CIFAR-100-Python", ""),
    "with other signs": ("cifar_100_python", ""),
    "one folder too deep": (cifar.FOLDER, cifar.FOLDER),
    "one folder too shallow": (f"sets/{cifar.FOLDER}", ""),
    "twice, as some unpack": (f"{cifar.FOLDER}/{cifar.FOLDER}", ""),
    "Kaggle's": ("archive", ""),
    "files alone": ("", ""),
}
CIFAR_ARCHIVES = {
    "cifar-100-python.tar.gz": tarred,
    "CIFAR-100-python.TAR.GZ": tarred,
    "sets/cifar-100-python.tgz": tarred,
    "cifar-100-python.tar": lambda files: tarred(files, "w"),
    "cifar-100-python.zip": zipped,
}


def is_read() -> None:
    full, told = loaded(data.load_cifar100, "full")
    assert (full.source, told) == ("CIFAR-100, all 200 images at hand, from GBI_DATA_DIR", [])
    assert torch.bincount(full.test.y).tolist() == [1] * 100
    found = row("cifar-100")
    assert (found.found, found.checksum, found.problem) == ("GBI_DATA_DIR", "ok", "")


@pytest.mark.parametrize("how", CIFAR_FOLDERS)
def test_cifar_is_read_however_it_is_laid(python_files, tmp_path, monkeypatch, how):
    folder, deeper = CIFAR_FOLDERS[how]
    for name, content in python_files.items():
        put(tmp_path / "mine" / folder / name, content)
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path / "mine" / deeper))
    is_read()


@pytest.mark.parametrize("name", CIFAR_ARCHIVES)
def test_cifar_is_read_packed_too(python_files, tmp_path, name):
    put(tmp_path / "mine" / name, CIFAR_ARCHIVES[name](python_files))
    is_read()


def test_half_a_folder_of_cifar_does_not_hide_the_archive(python_files, tmp_path):
    put(tmp_path / "mine" / cifar.FOLDER / "meta", python_files["meta"])
    with pytest.raises(DataError, match=r"a file in it is missing or has the wrong MD5.*put the original in its place"):
        data.load_cifar100()
    put(tmp_path / "mine" / f"{cifar.FOLDER}.tar.gz", tarred(python_files))
    is_read()


@pytest.mark.parametrize("spoil", ["cut", "rubbish", "other", "zip"])
def test_a_damaged_archive_of_cifar_is_one_sentence(python_files, tmp_path, spoil):
    whole = tarred(python_files)
    other = {**python_files, "test": b"cos\nsystem\n(S'false'\ntR."}  # a pickle that would run a command
    content = {"cut": whole[:-900], "rubbish": b"x" * 999, "other": tarred(other), "zip": zipped(python_files)[:-9]}
    path = put(tmp_path / "mine" / f"{cifar.FOLDER}.tar.gz", content[spoil])
    with pytest.raises(DataError, match=r"^\S+ is damaged or not CIFAR-100 \(.+\): put the original in its place, or"):
        data.load_cifar100()
    assert path.exists()
    assert row("cifar-100").checksum == "wrong"


@pytest.mark.parametrize("size", [None, "slice", "full"])
@pytest.mark.parametrize(
    "name",
    ["cifar-100-binary.tar.gz", "cifar100.zip", "CIFAR100_train.csv", "archive/cifar-100.parquet", "cifar100/a/1.png"],
)
def test_what_only_looks_like_cifar_is_named_once(python_files, tmp_path, name, size):
    path = put(tmp_path / "mine" / name)
    found, (told,) = loaded(data.load_cifar100, size)
    assert "not at hand" in found.source
    named = path.parents[1] if "/a/" in name else path
    assert one_good_sentence(told.split(" is used. ")[-1], named, tmp_path / "mine")
    assert "cifar-100-python.tar.gz" in told
    assert row("cifar-100").problem == told.split(" is used. ")[-1]


# --- text ------------------------------------------------------------------------------------------------------------

TEXTS = {
    "the folder text": "text/{source}.{part}.txt",
    "in another case": "Text/{source}.{part}.TXT",
    "all in capitals": "TEXT/{source}.{PART}.TXT",
    "called babylm": "BabyLM/{source}.{part}",
    "packed": "text/{source}.{part}.txt.gz",
    "in the folder itself": "{source}.{part}.txt",
    "too shallow": "sets/text/{source}.{part}.txt",
    "too deep": "text/{source}.{part}.txt",
    "BabyLM's folders": "{babylm}/{source}.{short}",
    "a folder of another name": "corpus/{source}.{part}.txt",
}


@pytest.mark.parametrize("how", TEXTS)
def test_text_is_read_however_it_is_laid(tmp_path, monkeypatch, how):
    for source, word in (("sea", "ship"), ("kitchen", "soup")):
        for part, short, folder in (("train", "train", "train_10M"), ("valid", "dev", "dev"), ("test", "test", "test")):
            if how == "called babylm":
                part = short
            path = TEXTS[how].format(source=source, part=part, PART=part.upper(), short=short, babylm=folder)
            content = f"the {word} of the {part}\r\n\r\n".encode() * 9
            put(tmp_path / "mine" / path, gzip.compress(content) if path.endswith(".gz") else content)
    put(tmp_path / "mine" / "MNIST.zip")  # no text
    if how == "too deep":
        monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path / "mine" / "text"))
    found, told = loaded(data.load_text)
    assert (found.source, found.tasks, told) == ("2 sources of text from GBI_DATA_DIR", ("kitchen", "sea"), [])
    assert "ship" in found.vocabulary.words
    assert (row("babylm").found, row("babylm").problem) == ("GBI_DATA_DIR, packages", "")


@pytest.mark.parametrize("name", ["train_10M.zip", "BabyLM_10M.tar.gz", "text.zip", "sets/babylm.zip"])
def test_what_only_looks_like_text_is_named(tmp_path, packages, name):
    path = put(tmp_path / "mine" / name)
    found, (told,) = loaded(data.load_text)
    assert found.name == "packages"
    assert one_good_sentence(told, path, tmp_path / "mine" / "text")
    assert row("babylm").problem == told
    with pytest.raises(DataError) as error:
        data.load_text("babylm")
    assert str(error.value) == told


def test_texts_that_are_packed_or_named_otherwise_are_told(tmp_path):
    folder = tmp_path / "mine" / "text"
    put(folder / "dev.zip")
    with pytest.raises(DataError, match=r"text holds no texts but dev\.zip: put SOURCE\.train\.txt"):
        data.load_text()
    for source in ("sea", "kitchen"):
        put(folder / f"{source}.train.txt", b"the ship")
        put(folder / f"{source}.test.txt", b"the ship")
    with pytest.raises(DataError, match=r"kitchen lacks kitchen\.valid\.txt \(\S+ also holds dev\.zip\): add what is"):
        data.load_text()
    for source in ("sea", "kitchen"):
        put(folder / f"{source}.valid.txt", b"the ship")
    (folder / "dev.zip").rename(folder / "moon_train.txt")
    put(folder / "README.txt", b"read me")
    found, (told,) = loaded(data.load_text)
    assert found.tasks == ("kitchen", "sea")
    assert told.startswith(f"moon_train.txt in {folder} is not read: ")
