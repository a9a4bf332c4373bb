"""The two networks of a model on a device, and what is done where memory is short.

In low-memory mode the U-Net is let go once a call's latents are denoised, and read again for the
next call. A GPU that has too little memory changes to that mode by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.checkpoint import LoadedModel, load_into, load_model
from brainldm.config import ModelConfig
from brainldm.errors import ModelError, NotFiniteError
from brainldm.models import slabs
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.device import pick_device, pick_dtype
from brainldm.models.memory import Memory, batch_size, pick_memory, shortage
from brainldm.models.unet import DiffusionUNet, with_context
from brainldm.pipeline.choice import Model
from brainldm.threads import spinning

T = TypeVar("T")


class Networks:
    """An autoencoder and a U-Net that compute.

    Args:
        config: what the model is.
        autoencoder: its weights loaded.
        unet: its weights loaded; they are cast to the precision.
        hash: identifies the weights.
        device: where they compute.
        dtype: the precision.
        memory: "normal" or "low", to begin with.
        compile: compile the U-Net when it is first called.
        read: reads the model again, the U-Net's weights in a precision or, for None, as they are
            stored; without it, the U-Net is never let go.
    """

    def __init__(
        self,
        config: ModelConfig,
        autoencoder: AutoencoderKL,
        unet: DiffusionUNet,
        *,
        hash: str,
        device: torch.device,
        dtype: torch.dtype,
        memory: Memory,
        compile: bool = False,
        read: Callable[[torch.dtype | None], LoadedModel] | None = None,
    ) -> None:
        self.config, self.hash = config, hash
        self.device, self.dtype, self.memory, self.compile = device, dtype, memory, compile
        self.autoencoder = autoencoder.to(device).eval().requires_grad_(False)
        self._unet: DiffusionUNet | None = self._ready(unet)
        self._read = read
        self._most: int | None = None
        """Latents that the U-Net takes at a time; None for any number."""

    @classmethod
    def read(cls, choice: Model) -> Self:
        """Read a model's weights; what is wrong is refused before that, where it can be told.

        Raises:
            BrainLDMError: as `BrainLDM.load`.

        Warns:
            UserWarning: the memory will probably not suffice to generate, or other programs use
                the cores and torch, imported before brainldm, does not share them.
        """
        device = pick_device(choice.device)
        dtype = pick_dtype(choice.dtype, device)
        config = choice.config()
        memory = pick_memory(choice.memory, config, device, dtype)
        slow = spinning() if device.type == "cpu" else None
        for warning in filter(None, (shortage(config, device, dtype, memory), slow)):
            warnings.warn(warning, stacklevel=3)

        def read(dtype: torch.dtype | None) -> LoadedModel:
            return load_model(choice.source, dtype=dtype)

        loaded = read(dtype)
        with torch.device("meta"):  # the networks take over the loaded weights
            autoencoder = AutoencoderKL(config.autoencoder)
        load_into(autoencoder, loaded.autoencoder, "the autoencoder")
        return cls(
            config,
            autoencoder,
            _unet(loaded, dtype),
            hash=loaded.hash,
            device=device,
            dtype=dtype,
            memory=memory,
            compile=choice.compile,
            read=read,
        )

    def to(self, device: torch.device) -> None:
        """Move both networks to a device, in the precision that they have."""
        self.device = device
        self.autoencoder.to(device)
        if self._unet is not None:
            self._unet.to(device)

    @property
    def unet(self) -> DiffusionUNet:
        """The diffusion network, read again if it was let go."""
        if self._unet is None:
            assert self._read is not None
            self._unet = self._ready(_unet(self._read(self.dtype), self.dtype))
        return self._unet

    def unrounded(self) -> dict[str, Tensor] | None:
        """The U-Net's weights as they are stored; None where they are not those in memory."""
        held = self.unet.state_dict()
        if self.dtype == torch.float32:
            return held
        stored = self._read(None).unet if self._read else {}
        rounded = (stored[name].to(self.dtype) for name in held) if stored else ()
        kept = zip(held.values(), rounded, strict=False)
        same = bool(stored) and all(torch.equal(now.cpu(), then) for now, then in kept)
        return stored if same else None

    def in_turn(self, denoised: Iterable[T]) -> Iterator[T]:
        """Latents as they are denoised; in low-memory mode, all of them once the U-Net is let go.

        So the U-Net and the decoder are not in memory together, and the U-Net is read once for all.
        """
        held: list[T] = []
        for each in denoised:
            held.append(each)
            if self.memory == "normal":
                yield from held
                held.clear()
        if self.memory == "low" and self._read:
            self._unet = None
        yield from held

    @property
    def batch(self) -> int:
        """Latents that are denoised at a time."""
        return self._most or batch_size(self.config, self.device, self.dtype)

    def predict(
        self, z: Float[Tensor, "b c x y z"], t: float, context: Float[Tensor, "b v"]
    ) -> Float[Tensor, "b c x y z"]:
        """The U-Net's output, float32, for noisy latents at a timestep.

        Raises:
            ModelError: a GPU has too little memory for one latent.

        Warns:
            UserWarning: a GPU has too little memory for all: one by one, and in low-memory mode,
                from now on.
        """
        try:
            size = min(self._most or len(z), len(z))
            parts = zip(torch.split(z, size), torch.split(context, size), strict=True)
            outputs = [self._predict(part, t, each) for part, each in parts]
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        except torch.OutOfMemoryError:
            if size == 1:
                raise ModelError(
                    f"{self.device} has too little memory to denoise a latent of shape "
                    f"{tuple(z[:1].shape)}. Use the CPU."
                ) from None
        # Out here, since the exception holds what did not fit.
        warnings.warn(
            f"{self.device} has too little memory for {len(z)} heads at a time; going on one by "
            "one in low-memory mode.",
            stacklevel=2,
        )
        self._most, self.memory = 1, "low"
        return self.predict(z, t, context)

    def _predict(self, z: Tensor, t: float, context: Tensor) -> Tensor:
        x, token = with_context(z.to(self.dtype), context.to(self.dtype))
        output: Tensor = self.unet(x, torch.full((len(z),), t, device=z.device), token)
        # A compiled network writes where it wrote before.
        return output.to(torch.float32, copy=True)

    def encode(self, x: Float[Tensor, "b 1 x y z"]) -> Float[Tensor, "b c i j k"]:
        """Latents of images: the posterior's mean, at the diffusion's scale."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            mean: Tensor = self.autoencoder.encode(x.to(self.device))[0]
        return mean.float() * self.config.latent.scale

    def decode(self, latent: Float[Tensor, "b c i j k"]) -> Float[Tensor, "b 1 x y z"]:
        """Images, float32 and not clipped, of latents at the diffusion's scale.

        Raises:
            NotFiniteError: an image has values that are NaN or infinite.
            ModelError: a GPU has too little memory, even in low-memory mode.

        Warns:
            UserWarning: a GPU has too little memory, and the low-memory mode holds from now on.
        """
        x = self._decode(latent.to(self.device) / self.config.latent.scale)
        if not x.isfinite().all():
            raise NotFiniteError(
                "The decoded image has values that are NaN or infinite: expected finite ones. "
                f"Try another precision than {self.dtype}, or look at where the weights and the "
                "latent are from."
            )
        return x

    def _decode(self, z: Tensor) -> Tensor:
        try:
            return slabs.decode(self.autoencoder, z, self.dtype, low_memory=self.memory == "low")
        except torch.OutOfMemoryError:
            if self.memory == "low":
                raise ModelError(
                    f"{self.device} has too little memory to decode a latent of shape "
                    f"{tuple(z.shape)}, even in low-memory mode. Use the CPU."
                ) from None
        # Out here, since the exception holds what did not fit.
        warnings.warn(
            f"{self.device} has too little memory; decoding again in low-memory mode.", stacklevel=3
        )
        self.memory = "low"
        return self._decode(z)

    def _ready(self, unet: DiffusionUNet) -> DiffusionUNet:
        unet = unet.to(self.device, self.dtype).eval().requires_grad_(False)
        if self.dtype != torch.float32:  # where it measured a quarter faster; slower in float32
            for kernel in (p for p in unet.parameters() if p.ndim == 5):
                kernel.data = kernel.contiguous(memory_format=torch.channels_last_3d)
        if self.compile:
            unet.compile(mode="reduce-overhead" if self.device.type == "cuda" else "default")
        return unet


def _unet(loaded: LoadedModel, dtype: torch.dtype) -> DiffusionUNet:
    with torch.device("meta"):
        unet = DiffusionUNet(loaded.config.unet).to(dtype)
    load_into(unet, loaded.unet, "the diffusion U-Net")
    return unet
