import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.data import places
from assay.data.places import cache_folder, data_folders, digests, find, use_data_folder
from assay.errors import DataError


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASSAY_DATA", os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second")]))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def later(monkeypatch):
    """Makes files written in a test old enough to be remembered."""
    now = time.time_ns
    monkeypatch.setattr(places.time, "time_ns", lambda: now() + 10 * 10**9)


@pytest.fixture
def reads(monkeypatch):
    """Which files are read for their digest."""
    seen = []
    read = places._read
    monkeypatch.setattr(places, "_read", lambda path: seen.append(Path(path).name) or read(path))
    return seen


# --- folders ----------------------------------------------------------------------------------------------------------


def test_data_folders_are_those_of_the_variable_and_then_the_cache(tmp_path):
    assert data_folders() == (tmp_path / "first", tmp_path / "second", tmp_path / "cache" / "data")


def test_without_variables_data_are_in_the_users_cache(monkeypatch):
    monkeypatch.delenv("ASSAY_CACHE")
    monkeypatch.setenv("ASSAY_DATA", "")
    assert cache_folder().is_absolute()
    assert "assay" in cache_folder().parts
    assert data_folders() == (cache_folder() / "data",)


def test_home_and_the_current_folder_may_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ASSAY_DATA", f"~/mine{os.pathsep}.")
    assert data_folders()[:2] == (tmp_path / "mine", tmp_path / "here")


def test_the_first_place_that_has_it_wins(tmp_path):
    spots = [tmp_path / part / "set" for part in ("here", "cache/data", "second", "first")]
    for spot in spots:
        spot.mkdir(parents=True)
        assert find("set", "data.root") == spot


def test_an_absolute_path_and_one_from_home_are_taken_as_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "set").mkdir()
    assert find(str(tmp_path / "set"), "data.root") == tmp_path / "set"
    assert find("~/set", "data.root") == tmp_path / "set"
    with pytest.raises(DataError, match=r"^data\.root '/no/such/set' was not found\. Check the path\.$"):
        find("/no/such/set", "data.root")


def test_a_path_of_several_parts_is_missing_from_the_folders_it_would_start_in(tmp_path):
    with pytest.raises(DataError) as caught:
        find("pets/small", "data.root")
    looked_in = "".join(f"  {tmp_path / part}\n" for part in ("first", "second", "cache/data", "here"))
    assert str(caught.value).startswith(f"data.root 'pets/small' was not found. Looked in:\n{looked_in}  Put it into")
    assert "or name the folder pets is in by --data-dir" in str(caught.value)


def test_what_is_nowhere_is_answered_with_the_places_and_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        find("pets", "Data source folder: root")
    looked_in = "".join(f"  {tmp_path / part}\n" for part in ("first", "second", "cache/data", "here"))
    assert str(caught.value) == (
        f"Data source folder: root 'pets' was not found. Looked in:\n{looked_in}"
        "  Put it into one of these, or name the folder it is in by --data-dir or $ASSAY_DATA."
    )


@pytest.mark.parametrize("place", ["a\0b", "x" * 5000])
def test_an_impossible_name_is_not_found(place):
    with pytest.raises(DataError, match="was not found"):
        find(place, "data.root")


def test_a_chosen_folder_reaches_processes_started_later(monkeypatch, tmp_path):
    use_data_folder(tmp_path / "here")
    assert data_folders() == (tmp_path / "here", tmp_path / "cache" / "data")
    code = "from assay.data.places import data_folders; print(data_folders()[0])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == str(tmp_path / "here")


def test_a_chosen_folder_must_exist_and_be_one(tmp_path):
    with pytest.raises(DataError, match=rf"must be an existing folder, got {tmp_path / 'none'}\."):
        use_data_folder(tmp_path / "none")
    both = tmp_path / f"a{os.pathsep}b"
    both.mkdir()
    with pytest.raises(DataError, match="must not contain"):
        use_data_folder(both)


# --- digests ----------------------------------------------------------------------------------------------------------


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_digests_are_those_of_the_contents_in_the_order_asked(tmp_path):
    contents = {f"{i % 3}/{i}.bin": os.urandom(i * 7) for i in range(200)}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    names = [*reversed(contents), "0/0.bin"]
    assert digests(tmp_path, names) == [sha256(contents[name]) for name in names]
    assert digests(tmp_path, []) == []


