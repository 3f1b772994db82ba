"""Serves an ASGI application (HTTP, WebSocket and lifespan) on one asyncio loop: all requests at once, in one thread.

The sockets are ours rather than asyncio's transports': a response is one send() where it can be, reading stops exactly when a
body is not wanted, and what a forked child does to its copies harms nobody.
"""

import asyncio
import os
import select
import sys
import time
import warnings
from http import HTTPStatus

import passenger_wsgi_loader as loader
from passenger_wsgi_loader import LISTENER, ClientGone, Garbage, Response, getpid, say

import _signal
import _socket

websocket = loader.half('websocket')

READ_SIZE = 65536
BODY_LIMIT = 1 << 17                # bytes of a request's body that wait for receive()
OUTPUT_LIMIT = 1 << 16              # bytes that may wait for the peer before send() does
UNHEARD_LIMIT = 1 << 20             # bytes that an application may send in vain
ACCEPT_AT_ONCE = 64
ACCEPT_PAUSE = 0.1                  # seconds, when there is no descriptor left
VERSIONS = {2: '2.0', 3: '3.0'}
HTTP_SPEC = '2.4'
EARLY_HINT = 'http.response.early_hint'
CLOSE_SECONDS = 10                  # for a WebSocket's client to answer that it closes too
FORBIDDEN = ('403 Forbidden', [('Content-Type', 'text/plain')], b'The application does not want this WebSocket.\n')

# Frameworks that take "path" for what lies below "root_path", as PATH_INFO is: module of the application's class -> the package's first version that
# does it as the specification says.
BARE_PATHS = {'starlette.applications': (0, 33), 'starlette.routing': (0, 33), 'falcon.asgi.app': None, 'channels.routing': (4, 1)}
ENGINEIO = 'engineio.async_drivers.asgi'    # compares "path" with its own, and gives other requests to another application

STATUS = {status.value: '%d %s' % (status.value, status.phrase) for status in HTTPStatus}
PROTOCOLS = {b'HTTP/1.0': '1.0', b'HTTP/2.0': '2', b'HTTP/2': '2', b'HTTP/3.0': '3', b'HTTP/3': '3'}
FIELDS = {b'CONTENT_TYPE': b'content-type', b'CONTENT_LENGTH': b'content-length'}    # pair -> header name, as they come


def field_name(name):
    if name[:5] != b'HTTP_':
        return None
    field = name[5:].replace(b'_', b'-').lower()
    if len(FIELDS) < loader.CACHE_LIMIT:
        FIELDS[name] = field
    return field


def port_of(value):
    return int(value) if value and value.isdigit() and len(value) < 6 else None


class Paths:
    """For which requests "path" is to be only what lies below "root_path": as the application, and what its middlewares wrap, wants it."""

    def __init__(self, application):
        self.bare = False
        self.bare_websockets = False
        self.bare_below = None
        for _ in range(loader.MAX_WRAPPERS):
            parts = getattr(application, '__dict__', {})
            modules = [kind.__module__ for kind in type(application).__mro__]
            if ENGINEIO in modules and parts.get('engineio_path'):
                self.bare_below = parts['engineio_path'].encode()
            for module in modules:
                if module in BARE_PATHS:
                    # Django, which serves the pages beside Channels' WebSockets, does as the specification says.
                    self.bare_websockets = older(module, BARE_PATHS[module])
                    self.bare = self.bare_websockets and module != 'channels.routing'
                    return
            application = parts.get('other_asgi_app') if ENGINEIO in modules else parts.get('app')
            if application is None:
                return

    def wants_bare(self, pairs):
        if self.bare:
            return True
        if self.bare_websockets and pairs.get(b'HTTP_UPGRADE', b'').lower() == b'websocket':
            return True
        return self.bare_below is not None and (pairs.get(b'PATH_INFO', b'') + b'/').startswith(self.bare_below)


def older(module, right):
    version = getattr(sys.modules.get(module.partition('.')[0]), '__version__', '')
    return right is None or tuple(int(part) for part in version.split('.')[:2] if part.isdigit()) < right


