"""The published weights: what is fetched, from where, and under which licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainldm.checkpoint import download as module
from brainldm.checkpoint.download import download, notice, published_dir
from tests.host import serve


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINLDM_CACHE", str(tmp_path / "cache"))
    calls: list[tuple[int, int, str]] = []
    with serve(monkeypatch) as host:
        files = (host.file(name="autoencoder.pt"), host.file(name="model.pt"))
        monkeypatch.setattr(module, "PUBLISHED_FILES", files)
        folder = download(progress=lambda *call: calls.append(call))
        assert download(tmp_path / "other") == tmp_path / "other" / "published"
    assert folder == tmp_path / "cache" / "published" == published_dir()
    assert sorted(path.name for path in folder.iterdir()) == ["autoencoder.pt", "model.pt"]
    names = [name for _, _, name in calls]
    assert names == sorted(names)


def test_notice_tells_size_place_and_licence(tmp_path: Path) -> None:
    text = notice(tmp_path)
    assert "autoencoder.pt (55.1 MB), model.pt (2.2 GB)" in text
    assert "Size: 2.3 GB" in text
    assert str(tmp_path / "published") in text
    assert "Licence: Apache-2.0" in text
    assert "UK Biobank" in text


def test_the_published_files_are_the_documented_ones(root: Path) -> None:
    text = (root / "docs" / "checkpoints.md").read_text()
    for file in module.PUBLISHED_FILES:
        assert f"`{file.hash[4:]}` (`{file.name}`)" in text.replace("\n", " ")
