"""Files of a domain, downloaded or the user's own, as a source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .domains import Domain
from .downloads import download
from .sources import SOURCES, get_source
from .sources.raw_tables import Source


def default_download_dir() -> Path:
    """Default folder of downloads, in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mender" / "downloads"


def domain_source(
    domain: Domain,
    raw_dir: Path | None = None,
    download_dir: Path | None = None,
    progress: bool = True,
    **options: Any,  # those of the domain's source beside its files
) -> Source:
    """Makes the source of a domain, on the user's own files or on downloaded ones.

    Args:
        domain (`Domain`): See [`~dataset_builders.building.domains.get_domain`] and
            [`~dataset_builders.building.domains.amazon_domain`].
        raw_dir (`Path`, *optional*): Folder that holds the files under their published names, compressed or not;
            nothing is downloaded then.
        download_dir (`Path`, *optional*): Folder of downloads; [`default_download_dir`] by default.
        progress (`bool`, *optional*, defaults to `True`): Whether downloads show a progress bar.
        options: Further arguments of the source, such as `since` and `until` for Yelp.

    Returns:
        `Source`: All its files exist; nothing is read before its `load`.

    Raises:
        FileNotFoundError: If `raw_dir` lacks a file, or is needed because the domain cannot be downloaded.
        DownloadError: If a download fails.
        ValueError: If the source does not take an option.
    """
    if raw_dir is not None:
        files = _own_files(domain, Path(raw_dir))
    else:
        missing = [option for option, remote in domain.files.items() if remote is None]
        if missing:
            raise FileNotFoundError(
                f"the domain {domain.name} cannot be downloaded: get the data yourself (see "
                f"{SOURCES[domain.source].page}), accept its terms, and pass the folder as --raw_dir"
            )
        folder = (default_download_dir() if download_dir is None else Path(download_dir)) / domain.collection
        files = {
            option: download(remote, folder, progress) for option, remote in domain.files.items() if remote is not None
        }
    return get_source(domain.source, **files, **options)


def _own_files(domain: Domain, raw_dir: Path) -> dict[str, Path]:
    if not raw_dir.is_dir():
        raise FileNotFoundError(f"raw_dir {raw_dir} is no folder; give the one that holds the files of {domain.name}")
    files, missing = {}, []
    for option, remote in domain.files.items():
        if remote is None:
            from .sources.yelp import find_archive  # the one source that only its user can get

            files[option] = find_archive(raw_dir)
            continue
        names = (remote.name, remote.name.removesuffix(".gz"))
        found = next((raw_dir / name for name in names if (raw_dir / name).is_file()), None)
        if found is None:
            missing.append(f"{remote.name} ({remote.urls[0]})")
        else:
            files[option] = found
    if missing:
        raise FileNotFoundError(
            f"raw_dir {raw_dir} lacks {' and '.join(missing)} of the domain {domain.name}; put it there, packed or "
            f"not, or leave --raw_dir out to download it"
        )
    return files
