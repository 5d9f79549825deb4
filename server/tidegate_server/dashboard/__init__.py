"""The dashboard: pages for people, made on the server.

A page is a client of the admin API within the same process (``api.py``): it reads and changes
what its reader may, through the same routes, and knows nothing that the API does not say.

- ``routes.py``: the blueprint, its errors and its security policy;
- ``pages/``: one module for each kind of page;
- ``shell.py``: what surrounds every page;
- ``words.py``: numbers, times and durations as people read them;
- ``charts/``: drawings as SVG, with geometry in attributes;
- ``templates/``, ``static/``: markup, style and script.
"""
