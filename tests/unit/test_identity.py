"""Uuids: the same everywhere, and different where things differ."""

from __future__ import annotations

import json
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from provml_hpc import identity

RUN = "3f0d2a44-1111-4222-8333-0123456789ab"
TEXT = st.text(max_size=30)


def test_the_uuids_of_published_files_stay_what_they_are() -> None:
    assert identity.content("sha256", "ab" * 32, 10) == "f1427e26-1ba5-55cf-b2c3-0b85cb64ef6d"
    assert identity.named("example.org", "Study", "netherlands-f3") == "ad54de3d-0797-5ae1-866f-1639d06af7a9"
    assert identity.local(RUN, "own", 1, 0, 7) == "f9ea80ce-f3de-5cc9-a194-dab025ebdd9d"
    assert identity.graph(RUN) == "85ea7475-502d-53df-a086-04e75da50a6f"


@given(st.lists(st.one_of(TEXT, st.integers(), st.lists(TEXT, max_size=3)), max_size=6))
def test_they_are_uuids_of_version_5(place: list[object]) -> None:
    text = identity.local(RUN, *place)
    assert text == str(uuid5(UUID(RUN), json.dumps(place)))
    assert UUID(text).version == 5


@given(st.tuples(TEXT, TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT, TEXT))
def test_named_things_are_one_only_where_all_parts_are_equal(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    assert (identity.named(*one) == identity.named(*other)) == (one == other)


def test_no_part_can_pass_for_two() -> None:
    assert identity.named("a", 'b","c', "d") != identity.named("a", "b", 'c","d')
    assert identity.local(RUN, "1") != identity.local(RUN, 1)


def test_text_that_is_no_unicode_has_an_identity_too() -> None:
    assert UUID(identity.content("x\udc80", "ab", 1)).version == 5
    assert identity.named("a", "b", "\udc80") != identity.named("a", "b", "\udc81")


def test_the_run_its_graph_and_its_first_record_differ() -> None:
    assert len({RUN, identity.graph(RUN), identity.local(RUN)}) == 3
