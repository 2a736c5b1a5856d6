"""Settings of every test here; databases come from the plugin meschain.testing.database."""

from hypothesis import settings

# On a busy machine a slow example is no defect: the time of a whole run is what is watched.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")
