# Bodies of any size, from clients of any speed: who is held by them, what they cost in memory and on disk, and what both sides see of one that ends
# early. event: requests that wait are parked; worker: they wait in threads. 20request.t has the framing, 27streams.t the streams of events.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha256_hex);
use POSIX qw(uname);
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(time);
use Harness;
use Fault;

my @mpms = grep { $_ ne 'prefork' } Harness->mpms;
my @parts = split ' ', $ENV{PART} // 'sizes pipes senders pressure limits leaving expecting held_back readers broken';
for my $mpm (@mpms) {
    for my $part (@parts) {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
    }
}
# What waits for the application before it waits for the client is driven otherwise on each.
for my $part (grep { (!$ENV{PART} || $ENV{PART} =~ /\b$_\b/) && grep { $_ eq 'prefork' } Harness->mpms } qw(held_back pipes)) {
    subtest "prefork: $part" => sub { no strict 'refs'; &$part('prefork') };
}
# What happens in the core and on its disk is the same on all MPMs.
for my $part (grep { !$ENV{PART} || $ENV{PART} =~ /\b$_\b/ } qw(room no_disk)) {
    subtest $part => sub { no strict 'refs'; &$part((Harness->mpms)[0]) };
}
# A process that was started so, and all that it starts, is told that the kernel is 2.6.
if (!$ENV{PART}) {
    local @ENV{qw(PART MPM)} = ('pipes', (Harness->mpms)[0]);
    my $out = `setarch @{[(uname)[4]]} --uname-2.6 $^X $0 2>&1`;
    ok $? == 0 && $out =~ /an older kernel keeps nothing/, 'pipes, where the kernel does not suit' or diag $out;
}
done_testing;

