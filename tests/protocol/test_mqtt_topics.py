"""Topic names: what the templates make, and what no broker would take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.mqtt_topics import PLACEHOLDERS, Kind, TopicRules


def test_plain_names():
    rules = TopicRules("{prefix}/{station}/{kind}", "line-1", "plant/2")
    assert {kind.value: rules.topic(kind) for kind in Kind} == {
        "record": "plant/2/line-1/record",
        "state": "plant/2/line-1/state",
        "status": "plant/2/line-1/status",
        "replay": "plant/2/line-1/replay",
    }


def test_names_of_sparkplug():
    rules = TopicRules("sparkplug", "line-1", group="factory", node="inspection")
    assert [rules.topic(kind) for kind in Kind] == [
        "spBv1.0/factory/DDATA/inspection/line-1",
        "spBv1.0/factory/DBIRTH/inspection/line-1",
        "spBv1.0/factory/STATE/inspection/line-1",
        "spBv1.0/factory/DCMD/inspection/line-1",
    ]


@pytest.mark.parametrize(
    ("template", "fragment"),
    [
        ("{prefix}/{plant}/{kind}", r"unknown placeholder \{plant\}; allowed: \{prefix\}, \{station\}"),
        ("{prefix}/{station}", r"needs \{kind\}"),
        ("{prefix}/{kind", r"expected '\}'"),
        ("{}/{kind}", "unknown placeholder"),
        ("{kind.__class__}", "unknown placeholder"),
        ("{kind!r}/{station}", "unknown placeholder"),
        ("{kind:>1000000}", "unknown placeholder"),
        ("{station}/{kind:{station}}", "unknown placeholder"),
        ("$SYS/{kind}", "starts with"),
        ("/{kind}", "empty level"),
        ("{kind}/", "empty level"),
        ("a//{kind}", "empty level"),
        ("{node}/{kind}", "empty level"),
        ("+/{kind}", "contains"),
        ("{kind}/#", "contains"),
        ("a\nb/{kind}", "contains"),
        ("x" * 1000 + "/{kind}", "longer than"),
    ],
)
def test_a_wrong_template_is_refused(template, fragment):
    with pytest.raises(ValueError, match=fragment):
        TopicRules(template, "line-1", "plant")


@pytest.mark.parametrize("station", ["a/b", "a+b", "#", "a\0b"])
def test_a_station_that_cannot_stand_in_a_topic_is_refused(station):
    with pytest.raises(ValueError, match=r"topic"):
        TopicRules("{prefix}/{station}/{kind}", station, "plant")


WORDS = st.text(max_size=12)
TEMPLATES = st.lists(st.sampled_from([*(f"{{{each}}}" for each in PLACEHOLDERS), "/", "x", "é"]), max_size=8).map(
    "".join
)


@given(template=TEMPLATES | st.just("sparkplug"), station=WORDS, prefix=WORDS, group=WORDS, node=WORDS)
def test_what_is_not_refused_is_a_name_of_its_own_for_each_kind(template, station, prefix, group, node):
    try:
        rules = TopicRules(template, station, prefix, group, node)
    except ValueError:
        return
    topics = [rules.topic(kind) for kind in Kind]
    assert len(set(topics)) == len(topics)
    for topic in topics:
        assert all(topic.split("/"))
        assert not set(topic) & set("+#\0")
