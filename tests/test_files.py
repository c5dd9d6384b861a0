"""The cache, checksums, downloads and assets: every failure is one sentence, and nothing is left broken."""

from __future__ import annotations

import errno
import functools
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gbi_helpers import files
from gbi_helpers.data import download as downloads
from gbi_helpers.files import DataError

GOOD = bytes(range(256)) * 400
DIGEST = hashlib.sha256(GOOD).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves GOOD; ``troubles`` are used up one a request: 'truncated', 'wrong', '500', 'hang', 'hang inside'."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.troubles: list[str] = []
        self.requests = 0
        self.stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/digits.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        if "dead" in self.server.troubles:
            self.server.stop.wait(20)
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.requests += 1
        trouble = self.server.troubles.pop(0) if self.server.troubles else ""
        if trouble == "hang":
            self.server.stop.wait(20)
        self.send_response(500 if trouble == "500" else 200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        if trouble in ("truncated", "hang inside"):
            self.wfile.write(GOOD[:1000])
            self.wfile.flush()
            self.server.stop.wait(20 if trouble == "hang inside" else 0)
        else:
            self.wfile.write(GOOD[::-1] if trouble == "wrong" else GOOD)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.stop.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GBI_OFFLINE", "GBI_CACHE_DIR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def sentence(error: pytest.ExceptionInfo[DataError]) -> str:
    """The message, which must be one line that ends as a sentence."""
    text = str(error.value)
    assert "\n" not in text
    assert ". " not in text
    assert text.endswith(".")
    assert text[0].isupper() or text[0] in "/" or re.match(r"[\w.-]+\.bin|[A-Z]:", text)
    return text


def get(server: Server, path: Path, **settings: float) -> Path:
    return downloads.download(server.url, path, DIGEST, **{"timeout": 5.0, "pause": 0.01} | settings)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_download_arrives_whole_and_is_not_fetched_twice(server, tmp_path):
    path = tmp_path / "new folder" / "digits.bin"
    assert get(server, path).read_bytes() == GOOD
    get(server, path)
    assert server.requests == 1
    assert names_in(tmp_path) == ["new folder", str(Path("new folder/digits.bin"))]


@pytest.mark.parametrize("trouble", [[], ["truncated"]])
def test_a_download_needs_no_bar(server, tmp_path, monkeypatch, trouble):
    """As with TQDM_DISABLE, or a notebook run without bars: then a bar counts nothing."""
    monkeypatch.setattr(downloads, "progress_bar", functools.partial(downloads.progress_bar, disable=True))
    server.troubles = [*trouble]
    assert get(server, tmp_path / "digits.bin").read_bytes() == GOOD
    assert server.requests == 1 + len(trouble)


@pytest.mark.parametrize("trouble", ["500", "truncated", "wrong", "hang", "hang inside"])
def test_trouble_once_or_twice_is_mended_by_another_try(server, tmp_path, trouble):
    server.troubles = [trouble, trouble]
    assert get(server, tmp_path / "digits.bin", timeout=1.0).read_bytes() == GOOD
    assert server.requests == 3
    assert names_in(tmp_path) == ["digits.bin"]


@pytest.mark.parametrize(
    ("trouble", "told"),
    [("500", "500"), ("truncated", "broke off"), ("wrong", "SHA-256"), ("hang", "timed out"), ("hang inside", "timed")],
)
def test_lasting_trouble_is_one_sentence_and_leaves_nothing(server, tmp_path, trouble, told):
    server.troubles = [trouble] * 9
    with pytest.raises(DataError) as error:
        get(server, tmp_path / "digits.bin", timeout=1.0)
    assert told in sentence(error)
    assert "try again" in str(error.value)
    assert server.requests == 3
    assert names_in(tmp_path) == []


def test_a_dead_server_and_no_server_are_given_up_without_a_try(server, tmp_path):
    server.troubles = ["dead"]
    start = time.monotonic()
    with pytest.raises(DataError) as error:
        get(server, tmp_path / "digits.bin", timeout=0.4)
    assert time.monotonic() - start < 5
    assert "cannot be reached: check the network" in sentence(error)
    with pytest.raises(DataError, match="cannot be reached"):
        downloads.download("http://127.0.0.1:9/digits.bin", tmp_path / "digits.bin", DIGEST)
    with pytest.raises(DataError, match="cannot be reached"):
        downloads.download("http://no-such-host.invalid/digits.bin", tmp_path / "digits.bin", DIGEST)
    assert server.requests == 0


def test_a_look_up_that_hangs_is_given_up_too(monkeypatch):
    wait = threading.Event()
    monkeypatch.setattr(downloads, "_answers", lambda url, seconds: wait.wait(20))
    start = time.monotonic()
    assert not downloads.reachable(["http://a", "http://b"], seconds=0.2)
    assert time.monotonic() - start < 5
    wait.set()


def test_one_server_that_answers_late_is_enough(monkeypatch):
    def answers(url, seconds):
        if url == "http://late":
            time.sleep(0.2)
        return url == "http://late"

    monkeypatch.setattr(downloads, "_answers", answers)
    assert downloads.reachable(["http://dead", "http://late"], seconds=5.0)
    assert not downloads.reachable(["http://dead", "http://dead"], seconds=5.0)


@pytest.mark.parametrize("left", [b"", GOOD[:50_000], GOOD[:-1] + b"x"], ids=["empty", "half-written", "corrupt"])
def test_a_bad_file_in_the_cache_is_replaced(server, tmp_path, left):
    path = tmp_path / "digits.bin"
    path.write_bytes(left)
    assert get(server, path).read_bytes() == GOOD
    assert names_in(tmp_path) == ["digits.bin"]


def test_offline_asks_no_server_but_takes_a_good_file(server, tmp_path, monkeypatch):
    monkeypatch.setenv("GBI_OFFLINE", "1")
    path = tmp_path / "digits.bin"
    with pytest.raises(DataError) as error:
        get(server, path)
    assert "unset GBI_OFFLINE" in sentence(error)
    path.write_bytes(GOOD)
    assert get(server, path) == path
    assert server.requests == 0


def test_a_file_where_the_folder_should_be(server, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("I am a file")
    with pytest.raises(DataError) as error:
        get(server, tmp_path / "cache" / "digits.bin")
    assert "set GBI_CACHE_DIR to another folder" in sentence(error)
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(DataError) as error:
        files.writable_cache()
    assert "set GBI_CACHE_DIR to a folder" in sentence(error)
    assert (tmp_path / "cache").read_text() == "I am a file"


def test_a_full_disk_is_told_and_leaves_nothing(server, tmp_path, monkeypatch):
    class Full:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.stream.close()

        def write(self, data):
            self.stream.write(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    plain = Path.open

    def open_(self, mode="r", *args, **kwargs):
        stream = plain(self, mode, *args, **kwargs)
        return Full(stream) if self.name.endswith(".part") and "w" in mode else stream

    monkeypatch.setattr(Path, "open", open_)
    with pytest.raises(DataError) as error:
        get(server, tmp_path / "digits.bin")
    assert "No space left on device" in sentence(error)
    assert "free some space" in str(error.value)
    assert server.requests == 1  # a full disk is no reason to fetch again
    assert names_in(tmp_path) == []


def test_two_processes_that_fetch_one_file_both_get_it(server, tmp_path):
    path = tmp_path / "digits.bin"
    program = (
        "import sys; from pathlib import Path; from gbi_helpers.data import download as downloads; "
        f"downloads.download({server.url!r}, Path({str(path)!r}), {DIGEST!r})"
    )
    running = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.wait(120) for process in running] == [0, 0], [process.communicate() for process in running]
    assert path.read_bytes() == GOOD
    assert names_in(tmp_path) == ["digits.bin"]


def test_checked_tells_damaged_from_missing(tmp_path):
    path = tmp_path / "digits.bin"
    path.write_bytes(GOOD)
    assert files.checked(path, DIGEST) == path
    path.write_bytes(GOOD[:-1])
    with pytest.raises(DataError, match=r"wrong SHA-256\): delete it"):
        files.checked(path, DIGEST)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        files.checked(path, DIGEST)


@pytest.mark.parametrize(
    ("system", "variable", "under"),
    [
        ("linux", "XDG_CACHE_HOME", "gbi"),
        ("win32", "LOCALAPPDATA", "gbi"),
        ("linux", None, ".cache/gbi"),
        ("win32", None, "AppData/Local/gbi"),
        ("darwin", None, "Library/Caches/gbi"),
    ],
)
def test_the_cache_lies_where_the_system_keeps_caches(tmp_path, monkeypatch, system, variable, under):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(files.sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    assert files.cache_dir() == tmp_path / under
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path / "with spaces and ü"))
    assert files.cache_dir() == tmp_path / "with spaces and ü"
    assert not files.cache_dir().exists()
    assert files.writable_cache().is_dir()


@pytest.mark.parametrize("system", ["linux", "win32", "darwin"])
def test_without_a_home_folder_one_sentence_says_what_to_set(tmp_path, monkeypatch, system):
    def home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(files.sys, "platform", system)
    monkeypatch.setattr(Path, "home", home)
    for look in (files.cache_dir, files.writable_cache):
        with pytest.raises(DataError) as error:
            look()
        assert "set GBI_CACHE_DIR to a folder of yours" in sentence(error)
    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path))
    assert files.writable_cache() == tmp_path


