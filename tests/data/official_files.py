"""Small files in the layouts of the official releases, made for the tests of this folder."""

import gzip
import hashlib
import io
import struct
import tarfile
from dataclasses import replace

import numpy as np

from assay.data.releases import RELEASES, Download, ReleaseFile

CIFAR10_FILES = tuple(file.name for file in RELEASES["cifar10"].files)


def cifar_records(labels_RL, seed=0):
    """Records as bytes: the labels of each, then random pixels. Labels (R, 1), or (R, 2) coarse and fine."""
    labels_RL = np.asarray(labels_RL, dtype=np.uint8)
    pixels_RP = np.random.default_rng(seed).integers(0, 256, (len(labels_RL), 3072), dtype=np.uint8)
    return np.concatenate([labels_RL, pixels_RP], axis=1).tobytes()


def write_cifar10(folder, per_file=20):
    """All six files, each with every class in turn."""
    folder.mkdir(parents=True)
    for seed, name in enumerate(CIFAR10_FILES):
        (folder / name).write_bytes(cifar_records(np.arange(per_file)[:, None] % 10, seed))
    return folder


def write_cifar100(folder, train=200, test=100):
    """Both files; fine label i belongs to coarse label i // 5."""
    folder.mkdir(parents=True)
    for name, count in (("train.bin", train), ("test.bin", test)):
        fine_R = np.arange(count) % 100
        (folder / name).write_bytes(cifar_records(np.stack([fine_R // 5, fine_R], axis=1), count))
    return folder


def idx(values):
    """An array of unsigned bytes as an IDX file."""
    values = np.asarray(values, dtype=np.uint8)
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_mnist(folder, train=40, test=20, size=(6, 5)):
    """All four files, not gzipped, each class in turn; returns images and labels of both splits."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(3)
    parts = []
    for split, count in (("train", train), ("t10k", test)):
        images = generator.integers(0, 256, (count, *size), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        (folder / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx(labels))
        parts.append((images, labels))
    return parts


def packed(files):
    """A .tar.gz with these files, by name and content; the same bytes whenever it is made."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def archived_release(archive, contents):
    """A release like CIFAR-10's whose archive this is; ``contents`` are the official files in it, by name."""
    return replace(
        RELEASES["cifar10"],
        files=tuple(ReleaseFile(name=name, sha256=(_sha256(content),)) for name, content in contents.items()),
        downloads=(Download(name="cifar-10-binary.tar.gz", sha256=_sha256(archive), size=len(archive)),),
    )


def loose_release(contents):
    """A release like MNIST's with these gzipped files."""
    return replace(
        RELEASES["mnist"],
        files=tuple(
            ReleaseFile(name=name.removesuffix(".gz"), others=(name,), sha256=(_sha256(content),))
            for name, content in contents.items()
        ),
        downloads=tuple(
            Download(name=name, sha256=_sha256(content), size=len(content)) for name, content in contents.items()
        ),
    )


def _sha256(content):
    return hashlib.sha256(content).hexdigest()
