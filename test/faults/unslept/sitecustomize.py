"""For processes under libfaketime 0.9.10, whose clock_nanosleep is broken: sleep in another way."""

import select
import time
from typing import Any


def sleep(seconds: Any) -> None:
    select.select([], [], [], seconds)


time.sleep = sleep
