"""Makes the loader a preloader: the application is loaded once, and every process that serves it is forked from here.

What is done for a fork is in PROTOCOL.md beside this file. A process is nobody's child but the helper's: the one between it and us, which
forked it, has ended before it says that it is there.
"""

import gc
import os
import resource
import select
import sys

import passenger_wsgi_loader as loader

import _socket

ORDERS = 4
ROOM = _socket.CMSG_SPACE(20)   # for five descriptors
RTTIME = 15     # RLIMIT_RTTIME; the module has no name for it
STREAMS = (_socket.SOCK_STREAM, _socket.SOCK_SEQPACKET)


def orders_socket():
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, ORDERS)


def obstacle(ours):
    """Returns what the application has got while it was loaded that two processes cannot have, or None. `ours` are descriptors."""
    count = len(os.listdir('/proc/self/task')) - 1
    if count:
        threading = sys.modules.get('threading')
        names = [thread.name for thread in threading.enumerate()[1:]] if threading else []
        return 'started %d thread%s%s' % (count, '' if count == 1 else 's', ' (%s)' % ', '.join(names) if names else '')
    for fd in map(int, os.listdir('/proc/self/fd')):
        try:
            if os.readlink('/proc/self/fd/%d' % fd) == 'anon_inode:[eventpoll]':
                return 'made an event loop'
            if fd not in ours and is_connection(fd):
                return 'opened a connection (descriptor %d)' % fd
        except OSError:
            pass
    return None


def is_connection(fd):
    if os.fstat(fd).st_mode & 0o170000 != 0o140000:
        return False
    # Made from a number, it does not care of which family the socket is; and it must not close what it looks at.
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
    try:
        return sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE) in STREAMS
    finally:
        sock.detach()


def serve(control, orders):
    """Returns in each process that was forked, with the control pipe of that process; never here."""
    gc.collect()
    if hasattr(gc, 'freeze'):
        gc.freeze()     # or the first collection in each process would write to all that is shared
    announce()
    poller = select.poll()
    for fd in (control, ORDERS):
        poller.register(fd, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd == control:
                if not os.read(fd, 4096):
                    # The exit handlers are those of the processes, which may still need what they remove.
                    loader.flush_log()
                    os._exit(0)
            else:
                control_of_child = take_order(orders, control)
                if control_of_child is not None:
                    return control_of_child


def announce():
    loader.flush_log()
    os.write(loader.CHANNEL[0], b'\n!> Ready\n!> preloader\n!> \n')


def take_order(orders, control):
    """Forks once. Returns the new process's control pipe there, and None here."""
    data, ancillary, _, _ = orders.recvmsg(64, ROOM, _socket.MSG_CMSG_CLOEXEC)
    if not data:
        os._exit(0)     # the helper is gone
    fds = []
    for level, kind, block in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += [int.from_bytes(block[at:at + 4], sys.byteorder) for at in range(0, len(block) - 3, 4)]
    loader.flush_log()
    if len(fds) == 5 and fork(fds[4]):
        orders.close()
        os.close(control)
        return become_process(*fds)
    for fd in fds:
        os.close(fd)
    return None


def fork(birth):
    """Returns True in a new process whose parent is the helper, and False in ours."""
    closed, end = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        middle, status = -1, error.errno
    if middle == 0:
        try:
            os.close(end)
            if os.fork():
                os._exit(0)
            os.read(closed, 1)
            os.close(closed)
            return True
        except OSError as error:
            os._exit(error.errno)
    if middle > 0:
        # When it has ended the new process is the helper's child; that then finds the end of the pipe.
        status = os.waitpid(middle, 0)[1] >> 8
    os.close(closed)
    os.close(end)
    if status:
        os.write(birth, ('fork: %s' % os.strerror(status)).encode())
    return False


def become_process(control, output, errors, listener, birth):
    os.setsid()
    born = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, birth)
    try:
        born.send(b'born')
        number = int(born.recv(32) or -1)
    except OSError:
        number = -1
    if number < 0:
        os._exit(1)     # nobody wants us any more
    born.close()
    try:
        resource.setrlimit(RTTIME, (number, resource.getrlimit(RTTIME)[1]))
    except (OSError, ValueError):
        pass    # it has a limit of its own
    loader.PID = os.getpid()
    os.dup2(listener, loader.LISTENER, False)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.dup2(output, loader.CHANNEL[0], False)
    os.close(listener)
    os.close(output)
    os.close(errors)
    if not hasattr(os, 'register_at_fork') and 'random' in sys.modules:
        sys.modules['random'].seed()    # newer versions do it themselves
    return control
