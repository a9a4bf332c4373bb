"""Label maps of twenty whole heads, fetched when asked for from where they are published.

They are the training maps of SynthSeg (Billot et al. 2023, Medical Image Analysis, arXiv
2107.09559), with priors of their T1-weighted intensities. GitHub is out of the reach of this
project's tests, which use a server of their own: the addresses were never tried by them.
"""

from __future__ import annotations

from pathlib import Path

from brainldm.checkpoint.fetch import RemoteFile, cache_dir, fetch, megabytes
from brainldm.workers import Progress

_COMMIT = "3168fdf38ad220bd1927be43b67c5e9409a78ee7"
_RAW = f"https://raw.githubusercontent.com/BBillot/SynthSeg/{_COMMIT}/data"
LICENCE = (
    "Apache-2.0 (https://github.com/BBillot/SynthSeg/blob/master/LICENSE.txt; read it). What is "
    "made of them must name them: Billot et al. 2023, SynthSeg, Medical Image Analysis, arXiv "
    "2107.09559."
)
MAP_SIZE, PRIOR_SIZE = 1_660_000, 500
"""Bytes, about."""
# SHA-256, of training_seg_01.nii.gz and so on.
_MAPS = (
    "edbf1229a0552f8ce37438d02f59e810583b71b0a1b4d31dc38e5e2b2517acb1",
    "65e64c6b9415f389dfda5182ec3a269836925b04166ea82f47b230e54980d0a4",
    "f746e2f90e4dccd7bbbdc18bdd6374e455ddb7fc044504a0a42edc8507cf1aa0",
    "fbcf9d5d3b946dc53cff2e9954abb8c8172960ac35b1bf80c3ca240b4feda140",
    "a53baa7b0faea832d45f8a5b9a234b2b6d4ca92bf5c98baeada4a935cc2f1183",
    "57d8c612469359da78b7c16647cc6979be461eb03b59805e7ebded51554f9ead",
    "feaa1e8f320e037709a51e30881fe8076a45fc06611a09bbd87e76f8f3f89826",
    "f4a9d39c5c64bc5457de84b10a4c4b47f3bb6257e9f396ffa61d290015f178d2",
    "6f41f2b755c97185167d887d95180ca4c754578f81cd30fe8119df1e20bb27d5",
    "4a0147bf1d52c6853176777554165d79a01656ddb8f8474da48b65d6218b664e",
    "02e468bbb652ff0da18eeb73932f09813150ef95155ba7669831849da8517196",
    "5d0a47dd3ff4d821cc758e388a49da5744bf86dee423ed93bf727472a8454d8d",
    "d11cf676fbd5b9316fe30acbca98c854cf88dbcee74a5fe22092ac91ccd8d3a1",
    "7b8d1783c1b5b71b454644169d848b28fa57a33ca4a9b49ff88ad897b8aea570",
    "a896e39351622c2e138195780ba267811d7d162df0da0091126550f5de3b74ff",
    "f48c442569883055440a930ad098b4e747d72deb6369f529e4486c36b0cbfe81",
    "b3497de68fe813494b619d71513bafc872b7e367ee442decd8fabc094f4402fc",
    "dbf3b2297907c88481594a2441a47aa13c75452cd7323fec0313b785b04c9671",
    "719d714096fdd3c0964ad9dae6115cef9de8d93a25105504879b0dfa844da0f8",
    "4c2ab7e6a7711a6e00b7e6c6b40d5fd8c318d0aea3c472248b97d9d4c8cea555",
)
_PRIORS = (
    (
        "generation_labels.npy",
        "16f140384f8fa9fde1fb19ba0e924ef7016a1d4a8d06c8763fc92e1e64686baf",
    ),
    (
        "generation_classes_contrast_specific.npy",
        "c3a9226733a1a70e8cb55259800032177ccfdf8da27221e559defb0c777b865c",
    ),
    (
        "prior_means_t1.npy",
        "69b3f3cfd51f07de7309569ceacbd51f7b99d20a571f33cdf4f7d60214dc7677",
    ),
)
LABEL_MAPS = (
    *(
        RemoteFile(name, MAP_SIZE, f"sha256:{digest}", (f"{_RAW}/training_label_maps/{name}",))
        for name, digest in (
            (f"training_seg_{i:02d}.nii.gz", digest) for i, digest in enumerate(_MAPS, 1)
        )
    ),
    *(
        RemoteFile(name, PRIOR_SIZE, f"sha256:{digest}", (f"{_RAW}/labels_classes_priors/{name}",))
        for name, digest in _PRIORS
    ),
)


def label_maps_dir(cache: str | Path | None = None) -> Path:
    """The folder of the label maps in the cache, there or not."""
    return Path(cache or cache_dir()) / "label-maps"


def label_maps_notice(cache: str | Path | None = None) -> str:
    """What `download_label_maps` would fetch, how large it is, to where, under which licence."""
    return (
        f"Label maps of {len(_MAPS)} whole heads, and priors of their intensities, to "
        f"{label_maps_dir(cache)}\n"
        f"Size: {megabytes(sum(file.size for file in LABEL_MAPS))}\n"
        f"Licence: {LICENCE}"
    )


def download_label_maps(cache: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Fetch the label maps, or what is missing of them, and return their folder.

    Args:
        cache: folder to keep them in; `cache_dir()` if None.
        progress: as `fetch` calls it.

    Raises:
        StorageError: a file cannot be had, or not be written; what was fetched is kept.
    """
    folder = label_maps_dir(cache)
    for file in LABEL_MAPS:
        fetch(file, folder, progress)
    return folder
