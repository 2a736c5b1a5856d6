"""One simulated economy shared by all façades. Imports the domain and nothing of the hub."""
