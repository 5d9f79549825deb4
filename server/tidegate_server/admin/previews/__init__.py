"""The admin API for previews of changes: who of the recently seen users would change sides."""
