"""Random numbers that spread load: for pauses, slices of time and choices.

They are the system's. Those of the module ``random`` belong to the application: after
``random.seed`` it expects the same numbers again, which a thread of the SDK must not use up. And
processes with the same seed would all try again at the same moment.
"""

from __future__ import annotations

from random import SystemRandom

RANDOM: SystemRandom = SystemRandom()
"""It has no state, so children of a fork need not seed it."""
