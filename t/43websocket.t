# WebSockets in each language behind a real Apache: every kind of frame, and clients and servers as npm and Debian have them.
use strict;
use warnings;
use lib 't/lib';
use File::Temp qw(tempdir);
use Test::More;
use Time::HiRes qw(time);
use Harness;
use WS;

# The module's part is tested with each MPM in t/23upgrade.t.
my $h = Harness->new(workers => 96);
my ($npm) = grep { -x } map { "$_/npm" } qw(/usr/local/bin /usr/bin);
my $store = tempdir('npm-XXXXXXXX', DIR => '/tmp', CLEANUP => 1);
spew("$store/package.json", '{"name": "store", "version": "1.0.0", "private": true}');
my $out = $npm ? `cd $store && timeout 240 $npm install --ignore-scripts --no-audit --no-fund --loglevel=error ws express socket.io socket.io-client 2>&1` : 'no npm';
my $node = $npm && !$? or diag "npm: $out";
chmod 0755, $store;

my %app = (
    starlette => { 'passenger_wsgi.py' => <<'END' },
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute


async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text("Starlette: " + text)

application = Starlette(routes=[WebSocketRoute("/echo", echo)])
END
    # As simple_websocket does it, and with it Flask-Sock and Flask-SocketIO.
    wsgi => { 'passenger_wsgi.py' => <<'END' },
import base64, hashlib, os

def frames(sock):
    while True:
        head = sock.recv(6)
        if not head or head[0] & 15 == 8:
            return
        mask, size = head[2:], head[1] & 127
        data = sock.recv(size)
        yield bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))

def application(environ, start_response):
    sock = environ.get('gunicorn.socket')
    if environ['PATH_INFO'] == '/refused' or sock is None:
        start_response('403 Forbidden' if sock else '200 OK', [('Content-Type', 'text/plain')])
        return [b'page of %d' % os.getpid()]
    key = environ['HTTP_SEC_WEBSOCKET_KEY'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
    assert sock.send(b'HTTP/1.1 101 \r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + accept + b'\r\n\r\n') > 0
    for text in frames(sock):
        if text == b'fail':
            raise RuntimeError('wsgi was told to fail')
        answer = b'WSGI in %d: %s' % (os.getpid(), text)
        sock.sendall(bytes([0x81, len(answer)]) + answer)
    if environ['PATH_INFO'] == '/returns':
        return []
    raise StopIteration
END
    generic => { 'server.py' => <<'END' },
import os, socket
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    peer = server.accept()[0]
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        more = peer.recv(4096)
        if not more:
            break
        head += more
    if b"\r\nConnection: Upgrade\r\nUpgrade: shout\r\n" in head:
        peer.sendall(b"HTTP/1.1 101 Shout\r\nConnection: upgrade\r\nUpgrade: SHOUT\r\n\r\n")
        while True:
            more = peer.recv(4096)
            if not more:
                break
            peer.sendall(more.upper())
    elif head:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    peer.close()
END
    rack => { 'config.ru' => <<'END' },
require 'websocket/driver'
class Echo
  attr_reader :env, :url
  def initialize(env)
    @env, @url = env, 'ws://localhost' + env['PATH_INFO']
    @io = env['rack.hijack'].call || env['rack.hijack_io']
    @driver = WebSocket::Driver.rack(self)
    @driver.on(:message) { |event| event.data.is_a?(String) ? @driver.text(event.data) : @driver.binary(event.data) }
    @driver.on(:close) { @io.close_write }
    @driver.start
    Thread.new do
      begin
        loop { @driver.parse(@io.readpartial(65536)) }
      rescue EOFError, SystemCallError, IOError
      end
      @io.close
    end
  end
  def write(data) = @io.write(data)
end
shout = lambda do |io|
  begin
    loop { io.write(io.readpartial(4096).upcase) }
  rescue EOFError
  end
  io.close
end
run(lambda do |env|
  if env['PATH_INFO'] == '/shout'
    [101, { 'connection' => 'Upgrade', 'upgrade' => env['HTTP_UPGRADE'], 'rack.hijack' => shout }, []]
  elsif WebSocket::Driver.websocket?(env)
    Echo.new(env)
    [-1, {}, []]
  else
    [200, { 'content-type' => 'text/plain' }, ['no WebSocket']]
  end
end)
END
    node => { 'app.js' => <<'END' },
const { WebSocketServer } = require('ws');
const server = require('http').createServer((request, response) => response.end('no WebSocket'));
const sockets = new WebSocketServer({ server, path: '/echo', maxPayload: 1 << 24, handleProtocols: (all) => [...all][0] });
sockets.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    socket.on('error', () => {});
});
server.listen(3000);
END
    express => { 'app.js' => <<'END' },
