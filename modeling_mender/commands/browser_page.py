"""Make a page that runs a model in the browser, for any web server or a static Space.

    mender browser-page outputs/quickstart/model --output_dir page
    python -m http.server --directory page
    mender publish-space browser --page page --repo_id org/mender-in-your-browser

The page computes everything itself: it asks no server for an answer. Its libraries are fetched by npm in pinned
versions; without npm or a network, name a folder with their archives (--npm_archives).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from dataset_builders.commands.command_line import CommandParser, HelpFormatter, defaults_of, run_command
from dataset_builders.replacing import PUBLISHED, check_replaceable
from dataset_builders.resources import resource

from ..atomic_write import new_directory, scratch_directory
from .export_onnx import ExportArguments, export


@dataclass(kw_only=True)
class BrowserPageArguments:
    """Arguments of [`make_page`]; see `--help` for what each is."""

    model: str
    output_dir: Path
    dtype: str = "float32"
    npm_archives: Path | None = None
    overwrite: bool = False


def parse_arguments(argv: list[str] | None) -> BrowserPageArguments:
    """Reads the command line."""
    parser = CommandParser(description=str(__doc__).split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("model", help="mender_steer model: folder, name on the Hub, or folder of mender export-onnx")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the page")
    parser.add_argument(
        "--dtype", choices=("float32", "int8"), help="weights of the text encoder; int8 is a quarter of the size"
    )
    parser.add_argument("--npm_archives", type=Path, help="folder with the archives that npm pack writes")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output_dir")
    parser.set_defaults(**defaults_of(BrowserPageArguments))
    return BrowserPageArguments(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Makes the page; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    return run_command(lambda: make_page(arguments))


def make_page(arguments: BrowserPageArguments) -> None:
    """Exports the model if that has not been done, writes the folder of the page, and prints its size.

    Raises:
        ImportError, ValueError: As [`export`], or if an exported model is of another dtype.
        FileNotFoundError, ConnectionError: If a file of the model or a library is missing.
    """
    from ..hub.browser_page import stage_page
    from ..hub.npm_packages import vendor
    from ..onnx_export.exported_folder import SETTINGS_FILE, read_settings

    needed = [arguments.model, arguments.npm_archives]
    check_replaceable(arguments.output_dir, arguments.overwrite, PUBLISHED["space"], needed)
    exported = Path(arguments.model)
    is_exported = (exported / SETTINGS_FILE).is_file()
    if is_exported and (dtype := read_settings(exported).get("dtype")) != arguments.dtype:
        raise ValueError(f"{exported} was exported in {dtype}, and --dtype is {arguments.dtype}; give that dtype.")
    with scratch_directory() as scratch:
        libraries = Path(scratch) / "vendor"
        vendor(libraries, arguments.npm_archives)  # first, so that a missing one costs no time
        if not is_exported:
            exported = Path(scratch) / "onnx"
            export(ExportArguments(model=arguments.model, output_dir=str(exported), dtype=arguments.dtype))
        with new_directory(arguments.output_dir, arguments.overwrite) as folder:
            files = stage_page(exported, resource("model_cards/spaces/browser"), libraries, folder)["files"]
    size = sum(file["bytes"] for file in files.values())
    print(f"{len(files)} files, {size / 1e6:.1f} MB")
    print(f"page: python -m http.server --directory {arguments.output_dir}, then open http://localhost:8000")


if __name__ == "__main__":
    sys.exit(main())
