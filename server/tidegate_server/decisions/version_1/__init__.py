"""The first version of the decision statistics, for releases that started under it.

It stays until the last such release has ended and its ledger is no longer replayed. Delete this
folder then, with the dispatch in ``decisions/rule.py`` and the fields of ``progress.py`` that
have a type of it.
"""