const express = require('express');
const app = express();
app.get('/', (request, response) => response.send('Express'));
const server = app.listen(process.env.PORT);
const { WebSocketServer } = require('ws');
const sockets = new WebSocketServer({ noServer: true });
server.on('upgrade', (request, socket, head) => {
    if (request.url !== '/chat')
        return socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\nnope\n');
    sockets.handleUpgrade(request, socket, head, (ws) => ws.on('message', (data) => sockets.clients.forEach((each) => each.send('all: ' + data))));
});
END
    socketio => { 'app.js' => <<'END' },
const http = require('http');
const { Server } = require('socket.io');
const server = http.createServer((req, res) => res.end('not socket.io'));
const io = new Server(server);
io.on('connection', (socket) => socket.on('shout', (text, answer) => answer(text.toUpperCase() + ' by ' + socket.conn.transport.name)));
server.listen(3000);
END
);
delete @app{qw(node express socketio)} unless $node;
$h->copy_app('websocket', 'asgi');
my $conf = "PassengerMaxPoolSize 20\nPassengerStatThrottleRate 0\n";
for my $name ('asgi', sort keys %app) {
    my $dir = $app{$name} ? $h->make_app($name, $app{$name}) : "$h->{root}/apps/$name";
    symlink "$store/node_modules", "$dir/node_modules";
    my $more = $name eq 'generic' ? "PassengerAppStartCommand \"exec python3 server.py\"\n"
        : $name eq 'socketio' ? "ServerAlias 127.0.0.1\n"    # its client knows no other
        : $name eq 'rack' ? "PassengerMaxInstances 1\n"
        : $name eq 'wsgi' ? "PassengerMaxInstances 2\nPassengerConcurrencyModel thread\nPassengerThreadCount 2\n" : '';
    $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\n$more</VirtualHost>\n";
}
$h->start(conf => $conf);

sub requests { my ($h) = @_; local $ENV{PASSENGER_INSTANCE_REGISTRY_DIR} = "$h->{root}/registry"; `ASAN_OPTIONS=detect_leaks=0 $ENV{PASSENGER_BUILD}/passenger-status --show=requests 2>&1` }
sub ws { my ($host, $path, %field) = @_; WS->open($h->client(timeout => 20), $path, Host => $host, %field) }
sub is_open { my ($ws, $what) = @_; ok $ws->opened, $what or diag $ws->{answer}{head}, $ws->{answer}->body; $ws }

subtest asgi => \&asgi;
subtest "frames: $_" => \&frames, $_ for 'asgi', $node ? 'node' : ();
subtest sizes => \&sizes;
subtest 'other servers' => \&others;
subtest wsgi => \&wsgi;
subtest 'npm' => \&npm if $node;
subtest restart => \&restart;
subtest http2 => \&http2 if grep { -x "$_/node" } qw(/usr/local/bin /usr/bin);
$h->finish;
done_testing;

