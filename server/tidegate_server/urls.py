"""URLs that requests can be sent to, as the SDK reads them."""

from tidegate.addresses import MAX_URL_LENGTH, split_url

__all__ = ["MAX_URL_LENGTH", "split_url"]
