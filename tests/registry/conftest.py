"""The package in this folder has tests of its own; test_demo_package.py runs them where it is installed."""

from __future__ import annotations

collect_ignore = ["zoo-norm-demo"]