def make_scope(pairs, paths):
    headers = []
    for name, value in pairs.items():
        field = FIELDS.get(name) or field_name(name)
        if field is not None:
            headers.append((field, value))
    root_path = pairs.get(b'SCRIPT_NAME', b'')
    client = pairs.get(b'REMOTE_ADDR')
    server = pairs.get(b'SERVER_NAME')
    uri = pairs.get(b'REQUEST_URI')
    scope = {
        'type': 'http', 'http_version': PROTOCOLS.get(pairs.get(b'SERVER_PROTOCOL'), '1.1'),
        'method': pairs[b'REQUEST_METHOD'].decode('latin-1').upper(),
        'scheme': 'https' if pairs.get(b'HTTPS', b'').lower() in (b'on', b'1', b'true', b'yes') else 'http',
        'path': ((b'' if root_path and paths.wants_bare(pairs) else root_path) + pairs.get(b'PATH_INFO', b'')).decode('utf-8', 'replace'),
        'root_path': root_path.decode('utf-8', 'replace'), 'query_string': pairs.get(b'QUERY_STRING', b''),
        'headers': headers, 'extensions': {EARLY_HINT: {}},
        'client': (client.decode('latin-1'), port_of(pairs.get(b'REMOTE_PORT')) or 0) if client else None,
        'server': (server.decode('latin-1'), port_of(pairs.get(b'SERVER_PORT'))) if server else None}
    if uri:
        scope['raw_path'] = uri.partition(b'?')[0]
    return scope


class NonBlockingResponse(Response):
    def __init__(self, connection):
        self.connection = connection

    def transmit(self, head, block=b'', tail=b''):
        if not self.connection.write(head, block, tail):
            self.gone = True
            raise ClientGone('the client went away')