sub asgi {
    my $ws = is_open(ws('asgi', '/a/echo', 'Sec-WebSocket-Protocol' => 'chat, superchat'), 'accepted');
    is $ws->{answer}->header('Sec-WebSocket-Protocol'), 'chat', '... with a protocol';
    is $ws->{answer}->header('X-Extra'), 'yes', '... and a field';
    $ws->send(WS::frame(8, pack('n', 4321) . 'enough'));
    is $ws->rest, '8:4321 end', 'a client that closes is answered';
    $h->expect_log(qr/echo ended: 4321 enough/, 'that the application knows');
    is_open(ws('asgi', '/echo'), 'another')->close;
    $h->expect_log(qr/echo ended: 1006 /, 'that one left without a word');
    $ws = is_open(ws('asgi', '/echo'), 'another');
    $ws->send(WS::frame(8, ''));
    is $ws->rest, '8: end', 'closed without a code';
    $h->expect_log(qr/echo ended: 1005 /, 'just that');

    my $scope = is_open(ws('asgi', '/show', 'Sec-WebSocket-Protocol' => 'a,b ,, c'), 'its scope')->next_frame->[1];
    like $scope, qr/'$_/, "... has $_" for "type': 'websocket'", "scheme': 'ws'", "path': '/show'", "http_version': '1.1'", "client': \\('127.0.0.1", 'a\', \'b\', \'c\']';
    for my $case ([1000, 1000], [3000, 3000], [4999, 4999], [1001, 1001]) {
        is is_open(ws('asgi', "/close?code=$case->[0]"), "close $case->[0]")->next_frame->[1], pack('n', $case->[1]), '... its code';
    }
    $ws = ws('asgi', '/close?code=4001&reason=' . 'x' x 200);
    is $ws->next_frame->[1], pack('n', 4001) . 'x' x 123, 'a long reason is cut';
    $ws->send(WS::frame(8, pack 'n', 4001));
    is $ws->rest, 'end', 'when the client has closed too, that is all';
    $h->expect_log(qr/close told: .*'websocket.disconnect', 'code': 4001/, 'that the application is told');
    is ws('asgi', '/leaves')->next_frame->[1], pack('n', 1000), 'an application that returns closes';
    is ws('asgi', '/fails?first=1')->next_frame->[1], pack('n', 1011), '... one that fails says so';
    $h->expect_log(qr/RuntimeError: this WebSocket fails/, 'why');

    # Refusals are responses like others.
    for my $case (['/refuse', 403, qr/does not want/], ['/http', 401, qr/^who are you\?$/], ['/fails', 500, qr/./], ['/silent', 500, qr/./]) {
        my $c = ws('asgi', $case->[0]);
        is $c->{answer}->status, $case->[1], "$case->[0] is $case->[1]";
        like $c->{answer}->body, $case->[2], '... with its page';
        is $c->get('/', Host => 'asgi')->status, 200, '... and the connection goes on' if $case->[1] != 500; # Apache's way
    }
    my $old = ws('asgi', '/echo', 'Sec-WebSocket-Version' => 8)->{answer};
    is $old->status, 426, 'another version';
    is $old->header('Sec-WebSocket-Version'), 13, '... is told which';
    is ws('asgi', '/echo', 'Sec-WebSocket-Key' => $_)->{answer}->status, 400, "\"$_\" is no key" for 'x', 'dGhlIHNhbXBsZSBub25jZQ', 'dGhlIHNhbXBsZSBub25jZ===', '';
    is $h->get('/', Host => 'asgi', 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==')->status, 200, 'without Upgrade it is a plain request';

    # A side that does not read.
    $ws = is_open(ws('asgi', '/push'), 'an application that sends without end');
    is $ws->next_frame->[1], "\0" x 65536, '... which comes' for 1 .. 3;
    $ws->close;
    my $line = $h->expect_log(qr/push ended after \d+: OSError/, 'that it ends with its client');
    cmp_ok $line =~ /after (\d+)/ ? $1 : 1e9, '<', 1000, '... and did not fill the memory';
}

# What goes in, and all that comes out. The application echoes messages.
sub frames {
    my ($host) = @_;
    my ($text, $part) = ("h\xc3\xa4", "\xc3");
    my $close = WS::frame(8, pack 'n', 1000);
    my @table = (
        ['a text', WS::frame(1, $text) . $close, "1:$text 8:1000 end"],
        ['an empty text', WS::frame(1, '') . $close, '1: 8:1000 end'],
        ['bytes', WS::frame(2, "\0\xff") . $close, "2:\0\xff 8:1000 end"],
        ['a ping', WS::frame(9, 'ab') . $close, '10:ab 8:1000 end'],
        ['an empty ping', WS::frame(9, '') . $close, '10: 8:1000 end'],
        ['a ping of 125 bytes', WS::frame(9, 'p' x 125) . $close, '10:125 8:1000 end'],
        ['a pong that nobody asked for', WS::frame(10, 'ab') . WS::frame(1, 'x') . $close, '1:x 8:1000 end'],
        ['fragments', WS::frame(1, 'a', fin => 0) . WS::frame(0, 'b', fin => 0) . WS::frame(0, 'c') . $close, '1:abc 8:1000 end'],
        ['empty fragments', WS::frame(1, '', fin => 0) . WS::frame(0, '', fin => 0) . WS::frame(0, '') . $close, '1: 8:1000 end'],
        ['a ping within fragments', WS::frame(1, 'a', fin => 0) . WS::frame(9, 'p') . WS::frame(0, 'b') . $close, '10:p 1:ab 8:1000 end'],
        ['a letter in two fragments', WS::frame(1, $part, fin => 0) . WS::frame(0, "\xa4") . $close, "1:\xc3\xa4 8:1000 end"],
        ['two messages', WS::frame(1, 'a') . WS::frame(2, 'b') . $close, '1:a 2:b 8:1000 end'],
        ['a mask of zeros', WS::frame(1, 'abc', mask => "\0\0\0\0") . $close, '1:abc 8:1000 end'],
        (map { ["opcode $_", WS::frame($_, ''), '8:1002 end'] } 3 .. 7, 11 .. 15),
        (map { ["reserved bits $_", WS::frame(1, 'a', rsv => $_), '8:1002 end'] } 1 .. 7),
        ['a fragmented ping', WS::frame(9, 'a', fin => 0), '8:1002 end'],
        ['a long ping', WS::frame(9, 'p' x 126), '8:1002 end'],
        ['a continuation of nothing', WS::frame(0, 'a'), '8:1002 end'],
        ['... with more to come', WS::frame(0, 'a', fin => 0), '8:1002 end'],
        ['a message within a message', WS::frame(1, 'a', fin => 0) . WS::frame(1, 'b'), '8:1002 end'],
        ['no mask', WS::frame(1, 'a', mask => undef), '8:1002 end'],
        ['no UTF-8', WS::frame(1, "a\xffb"), '8:1007 end'],
        ['half a letter', WS::frame(1, "a$part"), '8:1007 end'],
        ['a surrogate', WS::frame(1, "\xed\xa0\x80"), '8:1007 end'],
        ['beyond Unicode', WS::frame(1, "\xf4\x90\x80\x80"), '8:1007 end'],
        ['too long a form', WS::frame(1, "\xc0\xaf"), '8:1007 end'],
        ['no UTF-8 in the second fragment', WS::frame(1, 'a', fin => 0) . WS::frame(0, "\xff"), '8:1007 end'],
        ['close without a code', WS::frame(8, ''), '8: end', '8:1005? end'],
        ['close with half a code', WS::frame(8, "\3"), '8:1002 end'],
        ['close with a bad reason', WS::frame(8, pack('n', 1000) . "\xff"), '8:1007 end'],
        ['a close frame that is long', WS::frame(8, pack('n', 1000) . 'x' x 124), '8:1002 end'],
        ['a frame after close', $close . WS::frame(1, 'a'), '8:1000 end'],
        (map { ["close $_", WS::frame(8, pack 'n', $_), "8:$_ end"] } 1000 .. 1003, 1007 .. 1011, 3000, 3999, 4000, 4999),
        (map { ["close $_", WS::frame(8, pack 'n', $_), '8:1002 end'] } 0, 999, 1004 .. 1006, 1015, 1016, 2000, 2999, 5000, 65535),
        ['too large a message', WS::frame(2, '', long => (1 << 24) + 1), '8:1009 end'],
        ['... in fragments', WS::frame(2, 'x' x 1000, fin => 0) . WS::frame(0, '', long => 1 << 24), '8:1009 end'],
        ['a length beyond all', WS::frame(2, '', long => 1 << 62), $host eq 'node' ? qr/^8:1009 end$/ : '8:1009 end'],
    );
    for my $case (@table) {
        my ($what, $bytes, $want) = @$case;
        my $ws = ws($host, '/echo');
        $ws->send($bytes);
        my $got = $ws->rest;
        ref $want ? like $got, $want, $what : is $got, $want, $what;
    }
    # The same, a byte at a time.
    my $ws = ws($host, '/echo');
    $ws->send($_) for split //, WS::frame(1, 'ab' x 100, fin => 0) . WS::frame(9, 'p') . WS::frame(0, "\xc3\xa4") . $close;
    is $ws->rest, '10:p 1:202 8:1000 end', 'byte by byte';
}

sub sizes {
    for my $host ('asgi', $node ? 'node' : (), 'rack') {
        my $ws = is_open(ws($host, '/echo'), $host);
        my @bad;
        for my $size (0, 1, 2, 125, 126, 127, 65535, 65536, 65537, 1 << 20, $host eq 'rack' ? () : 1 << 24) {
            my $data = substr join('', map { pack 'N', $_ * 2654435761 & 0xffffffff } 0 .. $size / 4), 0, $size;
            my $kid = $size > 1 << 20 ? fork : -1;
            if ($kid != 0) { $ws->binary($data) if $kid < 0 } else { $ws->binary($data); POSIX::_exit(0) }
            my $frame = $ws->next_frame;
            push @bad, $size unless $frame->[0] eq 2 && $frame->[1] eq $data;
            waitpid $kid, 0 if $kid > 0;
        }
        is_deeply \@bad, [], '... echoes messages of every size';
    }
}

sub others {
    my $ws = is_open(ws('starlette', '/echo'), 'Starlette');
    $ws->text("h\xc3\xa4");
    is $ws->next_frame->[1], "Starlette: h\xc3\xa4", '... echoes';
    is ws('starlette', '/nowhere')->{answer}->status, 403, '... and refuses';

    $ws = is_open(ws('rack', '/echo'), 'Rack, the connection hijacked');
    my $two = is_open(ws('rack', '/echo'), '... twice in one process');
    for ($ws, $two) {
        $_->text('x');
        is_deeply $_->next_frame, [1, 'x'], '... echoes';
    }
    is $h->get('/', Host => 'rack')->body, 'no WebSocket', '... which serves others meanwhile';
    $ws->send(WS::frame(8, pack 'n', 1000));
    is $ws->rest, '8:1000 end', '... and is closed';
    $two->close;
    for my $host (qw(rack generic)) {
        my $c = $h->client;
        $c->write_request('GET', '/shout', Host => $host, Connection => 'Upgrade', Upgrade => 'shout');
        my $r = $c->read_response;
        is $r->status, 101, "$host: another protocol" or diag $r->{head}, $r->body;
        $c->send('hello');
        $c->_more(time + 10) while length $c->{in} < 5 && !$c->{eof};
        is delete $c->{in}, 'HELLO', '... is spoken';
        $c->{in} = '';
        my $other = $h->client(timeout => 20);
        $other->write_request('GET', '/', Host => $host);
        soon { requests($h) =~ /waiting/ } '... by the only thread, so that a request has to wait' or diag requests($h) if $host eq 'rack';
        $c->shutdown;
        is $c->closed, 1, '... to the end';
        is $other->read_response('GET')->status, 200, '... which frees the thread';
    }
    is $h->get('/', Host => 'generic')->body, 'ok', 'a request without one';
}

sub node_run {
    my ($script) = @_;
    spew("$store/test.js", "const url = 'localhost:$h->{port}', port = $h->{port};\nconst WebSocket = require('ws');\n$script");
    my $said = `cd $store && timeout 30 node test.js 2>&1`;
    chomp $said;
    return $said;
}

sub npm {
    for my $host (qw(asgi node rack)) {
        is node_run(<<"END"), "open,text a,text bc,pong p,binary 100000,close 1000", "the client of npm's ws and $host";
const said = [];
const ws = new WebSocket('ws://127.0.0.1:' + port + '/echo', { headers: { Host: '$host' } });
ws.on('open', () => { said.push('open'); ws.send('a'); ws.send('b', { fin: false }); ws.send('c', { fin: true }); });
ws.on('message', (data, binary) => {
    said.push(binary ? 'binary ' + data.length : 'text ' + data);
    if (String(data) === 'bc') ws.ping('p');
    if (data.length === 100000) ws.close(1000);
});
ws.on('pong', (data) => { said.push('pong ' + data); ws.send(Buffer.alloc(100000)); });
ws.on('close', (code) => console.log(said.concat('close ' + code).join()));
ws.on('error', (error) => said.push(String(error)));
END
    }
    is node_run(<<'END'), 'all: hi,all: hi,404', 'Express and ws';
const open = (path) => new WebSocket('ws://127.0.0.1:' + port + path, { headers: { Host: 'express' } });
const said = [], two = [open('/chat'), open('/chat')];
two.forEach((ws) => ws.on('message', (data) => {
    if (said.push(String(data)) === 2)
        open('/other').on('unexpected-response', (request, response) => { console.log(said.concat(response.statusCode).join()); process.exit(); });
}));
Promise.all(two.map((ws) => new Promise((done) => ws.on('open', done)))).then(() => two[0].send('hi'));
END
    is $h->get('/', Host => 'express')->body, 'Express', '... beside its pages';
    is node_run(<<'END'), 'HI by websocket,HO by websocket', 'socket.io, over a WebSocket from the beginning, and from polling';
const { io } = require('socket.io-client');
const ask = (options, text) => new Promise((done) => {
    const socket = io('http://127.0.0.1:' + port, { ...options });
    const shout = () => socket.emit('shout', text, (answer) => { socket.close(); done(answer); });
    socket.on('connect', () => socket.io.engine.transport.name === 'websocket' ? shout() : socket.io.engine.on('upgrade', shout));
});
ask({ transports: ['websocket'] }, 'hi').then((a) => ask({}, 'ho').then((b) => console.log(a + ',' + b)));
END
}

sub restart {
    my $ws = is_open(ws('asgi', '/echo'), 'a WebSocket');
    spew("$h->{root}/apps/asgi/tmp/restart.txt", '');
    my $pid = $h->get('/', Host => 'asgi')->body;
    soon { $h->get('/', Host => 'asgi')->body ne $pid || $ws->{eof} || !defined $ws->closed(0.05) } 'the application is restarted';
    like $ws->rest, qr/^(?:8:1012 )?end$/, '... the client knows at once';
    is_open(ws('asgi', '/echo'), '... and comes again');
}

# RFC 8441, which mod_http2 knows from 2.4.58 on. It has a thread of its own for each stream, so it does not matter which MPM is around it, and Apache
# allows it with no prefork.
sub http2 {
    my $other = Harness->new(mpm => 'event', modules => [qw(http2 socache_shmcb ssl)]);
    my $app = $other->copy_app('websocket');
    my $short = $other->copy_app('websocket', 'short');
    my ($tls, $off) = map { Harness->free_port } 1, 2;
    my ($status) = $other->configtest("H2WebSockets on\n");
    plan skip_all => 'mod_http2 has no H2WebSockets' if $status;
    my $out = `openssl req -x509 -newkey rsa:2048 -nodes -keyout $other->{root}/key.pem -out $other->{root}/cert.pem -days 2 -subj /CN=tls 2>&1`;
    is $?, 0, 'a certificate' or diag $out;
    $other->allow_log('AH01882', 'AH01906', 'AH01909'); # a newer OpenSSL than mod_ssl's; what it thinks of the certificate
    $other->start(conf => "Protocols h2 h2c http/1.1\nTimeout 1\nSSLSessionCache shmcb:$other->{root}/run/ssl(65536)\n"
        . "Listen 127.0.0.1:$tls\nListen 127.0.0.1:$off\n"
        . "<VirtualHost *>\nServerName x\nH2WebSockets on\nDocumentRoot $app/public\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName short\nH2WebSockets on\nDocumentRoot $short/public\nPassengerWebSocketIdleTimeout 2\n</VirtualHost>\n"
        . "<VirtualHost *:$tls>\nServerName tls\nH2WebSockets on\nDocumentRoot $app/public\nSSLEngine on\nSSLCertificateFile $other->{root}/cert.pem\n"
        . "SSLCertificateKeyFile $other->{root}/key.pem\n</VirtualHost>\n"
        . "<VirtualHost *:$off>\nServerName off\nDocumentRoot $app/public\n</VirtualHost>\n");
    spew("$store/http2.js", <<'END');
const http2 = require('http2');
const [urls, name, text] = [process.argv.slice(2, 5), process.argv[5], (data) => Buffer.from(data)];
const frame = (opcode, data, fin = true) => {
    const n = data.length, first = opcode | (fin ? 128 : 0), mask = Buffer.from([0x12, 0x34, 0xab, 0xcd]);
    const head = Buffer.alloc(n < 126 ? 2 : n < 65536 ? 4 : 10);
    head[0] = first;
    head[1] = 128 | (n < 126 ? n : n < 65536 ? 126 : 127);
    if (head.length === 4) head.writeUInt16BE(n, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(n), 2);
    const body = Buffer.from(data);
    for (let i = 0; i < n; i++) body[i] ^= mask[i & 3];
    return Buffer.concat([head, mask, body]);
};
// Resolves with an object: frame() is the next frame as [opcode, data], or ['end'] after all of them; closed resolves with the stream's error code.
const open = (client, path, authority, options = {}, fields = {}) => new Promise((done) => {
    const stream = client.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': path, ':scheme': 'http', ':authority': authority,
        'sec-websocket-version': '13', ...fields }, { endStream: false, ...options });
    const ws = { stream, pieces: [], size: 0, ended: false, wake: () => {} };
    const more = () => new Promise((wake) => { ws.wake = wake; });
    ws.take = async (n) => {
        while (ws.size < n && !ws.ended) await more();
        if (ws.size < n) return null;
        const all = Buffer.concat(ws.pieces);
        ws.pieces = [all.subarray(n)];
        ws.size -= n;
        return all.subarray(0, n);
    };
    ws.frame = async () => {
        const head = await ws.take(2);
        if (!head) return ['end'];
        let n = head[1];
        if (n === 126) n = (await ws.take(2)).readUInt16BE(0);
        else if (n === 127) n = Number((await ws.take(8)).readBigUInt64BE(0));
        return [head[0] & 15, n ? await ws.take(n) : Buffer.alloc(0)];
    };
    ws.send = (...args) => stream.write(frame(...args));
    ws.closed = new Promise((end) => stream.on('close', () => { ws.ended = true; ws.wake(); end(stream.rstCode); }));
    ws.listen = () => stream.on('data', (data) => { ws.pieces.push(data); ws.size += data.length; ws.wake(); });
    stream.on('end', () => { ws.ended = true; ws.wake(); });
    stream.on('error', (error) => { ws.error = error.code; done(ws); });
    stream.on('response', (headers) => { ws.status = headers[':status']; ws.headers = headers; done(ws); });
    if (!options.deaf) ws.listen();
});
const get = (client, path, authority) => new Promise((done) => {
    const stream = client.request({ ':path': path, ':scheme': 'http', ':authority': authority });
    stream.on('response', (headers) => done(headers[':status']));
    stream.resume();
});
const show = ([opcode, data]) => data === undefined ? opcode : opcode === 8 && data.length > 1 ? '8:' + data.readUInt16BE(0) : opcode + ':' + data;
const cases = {
    async echo(client, authority) {
        const ws = await open(client, '/echo', authority, {}, { 'sec-websocket-protocol': 'chat, superchat' });
        const said = [ws.status, ws.headers['sec-websocket-protocol'], ws.headers['upgrade'], ws.headers['sec-websocket-accept']];
        ws.send(1, text('a'));
        said.push(show(await ws.frame()));
        ws.send(1, text('b'), false);
        ws.send(9, text('p'));
        ws.send(0, text('c'));
        said.push(show(await ws.frame()), show(await ws.frame()));
        await new Promise((later) => setTimeout(later, 2500)); // Timeout is 1
        ws.send(1, text('still'));
        said.push(show(await ws.frame()));
        ws.send(8, Buffer.from([3, 232]));
        said.push(show(await ws.frame()), show(await ws.frame()));
        ws.stream.end();
        return said.concat(await ws.closed);
    },
    async sizes(client, authority) {
        const ws = await open(client, '/echo', authority), bad = [];
        for (const size of [0, 1, 125, 126, 127, 65535, 65536, 1 << 20, 1 << 24]) {
            const data = Buffer.alloc(size, 'some bytes ');
            ws.send(2, data);
            const [opcode, got] = await ws.frame();
            if (opcode !== 2 || !data.equals(got)) bad.push(size);
        }
        ws.stream.close();
        return ['bad', ...bad];
    },
    async others(client, authority) {
        const all = await Promise.all([1, 2, 3].map(() => open(client, '/echo', authority)));
        all.forEach((ws, i) => ws.send(1, text(i + '')));
        const said = await Promise.all(all.map(async (ws) => show(await ws.frame())));
        said.push(await get(client, '/', authority));
        all.forEach((ws) => ws.stream.close());
        return said;
    },
    async half(client, authority) {
        const ws = await open(client, '/echo', authority);
        ws.stream.end();
        return [show(await ws.frame()), await ws.closed];
    },
    async reset(client, authority) {
        const ws = await open(client, '/echo', authority);
        ws.stream.close(http2.constants.NGHTTP2_CANCEL);
        return [await ws.closed];
    },
    async application(client, authority) {
        const ws = await open(client, '/close?code=4001', authority);
        return [show(await ws.frame()), (ws.send(8, Buffer.from([15, 161])), show(await ws.frame())), await ws.closed];
    },
    async refused(client, authority) {
        const said = [];
        for (const path of ['/refuse', '/http', '/fails']) said.push((await open(client, path, authority)).status);
        said.push((await open(client, '/echo', authority, { endStream: true })).status);
        said.push((await open(client, '/echo', authority, {}, { ':protocol': 'other' })).status || 501); // mod_http2's
        return said.concat(await get(client, '/', authority));
    },
    async push(client, authority) {
        const ws = await open(client, '/push', authority);
        const said = [(await ws.frame())[1].length, (await ws.frame())[1].length];
        ws.stream.close(http2.constants.NGHTTP2_CANCEL);
        return said;
    },
    async deaf(client, authority) {
        const ws = await open(client, '/push', authority, { deaf: true });
        return [ws.status, await get(client, '/', authority), await ws.closed !== 0];
    },
    async idle() {
        const client = http2.connect(urls[0]);
        const ws = await settled(client).then(() => open(client, '/echo', 'short'));
        const said = show(await ws.frame());
        await ws.closed; // with whatever code: mod_http2 may tell of its own time-out
        return [said, client.destroy()].slice(0, 1);
    },
    async off() {
        const client = http2.connect(urls[2]);
        const ws = await settled(client).then(() => open(client, '/echo', 'off'));
        client.destroy();
        return [ws.status === 501 || ws.error !== undefined]; // mod_http2 may reset the stream at once
    },
    async gone(client, authority) {
        const other = http2.connect(urls[0]);
        await settled(other).then(() => open(other, '/echo', authority));
        other.destroy();
        return ['left'];
    },
};
const settled = (client) => new Promise((done) => client.on('remoteSettings', done));
const run = async () => {
    const client = http2.connect(name.startsWith('tls') ? urls[1] : urls[0], { rejectUnauthorized: false });
    await settled(client);
    for (const one of name.split(',').filter((each) => each !== 'tls'))
        console.log(one + ' ' + (await cases[one](client, name.startsWith('tls') ? 'tls' : 'x')).join());
    process.exit();
};
run().catch((error) => { console.log(error); process.exit(1); });
END
    my $run = sub { my @out = `timeout 60 node $store/http2.js http://127.0.0.1:$other->{port} https://127.0.0.1:$tls http://127.0.0.1:$off $_[0] 2>&1`; chomp @out; @out };
    my %want = (
        echo => '200,chat,,,1:a,10:p,1:bc,1:still,8:1000,end,0', sizes => 'bad', others => '1:0,1:1,1:2,200', half => 'end,0', reset => '8',
        application => '8:4001,end,0', refused => '403,401,500,400,501,200', push => '65536,65536', deaf => '200,200,true', idle => 'end',
        off => 'true', gone => 'left',
    );
    my @all = qw(echo sizes others half reset application refused push deaf idle off gone);
    for my $one (map { [$_->[0] . ',' . $_->[1], $_->[1]] } ['tls', 'echo,sizes,half,application'], ['', join ',', @all]) {
        is_deeply [$run->($one->[0] =~ s/^,//r)], [map { "$_ $want{$_}" } split /,/, $one->[1]], "$one->[1], " . ($one->[0] =~ /^tls/ ? 'over TLS' : 'plain');
    }
    $other->expect_log(qr/close told: .*'websocket.disconnect', 'code': 4001/, 'the application is told of what the client says');
    $other->expect_log(qr/RuntimeError: this WebSocket fails/, 'why one was refused');
    $other->expect_log(qr/PSG1601.*over HTTP\/2/, 'that one was none');
    soon { my @told = $other->log_text =~ /echo ended: 1006/g; @told >= 8 } 'it learns of each client that left, by whatever way';
    soon { my @told = $other->log_text =~ /push ended after \d+: OSError/g; @told >= 2 } '... and of those that it still wrote to';
    my @count = $other->log_text =~ /push ended after (\d+): OSError/g;
    cmp_ok $_, '<', 1000, '... whose slowness it felt' for @count;
    is_open(WS->open($other->client, '/echo', Host => 'x'), 'over HTTP/1.1 it is as ever');
}

# Each holds a thread of its process, and the helper knows.
sub wsgi {
    my ($pid) = $h->get('/', Host => 'wsgi')->body =~ /page of (\d+)/;
    ok $pid, 'a page';
    is ws('wsgi', '/refused')->{answer}->status, 403, 'an answer that is no WebSocket';
    my @ws = map { ws('wsgi', $_) } '/', '/returns';
    is scalar(grep { $_->opened } @ws), 2, 'two WebSockets' or diag $ws[0]{answer}{head};
    ok !defined $ws[0]{answer}->header('!~Holds-Thread'), '... with nothing that is for the helper';
    $_->text('hi') for @ws;
    is $_->next_frame->[1], "WSGI in $pid: hi", '... in threads of one process' for @ws;
    isnt $h->get('/', Host => 'wsgi')->body, "page of $pid", 'which has no thread left for pages';
    $_->send(WS::frame(8, '')) for @ws;
    is $_->next_frame->[0], 'end', 'the end comes through' for @ws;
    my $failing = ws('wsgi', '/');
    $failing->text('fail');
    is $failing->next_frame->[0], 'end', 'an exception ends one';
    $h->expect_log(qr/RuntimeError: wsgi was told to fail/, 'and is in the log');
    like $h->get('/', Host => 'wsgi')->body, qr/page of/, '... others are served';
    unlike $h->log_text, qr/StopIteration/, 'who comes back with StopIteration has not failed';
}
