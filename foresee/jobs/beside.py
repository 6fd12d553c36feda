"""Work in a second thread, so that both cores are busy: most of it is compiled and lets Python go on."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from contextlib import contextmanager
from threading import Event
from typing import Any, Generic, TypeVar

LOOK = 0.2  # time between two looks at how far it is [s]
Progress = Callable[[str, float], None]
T = TypeVar("T")


class Stopped(Exception):
    """Whoever began the work does not wait for it any more."""


class Beside(Generic[T]):
    """Work that goes on beside that of the first thread; see `beside`.

    Args:
        future: of its result.
        said: what it said last, and the share of it that is done.
    """

    def __init__(self, future: "Future[T]", said: list[tuple[str, float]]):
        self._future, self._said = future, said

    def result(self, progress: Progress) -> T:
        """Wait for the result, or raise what the work raised.

        Args:
            progress: called with what is being done and the share of it that is done.
        """
        while True:
            try:
                return self._future.result(LOOK)
            except TimeoutError:
                if self._future.done():  # it raised one itself
                    raise
                progress(*self._said[-1])


@contextmanager
def beside(work: Callable[[Progress], T]) -> Iterator[Beside[T]]:
    """Do some work in a second thread; at the end of the block, or of what it raises, the work is stopped.

    Args:
        work: called with what it is to call now and then with what it does and the share of it that is done;
            that call raises `Stopped` once nobody waits any more.
    """
    stopped, said = Event(), [("", 0.0)]

    def tell(text: str, share: float) -> None:
        if stopped.is_set():
            raise Stopped
        said[0] = (text, share)

    def run() -> Any:
        tell("", 0.0)
        return work(tell)

    with ThreadPoolExecutor(1) as pool:
        try:
            yield Beside(pool.submit(run), said)
        finally:
            stopped.set()