def test_an_unknown_users_home_folder_is_one_sentence(monkeypatch):
    def expanduser(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("GBI_CACHE_DIR", "~nobodyxx/x")
    monkeypatch.setattr(Path, "expanduser", expanduser)
    with pytest.raises(DataError) as error:
        files.cache_dir()
    assert "set GBI_CACHE_DIR" in sentence(error)


@pytest.fixture
def assets(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "assets"
    (folder / "mnist").mkdir(parents=True)
    monkeypatch.setattr(files, "ASSETS", folder)
    return folder


def test_an_asset_is_entered_and_found_again(assets):
    for name in ("mnist/b.npz", "mnist/a.npz"):
        (assets / name).write_bytes(GOOD)
        entry = files.add_asset(assets / name, command="make", seed=3, metrics={"accuracy": 0.9})
    assert entry == {"command": "make", "seed": 3, "metrics": {"accuracy": 0.9}, "bytes": len(GOOD), "sha256": DIGEST}
    text = (assets / "manifest.json").read_text()
    assert list(json.loads(text)) == ["mnist/a.npz", "mnist/b.npz"]
    assert files.load_asset("mnist/a.npz") == assets / "mnist" / "a.npz"
    files.add_asset(assets / "mnist" / "b.npz", command="make", seed=4)
    assert files.manifest()["mnist/b.npz"]["seed"] == 4


def test_a_damaged_missing_or_unknown_asset_is_one_sentence(assets):
    path = assets / "mnist" / "a.npz"
    path.write_bytes(GOOD)
    files.add_asset(path, command="make")
    path.write_bytes(GOOD[:-7])
    with pytest.raises(DataError) as error:
        files.load_asset("mnist/a.npz")
    assert "git checkout -- gbi_helpers/assets/mnist/a.npz" in sentence(error)
    path.unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        files.load_asset("mnist/a.npz")
    with pytest.raises(DataError, match=r"no asset 'mnist/c.npz': choose another, such as mnist/a.npz\."):
        files.load_asset("mnist/c.npz")
    (assets / "manifest.json").write_text('{"mnist/a.npz": {"sha')
    with pytest.raises(DataError) as error:
        files.load_asset("mnist/a.npz")
    assert "manifest.json" in sentence(error)


def test_an_asset_needs_facts_and_to_lie_in_assets(assets, tmp_path):
    (tmp_path / "a.npz").write_bytes(GOOD)
    with pytest.raises(ValueError, match="must lie in"):
        files.add_asset(tmp_path / "a.npz", command="make")
    (assets / "a.npz").write_bytes(GOOD)
    with pytest.raises(ValueError, match="come with facts"):
        files.add_asset(assets / "a.npz")


def test_two_processes_that_enter_assets_lose_no_entry(assets):
    program = (
        "import sys; from pathlib import Path; from gbi_helpers import files; "
        f"files.ASSETS = Path({str(assets)!r})\n"
        "for i in range(20):\n"
        "    path = files.ASSETS / f'{sys.argv[1]}{i}.bin'; path.write_bytes(b'x'); files.add_asset(path, seed=i)"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, name]) for name in "ab"]
    assert [process.wait(120) for process in running] == [0, 0]
    assert len(files.manifest()) == 40


