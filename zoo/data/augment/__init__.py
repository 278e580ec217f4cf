"""Transforms, on the device and in worker processes."""