class Exchange:
    """One request and its response; the application may go on working after the response."""

    def __init__(self, server, connection, pairs):
        self.server = server
        self.connection = connection
        self.since = time.monotonic()
        self.body = []              # parts that receive() has not yet given away
        self.waiting = 0            # their bytes
        self.left = self.length_of(pairs)       # bytes that have not come in yet; None: only the end of the stream tells
        self.ended = False          # the last event of the body was given away
        self.receivers = []
        self.over = False           # the response is complete, or nobody wants it any more
        self.unheard = 0            # bytes sent in vain
        self.response = NonBlockingResponse(connection)
        self.scope = make_scope(pairs, server.paths)
        if self.scope['method'] == 'HEAD':
            self.response.bare = True
        self.environ = {'REQUEST_METHOD': self.scope['method'], 'SCRIPT_NAME': '', 'PATH_INFO': self.scope['path']}

    def length_of(self, pairs):
        length = pairs.get(b'CONTENT_LENGTH')
        if length:
            if not length.isdigit() or len(length) > 18:
                raise Garbage('CONTENT_LENGTH is %a' % length.decode('latin-1'))
            return int(length)
        if length is None and pairs.get(b'HTTP_TRANSFER_ENCODING', b'').lower() == b'chunked':
            return None
        return 0

    # What comes in

    def feed(self, data):
        """Takes of `data` what belongs to the body. Returns the rest."""
        rest = b''
        if self.left is not None:
            data, rest = data[:self.left], data[self.left:]
            self.left -= len(data)
        if data and not self.over:
            self.body.append(data)
            self.waiting += len(data)
            self.wake()
        return rest

    def end_body(self):
        self.left = 0
        self.wake()

    def wake(self):
        receivers, self.receivers = self.receivers, []
        for receiver in receivers:
            if not receiver.done():
                receiver.set_result(None)

    async def receive(self):
        if getpid() != loader.PID:
            loader.leave_child()
        while not self.over:
            if not self.ended and (self.body or self.left == 0):
                block = self.body[0] if len(self.body) == 1 else b''.join(self.body)
                self.body = []
                self.waiting = 0
                self.ended = self.left == 0
                self.connection.read_on()
                return {'type': 'http.request', 'body': block, 'more_body': not self.ended}
            receiver = self.server.loop.create_future()
            self.receivers.append(receiver)
            self.connection.read_on()
            await receiver
        return {'type': 'http.disconnect'}

    # What goes out

    async def send(self, event):
        if getpid() != loader.PID:
            loader.leave_child()
        kind = event['type']
        response = self.response
        if response.gone:
            raise ClientGone('the client went away')
        if kind == 'http.response.start':
            if response.head is not None:
                raise RuntimeError('http.response.start was sent twice')
            self.start(event)
        elif kind == 'http.response.body':
            if response.head is None:
                raise RuntimeError('http.response.body was sent before http.response.start')
            self.write(event.get('body', b''), not event.get('more_body', False))
            if self.connection.unsent > OUTPUT_LIMIT:
                await self.connection.drain()
        elif kind == EARLY_HINT:
            if response.head is not None:
                raise RuntimeError('http.response.early_hint was sent after http.response.start')
            response.hint([('Link', link.decode('latin-1')) for link in event['links']])
            if self.connection.unsent > OUTPUT_LIMIT:
                await self.connection.drain()
        else:
            raise ValueError('%a is no event that a request for HTTP can send' % (kind,))

    def start(self, event):
        status = event['status']
        headers = event.get('headers') or ()
        try:
            headers = [(name.decode('latin-1'), value.decode('latin-1')) for name, value in headers]
        except (AttributeError, TypeError, ValueError):
            raise TypeError('http.response.start: the headers are no pairs of bytes: %a' % (headers,))
        self.response.build(STATUS.get(status) or '%d ' % status, headers)

    def write(self, block, last):
        response = self.response
        if type(block) is not bytes:
            if not isinstance(block, (bytes, bytearray, memoryview)):
                raise TypeError('the body has a block of type %s, not bytes' % type(block).__name__)
            block = bytes(block)
        if self.over:
            self.write_in_vain(block)
            return
        if last and not response.sent:
            response.deliver((block,))
        else:
            if response.cut:
                self.write_in_vain(block)
            elif block:
                response.write(block)
            elif not response.sent:
                response.transmit(response.open())
            if last and response.left is None:
                response.transmit(b'0\r\n\r\n')
        if last or response.bare:
            self.finish(response.complete())

    def write_in_vain(self, block):
        """The rest of a response that has no body, or a shorter one. What never ends must notice at last."""
        self.unheard += len(block)
        if self.unheard > UNHEARD_LIMIT:
            raise ClientGone('nobody reads on')

    def finish(self, keep):
        """The response is on its way, whole or not: the connection can have the next request."""
        if self.over:
            return
        self.over = True
        self.body = []
        self.wake()
        self.connection.next(keep and self.left is not None and self.left <= loader.MAX_SKIP, self.left)

    def lose(self):
        """The connection is gone."""
        self.response.gone = True
        self.over = True
        self.body = []
        self.wake()

    async def run(self):
        response = self.response
        try:
            await self.server.application(self.server.scope_for(self.scope), self.receive, self.send)
            error = None
        except BaseException as caught:
            error = caught
        if getpid() != loader.PID:
            loader.leave_child(error)
        if error is not None and (self.over or response.gone):
            self.mourn(error)
        elif not self.over:
            self.finish(response.fail(error or RuntimeError('the application returned before its response was complete'), self.environ))

    def mourn(self, error):
        """An exception that cannot change the response any more."""
        if not self.response.gone and not isinstance(error, (ClientGone, asyncio.CancelledError)):
            say('an exception after the response to %a:' % loader.request_line(self.environ))
            loader.print_exception(error)


