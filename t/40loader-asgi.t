# ASGI applications in the Python loader: this test is its core (t/lib/Loader.pm). PYTHON names another interpreter.
use strict;
use warnings;
use Cwd qw(abs_path);
use lib 't/lib';
use Socket qw(SHUT_WR);
use Test::More;
use Time::HiRes qw(time);
use Loader;

my $python = $ENV{PYTHON} // '/usr/bin/python3';
plan skip_all => "$python is not there" unless -x $python;
my $loader = abs_path('helper/loaders/wsgi-loader.py');
my $shapes = abs_path('t/apps/asgi-shapes');
Loader::use($python, $loader, $shapes, 'passenger_wsgi.py');
my @asgi = (concurrency => 0);
my $files = 0;
sub flag { "$top/flag" . ++$files }
sub touch { open my $fh, '>', $_[0] or die "$_[0]: $!"; close $fh }

# What is ASGI, and what is WSGI. `wsgi` or `asgi` must answer "right".

my $wsgi = "s('200 OK', [('Content-Type', 'text/plain')])\n    return [b'right']\n";
my $asgi = "await s({'type': 'http.response.start', 'status': 200})\n    await s({'type': 'http.response.body', 'body': b'right'})\n";
my $method = $asgi =~ s/^    /        /mgr;
my %callable = (
    'wsgi: a function' => "def application(e, s):\n    $wsgi",
    'wsgi: another name' => "def app(e, s):\n    $wsgi",
    'wsgi: any arguments' => "def application(*a, **k):\n    s = a[1]\n    $wsgi",
    'wsgi: a third that is optional' => "def application(e, s, more=None):\n    $wsgi",
    'wsgi: a method' => "class A:\n  def m(self, e, s):\n    $wsgi\napplication = A().m\n",
    'wsgi: an instance' => "class A:\n  def __call__(self, e, s):\n    $wsgi\napplication = A()\n",
    'wsgi: a class' => "class application:\n  def __init__(self, e, s):\n    self.s = s\n  def __iter__(self):\n    s = self.s\n    s('200 OK', [])\n    yield b'right'\n",
    'wsgi: a partial' => "import functools\ndef f(x, e, s):\n    $wsgi\napplication = functools.partial(f, 1)\n",
    'wsgi: a wrapper of two' => "import functools\ndef f(e, s):\n    $wsgi\n\@functools.wraps(f)\ndef application(*a, **k):\n    return f(*a, **k)\n",
    'wsgi: names of ASGI' => "def application(scope, receive):\n    s = receive\n    $wsgi",
    'wsgi: application before app' => "def application(e, s):\n    $wsgi\nasync def app(scope, receive, send): pass\n",
    'asgi: a coroutine function' => "async def application(x, r, s):\n    $asgi",
    'asgi: another name' => "async def app(x, r, s):\n    $asgi",
    'asgi: an instance' => "class A:\n  async def __call__(self, x, r, s):\n    $asgi\napplication = A()\n",
    'asgi: a method' => "class A:\n  async def m(self, x, r, s):\n    $asgi\napplication = A().m\n",
    'asgi: a partial' => "import functools\nasync def f(y, x, r, s):\n    $asgi\napplication = functools.partial(f, 1)\n",
    'asgi: a function of three' => "async def f(x, r, s):\n    $asgi\ndef application(scope, receive, send):\n    return f(scope, receive, send)\n",
    'asgi: a class of three' => "class application:\n  def __init__(self, x, r, s):\n    self.s = s\n  def __await__(self):\n    return self.go(self.s).__await__()\n"
        . "  async def go(self, s):\n    $asgi",
    'asgi: a wrapper' => "import functools\nasync def f(x, r, s):\n    $asgi\n\@functools.wraps(f)\ndef application(*a, **k):\n    return f(*a, **k)\n",
    'asgi: version 2, a class' => "class application:\n  def __init__(self, scope):\n    assert scope['asgi']['version'] == '2.0'\n  async def __call__(self, r, s):\n    $asgi",
    'asgi: version 2, a function' => "def application(scope):\n  async def answer(r, s):\n    $asgi  return answer\n",
);
for my $name (sort keys %callable) {
    $app = start(app_with($callable{$name}), $name =~ /^asgi/ ? @asgi : ());
    undef $link;
    is ask('/')->{body}, 'right', $name or diag $app->{log};
    is stop($app), 0, '... ends well';
    unlike $app->{log}, qr/Traceback|exception/, '... and quietly';
}

