"""Where source code uses flags: finding the uses, and removing a finished flag from Python code."""
