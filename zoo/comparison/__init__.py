"""Stored runs to groups and rows, with intervals and tests."""