class WebSocket(Exchange):
    """One WebSocket, from the request for it. Until it is accepted it is an exchange whose answer may as well be an ordinary response."""

    def __init__(self, server, connection, pairs):
        super().__init__(server, connection, pairs)
        scope = self.scope
        scope['type'] = 'websocket'
        scope['scheme'] = 'wss' if scope['scheme'] == 'https' else 'ws'
        scope['subprotocols'] = [name.strip() for name in pairs.get(b'HTTP_SEC_WEBSOCKET_PROTOCOL', b'').decode('latin-1').split(',') if name.strip()]
        scope['extensions'] = {'websocket.http.response': {}}
        del scope['method']
        self.key = pairs.get(b'HTTP_SEC_WEBSOCKET_KEY', b'')
        self.refusal = self.objection(pairs)
        self.told = False           # websocket.connect was given away
        self.accepted = False
        self.closing = False        # a close frame was sent
        self.code = None            # how it ended, and why: (code, reason)
        self.last = None            # the same, as the client's close frame says; it counts when what came before was received
        self.events = []            # messages that receive() has not yet given away
        self.reader = websocket.Reader(self.on_message, self.on_control)
        self.clock = None

    def objection(self, pairs):
        """An answer for a request that is none for a WebSocket, or None."""
        text = [('Content-Type', 'text/plain')]
        if pairs.get(b'HTTP_SEC_WEBSOCKET_VERSION') != b'13':
            return '426 Upgrade Required', text + [('Sec-WebSocket-Version', '13')], b'WebSockets must be of version 13.\n'
        if websocket.accept_value(self.key) is None:
            return '400 Bad Request', text, b'Sec-WebSocket-Key is no key.\n'
        return None

    # What comes in

    def feed(self, data):
        if self.over:
            return b''
        if not self.accepted:
            return data
        try:
            self.reader.feed(data)
        except websocket.Violation as problem:
            self.end(problem.args[0], problem.args[1])
            self.hang_up()
        return b''

    def on_message(self, data):
        if self.closing or self.code:
            return
        text = isinstance(data, str)
        self.events.append({'type': 'websocket.receive', 'text' if text else 'bytes': data})
        self.waiting += len(data) + 64
        self.wake()

    def on_control(self, opcode, payload):
        if opcode == websocket.PING and not self.closing and self.connection.unsent <= OUTPUT_LIMIT:
            self.connection.write(websocket.head(websocket.PONG, len(payload)), payload)
        elif opcode == websocket.CLOSE:
            self.last = websocket.close_code(payload)
            if not self.events or self.closing:
                self.conclude()
            elif self.clock is None:
                self.clock = self.server.loop.call_later(CLOSE_SECONDS, self.conclude)
            self.wake()

    def conclude(self):
        code, reason = self.last
        self.end(code, reason, '')
        self.hang_up()

    async def receive(self):
        if getpid() != loader.PID:
            loader.leave_child()
        if not self.told:
            self.told = True
            return {'type': 'websocket.connect'}
        while not self.events and self.code is None and self.last is None and not self.over:
            receiver = self.server.loop.create_future()
            self.receivers.append(receiver)
            self.connection.read_on()
            await receiver
        if self.events:
            event = self.events.pop(0)
            self.waiting -= len(event.get('text') or event.get('bytes') or '') + 64
            self.connection.read_on()
            return event
        if self.code is None and self.last is not None:
            self.conclude()
        code, reason = self.code or (websocket.ABNORMAL, '')
        return {'type': 'websocket.disconnect', 'code': code, 'reason': reason}

    # What goes out

    async def send(self, event):
        if getpid() != loader.PID:
            loader.leave_child()
        kind = event['type']
        if self.code is not None or self.response.gone:
            raise ClientGone('the client went away')
        if self.closing or (self.over and not self.accepted):
            raise RuntimeError('%a was sent after the end' % kind)
        if kind == 'websocket.accept' and not self.accepted and self.response.head is None:
            self.accept(event)
        elif kind == 'websocket.send' and self.accepted:
            self.send_message(event)
        elif kind == 'websocket.close' and self.accepted:
            self.close(event.get('code') or websocket.NORMAL, event.get('reason') or '')
        elif kind == 'websocket.close' and self.response.head is None:
            self.refuse(FORBIDDEN)
        elif kind in ('websocket.http.response.start', 'websocket.http.response.body') and not self.accepted:
            await super().send(dict(event, type=kind[len('websocket.'):]))
        else:
            raise RuntimeError('%a is no event that a WebSocket can send at this point' % kind)
        if self.connection.unsent > OUTPUT_LIMIT:
            await self.connection.drain()

    def accept(self, event):
        headers = [(name.decode('latin-1'), value.decode('latin-1')) for name, value in event.get('headers') or ()]
        if any(name.lower() == 'sec-websocket-protocol' for name, value in headers):
            raise ValueError('websocket.accept: the subprotocol is no header, but has a key of its own')
        if event.get('subprotocol') is not None:
            headers.append(('Sec-WebSocket-Protocol', event['subprotocol']))
        self.response.build('200 OK', headers)      # which checks them; an application has no right to send 101 by itself
        self.accepted = True
        self.response.transmit(self.response.head.replace(b'200 OK', b'101 Switching Protocols', 1) + b'\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: '
                               + websocket.accept_value(self.key) + b'\r\n\r\n')
        self.connection.advance()

    def refuse(self, answer):
        status, headers, text = answer
        self.response.build(status, headers)
        self.write(text, True)

    def send_message(self, event):
        text, data = event.get('text'), event.get('bytes')
        if (text is None) == (data is None):
            raise ValueError('websocket.send has either a text or bytes')
        opcode, payload = (websocket.BINARY, bytes(data)) if text is None else (websocket.TEXT, text.encode('utf-8'))
        self.response.transmit(websocket.head(opcode, len(payload)), payload)

    def close(self, code, reason=''):
        """Says that this is the end, and waits a little for the client to say so too."""
        if self.closing or self.over:
            return
        if not websocket.valid_code(code):
            raise ValueError('websocket.close: %r is no code that may be sent' % (code,))
        while len(reason.encode('utf-8')) > 123:
            reason = reason[:-1]
        self.closing = True
        self.connection.write(websocket.close_frame(code, reason))
        self.clock = self.server.loop.call_later(CLOSE_SECONDS, self.hang_up)
        self.wake()

    def end(self, code, reason, answer=None):
        """The client has ended it, or is not fit to go on."""
        if self.code is None:
            self.code = code, reason
        if not self.closing:
            self.closing = True
            self.connection.write(websocket.close_frame(code, reason if answer is None else answer))
        self.wake()

    def hang_up(self):
        """All is said."""
        if self.clock is not None:
            self.clock.cancel()
        if not self.over:
            self.over = True
            self.connection.next(False, 0)
        self.wake()

    def go_away(self):
        """The process is about to end."""
        if self.accepted and not self.closing:
            self.code = websocket.RESTART, ''
            self.close(websocket.RESTART)

    def lose(self):
        if self.code is None:
            self.code = websocket.ABNORMAL, ''
        if self.clock is not None:
            self.clock.cancel()
        super().lose()

    async def run(self):
        error = None
        if self.refusal is not None:
            self.refuse(self.refusal)
            return
        try:
            await self.server.application(self.server.scope_for(self.scope), self.receive, self.send)
        except BaseException as caught:
            error = caught
        if getpid() != loader.PID:
            loader.leave_child(error)
        if self.accepted:
            if error is not None:
                self.mourn(error)
            self.close(websocket.NORMAL if error is None else websocket.INTERNAL)
        elif error is not None and (self.over or self.response.gone):
            self.mourn(error)
        elif not self.over:
            self.finish(self.response.fail(error or RuntimeError('the application returned before it had accepted the WebSocket'), self.environ))