def test_an_unchanged_file_is_read_once(tmp_path, later, reads):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    for _ in range(3):
        assert digests(tmp_path, ["a", "b"]) == [sha256(b"a"), sha256(b"b")]
    assert sorted(reads) == ["a", "b"]
    (tmp_path / "c").write_bytes(b"c")
    digests(tmp_path, ["b", "c"])
    digests(tmp_path, ["a"])  # asked alone before, and still known
    assert sorted(reads) == ["a", "b", "c"]


@pytest.mark.parametrize("kept", ["nothing", "size", "size and time"])
def test_a_changed_file_is_noticed(tmp_path, later, kept):
    file = tmp_path / "a"
    file.write_bytes(b"before")
    status = file.stat()
    assert digests(tmp_path, ["a"]) == [sha256(b"before")]
    after = b"after" if kept == "nothing" else b"AFTER!"
    if kept == "size and time":  # as a copy that preserves times does; only the time of change gives it away
        time.sleep(0.02)
        file.write_bytes(after)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        file.write_bytes(after)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert digests(tmp_path, ["a"]) == [sha256(after)]


def test_a_file_written_just_now_is_not_remembered(tmp_path, reads):
    (tmp_path / "a").write_bytes(b"a")
    digests(tmp_path, ["a"])
    digests(tmp_path, ["a"])
    assert reads == ["a", "a"]


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path, later, monkeypatch):
    (tmp_path / "a").write_bytes(b"a")
    digest_of = hashlib.file_digest

    def overtaken(file, kind):
        found = digest_of(file, kind)
        (tmp_path / "a").write_bytes(b"longer")
        return found

    monkeypatch.setattr(places.hashlib, "file_digest", overtaken)
    digests(tmp_path, ["a"])
    monkeypatch.undo()
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    assert digests(tmp_path, ["a"]) == [sha256(b"longer")]


def test_what_cannot_be_read_has_no_digest(tmp_path, later):
    (tmp_path / "folder").mkdir()
    assert digests(tmp_path, ["missing", "folder", "a\0b"]) == ["", "", ""]
    (tmp_path / "missing").write_bytes(b"came")
    assert digests(tmp_path, ["missing"]) == [sha256(b"came")]


MEMO = """{"version": 1, "paths": ["a"], "sizes": [%s], "written": [0], "changed": [0], "digests": [%s]}"""


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"version": 99}',
        b'{"version": 1, "paths": ["a"]}',
        b'{"version": 1, "paths": ["a", "b"], "sizes": [1], "written": [1], "changed": [1], "digests": ["x"]}',
        (MEMO % (1, '"short"')).encode(),
        (MEMO % (1, 5)).encode(),
        (MEMO % ("[[]]", "null")).encode(),
        b"[" * 100_000,
    ],
)
def test_a_damaged_memory_costs_nothing_but_time(tmp_path, later, damaged):
    (tmp_path / "a").write_bytes(b"a")
    digests(tmp_path, ["a"])
    (memo,) = (tmp_path / "cache" / "digests").iterdir()
    memo.write_bytes(damaged)
    assert digests(tmp_path, ["a"]) == [sha256(b"a")]
    assert digests(tmp_path, ["a"]) == [sha256(b"a")]


def test_a_memory_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "file"))
    assert digests(tmp_path, ["a"]) == [sha256(b"a")]


def test_odd_names_are_remembered_too(tmp_path, later, reads):
    names = ["ä ö.txt", 'quote".txt', os.fsdecode(b"\xff.txt")]
    for name in names:
        (tmp_path / name).write_bytes(os.fsencode(name))
    for _ in range(2):
        assert digests(tmp_path, names) == [sha256(os.fsencode(name)) for name in names]
    assert len(reads) == 3


@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=3)), max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_written_when_the_digests_are_those_of_the_contents(tmp_path, steps):
    folder = tmp_path / "set"
    folder.mkdir(exist_ok=True)
    contents = {"a": b"", "b": b"", "c": b""}
    for name, content in [*contents.items(), *steps]:
        (folder / name).write_bytes(content)
        contents[name] = content
        present = [name for name in contents if (folder / name).exists()]
        assert digests(folder, present) == [sha256((folder / name).read_bytes()) for name in present]