# What "path" is for frameworks that know it otherwise than the specification: class of the application, version of its package, path.
for my $case ([qw(starlette.applications 0.32.0.post1 /x)], [qw(starlette.applications 0.33.0 /below/x)], [qw(starlette.applications 1.0 /below/x)],
    [qw(starlette.routing 0.26.1 /x)], [qw(falcon.asgi.app 4.0 /x)], [qw(django.core.handlers.asgi 3.2 /below/x)]) {
    my ($module, $version, $path) = @$case;
    my ($package) = $module =~ /^(\w+)/;
    $app = start(app_with(<<"END"), @asgi);
import sys, types
sys.modules['$package'] = types.ModuleType('$package')
sys.modules['$package'].__version__ = '$version'
class Framework:
    async def __call__(self, scope, receive, s):
        if scope['type'] != 'http':
            raise ValueError
        await s({'type': 'http.response.start', 'status': 200, 'headers': []})
        await s({'type': 'http.response.body', 'body': (scope['path'] + ' ' + scope['root_path'] + ' ' + scope['raw_path'].decode()).encode()})
Framework.__module__ = '$module'
class Application(Framework):
    pass
class Middleware:
    def __init__(self, app):
        self.app = app
    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)
application = Middleware(Middleware(Application()))
END
    undef $link;
    is ask('/below/x', SCRIPT_NAME => '/below', PATH_INFO => '/x')->{body}, "$path /below /below/x", "the path for $module $version";
    stop($app);
}

# Engine.IO, and with it Socket.IO, in front of an application that does as the specification says.
$app = start(app_with(<<"END"), @asgi);
async def tell(scope, receive, s):
    if scope['type'] != 'http':
        raise ValueError
    await s({'type': 'http.response.start', 'status': 200, 'headers': []})
    await s({'type': 'http.response.body', 'body': scope['path'].encode()})
class ASGIApp:
    def __init__(self, other):
        self.engineio_path = '/socket.io/'
        self.other_asgi_app = other
    async def __call__(self, scope, receive, send):
        await tell(scope, receive, send)
ASGIApp.__module__ = 'engineio.async_drivers.asgi'
application = ASGIApp(tell)
END
undef $link;
is ask("/below$_->[0]", SCRIPT_NAME => '/below', PATH_INFO => $_->[0])->{body}, $_->[1], "the path for Engine.IO: $_->[0]"
    for ['/socket.io/', '/socket.io/'], ['/socket.io', '/socket.io'], ['/x', '/below/x'];
stop($app);

# The scope

$app = start(@asgi);
undef $link;
my $r = ask('/below/caf%C3%A9%2F/show?a=%20b', SCRIPT_NAME => '/below', PATH_INFO => "/caf\xc3\xa9//show", HTTP_X_EMPTY => '', HTTP_X_LATIN => "caf\xe9",
    CONTENT_TYPE => 'text/x', REMOTE_ADDR => '::1', REMOTE_PORT => 4711, SERVER_PORT => 8080, HTTP_X_LONG => 'l' x 131072);