class Connection:
    """One connection of the core's: requests on it come one after another."""

    def __init__(self, server, fd, sock):
        self.server = server
        self.loop = server.loop
        self.fd = fd
        self.sock = sock
        self.inbox = b''            # what came in and belongs to nobody yet
        self.skip = 0               # bytes of a body that nobody wanted
        self.exchange = None
        self.reading = False
        self.clock = None           # for the rest of a head that came in parts
        self.outbox = []
        self.unsent = 0             # bytes in it
        self.drained = []
        self.closing = False        # once all is sent
        self.closed = False
        self.hangup = None          # an epoll descriptor that sees the end of a connection whose other half is closed
        self.read_on()

    # In

    def read_on(self):
        """Reads, unless enough is waiting already."""
        exchange = self.exchange
        want = not self.closed and self.hangup is None and not (exchange and (exchange.waiting > BODY_LIMIT or self.inbox))
        if want and not self.reading:
            self.loop.add_reader(self.fd, self.readable)
        elif self.reading and not want and not self.closed:
            self.loop.remove_reader(self.fd)
        self.reading = want

    def readable(self):
        try:
            data = self.sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b''
        try:
            if data:
                self.inbox = self.inbox + data if self.inbox else data
                self.advance()
            else:
                self.end_of_stream()
        except Garbage as problem:
            say('dropped a connection: %s' % problem)
            self.close()

    def advance(self):
        """Gives what came in to whom it belongs."""
        while self.inbox and not self.closed and not self.closing:
            if self.skip:
                unwanted = min(self.skip, len(self.inbox))
                self.skip -= unwanted
                self.inbox = self.inbox[unwanted:]
            elif self.exchange is not None:
                self.inbox = self.exchange.feed(self.inbox)
                self.read_on()
                return
            elif not self.begin():
                return

    def begin(self):
        """Starts the request that the inbox begins with. Returns whether there was a whole head."""
        data = self.inbox
        end = int.from_bytes(data[:4], 'big') + 4
        if len(data) >= 4 and not 8 <= end <= loader.MAX_HEAD + 4:
            raise Garbage('%d is no plausible length of a head' % (end - 4))
        if len(data) < 4 or len(data) < end:
            if self.clock is None:
                self.clock = self.loop.call_later(loader.HEAD_SECONDS, self.give_up)
            return False
        self.stop_clock()
        parts = data[4:end].split(b'\0')
        if parts.pop() or len(parts) & 1:
            raise Garbage('a head that is no list of pairs')
        pairs = dict(zip(parts[::2], parts[1::2]))
        if b'REQUEST_METHOD' not in pairs:
            raise Garbage('a request without REQUEST_METHOD')
        kind = WebSocket if pairs.get(b'HTTP_UPGRADE', b'').lower() == b'websocket' else Exchange
        exchange = self.exchange = kind(self.server, self, pairs)
        self.inbox = data[end:]
        self.server.serve(exchange)
        return True

    def give_up(self):
        self.clock = None
        say('dropped a connection: it stopped in the middle of a head')
        self.close()

    def stop_clock(self):
        if self.clock is not None:
            self.clock.cancel()
            self.clock = None

    def end_of_stream(self):
        if self.exchange is not None and self.exchange.left is None:
            # The end of a body. From now on the socket is readable at all times; only epoll tells a hang-up from that.
            self.hangup = select.epoll(1)
            self.hangup.register(self.fd, 0)
            self.loop.add_reader(self.hangup.fileno(), self.close)
            self.read_on()
            self.exchange.end_body()
        elif self.inbox and self.exchange is None:
            raise Garbage('it ended in the middle of a head')
        else:
            self.close()

    def next(self, keep, unread):
        """The response to the latest request is written."""
        self.exchange = None
        if not keep or self.hangup is not None:
            self.closing = True
            if not self.unsent:
                self.close()
            return
        self.skip = unread
        if self.inbox:
            self.loop.call_soon(self.go_on)
        self.read_on()

    def go_on(self):
        try:
            if self.exchange is None:
                self.advance()
        except Garbage as problem:
            say('dropped a connection: %s' % problem)
            self.close()

    # Out

    def write(self, *parts):
        """Sends, or keeps for later. Returns whether there is still somebody to send it to."""
        if self.closed:
            return False
        if not self.unsent:
            size = sum(map(len, parts))
            try:
                sent = self.sock.send(b''.join(parts)) if size <= loader.COPY_LIMIT else self.sock.sendmsg(parts)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.close()
                return False
            if sent == size:
                return True
            self.loop.add_writer(self.fd, self.flush)
        else:
            sent = 0
        for part in parts:
            if sent < len(part):
                self.outbox.append(memoryview(part)[sent:])
                self.unsent += len(part) - sent
            sent = max(sent - len(part), 0)
        return True

    def flush(self):
        try:
            sent = self.sock.sendmsg(self.outbox[:16])
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self.unsent -= sent
        while self.outbox and sent >= len(self.outbox[0]):
            sent -= len(self.outbox.pop(0))
        if sent:
            self.outbox[0] = self.outbox[0][sent:]
        if not self.unsent:
            self.loop.remove_writer(self.fd)
            self.wake()
            if self.closing:
                self.close()

    async def drain(self):
        while self.unsent and not self.closed:
            waiter = self.loop.create_future()
            self.drained.append(waiter)
            await waiter
        if self.closed:
            raise ClientGone('the client went away')

    def wake(self):
        drained, self.drained = self.drained, []
        for waiter in drained:
            if not waiter.done():
                waiter.set_result(None)

    def close(self):
        if self.closed:
            return
        self.closed = True
        self.stop_clock()
        self.loop.remove_reader(self.fd)
        self.loop.remove_writer(self.fd)
        if self.hangup is not None:
            self.loop.remove_reader(self.hangup.fileno())
            self.hangup.close()
        self.server.connections.pop(self.fd, None)
        try:
            self.sock.shutdown(_socket.SHUT_RDWR)   # also for a copy in a child that the application forked
        except OSError:
            pass
        self.sock.close()
        self.outbox = []
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.lose()
        self.wake()


