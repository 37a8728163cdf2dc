"""Papermill's engine, kept awake: a widget that draws while its cell runs must not make the run wait for ever.

While a cell draws into a widget, nbclient answers the widget on the socket on which it waits for the cell's end. ZeroMQ
says once that there is something to read, and answering may use that up: then the end has come, and nobody looks. So
once a second somebody looks.
"""

import asyncio
from typing import Any

import zmq.asyncio
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.log import logger

NAME = "cranial"
_EVERY_S = 1.0


async def keep_awake(socket: zmq.asyncio.Socket, *, every_s: float = _EVERY_S) -> None:
    """Look, again and again, whether there is something to read: whoever waits for it on this socket is woken."""
    while True:
        await asyncio.sleep(every_s)
        await socket.poll(1)  # ms; with 0 it would look for itself alone


class AwakeClient(PapermillNotebookClient):
    """Executes a notebook's cells as papermill does."""

    async def _async_poll_for_reply(self, *args: Any, **kwargs: Any) -> Any:
        awake = asyncio.ensure_future(keep_awake(self.kc.shell_channel.socket))
        try:
            return await super()._async_poll_for_reply(*args, **kwargs)
        finally:
            awake.cancel()


class AwakeEngine(NBClientEngine):
    """papermill.execute_notebook(..., engine_name=NAME)."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **choices: Any) -> Any:
        """See papermill.engines.NBClientEngine, of whose arguments these are the ones that `run_notebook` gives."""
        given = {name: value for name, value in choices.items() if name not in ("input_path", "start_timeout")}
        given |= {"startup_timeout": choices.get("start_timeout", 60), "timeout": None, "log": logger}
        return AwakeClient(nb_man, kernel_name=kernel_name, **given).execute()


papermill_engines.register(NAME, AwakeEngine)
