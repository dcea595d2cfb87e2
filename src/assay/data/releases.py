"""What the official releases of the benchmarks consist of: file names, SHA-256 of each, addresses.

Facts only, so that sources can tell an official file from a changed one, and fetching can tell a whole one from a
damaged one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class ReleaseFile:
    """One file of a release.

    Attributes:
        name: its official name, unpacked.
        sha256: of the official file; of the unpacked and of the gzipped one, where both are known.
        others: other names under which it is common, gzipped ones among them.
    """

    name: str
    sha256: tuple[str, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file to be downloaded: its name, SHA-256 and bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Release:
    """An official release.

    Attributes:
        name: as in ``data.source``.
        title: as in texts.
        folder: folder it is put into, and looked for, below a data folder.
        other_folders: where else other programs put it.
        files: what is needed of it.
        extras: what else is taken from an archive: the names of the classes.
        address: where its downloads are, with a slash at the end.
        downloads: the files there; one that ends in ``.tar.gz`` holds ``folder``, any other is a file in it.
    """

    name: str
    title: str
    folder: str
    other_folders: tuple[str, ...]
    files: tuple[ReleaseFile, ...]
    extras: tuple[str, ...] = ()
    address: str
    downloads: tuple[Download, ...]


def _idx_file(name: str, *sha256: str) -> ReleaseFile:
    """Both spellings, ``train-images-idx3-ubyte`` and ``train-images.idx3-ubyte``, gzipped or not."""
    dotted = name.replace("-idx", ".idx")
    return ReleaseFile(name=name, sha256=sha256, others=(name + ".gz", dotted, dotted + ".gz"))


_CIFAR10 = Release(
    name="cifar10",
    title="CIFAR-10",
    folder="cifar-10-batches-bin",
    other_folders=("cifar10", "cifar-10", "cifar-10-binary"),
    files=tuple(
        ReleaseFile(name=name, sha256=(sha256,))
        for name, sha256 in (
            ("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
            ("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
            ("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
            ("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
            ("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
            ("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
        )
    ),
    extras=("batches.meta.txt",),
    address="https://www.cs.toronto.edu/~kriz/",
    downloads=(
        Download(
            name="cifar-10-binary.tar.gz",
            sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            size=170_052_171,
        ),
    ),
)

_CIFAR100 = Release(
    name="cifar100",
    title="CIFAR-100",
    folder="cifar-100-binary",
    other_folders=("cifar100", "cifar-100"),
    files=tuple(
        ReleaseFile(name=name, sha256=(sha256,))
        for name, sha256 in (
            ("train.bin", "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),
            ("test.bin", "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),
        )
    ),
    extras=("coarse_label_names.txt", "fine_label_names.txt"),
    address="https://www.cs.toronto.edu/~kriz/",
    downloads=(
        Download(
            name="cifar-100-binary.tar.gz",
            sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            size=168_513_733,
        ),
    ),
)

_MNIST_GZIPPED = (
    ("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422),
    ("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
    ("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877),
    ("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
)
_MNIST_UNPACKED = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
_FASHION_MNIST_GZIPPED = (
    ("train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880),
    ("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515),
    ("t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102),
    ("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148),
)

_MNIST = Release(
    name="mnist",
    title="MNIST",
    folder="mnist",
    other_folders=("MNIST/raw", "MNIST"),
    files=tuple(
        _idx_file(name.removesuffix(".gz"), unpacked, gzipped)
        for (name, gzipped, _), unpacked in zip(_MNIST_GZIPPED, _MNIST_UNPACKED, strict=True)
    ),
    address="https://ossci-datasets.s3.amazonaws.com/mnist/",
    downloads=tuple(Download(name=name, sha256=sha256, size=size) for name, sha256, size in _MNIST_GZIPPED),
)

_FASHION_MNIST = Release(
    name="fashion_mnist",
    title="Fashion-MNIST",
    folder="fashion-mnist",
    other_folders=("fashion_mnist", "FashionMNIST/raw", "FashionMNIST"),
    files=tuple(_idx_file(name.removesuffix(".gz"), gzipped) for name, gzipped, _ in _FASHION_MNIST_GZIPPED),
    address="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    downloads=tuple(Download(name=name, sha256=sha256, size=size) for name, sha256, size in _FASHION_MNIST_GZIPPED),
)

RELEASES: Mapping[str, Release] = MappingProxyType(
    {release.name: release for release in (_CIFAR10, _CIFAR100, _MNIST, _FASHION_MNIST)}
)
"""Every release, by name."""
