"""Plays the watchdog to one preloader, as helper/loaders/PROTOCOL.md says: preloading.py <interpreter> <loader> <startup file>. Prints TAP."""
import ctypes
import fcntl
import os
import resource
import select
import socket
import sys

INTERPRETER, LOADER, STARTUP = sys.argv[1:]
RTTIME = 15
NUMBER = (1 << 62) + 4711
LIMIT = 20
HERE = os.getcwd()
count = 0


def ok(good, name):
    global count
    count += 1
    print('%sok %d - %s' % ('' if good else 'not ', count, name), flush=True)


class Output:
    """What comes out of a process."""

    def __init__(self, fd):
        self.fd = fd
        self.text = b''

    def wait(self, word):
        """Reads until `word` is there; None: until the end. Says whether it came."""
        while word is None or word not in self.text:
            if not select.select([self.fd], [], [], LIMIT)[0]:
                return False
            more = os.read(self.fd, 65536)
            if not more:
                return word is None
            self.text += more
        return True


def start():
    """Returns pid, the write end of descriptor 0, output, and our end of descriptor 4."""
    read, write = os.pipe()
    out, output = os.pipe()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind('\0preloading-%d' % os.getpid() + os.urandom(8).hex())
    listener.listen(8)
    orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (read, output, output, listener.fileno(), theirs.fileno())]
        for number, fd in enumerate(high):
            os.dup2(fd, number)
        os.closerange(5, 1024)
        os.chdir(os.path.dirname(STARTUP))
        os.execv(INTERPRETER, [INTERPRETER, HERE + '/' + LOADER])
    for fd in (read, output):
        os.close(fd)
    listener.close()
    theirs.close()
    greeting = Output(out)
    ok(greeting.wait(b'!> I have control 1.0\n'), 'it greets')
    os.write(write, ('You have control 1.0\napp_root: %s\nstartup_file: %s\nspawn_method: smart\napp_group_name: shop\nprocess_title: Passenger App\n'
                     'generation: 1\nsocket_fd: 3\n\n' % (os.path.dirname(STARTUP), STARTUP)).encode())
    ok(greeting.wait(b'!> Ready\n!> preloader\n!> \n'), 'it becomes a preloader')
    return pid, write, greeting, orders


def order(orders):
    """Returns our ends of the new process: the write end of its descriptor 0, output, birth socket."""
    read, write = os.pipe()
    out, output = os.pipe()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind('\0preloading-%d' % os.getpid() + os.urandom(8).hex())
    listener.listen(8)
    birth, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    birth.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    birth.settimeout(LIMIT)
    socket.send_fds(orders, [b'fork'], [read, output, output, listener.fileno(), theirs.fileno()])
    for fd in (read, output):
        os.close(fd)
    listener.close()
    theirs.close()
    return write, Output(out), birth


def sender(birth):
    data, ancillary, _, _ = birth.recvmsg(64, 64)
    pid = next((int.from_bytes(block[:4], sys.byteorder) for level, kind, block in ancillary
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)), 0)
    return data, pid


def parent(pid):
    with open('/proc/%d/status' % pid) as file:
        return next(int(line.split()[1]) for line in file if line.startswith('PPid:'))


def children():
    with open('/proc/thread-self/children') as file:
        return file.read().split()


def exit_code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if hasattr(os, 'waitstatus_to_exitcode') else os.waitpid(pid, 0)[1] >> 8


def main():
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)     # PR_SET_CHILD_SUBREAPER
    preloader, end, greeting, orders = start()
    control, output, birth = order(orders)
    word, pid = sender(birth)
    ok(word == b'born', 'an order brings a process')
    ok(parent(pid) == os.getpid(), '... which is our child by now')
    ok(os.getsid(pid) == pid and os.getpgid(pid) == pid, '... in a session of its own')
    ok(not select.select([output.fd], [], [], 0)[0], '... that waits for an answer')
    birth.send(b'%d' % NUMBER)
    ok(output.wait(b'!> I have control 1.0\n'), 'then it greets')
    ok(resource.prlimit(pid, RTTIME)[0] == NUMBER, '... and bears its mark')
    os.write(control, b'You have control 1.0\ngeneration: 1\ngupid: 1-2\nspawn_method: direct\n\n')
    ok(output.wait(b'!> Ready\n!> socket: main;fd:3;session;1\n!> \n'), '... and is ready')
    links = {os.readlink('/proc/%d/fd/%s' % (pid, fd)) for fd in os.listdir('/proc/%d/fd' % pid)}
    theirs = {os.readlink('/proc/%d/fd/%s' % (preloader, fd)) for fd in os.listdir('/proc/%d/fd' % preloader)}
    ok({link for link in links & theirs if link.startswith(('socket:', 'pipe:'))} == set(), 'it shares no pipe and no socket with the preloader')
    ok(b'a word' not in greeting.text, 'it prints nothing there')
    second = order(orders)
    word, other = sender(second[2])
    second[2].close()
    ok(word == b'born' and exit_code(other) == 1, 'a process that nobody answers ends')
    third = order(orders)
    word, other = sender(third[2])
    third[2].send(b'%d' % (NUMBER + 1))
    ok(third[1].wait(b'!> I have control'), 'the preloader goes on')
    os.close(end)
    ok(exit_code(preloader) == 0, 'the end of its input ends the preloader')
    ok(greeting.wait(None) and b'exit handler' not in greeting.text, '... without the exit handlers')
    ok(sorted(map(int, children())) == sorted([pid, other]), '... and without its processes')
    os.close(control)
    ok(exit_code(pid) == 0, 'a process ends as ever')
    ok(output.wait(None) and b'exit handler' in output.text, '... with its exit handlers')
    os.close(third[0])
    exit_code(other)
    preloader, end, greeting, orders = start()
    orders.close()
    ok(exit_code(preloader) == 0, 'the end of the orders ends a preloader too')
    print('1..%d' % count)


main()
