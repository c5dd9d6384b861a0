"""Data of the course: every set by name, where it was found, and how to fetch the real one."""

from __future__ import annotations

from gbi_helpers.data.cifar import load_cifar100
from gbi_helpers.data.image_files import torchvision
from gbi_helpers.data.images import ImageData, Images, load_fashion_mnist, load_mnist
from gbi_helpers.data.listing import DataSet, catalogue, fetch
from gbi_helpers.data.text import load_text
from gbi_helpers.data.vocabulary import Vocabulary, clean
from gbi_helpers.files import DataError, load_asset

__all__ = [
    "DataError",
    "DataSet",
    "ImageData",
    "Images",
    "Vocabulary",
    "catalogue",
    "clean",
    "fetch",
    "load_asset",
    "load_cifar100",
    "load_fashion_mnist",
    "load_mnist",
    "load_text",
    "torchvision",
]
