"""Files of weights that are damaged, or were made to harm: refused, whatever is in them."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from brainldm.checkpoint import download, load_model, read_state_dict
from brainldm.errors import BrainLDMError, ModelError
from tests.toy import states, write_toy_model

STATE = {"a.weight": torch.arange(40.0), "a.bias": torch.ones(3)}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("archive") / "weights.pt"
    torch.save(STATE, path)
    return path.read_bytes()


quick = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@quick
@given(data=st.data())
def test_one_flipped_bit_is_never_another_weight(
    data: st.DataObject, archive: bytes, tmp_path: Path
) -> None:
    bit = data.draw(st.integers(0, 8 * len(archive) - 1))
    damaged = bytearray(archive)
    damaged[bit // 8] ^= 1 << bit % 8
    (tmp_path / "weights.pt").write_bytes(damaged)
    try:
        state = read_state_dict(tmp_path / "weights.pt")
    except BrainLDMError:
        return
    torch.testing.assert_close(state, STATE, rtol=0, atol=0)  # what fills gaps has no meaning


def test_a_flipped_bit_of_a_weight_is_refused(archive: bytes, tmp_path: Path) -> None:
    at = archive.index(struct.pack("<f", 17.0))
    damaged = bytearray(archive)
    damaged[at + 2] ^= 1
    path = tmp_path / "weights.pt"
    path.write_bytes(damaged)
    assert torch.load(path, weights_only=True)["a.weight"][17] != 17  # torch itself takes it
    with pytest.raises(ModelError, match=r"is damaged.* CRC.* Copy or download it again"):
        read_state_dict(path)


@quick
@given(content=st.binary(max_size=300), suffix=st.sampled_from([".pt", ".safetensors"]))
def test_any_bytes(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    for start in (b"", b"PK\x03\x04", b"\x80\x02", struct.pack("<Q", len(content))):
        path.write_bytes(start + content)
        with pytest.raises(BrainLDMError):
            read_state_dict(path)


HARMFUL = (
    "os system",
    "posix system",
    "builtins eval",
    "builtins exec",
    "builtins getattr",
    "builtins __import__",
    "subprocess Popen",
    "shutil rmtree",
    "pickle loads",
    "runpy run_path",
    "importlib import_module",
    "torch load",
    "torch.hub load",
    "torch._utils _import_dotted_name",
    "numpy.f2py.crackfortran myeval",
)


@pytest.mark.parametrize("name", HARMFUL)
@pytest.mark.parametrize("opcode", ["GLOBAL", "STACK_GLOBAL", "INST"])
def test_objects_that_could_run_code(name: str, opcode: str, tmp_path: Path) -> None:
    module, attribute = name.split()
    argument = b"\x8c\x04true"
    content = {
        "GLOBAL": b"\x80\x02c%s\n%s\n(%stR." % (module.encode(), attribute.encode(), argument),
        "STACK_GLOBAL": b"\x80\x04\x8c%c%s\x8c%c%s\x93(%stR."
        % (len(module), module.encode(), len(attribute), attribute.encode(), argument),
        "INST": b"\x80\x02(%si%s\n%s\n." % (argument, module.encode(), attribute.encode()),
    }[opcode]
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"was refused|is damaged or not a file of weights"):
        read_state_dict(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights/data.pkl", content)
        file.writestr("weights/version", "3\n")
        file.writestr("weights/byteorder", "little")
    with pytest.raises(ModelError, match=r"was refused|is damaged or not a file of weights"):
        read_state_dict(path)


def test_tensors_that_repeat_one_number(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"declares 4,000,000,000,000 bytes of weights, and has"):
        read_state_dict(tmp_path / "weights.pt")


def test_packed_members(archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("weights/data.pkl", bytes(10**7))
    assert path.stat().st_size < 10**5
    with pytest.raises(ModelError, match=r"weights/data\.pkl is compressed"):
        read_state_dict(path)


@pytest.mark.parametrize("size", [10**6, 2**62])
def test_safetensors_that_declare_more_than_they_hold(size: int, tmp_path: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}}
    text = json.dumps(header).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(100))
    with pytest.raises(ModelError, match="is damaged or not a file of weights"):
        read_state_dict(path)
    path.write_bytes(struct.pack("<Q", size) + text)
    with pytest.raises(ModelError, match="is damaged or not a file of weights"):
        read_state_dict(path)


def test_complex_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(3, dtype=torch.complex64)}, path)
    for dtype in (None, torch.bfloat16):
        with pytest.raises(ModelError, match="a is a tensor of complex64: expected plain tensors"):
            read_state_dict(path, dtype)


def test_published_files_have_the_published_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINLDM_CACHE", str(tmp_path))
    toy = write_toy_model(tmp_path / "toy")
    folder = download.published_dir()
    folder.mkdir()
    for name, state in zip(("autoencoder.pt", "model.pt"), states(toy), strict=True):
        torch.save(state, folder / name)
    with pytest.raises(ModelError) as error:
        load_model("published")
    message = str(error.value)
    assert "is not the file that was published: expected MD5 329e97b3085643ff" in message
    assert "`brainldm download`" in message


def test_plain_pickle_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(ModelError):
        read_state_dict(tmp_path / "weights.pt")
