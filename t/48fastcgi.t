# FastCGI applications (PassengerAppType fastcgi): the Responder role on an inherited socket, kept connections, logs, limits, and every way in which an
# application can lie.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use Test::More;
use Time::HiRes qw(time);
use Harness;

my $mpm = (Harness->mpms)[0];
for my $kind (Harness->mpms) {
    subtest "$kind: basics" => sub { basics($kind) };
}
# What follows is the core's work, whatever the MPM.
for my $part (qw(bodies ends lies lifetimes several commands refusals)) {
    subtest $part => sub { no strict 'refs'; &$part() };
}
done_testing;

# A FastCGI program from scratch, in Python: one connection at a time, as most are. The path says what it does.
my $program;
sub program {
    return $program //= <<'END';
#!/usr/bin/python3
import hashlib, json, os, signal, socket, struct, sys, time

mode = os.environ.get("MODE", "")
listener = socket.socket(fileno=0)
connections = 0

def record(kind, content=b"", number=1, padding=0):
    return struct.pack("!BBHHBx", 1, kind, number, len(content), padding) + content + b"p" * padding

def end(app=0, protocol=0):
    return record(3, struct.pack("!IB3x", app, protocol))

def head(text="Content-Type: text/plain\n"):
    return record(6, text.encode() + b"\n", padding=len(text) % 8)

def exact(c, n):
    data = b""
    while len(data) < n:
        piece = c.recv(n - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data

def read(c):
    version, kind, number, length, padding = struct.unpack("!BBHHBx", exact(c, 8))
    return kind, number, exact(c, length + padding)[:length]

def pairs(data):
    at, found = 0, {}
    def length():
        nonlocal at
        n = data[at]
        if n & 128:
            n = struct.unpack("!I", data[at:at + 4])[0] & 0x7fffffff
            at += 3
        at += 1
        return n
    while at < len(data):
        a, b = length(), length()
        found[data[at:at + a].decode("latin-1")] = data[at + a:at + a + b].decode("latin-1")
        at += a + b
    return found

def finish(c):
    "What the application does not want of a body."
    try:
        while read(c)[2]:
            pass
    except (EOFError, OSError):
        pass

def body_of(c):
    digest, length, records = hashlib.sha1(), 0, 0
    while True:
        kind, number, content = read(c)
        assert kind == 5
        if not content:
            return digest.hexdigest(), length, records
        digest.update(content)
        length += len(content)
        records += 1

def serve(c, number):
    params, flags = b"", 0
    while True:
        kind, ident, content = read(c)
        if kind == 9 and mode != "silent":
            c.sendall(record(10, b"\x0f\x01FCGI_MPXS_CONNS0", 0))
        if kind == 1:
            flags = content[2]
        if kind == 4 and not content:
            break
        if kind == 4:
            params += content
    env = pairs(params)
    path = env["PATH_INFO"].split("/")[1]
    if path == "die":
        os._exit(3)
    if path == "early":
        c.sendall(head() + record(6, b"no") + end())
        finish(c)
        return True
    sha1, length, records = body_of(c)
    if path == "info":
        facts = {"env": env, "process": dict(os.environ), "sha1": sha1, "length": length, "records": records, "flags": flags, "pid": os.getpid(),
                 "uid": os.getuid(), "cwd": os.getcwd(), "connection": connections, "request": number, "argv": sys.argv,
                 "fds": {f: os.readlink("/proc/self/fd/" + f) for f in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + f)}}
        c.sendall(head("Content-Type: application/json\n") + record(6, json.dumps(facts).encode()) + record(6) + end())
    elif path == "words":
        c.sendall(record(7, b"first ") + record(7, b"line\nsecond\n", padding=3) + head() + record(7, b"no newline") + record(6, b"ok") + end())
    elif path == "output":
        print("printed", flush=True)
        c.sendall(head() + end())
    elif path == "big":
        left, rest = int(env["QUERY_STRING"]), 0
        c.sendall(head())
        try:
            while left:
                n = min(left, 65535)
                c.sendall(record(6, b"x" * n, padding=n % 8))
                left -= n
        except OSError:
            print("nobody reads", flush=True)
            return False
        c.sendall(end())
    elif path == "long":
        c.sendall(head("Content-Type: text/plain\nContent-Length: 4\n") + record(6, b"done"))
        time.sleep(1)
        print("and now really", flush=True)
        c.sendall(end())
    elif path == "sleep":
        time.sleep(0.5)
        c.sendall(head() + record(6, str(os.getpid()).encode()) + end())
    elif path == "hang":
        time.sleep(60)
    elif path == "drip":
        for i in range(5):
            for byte in record(6, (b"Status: 201 Made\n\n" if i == 0 else b"%d" % i), padding=i):
                c.sendall(bytes([byte]))
        c.sendall(end())
    elif path == "close":
        c.sendall(head() + record(6, b"closing") + end())
        return False
    else:
        lies = {
            "noend": head() + record(6, b"part"), "noend-length": head("Content-Length: 100\n") + record(6, b"part"), "nothing": b"",
            "silence": end(), "short": head("Content-Length: 100\n") + record(6, b"part") + end(),
            "surplus": head("Content-Length: 4\n") + record(6, b"fourmore") + end(), "halfhead": record(6, b"Content-Type: te"),
            "endhead": record(6, b"Content-Type: text/plain\n") + end(), "nohead": record(6, b"<html>hello</html>\n\n") + end(),
            "emptyhead": record(6, b"\n\nbody") + end(), "overloaded": end(0, 2), "mpx": end(0, 1), "role": end(0, 3),
            "unknown": end(0, 99), "late": head() + record(6, b"part") + end(0, 2), "other": record(6, b"X: y\n\n", 2) + end(),
            "other-late": head() + record(6, b"part") + record(6, b"part", 7) + end(), "stdin": record(5, b"x") + end(),
            "garbage": b"HTTP/1.1 200 OK\r\n\r\n", "cut": head()[:-2], "cut-record": head() + record(6, b"x" * 100)[:50],
            "trailing": head() + record(6, b"fine") + end() + record(6, b"late"), "status": head("Status: 418 I'm a teapot\nX-A: b\n") + record(6, b"tea") + end(),
            "badstatus": head("Status: fine\n") + end(), "redirect": head("Location: http://elsewhere.example/\n") + end(),
            "local": head("Location: /status/x?y\n") + end(), "page": head("Location: /file.txt\n") + end(), "round": head("Location: /round\n") + end(),
            "network": head("Location: //elsewhere.example/\n") + end(),
            "moved": head("Location: /there\nStatus: 301 Moved Permanently\n") + end(), "empty": head("Status: 204 No Content\n") + end(),
            "nph": head("HTTP/1.1 404 Lost\r\nX-A: b\r\n") + record(6, b"lost") + end(7), "connection": head("Connection: close\n") + record(6, b"kept") + end(),
            "injected": head("X-A: a\nX-B: b\rX-C: c\n") + end(), "version": b"\x02" + head()[1:] + end(), "manage": record(10, b"", 0) + record(11, b"x" * 8, 0) + head() + record(6, b"managed") + end(),
            "head": head("Content-Length: 5\n") + record(6, b"12345") + end(),
        }
        c.sendall(lies[path])
        if path in ("noend", "noend-length", "nothing", "halfhead", "cut", "cut-record", "garbage"):
            return False
        if path == "diebody":
            os._exit(4)
    return True

def leave(*_):
    print("told to leave", flush=True)
    os._exit(0)

if mode == "exits":
    sys.exit("cannot go on")
if mode == "deaf":
    time.sleep(60)
signal.signal(signal.SIGTERM, leave)
while True:
    c, _ = listener.accept()
    connections += 1
    number = 0
    try:
        while serve(c, number):
            number += 1
    except (EOFError, OSError):
        pass
    c.close()
END
}

