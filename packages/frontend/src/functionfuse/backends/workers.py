"""Worker processes that end with their driver."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from typing import Any

_SECONDS = 1.0  # between two looks whether the driver is alive

_watching = 0  # the process whose driver is watched


def watch_driver(driver_pid: int) -> None:
    """End this process, a worker, soon after the driver that started it ended without ending it.

    Args:
        driver_pid: the process number of the driver. A worker that another process started is left to that.
    """
    global _watching
    if _watching == os.getpid():
        return
    _watching = os.getpid()
    driver = multiprocessing.parent_process()
    if driver is not None and driver.pid == driver_pid:
        threading.Thread(target=_end_after, args=(driver,), daemon=True, name="functionfuse-watch-driver").start()


def _end_after(driver: Any) -> None:
    if os.getppid() == driver.pid or driver.sentinel is None:
        while os.getppid() == driver.pid:
            time.sleep(_SECONDS)
    else:  # started by a fork server
        driver.join()
    os._exit(1)
