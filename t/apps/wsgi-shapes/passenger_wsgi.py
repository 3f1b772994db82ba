"""One route for each thing that a WSGI server can get wrong. The route is PATH_INFO, its argument QUERY_STRING."""

import atexit
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from wsgiref.validate import validator

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = [('Content-Type', 'text/plain')]
closed = 0


class Blocks:
    """An iterable that counts the calls of its close()."""

    def __init__(self, blocks, fail_close=False):
        self.blocks = blocks
        self.fail_close = fail_close

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        global closed
        closed += 1
        if self.fail_close:
            raise ValueError('close() failed')


@atexit.register
def say_goodbye():
    print('atexit ran')


def hello(environ, start_response):
    start_response('200 OK', TEXT)
    return [b'hello world\n']


def show(environ, start_response):
    """The environ as lines, sorted."""
    lines = ['%s=%a\n' % item for item in sorted(environ.items()) if item[0][:5] != 'wsgi.' or item[0] not in
             ('wsgi.input', 'wsgi.errors', 'wsgi.file_wrapper')]
    start_response('200 OK', TEXT)
    return [''.join(lines).encode()]


def process(environ, start_response):
    main = sys.modules['__main__']
    facts = {
        'main': sorted(name for name in vars(main) if not name.startswith('__')), 'argv': sys.argv, 'path0': sys.path[0],
        'loader_on_path': any(os.path.exists(os.path.join(entry, 'wsgi-loader.py')) for entry in sys.path),
        'file': __file__, 'name': __name__, 'module': sys.modules['passenger_wsgi'].__dict__ is globals(),
        'spec': __spec__.origin, 'stdin': sys.stdin.read(), 'cwd': os.getcwd(), 'executable': sys.executable,
        'inheritable': [fd for fd in map(int, os.listdir('/proc/self/fd')) if fd > 2 and inheritable(fd)],
        'handshake': 'PASSENGER_HANDSHAKE' in os.environ, 'encoding': sys.stdout.encoding, 'pid': os.getpid(),
        'int': signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.SIG_DFL),
        'hup': int(signal.getsignal(signal.SIGHUP)), 'mask': len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    }
    start_response('200 OK', TEXT)
    return [''.join('%s=%r\n' % item for item in facts.items()).encode()]


def inheritable(fd):
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def echo(environ, start_response):
    body = environ['wsgi.input'].read()
    start_response('200 OK', TEXT)
    return [body]


def echo_aloud(environ, start_response):
    print('about to read')
    return echo(environ, start_response)


def reads(environ, start_response):
    """Reads the body in the way that the query names, and shows what came."""
    source = environ['wsgi.input']
    how = environ['QUERY_STRING']
    if how == 'lines':
        got = source.readlines()
    elif how == 'iter':
        got = list(source)
    elif how == 'readline':
        got = [source.readline(), source.readline(3), source.readline(-1), source.readline()]
    elif how == 'some':
        got = [source.read(3), source.read(0), source.read(100000000), source.read(5), source.read(-1)]
    elif how == 'none':
        got = [source.read(), source.read(10), source.readline(), source.readlines(), list(source)]
    elif how == 'length':
        got = len(source.read(int(environ['CONTENT_LENGTH'])))
    elif how == 'count':
        got = 0
        while True:
            block = source.read(10000)
            if not block:
                break
            got += len(block)
    elif how == 'hurried':
        got = []
        for read in source.read1, lambda n: source.readinto1(bytearray(n)), source.read:
            block = read(300000)
            got.append(block if isinstance(block, int) else len(block))
            environ['wsgi.errors'].write('hurried %d\n' % got[-1])
            environ['wsgi.errors'].flush()
        got.append(len(source.read()))
    else:
        got = 'unread'
    start_response('200 OK', TEXT)
    return [ascii(got).encode()]


def steps(environ, start_response):
    """A generator; the peer must see each block before the next is made: a pipe of ours waits for it."""
    start_response('200 OK', TEXT)
    yield b'first\n'
    read_fifo(environ['QUERY_STRING'])
    yield b''
    yield b'second\n'


def read_fifo(path):
    with open(path, 'rb') as fifo:
        return fifo.read()


def late_start(environ, start_response):
    """Calls start_response() when it is asked for the first block, which is empty."""
    start_response('201 Created', TEXT)
    yield b''
    start_response('202 Accepted', TEXT, (ValueError, ValueError('x'), None))
    yield b'late'


