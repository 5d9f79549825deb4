"""The version of the Tidegate distribution."""

VERSION = "0.1.0"
