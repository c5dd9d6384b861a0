"""BabyLM, the real set: sources of what a child may hear and read (Warstadt et al. 2023), fetched from OSF."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from gbi_helpers.data import layouts
from gbi_helpers.data.download import download, offline
from gbi_helpers.data.image_files import blame_disk
from gbi_helpers.data.text_files import lies_in
from gbi_helpers.files import ZIP_ERRORS, DataError, cache_dir, sweep, writable_cache

# The 10-million-word training set with its development and test sets, of the second BabyLM Challenge.
PARTS = {
    "train_10M.zip": "https://osf.io/download/y7djq/",
    "dev.zip": "https://osf.io/download/uyd7v/",
    "test.zip": "https://osf.io/download/ftwu3/",
}
LICENCE = "each source its own (babylm.github.io)"


def babylm_folder() -> tuple[str, Path | None]:
    """Where the real text lies, (place, folder), or ("", None). Raises :class:`DataError` for a wrong GBI_DATA_DIR."""
    root = layouts.data_dir()
    if root and (folder := lies_in(root)):
        return "from GBI_DATA_DIR", folder
    cached = _kept()
    return ("from the cache", cached) if cached else ("", None)


def _kept() -> Path | None:
    """The folder in the cache, if there is anything in it."""
    folder = cache_dir() / "babylm"
    return folder if layouts.entries(folder) else None


def fetch_babylm() -> Path:
    """Fetch BabyLM into the cache, unless it is there; its folder.

    No checksum is published with it, so each archive is held to the checksums (CRC) inside it.
    Raises :class:`DataError` when offline, unreachable, broken or not writable.
    """
    if folder := _kept():
        return folder
    if offline():
        raise DataError(
            "GBI_OFFLINE is set, so BabyLM is not downloaded: unset it, or put the texts into the folder text of "
            "GBI_DATA_DIR."
        )
    cache = writable_cache()
    folder = cache / "babylm"
    sweep(cache, ".babylm.*.part")
    with tempfile.TemporaryDirectory(prefix=".babylm.", suffix=".part", dir=cache, ignore_cleanup_errors=True) as part:
        whole = Path(part) / "texts"
        whole.mkdir()
        for name, url in PARTS.items():
            _unpack(download(url, Path(part) / name, None), whole)
        with contextlib.suppress(OSError):  # another process may have been quicker; then its copy is used
            if folder.is_dir() and not _kept():
                shutil.rmtree(folder)  # emptied, but for what is hidden
            os.rename(whole, folder)
    if not _kept():
        raise DataError(f"BabyLM cannot be moved to {folder}: delete what is there, or set GBI_CACHE_DIR.")
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Put the texts of an archive into ``folder``, whatever folders they lie in there."""
    try:
        with zipfile.ZipFile(archive) as stored:
            names = [n for n in stored.namelist() if n.endswith((".train", ".dev", ".test")) and "__MACOSX" not in n]
            for name in names:
                with stored.open(name) as stream, (folder / PurePosixPath(name).name).open("wb") as target:
                    shutil.copyfileobj(stream, target)
    except (OSError, *ZIP_ERRORS) as error:
        blame_disk("BabyLM", error)
        raise DataError(
            f"{archive.name} of BabyLM was downloaded, but is damaged ({error}): try again later."
        ) from error
    if not names:
        raise DataError(f"{archive.name} of BabyLM holds no texts as expected: tell the course's authors.")
