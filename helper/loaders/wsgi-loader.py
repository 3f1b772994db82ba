"""Loads one WSGI or ASGI application and serves it to passenger-helper, as PROTOCOL.md beside this file says. ASGI is served
by asgi.py, WSGI in threads by threads.py, both beside this file.

Runs under CPython 3.6 and newer, and imports nothing but C modules and what the interpreter has loaded anyway: the start
stays short, and no file of an application can be taken for a module of ours.
"""

import sys

if sys.version_info < (3, 6):
    sys.stdout.write('!> Error\n\nPython 3.6 or newer is needed; %s is Python %s: set PassengerPython to a newer one.\n'
                     % (sys.executable, sys.version.split()[0]))
    sys.stdout.flush()
    sys.exit(1)

import os

HERE = (os.path.dirname(os.path.abspath(__file__)), os.path.dirname(os.path.realpath(__file__)))
sys.path[:] = [entry for entry in sys.path if entry not in HERE]
OUR_FILES = {__file__}

import _signal
import _socket
import _thread
import errno
import faulthandler
import io
import select
from _functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader

LISTENER = 3
PID = os.getpid()
VERSION = '1.0'
HANDSHAKE = 'PASSENGER_HANDSHAKE'   # carries the handshake, and the count of runs, through an exec by the application
MAX_RUNS = 4
MAX_HEAD = 1 << 20                  # bytes of the pairs of one request
MAX_SKIP = 1 << 20                  # unread bytes of a body that are worth reading to keep a connection
BODY_BUFFER = 32 * 1024             # of a body; larger reads go past it
HEAD_SECONDS = 30                   # for the rest of a head that came in parts
SEND_BUFFER = 208 * 1024            # what Linux allows everybody; it takes twice as much, the double of what it takes otherwise (socket(7))
COPY_LIMIT = 32768                  # up to this size a copy costs less than a second vector

HOP_BY_HOP = frozenset('connection keep-alive proxy-connection te trailer transfer-encoding upgrade'.split())
TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
CACHE_LIMIT = 1024
STATUS_LINES = {}                   # status -> (status line, whether such a response has no body)
REMINDED = set()
NAME_PREFIXES = {}                  # header name -> '\r\nName: ', or '' for a header that frames the response

COROUTINE, VARARGS = 0x80, 0x04     # bits of co_flags
UNLIMITED = 1 << 16                 # arguments
MAX_WRAPPERS = 10

INTERNAL_ERROR = ('500 Internal Server Error', [('Content-Type', 'text/plain')])

getpid = os.getpid


class ClientGone(ConnectionError):
    """The other side of a connection went away in the middle of a request."""


class Garbage(Exception):
    """What came in on a connection is no request."""


class Stop(Exception):
    """Ends the wait for requests."""


class LogFile(io.FileIO):
    """Standard output or error. Nobody listening there is no reason to fail."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError:
            return len(data)


def open_log(fd, name):
    raw = LogFile(fd, 'wb', closefd=False)
    raw.name = name
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding='utf-8', errors='backslashreplace', line_buffering=True)


def flush_log():
    for stream in (sys.stdout, sys.stderr, LOG):
        try:
            stream.flush()
        except Exception:
            pass


CHANNEL = []                   # a copy of descriptor 1 as it was
LOG = open_log(2, '<log>')     # ours: the application may close or replace sys.stderr
PRINTING = _thread.allocate_lock()


def say(text):
    LOG.write('wsgi-loader: ' + text + '\n')


def request_line(environ):
    return ' '.join(str(environ.get(name)) for name in ('REQUEST_METHOD', 'SCRIPT_NAME', 'PATH_INFO'))


def print_exception(error):
    """Prints a traceback that has the application's frames, without ours before and after them."""
    trace = error.__traceback__
    while trace is not None and ours(trace):
        trace = trace.tb_next
    last = entry = trace
    while entry is not None:
        if not ours(entry):
            last = entry
        entry = entry.tb_next
    if last is not None and sys.version_info >= (3, 7):
        last.tb_next = None
    locked = PRINTING.acquire(timeout=1)    # whoever holds it may be a thread that is not there any more after a fork
    stderr, sys.stderr = sys.stderr, LOG
    try:
        sys.__excepthook__(type(error), error.with_traceback(trace), trace)
    finally:
        sys.stderr = stderr
        if locked:
            PRINTING.release()


def ours(trace):
    name = trace.tb_frame.f_code.co_filename
    return name in OUR_FILES or name.startswith('<frozen importlib')


