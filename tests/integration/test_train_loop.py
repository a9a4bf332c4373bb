"""The training loop: it learns, in parts or whole, and stops without loss when it diverges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from brainldm.config import AutoencoderConfig
from brainldm.errors import ModelError
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.train.checkpointing import checkpoint_blocks
from brainldm.train.draws import Draw
from brainldm.train.learner import Learner
from tests.learning import Line, Sums, read, same, train, train_first
from tests.prepared import write_prepared
from tests.toy import lively_unet


@pytest.mark.parametrize("changes", [(), ("training.optimiser=muon", "training.fall=1")])
def test_it_learns(changes: tuple[str, ...], tmp_path: Path) -> None:
    trained = train(Line("training.steps=400", *changes), tmp_path / "state.pt")
    assert (trained.weights["weight"] - 1).abs().max() < 0.02


def test_a_batch_in_parts_is_the_whole_batch(tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "data")
    whole = train(Line(), tmp_path / "whole.pt").weights["weight"]
    for micro in (1, 4):
        parts = train(Line(f"run.micro_batch={micro}"), tmp_path / f"{micro}.pt").weights["weight"]
        assert (parts - whole).abs().max() < 1e-6
    first = train_first(data, tmp_path / "first")
    run = train_first(data, tmp_path / "run", "run.micro_batch=1")
    a, b = (load_file(folder / "autoencoder.safetensors") for folder in (run, first))
    worst = max((a[key] - b[key]).norm() / b[key].norm().clamp(min=1e-3) for key in b)
    assert worst < 1e-4


@pytest.mark.parametrize("name", ["autoencoder", "unet"])
def test_activation_checkpointing_gives_the_same_gradients(name: str) -> None:
    torch.manual_seed(0)
    if name == "autoencoder":
        config = AutoencoderConfig(channels=(4, 8), norm_num_groups=2, num_res_blocks=1)
        network, inputs = (
            AutoencoderKL(config),
            (torch.rand(1, 1, 8, 8, 8), torch.full((1, 3, 4, 4, 4), 0.5)),
        )
    else:
        network, inputs = (
            lively_unet(1, 4),
            (torch.randn(1, 5, 4, 4, 4), torch.ones(1), torch.rand(1, 1, 4)),
        )
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            checkpoint_blocks(network)
        network.zero_grad()
        output = network(*inputs)
        result = output if isinstance(output, Tensor) else output[0]
        result.square().sum().backward()
        gradients.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    assert gradients[0]
    assert same(*gradients)


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda loss: loss * float("nan"),
        lambda loss: loss * 1e38 * 1e38,
        lambda loss: (loss * 0).sqrt(),  # 0, whose gradient is not finite
    ],
)
def test_divergence_stops_and_keeps_the_last_good_state(
    spoilt: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    def spoil(step: int, loss: Tensor) -> Tensor:
        return spoilt(loss) if step == 25 else loss

    state = tmp_path / "state.pt"
    with pytest.raises(ModelError) as error:
        train(Line(spoil=spoil), state)
    message = str(error.value)
    draws = [Draw(0, 25, i, 8) for i in range(8)]
    assert "diverged at step 26: line/loss" in message
    subjects = dict.fromkeys(Sums().subject(draw) for draw in draws)
    assert f"The batch: {', '.join(subjects)}. " in message
    assert f"{state} keeps the state after step 20" in message
    assert read(state)["step"] == 20
    assert same(train(Line(), state).weights, train(Line(), tmp_path / "whole.pt").weights)


def test_divergence_before_anything_was_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"at step 1: .* Nothing was saved before it"):
        train(Line(spoil=lambda step, loss: loss * float("nan")), tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


def test_the_rate_rises_and_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    monkeypatch.setattr(Learner, "prepare", lambda self, rate, training: rates.append(rate))
    changes = ("learning_rate=2", "steps=20", "warmup=4", "fall=0.5", "batch_size=2")
    train(Line(*(f"training.{change}" for change in changes)), tmp_path / "state.pt")
    rising, falling = [0.5, 1, 1.5], [2 * i / 10 for i in range(10, 0, -1)]
    assert rates == pytest.approx([*rising, *[2] * 7, *falling])


def test_the_result_is_the_average_of_the_weights(tmp_path: Path) -> None:
    stage = Line("training.steps=15")
    mean = stage.networks["line"].weight.detach().clone()

    def progress(done: int, total: int, losses: Mapping[str, float]) -> None:
        if done:
            step = done - 1
            mean.lerp_(
                stage.networks["line"].weight.detach(), 1 - min(0.9, (1 + step) / (10 + step))
            )

    weights = train(stage, tmp_path / "state.pt", progress).weights
    assert torch.allclose(weights["weight"], mean, atol=1e-6)
    assert not torch.allclose(stage.networks["line"].weight, mean, atol=1e-3)


def test_gentle_parameters_learn_at_a_tenth_of_the_rate(tmp_path: Path) -> None:
    class Gentle(Line):
        def gentle(self, name: str) -> list[nn.Parameter]:
            return [self.networks[name].get_parameter("bias")]

    stage = Gentle(
        *("training.steps=1", "training.learning_rate=0.01", "training.warmup=0"),
        "training.ema_decay=0",
    )
    before = {k: v.clone() for k, v in stage.networks["line"].state_dict().items()}
    after = train(stage, tmp_path / "state.pt").weights
    # The first step of Adam is as long as the rate.
    for name, rate in (("weight", 0.01), ("bias", 0.001)):
        assert torch.allclose((after[name] - before[name]).abs(), torch.tensor(rate), rtol=1e-3)