is $r->{status}, 200, 'a scope';
for my $line ("type='http'", "method='GET'", "path='/below/caf\xc3\xa9//show'", "raw_path=b'/below/caf%C3%A9%2F/show'", "root_path='/below'", "query_string=b'a=%20b'",
    "http_version='1.1'", "scheme='http'", "client=('::1', 4711)", "server=('localhost', 8080)", "asgi={'version': '3.0', 'spec_version': '2.4'}", q(extensions={'http.response.early_hint': {}}),
    'header host: localhost', 'header x-empty: ', "header x-latin: caf\xc3\xa9", 'header content-type: text/x') {
    ok index("\n$r->{body}", "\n$line\n") >= 0, "the scope has $line" or diag $r->{body};
}
like $r->{body}, qr/^header x-long: (?:l{4096}){32}$/m, 'a header of 128 KiB';
like ask('/show', HTTPS => 'on')->{body}, qr/^scheme='https'$/m, 'https';
like ask('/show', REQUEST_METHOD => 'purge')->{body}, qr/^method='PURGE'$/m, 'a method of its own';
like ask('/show', SERVER_PROTOCOL => 'HTTP/2.0')->{body}, qr/^http_version='2'$/m, 'HTTP/2';
like ask('/show', REMOTE_ADDR => undef)->{body}, qr/^client=None$/m, 'no client';
$r = ask('/show', PATH_INFO => "/\xff/show", REQUEST_URI => undef);
like $r->{body}, qr{^path='/\xef\xbf\xbd/show'$}m, 'a path that is not UTF-8';
unlike $r->{body}, qr/raw_path/, 'without the request line there is no raw_path';
like ask('/show', body => 'x')->{body}, qr/^header content-length: 1$/m, 'the length of a body';
$r = ask('/facts')->{body};
like $r, qr/^main=\[\]$/m, '__main__ is clean';
like $r, qr/^asgi_on_path=False$/m, 'our folder is not on the path';
like $r, qr/^events=\['lifespan\.startup'\]$/m, 'the lifespan began once';
like $r, qr/^loop=True$/m, 'on the same loop';
like $r, qr/^state=True$/m, 'its state is in the scope';
is ask('/state')->{body}, '1 1', 'what is in the state is shared';
is ask('/state')->{body}, '2 1', '... the state is not';

# Responses

is_answer(ask('/hello'), 200, "hello world\n", 'length', 'one event with all of the body');
is_answer(ask('/pieces'), 200, 'one two', 'chunked', 'several');
is_answer(ask('/hello', REQUEST_METHOD => 'HEAD'), 200, '', 'length', 'HEAD');
is_answer(ask('/pieces', REQUEST_METHOD => 'HEAD'), 200, '', 'none', 'HEAD of unknown length');
is_answer(ask("/status?$_"), $_, '', 'none', "$_ has no body") for 204, 304;
is_answer(ask('/status?299'), 299, 'body', 'length', 'a status without a name');
is ask('/status?404')->{reason}, 'Not Found', 'one with a name';
$r = ask('/headers?good');
is_answer($r, 200, 'fine', 'length', 'headers of every good kind');
like $r->{head}, qr/^x-a: caf\xe9\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 4\r$/m, '... keep order, letters and bytes; those of one hop are dropped';
is_answer(ask('/headers?none'), 200, 'fine', 'length', 'no headers at all');
is_answer(ask("/big?$_"), 200, 'x' x $_, 'length', "a body of $_ bytes") for 0, 1, 32767, 32769, 1_000_000, 20_000_000;
is_ahead('/big?1000000', 'the system takes much of it before anybody reads');
is_answer(ask('/declared?4,ab,cd'), 200, 'abcd', 'length', 'a declared length that is right');
is_answer(ask('/declared?3,ab,cd,ef'), 200, 'abc', 'length', 'too much is cut');
ok wait_log($app, qr/longer than its Content-Length of 3: cut/), '... and logged';
is_answer(ask('/hello'), 200, "hello world\n", 'length', '... and the connection stays');
$r = ask('/declared?9,ab,cd');
ok !$r->{whole} && $r->{closed} && $r->{body} eq 'abcd', 'too little ends with the connection';
ok wait_log($app, qr/5 bytes shorter than its Content-Length of 9/), '... and is logged';

# Faults of the application

