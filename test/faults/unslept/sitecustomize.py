"""For processes under libfaketime 0.9.10, whose clock_nanosleep is broken: sleep in another way."""

import select
import time


def sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = sleep