def test_every_shipped_file_is_in_the_manifest_with_its_licence_or_command():
    listed = files.manifest()
    for name, entry in listed.items():
        assert files.load_asset(name).stat().st_size == entry["bytes"]
        assert entry.get("licence") or entry.get("command"), f"{name} says neither its licence nor how it was made."
    shipped = [p for p in files.ASSETS.rglob("*") if p.suffix in (".npz", ".safetensors")]
    assert {p.relative_to(files.ASSETS).as_posix() for p in shipped} <= set(listed)


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "old").write_text("old")
    move = Path.replace

    def refuse(path, target):
        if path.suffix == ".part":
            raise PermissionError(errno.EACCES, "in use")
        return move(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match=r"Cannot write .*site \(in use\)"), files.part_folder(tmp_path / "site") as part:
        (part / "new").write_text("new")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["site", "site/old"]


# ---- leftovers, folders, and servers that refuse or stop ----


def test_only_old_parts_are_swept_away_files_and_folders(tmp_path):
    for name, age in (("old.part", 2e5), ("new.part", 60), ("old", 2e5), ("folder.part", 2e5)):
        path = tmp_path / name
        path.mkdir() if name.startswith("folder") else path.touch()
        os.utime(path, (time.time() - age,) * 2)
    files.sweep(tmp_path, "*.part")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.part", "old"]


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "old").touch()
    with files.part_folder(tmp_path / "site") as part:
        (part / "new").touch()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["site", "site/new"]


