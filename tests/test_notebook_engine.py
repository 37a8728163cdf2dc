"""A run is woken where ZeroMQ's only word of a message was used up by somebody else."""

import asyncio

import pytest

zmq = pytest.importorskip("zmq", reason="pyzmq is not installed; pip install 'cranial[lab]'")
zmq_asyncio = pytest.importorskip("zmq.asyncio")
pytest.importorskip("papermill", reason="papermill is not installed; pip install 'cranial[lab]'")


async def waits_s(*, awake: bool) -> float | None:
    """How long a reader waits for a message whose announcement was used up; None: longer than two seconds."""
    from cranial.notebook_engine import keep_awake

    context = zmq_asyncio.Context()
    reader, writer = context.socket(zmq.PAIR), zmq.Context.shadow(context.underlying).socket(zmq.PAIR)
    keeper = waiting = None
    try:
        writer.connect(f"tcp://127.0.0.1:{reader.bind_to_random_port('tcp://127.0.0.1')}")
        waiting = asyncio.ensure_future(reader.poll(None))
        await asyncio.sleep(0.2)
        if awake:
            keeper = asyncio.ensure_future(keep_awake(reader, every_s=0.1))
        writer.send(b"the cell is done")
        used_up = zmq.Socket.shadow(reader.underlying)
        while not used_up.get(zmq.EVENTS) & zmq.POLLIN:  # as sending on it does
            pass
        began = asyncio.get_running_loop().time()
        done, _ = await asyncio.wait([waiting], timeout=2.0)
        return asyncio.get_running_loop().time() - began if done else None
    finally:
        for task in (keeper, waiting):
            if task is not None:
                task.cancel()
        writer.close(linger=0)
        reader.close(linger=0)
        context.destroy(linger=0)


def test_whoever_waits_is_woken():
    assert asyncio.run(waits_s(awake=False)) is None, "the fault that this is about is gone; so may the module be"
    assert asyncio.run(waits_s(awake=True)) < 1.5
