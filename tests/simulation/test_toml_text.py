"""What is written as TOML is read as the same."""

import tomli
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.simulation.toml_text import to_toml

VALUES = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9) | st.text(st.characters(codec="ascii")),
    lambda each: st.lists(each, max_size=3),
    max_leaves=5,
)
TABLES = st.recursive(
    st.dictionaries(st.text(st.characters(codec="ascii"), max_size=5), VALUES, max_size=3),
    lambda tables: st.dictionaries(st.text(st.characters(codec="ascii"), max_size=5), VALUES | tables, max_size=3),
    max_leaves=6,
)


@given(TABLES)
def test_tables_come_back(data):
    assert tomli.loads(to_toml(data)) == data


def test_none_is_left_out():
    assert to_toml({"a": None, "b": {"c": 1, "d": None}}) == "[b]\nc = 1\n"
