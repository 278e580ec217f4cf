"""Puts the root's registry.yaml into the package as it is built. All else is in setup.cfg."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

REGISTRY = "registry.yaml"


class BuildWithRegistry(build_py):
    """A wheel gets a copy of the registry; an editable install reads the root's."""

    def run(self) -> None:
        """Build the package, then copy the registry into it."""
        super().run()
        if not self.editable_mode:
            self.copy_file(REGISTRY, self._copy())

    def get_source_files(self) -> list[str]:
        """The files of a source distribution."""
        return [*super().get_source_files(), REGISTRY]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """The files that are written."""
        return [*super().get_outputs(include_bytecode), self._copy()]

    def get_output_mapping(self) -> dict[str, str]:
        """Each file that is written, with the file that it is made from."""
        return super().get_output_mapping() | {self._copy(): REGISTRY}

    def _copy(self) -> str:
        return str(Path(self.build_lib, "zoo", REGISTRY))


setup(cmdclass={"build_py": BuildWithRegistry})
