from __future__ import annotations

from tests.workflow_service.building import build, choice, value
from workflow_service.definition import Definition


def path(definition: Definition, choices: dict[str, str]) -> list[str]:
    """Return the steps that a run goes through that chooses as `choices` say."""
    steps = []
    place = 0
    while place < len(definition.places):
        at = definition.places[place]
        steps.append(at.step.id)
        place = at.entries[choices[at.step.id]] if at.entries else at.after
    return steps


NESTED = build(
    {
        "steps": [
            value("a"),
            choice(
                "outer",
                {
                    "one": (
                        "true",
                        [
                            value("b"),
                            choice("inner", {"deep": ("true", [value("c")])}, []),
                        ],
                    ),
                    "two": ("true", []),
                },
                [value("d"), value("e")],
            ),
            value("f"),
        ]
    }
)


def test_places_are_in_the_order_of_the_text() -> None:
    ids = [place.step.id for place in NESTED.places]
    assert ids == ["a", "outer", "b", "inner", "c", "d", "e", "f"]


def test_every_choice_comes_back_to_what_follows_its_condition() -> None:
    assert path(NESTED, {"outer": "one", "inner": "deep"}) == [
        *("a", "outer", "b", "inner", "c", "f")
    ]
    assert path(NESTED, {"outer": "one", "inner": "otherwise"}) == [
        *("a", "outer", "b", "inner", "f")
    ]
    assert path(NESTED, {"outer": "two"}) == ["a", "outer", "f"]
    assert path(NESTED, {"outer": "otherwise"}) == ["a", "outer", "d", "e", "f"]


def test_a_condition_at_the_end_leads_to_the_end() -> None:
    last = build(
        {"steps": [choice("only", {"x": ("true", [choice("sub", {"y": ("true", [])}, [])])}, [])]}
    )
    assert path(last, {"only": "x", "sub": "y"}) == ["only", "sub"]
    assert path(last, {"only": "otherwise"}) == ["only"]
