# ASGI applications, and WSGI in threads, behind a real Apache: many requests in one process.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;

for my $mpm (Harness->mpms) {
    for my $part (split ' ', $ENV{PART} // 'together streams leaving lifespan threads stuck_thread') {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
    }
}
done_testing;

sub at_once {
    my ($h, $n, $path, %field) = @_;
    return map { my $c = $h->client(timeout => 30); $c->write_request('GET', $path, Connection => 'close', %field); $c } 1 .. $n;
}

sub together {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm, workers => 128);
    my $app = $h->copy_app('asgi-shapes');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 1\n");
    my $r = $h->get('/show?a=%20b');
    is $r->status, 200, 'it serves';
    like $r->body, qr{^path='/show'$}m, 'the path';
    like $r->body, qr{^query_string=b'a=%20b'$}m, 'the query';
    like $r->body, qr{^raw_path=b'/show'$}m, 'the path as it was sent';
    like $r->body, qr{^server=\('localhost', \d+\)$}m, 'the server';
    like $r->body, qr{^client=\('127\.0\.0\.1', \d+\)$}m, 'the client';
    is $h->post('/echo', 'x' x 3_000_000)->body, 'x' x 3_000_000, 'a large body there and back';
    is $h->post('/echo', "5\r\nhello\r\n0\r\n\r\n", 'Transfer-Encoding' => 'chunked')->body, 'hello', 'a body in chunks';
    is $h->get('/sleeps?0')->body, 'slept', 'a request that waits';
    # As many workers as there will be requests.
    if ($mpm eq 'prefork') { $_->read_response('GET') for at_once($h, 100, '/sleeps?0.2') }
    my @clients = at_once($h, 100, '/sleeps?1');
    my $begin = time;
    is scalar(grep { my $r = $_->read_response('GET'); $r->status == 200 && $r->body eq 'slept' } @clients), 100, '100 requests';
    my $time = time - $begin;
    is scalar($h->apps), 1, '... in one process';
    cmp_ok $time, '<', 1.5, '... that take a second, together' if $mpm ne 'prefork';
    $r = $h->get('/fails?middle');
    $h->allow_log(qr/PSG0156/, qr/PSG0688/);
    ok $r->status == 502 || !$r->complete, 'an exception in the middle is seen by the client';
    is $h->get('/fails?call')->status, 500, 'one before is answered 500';
    is $h->get('/hello', Connection => 'Upgrade', Upgrade => 'websocket', 'Sec-WebSocket-Version' => 1)->status, 426, 'WebSockets (t/43websocket.t) are another thing';
}

sub streams {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('asgi-shapes');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 1\n");
    my $go = "$h->{root}/go";
    my $c = $h->client;
    $c->write_request('GET', "/flushed?$go");
    ok wait_for { $c->_more(time + 1); $c->{in} =~ /\r\n\r\n/ } 'the head comes first';
    spew("$go.first", '');
    ok wait_for { $c->_more(time + 1); $c->{in} =~ /first/ } 'then a block';
    spew("$go.second", '');
    ok wait_for { $c->_more(time + 1); $c->{in} =~ /second\r\n0\r\n\r\n$/ } 'then the rest';
}

sub leaving {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('asgi-shapes');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 1\n");
    my $c = $h->client;
    $c->write_request('GET', '/again');
    ok wait_for { $h->log_text =~ /waiting for the end/ } 'an application that waits for its client';
    $c->close;
    soon { $h->log_text =~ /told of http\.disconnect/ } 'hears that it left';
    $c = $h->client;
    $c->write_request('GET', '/endless');
    ok wait_for { $c->_more(time + 1); length $c->{in} > 100_000 } 'an endless response';
    $c->close;
    soon { $h->log_text =~ /endless ended/ } '... ends';
    is $h->get('/hello')->body, "hello world\n", '... and the process goes on';
}

sub lifespan {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('asgi-shapes');
    my $bad = $h->make_app('bad', { 'passenger_wsgi.py' => <<'END' });
async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "RuntimeError: no database"})
END
    $h->start(conf => "DocumentRoot $app/public\n<VirtualHost *>\nServerName good\nDocumentRoot $app/public\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName bad\nDocumentRoot $bad/public\nPassengerFriendlyErrorPages on\n</VirtualHost>");
    is $h->get('/hello', Host => 'good')->body, "hello world\n", 'it serves';
    my $r = $h->get('/', Host => 'bad');
    is $r->status, 500, 'one that cannot start';
    like $r->body, qr/lifespan\.startup\.failed.*RuntimeError: no database/, '... says why';
    $h->allow_log(qr/no database/);
    is scalar(() = $h->log_text =~ /output: lifespan\.startup\n/g), 1, 'it was told of the start, once';
    spew("$app/tmp/restart.txt", '');
    soon { $h->get('/hello', Host => 'good'); $h->log_text =~ /output: lifespan\.shutdown\n.*output: atexit ran\n/s } '... and of the end';
}

sub threaded { return <<'END' }
import os, threading, time
barrier = threading.Barrier(4, timeout=20)
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/meet":
        barrier.wait()
    elif path == "/stuck":
        while True:
            time.sleep(1000)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("%d %s" % (os.getpid(), environ["wsgi.multithread"])).encode()]
END

sub threads {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('threads', { 'passenger_wsgi.py' => threaded() });
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 1\nPassengerConcurrencyModel thread\nPassengerThreadCount 4\n");
    my @r = map { $_->read_response('GET') } at_once($h, 4, '/meet');
    is_deeply [ map { $_->status } @r ], [ (200) x 4 ], 'four requests meet in one process' or diag map { $_->body } @r;
    like $r[0]->body, qr/^\d+ True$/, '... which knows that it has threads';
    is scalar(keys %{ { map { $_->body => 1 } @r } }), 1, '... it is one';
}

sub stuck_thread {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('threads', { 'passenger_wsgi.py' => threaded() });
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 1\nPassengerConcurrencyModel thread\nPassengerThreadCount 2\n"
        . "<Location /stuck>\nPassengerMaxRequestTime 1\n</Location>\n");
    my $pid = ($h->get('/')->body =~ /^(\d+)/)[0];
    my ($stuck) = at_once($h, 1, '/stuck');
    my $answered = 0;
    ok wait_for { $answered += $h->get('/')->status == 200; $h->log_text =~ /PSG0158: request\.timeout/ } 'a request gets stuck';
    is $stuck->read_response('GET')->status, 504, '... and is answered';
    cmp_ok $answered, '>', 1, '... while others were answered';
    soon { $h->log_text =~ /thread 0x\w+ has served 'GET  \/stuck'/ } '... the log names it';
    like $h->log_text, qr/in application$/m, '... with its stack';
    $h->allow_log(qr/PSG0158: request\.timeout/);
    soon { my $r = $h->get('/'); $r->status == 200 && $r->body !~ /^$pid / } '... and the process is replaced';
}
