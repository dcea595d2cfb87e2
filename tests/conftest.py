"""What the whole suite needs of its process."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts background jobs with Ctrl-C ignored, and children inherit that: the tests of
    # Ctrl-C would send it in vain.
    signal.signal(signal.SIGINT, signal.default_int_handler)
