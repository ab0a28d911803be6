"""What all tests share: no deadlines, since a busy machine must not fail one, and a keyboard that can interrupt.

A shell that starts the tests in the background has them ignore SIGINT, and so would every program they start.
"""

import signal

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
signal.signal(signal.SIGINT, signal.default_int_handler)
