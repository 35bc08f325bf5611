"""Searches replayed against surfaces whose best config is known, thousands of times and without a device."""
