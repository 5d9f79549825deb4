from tests.cli.conftest import admin, no_variables, server, tidegate

__all__ = ["admin", "no_variables", "server", "tidegate"]
