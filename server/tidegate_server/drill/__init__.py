"""`tidegate drill`: cuts one part after another of a server and an application of its own.

``application`` evaluates flags in forked workers and notes in ``journals`` what it saw; ``demo``
runs it with a server, through a ``proxy`` that can be cut. ``changes`` makes changes meanwhile and
notes what was acknowledged. ``cuts`` are the failures, ``exercise`` makes them and compares, and
``words`` says what came of it.
"""