for my $how (qw(call exit started cancelled)) {
    forget($app);
    $r = ask("/fails?$how");
    is_answer($r, 500, "Internal Server Error\n", 'length', "an exception before the first byte: $how");
    ok wait_log($app, $how eq 'exit' ? qr/^SystemExit/m : $how eq 'cancelled' ? qr/CancelledError/ : qr/^ValueError: secret detail/m), '... is logged';
    like $app->{log}, qr/an exception while serving 'GET  \/fails':\nTraceback/, '... with what was asked for';
    unlike $app->{log}, qr{loaders/}, '... and nothing of ours';
}
is_answer(ask('/fails?call', REQUEST_METHOD => 'HEAD'), 500, '', 'length', 'the error page for HEAD');
forget($app);
$r = ask('/fails?middle');
ok !$r->{whole} && $r->{closed} && $r->{body} eq 'begun', 'an exception in the middle cuts the response';
ok wait_log($app, qr/^ValueError: secret detail/m), '... and is logged';
forget($app);
is_answer(ask('/fails?after'), 200, 'whole', 'length', 'an exception after the response spoils nothing');
ok wait_log($app, qr/an exception after the response.*ValueError: secret detail/s), '... and is logged';
is_answer(ask('/hello'), 200, "hello world\n", 'length', '... and the connection stays');
is ask("/wrong?$_")->{status}, 500, "a wrong order: $_" for qw(body-first twice type str start-only none);
$r = ask('/wrong?unfinished');
ok !$r->{whole} && $r->{closed} && $r->{body} eq 'begun', 'a response that the application leaves unfinished is cut';
is ask("/headers?$_")->{status}, 500, "a wrong header: $_" for qw(newline text name empty three int nul);
is ask("/status?$_")->{status}, 500, "a wrong status: $_" for 100, 99, 2000;
forget($app);
is_answer(ask('/more'), 200, 'whole', 'length', 'events after the end');
is_answer(ask('/hello'), 200, "hello world\n", 'length', '... do not reach the next response');
{
    forget($app);
    my $l = link_to($app);
    put($l, pairs('/endless', REQUEST_METHOD => 'HEAD'));
    is_answer(answer($l, 'HEAD'), 200, '', 'none', 'HEAD: an endless body');
    ok wait_log($app, qr/endless ended early/), '... ends';
    put($l, pairs('/hello'));
    is_answer(answer($l), 200, "hello world\n", 'length', '... and the connection stays');
}

# Request bodies

my $large = join '', map { sprintf "%09d\n", $_ } 1 .. 500_000;
is_answer(ask('/echo'), 200, '', 'length', 'no body');
is_answer(ask('/echo', body => 'abc'), 200, 'abc', 'length', 'a small body');
is_answer(ask('/echo', body => $large), 200, $large, 'length', 'a large body');
is_answer(ask('/hello', body => 'x' x 300_000), 200, "hello world\n", 'length', 'an unread body');
is_answer(ask('/hello'), 200, "hello world\n", 'length', '... is skipped, and the connection stays');
{
    my $l = link_to($app);
    put($l, pairs('/echo', CONTENT_LENGTH => 6));
    put($l, $_) for qw(ab cd ef);
    is answer($l)->{body}, 'abcdef', 'a body that comes in parts';
    my $head = pairs('/echo', CONTENT_LENGTH => 4);
    put($l, substr $head, 0, 3);
    put($l, substr $head, 3, 50);
    put($l, substr($head, 53) . 'body' . pairs('/hello'));
    my $text = '';
    while ($text !~ /hello world\n/) { sysread($l, $text, 4096, length $text) or last }
    like $text, qr{\r\n\r\nbodyHTTP/1\.1 200 OK\r\n.*hello world\n$}s, 'a head in parts, and the next request right behind';
    my $c = link_to($app);
    put($c, pairs('/echo', HTTP_TRANSFER_ENCODING => 'chunked', REQUEST_METHOD => 'POST') . 'until ');
    put($c, 'the end');
    shutdown $c, SHUT_WR;
    is_answer(answer($c), 200, 'until the end', 'length', 'a body of unknown length ends when the core ends it');
    ok closed($c), '... and so does the connection';
    $c = link_to($app);
    put($c, pairs('/hello', CONTENT_LENGTH => 5 << 20));
    is answer($c)->{status}, 200, 'a body of 5 MiB that nobody wants';
    ok closed($c), '... is not read';

    my $go = flag();
    $c = link_to($app);
    put($c, pairs("/sizes?$go", CONTENT_LENGTH => 32 << 20));
    $c->blocking(0);
    my ($sent, $block) = (0, 'z' x 65536);
    my $idle = time;
    while (time - $idle < 0.5) {
        my $n = syswrite $c, $block;
        if ($n) { $sent += $n; $idle = time } else { select undef, undef, undef, 0.01 }
    }
    cmp_ok $sent, '<', 2 << 20, 'a body that is not read stays with the core';
    $c->blocking(1);
    touch($go);
    put($c, substr($block, 0, (32 << 20) - $sent > 65536 ? 65536 : (32 << 20) - $sent)) && ($sent += (32 << 20) - $sent > 65536 ? 65536 : (32 << 20) - $sent)
        while $sent < 32 << 20;
    $r = answer($c);
    like $r->{body}, qr/^33554432 \d+$/, '... and comes when it is asked for';
    cmp_ok((split / /, $r->{body})[1], '<=', 1 << 18, '... in small parts');
}

