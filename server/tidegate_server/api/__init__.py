"""The HTTP interfaces: administration, SDKs, operations."""
