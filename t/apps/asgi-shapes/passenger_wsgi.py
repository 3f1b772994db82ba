"""One route for each thing that an ASGI server can get wrong. The route is the path's end, its argument the query."""

import asyncio
import atexit
import os
import sys

TEXT = [(b'content-type', b'text/plain')]
LOOP = None
events = []
finished = []


@atexit.register
def say_goodbye():
    print('atexit ran')


async def lifespan(scope, receive, send):
    global LOOP
    LOOP = asyncio.get_event_loop()
    while True:
        event = await receive()
        events.append(event['type'])
        print(event['type'])
        if event['type'] == 'lifespan.startup':
            scope['state']['started'] = os.getpid()
            scope['state']['list'] = []
            await send({'type': 'lifespan.startup.complete'})
        else:
            await asyncio.sleep(0)
            await send({'type': 'lifespan.shutdown.complete'})
            return


async def body_of(receive):
    blocks = []
    while True:
        event = await receive()
        if event['type'] != 'http.request':
            raise OSError('the body was cut')
        blocks.append(event.get('body', b''))
        if not event.get('more_body'):
            return blocks


async def respond(send, body, status=200, headers=TEXT):
    await send({'type': 'http.response.start', 'status': status, 'headers': headers})
    await send({'type': 'http.response.body', 'body': body})


async def hello(scope, receive, send):
    await respond(send, b'hello world\n')


async def show(scope, receive, send):
    lines = ['%s=%r\n' % item for item in sorted(scope.items())]
    lines += ['header %s: %s\n' % (name.decode('latin-1'), value.decode('latin-1')) for name, value in scope['headers']]
    await respond(send, ''.join(lines).encode())


async def facts(scope, receive, send):
    main = sys.modules['__main__']
    found = {
        'main': sorted(name for name in vars(main) if not name.startswith('__')), 'events': events,
        'asgi_on_path': any(os.path.exists(os.path.join(entry, 'wsgi-loader.py')) for entry in sys.path),
        'loop': asyncio.get_event_loop() is LOOP, 'state': scope['state'].get('started') == os.getpid(), 'finished': finished}
    await respond(send, ''.join('%s=%r\n' % item for item in found.items()).encode())


async def state(scope, receive, send):
    scope['state']['list'].append(1)
    scope['state']['own'] = scope['state'].get('own', 0) + 1
    await respond(send, b'%d %d' % (len(scope['state']['list']), scope['state']['own']))


async def echo(scope, receive, send):
    await respond(send, b''.join(await body_of(receive)))


async def sizes(scope, receive, send):
    """The body's blocks, read when told: until then no more than a little may come in."""
    await wait_for_file(scope['query_string'])
    blocks = await body_of(receive)
    await respond(send, b'%d %d' % (sum(map(len, blocks)), max(map(len, blocks))))


async def again(scope, receive, send):
    """receive() after the body's end waits until the client leaves."""
    await body_of(receive)
    print('waiting for the end')
    event = await receive()
    print('told of %s' % event['type'])
    finished.append(event['type'])
    try:
        await respond(send, b'too late')
    except OSError as error:
        print('send() raised an OSError: %s' % error)
        raise


async def cut(scope, receive, send):
    try:
        await body_of(receive)
    except OSError as error:
        print('seen: %s' % error)
        raise


async def after(scope, receive, send):
    """Goes on working after the response."""
    await respond(send, b'done')
    event = await receive()
    await wait_for_file(scope['query_string'])
    finished.append(event['type'])
    print('finished in the background after %s' % event['type'])


