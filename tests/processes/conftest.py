from tests.cli.conftest import admin, no_variables, served, tidegate

__all__ = ["admin", "no_variables", "served", "tidegate"]
