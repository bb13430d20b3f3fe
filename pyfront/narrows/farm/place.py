# SPDX-License-Identifier: Apache-2.0
"""Boards of a farm that labgrid manages: the target ``labgrid:PLACE``.

The coordinator is ``LG_COORDINATOR``, else port 20408 of this host; ``LG_HOSTNAME``,
``LG_USERNAME`` and ``LG_PROXY`` mean what they mean to ``labgrid-client``. A place is held from
opening the target to closing it, is switched off and on first if it has a power resource, and once
more before its board is given up. What the link talks to is the place's serial port:

    resource of the place                          the link opens
    NetworkSerialPort, protocol raw                socket://HOST:PORT
    NetworkSerialPort, protocol rfc2217 (ser2net)  a socket of this process, see ``Bridge``

labgrid's exporter hands serial devices (USBSerialPort, RawSerialPort) to ser2net, so they too are
ports of the second kind, also on the exporter's own host.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from narrows.errors import LinkError, ToolError
from narrows.farm.rfc2217 import Bridge
from narrows.graph.qgraph import Int8Array
from narrows.native.observe import Dump
from narrows.result import Result, Target

Answer = TypeVar("Answer")
OpenAt = Callable[[str], Target]
"""A serial port, as ``serial:PORT`` has it -> the board behind it, ready to run."""

_COORDINATOR = "127.0.0.1:20408"  # labgrid's own default
_PORT = "NetworkSerialPort"
# Where a place has several serial ports, the one with this name is ours.
_PORT_NAME = "narrows"
# An exporter starts ser2net once a place is acquired, and tells a moment later where it listens.
_PORT_SECONDS = 15.0
_POLL_SECONDS = 0.1
# gRPC's event loops share one poller, so two threads with a loop each get each other's events; and
# labgrid keeps the session of its remote resources in one place for the whole process.
_ONE_SESSION = threading.Lock()


class PlaceTarget:
    """The board of a place; see ``Target``. Leaving it releases the place.

    Args:
        place: its name in labgrid, an alias, or a part that fits no other.
        open_at: opens the board once its port is known.

    Raises: ToolError: labgrid is not installed. LinkError: the farm, or the board. BlobError.
    """

    def __init__(self, place: str, open_at: OpenAt) -> None:
        self.name = f"labgrid:{place}"
        self._open_at = open_at
        self._board: contextlib.ExitStack | None = None
        self._target: Target | None = None
        with contextlib.ExitStack() as resources:
            self._place = _Place(self.name, place)
            resources.callback(self._place.release)
            resources.callback(self._close)
            self._has_power = self._place.power_cycle()
            self._retried(lambda target: None)
            self._resources = resources.pop_all()

    def infer(
        self, inputs: Sequence[Int8Array], profile: bool = False, *, goes_on: bool = False
    ) -> Result:
        """Run once; see ``Target``."""
        # A board that was off has forgotten what an inference would go on with.
        again = not goes_on
        return self._retried(lambda target: target.infer(inputs, profile, goes_on=goes_on), again)

    def dump(self, inputs: Sequence[Int8Array], tensor: int | None = None) -> Dump:
        """Run once; see ``Target``."""
        return self._retried(lambda target: target.dump(inputs, tensor))

    @property
    def board(self) -> Target | None:
        """The board itself, as long as it is reached."""
        return self._target

    def __enter__(self) -> PlaceTarget:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _retried(self, action: Callable[[Target], Answer], again: bool = True) -> Answer:
        """A board that has gone is switched off and on, and asked once more if it may be asked
        again."""
        try:
            try:
                return action(self._opened())
            except LinkError:
                self._close()
                if not (self._has_power and again):
                    raise
                self._place.power_cycle()
                return action(self._opened())
        except LinkError as error:
            text = str(error)
            raise LinkError(
                text if text.startswith(self.name) else f"{self.name}: {text}"
            ) from error

    def _opened(self) -> Target:
        if self._target is None:
            with contextlib.ExitStack() as board:
                url = board.enter_context(self._place.serial_port())
                self._target = board.enter_context(self._open_at(url))
                self._board = board.pop_all()
        return self._target

    def _close(self) -> None:
        self._target = None
        board, self._board = self._board, None
        if board is not None:
            board.close()


class _Place:
    """A place that is acquired when this is made, until it is released."""

    def __init__(self, spec: str, pattern: str) -> None:
        self._spec = spec
        with self._session() as session:
            place = session.get_idle_place(pattern)
            session.check_matches(place)
            pb2 = _labgrid().labgrid_coordinator_pb2
            request = pb2.AcquirePlaceRequest(placename=place.name)
            self._run(session, session.stub.AcquirePlace(request))
            self._name: str = place.name

    def release(self) -> None:
        """Give it back, unless somebody has taken it."""
        with self._session() as session:
            user = f"{session.gethostname()}/{session.getuser()}"
            pb2 = _labgrid().labgrid_coordinator_pb2
            request = pb2.ReleasePlaceRequest(placename=self._name, fromuser=user)
            self._run(session, session.stub.ReleasePlace(request))

    def power_cycle(self) -> bool:
        """Switch it off and on. Returns: False if it has nothing to do that with."""
        with self._session() as session:
            session.get_acquired_place(self._name)
            try:
                session.power()
            except _labgrid().UserError:  # since the place is ours: it has no power resource
                return False
            return True

    @contextlib.contextmanager
    def serial_port(self) -> Iterator[str]:
        """Where the board's serial port is to be had, as ``serial:PORT`` has it."""
        resource = self._find_port()
        try:
            host, port = _labgrid().proxymanager.get_host_and_port(resource)
        except Exception as error:  # whatever ssh and its wrapper make of a proxy
            raise LinkError(f"{self._spec}: no way to {resource.host}: {_line(error)}") from error
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if resource.protocol == "raw":
            yield f"socket://{address}"
        elif resource.protocol == "rfc2217":
            with Bridge(address, resource.speed, self._spec) as bridge:
                yield bridge.url
        else:
            raise LinkError(
                f"{self._spec}: its serial port speaks {resource.protocol!r}; export it with "
                "protocol raw or rfc2217"
            )

    def _find_port(self) -> Any:
        """labgrid's NetworkSerialPort, once it listens."""
        from labgrid.resource import NetworkSerialPort

        with self._session() as session:
            for _ in range(int(_PORT_SECONDS / _POLL_SECONDS)):
                place = session.get_acquired_place(self._name)
                found = session.get_target_resources(place)
                ports = {name: entry for (name, kind), entry in found.items() if kind == _PORT}
                chosen = {n: e for n, e in ports.items() if n == _PORT_NAME} or ports
                if len(chosen) != 1:
                    raise LinkError(self._not_one_port([name for name, _ in found], len(chosen)))
                ((name, entry),) = chosen.items()
                if entry.avail and entry.args.get("port") is not None:
                    resource = NetworkSerialPort(target=None, name=name, **entry.args)
                    resource.extra = entry.extra
                    return resource
                self._run(session, asyncio.sleep(_POLL_SECONDS))
        raise LinkError(
            f"{self._spec}: its serial port {name} is not available; is the board connected to "
            "its exporter?"
        )

    def _not_one_port(self, names: Sequence[str], ports: int) -> str:
        listed = ", ".join(names) or "none"
        if ports == 0:
            return f"{self._spec}: has no serial port; its resources: {listed}"
        return (
            f"{self._spec}: has {ports} serial ports; give the board's own the name {_PORT_NAME} "
            f"by labgrid-client add-named-match; its resources: {listed}"
        )

    @contextlib.contextmanager
    def _session(self) -> Iterator[Any]:
        """A connection to the coordinator for a few requests."""
        labgrid = _labgrid()
        address = os.environ.get("LG_COORDINATOR", _COORDINATOR)
        with _ONE_SESSION:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            try:
                # What labgrid-client's command line would say.
                arguments = argparse.Namespace(
                    place=getattr(self, "_name", None), action="cycle", delay=None, name=None
                )
                target = labgrid.proxymanager.get_grpc_address(address, default_port=20408)
                session = labgrid.ClientSession(target, loop, args=arguments)
                try:
                    loop.run_until_complete(session.start())
                    yield session
                finally:
                    loop.run_until_complete(session.stop())
                    loop.run_until_complete(session.close())
            except LinkError:
                raise
            except labgrid.ServerError as error:
                raise LinkError(
                    f"{self._spec}: coordinator {address}: {_line(error)}; is LG_COORDINATOR right?"
                ) from error
            except (
                Exception
            ) as error:  # labgrid, gRPC and the drivers of power switches have no root
                raise LinkError(f"{self._spec}: labgrid: {_line(error)}") from error
            finally:
                asyncio.set_event_loop(None)
                loop.close()

    def _run(self, session: Any, request: Any) -> None:
        async def wait() -> None:
            await request

        session.loop.run_until_complete(wait())


def _labgrid() -> Any:
    """labgrid's client. Raises: ToolError: it is not installed."""
    try:
        # This process goes on to start emulators and compilers; gRPC's handlers for forks abort
        # such a child while other threads speak to the coordinator.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        from labgrid.remote import client
    except ImportError as error:
        raise ToolError("labgrid is not installed: pip install 'narrows[labgrid]'") from error
    # labgrid logs to the root logger what it raises too, which would print it twice.
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    return client


def _line(error: BaseException) -> str:
    """What an error says, in one line."""
    details = getattr(error, "details", None)  # of gRPC
    text = details() if callable(details) else " ".join(map(str, error.args)) or str(error)
    return " ".join(str(text).split()) or type(error).__name__
