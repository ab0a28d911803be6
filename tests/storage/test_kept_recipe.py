"""The selected recipe's number and the closed gate: on disk with the next commit, there again after every stop."""

from __future__ import annotations

import pytest

from edge_runtime.errors import StorageError


def test_a_new_file_keeps_none(database):
    assert database.kept_recipe() is None


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("number", [0, 2, 65535])
def test_a_committed_number_outlives_the_stop(path, open_database, clean, number):
    database = open_database(path)
    database.keep_recipe(7)
    database.commit()
    database.keep_recipe(number)
    assert database.kept_recipe() == number
    database.commit()
    database.close_cleanly() if clean else database.close()
    assert open_database(path).kept_recipe() == number


def test_a_number_that_was_not_committed_is_not_on_disk(path, open_database):
    database = open_database(path)
    database.keep_recipe(7)
    database.commit()
    database.keep_recipe(8)
    database.close()
    assert open_database(path).kept_recipe() == 7


def test_a_clean_stop_commits_it(path, open_database):
    database = open_database(path)
    database.keep_recipe(3)
    database.close_cleanly()
    assert open_database(path).kept_recipe() == 3


def test_a_file_taken_away_loses_no_number(path, open_database, make_record):
    database = open_database(path)
    database.keep_recipe(3)
    database.close_cleanly()
    database = open_database(path)
    assert database.kept_recipe() == 3
    for file in path.parent.glob(f"{path.name}*"):
        if not file.name.endswith(".lock"):
            file.unlink()
    database.add(make_record(1))
    with pytest.raises(StorageError, match="deleted or moved"):
        database.commit()
    database.commit()
    database.close()
    assert open_database(path).kept_recipe() == 3


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("model_id", ["pcb/3@01234567", ""])
def test_the_model_whose_gate_is_closed_is_kept_beside_it(path, open_database, clean, model_id):
    database = open_database(path)
    assert database.kept_gate() == ""
    database.keep_gate("other/1@01234567")
    database.keep_recipe(3)
    database.commit()
    database.keep_gate(model_id)
    assert database.kept_gate() == model_id
    database.commit()
    database.close_cleanly() if clean else database.close()
    database = open_database(path)
    assert (database.kept_gate(), database.kept_recipe()) == (model_id, 3)
