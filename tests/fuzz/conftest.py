"""Whatever comes. `make unit` tries the same examples everywhere; `make fuzz` goes on with new ones, by a seed."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "bounded", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", settings.get_profile("bounded"), derandomize=False, max_examples=500)
settings.load_profile("bounded")  # unless --hypothesis-profile names another
