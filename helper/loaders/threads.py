"""Serves several requests of a WSGI application at once, each in a thread of its own: PassengerConcurrencyModel thread.

All threads wait for the same epoll descriptor. What happens on a connection is told to one of them, and nothing more of that
connection until it is asked for again: there is no queue between threads, and nobody waits for one that is stuck.
"""

import os
import select
import threading
import time

import passenger_wsgi_loader as loader

ONCE = select.EPOLLIN | select.EPOLLONESHOT


class Server(loader.Server):
    def __init__(self, application, control, count):
        super().__init__(application, control)
        self.concurrency = count
        self.constants['wsgi.multithread'] = True
        self.waiting = Server.wait.__code__
        self.ends = self.poller             # for the main thread: the control pipe and signals
        self.ends.unregister(loader.LISTENER)
        self.poller = select.epoll()        # for the others
        self.interest = ONCE
        self.over, self.ender = os.pipe()   # closing the second end wakes all threads
        self.serving = {}                   # thread -> since when, environ
        self.threads = [threading.Thread(target=self.work, name='request-%d' % number) for number in range(1, count + 1)]

    def begin(self):
        super().begin()
        loader.report_stacks(self.tell)
        self.poller.register(loader.LISTENER, ONCE)
        self.poller.register(self.over, select.EPOLLIN)
        try:
            for thread in self.threads:
                thread.start()
        except RuntimeError as error:
            loader.refuse('Of %d threads no more than %d could be started (%s): lower PassengerThreadCount, or let user id %d have more.'
                          % (self.concurrency, self.threads.index(thread), error, os.geteuid()))

    def forget(self):
        super().forget()
        self.poller.close()
        os.close(self.over)
        os.close(self.ender)

    def tell(self):
        """Says what the threads, whose stacks were printed, are working on. LOG may be in use just now."""
        now = time.monotonic()
        lines = ['wsgi-loader: thread 0x%016x has served %a for %.1f s\n' % (thread, loader.request_line(environ), now - since)
                 for thread, (since, environ) in list(self.serving.items())]
        os.write(2, ''.join(lines).encode())

    def run(self):
        try:
            self.wait()
        except loader.Stop:
            pass
        self.poller.unregister(loader.LISTENER)
        self.accept()
        os.close(self.ender)
        for thread in self.threads:
            thread.join()
        for fd in list(self.connections):
            self.drop(fd)
        self.listener.close()

    def wait(self):
        while not loader.Response.closing:
            for fd, _ in self.ends.poll():
                self.event(fd)

    def work(self):
        try:
            while self.turn():
                pass
        except BaseException as error:
            if loader.getpid() != loader.PID:
                loader.leave_child(error)
            loader.print_exception(error)
            loader.Response.closing = True
            os.write(self.waker, b'!')      # a process that cannot be relied on is better replaced

    def turn(self):
        """Serves what one event is about. Returns whether there may be another."""
        for fd, _ in self.poller.poll(-1, 1):
            if fd == loader.LISTENER:
                self.accept()
                self.rearm(fd)
            elif fd != self.over:
                self.serve(fd)
            else:
                return self.last_turn()
        return True

    def last_turn(self):
        """Serves what was sent before we said that we leave."""
        fds = [fd for fd, _ in self.poller.poll(0, 2) if fd != self.over]
        for fd in fds:
            self.serve(fd)
        return bool(fds)

    def serve(self, fd):
        sock = self.connections.get(fd)
        if sock is None:
            return
        self.receive(fd, sock)
        if self.connections.get(fd) is sock:    # another connection may have got the number by now
            self.rearm(fd)

    def rearm(self, fd):
        try:
            self.poller.modify(fd, ONCE)
        except FileNotFoundError:
            pass    # the listener, at the end

    def call(self, environ, response):
        thread = threading.get_ident()
        self.serving[thread] = time.monotonic(), environ
        try:
            return super().call(environ, response)
        finally:
            del self.serving[thread]
