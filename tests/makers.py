"""CIFAR-100 as its makers packed it, from pictures of a test's own."""

import hashlib
import pickle

import numpy as np

from gbi_helpers import data
from gbi_helpers.data import cifar


def makers_files(monkeypatch, pictures: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The files, by name, of pictures (N, 3072) and labels (N,) of each part; torchvision is told their MD5."""
    files = {"meta": pickle.dumps({"fine_label_names": list(cifar.CLASSES)})}
    for part, y in labels.items():
        files[part] = pickle.dumps({"data": pictures[part], "fine_labels": y.tolist()})
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    dataset = data.torchvision().datasets.CIFAR100
    for part in labels:
        monkeypatch.setattr(dataset, f"{part}_list", [[part, md5[part]]])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5["meta"]})
    return files
