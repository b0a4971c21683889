"""Put into the wheel, beside the driver's modules, what they read.

All else about the package is in pyproject.toml, which cannot name files that lie
outside of a package, where the shaders and the embedded model have their place.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PACKAGE = "pyodide_app"
READ = ("shaders/**/*.wgsl", "demo/lapidary-demo.gguf", "demo/CARD.md")


class BuildDriver(build_py):
    """Build the modules and what they read; an editable install finds both in place."""

    def run(self) -> None:
        """Copy into a folder without what an earlier build left there."""
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, PACKAGE), ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for target, source in self.read().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def read(self) -> dict[str, str]:
        """Return what is read, as paths in the checkout by paths in the build."""
        paths = sorted(path for pattern in READ for path in Path().glob(pattern))
        return {str(Path(self.build_lib, PACKAGE, p)): p.as_posix() for p in paths}

    def get_source_files(self) -> list[str]:
        """Return what the source distribution must hold."""
        return [*super().get_source_files(), *self.read().values()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return the files of the build."""
        return [*super().get_outputs(include_bytecode), *self.read()]

    def get_output_mapping(self) -> dict[str, str]:
        """Return the sources by the files of the build."""
        return super().get_output_mapping() | self.read()


setup(cmdclass={"build_py": BuildDriver})