my ($source, $asan);
BEGIN {
    $asan = ($ENV{PASSENGER_BUILD} // '') =~ /asan/;
    $source = <<'END_OF_SOURCE';
import hashlib, os, sys, time
from urllib.parse import parse_qs
here = os.path.dirname(os.path.abspath(__file__))
def say(text):
    print(text, file=sys.stderr, flush=True)
def application(environ, start_response):
    query = {k: v[0] for k, v in parse_qs(environ.get("QUERY_STRING", "")).items()}
    if environ["PATH_INFO"] != "/":
        say("begun " + environ["PATH_INFO"])
    while "file" in query and not os.path.exists(os.path.join(here, "tmp", query["file"])):
        time.sleep(0.01)
    time.sleep(float(query.get("s", 0)))
    if "kill" in query:
        os.kill(os.getpid(), 9)
    if "early" in query:
        start_response("422 No", [("Content-Length", "2")])
        return [b"no"]
    if "big" in query:
        start_response("200 OK", [("Content-Length", query["big"]), ("Cache-Control", "max-age=60"), ("Content-Type", "text/plain")])
        return [b"x" * int(query["big"])]
    if "die" in query:
        start_response("200 OK", [("Cache-Control", "max-age=60"), ("Content-Type", "text/plain")])
        return dying()
    digest, length = hashlib.sha256(), 0
    try:
        while True:
            block = environ["wsgi.input"].read(65536)
            if not block:
                break
            digest.update(block)
            length += len(block)
    except Exception as error:
        say("input failed: %s after %d" % (type(error).__name__, length))
        raise
    body = ("%d %s" % (length, digest.hexdigest())).encode()
    start_response("200 OK", [("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    return [body]
def dying():
    yield b"0123456789" * 10
    time.sleep(0.3)
    os.kill(os.getpid(), 9)
END_OF_SOURCE
}

# One process; conf => for the server, app => for the application.
sub server {
    my ($mpm, %arg) = @_;
    my $h = Harness->new(mpm => $mpm, workers => $arg{workers} // 64, modules => $arg{modules} // []);
    $h->{app} = $h->make_app('bodies', { 'passenger_wsgi.py' => $source, %{ $arg{files} // {} } });
    mkdir "$h->{root}/spool";
    chmod 01777, "$h->{root}/spool";
    $arg{prepare}->($h) if $arg{prepare};
    $h->allow_log('AH00484'); # all threads are busy for a moment
    my $n = $arg{processes} // 1;
    my $factor = $mpm eq 'event' ? "AsyncRequestWorkerFactor 400\n" : '';
    $h->start(conf => "${factor}PassengerMaxInstances $n\nPassengerMinInstances $n\nPassengerMaxRequestQueueSize 0\n"
        . "PassengerDataBufferDir $h->{root}/spool\nDocumentRoot $h->{app}/public\n" . ($arg{conf} // '') . ($h->{more} // '')
        . ($arg{more} ? $arg{more}->($h) : ''));
    is $h->get('/')->status, 200, 'it serves' or diag $h->log_text;
    wait_for { $h->apps == $n } "$n processes";
    return $h;
}

sub parks { $_[0] eq 'event' && ($ENV{PARK} // '') ne 'off' }
sub begun { my ($h, $path) = @_; scalar(() = $h->log_text =~ /output: begun \Q$path\E$/mg) }
sub memory { my ($h, $what) = @_; slurp('/proc/' . $h->core . '/status') =~ /$what:\s*(\d+)/ ? $1 : 0 }
sub spools { my ($h) = @_; grep { m{:\Q$h->{root}\E/spool/} } Proc::fds($h->core) }
sub let_go { my ($h, $name) = @_; spew("$h->{app}/tmp/$name", '') }

# What has come so far, without waiting.
sub so_far { my ($c) = @_; $c->_more(time + 0.01); $c->{in} }

sub at_once_answered {
    my ($h, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $begin = time;
    my @status = map { $h->client(timeout => 10)->ask('GET', '/', Connection => 'close')->status } 1 .. 10;
    is "@status", join(' ', (200) x 10), "$what: others are served";
    cmp_ok time - $begin, '<', 5, '... at once';
}

# 200 MiB each way of framing, kept or passed on as they come (the other two on the other MPM): the digest is right, the core's memory does not grow.
sub sizes {
    my ($mpm) = @_;
    my $h = server($mpm, conf => "<Location /through>\nPassengerBufferUpload off\n</Location>");
    my $before = memory($h, 'VmRSS');
    my $block = join '', map { chr(($_ * 7) % 251) } 1 .. 1 << 20;
    for my $path ('/kept', '/through') {
        my $chunked = ($path eq '/kept') == ($mpm eq 'event');
        my $sum = Digest::SHA->new(256);
        my $c = $h->client(timeout => 120);
        $c->write_request('POST', $path, $chunked ? ('Transfer-Encoding' => 'chunked') : ('Content-Length' => 200 << 20));
        for my $i (1 .. 200) {
            substr $block, 0, 8, pack 'Q', $i;
            $sum->add($block);
            $c->send($chunked ? "100000\r\n$block\r\n" : $block) or last;
        }
        $c->send("0\r\n\r\n") if $chunked;
        is $c->read_response('POST')->body, (200 << 20) . ' ' . $sum->hexdigest, "200 MiB, $path, " . ($chunked ? 'chunked' : 'with a length');
    }
    cmp_ok memory($h, 'VmHWM'), '<', $before + 4096, '... through less than 4 MiB of memory' unless $asan;
    ok !spools($h), '... and nothing of it stays on disk';
}

# What is long and has a length goes from the client to the application through pipes, and is what it was, whatever becomes of it; what a module of
# Apache's wants to see does not.
sub pipes {
    my ($mpm) = @_;
    my ($looked_at, $log) = Harness::free_port();
    my $h = server($mpm, modules => [qw(dumpio reqtimeout)], prepare => sub { $log = "$_[0]{root}/logs/bytes" }, more => sub { <<"END" });
LogFormat "%I %U" bytes
CustomLog $log bytes
Listen 127.0.0.1:$looked_at
<VirtualHost 127.0.0.1:$looked_at>
    DocumentRoot $_[0]{app}/public
    DumpIOInput On
</VirtualHost>
END
    $h->allow_log(qr/PSG0102|PSG0150/);
    my $held = sub { my @fds = grep { /:pipe:/ } Proc::fds($h->core); scalar @fds };
    my $without = $held->();
    my %body = map { $_ => substr pack('N*', $_ .. $_ + 800_000), 0, $_ } 150_001, 1 << 20, 3_000_017;
    my %digest = map { $_ => "$_ " . sha256_hex($body{$_}) } keys %body;
    my $send = sub { my ($c, $path, $n, $part) = @_; $c->write_request('POST', $path, 'Content-Length' => $n); $c->send(substr $body{$n}, 0, $part // $n); $c };
    my $whole = sub { my ($c, $n, $what) = @_; is $c->read_response('POST')->body, $digest{$n}, $what };

    my $c = $h->client(timeout => 30);
    $whole->($send->($c, '/', $_), $_, "$_ bytes") for sort keys %body;
    my $peer = Client->new(port => $looked_at, timeout => 30);
    $whole->($send->($peer, '/', $_), $_, "... that are looked at") for sort keys %body;

    my $busy = $h->client(timeout => 30);
    $busy->write_request('GET', '/busy?file=go');
    wait_for { begun($h, '/busy') } 'the only process to be busy';
    my @waiting = map { [$_, $send->($h->client(timeout => 30), '/', $_)] } sort keys %body;
    my ($major, $minor) = (uname)[2] =~ /^(\d+)\.(\d+)/;
    if ($major * 100 + $minor >= 605) { soon { $held->() > $without } 'the kernel keeps what waits for a process' }
    else                              { is $held->(), $without, 'an older kernel keeps nothing' }
    ok !spools($h), '... not the disk';
    let_go($h, 'go');
    $whole->($_->[1], $_->[0], "$_->[0] bytes that have waited") for @waiting;
    is $busy->read_response('GET')->status, 200, 'who was busy has ended';

    $send->($_, '/half', 1 << 20, 700_000)->close for map { $h->client } 1 .. 3;
    my $early = $send->($h->client(timeout => 30), '/early?early=1', 1 << 20);
    is $early->read_response('POST')->status, 422, 'an application that does not read';
    $whole->($send->($early, '/', 1 << 20), 1 << 20, '... and the next one, which does');
    is $send->($h->client(timeout => 30), '/killed?kill=1', 1 << 20)->read_response('POST')->status, 502, 'an application that is killed before it reads';
    soon { $held->() == $without } 'no pipe is left' or diag join "\n", Proc::fds($h->core);
    is begun($h, '/half'), 0, 'nothing that is not whole reached the application';
    soon { slurp($log) =~ m{^(\d+) /early$}m && $1 > 1 << 20 && $1 < 1100_000 } 'mod_logio has counted all' or diag slurp($log);
}

# Two hundred slow senders (as many as there are threads, where they hold those) hold no process; what they have sent is in memory, what is more in files without names.
sub senders {
    my ($mpm) = @_;
    my $h = server($mpm, workers => parks($mpm) ? 8 : 64);
    my $n = parks($mpm) ? 200 : 50;
    my $body = 'slowly ' x 3000;
    my @c = map { $h->client(timeout => 60) } 1 .. $n;
    for my $i (0 .. $#c) {
        $c[$i]->write_request('POST', '/slow', $i % 2 ? ('Transfer-Encoding' => 'chunked') : ('Content-Length' => length $body));
    }
    my $piece = sub { my ($i, $at, $n) = @_; my $data = substr $body, $at, $n; $i % 2 ? sprintf("%x\r\n%s\r\n", length $data, $data) : $data };
    for my $at (0 .. 2) {
        $c[$_]->send($piece->($_, 1024 * $at, 1024)) for 0 .. $#c;
        at_once_answered($h, "$n that have sent $at KiB and more") if $at != 1;
    }
    my @large = map { $h->client(timeout => 60) } 1, 2;
    $large[0]->write_request('POST', '/slow', 'Transfer-Encoding' => 'chunked');
    $large[1]->write_request('POST', '/slow', 'Content-Length' => 8_000_000);
    $large[0]->send(sprintf "%x\r\n%s\r\n", 200_000, 'l' x 200_000);
    $large[1]->send('l' x 200_000);
    soon { spools($h) == 2 } 'what is more than 128 KiB is on disk' or diag join ' ', spools($h);
    ok !grep({ !/ \(deleted\)$/ } spools($h)), '... in files without names';
    ok !glob("$h->{root}/spool/*"), '... so that nobody finds them';
    is begun($h, '/slow'), 0, 'the application has heard of none of them';
    is scalar($h->apps), 1, '... and no process was started for them';
    $large[1]->close;
    soon { spools($h) == 1 } 'the file of one who left is gone';
    $c[$_]->send($piece->($_, 3072, length $body) . ($_ % 2 ? "0\r\n\r\n" : '')) for 0 .. $#c;
    $large[0]->send("0\r\n\r\n");
    my $want = length($body) . ' ' . sha256_hex($body);
    is scalar(grep { $_->read_response('POST')->body eq $want } @c), $n, 'all of them are whole in the end';
    is $large[0]->read_response('POST')->body, '200000 ' . sha256_hex('l' x 200_000), '... the large one too';
    is begun($h, '/slow'), $n + 1, '... each once';
    soon { !spools($h) } '... and no file is left';
}

# Passed on as it comes: one who sends faster than the application reads has to wait.
sub pressure {
    my ($mpm) = @_;
    my $h = server($mpm, conf => 'PassengerBufferUpload off');
    my $before = memory($h, 'VmRSS');
    my $c = $h->client(timeout => 60);
    $c->write_request('POST', '/unread?file=go', 'Content-Length' => 64 << 20);
    my ($block, $sent, $idle) = ('p' x 65536, 65536, time);
    $c->send($block);
    wait_for { begun($h, '/unread') } 'the application to have the request before its body has ended';
    $c->{sock}->blocking(0);
    while ($sent < 64 << 20 && time - $idle < 0.7) {
        my $n = syswrite $c->{sock}, $block, (64 << 20) - $sent < 65536 ? (64 << 20) - $sent : 65536;
        if ($n) { $sent += $n; $idle = time } else { select undef, undef, undef, 0.02 }
    }
    $c->{sock}->blocking(1);
    cmp_ok $sent, '<', 32 << 20, "a client that sends 64 MiB to one who does not read is stopped after $sent bytes";
    cmp_ok memory($h, 'VmHWM'), '<', $before + 4096, '... and the core keeps little of them' unless $asan;
    ok !spools($h), '... nothing on disk';
    let_go($h, 'go');
    $c->send('p' x ((64 << 20) - $sent));
    is $c->read_response('POST')->body, (64 << 20) . ' ' . sha256_hex('p' x (64 << 20)), '... and goes on when it reads';
}

# Apache's limits come before the application: for sizes, and for time. Time that a client takes is not the application's.
sub limits {
    my ($mpm) = @_;
    my $h = server($mpm, modules => ['reqtimeout'], files => { 'public/limited/.htaccess' => "LimitRequestBody 1000\n" }, conf => <<'CONF' . "<Directory />\nAllowOverride All\n</Directory>");
RequestReadTimeout header=1 body=3,MinRate=100000
PassengerMaxRequestTime 1
CONF
    my @slow = map { $h->client(timeout => 30) } 1 .. 3;
    $slow[0]->send("GET /head HTTP/1.1\r\nHo");
    $slow[1]->write_request('POST', '/stalled', 'Content-Length' => 1000);
    $slow[1]->send('x' x 10);
    $slow[2]->write_request('POST', '/late', 'Content-Length' => 30);
    my $begin = time;
    my %body = (length => ['x' x 1001, 'Content-Length' => 1001], chunked => ["3e9\r\n" . 'x' x 1001 . "\r\n0\r\n\r\n", 'Transfer-Encoding' => 'chunked']);
    for my $how (sort keys %body) {
        my ($body, @fields) = @{ $body{$how} };
        my $c = $h->client;
        $c->write_request('POST', '/limited/x', @fields, body => $body, $how eq 'length' ? (Expect => '100-continue') : ());
        my $r = $c->read_response('POST');
        is $r->status, 413, "LimitRequestBody of an .htaccess file, $how";
        is scalar(@{ $r->{interim} }), 0, '... and nobody is told to go on' if $how eq 'length';
    }
    is $h->post('/limited/y', 'x' x 1000)->body, '1000 ' . sha256_hex('x' x 1000), '... what is not beyond it arrives';
    is begun($h, '/limited/x'), 0, '... and nothing else';
    for my $part (1 .. 3) { wait_for { time - $begin > 0.6 * $part } undef, 5; $slow[2]->send('y' x 10) }
    is $slow[2]->read_response('POST')->body, '30 ' . sha256_hex('y' x 30), 'a body that takes longer than PassengerMaxRequestTime is no fault of the application';
    is $slow[0]->read_response('GET')->status, 408, 'mod_reqtimeout: a slow head';
    is $slow[1]->read_response('POST')->status, 408, '... a slow body';
    cmp_ok time - $begin, '<', 15, '... long before Timeout';
    is begun($h, '/stalled') + begun($h, '/head'), 0, '... of which the application hears nothing';
}

# Clients that leave before their body has ended, or end it early.
sub leaving {
    my ($mpm) = @_;
    my $h = server($mpm, conf => "<Location /through>\nPassengerBufferUpload off\n</Location>");
    $h->allow_log(qr/PSG0156/);
    for my $how ('Content-Length: 500000', 'Transfer-Encoding: chunked') {
        for my $end (qw(close shutdown)) {
            my $c = $h->client;
            $c->send("POST /half HTTP/1.1\r\nHost: localhost\r\n$how\r\n\r\n" . ($how =~ /chunked/ ? "493e0\r\n" : '') . 'h' x 300_000);
            $c->$end;
            isnt $c->read_response('POST')->status, 200, "$how, then shutdown: no success" if $end eq 'shutdown';
        }
    }
    my $c = $h->client;
    $c->write_request('POST', '/through', 'Content-Length' => 500_000);
    $c->send('h' x 300_000);
    wait_for { begun($h, '/through') } 'one that is passed on';
    $c->close;
    soon { $h->log_text =~ /output: input failed: \w+ after \d+/ } 'its application is told that it is not whole, by an exception' or diag $h->log_text;
    is $h->post('/', 'next')->body, '4 ' . sha256_hex('next'), 'the next one is served';
    soon { !spools($h) } 'nothing is left on disk';
    is begun($h, '/half'), 0, 'nothing that is not whole reached the application';
}

# Expect: 100-continue (RFC 9110 10.1.1): one answer at most, before all others; and what nobody knows is refused.
sub expecting {
    my ($mpm) = @_;
    my $h = server($mpm, processes => 2, conf => "<Location /through>\nPassengerBufferUpload off\n</Location>\n<Location /denied>\nRequire all denied\n</Location>");
    $h->allow_log('AH01630', qr/PSG01(?:02|50)/);
    my %expect = (Expect => '100-continue', 'Content-Length' => 5);
    for my $path ('/kept?s=0.3', '/through?s=0.3') {
        my $c = $h->client;
        $c->write_request('POST', $path, %expect);
        is $c->read_response('POST', interim => 1)->status, 100, "$path: told to go on";
        $c->send('hello');
        my $r = $c->read_response('POST');
        is $r->body, '5 ' . sha256_hex('hello'), '... and served';
        is scalar(@{ $r->{interim} }), 0, '... without a second word';
        $c->write_request('POST', $path, %expect, body => 'hello');
        $r = $c->read_response('POST');
        is $r->body, '5 ' . sha256_hex('hello'), '... who does not wait is served';
        cmp_ok scalar(@{ $r->{interim} }), '<=', 1, '... with one word at most';
    }
    my %first = ('/denied' => 403, '/through?early=1' => 422, '/through?kill=1' => 502, '/kept?kill=1' => 502);
    my $killed = 0;
    for my $path (sort keys %first) {
        my $c = $h->client;
        $c->write_request('POST', $path, %expect);
        my $r = $c->read_response('POST', interim => 1);
        isnt $r->status, 100, "$path: nobody is told to go on" if $path eq '/denied';
        if ($r->status == 100) { $c->send($path =~ /early/ ? 'hel' : 'hello'); $r = $c->read_response('POST') }
        is $r->status, $first{$path}, "$path: the answer is the application's, or the server's" or diag $r->{head};
        is scalar(@{ $r->{interim} // [] }), 0, '... after one word at most';
        $killed++ if $path =~ /kill/;
        wait_for { $killed == (() = $h->log_text =~ /PSG0102/g) } 'the core to know of all who were killed';
    }
    my $r = $h->post('/x', 'hello', Expect => '<script>alert(1)</script>');
    is $r->status, 417, 'an expectation that nobody knows';
    unlike $r->body, qr/<script>/, '... is not shown as it came';
}

# Expect: 100-continue is a question to the application's pool: whoever will not be served is told so in place of 100, and has sent nothing.
sub held_back {
    my ($mpm) = @_;
    my $broken = sub {
        my ($h) = @_;
        my $app = $h->make_app('broken', { 'passenger_wsgi.py' => "raise Exception('broken for ever')\n" });
        $h->{more} = "Alias /broken $app/public\n<Location /broken>\nPassengerBaseURI /broken\nPassengerAppRoot $app\n</Location>\n";
    };
    my $h = server($mpm, modules => [qw(reqtimeout http2)], workers => $mpm eq 'event' ? 8 : 64, prepare => $broken, conf => <<'CONF');
Protocols h2c http/1.1
RequestReadTimeout body=1,MinRate=100000
PassengerMaxRequestQueueSize 1
<Location /through>
    PassengerBufferUpload off
</Location>
<Location /late>
    PassengerBufferUpload off
    PassengerMaxRequestQueueTime 1
</Location>
CONF
    $h->allow_log(qr/PSG01(?:10|11|13)|broken for ever|AH10034/);
    my @expect = (Expect => '100-continue', 'Content-Length' => 5);
    my $ask = sub { my ($path) = @_; my $c = $h->client(timeout => 20); $c->write_request('POST', $path, @expect); $c };
    my $final = sub {
        my ($c, $status, $what) = @_;
        local $Test::Builder::Level = $Test::Builder::Level + 1;
        my $r = $c->read_response('POST', interim => 1);
        is $r->status, $status, "$what: $status, and nobody is told to go on" or diag $r->{head};
        like $r->header('Connection'), qr/\bclose$/, '... on a connection that ends, since the body will not come';
    };
    my $served = sub {
        my ($c, $what) = @_;
        local $Test::Builder::Level = $Test::Builder::Level + 1;
        is $c->read_response('POST', interim => 1)->status, 100, "$what: told to go on";
        $c->send('hello');
        is $c->read_response('POST')->body, '5 ' . sha256_hex('hello'), '... and served';
    };
    my $curl = sub {
        my ($how, $path) = @_;
        `printf %s hello | curl -s -o /dev/null -w '%{http_version} %{http_code} %{size_upload}' --max-time 30 --expect100-timeout 30 -H Expect:100-continue $how --data-binary \@- http://127.0.0.1:$h->{port}$path`;
    };
    my $busy = sub { my ($name) = @_; my $c = $h->client(timeout => 30); $c->write_request('GET', "/busy-$name?file=$name"); wait_for { begun($h, "/busy-$name") } 'the only process to be busy'; $c };

    my $queued = sub {
        my ($n) = @_;
        local $ENV{PASSENGER_INSTANCE_REGISTRY_DIR} = "$h->{root}/registry";
        local $ENV{ASAN_OPTIONS} = 'detect_leaks=0';
        my $text;
        soon { $text = `$ENV{PASSENGER_BUILD}/passenger-status`; scalar(() = $text =~ /Requests in queue: 1$/mg) == $n } "$n in the queue" or diag $text;
    };

    $final->($ask->('/broken/x'), 500, 'an application that does not start');
    $final->($ask->('/broken/x'), 500, '... whose failure is known');
    my @busy = $busy->('one');
    my $kept = $ask->('/kept');
    is $kept->read_response('POST', interim => 1)->status, 100, 'a body that is kept may come while all processes are busy';
    $final->($ask->('/late'), 504, 'one that waits for longer than PassengerMaxRequestQueueTime');
    my $through = $ask->('/through');
    $queued->(1);
    my $begin = time;
    for my $path ('/kept', '/through') { $final->($ask->($path), 503, "$path, the queue full") }
    # mod_http2 resets a stream whose input nobody wants, which some curls take for no answer at all; a 403 of Apache's own looks so, too.
    like $curl->('--http2-prior-knowledge', '/kept'), qr/^(?:2 503|0 000) 0$/, '... over HTTP/2, too: nothing is sent';
    is $curl->('--http1.1', '/through'), '1.1 503 0', '... to curl';
    wait_for { time - $begin > 1.3 } undef, 5;
    is so_far($through), '', 'a body that is passed on is not asked for before there is a process';
    let_go($h, 'one');
    $served->($through, '... but then, however long that took, mod_reqtimeout or not');
    $kept->send('hello');
    is $kept->read_response('POST')->status, 408, 'the time of one who was asked runs';
    is $busy[0]->read_response('GET')->status, 200, 'who was busy has ended';
    is $curl->('--http2-prior-knowledge', $_), '2 200 5', "HTTP/2: $_" for '/kept', '/through';
    is begun($h, '/late'), 0, 'the application has heard of none that was refused';

    @busy = $busy->('two');
    my $eager = $ask->('/through');
    $eager->send('hello');
    $queued->(1);
    my $gone = $ask->('/late');
    is $gone->read_response('POST', interim => 1)->status, 503, 'one who does not wait is in the queue, too';
    let_go($h, 'two');
    my $r = $eager->read_response('POST');
    is $r->body, '5 ' . sha256_hex('hello'), '... and served';
    cmp_ok scalar(@{ $r->{interim} }), '<=', 1, '... after one word at most';
    $eager->write_request('GET', '/');
    is $eager->read_response('GET')->status, 200, '... as is the next request on the connection';
    is $busy[0]->read_response('GET')->status, 200, 'who was busy has ended';

    @busy = $busy->('three');
    my $leaving = $ask->('/through');
    $queued->(1);
    $leaving->close;
    $queued->(0); # he leaves the queue
    let_go($h, 'three');
    is $busy[0]->read_response('GET')->status, 200, 'who was busy has ended';
    is begun($h, '/through'), 3, 'the application has heard of each who was served, once';
}

# Readers that take nothing for a while: the process is free, others are as well off as without them, and memory is bounded.
sub readers {
    my ($mpm) = @_;
    my $n = parks($mpm) ? 100 : 40;
    my $h = server($mpm, processes => 2, workers => parks($mpm) ? 16 : 64, conf => "SendBufferSize 32768\nTimeout 60");
    my $visit = sub { my $v = Fault::Visitor->new($h, '/', every => 0.02); my $begin = time; wait_for { time - $begin > 1.2 } undef, 3; $v->finish };
    my $idle = $visit->();
    my $before = memory($h, 'VmRSS');
    my @c = map { my $c = $h->client(timeout => 60); $c->{sock}->setsockopt(SOL_SOCKET, SO_RCVBUF, 32768); $c->write_request('GET', '/large?big=1000000'); $c } 1 .. $n;
    soon { begun($h, '/large') == $n } "the application has answered $n who do not read", 60;
    my $busy = $visit->();
    is $busy->{bad}, 0, 'others are served' or diag $busy->{text};
    my ($was, $now) = map { 1000 * $_->{took}[ int(0.99 * $#{ $_->{took} }) ] } $idle, $busy;
    # What is promised is that nobody waits for those who do not read; the machine may be busy with other things.
    cmp_ok $now, '<', 2 * $was + 200, sprintf 'timing: p99 is %.1f ms beside them, %.1f ms without', $now, $was;
    # Some of a few at a time, and the link and the file of each.
    cmp_ok memory($h, 'VmHWM') - $before, '<', $n * 8 + 6144, '... and nothing of it stays in memory' unless $asan;
    note sprintf 'core: %d kB for %d readers', memory($h, 'VmRSS') - $before, $n;
    cmp_ok scalar(spools($h)), '>', $n / 2, '... the rest is on disk';
    # All at once: windows that were closed for long open slowly.
    for (my @open = @c; @open;) {
        my $bits = '';
        vec($bits, fileno $_->{sock}, 1) = 1 for @open;
        last unless select($bits, undef, undef, 20) > 0;
        @open = grep { !vec($bits, fileno $_->{sock}, 1) || ($_->_more(time + 1) && length $_->{in} < 1_000_000) } @open;
    }
    is scalar(grep { my $r = $_->read_response('GET'); $r->complete && $r->body eq 'x' x 1_000_000 } @c), $n, 'each gets all of it';
    soon { !spools($h) } '... and nothing stays on disk';
}

# An application that dies in the middle: no client may take what it has for the whole, whatever is between.
sub broken {
    my ($mpm) = @_;
    my $h = server($mpm, processes => 3, modules => [qw(http2 cache cache_socache socache_shmcb)], conf => <<'CONF');
Protocols h2c http/1.1
<Location /deflated>
    SetOutputFilter DEFLATE
</Location>
CacheSocache shmcb
CacheQuickHandler off
<Location /cached>
    CacheEnable socache
</Location>
CONF
    $h->allow_log(qr/PSG0(?:102|103|150|156|688)|AH02929/);
    for my $path (qw(/plain /deflated /cached)) {
        my $r = $h->get("$path?die=1", 'Accept-Encoding' => 'gzip');
        is $r->status, 200, "$path: a response that has begun";
        ok !$r->complete, '... looks broken';
        my @r = map { my $out = `curl -s -o /dev/null -w '%{http_code} %{size_download}' --max-time 20 --http2-prior-knowledge -H 'Accept-Encoding: gzip' 'http://localhost:$h->{port}$path?die=2'`; [$? >> 8, $out] } 1;
        isnt $r[0][0], 0, "... over HTTP/2 too (curl says $r[0][0]: $r[0][1])";
    }
    is begun($h, '/cached'), 2, 'it was asked for both';
    ok !$h->get('/cached?die=1')->complete, 'the broken one is not in the cache';
    is begun($h, '/cached'), 3, '... and is asked for anew';
    my $c = $h->client;
    $c->send("GET /old?die=1 HTTP/1.0\r\nHost: localhost\r\n\r\n");
    my $r = $c->read_response('GET');
    ok !$r->complete, 'an old client, who knows the end of the connection only, sees it reset' or diag explain $r;
    $r = $h->client;
    $r->send("GET /old?big=100000 HTTP/1.0\r\nHost: localhost\r\n\r\n");
    ok $r->read_response('GET')->complete, '... and not if all is well';
}

# A disk of 12 MiB for bodies.
sub room {
    my ($mpm) = @_;
    plan skip_all => 'only root can mount a small disk' if $>;
    my $dir;
    my $h = server($mpm, prepare => sub { my ($h) = @_; $dir = "$h->{root}/spool"; system("mount -t tmpfs -o size=12m,mode=1777 tmpfs $dir 2>/dev/null") and $dir = undef });
    SKIP: {
        skip 'this system mounts nothing', 1 unless $dir;
        my $free = sub { (split ' ', (split /\n/, `df -k $dir`)[-1])[3] };
        my $empty = $free->();
        my @kept = map { my $c = $h->client(timeout => 30); $c->write_request('POST', '/kept', 'Content-Length' => 5_000_000); $c->send('k' x 3_000_000); $c } 1, 2;
        soon { $free->() < $empty - 5000 } 'two bodies are on it';
        $h->expect_log(qr{PSG0153: spool\.full: .*: a request's body could not be kept in \Q$dir\E: No space left on device}) if do {
            my $c = $h->client(timeout => 30);
            $c->write_request('POST', '/lost', 'Content-Length' => 8_000_000);
            $c->send('l' x 8_000_000);
            is $c->read_response('POST')->status, 507, 'a third one that has no room is refused with 507';
            1;
        };
        is $h->post('/small', 's' x 100_000)->body, '100000 ' . sha256_hex('s' x 100_000), '... while small ones are served';
        $_->send('k' x 2_000_000) for @kept;
        is join(' ', map { $_->read_response('POST')->body } @kept), join(' ', ('5000000 ' . sha256_hex('k' x 5_000_000)) x 2), '... and those that were there before are whole';
        soon { $free->() == $empty } 'the room is given back';
        is $h->post('/again', 'a' x 7_000_000)->body, '7000000 ' . sha256_hex('a' x 7_000_000), '... to the next';
        is begun($h, '/lost'), 0, 'the application has seen nothing of the one that was refused';
        $h->stop;
    }
    system("umount $dir") if $dir;
}

# Where both sides keep up the disk is not touched. Bytes that go to sockets do not count as written ones.
sub no_disk {
    my ($mpm) = @_;
    my $h = server($mpm);
    my $written = sub { slurp('/proc/' . $h->core . '/io') =~ /^wchar: (\d+)/m ? $1 : undef };
    plan skip_all => 'the system does not tell what the core writes' unless defined $written->();
    my $least = 1e9;
    for my $try (1 .. 30) { # a busy machine may stop the client for a moment
        my $before = $written->();
        my $size = `curl -s --max-time 30 -o /dev/null -w '%{size_download}' 'http://127.0.0.1:$h->{port}/large?big=8000000'`;
        is $size, 8_000_000, '8 MB to a client that keeps up' if $try == 1;
        my $bytes = $written->() - $before;
        $least = $bytes if $bytes < $least;
        last if $least < 65536;
    }
    cmp_ok $least, '<', 65536, '... without the disk';
    my $before = $written->();
    is $h->post('/up', 'u' x 3_000_000)->body, '3000000 ' . sha256_hex('u' x 3_000_000), 'a few MiB of known length from one';
    cmp_ok $written->() - $before, '<', 65536, '... without the disk either';
    # Apache's own reads are of 8000 bytes; what is received otherwise does not count as read.
    my $reads = sub { my $n = 0; slurp("/proc/$_->{pid}/io") =~ /^syscr: (\d+)/m and $n += $1 for grep { $_->{comm} =~ /apache2|httpd/ } $h->processes; $n };
    $least = 1e9;
    for my $try (1 .. 10) {
        my $before = $reads->();
        $h->post('/up', 'u' x 3_000_000);
        my $n = $reads->() - $before;
        $least = $n if $n < $least;
        last if $least < 3_000_000 / 8000 / 2;
    }
    cmp_ok $least, '<', 3_000_000 / 8000 / 2, '... read by Apache in large pieces';
}