# Clients that leave

{
    forget($app);
    my $c = link_to($app);
    put($c, pairs('/again'));
    ok wait_log($app, qr/waiting for the end/), 'receive() waits after the body';
    close $c;
    ok wait_log($app, qr/told of http\.disconnect\nsend\(\) raised an OSError/), '... until the client leaves, and then send() fails';
    forget($app);
    $c = link_to($app);
    put($c, pairs('/again', HTTP_TRANSFER_ENCODING => 'chunked') . 'x');
    shutdown $c, SHUT_WR;
    ok wait_log($app, qr/waiting for the end/), '... also where the body ended with its half of the connection';
    close $c;
    ok wait_log($app, qr/told of http\.disconnect/), '... it is told';
    $c = link_to($app);
    put($c, pairs('/cut', CONTENT_LENGTH => 10) . 'half');
    close $c;
    ok wait_log($app, qr/seen: the body was cut/), 'a body that ends early is not taken for whole';
    forget($app);
    $c = link_to($app);
    put($c, pairs('/endless'));
    sysread $c, my $some, 20000;
    close $c;
    ok wait_log($app, qr/endless ended/), 'an endless response ends with its reader';
    $c = link_to($app);
    put($c, pairs('/endless'));
    sysread $c, $some, 20000;
    is_answer(ask('/hello'), 200, "hello world\n", 'length', 'one that is not read waits');
    forget($app);
    close $c;
    ok wait_log($app, qr/endless ended early/), '... and had not sent much';
    is_answer(ask('/hello'), 200, "hello world\n", 'length', 'the others go on');
    unlike $app->{log}, qr/Traceback|exception|never retrieved/, 'nobody who leaves is news';
}

# Streaming

{
    my ($go, $c, $text) = (flag(), link_to($app), '');
    my $until = sub { while ($text !~ $_[0]) { sysread($c, $text, 4096, length $text) or last } $text };
    put($c, pairs("/flushed?$go"));
    like $until->(qr/\r\n\r\n$/), qr/chunked\r\n\r\n$/, 'an empty block sends the head';
    touch("$go.first");
    like $until->(qr/first\r\n$/), qr/\r\n\r\n5\r\nfirst\r\n$/, 'a block comes before the next is made';
    touch("$go.second");
    like $until->(qr/\n0\r\n\r\n$/), qr/6\r\nsecond\r\n0\r\n\r\n$/, '... and the next';
}

# Many at once

{
    my @links = map { link_to($app) } 1 .. 100;
    my $begin = time;
    put($_, pairs('/sleeps?1')) for @links;
    is scalar(grep { answer($_)->{body} eq 'slept' } @links), 100, '100 requests that take a second';
    cmp_ok time - $begin, '<', 1.5, '... take no more together';
    put($_, pairs('/hello')) for reverse @links;
    is scalar(grep { answer($_)->{body} eq "hello world\n" } @links), 100, '... on connections that are kept';
    close $_ for @links;
    ok eventually { my @fds = glob "/proc/$app->{pid}/fd/*"; @fds < 15 }, '... and closed with their peers';
}

# After the response

{
    my $go = flag();
    forget($app);
    is_answer(ask("/after?$go"), 200, 'done', 'length', 'a response before the application has finished');
    is_answer(ask('/hello'), 200, "hello world\n", 'length', '... leaves the connection for the next');
    touch($go);
    ok wait_log($app, qr/finished in the background after http\.disconnect/), '... while the application goes on';
}

# WebSockets

forget($app);
is_answer(ask('/hello', HTTP_SEC_WEBSOCKET_KEY => 'x', HTTP_SEC_WEBSOCKET_VERSION => 13), 200, "hello world\n", 'length', 'without Upgrade it is a request');
$r = ask('/hello', HTTP_UPGRADE => 'websocket', HTTP_SEC_WEBSOCKET_KEY => 'x', HTTP_SEC_WEBSOCKET_VERSION => 13);
is $r->{status}, 400, 'a handshake that is none is refused';
is_answer(ask('/hello'), 200, "hello world\n", 'length', '... the connection stays');

# Garbage

