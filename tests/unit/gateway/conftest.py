"""Properties are tried with the same examples everywhere, and no clock decides."""

from hypothesis import settings

settings.register_profile("hearth", derandomize=True, deadline=None, database=None)
settings.load_profile("hearth")