def leave_child(error=None):
    """Ends a process that the application forked and that came back to us: there is one server, its parent."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    elif error is not None:
        print_exception(error)
        code = 1
    flush_log()
    os._exit(code & 255)


# Requests

class Body(io.RawIOBase):
    """What is still to come of a request's body; `left` is None when only the end of the stream tells."""

    def __init__(self, sock, first, left):
        self.sock = sock
        self.first = first      # of them, as a memoryview
        self.left = left
        self.hurried = False

    def readable(self):
        return True

    def readinto(self, buffer):
        want = len(buffer) if self.left is None else min(len(buffer), self.left)
        whole = len(buffer) > BODY_BUFFER and not self.hurried  # memory of the application's: it waits for all of it
        got = min(want, len(self.first))
        if got:
            buffer[:got] = self.first[:got]
            self.first = self.first[got:]
        if got < want and (whole or not got):
            got += self.received(self.sock.recv_into, buffer[got:want], want - got, _socket.MSG_WAITALL if whole else 0)
        if self.left is not None:
            self.left -= got
        return got

    def readall(self):
        blocks = [self.first]
        if self.left is not None:
            self.left -= len(self.first)
        self.first = b''
        while self.left != 0:
            block = self.received(self.sock.recv, 1 << 18 if self.left is None else min(self.left, 1 << 18))
            if not block:
                break
            blocks.append(block)
            if self.left is not None:
                self.left -= len(block)
        return b''.join(blocks)

    def received(self, receive, *args):
        try:
            got = receive(*args)
        except ConnectionError as error:
            raise ClientGone('the request body cannot be read: %s' % error.strerror)
        if not got and self.left is not None:
            raise ClientGone('the request body ended %d bytes early' % self.left)
        return got

    def end(self):
        """Lets no later read take the bytes of the next request. Returns the count of unread bytes, or None."""
        unread = None if self.left is None else self.left - len(self.first)
        self.first = b''
        self.left = 0
        return unread


class Input(io.BufferedReader):
    """wsgi.input of a body that has not come with the head. More than its buffer holds is read to where the application wants it, at once."""

    def __init__(self, body):
        super().__init__(body, BODY_BUFFER)

    def read1(self, size=-1):
        return self.hurry(super().read1, size)

    def readinto1(self, buffer):
        return self.hurry(super().readinto1, buffer)

    def hurry(self, read, argument):
        self.raw.hurried = True
        try:
            return read(argument)
        finally:
            self.raw.hurried = False


class FileWrapper:
    """wsgi.file_wrapper"""

    def __init__(self, filelike, blksize=8192):
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, 'close'):
            self.close = filelike.close

    def __iter__(self):
        size = max(self.blksize, 65536)
        return iter(lambda: self.filelike.read(size), b'')

    def plain_file(self):
        """Returns descriptor, offset and remaining size of a file that may be sent unread, or None."""
        try:
            raw = getattr(self.filelike, 'raw', self.filelike)
            if type(self.filelike) not in (io.BufferedReader, io.BufferedRandom, io.FileIO) or type(raw) is not io.FileIO:
                return None
            state = os.fstat(raw.fileno())
            if state.st_mode & 0o170000 != 0o100000:
                return None
            offset = self.filelike.tell()
            return raw.fileno(), offset, max(state.st_size - offset, 0)
        except (OSError, ValueError):
            return None


# Responses

class Upgraded(_socket.socket):
    """The connection of a client that asked for another protocol. An application that speaks it writes the head itself, too, in which the helper is
    told that a thread is held; when the application comes back the connection ends. gunicorn's name for it is what simple_websocket looks for."""

    used = False

    def send(self, data, *flags):
        if self.used:
            return super().send(data, *flags)
        self.sendall(data, *flags)
        return len(data)

    def sendall(self, data, *flags):
        if not self.used:
            self.used = True
            data = bytes(data).replace(b'\r\n', b'\r\n!~Holds-Thread: true\r\n', 1)
        super().sendall(data, *flags)


def status_line(status):
    code = status[:3]
    if len(code) != 3 or not code.isdecimal() or code < '200' or status[3:4] not in ('', ' ') or not status.isprintable():
        raise ValueError('%a is no final status such as "200 OK"' % status)
    entry = ('HTTP/1.1 ' + status + (' ' if len(status) == 3 else ''), code in ('204', '304'))
    if len(STATUS_LINES) < CACHE_LIMIT:
        STATUS_LINES[status] = entry
    return entry


def name_prefix(name):
    if not name or not TOKEN.issuperset(name):
        raise ValueError('%a is no header name' % name)
    lower = name.lower()
    prefix = '' if lower in HOP_BY_HOP or lower == 'content-length' else '\r\n' + name + ': '
    if len(NAME_PREFIXES) < CACHE_LIMIT:
        NAME_PREFIXES[name] = prefix
    return prefix


def check_value(name, value):
    """Most values are printable; of the others only control characters are wrong."""
    for char in value:
        if (char < ' ' and char != '\t') or char == '\x7f':
            raise ValueError('a control character in %s: %a' % (name, value))


def declared_length(value, known):
    if not value.isdecimal() or len(value) > 18 or known not in (None, int(value)):
        raise ValueError('%a is no Content-Length' % value)
    return int(value)


