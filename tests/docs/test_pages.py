"""What is shown is held against what is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks, difference, run

PAGE = """
```bash
echo '{"id": "x1"}'
```

It answers:

```json
{"id": "…"}
```

```bash
false
echo two
```
"""


def test_blocks_come_in_order_with_their_answers() -> None:
    assert blocks(PAGE) == [
        Block(line=3, commands='echo \'{"id": "x1"}\'\n', shown=("json", '{"id": "…"}\n')),
        Block(line=13, commands="false\necho two\n"),
    ]


def test_commands_run_in_one_shell_and_say_whether_one_failed(tmp_path: Path) -> None:
    found = run([Block(line=1, commands="a=OLD"), *blocks(PAGE), Block(line=2, commands="echo $a")],
                tmp_path, {"OLD": "new"})  # fmt: skip
    assert [(one.output, one.failed) for one in found] == [
        ("", False),
        ('{"id": "x1"}\n', False),
        ("two\n", True),
        ("new\n", False),
    ]


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('{"a": "ds_…"}', '{"a": "ds_01"}'),
        ('{"a": "…"}', '{"a": {"b": 2}}'),
        ('{"a": 1, "…": "…"}', '{"a": 1, "b": 2}'),
        ('[1, "…"]', "[1, 2, 3]"),
        ('{"a": 1}\n{"b": 2}', '{"a": 1} {"b": 2}'),
    ],
)
def test_json_that_is_as_shown(shown: str, output: str) -> None:
    assert not difference(("json", shown), output)


@pytest.mark.parametrize(
    ("shown", "output", "why"),
    [
        ('{"a": 1}', '{"a": 2}', "answer[0].a: 2"),
        ('{"a": 1}', '{"a": 1, "b": 2}', "answer[0]: ['b']"),
        ('{"a": 1, "…": "…"}', '{"b": 2}', "answer[0]: ['a']"),
        ('{"a": "ds_…"}', '{"a": "tbl_01"}', "answer[0].a: 'tbl_01'"),
        ("[1, 2]", "[1]", "answer[0]: 1 items"),
        ("[1]", "[1] [2]", "answer: 2 items"),
    ],
)
def test_json_that_is_not_as_shown(shown: str, output: str, why: str) -> None:
    assert difference(("json", shown), output).startswith(why)


def test_text_is_held_against_what_is_shown() -> None:
    assert not difference(
        ("text", "ERROR:\n  Code: …\n  …\n"), "ERROR:\n  Code: NotFound\n  more\n"
    )
    assert difference(("text", "ERROR:\n"), "fine\n") == "not as shown:\nfine\n"
