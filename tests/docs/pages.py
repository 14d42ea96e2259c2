"""Pages whose commands are run: what stands in their fenced blocks, and whether the answers shown are true.

The blocks marked bash are run in order by one shell. A block marked json or text after one is what it
answers. In both, "…" stands for what differs each time or is left out: for any text, as a key for further
fields, as the last of a list for further items.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REST = "…"
_FENCED = re.compile(r"^```(bash|json|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "\x1e"
_RUN_TIMEOUT_S = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Commands, the line of the page that they start in, and the answer shown as (language, text)."""

    line: int
    commands: str
    shown: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What commands printed on both outputs, and whether one of them failed."""

    output: str
    failed: bool


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page in order."""
    found: list[Block] = []
    for fenced in _FENCED.finditer(text):
        language, content = fenced[1], fenced[2]
        if language == "bash":
            found.append(Block(line=text.count("\n", 0, fenced.start()) + 2, commands=content))
        else:
            asked = found.pop()
            assert asked.shown is None, f"line {asked.line} has two answers"
            found.append(Block(line=asked.line, commands=asked.commands, shown=(language, content)))
    return found


def run(
    blocks_: list[Block], folder: Path, replaced: Mapping[str, str] | None = None
) -> list[Outcome]:
    """Run the commands in one shell in `folder`, `replaced` texts put for others; return what each did."""
    script = ["exec 2>&1", "trap 'failed=1' ERR"]
    for block in blocks_:
        commands = block.commands
        for text, other in (replaced or {}).items():
            commands = commands.replace(text, other)
        script += ["failed=0", commands, f"printf '{_MARK}%s{_MARK}' $failed"]
    ran = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_RUN_TIMEOUT_S,
        check=False,
    )
    parts = ran.stdout.split(_MARK)
    outcomes = zip(parts[:-1:2], parts[1::2], strict=True)
    return [Outcome(output=output, failed=failed != "0") for output, failed in outcomes]


def difference(shown: tuple[str, str], output: str) -> str:
    """Return where an output is not what is shown; empty if it is."""
    language, text = shown
    if language == "text":
        pattern = "(?s:.*?)".join(re.escape(part) for part in text.strip().split(REST))
        same = re.fullmatch(pattern, output.strip())
        return "" if same else f"not as shown:\n{output}"
    wanted, found = documents(text), documents(output)
    different = _difference(wanted, found, "answer")
    return f"{different}\n{output}" if different else ""


def documents(text: str) -> list[Any]:
    """Return the JSON documents that stand one after the other in a text.

    Raises:
        ValueError: If something else stands there.
    """
    decoder, at, found = json.JSONDecoder(), 0, []
    while at < len(text.rstrip()):
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        found.append(document)
    return found


def _difference(shown: Any, found: Any, path: str) -> str:
    if isinstance(shown, str) and isinstance(found, str) and REST in shown:
        pattern = ".*".join(re.escape(part) for part in shown.split(REST))
        return "" if re.fullmatch(pattern, found, re.DOTALL) else f"{path}: {found!r}"
    if shown == REST:
        return ""
    if isinstance(shown, dict) and isinstance(found, dict):
        wanted = shown.keys() - {REST}
        odd = wanted - found.keys() if REST in shown else wanted ^ found.keys()
        if odd:
            return f"{path}: {sorted(odd)}"
        pairs = [(shown[key], found[key], f"{path}.{key}") for key in sorted(wanted)]
    elif isinstance(shown, list) and isinstance(found, list):
        if shown[-1:] == [REST]:
            shown, found = shown[:-1], found[: len(shown) - 1]
        if len(shown) != len(found):
            return f"{path}: {len(found)} items"
        pairs = [
            (one, other, f"{path}[{at}]")
            for at, (one, other) in enumerate(zip(shown, found, strict=True))
        ]
    else:
        return "" if shown == found else f"{path}: {found!r}"
    return next((why for pair in pairs if (why := _difference(*pair))), "")
