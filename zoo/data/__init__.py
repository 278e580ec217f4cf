"""Datasets, the cache of decoded arrays, transforms and their two executors, corruptions, loaders."""
