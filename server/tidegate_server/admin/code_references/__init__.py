"""The admin API for code references: where source code uses flags."""
