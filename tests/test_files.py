"""A file on disk is whole or absent."""

import os

import pytest

from edge_runtime.files import temporary_sibling, write_atomically


def test_what_is_written_is_there_and_nothing_else(tmp_path):
    write_atomically(tmp_path / "a", b"one")
    write_atomically(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failed_write_leaves_the_old_content_and_no_rest(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "a", "text")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_in_the_way_leaves_no_rest(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "a", b"x")
    assert os.listdir(tmp_path) == ["a"]


def test_other_users_may_read_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_temporary_names_are_hidden_beside_the_file_and_never_equal(tmp_path):
    names = {temporary_sibling(tmp_path / "a") for _ in range(50)}
    assert len(names) == 50
    assert all(path.parent == tmp_path and path.name.startswith(".a.") and path.suffix == ".tmp" for path in names)
