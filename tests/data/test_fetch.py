"""Fetching from a server of the test's own, with real bytes over real sockets."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from official_files import CIFAR10_FILES, archived_release, cifar_records, idx, loose_release, packed

from assay.data import fetch as fetching
from assay.data.fetch import fetch, fetch_release, fetchable, place_of
from assay.data.releases import RELEASES
from assay.errors import DataError
from serving import serving

FOLDER = "cifar-10-batches-bin"
CONTENTS = {name: cifar_records([[row % 10] for row in range(30)], seed) for seed, name in enumerate(CIFAR10_FILES)}
ARCHIVE = packed(
    {f"{FOLDER}/{name}": content for name, content in CONTENTS.items()}
    | {f"{FOLDER}/batches.meta.txt": b"names", f"{FOLDER}/readme.html": b"unasked"}
)
RELEASE = archived_release(ARCHIVE, CONTENTS)
LOOSE_CONTENTS = {
    f"{split}-{kind}.gz": gzip.compress(idx([count]), mtime=0)
    for count, (split, kind) in enumerate(
        (split, kind) for split in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
}


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def base(tmp_path):
    return tmp_path / "data"


PATH = "/cifar10/cifar-10-binary.tar.gz"


class Shown:
    def __init__(self):
        self.states = []

    def show(self, done, total):
        self.states.append((done, total))


def failure_of(base, contents, monkeypatch, release=RELEASE):
    """What fetching ends with, and that it leaves nothing that could be taken for data."""
    with serving(contents) as (address, _):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        with pytest.raises(DataError) as caught:
            fetch_release(release, base)
    assert not (base / release.folder).exists()
    return str(caught.value).replace(address, "ADDRESS")


def test_an_archive_is_fetched_checked_and_unpacked(base, monkeypatch, capfd):
    shown = Shown()
    with serving({PATH: ARCHIVE}) as (address, asked):
        monkeypatch.setenv("ASSAY_MIRROR", address + "/")
        fetched = fetch_release(RELEASE, base, shown)
        assert (fetched.folder, fetched.already) == (base / FOLDER, False)
        again = fetch_release(RELEASE, base)
        assert (again.folder, again.already) == (base / FOLDER, True)
    assert asked == [PATH]
    assert {path.name: path.read_bytes() for path in (base / FOLDER).iterdir()} == {
        **CONTENTS,
        "batches.meta.txt": b"names",
    }
    assert shown.states[-1] == (len(ARCHIVE), len(ARCHIVE))
    assert [done for done, _ in shown.states] == sorted(done for done, _ in shown.states)
    assert sorted(path.name for path in base.iterdir()) == [f".{FOLDER}.lock", FOLDER]
    assert capfd.readouterr() == ("", "")


def test_loose_files_are_fetched_and_progress_is_of_them_all(base, monkeypatch):
    release, shown = loose_release(LOOSE_CONTENTS), Shown()
    total = sum(len(content) for content in LOOSE_CONTENTS.values())
    with serving({f"/mnist/{name}": content for name, content in LOOSE_CONTENTS.items()}) as (address, asked):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        fetch_release(release, base, shown)
    assert len(asked) == 4
    assert {path.name: path.read_bytes() for path in (base / "mnist").iterdir()} == LOOSE_CONTENTS
    assert shown.states[-1] == (total, total)
    assert [done for done, _ in shown.states] == sorted(done for done, _ in shown.states)


def test_what_came_whole_is_not_downloaded_again(base, monkeypatch):
    release = loose_release(LOOSE_CONTENTS)
    contents = {f"/mnist/{name}": content for name, content in LOOSE_CONTENTS.items()}
    last = list(contents)[-1]
    failure_of(base, {**contents, last: 503}, monkeypatch, release)
    with serving(contents) as (address, asked):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        fetch_release(release, base)
    assert asked == [last]
    assert {path.name for path in (base / "mnist").iterdir()} == set(LOOSE_CONTENTS)


def test_only_what_a_folder_lacks_is_put_into_it(base, monkeypatch):
    (base / FOLDER).mkdir(parents=True)
    kept = base / FOLDER / "data_batch_1.bin"
    kept.write_bytes(CONTENTS[kept.name])
    (base / FOLDER / "notes.txt").write_text("mine")
    before = kept.stat()
    with serving({PATH: ARCHIVE}) as (address, _):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        fetch_release(RELEASE, base)
    assert kept.stat() == before
    assert (base / FOLDER / "notes.txt").read_text() == "mine"
    assert (base / FOLDER / "test_batch.bin").read_bytes() == CONTENTS["test_batch.bin"]


def test_other_files_of_these_names_are_never_overwritten(base):
    (base / FOLDER).mkdir(parents=True)
    for name in CIFAR10_FILES:
        (base / FOLDER / name).write_bytes(b"mine" if name == "test_batch.bin" else CONTENTS[name])
    with pytest.raises(DataError) as caught:
        fetch_release(RELEASE, base)
    assert str(caught.value) == (
        f"{base / FOLDER}: Not the official release of CIFAR-10: test_batch.bin differs from it. "
        "Move that folder away to fetch the official files."
    )
    assert (base / FOLDER / "test_batch.bin").read_bytes() == b"mine"


# --- failures ---------------------------------------------------------------------------------------------------------

BY_HAND = (
    "\n  Try again later, or set $ASSAY_MIRROR to an address that has it.\n  Or get it on another computer from "
    "https://www.cs.toronto.edu/~kriz/ and unpack cifar-10-binary.tar.gz in {base}, so that its files are in "
    "{base}/cifar-10-batches-bin."
)


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        (404, "the server answered 404 Not Found"),
        (503, "the server answered 503 Service Unavailable"),
        ((ARCHIVE,), "the connection broke off"),
        (b"<html>", f"what came is not the official file: its SHA-256 is not {RELEASE.downloads[0].sha256}"),
        (ARCHIVE[:-1] + b"x", f"what came is not the official file: its SHA-256 is not {RELEASE.downloads[0].sha256}"),
    ],
)
def test_a_failed_download_says_why_and_what_to_do_by_hand(base, monkeypatch, served, reason):
    message = failure_of(base, {PATH: served}, monkeypatch)
    assert message == f"CIFAR-10 could not be fetched from ADDRESS{PATH}: {reason}." + BY_HAND.format(base=base)
    assert [path.name for path in base.iterdir()] == [f".{FOLDER}.lock"]
    with serving({PATH: ARCHIVE}) as (address, _):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        assert not fetch_release(RELEASE, base).already  # and the next attempt is none the worse


def test_no_server_is_no_connection(base, monkeypatch):
    with serving({}) as (address, _):
        pass
    monkeypatch.setenv("ASSAY_MIRROR", address)
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: there is no connection to it\.\n"):
        fetch_release(RELEASE, base)


def test_a_silent_server_is_given_up(base, monkeypatch):
    monkeypatch.setattr(fetching, "SECONDS_OF_SILENCE", 0.2)
    with serving({PATH: ARCHIVE}, pause=1.0) as (address, _):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        with pytest.raises(DataError, match=r"the server was silent for 0\.2 seconds\."):
            fetch_release(RELEASE, base)


def test_loose_files_are_to_be_put_into_their_folder(base, monkeypatch):
    message = failure_of(base, {}, monkeypatch, loose_release(LOOSE_CONTENTS))
    assert message.endswith(f"and put {', '.join(LOOSE_CONTENTS)} into {base / 'mnist'}.")


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        ({f"{FOLDER}/{name}": content for name, content in list(CONTENTS.items())[:5]}, r"lacks test_batch\.bin\."),
        ({f"../{FOLDER}/{name}": content for name, content in CONTENTS.items()}, r"lacks data_batch_1\.bin, .*"),
        ({f"/absolute/{FOLDER}/{name}": content for name, content in CONTENTS.items()}, r"lacks data_batch_1\.bin, .*"),
    ],
)
def test_nothing_but_the_files_wanted_leaves_an_archive(base, monkeypatch, contents, problem):
    archive = packed({**contents, "../escaped": b"x", f"{FOLDER}/../../escaped": b"x"})
    release = archived_release(archive, CONTENTS)
    with serving({PATH: archive}) as (address, _):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz " + problem):
            fetch_release(release, base)
    assert not [path for path in base.parent.rglob("*") if path.name == "escaped"]
    assert not (base / FOLDER).exists()


@pytest.mark.parametrize("archive", [b"no archive", ARCHIVE[:-100], gzip.compress(b"no archive")])
def test_what_is_no_archive_is_named(base, monkeypatch, archive):
    release = archived_release(archive, CONTENTS)
    message = failure_of(base, {PATH: archive}, monkeypatch, release)
    assert "cifar-10-binary.tar.gz cannot be unpacked: " in message


def test_a_full_disk_says_so(base, monkeypatch):
    def full(*words):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching.shutil, "copyfileobj", full)
    message = failure_of(base, {PATH: ARCHIVE}, monkeypatch)
    assert message == (
        f"CIFAR-10 could not be fetched: the disk that holds {base} is full. Free some space, or choose another "
        "folder with --data-dir."
    )


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"could not be fetched: Not a directory \(.*/file/data\)\. Make .* writable"):
        fetch_release(RELEASE, tmp_path / "file" / "data")


# --- processes --------------------------------------------------------------------------------------------------------

SCRIPT = """
import json, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, str(Path({tests!r}).parent)]
import test_fetch
fetched = test_fetch.fetch_release(test_fetch.RELEASE, Path({base!r}))
print(json.dumps(fetched.already))
"""


def start(base, address):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(tests=str(Path(__file__).parent), base=str(base))],
        env={**os.environ, "ASSAY_MIRROR": address},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once_fetch_once(base):
    with serving({PATH: ARCHIVE}, pause=0.05) as (address, asked):
        started = [start(base, address) for _ in range(2)]
        said = sorted(json.loads(process.communicate(timeout=60)[0]) for process in started)
    assert said == [False, True]
    assert asked == [PATH]
    assert (base / FOLDER / "test_batch.bin").read_bytes() == CONTENTS["test_batch.bin"]


def test_a_killed_fetch_leaves_nothing_in_the_way(base, monkeypatch):
    with serving({PATH: ARCHIVE}, pause=0.3) as (address, asked):
        process = start(base, address)
        deadline = time.monotonic() + 60
        while not asked and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert asked == [PATH]
    assert not (base / FOLDER).exists()
    with serving({PATH: ARCHIVE}) as (address, asked):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        assert not fetch_release(RELEASE, base).already
    assert asked == [PATH]
    assert sorted(path.name for path in base.iterdir()) == [f".{FOLDER}.lock", FOLDER]


# --- by name ----------------------------------------------------------------------------------------------------------


def test_names_that_can_be_fetched():
    assert fetchable() == ("cifar10", "cifar100", "mnist", "fashion_mnist")
    with pytest.raises(DataError, match=r"^'cifra10' cannot be fetched\. Did you mean \"cifar10\"\?$"):
        fetch("cifra10")
    with pytest.raises(DataError, match="'digits' cannot be fetched"):
        place_of("digits")


def test_by_name_it_goes_into_the_cache_and_is_found_there(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "RELEASES", {**RELEASES, "cifar10": RELEASE})
    assert place_of("cifar10") is None
    with serving({PATH: ARCHIVE}) as (address, asked):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        first, second = fetch("cifar10"), fetch("cifar10")
        elsewhere = fetch("cifar10", tmp_path / "other")
    place = tmp_path / "cache" / "data" / FOLDER
    assert [(one.folder, one.already) for one in (first, second)] == [(place, False), (place, True)]
    assert (elsewhere.folder, elsewhere.already) == (tmp_path / "other" / FOLDER, False)
    assert place_of("cifar10") == place
    assert len(asked) == 2


def test_official_addresses_are_used_without_a_mirror(monkeypatch):
    monkeypatch.delenv("ASSAY_MIRROR", raising=False)
    for release in RELEASES.values():
        for download in release.downloads:
            address = fetching._address(release, download)
            assert address == release.address + download.name
            assert address.startswith(("https://", "http://fashion-mnist.s3-website."))
    monkeypatch.setenv("ASSAY_MIRROR", "https://mirror.example/data/")
    mnist = RELEASES["mnist"]
    assert (
        fetching._address(mnist, mnist.downloads[0]) == "https://mirror.example/data/mnist/train-images-idx3-ubyte.gz"
    )


def test_files_unpacked_from_an_official_archive_are_checked_one_by_one(base, monkeypatch):
    lying = replace(RELEASE, files=(replace(RELEASE.files[0], sha256=("0" * 64,)), *RELEASE.files[1:]))
    with serving({PATH: ARCHIVE}) as (address, _):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        with pytest.raises(DataError, match=r"data_batch_1\.bin differs from it\."):
            fetch_release(lying, base)
