from __future__ import annotations

from expunge.kinds.language.report.answers import LONGEST, SHOWN, groups, mark


def row(**changes: object) -> dict[str, object]:
    return {"group": "completion prompt", "prompt": "p", "before": "b", "after": "a", "retrained": None,
            "terms_before": [], "terms_after": [], **changes}  # fmt: skip


def test_terms_are_marked_as_whole_words_longest_first() -> None:
    text = mark("Ron Weasley saw Ron; Ronald and a Broomstick", ["Ron", "Ron Weasley", "broomstick"])
    assert text.pieces == (
        ("Ron Weasley", True), (" saw ", False), ("Ron", True), ("; Ronald and a ", False), ("Broomstick", True)
    )  # fmt: skip
    assert text.elsewhere == ()


def test_capitalised_terms_only_in_that_spelling() -> None:
    assert mark("the snitch", ["Snitch"]).pieces == (("the snitch", False),)
    assert mark("the snitch", ["Snitch"]).elsewhere == ("Snitch",)


def test_terms_over_a_line_end_and_with_signs_of_their_own() -> None:
    assert ("Ron\nWeasley", True) in mark("by Ron\nWeasley.", ["Ron Weasley"]).pieces
    assert ("C++ (1998)", True) in mark("in C++ (1998), he", ["C++ (1998)"]).pieces


def test_long_texts_are_cut_and_say_so() -> None:
    text = mark("x" * (LONGEST + 7), [])
    assert (len(text.pieces[0][0]), text.cut) == (LONGEST, 7)


def test_what_still_reveals_comes_first_and_the_rest_folds() -> None:
    rows = [row(prompt=f"p{i}") for i in range(SHOWN)]
    rows += [row(prompt="known", terms_before=["Ron"]), row(prompt="leak", terms_after=["Ron"])]
    (group,) = groups(rows)
    assert [answer.prompt.pieces[0][0] for answer in group.shown[:3]] == ["leak", "known", "p0"]
    assert (len(group.shown), len(group.folded), group.size) == (SHOWN, 2, SHOWN + 2)
    assert (group.revealing_before, group.revealing_after, group.has_retrained) == (1, 1, False)


def test_groups_keep_the_order_of_the_file() -> None:
    found = groups([row(group="b"), row(group="a", retrained="r", true="t"), row(group="b")])
    assert [(group.name, group.size, group.has_retrained) for group in found] == [("b", 2, False), ("a", 1, True)]
    answer = found[1].shown[0]
    assert answer.true is not None
    assert answer.true.pieces == (("t", False),)