def test_a_file_written_over_with_as_many_bytes_is_another(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    files.sha256(path)
    path.write_bytes(b"abd")
    os.utime(path, ns=(1, 1))
    assert files.sha256(path) == hashlib.sha256(b"abd").hexdigest()


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def read_only(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setenv("GBI_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(files.tempfile, "TemporaryFile", read_only)
    with pytest.raises(DataError, match="cannot be written"):
        files.writable_cache()


class Stubborn(http.server.BaseHTTPRequestHandler):
    """Refuses HEAD, and sends ``server.sent`` of the ten bytes it promises."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.send_error(405)

    def do_GET(self):
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789"[: self.server.sent])


@pytest.fixture
def stubborn():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stubborn)
    server.sent, server.asked = 10, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, f"http://127.0.0.1:{server.server_address[1]}/a"
    server.shutdown()
    server.server_close()


def test_a_server_that_refuses_to_be_asked_first_still_sends(stubborn, tmp_path):
    _, address = stubborn
    assert downloads.download(address, tmp_path / "a", None, pause=0).read_bytes() == b"0123456789"


def test_half_a_file_is_refused_without_a_digest_too_after_as_many_tries_as_asked(stubborn, tmp_path):
    server, address = stubborn
    server.sent = 5
    with pytest.raises(DataError, match="in 1 tries") as told:
        downloads.download(address, tmp_path / "a", None, tries=1, pause=0)
    assert "broke off" in str(told.value)
    assert server.asked == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_digest_that_is_there_is_kept(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    assert downloads.download("http://127.0.0.1:9/a", tmp_path / "a", None).read_bytes() == b"x"


def test_who_does_not_wait_is_told_at_once_that_another_holds_the_lock(tmp_path):
    found = []

    def look():
        with files.locked(tmp_path / "a", wait=False) as mine:
            found.append(mine)

    def look_from_a_thread():
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        thread.join(5)

    with files.locked(tmp_path / "a") as mine:
        look_from_a_thread()
        assert (mine, found) == (True, [False])
    look_from_a_thread()
    assert found == [False, True]


# ---- what an error while writing is about ----


def test_an_error_about_another_file_is_left_as_it_is(tmp_path):
    for writing in (files.part_file, files.part_folder):
        with pytest.raises(FileNotFoundError, match=r"No such file.*lacking\.csv"), writing(tmp_path / "a"):
            (tmp_path / "lacking.csv").read_text()
    assert list(tmp_path.iterdir()) == []


def test_inside_a_part_folder_an_error_is_about_the_folder(tmp_path):
    with pytest.raises(OSError, match=r"Cannot write .*site \("), files.part_folder(tmp_path / "site") as part:
        (part / "not there" / "page.html").write_text("x")


def test_the_advice_fits_what_is_wrong(tmp_path):
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match=r"Cannot write .*folder \(.*\)\. Choose another"):
        write_to(tmp_path / "folder")
    with pytest.raises(OSError, match=r"\)\. Choose another name or folder\.$"):
        write_to(tmp_path / ("x" * 240))
    with pytest.raises(PermissionError, match=r"\(in use\)\. Choose another folder, or close what has it open\.$"):
        write_to(tmp_path / "a", PermissionError(errno.EACCES, "in use"))
    with pytest.raises(OSError, match=r"\)\. Free some space or choose another folder\.$"):
        write_to(tmp_path / "a", OSError("10 requested and 2 written"))  # what NumPy says of a full disk


def write_to(path, trouble=None):
    with files.part_file(path) as part:
        part.write_text("x")
        if trouble:
            raise trouble


def test_a_lock_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    told = pytest.raises(OSError, match=r"Cannot write .*file.x \(.*\)\. Choose another name")
    with told, files.locked(tmp_path / "file" / "x"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be replaced")
def test_whoever_reads_the_old_file_reads_it_to_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with path.open() as reader:
        with files.part_file(path) as part:
            part.write_text("new")
        assert (reader.read(), path.read_text()) == ("old", "new")