def wrong_types(status, headers):
    """Returns a sentence about arguments of start_response() that are of wrong types, or None."""
    if not isinstance(status, str):
        return 'the status is of type %s, not str' % type(status).__name__
    for header in headers:
        if not isinstance(header, tuple) or len(header) != 2:
            return 'the header %a is no tuple of name and value' % (header,)
        for part in header:
            if not isinstance(part, str):
                return '%a in a header is of type %s, not str' % (part, type(part).__name__)
            if part and max(part) > '\xff':
                return '%a in a header is not Latin-1' % part
    return None


# What PEP 3333 forbids and Phusion Passenger takes, so that applications were written like that: it is seen only where a check fails.

def remind(sentence):
    """Says it in the log, once in this process."""
    if sentence not in REMINDED:
        REMINDED.add(sentence)
        say(sentence)


def with_numbers(headers):
    """The headers with their numbers spelled out, or None if they have none."""
    spelled = [(header[0], str(header[1])) if type(header) is tuple and len(header) == 2 and type(header[1]) is int else header
               for header in headers]
    return None if spelled == list(headers) else spelled


def as_bytes(block):
    if not isinstance(block, str):
        raise TypeError('the body has a block of type %s, not bytes' % type(block).__name__)
    try:
        encoded = block.encode('latin-1')
    except UnicodeEncodeError:
        raise TypeError('the body has a block of type str with characters beyond Latin-1, not bytes') from None
    remind('the body has a block of type str, which is sent as Latin-1: PEP 3333 wants bytes, such as text.encode()')
    return encoded


