"""Outputs are whole or not there: after exceptions, kills, full disks, and for odd names."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mriforge.errors import BadInput, Failed
from mriforge.io import atomic
from mriforge.io.atomic import atomic_directory, atomic_path, check_writable


def stop_half_way(final: Path, error: BaseException) -> None:
    with atomic_path(final) as partial:
        partial.write_bytes(b"half")
        raise error


def test_the_file_appears_whole_and_keeps_its_extension(tmp_path: Path) -> None:
    final = tmp_path / "out" / "deep" / "scan.nii.gz"
    with atomic_path(final) as partial:
        assert partial.name.endswith("-scan.nii.gz")
        assert partial.parent == final.parent
        partial.write_bytes(b"whole")
        assert not final.exists()
    assert final.read_bytes() == b"whole"
    assert list(final.parent.iterdir()) == [final]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    final = tmp_path / "scan.nii"
    final.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        stop_half_way(final, RuntimeError())
    assert final.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [final]


def test_an_exception_removes_the_folders_it_made(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop_half_way(tmp_path / "a" / "b" / "x.nii", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="Nothing was written"), atomic_path(tmp_path / "x.nii"):
        pass


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "series"
    with atomic_directory(final) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "1.dcm").write_bytes(b"1")
        assert not final.exists()
    assert (final / "sub" / "1.dcm").read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [final]


def test_a_folder_with_files_is_only_replaced_on_request(tmp_path: Path) -> None:
    final = tmp_path / "series"
    final.mkdir()
    (final / "precious").write_bytes(b"1")
    with pytest.raises(BadInput, match="not empty"), atomic_directory(final):
        pass
    with atomic_directory(final, replace=True) as partial:
        (partial / "new").write_bytes(b"2")
    assert [p.name for p in final.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [final]


def test_a_replacement_killed_between_its_renames_is_undone(tmp_path: Path) -> None:
    old = tmp_path / ".replaced-model"
    old.mkdir()
    (old / "card.json").write_text("{}")
    with pytest.raises(ValueError), atomic_directory(tmp_path / "model", replace=True):
        raise ValueError
    assert (tmp_path / "model" / "card.json").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_explained(tmp_path: Path, code: int) -> None:
    with pytest.raises(Failed, match="disk is full") as caught, atomic_path(tmp_path / "x.nii"):
        raise OSError(code, os.strerror(code))
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_hides_the_full_disk(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(atomic, "_disk_full", lambda folder: True)
    with pytest.raises(Failed, match="disk is full"), atomic_path(tmp_path / "x.mha"):
        raise RuntimeError("itk::ERROR: File cannot be written")


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "x.nii", Path(".."), Path("/")):
        with pytest.raises(BadInput) as caught:
            check_writable(path)
        assert caught.value.hint
    with pytest.raises(BadInput, match="is a folder"), atomic_path(tmp_path):
        pass
    with pytest.raises(BadInput, match="too long"):
        check_writable(tmp_path / ("x" * 300 + ".nii"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(BadInput, match="read-only"):
            check_writable(tmp_path / "x.nii")
    finally:
        tmp_path.chmod(0o700)


def test_a_running_neighbour_is_left_alone(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.nii") as first:
        first.write_bytes(b"1")
        with atomic_path(tmp_path / "x.nii") as second:
            second.write_bytes(b"2")
        assert first.exists()
    assert (tmp_path / "x.nii").read_bytes() == b"1"


def test_leftovers_of_another_machine_are_kept_for_a_day(tmp_path: Path) -> None:
    fresh = tmp_path / ".partial-0badcafe-1-0-x.nii"
    stale = tmp_path / ".partial-0badcafe-2-0-x.nii"
    other = tmp_path / ".partial-0badcafe-2-0-y.nii"
    for path in (fresh, stale, other):
        path.write_bytes(b"")
    day_ago = time.time() - 2 * 86400
    os.utime(stale, (day_ago, day_ago))
    os.utime(other, (day_ago, day_ago))
    with atomic_path(tmp_path / "x.nii") as partial:
        partial.write_bytes(b"1")
    assert sorted(p.name for p in tmp_path.iterdir()) == [fresh.name, other.name, "x.nii"]


_WRITER = """
import sys, time
from pathlib import Path
from mriforge.io.atomic import atomic_path
with atomic_path(sys.argv[1]) as partial:
    with open(partial, "wb") as handle:
        handle.write(b"half")
        handle.flush()
        print("ready", flush=True)
        time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_process_leaves_no_output_and_its_rest_is_removed(tmp_path: Path) -> None:
    final = tmp_path / "x.nii"
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(final)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not final.exists()
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_path(final) as partial:
        partial.write_bytes(b"whole")
    assert list(tmp_path.iterdir()) == [final]