async def pieces(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': TEXT})
    await send({'type': 'http.response.body', 'body': b'one ', 'more_body': True})
    await send({'type': 'http.response.body', 'body': b'', 'more_body': True})
    await send({'type': 'http.response.body', 'body': bytearray(b'two'), 'more_body': True})
    await send({'type': 'http.response.body'})


async def flushed(scope, receive, send):
    """The head, and then each block, before the next is made."""
    await send({'type': 'http.response.start', 'status': 200, 'headers': TEXT})
    await send({'type': 'http.response.body', 'more_body': True})
    for block in (b'first', b'second'):
        await wait_for_file(scope['query_string'] + b'.' + block)
        await send({'type': 'http.response.body', 'body': block, 'more_body': True})
    await send({'type': 'http.response.body', 'more_body': False})


async def declared(scope, receive, send):
    """Query: declared length, then the blocks."""
    length, *blocks = scope['query_string'].split(b',')
    await send({'type': 'http.response.start', 'status': 200, 'headers': TEXT + [(b'Content-Length', length)]})
    for block in blocks:
        await send({'type': 'http.response.body', 'body': block, 'more_body': True})
    await send({'type': 'http.response.body', 'body': b''})


async def status(scope, receive, send):
    await respond(send, b'body', int(scope['query_string']))


async def headers(scope, receive, send):
    bad = {
        b'good': [(b'x-a', b'caf\xe9'), [b'Set-Cookie', b'a=1'], (b'set-cookie', b'b=2'), (b'Transfer-Encoding', b'chunked'), (b'connection', b'x')],
        b'newline': [(b'x-a', b'a\r\nset-cookie: b')], b'text': [('x-a', 'a')], b'name': [(b'x a', b'')], b'empty': [(b'', b'')],
        b'three': [(b'a', b'b', b'c')], b'int': [(b'x-a', 5)], b'none': None, b'nul': [(b'x-a', b'\0')]}
    await respond(send, b'fine', 200, bad[scope['query_string']])


async def big(scope, receive, send):
    await respond(send, b'x' * int(scope['query_string']))


async def endless(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': TEXT})
    sent = 0
    try:
        while True:
            await send({'type': 'http.response.body', 'body': b'y' * 65536, 'more_body': True})
            sent += 65536
    finally:
        finished.append('endless')
        print('endless ended' + (' early' if sent < 16 << 20 else ''))


async def fails(scope, receive, send):
    how = scope['query_string']
    if how == b'exit':
        sys.exit(3)
    if how == b'started':
        await send({'type': 'http.response.start', 'status': 200, 'headers': TEXT})
    if how == b'middle':
        await send({'type': 'http.response.start', 'status': 200, 'headers': TEXT})
        await send({'type': 'http.response.body', 'body': b'begun', 'more_body': True})
    if how == b'after':
        await respond(send, b'whole')
    if how == b'cancelled':
        raise asyncio.CancelledError()
    raise ValueError('secret detail')


async def wrong(scope, receive, send):
    how = scope['query_string']
    start = {'type': 'http.response.start', 'status': 200, 'headers': TEXT}
    if how == b'body-first':
        await send({'type': 'http.response.body', 'body': b'x'})
    elif how == b'twice':
        await send(start)
        await send(start)
    elif how == b'type':
        await send({'type': 'websocket.accept'})
    elif how == b'str':
        await send(start)
        await send({'type': 'http.response.body', 'body': 'text'})
    elif how == b'start-only':
        await send(start)
    elif how == b'unfinished':
        await send(start)
        await send({'type': 'http.response.body', 'body': b'begun', 'more_body': True})


async def more(scope, receive, send):
    """Sends again after the end."""
    await respond(send, b'whole')
    try:
        await send({'type': 'http.response.body', 'body': b'more'})
    except Exception as error:
        print('send() raised %s' % type(error).__name__)


async def sleeps(scope, receive, send):
    await asyncio.sleep(float(scope['query_string']))
    await respond(send, b'slept')


async def waits(scope, receive, send):
    print('waiting for a file')
    await wait_for_file(scope['query_string'])
    await respond(send, b'finished')


async def wait_for_file(path):
    while not os.path.exists(path):
        await asyncio.sleep(0.01)


async def forks(scope, receive, send):
    how = scope['query_string']
    sys.stdout.flush()
    pid = os.fork()
    if not pid and how == b'raise':
        raise ValueError('in the child')
    if not pid and how == b'exit':
        sys.exit(0)
    if not pid:
        return
    os.waitpid(pid, 0)
    await respond(send, b'hello world\n')


async def blocks(scope, receive, send):
    print('about to block')
    with open(scope['query_string'], 'rb') as fifo:
        fifo.read()
    await respond(send, b'hello world\n')


async def application(scope, receive, send):
    if scope['type'] == 'lifespan':
        await lifespan(scope, receive, send)
    elif scope['type'] == 'http':
        await globals()[scope['path'].rpartition('/')[2]](scope, receive, send)
    else:
        raise ValueError(scope['type'])