class Response:
    """The response to one request, from start_response() to its last byte."""

    closing = False     # for every response: this process is about to end

    bare = False        # HEAD, 204, 304: no body
    headless = False    # 204, 304: no framing headers either
    head = None         # status line and headers without the framing and the empty line
    length = None       # as the application declared it
    total = None        # as we know it without being told
    left = None         # how much of the length is still to be sent
    sent = False        # the head is on its way
    cut = False         # the application gave more than it declared
    gone = False
    upgraded = None

    def __init__(self, sock):
        self.sock = sock

    def start(self, status, headers, exc_info=None):
        """start_response() of PEP 3333"""
        if exc_info:
            try:
                if self.sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.head is not None:
            raise RuntimeError('start_response() was called twice without exc_info')
        if type(headers) is not list and not isinstance(headers, (list, tuple)):
            raise TypeError('start_response(): the headers are of type %s, not list' % type(headers).__name__)
        wrong = spelled = None
        try:
            self.build(status, headers)
        except (AttributeError, TypeError, ValueError):
            spelled = with_numbers(headers)
            wrong = wrong_types(status, spelled or headers)
            if wrong is None and spelled is None:
                raise
        if wrong is not None:
            raise TypeError('start_response(): ' + wrong)
        if spelled is not None:
            self.build(status, spelled)
            remind('start_response(): a header has a value of type int, which is taken: PEP 3333 wants str')
        return self.write

    def build(self, status, headers):
        line, headless = STATUS_LINES.get(status) or status_line(status)
        lines = [line]
        length = None
        for name, value in headers:
            prefix = NAME_PREFIXES.get(name)
            if prefix is None:
                prefix = name_prefix(name)
            if not value.isprintable():
                check_value(name, value)
            if prefix:
                lines.append(prefix + value)
            elif name.lower() == 'content-length':
                length = declared_length(value, length)
        if Response.closing:
            lines.append('\r\nConnection: close')
        self.head = ''.join(lines).encode('latin-1')
        self.length = length
        if headless:
            self.headless = self.bare = True

    def hint(self, headers):
        """environ['wsgi.early_hints'], as gunicorn has it: headers for the client before the response is there"""
        if self.sent or self.gone:
            return
        lines = ['HTTP/1.1 103 Early Hints']
        for name, value in headers:
            if not value.isprintable():
                check_value(name, value)
            prefix = name_prefix(name)
            if prefix:
                lines.append(prefix + value)
        self.transmit(''.join(lines).encode('latin-1') + b'\r\n\r\n')

    def write(self, block):
        """The write() that start_response() returns, and the way of every block that is not known to be the only one"""
        if not isinstance(block, bytes):
            block = as_bytes(block)
        if self.head is None:
            raise RuntimeError('the body began before start_response() was called')
        if not block:
            return
        prelude = b'' if self.sent else self.open()
        if self.bare:
            if prelude:
                self.transmit(prelude)
        elif self.left is None:
            self.transmit(b'%b%x\r\n' % (prelude, len(block)), block, b'\r\n')
        else:
            if len(block) > self.left:
                say('the body is longer than its Content-Length of %d: cut' % self.length)
                block = block[:self.left]
                self.cut = True
            self.left -= len(block)
            if block or prelude:
                self.transmit(prelude, block)

    def open(self):
        """Returns the whole head, framing included."""
        if self.head is None:
            raise RuntimeError('the application did not call start_response()')
        self.sent = True
        if self.headless:
            return self.head + b'\r\n\r\n'
        length = self.total if self.length is None else self.length
        if length is None or (self.bare and not length and self.length is None):
            return self.head + (b'\r\n\r\n' if self.bare else b'\r\nTransfer-Encoding: chunked\r\n\r\n')
        self.length = self.left = length
        return b'%b\r\nContent-Length: %d\r\n\r\n' % (self.head, length)

    def transmit(self, head, block=b'', tail=b''):
        if getpid() != PID:
            leave_child()
        try:
            if len(block) <= COPY_LIMIT:
                self.sock.sendall(head + block + tail)
                return
            sent = self.sock.sendmsg((head, block, tail))
            for part in (head, block, tail):
                if sent < len(part):
                    self.sock.sendall(memoryview(part)[sent:])
                sent = max(sent - len(part), 0)
        except OSError:
            self.gone = True
            raise ClientGone('the client went away')

    def deliver(self, result):
        """Sends what the application returned."""
        kind = type(result)
        if kind is list or kind is tuple:
            if len(result) == 1 and type(result[0]) is bytes and self.length is None and not self.bare and not self.sent:
                if self.head is None:
                    self.open()
                self.sent = True
                self.transmit(b'%b\r\nContent-Length: %d\r\n\r\n' % (self.head, len(result[0])), result[0])
                return
            if not self.sent:
                self.total = sum(map(len, result))
                if len(result) > 1 and self.total <= COPY_LIMIT:
                    try:
                        result = (b''.join(result),)
                    except TypeError:
                        result = (b''.join([block if isinstance(block, bytes) else as_bytes(block) for block in result]),)
        elif kind is FileWrapper and not self.sent:
            plain = result.plain_file()
            if plain is not None:
                self.send_file(*plain)
                return
        elif result is None:
            raise TypeError('the application returned None, not an iterable of bytes')
        self.stream(result)

    def stream(self, result):
        for block in result:
            self.write(block)
            if self.cut or (self.bare and self.sent):
                break
        if not self.sent:
            self.total = 0
            self.transmit(self.open())
        elif self.left is None and not self.bare:
            self.transmit(b'0\r\n\r\n')

    def send_file(self, fd, offset, size):
        self.total = size
        self.transmit(self.open())
        if self.bare:
            return
        if size > self.left:
            say('the file is longer than its Content-Length of %d: cut' % self.length)
        try:
            while self.left:
                sent = os.sendfile(self.sock.fileno(), fd, offset, min(self.left, 1 << 30))
                if not sent:
                    break
                offset += sent
                self.left -= sent
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise
            self.gone = True
            raise ClientGone('the client went away')

    def complete(self):
        """Says whether the connection may be used again."""
        if self.left and not self.bare:
            say('the body is %d bytes shorter than its Content-Length of %d' % (self.left, self.length))
            return False
        return not Response.closing

    def taken(self):
        return self.upgraded is not None and self.upgraded.used

    def fail(self, error, environ):
        """After an exception: an error page, or a response that ends early. Says whether the connection may be used again."""
        if getpid() != PID:
            leave_child(error)
        taken = self.taken()
        if self.gone or isinstance(error, ClientGone) or (taken and isinstance(error, StopIteration)):
            return False
        say('an exception while serving %a:' % request_line(environ))
        print_exception(error)
        if self.sent or taken:
            return False
        try:
            self.headless = False
            self.bare = environ.get('REQUEST_METHOD') == 'HEAD'
            self.build(*INTERNAL_ERROR)
            self.deliver([b'Internal Server Error\n'])
        except ClientGone:
            return False
        return self.complete()


# The server

def at_fork(forget):
    """Lets `forget` run in each child that the application forks; in their own children the numbers are those of other files."""
    left = [forget]
    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=lambda: left and left.pop()())


def report_stacks(tell=None):
    """Has SIGQUIT print the stacks of all threads, even of one that never comes back to the interpreter; then calls `tell`."""
    faulthandler.unregister(_signal.SIGQUIT)
    if tell is not None:
        _signal.signal(_signal.SIGQUIT, lambda number, frame: tell())
    faulthandler.register(_signal.SIGQUIT, file=2, chain=tell is not None)


