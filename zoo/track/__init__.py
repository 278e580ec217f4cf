"""Runs logged to experiment trackers as well."""
