import threading
import time

import pytest

from foresee.jobs.beside import Stopped, beside


def quiet(text, share):
    pass


def test_the_result_is_that_of_another_thread():
    with beside(lambda tell: threading.get_ident()) as other:
        assert other.result(quiet) != threading.get_ident()


def test_what_it_raises_is_raised_where_it_is_waited_for():
    def fail(tell):
        raise ZeroDivisionError

    with beside(fail) as other, pytest.raises(ZeroDivisionError):
        other.result(quiet)

    def late(tell):
        raise TimeoutError

    with beside(late) as other, pytest.raises(TimeoutError):
        other.result(quiet)


def test_who_waits_is_told_how_far_it_is():
    heard, go = [], threading.Event()

    def work(tell):
        tell("half", 0.5)
        go.wait(10)
        return 1

    def listen(text, share):
        heard.append((text, share))
        go.set()

    with beside(work) as other:
        assert other.result(listen) == 1
    assert heard[-1] == ("half", 0.5)


def test_it_is_stopped_when_nobody_waits_any_more():
    begun, ended = threading.Event(), []

    def work(tell):
        try:
            while True:
                tell("on and on", 0.0)
                begun.set()
                time.sleep(0.01)
        except Stopped:
            ended.append("stopped")
            raise

    def give_up():
        with beside(work):
            begun.wait(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    assert ended == ["stopped"]