class Server:
    """Serves one request at a time from the connections that come in on the listener."""

    concurrency = 1

    def __init__(self, application, control):
        self.application = application
        self.control = control
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, LISTENER)
        self.listener.settimeout(0)
        self.wakeup, self.waker = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self.waker, False)
        self.connections = {}
        self.skip = {}              # descriptor -> bytes of a body that nobody wanted
        self.interest = select.POLLIN
        self.waiting = Server.run.__code__
        self.poller = select.poll()
        for fd in (LISTENER, control, self.wakeup):
            self.poller.register(fd, select.POLLIN)
        self.constants = {
            'wsgi.version': (1, 0), 'wsgi.errors': sys.stderr, 'wsgi.multithread': False, 'wsgi.multiprocess': True,
            'wsgi.run_once': False, 'wsgi.file_wrapper': FileWrapper, 'wsgi.input_terminated': True,
            'wsgi.url_scheme': 'http'}
        at_fork(self.forget)

    def begin(self):
        """What there is to do before the first request may come."""
        def terminate(number, frame):
            _signal.signal(number, _signal.SIG_DFL)     # the second one ends the process at once
            if getpid() != PID:
                os.kill(getpid(), number)
            Response.closing = True
            if frame is not None and frame.f_code is self.waiting:
                raise Stop
        if _signal.getsignal(_signal.SIGTERM) == _signal.SIG_DFL:
            _signal.signal(_signal.SIGTERM, terminate)
        # A signal that comes between the last look at `closing` and poll() still ends the wait.
        _signal.set_wakeup_fd(self.waker)

    def forget(self):
        """In a child that the application forked: a connection that we close shall be closed."""
        for sock in self.connections.values():
            sock.close()
        self.listener.close()
        for fd in (self.control, self.wakeup):
            os.close(fd)

    def run(self):
        poll = self.poller.poll
        connections = self.connections
        try:
            while not Response.closing:
                for fd, _ in poll():
                    sock = connections.get(fd)
                    if sock is not None:
                        self.receive(fd, sock)
                    else:
                        self.event(fd)
        except Stop:
            pass
        self.last_round()

    def last_round(self):
        """Serves what was sent before we said that we leave."""
        self.accept()
        for fd, _ in self.poller.poll(0):
            sock = self.connections.get(fd)
            if sock is not None:
                self.receive(fd, sock)
        for fd in list(self.connections):
            self.drop(fd)
        self.listener.close()

    def event(self, fd):
        if fd == LISTENER:
            self.accept()
        elif fd == self.control:
            if not os.read(fd, 4096):
                Response.closing = True
        else:
            os.read(fd, 4096)

    def accept(self):
        while True:
            try:
                fd, _ = self.listener._accept()
            except BlockingIOError:
                return
            except OSError as error:
                say('accept(): %s' % error)
                if error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):
                    raise
                select.poll().poll(100)
                return
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
            sock.settimeout(None)   # whatever the application's default is
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, SEND_BUFFER)
            self.connections[fd] = sock
            self.poller.register(fd, self.interest)

    def drop(self, fd):
        sock = self.connections.pop(fd)
        self.skip.pop(fd, None)
        self.poller.unregister(fd)
        # At the end a request may have come since the last look. Closed at once that makes a reset, which says that it was not taken.
        if not Response.closing:
            try:
                sock.shutdown(_socket.SHUT_RDWR)    # also for a copy in a child that the application forked
            except OSError:
                pass
        sock.close()

    def receive(self, fd, sock):
        try:
            data = sock.recv(65536)
            if self.skip and fd in self.skip:
                unwanted = min(self.skip[fd], len(data))
                self.skip[fd] -= unwanted
                if not self.skip[fd]:
                    del self.skip[fd]
                if data and unwanted == len(data):
                    return
                data = data[unwanted:]
            keep = bool(data)
            while data and keep:
                keep, data = self.request(fd, sock, data)
        except Garbage as problem:
            say('dropped a connection: %s' % problem)
            keep = False
        except OSError:
            keep = False
        if not keep:
            self.drop(fd)

    def request(self, fd, sock, data):
        """Serves the request that `data` begins. Returns whether to keep the connection, and what followed the request."""
        end = int.from_bytes(data[:4], 'big') + 4
        if len(data) < end or end < 8:
            data, end = self.rest_of_head(sock, data)
        parts = data[4:end].decode('latin-1').split('\0')
        if parts.pop() or len(parts) & 1:
            raise Garbage('a head that is no list of pairs')
        pairs = iter(parts)
        environ = dict(zip(pairs, pairs))
        if 'REQUEST_METHOD' not in environ:
            raise Garbage('a request without REQUEST_METHOD')
        body, data = self.body_of(sock, environ, data, end)
        environ.update(self.constants)
        if environ.get('HTTPS', 'off').lower() in ('on', '1', 'true', 'yes'):
            environ['wsgi.url_scheme'] = 'https'
        response = Response(sock)
        environ['wsgi.early_hints'] = response.hint
        if environ['REQUEST_METHOD'] == 'HEAD':
            response.bare = True
        if 'HTTP_UPGRADE' in environ:
            response.upgraded = environ['gunicorn.socket'] = Upgraded(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, os.dup(fd))
            response.upgraded.settimeout(None)
        keep = self.call(environ, response)
        if response.upgraded is not None:
            response.upgraded.close()
        if body is not None:
            unread = body.end()
            keep = keep and unread is not None and unread <= MAX_SKIP
            if keep and unread:
                self.skip[fd] = unread
        return keep, data

    def rest_of_head(self, sock, data):
        """Returns data that holds a whole head, and the head's end."""
        sock.settimeout(HEAD_SECONDS)
        end = None
        while end is None or len(data) < end:
            if end is None and len(data) >= 4:
                end = int.from_bytes(data[:4], 'big') + 4
                if not 8 <= end <= MAX_HEAD + 4:
                    raise Garbage('%d is no plausible length of a head' % (end - 4))
                continue
            try:
                more = sock.recv(65536)
            except _socket.timeout:
                raise Garbage('it stopped in the middle of a head')
            if not more:
                raise Garbage('it ended in the middle of a head')
            data += more
        sock.settimeout(None)
        return data, end

    def body_of(self, sock, environ, data, end):
        """Puts wsgi.input in place. Returns the body where it did not come with the head, and what follows the request."""
        length = environ.get('CONTENT_LENGTH')
        if length:
            if not length.isdecimal() or len(length) > 18:
                raise Garbage('CONTENT_LENGTH is %a' % length)
            length = int(length)
            # Whoever sees both takes the body for one with chunks in it, as Bottle does.
            environ.pop('HTTP_TRANSFER_ENCODING', None)
            if length <= len(data) - end:
                environ['wsgi.input'] = io.BytesIO(data[end:end + length])
                return None, data[end + length:]
        elif length is None and environ.get('HTTP_TRANSFER_ENCODING', '').lower() == 'chunked':
            pass
        else:
            environ['wsgi.input'] = io.BytesIO()
            return None, data[end:]
        body = Body(sock, memoryview(data)[end:], length)
        environ['wsgi.input'] = Input(body)
        return body, b''

    def call(self, environ, response):
        """Runs the application. Says whether the connection may be used again."""
        result = None
        try:
            result = self.application(environ, response.start)
            if response.upgraded is not None and response.upgraded.used:
                keep = False
            else:
                response.deliver(result)
                keep = response.complete()
        except BaseException as error:
            keep = response.fail(error, environ)
        close = getattr(result, 'close', None)
        if close is not None:
            try:
                close()
            except BaseException as error:
                if getpid() != PID:
                    leave_child(error)
                say('an exception in close():')
                print_exception(error)
        if getpid() != PID:
            leave_child()
        return keep


