"""The first Ctrl-C is a question that work answers; the second is an end."""

import os
import signal
import threading

import pytest

from singaudit.pictures.interrupt import first_interrupt_stops


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    signal.sigtimedwait([], 0.01)  # a place where a pending handler runs


def test_the_first_interrupt_stops_and_the_second_aborts():
    told = []
    with first_interrupt_stops(lambda: told.append(1)) as stop:
        assert not stop()
        interrupt()
        assert stop()
        assert told == [1]
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_afterwards_an_interrupt_is_what_it_was():
    with first_interrupt_stops() as stop:
        pass
    assert not stop()
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_a_programs_own_handler_and_other_threads_are_left_alone():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with first_interrupt_stops() as stop:
            interrupt()
        assert seen == [1]
        assert not stop()
    finally:
        signal.signal(signal.SIGINT, before)
    answers = []

    def elsewhere():
        with first_interrupt_stops() as stop:
            answers.append(stop())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert answers == [False]
