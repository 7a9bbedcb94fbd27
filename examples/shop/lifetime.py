"""No orphans: a service ends with the process that started it."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

PARENT = "SHOP_PARENT_PID"
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Get SIGTERM when the parent that is named in the environment dies; without one, live on."""
    expected = int(os.environ.get(PARENT, "0"))
    if not expected:
        return
    if sys.platform == "linux":
        # The signal comes when the thread that started us ends: the supervisor starts all services from one thread.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=_watch, args=(expected,), daemon=True, name="parent").start()


def _watch(expected: int) -> None:
    """Where there is no such signal, or the parent died before we asked for it."""
    while os.getppid() == expected:
        time.sleep(0.5)
    with contextlib.suppress(ProcessLookupError):
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(6)
    os._exit(1)
