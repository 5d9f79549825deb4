"""Webhooks: sending messages, and asking for confirmations."""