# The start

def read_handshake(control=0):
    """Returns the core's part of the handshake and how many interpreters have read it by now."""
    text = os.environ.pop(HANDSHAKE, None)
    if text is not None:
        runs, _, text = text.partition('\n')
        return text, int(runs) + 1
    os.write(1, b'!> I have control ' + VERSION.encode() + b'\n')
    block = b''
    while not block.endswith(b'\n\n'):
        more = os.read(control, 65536)
        if not more or len(block) > MAX_HEAD:
            say('no handshake on standard input: only passenger-helper can start this program')
            os._exit(1)
        block += more
    return os.fsdecode(block), 1


def parse_handshake(text):
    lines = text.split('\n')
    if lines[0] != 'You have control ' + VERSION:
        refuse('The handshake began with %a, not with "You have control %s": helper and loader are of different versions.'
               % (lines[0], VERSION))
    return dict(line.partition(': ')[::2] for line in lines[1:] if line)


def refuse(sentence, error=None):
    """Reports why the application cannot be served, and ends the process."""
    flush_log()
    os.dup2(CHANNEL[0] if CHANNEL else 1, 2)
    LOG.write('\n!> Error\n\n' + sentence + '\n')
    if error is not None:
        LOG.write('\n')
        print_exception(error)
        LOG.write('\nInterpreter: %s (Python %s)\nsys.path:\n' % (sys.executable, sys.version.split()[0]))
        LOG.write(''.join('  %s\n' % entry for entry in sys.path))
    flush_log()
    os._exit(1)


def reset_signals():
    """An application starts with the signals of a fresh process, except that a Control-C in some terminal is not for it."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    for number in range(1, _signal.NSIG):
        if number not in (_signal.SIGPIPE, getattr(_signal, 'SIGXFSZ', None)) \
                and _signal.getsignal(number) == _signal.SIG_IGN:
            _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, lambda number, frame: None)  # a handler, unlike SIG_IGN, ends with exec()
    faulthandler.enable(file=2)
    report_stacks()


def take_descriptors():
    """Moves the control pipe out of the application's reach. Returns its new descriptor."""
    control = os.dup(0)
    CHANNEL[:] = [os.dup(1)]
    close_stdin()
    os.set_inheritable(LISTENER, False)
    sys.stdout = sys.__stdout__ = open_log(1, '<stdout>')
    sys.stderr = sys.__stderr__ = open_log(2, '<stderr>')
    return control


