"""Which threads wait when the processor is short: those that work long, so that small calls do not."""

from __future__ import annotations

import os
import sys
import threading

# As `nice` counts: 19 gives way to everybody. A thread that a thread makes has its maker's.
_LONG_WORK = 10


def give_way() -> None:
    """Let other threads of this process go first from now on, and before those that this one makes.

    There is no way back, so call it on a thread that is for long work. Only Linux has it for a single thread;
    elsewhere nothing happens.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LONG_WORK)
