"""Waits for a condition, never for a time."""

import time


def until(what, condition, bound_s=60.0):
    """Asks again and again until `condition` gives something true, and returns it.

    Fails after `bound_s`, naming `what` and the last answer.
    """
    end = time.monotonic() + bound_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {bound_s} s in vain until {what}; last answer: {answer!r}")
        time.sleep(0.05)
