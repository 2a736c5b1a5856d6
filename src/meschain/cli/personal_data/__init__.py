"""Commands about buyers' personal data."""
