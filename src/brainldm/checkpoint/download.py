"""The published weights, fetched when asked for.

The files are those that the MONAI model zoo's bundle `brain_image_synthesis_latent_diffusion_model`
lists, with its MD5 sums. They are tried at MONAI's page on Hugging Face first, which resumes
transfers plainly, and on Google Drive, where the bundle points, second. Both hosts are out of the
reach of this project's tests, which use a server of their own: the addresses were never tried by
them. MD5 protects from damage, not from forgery; the loader runs nothing that is in the files.
"""

from __future__ import annotations

from pathlib import Path

from brainldm.checkpoint.fetch import RemoteFile, cache_dir, fetch, megabytes
from brainldm.workers import Progress

_HUGGING_FACE = "https://huggingface.co/MONAI/brain_image_synthesis_latent_diffusion_model"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
LICENCE = (
    "Apache-2.0, as the bundle in the MONAI model zoo that the weights belong to "
    f"({_HUGGING_FACE}/blob/main/LICENSE; read it). Copyright (c) MONAI Consortium. Trained on "
    "data of UK Biobank. A research tool, not to be used clinically. Cite Pinaya et al. 2022, "
    "arXiv 2209.07162."
)
PUBLISHED_FILES = (
    RemoteFile(
        "autoencoder.pt",
        55_100_000,
        "md5:329e97b3085643ff235f11f049856242",
        (
            f"{_HUGGING_FACE}/resolve/main/models/autoencoder.pt",
            f"{_DRIVE}1CZHwxHJWybOsDavipD0EorDPOo_mzNeX",
        ),
    ),
    RemoteFile(
        "model.pt",
        2_210_000_000,
        "md5:21c3047556fb671caf0556f1cce6ef22",
        (
            f"{_HUGGING_FACE}/resolve/main/models/model.pt",
            f"{_DRIVE}1XO-ak93ZuOcGTCpgRtqgIeZq3dG5ExN6",
        ),
    ),
)


def published_dir(cache: str | Path | None = None) -> Path:
    """The directory of the published weights in the cache, there or not."""
    return Path(cache or cache_dir()) / "published"


def notice(cache: str | Path | None = None) -> str:
    """What `download` would fetch, how large it is, to where, and under which licence."""
    files = ", ".join(f"{file.name} ({megabytes(file.size)})" for file in PUBLISHED_FILES)
    return (
        f"The published weights: {files}, to {published_dir(cache)}\n"
        f"Size: {megabytes(sum(file.size for file in PUBLISHED_FILES))}\n"
        f"Licence: {LICENCE}"
    )


def download(cache: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Fetch the published weights, or what is missing of them.

    Show `notice()` before. An interrupted transfer continues at the next call.

    Args:
        cache: folder to keep them in; `cache_dir()` if None.
        progress: called as progress(done, total, name) with bytes of the file `name`; total is the
            host's word, or the approximate size where it gives none.

    Returns:
        The directory, which `load_model` loads; for the default cache, "published" is its name.

    Raises:
        StorageError: no address of a file answers with that file, or it cannot be written.
    """
    folder = published_dir(cache)
    for file in PUBLISHED_FILES:
        fetch(file, folder, progress)
    return folder
