"""A chunk's files are needed until every output has let go of them."""

from __future__ import annotations

import threading
from pathlib import Path

from streamwave.errors import MediaError
from streamwave.publish.delivery import Delivery
from tests.support.broadcast import chunk


class Output:
    """An output with or without room in its queue."""

    def __init__(self, *, room: bool = True) -> None:
        self.room = room

    def offer(self, delivery: Delivery) -> bool:
        return self.room


def deliver(folder: Path, done: list[str]) -> Delivery:
    return Delivery(threading.Condition(), chunk(folder, 0), "s", "p", None, lambda: done.append("done"))


def test_done_is_called_once_after_the_last_output(tmp_path: Path) -> None:
    done: list[str] = []
    delivery = deliver(tmp_path, done)
    delivery.hand_out([Output(), Output(room=False), Output()])
    assert not done
    delivery.release(stored=True)
    assert not done
    fault = MediaError("it does not fit")
    delivery.release(fault=fault)
    assert done == ["done"] and delivery.stored and delivery.fault is fault


def test_no_output_has_room(tmp_path: Path) -> None:
    done: list[str] = []
    delivery = deliver(tmp_path, done)
    delivery.hand_out([Output(room=False), Output(room=False)])
    assert done == ["done"] and not delivery.stored
