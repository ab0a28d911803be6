"""What is asked of `pack` and cannot be: told before anything is computed."""

import pytest

from tools.errors import ToolError
from tools.network_file import save_network
from tools.pack import PackRequest, held_out, pack_network


def test_two_data_sets_of_one_name_are_refused(tiny, boards_folder, tmp_path):
    save_network(tmp_path / "network.npz", *tiny)
    request = PackRequest(
        network=tmp_path,
        out=tmp_path / "bundle" / "1",
        name="bundle",
        version="1",
        terms="Free.",
        thresholds_on=held_out(tmp_path, [boards_folder], 4),
        evaluation=(("val", boards_folder), ("val", boards_folder)),
    )
    with pytest.raises(ToolError, match="two data sets have the same name"):
        pack_network(request)
    assert not request.out.exists()