class Lifespan:
    """The conversation with the application about its own start and end."""

    def __init__(self, server):
        self.server = server
        self.asked = False          # the application took part
        self.strange = False        # it answered as if this were a request
        self.result = None          # 'complete' or 'failed', of the start and then of the end
        self.message = ''
        self.ending = server.loop.create_future()
        self.told = False           # the end was announced
        self.changed = server.loop.create_future()
        self.task = None

    async def run(self):
        scope = {'type': 'lifespan', 'asgi': {'version': VERSIONS[self.server.version], 'spec_version': '2.0'}, 'state': self.server.state}
        error = None
        try:
            await self.server.application(scope, self.receive, self.send)
        except BaseException as caught:
            error = caught
        if getpid() != loader.PID:
            loader.leave_child(error)
        if error is not None and self.result != 'failed' and (self.told or (self.asked and not self.strange)) \
                and not isinstance(error, asyncio.CancelledError):
            say('an exception in the lifespan of the application, which is %s all the same:' % ('ended' if self.told else 'served'))
            loader.print_exception(error)
        self.change()

    def change(self):
        if not self.changed.done():
            self.changed.set_result(None)

    async def receive(self):
        if not self.asked:
            self.asked = True
            return {'type': 'lifespan.startup'}
        await self.ending
        if self.told:
            await self.server.loop.create_future()
        self.told = True
        self.result = None
        return {'type': 'lifespan.shutdown'}

    async def send(self, event):
        verb, _, result = event['type'].rpartition('.')
        if verb != ('lifespan.shutdown' if self.told else 'lifespan.startup') or result not in ('complete', 'failed'):
            self.strange = True
            raise RuntimeError('%a is no event for the scope "lifespan" at this point' % event['type'])
        self.result = result
        self.message = event.get('message', '')
        self.change()

    async def start(self):
        """Returns when the application is ready; it may not know of lifespans."""
        self.task = self.server.loop.create_task(self.run())
        await self.changed
        if self.result == 'failed':
            lines = self.message.strip().splitlines() or ['it gave no reason']
            loader.refuse('The application could not start (lifespan.startup.failed): %s: correct that.\n\n%s'
                          % (lines[-1].strip(), self.message))

    async def end(self):
        if self.task.done() or self.result != 'complete':
            return
        self.changed = self.server.loop.create_future()
        self.ending.set_result(None)
        await self.changed
        if self.result == 'failed':
            say('the application could not end properly (lifespan.shutdown.failed): %s' % self.message)


