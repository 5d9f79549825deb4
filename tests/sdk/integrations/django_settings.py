"""The settings of Django in these tests: one process can have only one set of them."""

from __future__ import annotations

import django
from django.conf import settings


def configure() -> None:
    if settings.configured:
        return
    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="tests.sdk.integrations.test_django",
        MIDDLEWARE=["tidegate.integrations.django.TidegateMiddleware"],
        DATABASES={},
        LOGGING_CONFIG=None,
    )
    django.setup()