def write(environ, start_response):
    send = start_response('200 OK', TEXT)
    send(b'written ')
    send(b'')
    return [b'and ', b'returned']


def declared(environ, start_response):
    """Query: declared length, then the blocks."""
    length, _, blocks = environ['QUERY_STRING'].partition(',')
    start_response('200 OK', TEXT + [('Content-Length', length)])
    return Blocks([block.encode() for block in blocks.split(',') if block])


def lists(environ, start_response):
    start_response('200 OK', TEXT)
    return [] if environ['QUERY_STRING'] == 'empty' else (b'one ', b'', b'two ', b'three')


def big(environ, start_response):
    start_response('200 OK', TEXT)
    size = int(environ['QUERY_STRING'])
    return [b'x' * size] if size % 2 else (b'x' * (size // 2), b'x' * (size // 2))


def status(environ, start_response):
    code = environ['QUERY_STRING'].replace('+', ' ')
    start_response(code, TEXT + [('Content-Length', '4')])
    return Blocks([b'body'])


def headers(environ, start_response):
    """Headers that are wrong in the way the query names."""
    wrong = {
        'newline': ('X-A', 'a\r\nSet-Cookie: b'), 'bytes': ('X-A', b'a'), 'int': ('X-A', 1), 'name': ('X A', 'a'),
        'colon': ('X:', 'a'), 'empty': ('', 'a'), 'nul': ('X-A', 'a\0'), 'unicode': ('X-A', '\u20ac'), 'three': ('a', 'b', 'c'),
        'length': ('Content-Length', '-1'), 'delete': ('X-A', '\x7f'), 'bytesname': (b'X-A', 'a'),
    }
    start_response('200 OK', TEXT + [wrong[environ['QUERY_STRING']]])
    return [b'not refused']


def good_headers(environ, start_response):
    start_response('200 Fine by me', [
        ('X-Latin', 'caf\xe9'), ('X-Tab', 'a\tb'), ('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2'), ('x-Empty', ''),
        ('Connection', 'close'), ('Transfer-Encoding', 'gzip'), ('Keep-Alive', '1')])
    return [b'fine']


def not_list(environ, start_response):
    start_response('200 OK', {'ab': 'c'})
    return [b'']


def twice(environ, start_response):
    start_response('200 OK', TEXT)
    start_response('200 OK', TEXT)
    return [b'']


def never(environ, start_response):
    return Blocks([] if environ['QUERY_STRING'] == 'empty' else [b'x'])


def result(environ, start_response):
    start_response('200 OK', TEXT)
    return {'none': None, 'str': 'text', 'bytes': b'bytes', 'list': ['text'], 'int': 3,
            'two': ['a', b'b'], 'latin': ['caf\xe9'], 'wide': ['\u20ac'], 'wides': [b'a', '\u20ac']}[environ['QUERY_STRING']]


def replaced(environ, start_response):
    start_response('200 OK', TEXT + [('Content-Length', '99')])
    try:
        raise ValueError('before')
    except ValueError:
        start_response('503 Replaced', TEXT, sys.exc_info())
    return [b'replaced']


def too_late(environ, start_response):
    start_response('200 OK', TEXT)
    yield b'begun'
    try:
        raise ValueError('inside')
    except ValueError:
        start_response('500 Too late', TEXT, sys.exc_info())
    yield b'never'


def fails(environ, start_response):
    where = environ['QUERY_STRING']
    if where == 'call':
        raise ValueError('secret detail')
    if where == 'exit':
        sys.exit(7)
    if where == 'interrupt':
        raise KeyboardInterrupt
    if where == 'started':
        start_response('200 OK', TEXT)
        raise ValueError('secret detail')
    start_response('200 OK', TEXT)
    if where == 'close':
        return Blocks([b'x'], True)
    return Blocks(broken(where))


def broken(where):
    if where == 'middle':
        yield b'begun'
    if where == 'generatorexit':
        raise GeneratorExit
    raise ValueError('secret detail')


def closing(environ, start_response):
    start_response('200 OK', TEXT)
    return Blocks([b'a', b'b'])


def closes(environ, start_response):
    start_response('200 OK', TEXT)
    return [b'%d' % closed]


def endless(environ, start_response):
    start_response('200 OK', TEXT)

    def blocks():
        while True:
            yield b'x' * 10000
    return Blocks(blocks())


def sent_file(environ, start_response):
    how = environ['QUERY_STRING']
    extra = []
    path = os.path.join(HERE, 'file.txt')
    if how == 'memory':
        source = io.BytesIO(b'in memory')
    elif how == 'temporary':
        source = tempfile.NamedTemporaryFile()
        source.write(b'temporary')
        source.seek(4)
    else:
        source = open(path, 'rb')
    if how == 'offset':
        source.read(6)
    elif how.isdigit():
        extra = [('Content-Length', how)]
    real_close = source.close

    class Closing:
        def __init__(self):
            self.read = source.read

        def close(self):
            global closed
            closed += 1
            real_close()
    start_response('200 OK', TEXT + extra)
    return environ['wsgi.file_wrapper'](Closing() if how == 'counted' else source, 1024)


@validator
def valid(environ, start_response):
    body = environ['wsgi.input'].read(5)
    start_response('200 OK', TEXT)
    return Valid([b'valid ', body])


class Valid(Blocks):
    def __iter__(self):
        return iter(list(self.blocks))


def prints(environ, start_response):
    print('printed \u20ac \udcff')
    print('errors \u2603', file=environ['wsgi.errors'])
    environ['wsgi.errors'].writelines(['a line\n'])
    environ['wsgi.errors'].flush()
    sys.stderr.write('no newline')
    sys.stderr.flush()
    sys.stdout.write('\n')
    return hello(environ, start_response)


def print_much(environ, start_response):
    for _ in range(100):
        print('x' * 1000)
    return hello(environ, start_response)


def forks(environ, start_response):
    how = environ['QUERY_STRING']
    if how == 'return':
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
    elif how == 'raise':
        pid = os.fork()
        if not pid:
            raise ValueError('in the child')
        os.waitpid(pid, 0)
    elif how == 'exit':
        pid = os.fork()
        if not pid:
            sys.exit(3)
        assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 3
    elif how == 'subprocess':
        start_response('200 OK', TEXT)
        return [subprocess.check_output(['/bin/echo', 'from a subprocess'])]
    elif how == 'multiprocessing':
        import multiprocessing
        context = multiprocessing.get_context('spawn')
        with context.Pool(1) as pool:
            start_response('200 OK', TEXT)
            return [b'%d' % pool.apply(len, (b'four',))]
    elif how == 'terminate':
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.write(writer, b'.')      # what comes before the first instruction after fork() is lost in CPython
            while True:
                time.sleep(10)
        os.read(reader, 1)
        os.close(reader)
        os.close(writer)
        os.kill(pid, signal.SIGTERM)
        start_response('200 OK', TEXT)
        return [b'%d' % os.WTERMSIG(os.waitpid(pid, 0)[1])]
    elif how == 'twice':
        pid = os.fork()
        if not pid:
            opened = [os.open('/dev/null', os.O_RDONLY) for _ in range(10)]
            grandchild = os.fork()
            if not grandchild:
                try:
                    os._exit(0 if all(os.fstat(fd) for fd in opened) else 2)
                except OSError:
                    os._exit(1)
            os._exit(os.WEXITSTATUS(os.waitpid(grandchild, 0)[1]))
        start_response('200 OK', TEXT)
        return [b'%d' % os.WEXITSTATUS(os.waitpid(pid, 0)[1])]
    elif how == 'stays':
        pid = os.fork()
        if not pid:
            time.sleep(60)
            os._exit(0)
        start_response('200 OK', TEXT)
        return [b'%d' % pid]
    return hello(environ, start_response)


def forking_blocks(environ, start_response):
    start_response('200 OK', TEXT)
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    yield b'%d' % (pid == 0)


def waits(environ, start_response):
    """Says that it began, and goes on when somebody wrote to the fifo."""
    print('waiting for the fifo')
    what = read_fifo(environ['QUERY_STRING'])
    print('was let go')
    start_response('200 OK', TEXT)
    return [b'finished ' + what]


def spins(environ, start_response):
    """A second thread, so that a dump of the stacks shows it."""
    thread = threading.Thread(target=read_fifo, args=(environ['QUERY_STRING'],), name='waiter', daemon=True)
    thread.start()
    return hello(environ, start_response)


def closes_stderr(environ, start_response):
    sys.stderr.close()
    raise ValueError('after sys.stderr.close()')


def socket_timeout(environ, start_response):
    import socket
    socket.setdefaulttimeout(0)
    return hello(environ, start_response)


ROUTES = {name: value for name, value in list(globals().items()) if callable(value)}


def application(environ, start_response):
    return ROUTES[environ['PATH_INFO'][1:]](environ, start_response)