for my $case (["GET / HTTP/1.1\r\n\r\n", 'HTTP'], ["\0\0\0\0", 'no pairs'], [pack('N', 4) . 'abcd', 'no NUL'], [pack('N', 6) . "a\0b\0c\0", 'an odd count'],
    [pack('N', 4) . "a\0b\0", 'no method'], [pairs('/hello', CONTENT_LENGTH => 'x1'), 'a bad length'], [pack('N', 100) . 'a', 'an early end', 1]) {
    forget($app);
    my $l = link_to($app);
    put($l, $case->[0]);
    shutdown $l, SHUT_WR if $case->[2];
    ok closed($l), "garbage ends the connection: $case->[1]";
    ok wait_log($app, qr/\Awsgi-loader: dropped a connection: .*\n\z/), '... with one line';
}

# Children and signals

is_answer(ask("/forks?$_"), 200, "hello world\n", 'length', "os.fork(): $_") for qw(return raise exit);
{
    forget($app);
    my ($go, $l) = (flag(), link_to($app));
    put($l, pairs("/waits?$go"));
    ok wait_log($app, qr/waiting for a file/), 'a request in flight';
    eventually { open my $fh, '<', "/proc/$app->{pid}/stat"; <$fh> =~ /\) S/ };
    kill QUIT => $app->{pid};
    ok wait_log($app, qr{wsgi-loader: 'GET  /waits' for [\d.]+ s \(most recent call last\):\n(?:  File "\S+passenger_wsgi\.py", line \d+ in \w+\n){2,}}),
        'SIGQUIT says where it is' or diag $app->{log};
    like $app->{log}, qr/most recent call first\):\n  File /, '... beside the stack of the thread';
    touch($go);
    is answer($l)->{body}, 'finished', '... and ends nothing';
    my $fifo = fifo();
    put($l, pairs("/blocks?$fifo"));
    ok wait_log($app, qr/about to block/), 'a request that blocks the loop';
    eventually { open my $fh, '<', "/proc/$app->{pid}/stat"; <$fh> =~ /\) S/ };
    forget($app);
    kill QUIT => $app->{pid};
    ok wait_log($app, qr/line \d+ in blocks\n/), '... shows where';
    let_go($fifo);
    is answer($l)->{body}, "hello world\n", '... and goes on';
}

# The end

forget($app);
is stop($app), 0, 'at the end of standard input it exits 0' or diag $app->{log};
like $app->{log}, qr/^lifespan\.shutdown\natexit ran\n\z/m, 'after the lifespan and the atexit handlers';
for my $how (qw(TERM EOF)) {
    $app = start(@asgi);
    undef $link;
    my ($go, $late) = (flag(), flag());
    my ($l, $other) = (link_to($app), link_to($app));
    ask("/after?$late");
    put($l, pairs("/waits?$go"));
    ok wait_log($app, qr/waiting for a file/), "$how with a request in flight";
    put($other, pairs('/hello'));
    if ($how eq 'TERM') { kill TERM => $app->{pid} } else { close $app->{in} }
    is answer($other)->{body}, "hello world\n", '... and one that was sent before';
    touch($go);
    $r = answer($l);
    is $r->{body}, 'finished', 'the request is finished';
    unlike $app->{log}, qr/lifespan\.shutdown/, '... before the lifespan ends';
    touch($late);
    is wait_exit($app), 0, 'then it exits 0';
    like $app->{log}, qr/finished in the background.*\nlifespan\.shutdown\natexit ran\n\z/, '... in this order';
}
{
    $app = start(@asgi);
    my $l = link_to($app);
    put($l, pairs('/waits?' . flag()));
    wait_log($app, qr/waiting for a file/);
    kill TERM => $app->{pid};
    eventually { open my $fh, '<', "/proc/$app->{pid}/status"; my ($mask) = join('', <$fh>) =~ /SigCgt:\s*(\w+)/; !(hex($mask) & (1 << 14)) };
    kill TERM => $app->{pid};
    is wait_exit($app) & 127, 15, 'a second SIGTERM ends it at once';
}
$app = start(keys => ['concurrency_model: thread', 'thread_count: 7'], concurrency => 7);
undef $link;
is_answer(ask('/hello'), 200, "hello world\n", 'length', 'a count of threads is a limit of requests');
stop($app);

# Lifespans

