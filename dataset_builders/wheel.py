"""Build step that copies templates and recipes, which are beside the packages in a checkout, into the wheel."""

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

RESOURCES = ("model_cards", "scripts/recipes", "scripts/accelerate_configs")


class BuildWithResources(build_py):
    """Copies the resources to where [`~dataset_builders.resources.resource`] finds them."""

    def run(self) -> None:
        """Builds, then copies; an editable installation reads them from the checkout."""
        super().run()
        if not self.editable_mode:
            for name in RESOURCES:
                target = Path(self.build_lib) / "dataset_builders" / "resources" / name
                shutil.copytree(name, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))

    def get_source_files(self) -> list[str]:
        """Files of a source distribution."""
        files = (path for name in RESOURCES for path in Path(name).rglob("*"))
        return [
            *super().get_source_files(),
            *(str(path) for path in files if path.is_file() and path.suffix != ".pyc"),
        ]
