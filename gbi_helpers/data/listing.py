"""What data there is: a row for each set, and fetching a real set by its name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gbi_helpers import runtime
from gbi_helpers.data import babylm, cifar, text_files, text_sources
from gbi_helpers.data.download import offline
from gbi_helpers.data.image_files import cached, fetch_images, present
from gbi_helpers.data.image_sets import FILES, SETS, ImageSet, given, overlooked
from gbi_helpers.data.layouts import REPLACE
from gbi_helpers.files import DataError, cache_dir, load_asset


@dataclass(frozen=True)
class DataSet:
    """A row of the catalogue.

    ``key``: the name to fetch it by; ``found``: every place that has it; ``bytes``: its size there, in all;
    ``checksum``: "ok", or "wrong" where a copy is damaged, and then ``problem`` is a sentence that says what to do; ""
    where nothing is here, or no checksum is published;
    ``uses``: what a notebook would get in this profile.
    """

    name: str
    key: str
    found: str
    bytes: int
    checksum: str
    licence: str
    uses: str
    problem: str = ""


def catalogue() -> list[DataSet]:
    """One row for each data set. Only looks: nothing is fetched, moved or deleted."""
    return [*(_row(spec) for spec in SETS), _cifar_row(), _text_row()]


def fetch(name: str) -> Path:
    """Fetch the real set of this name ("mnist", "cifar-100", "babylm") into the cache, unless it is there; its folder.

    Raises :class:`DataError` for another name, or when it cannot be fetched.
    """
    for spec in SETS:
        if name.lower() in (spec.key, spec.name.lower()):
            return cached(spec) or fetch_images(spec)
    if name.lower() == "cifar-100":
        return cifar.find_cached() or cifar.fetch_cifar100()
    if name.lower() == "babylm":
        return babylm.fetch_babylm()
    keys = ", ".join([*(spec.key for spec in SETS), "cifar-100", "babylm"])
    raise DataError(f"There is no data set '{name}': choose one of {keys}.")


def _row(spec: ImageSet) -> DataSet:
    places: list[str] = []
    problems: dict[str, str] = {}
    size = 0
    for place, look in _PLACES.items():
        try:
            found = look(spec)
        except DataError as error:
            problems[place] = str(error)
        else:
            if found:
                places.append(place)
                size += sum(file.stat().st_size for file in found)
    told = "" if "GBI_DATA_DIR" in (*places, *problems) else overlooked(spec)
    return DataSet(
        spec.name,
        spec.key,
        ", ".join(places) or "not here",
        size,
        _checksum(problems, places),
        spec.licence,
        "nothing, until that is mended" if "GBI_DATA_DIR" in problems or not places else _uses(spec, places),
        " ".join(filter(None, [*problems.values(), told])),
    )


def _checksum(problems: Collection[str], found: Collection[str]) -> str:
    return "wrong" if problems else "ok" if found else ""


def _cifar_row() -> DataSet:
    """CIFAR-100, of which nothing is shipped, and what stands in for it."""
    found: dict[str, Path] = {}
    problems: dict[str, str] = {}
    images = 0
    for place, look, advice in _CIFAR_PLACES:
        try:
            if (path := look()) and place not in found:
                images = images or sum(len(y) for _, y in cifar.read(path, advice).values())
                found[place] = path
        except DataError as error:
            problems[place] = str(error)
    told = "" if "GBI_DATA_DIR" in (*found, *problems) else cifar.overlooked()
    files = [file for path in found.values() for file in (path.iterdir() if path.is_dir() else [path])]
    uses = f"{cifar.how_many(images)} images, from {next(iter(found), '')}" if found else cifar.without_files()
    return DataSet(
        cifar.NAME,
        "cifar-100",
        ", ".join(found) or "not here",
        sum(file.stat().st_size for file in files),
        _checksum(problems, found),
        "none stated (Krizhevsky 2009), so its images are not shipped",
        "nothing, until that is mended" if "GBI_DATA_DIR" in problems else uses,
        " ".join(filter(None, [*problems.values(), told])),
    )


_CIFAR_PLACES: list[tuple[str, Callable[[], Path | None], str]] = [
    ("GBI_DATA_DIR", cifar.given, REPLACE),
    *(("cache", partial(cifar.kept, name), cifar.DELETE) for name in (cifar.FILE, cifar.FOLDER)),
]


def _text_row() -> DataSet:
    """BabyLM, and the text out of packages that the chapters use where it is not at hand."""
    problem, place, files = "", "", []
    try:
        place, folder = babylm.babylm_folder()
        files = [path for paths in text_files.text_files(folder).values() for path in paths.values()] if folder else []
        problem = "" if place == "from GBI_DATA_DIR" else text_files.overlooked()
        text_sources.require()
    except DataError as error:
        problem = str(error)
    size = sum(file.stat().st_size for file in files)
    packages = text_sources.package_bytes()
    return DataSet(
        "Text (BabyLM)",
        "babylm",
        ", ".join([place.removeprefix("from ").removeprefix("the ")] * bool(files) + ["packages"] * bool(packages))
        or "not here",
        size + packages,
        "",
        f"BabyLM: {babylm.LICENCE}; {text_sources.LICENCE}",
        "nothing, until that is mended" if not packages else "eight kinds of text, out of installed packages",
        problem,
    )


def _in_cache(spec: ImageSet) -> tuple[Path, ...]:
    folder = present(cache_dir(), spec)
    return tuple(folder / name for name in FILES) if folder else ()


_PLACES: dict[str, Callable[[ImageSet], tuple[Path, ...]]] = {
    "GBI_DATA_DIR": given,
    "cache": _in_cache,
    "shipped slice": lambda spec: (load_asset(spec.asset),),
}


def _uses(spec: ImageSet, places: list[str]) -> str:
    shipped = f"{sum(spec.shipped.values()):,} images"
    place = next((place for place in places if place != "shipped slice"), "")
    if runtime.profile() == "quick":
        return f"{shipped}, from {place or 'the shipped slice'}"
    if place:
        return f"all {spec.total:,} images, from {place}"
    if offline():
        return f"the shipped {shipped}, since GBI_OFFLINE is set"
    return f"all {spec.total:,} images, downloaded at first use (the shipped {shipped} without a network)"
