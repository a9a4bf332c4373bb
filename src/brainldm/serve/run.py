"""Listening: on this machine alone unless told otherwise."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from brainldm.errors import UsageError, require
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model
from brainldm.segment.network import Network
from brainldm.serve.hand import Hand
from brainldm.serve.heads import Library
from brainldm.serve.limits import Limits
from brainldm.serve.work import Work

LOCAL = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, kw_only=True)
class Server:
    """What is served, and to whom.

    Args:
        model: that makes heads.
        folder: of the library.
        host: name or address to listen on; beyond this machine a token is needed.
        port: 0 takes any that is free.
        token: that requests have to bring; None makes one where one is needed.
        limits: of what is taken on.
        segmenter: folder of what labels heads; None takes the one that ships.
        ray: address of a Ray cluster whose workers do the jobs; None does them here.
        cores: of each of its workers.
    """

    model: Model
    folder: Path
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    limits: Limits = field(default_factory=Limits)
    segmenter: Path | None = None
    ray: str | None = None
    cores: int | None = None

    def run(self, say: Callable[[str, str], None]) -> None:
        """Serve until the process is interrupted.

        Args:
            say: called with the address to open, and the token or "", once the server listens.

        Raises:
            UsageError: an address that cannot be listened on, or no such segmenter.
            MissingExtraError: FastAPI is not installed.
            BrainLDMError: a model that cannot be loaded, a folder that cannot be used.
        """
        require("serve", "The page", "fastapi", "uvicorn")
        import uvicorn

        from brainldm.serve.app import application
        from brainldm.serve.guard import Guard

        network = Network.of(self.segmenter)
        token = self.token or ("" if self._is_local else secrets.token_urlsafe(24))
        with self._listen() as listener:
            port = listener.getsockname()[1]
            library = Library(self.folder.absolute())
            hands = self._hands(library, network)
            app = application(hands, self.model.config(), library, self.limits)
            guard = Guard(app, self._hosts(port), token or None, self.limits)
            config = uvicorn.Config(
                guard,
                log_level="warning",
                server_header=False,
                timeout_keep_alive=20,
                timeout_graceful_shutdown=2,
                limit_concurrency=1000,
            )
            host = "127.0.0.1" if self._is_everywhere else self.host
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
            say(f"{address}?token={token}" if token else address, token)
            uvicorn.Server(config).run(sockets=[listener])

    def _hands(self, library: Library, network: Network) -> Sequence[Hand]:
        """What does the jobs."""
        if not self.ray:
            model = BrainLDM.load(self.model)
            return [Work(model, self.model, library, self.limits, network)]
        from brainldm.cohort.cluster import Cluster
        from brainldm.serve.on_ray import Equipment, hands_on

        equipment = Equipment(self.model, library, self.limits, network)
        return hands_on(Cluster(self.ray), self.cores, equipment)

    def _listen(self) -> socket.socket:
        listener = None
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = found[0]
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except (OSError, OverflowError) as error:
            if listener is not None:
                listener.close()
            raise UsageError(
                f"Cannot listen on {self.host}, port {self.port}: {error}. Expected an address of "
                "this machine and a port that is free: choose another (--port 0 takes any)."
            ) from None
        return listener

    @property
    def _is_local(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def _is_everywhere(self) -> bool:
        return self.host in ("0.0.0.0", "::")

    def _hosts(self, port: int) -> frozenset[str] | None:
        """The names that a request may call this server by."""
        if self._is_everywhere:
            return None
        own = f"[{self.host}]" if ":" in self.host else self.host.lower()
        return frozenset(f"{name}:{port}" for name in (*LOCAL, own))