class Server:
    def __init__(self, application, version, control, limit):
        self.application = self.as_version_3(application) if version == 2 else application
        self.paths = Paths(application)
        self.version = version
        self.control = control
        self.concurrency = limit
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, LISTENER)
        self.listener.settimeout(0)
        self.connections = {}
        self.exchanges = {}         # task -> exchange, and the application's coroutine
        self.state = {}
        self.constants = {'asgi': {'version': VERSIONS[version], 'spec_version': HTTP_SPEC}}
        self.loop = self.find_loop()
        self.lifespan = Lifespan(self)
        self.idle = None            # done when the last request is over, at the end
        self.stopped = self.loop.create_future()
        loader.at_fork(self.forget)

    def as_version_3(self, application):
        async def adapter(scope, receive, send):
            await application(scope)(receive, send)
        return adapter

    def find_loop(self):
        """The loop that the application has made already, since what it made may belong to that; or else a new one."""
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                loop = asyncio.get_event_loop()
            except RuntimeError:
                loop = None
            if loop is None or loop.is_closed():
                loop = asyncio.new_event_loop()
                asyncio.set_event_loop(loop)
        return loop

    def begin(self):
        self.loop.run_until_complete(self.lifespan.start())
        if self.lifespan.result == 'complete':
            self.constants['state'] = self.state
        if _signal.getsignal(_signal.SIGTERM) == _signal.SIG_DFL:
            self.loop.add_signal_handler(_signal.SIGTERM, self.stop)    # for the descriptor that wakes the loop
            _signal.signal(_signal.SIGTERM, self.terminate)
        loader.report_stacks(self.tell)

    def terminate(self, number, frame):
        _signal.signal(number, _signal.SIG_DFL)     # the second one ends the process at once
        if getpid() != loader.PID:
            os.kill(getpid(), number)
        self.loop.call_soon_threadsafe(self.stop)

    def stop(self):
        if not self.stopped.done():
            self.stopped.set_result(None)

    def forget(self):
        """In a child that the application forked: a connection that we close shall be closed."""
        for connection in self.connections.values():
            connection.sock.close()
        self.listener.close()
        os.close(self.control)

    def tell(self):
        """Says what the requests wait for; the stack of the thread was printed. LOG may be in use just now."""
        now = time.monotonic()
        lines = []
        for exchange, coroutine in list(self.exchanges.values()):
            frames = ['  File "%s", line %d in %s\n' % frame for frame in frames_of(coroutine)]
            lines.append('wsgi-loader: %a for %.1f s%s:\n' % (loader.request_line(exchange.environ), now - exchange.since,
                                                             ' (most recent call last)' if frames else ', running'))
            lines += frames
        os.write(2, ''.join(lines).encode('utf-8', 'backslashreplace'))

    def run(self):
        self.loop.add_reader(self.control, self.controlled)
        self.loop.add_reader(LISTENER, self.accept)
        self.loop.run_until_complete(self.serve_until_the_end())
        self.clean_up()

    def controlled(self):
        if not os.read(self.control, 4096):
            self.loop.remove_reader(self.control)
            self.stop()

    def accept(self):
        for _ in range(ACCEPT_AT_ONCE):
            try:
                fd, _ = self.listener._accept()
            except BlockingIOError:
                return
            except OSError as error:
                say('accept(): %s' % error)
                self.loop.remove_reader(LISTENER)
                self.loop.call_later(ACCEPT_PAUSE, self.accept_again)
                return
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
            sock.settimeout(0)
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, loader.SEND_BUFFER)
            self.connections[fd] = Connection(self, fd, sock)

    def accept_again(self):
        if not Response.closing:
            self.loop.add_reader(LISTENER, self.accept)

    def scope_for(self, scope):
        scope['asgi'] = dict(self.constants['asgi'])
        if 'state' in self.constants:
            scope['state'] = self.state.copy()
        return scope

    def serve(self, exchange):
        coroutine = exchange.run()
        task = self.loop.create_task(coroutine)
        self.exchanges[task] = exchange, coroutine
        task.add_done_callback(self.served)

    def served(self, task):
        del self.exchanges[task]
        if self.idle is not None and not self.exchanges and not self.idle.done():
            self.idle.set_result(None)

    async def serve_until_the_end(self):
        await self.stopped
        # What was sent before we said that we leave is served.
        self.loop.remove_reader(LISTENER)
        self.accept()
        for connection in list(self.connections.values()):
            if connection.reading:
                connection.readable()
        Response.closing = True
        for connection in list(self.connections.values()):
            if isinstance(connection.exchange, WebSocket):
                connection.exchange.go_away()
            if connection.exchange is None and not connection.unsent:
                connection.close()
            elif connection.exchange is None:
                connection.closing = True
        if self.exchanges:
            self.idle = self.loop.create_future()
            await self.idle
        for connection in list(self.connections.values()):
            try:
                await connection.drain()
            except ClientGone:
                pass
            connection.close()
        await self.lifespan.end()

    def clean_up(self):
        """What the application left running is told, as asyncio.run() does."""
        self.listener.close()
        all_tasks = getattr(asyncio, 'all_tasks', None) or asyncio.Task.all_tasks
        tasks = [task for task in all_tasks(self.loop) if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


def frames_of(coroutine):
    """File, line and name of each call from a coroutine down to what it waits for."""
    while coroutine is not None:
        for kind in ('cr', 'gi', 'ag'):
            frame = getattr(coroutine, kind + '_frame', None)
            if frame is not None and frame.f_code.co_filename not in loader.OUR_FILES:
                yield frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        coroutine = getattr(coroutine, 'cr_await', None) or getattr(coroutine, 'gi_yieldfrom', None) or getattr(coroutine, 'ag_await', None)
