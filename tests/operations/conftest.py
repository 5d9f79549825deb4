from tests.http_application import *  # noqa: F403