my $serve = "    if x['type'] == 'http':\n        await s({'type': 'http.response.start', 'status': 200})\n        await s({'type': 'http.response.body', 'body': b'right'})\n        return\n";
my %lifespan = (
    'raises at once' => "    raise ValueError('not a lifespan')\n",
    'returns at once' => "    return\n",
    'answers as if for HTTP' => "    await r()\n    await s({'type': 'http.response.start', 'status': 200})\n",
    'leaves after the start' => "    await r()\n    await s({'type': 'lifespan.startup.complete'})\n",
    'starts no reply' => "    await r()\n",
);
for my $name (sort keys %lifespan) {
    $app = start(app_with("async def application(x, r, s):\n$serve$lifespan{$name}"), @asgi);
    undef $link;
    is ask('/')->{body}, 'right', "a lifespan that $name: it serves";
    is stop($app), 0, '... and ends';
    unlike $app->{log}, qr/Traceback/, '... quietly';
}
$app = start(app_with("async def application(x, r, s):\n$serve    await r()\n    raise ValueError('while starting')\n"), @asgi);
undef $link;
is ask('/')->{body}, 'right', 'one that raises when it is asked to start: it serves';
like $app->{log}, qr/an exception in the lifespan.*served all the same:\nTraceback.*ValueError: while starting/s, '... and the log has why';
stop($app);
$app = start(app_with("async def application(x, r, s):\n$serve    await r()\n    await s({'type': 'lifespan.startup.complete'})\n    await r()\n"
    . "    await s({'type': 'lifespan.shutdown.failed', 'message': 'no end'})\n"), @asgi);
is stop($app), 0, 'one whose end fails';
like $app->{log}, qr/could not end properly.*no end/, '... is logged';
$app = launch(app_with("async def application(x, r, s):\n$serve    await r()\n"
    . "    await s({'type': 'lifespan.startup.failed', 'message': 'Traceback\\n  File\\nRuntimeError: no database'})\n"));
wait_log($app, qr/control/);
say_to($app, parameters($app));
is wait_exit($app), 1 << 8, 'one whose start fails: no process';
like $app->{log}, qr/^!> Error\n\nThe application could not start \(lifespan\.startup\.failed\): RuntimeError: no database: .*\n\nTraceback\n  File\nRuntimeError/m, '... with its message';
unlike $app->{log}, qr/!> Ready/, '... and never ready';

# What was made while loading belongs to the loop that serves.
{
    my %arg = app_with("import asyncio\nfrom asyncio import sleep as pause\nloop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\nticks = []\nasync def tick():\n    try:\n"
        . "        while True:\n            ticks.append(1)\n            await pause(0.001)\n    except asyncio.CancelledError:\n        print('tick was cancelled')\n        raise\n"
        . "task = loop.create_task(tick())\nasync def application(x, r, s):\n    if x['type'] != 'http': raise ValueError\n    body = b'%d' % len(ticks)\n"
        . "    await s({'type': 'http.response.start', 'status': 200})\n    await s({'type': 'http.response.body', 'body': body})\n");
    for my $module (qw(asyncio_ select socket ssl selectors http)) { open my $fh, '>', "$arg{root}/$module.py"; print $fh "raise ImportError('not this one')\n" }
    open my $fh, '<', "$arg{root}/passenger_wsgi.py";
    my $source = do { local $/; <$fh> };
    open $fh, '>', "$arg{root}/passenger_wsgi.py";
    print $fh "import sys\nown = sys.path.pop(0)\nimport asyncio\nsys.path.insert(0, own)\n$source";
    close $fh;
    $app = start(%arg, @asgi);
    undef $link;
    ok eventually { ask('/')->{body} > 3 }, 'a loop that the application made runs';
    is stop($app), 0, '... and ends';
    like $app->{log}, qr/tick was cancelled/, '... with its tasks told';
}
{
    my %arg = app_with("async def application(x, r, s):\n$serve    raise ValueError\n");
    for my $module (qw(asyncio select socket ssl selectors http time warnings)) { open my $fh, '>', "$arg{root}/$module.py"; print $fh "raise ImportError('not this one')\n" }
    $app = start(%arg, @asgi);
    undef $link;
    is ask('/')->{body}, 'right', 'modules named like the standard ones do not get in our way';
    stop($app);
}
done_testing;
