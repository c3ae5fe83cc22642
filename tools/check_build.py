"""A build hook: a wheel or sdist without a file of the package is not built.

The links `sql`, `src/http` and `src/evaluators` once made the builder leave out what they point to.
"""

import tarfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "src/evalqueue"
FOLDERS = ("http", "evaluators", "sql")


class CheckBuild(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Check the source.

        Raises:
            RuntimeError: a folder is missing.
        """
        package = Path(self.root, PACKAGE)
        missing = [folder for folder in FOLDERS if not (package / folder / "__init__.py").is_file()]
        if missing:
            raise RuntimeError(
                f"{PACKAGE} lacks {', '.join(missing)}: nothing can be built from it"
            )

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Check the artifact.

        Raises:
            RuntimeError: a file of the package is missing.
        """
        package = Path(self.root, PACKAGE)
        if version == "editable":
            return
        if artifact_path.endswith(".whl"):
            top, built = "evalqueue/", set(zipfile.ZipFile(artifact_path).namelist())
        else:
            with tarfile.open(artifact_path) as archive:
                built = set(archive.getnames())
            top = f"{Path(artifact_path).name.removesuffix('.tar.gz')}/{PACKAGE}/"
        lost = [
            str(path.relative_to(package))
            for path in sorted(package.rglob("*"))
            if path.is_file()
            and path.suffix != ".pyc"
            and top + path.relative_to(package).as_posix() not in built
        ]
        if lost:
            Path(artifact_path).unlink()
            raise RuntimeError(f"{artifact_path} would lack {len(lost)} files, first {lost[0]}")
