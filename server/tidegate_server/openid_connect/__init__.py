"""OpenID Connect, as a server speaks it that lets people sign in with identity providers.

Nothing here knows people or sessions. Requests go out through ``outbound``.
"""