def close_stdin():
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def let_exec_pass(control, text, runs, others):
    """Lets a startup file replace the interpreter by `os.execl(INTERP, INTERP, *sys.argv)`: the loader that the new one runs
    finds the descriptors as we found them (`others`, too), and the handshake, which nobody can read twice, in its environment.
    Returns a function that ends this."""
    execv, execve = os.execv, os.execve

    def passing_execv(path, args):
        passing_execve(path, args, os.environ)

    def passing_execve(path, args, env):
        if getpid() != PID or not passing:
            execve(path, args, env)
        flush_log()
        os.dup2(control, 0)
        for fd in others:
            os.set_inheritable(fd, True)
        try:
            execve(path, args, dict(env, **{HANDSHAKE: '%d\n%s' % (runs, text)}))
        finally:
            close_stdin()
            for fd in others:
                os.set_inheritable(fd, False)

    def end():
        passing.clear()
        if os.execv is passing_execv:
            os.execv = execv
        if os.execve is passing_execve:
            os.execve = execve

    passing = [True]
    os.execv, os.execve = passing_execv, passing_execve
    return end


def where(error, app_root, startup_file):
    """Returns file and line of the application that an exception is about."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    place = (startup_file, None)
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        inside = name == startup_file or (name.startswith(app_root + '/') and '/lib/python' not in name)
        if inside and name not in OUR_FILES:
            place = (name, trace.tb_lineno)
        trace = trace.tb_next
    return place


def explain(error, app_root, startup_file):
    """Returns one sentence: where, what, and what to do."""
    python = 'Python %d.%d (%s)' % (sys.version_info[0], sys.version_info[1], sys.executable)
    name, line = where(error, app_root, startup_file)
    place = name if line is None else '%s, line %s' % (name, line)
    what = '%s: %s' % (type(error).__name__, ' '.join(str(error).split()))
    if isinstance(error, SyntaxError):
        return '%s: %s: correct that line, or choose another interpreter than %s with PassengerPython.' % (
            place, 'SyntaxError: ' + str(error.msg), python)
    if isinstance(error, ImportError):
        return '%s: %s: install what is missing for %s, or choose another interpreter with PassengerPython.' % (
            place, what, python)
    if isinstance(error, SystemExit):
        return '%s: the application called sys.exit(%s) while it was loaded: a startup file must run to its end.' % (
            place, '' if error.code is None else ascii(error.code))
    return '%s: %s: correct that; the traceback follows.' % (place, what)


def load(settings):
    """Returns the application, or ends the process with a report."""
    app_root = settings.get('app_root') or os.getcwd()
    path = os.path.abspath(os.path.join(app_root, settings.get('startup_file') or 'passenger_wsgi.py'))
    sys.path.insert(0, app_root)
    loader = SourceFileLoader('passenger_wsgi', path)
    module = type(sys)('passenger_wsgi')
    module.__file__ = path
    module.__loader__ = loader
    module.__package__ = ''
    module.__spec__ = ModuleSpec('passenger_wsgi', loader, origin=path)
    module.__spec__.has_location = True
    sys.modules['passenger_wsgi'] = module
    try:
        try:
            # Cached bytecode would be taken for that of a file changed within the same second, and x.wsgi's for that of x.py.
            source = loader.get_data(path)
            if b'\0' in source:
                refuse('%s: it is not in UTF-8, but most likely in UTF-16: save it as UTF-8.' % path)
            code = loader.source_to_code(source, path)
        except FileNotFoundError:
            refuse('%s: there is no such startup file: create it, or name another one with PassengerStartupFile.' % path)
        except OSError as error:
            refuse('%s: %s: let user %s (uid %d) read the startup file.' % (path, error.strerror, os.environ.get('USER'), os.geteuid()))
        exec(code, module.__dict__)
    except BaseException as error:
        if getpid() != PID:
            leave_child(error)
        refuse(explain(error, app_root, path), error)
    if getpid() != PID:
        leave_child()
    return find_application(module, path)


def find_application(module, path):
    """Returns the application and the version of ASGI that it is for: 0 for WSGI."""
    name = 'application' if hasattr(module, 'application') or not hasattr(module, 'app') else 'app'
    if not hasattr(module, name):
        refuse('%s: it defines neither "application" nor "app": give the WSGI or ASGI callable one of these names.' % path)
    application = getattr(module, name)
    if not callable(application):
        refuse('%s: "%s" is of type %s, which cannot be called: it must be a WSGI or ASGI callable.'
               % (path, name, type(application).__name__))
    return application, asgi_version(application)


def asgi_version(application):
    """Tells what a callable is by its nature, or else by the arguments that it takes: two for WSGI, three for ASGI, and one for
    ASGI 2. What takes anything is WSGI, unless it stands for something else."""
    function, bound = application, 0
    for _ in range(MAX_WRAPPERS):
        while isinstance(function, partial):
            bound += len(function.args)
            function = function.func
        if is_coroutine_function(function):
            return 3
        least, most = positional(function)
        wrapped = getattr(function, '__wrapped__', None)
        if least > 0 or most < UNLIMITED or wrapped is None:
            break
        function = wrapped
    if least <= 2 + bound <= most:
        return 0
    if least <= 3 + bound <= most:
        return 3
    return 2 if most == 1 + bound else 0


def is_coroutine_function(function):
    """Whether a call gives a coroutine; a class gives an instance."""
    if isinstance(function, type):
        return False
    for part in (function, getattr(type(function), '__call__', None)):
        code = getattr(part, '__code__', None)
        if code is not None and (code.co_flags & COROUTINE or hasattr(part, '_is_coroutine') or hasattr(part, '_is_coroutine_mark')):
            return True
    return False


def positional(function):
    """Returns the least and the greatest number of arguments by position."""
    own = 1     # self
    if isinstance(function, type):
        function = function.__init__
    elif not hasattr(function, '__code__'):
        function = type(function).__call__
    elif getattr(function, '__self__', None) is None:
        own = 0
    code = getattr(function, '__code__', None)
    if code is None:
        return 0, UNLIMITED
    most = code.co_argcount - own
    return most - len(function.__defaults__ or ()), UNLIMITED if code.co_flags & VARARGS else most


def half(name, *hidden):
    """Returns a module of ours from beside this file, imported without the folders `hidden` on the path."""
    path = os.path.join(os.path.dirname(os.path.realpath(__file__)), name + '.py')
    module = type(sys)('passenger_' + name)
    OUR_FILES.add(path)
    entries = sys.path[:]
    sys.path[:] = [entry for entry in entries if entry not in hidden]
    try:
        loader = SourceFileLoader(module.__name__, path)
        exec(loader.source_to_code(loader.get_data(path), path), module.__dict__)
    finally:
        sys.path[:] = entries
    return module


def threads_of(settings):
    """How many requests at once are wanted of this process."""
    count = settings.get('thread_count', '')
    return int(count) if settings.get('concurrency_model') == 'thread' and count.isdecimal() and int(count) > 0 else 1


def share(preload, control):
    """Becomes a preloader, if that is safe, and returns in each process that it forks, with the control pipe of that."""
    obstacle = preload.obstacle((0, 1, 2, LISTENER, preload.ORDERS, control))
    orders = preload.orders_socket()
    if obstacle is None:
        control = preload.serve(control, orders)
        read_handshake(control)     # which says what we know
    else:
        say('the application %s while it was loaded, so it cannot be forked: every process loads it itself, as with '
            'PassengerSpawnMethod direct' % obstacle)
        orders.close()
    return control


def announce(concurrency):
    flush_log()
    block = b'\n!> Ready\n!> socket: main;fd:%d;session;%d\n!> \n' % (LISTENER, concurrency)
    try:
        os.write(1, block)
    except BrokenPipeError:
        os._exit(1)
    except OSError as error:
        refuse('The application has closed its standard output (%s) while it was loaded, by which its server hears that it is ready: '
               'leave descriptor 1 open.' % error.strerror)


def keep_memory():
    """malloc gives the end of the heap back whenever 128 KiB of it are free, and takes it again for the next block of a body, page by page. It
    believes in larger blocks after it has freed one (M_MMAP_THRESHOLD in mallopt(3)); its pages are never touched."""
    bytes(512 << 10)


def main():
    own = sys.modules['__main__']
    own.__name__ = 'passenger_wsgi_loader'
    sys.modules[own.__name__] = own
    sys.modules['__main__'] = type(sys)('__main__')
    sys.modules['__main__'].__builtins__ = __builtins__
    sys.argv[:] = [os.path.abspath(__file__)]
    reset_signals()
    text, runs = read_handshake()
    control = take_descriptors()
    settings = parse_handshake(text)
    if runs > MAX_RUNS:
        refuse('%s: it executed another interpreter %d times, and this one is still not the one it wants: compare what it '
               'executes with sys.executable, which is %s.' % (settings.get('startup_file'), runs - 1, sys.executable))
    preload = half('preload') if settings.get('spawn_method') == 'smart' else None
    orders = (preload.ORDERS,) if preload else ()
    for fd in orders:
        os.set_inheritable(fd, False)
    end_passing = let_exec_pass(control, text, runs, (LISTENER,) + orders)
    count = threads_of(settings)
    threads = half('threads') if count > 1 else None
    application, asgi = load(settings)
    end_passing()
    if asgi:
        asgi_half = half('asgi', settings.get('app_root'))
    if preload:
        control = share(preload, control)
    if asgi:
        server = asgi_half.Server(application, asgi, control, count if count > 1 else 0)
    elif threads:
        server = threads.Server(application, control, count)
    else:
        server = Server(application, control)
    keep_memory()
    server.begin()
    announce(server.concurrency)
    server.run()


if __name__ == '__main__':
    main()
