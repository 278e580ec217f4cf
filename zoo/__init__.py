"""zoo: a model zoo and fair benchmark harness for normalisation layers on CIFAR-10."""

__version__ = "0.1.0"
