"""The suite that zoo's own norms pass, for the norm as registry.yaml describes it.

The package has to be installed: zoo finds the norm by its name.
"""

from zoo.testing import check_norm


def test_demo() -> None:
    check_norm("demo")


def test_demo_compiles() -> None:
    check_norm("demo", compiled=True)