sub make {
    my ($h, $name, %more) = @_;
    my $dir = $h->make_app($name, { 'dispatch.fcgi' => program(), 'public/file.txt' => "static\n", %more });
    chmod 0755, glob "$dir/*.fcgi";
    return $dir;
}

sub basics {
    my ($kind) = @_;
    my $h = Harness->new(mpm => $kind);
    my $dir = make($h, 'app');
    $h->start(conf => "DocumentRoot $dir/public\nPassengerAppType fastcgi\nSetEnv FROM_APACHE yes\nSetEnv PHP_VALUE x\n");
    my $r = $h->get('/info/a%20b?c=d%20e', Proxy => 'evil', 'X-Two' => 2, Authorization => 'Basic eDp5');
    is $r->status, 200, 'it answers' or diag $h->log_text;
    my $seen = $r->json;
    my %want = (REQUEST_METHOD => 'GET', PATH_INFO => '/info/a b', QUERY_STRING => 'c=d%20e', SCRIPT_NAME => '', REQUEST_URI => '/info/a%20b?c=d%20e',
        GATEWAY_INTERFACE => 'CGI/1.1', SERVER_PROTOCOL => 'HTTP/1.1', HTTP_X_TWO => 2, FROM_APACHE => 'yes', REMOTE_ADDR => '127.0.0.1',
        SERVER_ADDR => '127.0.0.1', HTTP_AUTHORIZATION => 'Basic eDp5', DOCUMENT_ROOT => "$dir/public", HTTP_PROXY => undef, PHP_VALUE => undef);
    is $seen->{env}{$_}, $want{$_}, "... with $_" for sort keys %want;
    is $seen->{flags}, 1, '... on a connection that is to be kept';
    is getpwuid($seen->{uid}), $h->app_user, '... as its owner' unless $>;
    is $seen->{cwd}, $dir, '... in its folder';
    ok((grep { $_ == $seen->{pid} } $h->apps), '... as the very process that was started');
    my @other = grep { $_ ne '0' && $seen->{fds}{$_} !~ m{^pipe:|/proc/} } keys %{ $seen->{fds} };
    cmp_ok scalar(@other), '<=', 1, '... without other descriptors than its socket and a connection' or diag explain $seen->{fds};
    my $again = $h->get('/info')->json;
    is "$again->{pid} $again->{connection} $again->{request}", "$seen->{pid} $seen->{connection} " . ($seen->{request} + 1), 'the connection is kept';
    my $body = join '', map { chr(65 + $_ % 26) } 1 .. 200_000;
    for my $n (0, 1, 65528, 65529, 200_000) {
        my $got = $h->post('/info', substr $body, 0, $n)->json;
        is "$got->{length} $got->{sha1} $got->{env}{CONTENT_LENGTH}", "$n " . sha1_hex(substr $body, 0, $n) . " $n", "a body of $n bytes";
    }
    is $h->get('/file.txt')->body, "static\n", 'public files are Apache\'s';
    is $h->get('/words')->body, 'ok', 'words for the log are not in the response';
    $h->get('/output');
    $h->expect_log(qr/App $seen->{pid} output: $_$/, $_) for 'first line', 'second', 'no newline', 'printed';
    my @left = grep { $_->{helper} && ($_->{cmdline}[1] // '') eq 'prepare' } $h->processes;
    is scalar(@left), 0, 'nobody else is left of the start';
}

# Bodies in both directions, with back-pressure, and clients that leave.
sub bodies {
    my $h = Harness->new(mpm => $mpm);
    my $dir = make($h, 'app');
    $h->start(conf => "DocumentRoot $dir/public\nPassengerAppType fastcgi\n<Location /stream>\nPassengerBaseURI /stream\nPassengerAppRoot $dir\n"
            . "PassengerAppGroupName stream\nPassengerBufferUpload off\n</Location>\n");
    my $large = join '', map { sha1_hex($_) } 1 .. 200_000;
    for my $base ('', '/stream') {
        my $got = $h->post("$base/info", $large)->json;
        is "$got->{length} $got->{sha1}", length($large) . ' ' . sha1_hex($large), "$base: a large body goes up";
        $got = $h->client->ask('POST', "$base/info", Connection => 'close', 'Transfer-Encoding' => 'chunked',
            body => join('', map { sprintf "%x\r\n%s\r\n", length, $_ } unpack '(a30000)*', substr $large, 0, 300_000) . "0\r\n\r\n")->json;
        is "$got->{env}{CONTENT_LENGTH} $got->{sha1}", '300000 ' . sha1_hex(substr $large, 0, 300_000), "$base: a body without a length gets one";
        ok !defined $got->{env}{HTTP_TRANSFER_ENCODING}, '... and no chunks';
        my $r = $h->get("$base/big?20000000");
        ok $r->complete && length $r->body == 20_000_000 && $r->body !~ /[^x]/, "$base: a large response comes down";
    }
    my $c = $h->client;
    $c->write_request('GET', '/big?500000000');
    wait_for { $c->_more(time + 1) } 'the beginning';
    $c->close;
    $h->expect_log(qr/App \d+ output: nobody reads/, 'that nobody reads');
    is $h->get('/status')->status, 418, 'the process serves on';
    $c = $h->client;
    $c->send("POST /stream/info HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" . 'x' x 100_000);
    wait_for { my ($p) = $h->apps; $p } 'a process';
    $c->close;
    is $h->get('/stream/info')->json->{length}, 0, 'a client that leaves while it sends holds up nobody';
    my $r = $h->post('/early', $large);
    is $r->body, 'no', 'an answer before the end of the body is passed on';
}

# Heads, and responses that end as they should.
sub ends {
    my $h = Harness->new(mpm => $mpm);
    my $dir = make($h, 'app');
    $h->start(conf => "DocumentRoot $dir/public\nPassengerAppType fastcgi\nPassengerMaxPoolSize 1");
    my $first = $h->get('/info')->json;
    my %want = (status => [418, "I'm a teapot", 'tea'], redirect => [302, 'Found', ''], moved => [301, 'Moved Permanently', ''], empty => [204, 'No Content', ''],
        nph => [404, 'Lost', 'lost'], connection => [200, 'OK', 'kept'], manage => [200, 'OK', 'managed'], drip => [201, 'Made', '1234']);
    for my $path (sort keys %want) {
        my $r = $h->get("/$path");
        is_deeply [ $r->status, $r->{reason}, $r->body ], $want{$path}, "/$path" or diag $r->head;
        ok $r->complete, '... to its end';
        ok !defined $r->header('Connection') || $r->header('Connection') eq 'close', '... without a word about the connection behind';
    }
    is $h->get('/redirect')->header('Location'), 'http://elsewhere.example/', 'the place is told';
    is $h->get('/info')->json->{connection}, $first->{connection}, 'all on one connection';
    is $h->get('/network')->status, 302, '... of another host too';
    is $h->get('/local')->body, 'tea', 'a path: what is there is the answer';
    is $h->post('/local', 'abc')->body, 'tea', '... to a form too';
    is $h->get('/page')->body, "static\n", '... a file for instance';
    is $h->get('/round')->status, 500, '... but not for ever';
    $h->expect_log(qr/AH00124/, 'that there was no end');
    my $r = $h->ask('HEAD', '/head');
    is $r->header('Content-Length'), 5, 'HEAD: the length';
    $first = $h->get('/info')->json;
    my $begun = time;
    $r = $h->get('/long');
    is $r->body, 'done', 'a response with a length is complete';
    cmp_ok time - $begun, '<', 0.9, '... before the application is';
    is $h->get('/info')->json->{connection}, $first->{connection}, '... and the next request waits for it';
    $h->expect_log(qr/output: and now really/, 'what it did afterwards');
    # One that closes, whatever was said about keeping: nobody may lose a request by that.
    for (1 .. 5) {
        is $h->get('/close')->body, 'closing', 'a response with the connection\'s end';
        is $h->post('/info', 'abc')->json->{length}, 3, '... and a request that cannot be sent twice';
    }
}

sub lies {
    my $h = Harness->new(mpm => $mpm);
    my $dir = make($h, 'app');
    $h->start(conf => "DocumentRoot $dir/public\nPassengerAppType fastcgi\nPassengerMaxPoolSize 2");
    my %before = (nothing => 'app\.died', silence => 'app\.died', halfhead => 'app\.truncated', endhead => 'app\.truncated', nohead => 'no CGI head',
        emptyhead => 'no CGI head', overloaded => 'overloaded', mpx => 'one request at a time', role => 'no Responder', unknown => 'unknown protocol status',
        other => 'of another request', stdin => 'only a web server sends', garbage => 'no record of FastCGI', cut => 'app\.',
        badstatus => 'no CGI head', injected => 'no CGI head', version => 'no record of FastCGI', die => 'app\.died');
    my %after = (noend => 'app\.truncated', 'noend-length' => 'app\.short_body', short => 'app\.short_body', late => 'overloaded',
        'other-late' => 'of another request', 'cut-record' => 'app\.truncated');
    $h->allow_log(qr/PSG0152: app\.protocol/, qr/PSG0103: app\.exited/, qr/PSG0688: /);
    for my $path (sort keys %before) {
        my $r = $h->get("/$path");
        is $r->status, 502, "/$path: nothing of it is passed on";
        $h->expect_log(qr/PSG0150: request\.failed: .*: process \d+: .*$before{$path}/, "why /$path failed");
    }
    for my $path (sort keys %after) {
        my $r = $h->get("/$path");
        ok !$r->complete || $r->status == 502, "/$path: its end looks broken" or diag $r->head;
        $h->expect_log(qr/PSG0156: request\.failed: .*: process \d+: .*$after{$path}.*the response was cut/, "why /$path failed");
    }
    my $r = $h->get('/surplus');
    is $r->body, 'four', '/surplus: no more than it said';
    $h->expect_log(qr/PSG0151: app\.protocol: .* sent 4 bytes more/, 'what it said too much');
    is $h->get('/trailing')->body, 'fine', '/trailing: what comes behind the end is nobody\'s';
    $h->expect_log(qr/PSG0151: app\.protocol: .* bytes more/, '... and is told');
    is $h->get('/info')->status, 200, 'it serves on';
}

# Restarts, limits, crashes of the core: as for every other kind.
sub lifetimes {
    my $h = Harness->new(mpm => $mpm);
    my $dir = make($h, 'app');
    my $worn = make($h, 'worn');
    $h->start(conf => "PassengerMaxPoolSize 4\n<VirtualHost *>\nServerName app\nDocumentRoot $dir/public\nPassengerAppType fastcgi\nPassengerMaxRequestTime 2\n"
            . "</VirtualHost>\n<VirtualHost *>\nServerName worn\nDocumentRoot $worn/public\nPassengerAppType fcgi\nPassengerMaxRequests 3\n</VirtualHost>");
    my $pid = $h->get('/info', Host => 'app')->json->{pid};
    $h->allow_log(qr/PSG00/);
    $h->kill_core;
    is $h->get('/info', Host => 'app')->json->{pid}, $pid, 'a new core takes it over';
    is $h->post('/info', 'abc', Host => 'app')->json->{length}, 3, '... and knows its protocol';
    $h->graceful;
    is $h->get('/info', Host => 'app')->json->{pid}, $pid, 'it stays when Apache reloads';
    spew("$dir/tmp/restart.txt", '');
    my $bad = 0;
    wait_for { my $r = $h->get('/info', Host => 'app'); $bad += $r->status != 200; $r->status == 200 && $r->json->{pid} != $pid } 'a new process';
    is $bad, 0, 'a restart loses nothing';
    $h->expect_log(qr/App $pid output: told to leave/, 'that the old one was told');
    my %seen;
    my @status = map { my $r = $h->get('/info', Host => 'worn'); $seen{ $r->json->{pid} }++; $r->status } 1 .. 20;
    is "@status", join(' ', (200) x 20), 'PassengerMaxRequests loses nothing';
    cmp_ok scalar(keys %seen), '>', 1, '... and replaces processes';
    my $r = $h->get('/hang', Host => 'app');
    is $r->status, 504, 'PassengerMaxRequestTime';
    $h->expect_log(qr/PSG0158: request\.timeout/, 'the limit');
    $h->allow_log(qr/PSG0157: app\.stuck/);
    is $h->get('/info', Host => 'app')->status, 200, '... and a new process serves';
}

# As many processes as there are requests at once; or one that takes several, which then come on several connections.
sub several {
    my $h = Harness->new(mpm => $mpm);
    my $dir = make($h, 'app');
    $h->start(conf => "DocumentRoot $dir/public\nPassengerAppType fastcgi\nPassengerMaxInstances 3");
    my @c = map { my $c = $h->client; $c->write_request('GET', '/sleep'); $c } 1 .. 6;
    my %pid = map { my $r = $_->read_response('GET'); $r->status == 200 ? ($r->body => 1) : (failed => 1) } @c;
    ok !$pid{failed}, 'six requests at once are served';
    cmp_ok scalar(keys %pid), '>', 1, '... by several processes';
    cmp_ok scalar(keys %pid), '<=', 3, '... within the limit';
}

# Programs of other names, started by a command; with arguments, and several in one.
sub commands {
    my $h = Harness->new(mpm => $mpm);
    my %command = (plain => 'python3 server one', shell => 'if true; then exec python3 server two; fi');
    my $conf = '';
    for my $name (sort keys %command) {
        my $dir = $h->make_app($name, { server => program() });
        $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\nPassengerAppType fastcgi\nPassengerAppStartCommand \"$command{$name}\"\n</VirtualHost>\n";
    }
    my $dir = make($h, 'silent');
    $conf .= "<VirtualHost *>\nServerName silent\nDocumentRoot $dir/public\nPassengerAppType fastcgi\nSetEnv MODE silent\n</VirtualHost>\n";
    $h->start(conf => $conf);
    is_deeply $h->get('/info', Host => 'plain')->json->{argv}, [qw(server one)], 'a command';
    is_deeply $h->get('/info', Host => 'shell')->json->{argv}, [qw(server two)], 'a piece of shell';
    my ($one) = grep { $_->{cmdline}[1] && $_->{cmdline}[1] eq 'server' } map { Proc::get($_) } $h->apps;
    ok $one, '... takes the shell\'s place';
    is $h->get('/info', Host => 'silent')->status, 200, 'an application that does not answer questions is ready all the same';
}

# What is not started, and why.
sub refusals {
    my $h = Harness->new(mpm => $mpm);
    my $conf = "PassengerStartTimeout 2\nPassengerFriendlyErrorPages on\n";
    my %case = (
        name    => ['PassengerStartupFile cleanup', qr/cleanup was not run: the name of a FastCGI program ends in \.fcgi/],
        mode    => ['PassengerStartupFile plain.fcgi', qr/plain\.fcgi cannot be run: Permission denied\. Make it executable/],
        missing => ['PassengerStartupFile other.fcgi', qr/other\.fcgi cannot be found/],
        exits   => ['SetEnv MODE exits', qr/exited with code 1 before it was ready/],
        deaf    => ['SetEnv MODE deaf', qr/was not ready after 2 seconds .*accept FastCGI connections at its descriptor 0/],
    );
    for my $name (sort keys %case) {
        my $dir = make($h, $name, 'cleanup' => "#!/bin/sh\ntouch harm\n", 'plain.fcgi' => program());
        chmod 0644, "$dir/plain.fcgi";
        chmod 0755, "$dir/cleanup";
        $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\nPassengerAppType fastcgi\n$case{$name}[0]\n</VirtualHost>\n";
    }
    $h->start(conf => $conf);
    $h->allow_log(qr/PSG011\d|PSG010\d/);
    for my $name (sort keys %case) {
        my $r = $h->get('/', Host => $name);
        is $r->status, 500, "$name: is not started";
        (my $text = $r->body) =~ s/&#?\w+;/./g;
        like $text, $case{$name}[1], '... and the page says why' or diag $h->log_text;
    }
    ok !-e "$h->{root}/apps/name/harm", 'what is only executable is not run';
}
