# Requests that wait hold no thread: more of them than there are threads, in every place where one may wait, while another application is
# answered as ever. Only the event MPM can do it; that everything else is as it was is tested by all other tests, with PARK=off for the other way.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use IO::Socket::INET;
use IO::Uncompress::Gunzip;
use Test::More;
use Time::HiRes qw(time);
use Harness;

plan skip_all => 'requests are not parked' if ($ENV{PARK} // '') eq 'off' || !grep { $_ eq 'event' } Harness->mpms;
subtest $_ => sub { no strict 'refs'; &$_() } for split ' ', $ENV{PART} // 'queue off habit uploads readers secure tunnels limits endings pages nested lives bursts';
done_testing;

my $source;
BEGIN { $source = <<'END' }
import hashlib, os, sys, time
from urllib.parse import parse_qs
here = os.path.dirname(os.path.abspath(__file__))
def wait_for(name):
    while not os.path.exists(os.path.join(here, "tmp", name)):
        time.sleep(0.01)
def application(environ, start_response):
    query = {k: v[0] for k, v in parse_qs(environ.get("QUERY_STRING", "")).items()}
    status, body = query.get("status", "200 OK"), b""
    if "log" in query:
        print("asked " + query["log"], file=sys.stderr, flush=True)
    if environ["REQUEST_METHOD"] == "POST":
        data = environ["wsgi.input"].read()
        body = b"%d %s" % (len(data), hashlib.sha1(data).hexdigest().encode())
    if "file" in query:
        wait_for(query["file"])
    time.sleep(float(query.get("s", 0)))
    if "n" in query:
        body = (b"0123456789" * (int(query["n"]) // 10 + 1))[:int(query["n"])]
    if "stream" in query:
        start_response(status, [("Content-Type", "text/plain")])
        def stream():
            for i in range(int(query["stream"])):
                yield b"event %d\n" % i
                time.sleep(0.2)
        return stream()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
END

# Eight threads in two children, one process of an application that waits, and another application.
sub server {
    my (%arg) = @_;
    my $h = Harness->new(mpm => 'event', workers => 8, modules => $arg{modules} // []);
    my %app = map { $_ => $h->make_app($_, { 'passenger_wsgi.py' => $source }) } qw(slow hello);
    my $vhosts = join '', map { <<"END" } qw(slow hello);
<VirtualHost *>
    ServerName $_
    DocumentRoot $app{$_}/public
    PassengerMaxRequestQueueSize 0
    @{[ $arg{$_} // '' ]}
</VirtualHost>
END
    $h->start(conf => "AsyncRequestWorkerFactor 100\nPassengerMaxInstancesPerApp 1\n" . ($arg{conf} // '') . "\n$vhosts");
    $h->{slow} = $app{slow};
    $h->allow_log('AH00484'); # all threads are busy for a moment
    $h->get('/', Host => $_) for qw(slow hello);
    return $h;
}

sub open_file { my ($h, $name) = @_; spew("$h->{slow}/tmp/$name", '') }

sub at_once {
    my ($h, $n, $path, %field) = @_;
    return map { my $c = $h->client(timeout => 30); $c->write_request('GET', $path, Host => 'slow', %field); $c } 1 .. $n;
}

# The other application answers, several times, as if nobody else were there.
sub free {
    my ($h, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $begin = time;
    my @status = map { my $r = eval { $h->client(timeout => 10)->ask('GET', '/?n=1000', Host => 'hello', Connection => 'close') }; $r ? $r->status : 0 } 1 .. 20;
    my $took = time - $begin;
    is_deeply \@status, [ (200) x 20 ], "$what: others are served" or diag "took $took s";
    cmp_ok $took, '<', 5, sprintf '... at once (%.0f ms each)', 50 * $took;
}

# Apache's.
sub children { my ($h) = @_; grep { $_->{ppid} == $h->{pid} && !$_->{helper} } Proc::descendants($h->{pid}) }

sub statuses { my %n; $n{ $_->read_response('GET')->status }++ for @_; return \%n }

# A hundred in an application's queue. Half of them leave, which the core must learn at once.
sub queue {
    my $h = server();
    my @c = at_once($h, 100, '/?file=go&log=wait');
    wait_for { $h->log_text =~ /asked wait/ } 'the first request at the application';
    free($h, 'a hundred requests wait');
    $_->close for splice @c, 50;
    free($h, 'half of them left');
    open_file($h, 'go');
    is_deeply statuses(@c), { 200 => 50 }, 'those who stayed are answered';
    my $asked = () = $h->log_text =~ /asked wait/g;
    cmp_ok $asked, '<=', 51, '... and nobody else\'s request reached the application';
}

# The same without, where threads are held: so the tests of this file see the difference.
sub off {
    my $h = server(conf => 'PassengerAsyncRequests Off');
    my @c = at_once($h, 10, '/?file=go&log=wait');
    wait_for { $h->log_text =~ /asked wait/ } 'the first request at the application';
    my $other = $h->client(timeout => 1);
    $other->write_request('GET', '/?n=10', Host => 'hello');
    is $other->read_response('GET')->status, 0, 'threads are held when requests may not be parked';
    open_file($h, 'go');
    is_deeply statuses(@c), { 200 => 10 }, '... and all are answered';
}

# A thread that waits sleeps, and sleeps again when it has waited in vain; how often the children's threads have slept, the kernel counts.
sub habit {
    my $h = server();
    my $c = $h->client(timeout => 30);
    my $ask = sub { $c->write_request('GET', $_[0], Host => 'slow'); $c->read_response('GET')->status };
    my $slept = sub {
        my $n = 0;
        for my $child (children($h)) {
            $n += slurp($_) =~ /^voluntary_ctxt_switches:\s+(\d+)/m ? $1 : 0 for glob "/proc/$child->{pid}/task/*/status";
        }
        return $n;
    };
    my $count = sub { my $before = $slept->(); $ask->('/?s=0.1') for 1 .. 8; $slept->() - $before };
    $ask->('/');
    my ($at_first, $later) = ($count->(), $count->());
    cmp_ok $later, '<', $at_first - 4, 'an application whose requests wait long is waited for in a thread no more';
    is_deeply [map { $ask->('/') } 1 .. 5], [(200) x 5], 'others are answered at once';
    cmp_ok my $again = $count->(), '>', $later + 4, '... and it is again';
    note "threads slept $at_first, $later, $again times";
}

sub uploads {
    my $h = server();
    my @c = map { $h->client(timeout => 30) } 1 .. 40;
    my $body = join '', map { chr(65 + $_ % 26) x 1000 } 1 .. 100;
    my $want = length($body) . ' ' . sha1_hex($body);
    for my $i (0 .. $#c) {
        my $framing = $i % 2 ? 'Transfer-Encoding: chunked' : 'Content-Length: 100000';
        my $expect = $i % 3 == 0 ? "Expect: 100-continue\r\n" : '';
        $c[$i]->send("POST /?x HTTP/1.1\r\nHost: slow\r\n$framing\r\n$expect\r\n");
    }
    free($h, 'forty uploads that have not begun');
    for my $i (grep { $_ % 3 == 0 } 0 .. $#c) {
        $c[$i]{first} = $c[$i]->read_response('POST', interim => 1)->status;
    }
    is_deeply [ map { $_->{first} // () } @c ], [ (100) x 14 ], 'who asks for it is told to go on';
    my $piece = sub { my ($i, $at, $n) = @_; my $data = substr $body, $at, $n; $i % 2 ? sprintf("%x\r\n%s\r\n", length $data, $data) : $data };
    $c[$_]->send($piece->($_, 0, 70_000)) for 0 .. $#c;
    free($h, 'forty uploads in the middle');
    for my $i (0 .. $#c) {
        $c[$i]->send($piece->($i, 70_000, 30_000) . ($i % 2 ? "0\r\n\r\n" : '') . "GET /?n=7 HTTP/1.1\r\nHost: slow\r\n\r\n");
    }
    my @r = map { [ $_->read_response('POST')->body, length $_->read_response('GET')->body ] } @c;
    is_deeply \@r, [ ([ $want, 7 ]) x 40 ], 'all arrive, and so does the request behind each';
}

# $arg{connect}: how a client connects.
sub slow_readers {
    my ($h, $what, $connect) = @_;
    my $n = 8_000_000;
    my @c = map { $connect->() } 1 .. 20;
    $_->write_request('GET', "/?n=$n", Host => 'slow') for @c;
    free($h, "twenty slow readers, $what");
    my @r = map { $_->read_response('GET') } @c;
    my $want = substr '0123456789' x ($n / 10), 0, $n;
    is scalar(grep { $_->status == 200 && $_->body eq $want } @r), 20, '... who get all of it';
}

sub readers {
    my $h = server(slow => 'SetOutputFilter DEFLATE');
    slow_readers($h, 'plain', sub { $h->client(timeout => 30) });
    my $c = $h->client;
    my $begin = time;
    $c->write_request('GET', '/?stream=4', Host => 'slow', 'Accept-Encoding' => 'gzip');
    my @at;
    while ($c->_more(time + 10)) { push @at, time - $begin; last if $c->{in} =~ /\r\n0\r\n\r\n$/ }
    cmp_ok scalar(@at), '>=', 4, 'a compressed stream comes event by event' or diag "@at";
    cmp_ok $at[0], '<', $at[-1] - 0.3, '... the first long before the last';
}


# The same over TLS, whose filters keep bytes on both ways. Perl's core has no TLS.
sub secure {
    my $h = Harness->new(mpm => 'event', workers => 8, modules => [qw(socache_shmcb ssl)]);
    my ($dir, $port) = ("$h->{root}/run", Harness::free_port());
    system("openssl req -x509 -newkey rsa:2048 -nodes -keyout $dir/key -out $dir/cert -days 2 -subj /CN=localhost -addext basicConstraints=critical,CA:FALSE >$dir/out 2>&1") == 0 or die slurp("$dir/out");
    my %app = map { $_ => $h->make_app($_, { 'passenger_wsgi.py' => $source }) } qw(slow hello);
    $h->allow_log('AH01882'); # mod_ssl of a newer OpenSSL than the one that is installed
    $h->allow_log('AH00484'); # all threads are busy for a moment
    $h->start(conf => <<"END");
Listen 127.0.0.1:$port https
SSLSessionCache shmcb:$dir/sessions
AsyncRequestWorkerFactor 100
PassengerMaxInstancesPerApp 1
<VirtualHost *>
    DocumentRoot $app{hello}/public
</VirtualHost>
<VirtualHost *:$port>
    DocumentRoot $app{slow}/public
    PassengerMaxRequestQueueSize 0
    SSLEngine on
    SSLCertificateFile $dir/cert
    SSLCertificateKeyFile $dir/key
</VirtualHost>
END
    spew("$dir/client.py", <<'END');
import hashlib, json, socket, ssl, sys, urllib.request
tls, plain = int(sys.argv[1]), int(sys.argv[2])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
def connect():
    return context.wrap_socket(socket.create_connection(("127.0.0.1", tls), timeout=30))
def free():
    return [urllib.request.urlopen("http://127.0.0.1:%d/?n=7" % plain, timeout=10).read() for _ in range(10)] == [b"0123456"] * 10
def read(f):
    status, length = f.readline().split()[1], 0
    for line in iter(f.readline, b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return status.decode(), f.read(length)
said = {}
n = 4000000
def ask(request):
    s = connect() # Apache waits for the first request of a connection in a thread
    s.sendall(request)
    return s
readers = [ask(b"GET /?n=%d HTTP/1.1\r\nHost: slow\r\n\r\n" % n) for _ in range(20)]
said["beside readers"] = free()
files = [s.makefile("rb") for s in readers]
want = (b"0123456789" * (n // 10), "200")
said["readers"] = sum(read(f) == (want[1], want[0]) for f in files)
body = bytes(range(256)) * 400
head = b"POST /?s=0 HTTP/1.1\r\nHost: slow\r\nContent-Length: %d\r\n\r\n" % len(body)
writers = [ask(head + body[:50001]) for _ in range(20)]
files = [s.makefile("rb") for s in writers]
said["beside uploads"] = free()
for s in writers:
    s.sendall(body[50001:] + b"GET /?n=3 HTTP/1.1\r\nHost: slow\r\n\r\n" + b"GET /?n=4&s=0.05 HTTP/1.1\r\nHost: slow\r\n\r\n")
digest = b"%d %s" % (len(body), hashlib.sha1(body).hexdigest().encode())
said["uploads"] = sum([read(f), read(f), read(f)] == [("200", digest), ("200", b"012"), ("200", b"0123")] for f in files)
print(json.dumps(said))
END
    $h->get('/');
    my $out = `timeout 60 python3 $dir/client.py $port $h->{port} 2>&1`;
    require JSON::PP;
    is_deeply eval { JSON::PP->new->decode($out) }, { 'beside readers' => JSON::PP::true(), readers => 20, 'beside uploads' => JSON::PP::true(), uploads => 20 },
        'TLS: slow readers, slow uploads and pipelined requests hold no thread, and get theirs' or diag $out;
}

# More tunnels than threads, idle for longer than Timeout, through a graceful restart.
sub tunnels {
    my $h = Harness->new(mpm => 'event', workers => 8, modules => ['status']);
    my $app = $h->make_app('hello', { 'passenger_wsgi.py' => $source });
    my $tunnel = $h->copy_app('tunnel');
    $h->allow_log('AH00484'); # all threads are busy for a moment
    my $location = "<Location /server-status>\nSetHandler server-status\n</Location>";
    $h->start(conf => "Timeout 1\nAsyncRequestWorkerFactor 100\nServerLimit 8\n<VirtualHost *>\nServerName hello\nDocumentRoot $app/public\n$location\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName tunnel\nDocumentRoot $tunnel/public\n</VirtualHost>");
    my @c = map { my $c = $h->client(timeout => 20); $c->write_request('GET', '/echo', Host => 'tunnel', Connection => 'Upgrade', Upgrade => 'tunnel-chat/1'); $c } 1 .. 60;
    is_deeply statuses(@c), { 101 => 60 }, 'sixty tunnels';
    free($h, 'sixty tunnels');
    my $status = $h->get('/server-status?auto', Host => 'hello')->body;
    like $status, qr/^BusyWorkers: [1-4]$/m, '... as the server\'s status says' or diag $status;
    my $begin = time;
    wait_for { time - $begin > 2.5 } undef, 4;
    my $echo = sub { my ($what) = @_; my $n = 0; for my $c (@c) { $c->send("$what\n"); $c->_more(time + 10); $n += delete($c->{in}) eq "$what\n"; $c->{in} = '' } return $n };
    is $echo->('ping'), 60, 'idle for longer than Timeout, all of them live';
    $h->graceful;
    free($h, 'a reload with sixty tunnels');
    is $echo->('pong'), 60, '... which go on';
}

# What may take long and what may not: an application as long as it likes, a client no longer than Timeout and mod_reqtimeout say.
sub limits {
    my $h = server(modules => ['reqtimeout'], conf => "Timeout 1\nRequestReadTimeout body=1,MinRate=1000000 header=20");
    my @c = at_once($h, 10, '/?file=go&log=wait');
    my $begin = time;
    my $stalled = $h->client(timeout => 20);
    $stalled->send("POST /?s=0 HTTP/1.1\r\nHost: hello\r\nContent-Length: 100\r\n\r\nabc");
    is $stalled->read_response('POST')->status, 408, 'mod_reqtimeout ends a stalled upload';
    ok $stalled->closed, '... and its connection';
    my $deaf = $h->client;
    $deaf->write_request('GET', '/?n=20000000', Host => 'hello');
    wait_for { time - $begin > 3.5 } undef, 8;
    is scalar(grep { $_->_more(time) } @c), 0, 'requests that wait for an application outlive Timeout';
    open_file($h, 'go');
    is_deeply statuses(@c), { 200 => 10 }, '... and are answered';
    my $r = $deaf->read_response('GET');
    ok !$r->complete, 'who takes nothing of the response for longer than Timeout gets no more of it';
    cmp_ok length $r->body, '<', 20_000_000, '... of ' . length $r->body;

    my $plain = server(conf => 'Timeout 1');
    my $c = $plain->client(timeout => 20);
    $c->send("POST /?s=0 HTTP/1.1\r\nHost: hello\r\nContent-Length: 100\r\n\r\nabc");
    is $c->read_response('POST')->status, 408, 'Timeout alone ends it too';
    $c = $plain->client(timeout => 20);
    $c->send("POST /?s=0 HTTP/1.1\r\nHost: hello\r\nContent-Length: 8\r\n\r\n");
    for my $letter (split //, 'patience') { wait_for { 0 } undef, 0.4; $c->send($letter) }
    is $c->read_response('POST')->body, '8 ' . sha1_hex('patience'), '... but not one that is slower than it as a whole';
}

# Ends of all kinds come to requests that are parked.
sub endings {
    my $h = server(conf => 'ServerLimit 8'); # old children keep their places until their last request is answered
    my @c = at_once($h, 100, '/?file=go&log=wait');
    wait_for { $h->log_text =~ /asked wait/ } 'the first request';
    my @old = children($h);
    $h->graceful;
    free($h, 'graceful with a hundred parked');
    open_file($h, 'go');
    is_deeply statuses(@c), { 200 => 100 }, 'graceful: all are answered';
    soon { !grep { Proc::same($_) } @old } '... and the old children leave', 15;

    unlink "$h->{slow}/tmp/go";
    @c = at_once($h, 20, '/?file=go');
    free($h, 'twenty are parked');
    $h->kill_core;
    $h->expect_log('PSG0683');
    $h->allow_log('PSG0681', 'PSG0150', qr/PSG0\d+: .*core/);
    open_file($h, 'go');
    my $n = statuses(@c);
    is $n->{502} + ($n->{200} // 0), 20, 'the core dies: all get an answer' or diag explain $n;

    unlink "$h->{slow}/tmp/go";
    @c = at_once($h, 60, '/?file=go&log=last');
    wait_for { $h->log_text =~ /asked last/ } 'the first request';
    free($h, 'sixty are parked');
    my $pid = fork // die;
    if (!$pid) { $h->apachectl('-k', 'graceful-stop'); POSIX::_exit(0) }
    waitpid $pid, 0;
    wait_for { $h->log_text =~ /AH00492|AH00493|caught SIGWINCH/ } 'graceful-stop';
    open_file($h, 'go');
    is_deeply statuses(@c), { 200 => 60 }, 'graceful-stop: all are answered';
    soon { $h->_gone } '... and Apache ends', 20;
    $h->finish;

    $h = server(conf => "MaxConnectionsPerChild 10\nServerLimit 20");
    @c = at_once($h, 30, '/?file=go&log=wait');
    wait_for { $h->log_text =~ /asked wait/ } 'the first request';
    open_file($h, 'go');
    is_deeply statuses(@c), { 200 => 30 }, 'MaxConnectionsPerChild: those who are parked stay until they are answered';
    $h->finish;

    $h = server();
    $h->allow_log('PSG0150');
    @c = at_once($h, 20, '/?file=go&log=end');
    wait_for { $h->log_text =~ /asked end/ } 'the first request';
    my $begin = time;
    $h->stop;
    cmp_ok time - $begin, '<', 15, 'stop waits for nobody who is parked';
}

# What comes after the suspension is what would have come without.
sub pages {
    my $h = server(slow => <<'END', conf => "LogFormat \"%U %>s %D %{X-Id}i\" own\nCustomLog logs/own_log own\nErrorDocument 503 /sorry");
    PassengerErrorOverride On
    ErrorDocument 503 "the server's own page"
    ErrorDocument 404 /?n=12&s=0.2
    SetOutputFilter DEFLATE
    LimitRequestBody 1000
END
    my $c = $h->client;
    my $ask = sub { my ($path, @more) = @_; $c->ask('GET', $path, Host => 'slow', @more) };
    my $r = $ask->('/?status=503+No&s=0.3&n=10');
    is $r->status . ' ' . $r->body, q{503 the server's own page}, 'an error page after a wait';
    $c = $h->client; # Apache closes after a 503
    $r = $ask->('/?status=404+No&s=0.3&n=10');
    is $r->status . ' ' . $r->body, '404 012345678901', '... one of the application, which waits too';
    $r = $ask->('/timed?s=0.4&n=10', 'X-Id' => 'one');
    is $r->body, '0123456789', 'the connection goes on';
    my ($took) = (wait_for { slurp("$h->{root}/logs/own_log") =~ m{^/timed 200 (\d+) one$}m ? $1 : 0 } 'a line in the access log') || 0;
    cmp_ok $took, '>=', 400_000, '... with all of the time that it took';
    cmp_ok $took, '<', 5_000_000, '... and no more';
    $c = $h->client;
    $c->send(join '', map { "GET /?n=$_&s=0.05 HTTP/1.1\r\nHost: slow\r\n\r\n" } 1 .. 8);
    is_deeply [ map { length $c->read_response('GET')->body } 1 .. 8 ], [ 1 .. 8 ], 'pipelined requests are answered in order';
    $c = $h->client;
    $c->send("POST /?s=0.1 HTTP/1.1\r\nHost: slow\r\nTransfer-Encoding: chunked\r\n\r\n");
    wait_for { 0 } undef, 0.1;
    $c->send("3e8\r\n" . 'x' x 1000 . "\r\n1\r\nx\r\n");
    is $c->read_response('POST')->status, 413, 'a limit that is passed while the request is parked';
    is $h->client->ask('HEAD', '/?n=10&s=0.1', Host => 'slow', Connection => 'close')->status, 200, 'HEAD';
    my $old = $h->request("GET /?n=10&s=0.1 HTTP/1.0\r\nHost: slow\r\n\r\n");
    like $old, qr{^HTTP/1\.1 200 .*0123456789$}s, 'HTTP/1.0';
}

# Where nobody can come back to a request it is waited for in its thread, and answered as if it were parked. Apache's status tells how many those are:
# the one within another, a connection of HTTP/2, and the question itself. Rules of .htaccess files redirect within the server, once or more, and error
# pages are redirects too; those requests are parked like others, with all that belongs to them.
sub nested {
    my $h = server(modules => [qw(http2 include status)], conf => "Protocols h2c http/1.1\nExtendedStatus On\n<Location /server-status>\nSetHandler server-status\n</Location>\n",
        slow => "<Location /page.shtml>\nOptions +Includes\nSetOutputFilter INCLUDES\n</Location>\n"
            . "<Location /private>\nRequire all denied\n</Location>\nErrorDocument 403 /?file=go&n=403\n"
            . "<Location /moved>\nRewriteEngine on\nRewriteRule .* /?file=go&n=300 [PT]\n</Location>\nRewriteEngine on\nRewriteRule ^/same\$ /?file=go&n=200 [PT]\n"
            . "CustomLog logs/own_log \"%U %>s %{Content-Encoding}o\"\n<Directory />\nRewriteEngine on\nRewriteBase /\nRewriteCond %{REQUEST_URI} ^/twice\nRewriteRule . /once [L]\n"
            . "RewriteCond %{REQUEST_URI} ^/once\nRewriteRule . /there [L]\n</Directory>\n<Location /there>\nSetOutputFilter DEFLATE\nErrorDocument 409 \"no tea\"\nErrorDocument 404 /?n=404&s=0.1\nPassengerErrorOverride on\n</Location>\n");
    spew("$h->{slow}/public/page.shtml", '<!--#include virtual="/?file=go&n=10" -->, <!--#include virtual="/?n=20" -->');
    $h->allow_log('AH01630'); # /private is
    my $busy = sub { $h->get('/server-status?auto', Host => 'hello')->body =~ /^BusyWorkers: (\d+)$/m ? $1 : -1 };
    soon { $busy->() == 1 } 'only the thread that tells is busy';
    my %parked = map { my ($c) = at_once($h, 1, $_, 'Accept-Encoding' => 'gzip'); $_ => $c } '/?file=go&n=100', '/same', '/moved', '/once?file=go&n=3000', '/twice?file=go&n=6000', '/private';
    my @many = at_once($h, 20, '/once?file=go&n=7');
    push @many, at_once($h, 10, '/private');
    my %kept = map { my ($c) = at_once($h, 1, $_); $_ => $c } '/page.shtml';
    my $h2 = fork // die "fork: $!";
    if (!$h2) {
        open STDOUT, '>', "$h->{root}/h2" or die "h2: $!";
        exec qw(curl -s --max-time 30 --http2-prior-knowledge -w %{http_version}:%{http_code}:%{size_download} -o /dev/null -H Host:slow),
            "http://127.0.0.1:$h->{port}/?file=go&n=500" or POSIX::_exit(127);
    }
    soon { my $n = $busy->(); $n >= 2 && $n <= 3 } 'those within others hold their threads, those that are parked do not'
        or diag $h->get('/server-status?auto', Host => 'hello')->body;
    my $page = $h->get('/server-status', Host => 'hello')->body;
    like $page, qr{<b>W</b>.*?GET \Q$_\E }s, "... $_ is shown at work" for qw(/page.shtml);
    $_->close for splice @many, 10, 10;
    open_file($h, 'go');
    my %want = ('/?file=go&n=100' => [200, 100], '/same' => [200, 200], '/page.shtml' => [200, 10 + 2 + 20], '/private' => [403, 403], '/moved' => [200, 300],
        '/once?file=go&n=3000' => [200, 3000], '/twice?file=go&n=6000' => [200, 6000]);
    my %all = (%parked, %kept);
    for my $path (sort keys %all) {
        my $r = $all{$path}->read_response('GET');
        my $body = $r->body;
        IO::Uncompress::Gunzip::gunzip(\$r->body, \$body) if $path =~ /once|twice/;
        is_deeply [$r->status, length $body], $want{$path}, "$path is answered" or diag $r->body;
    }
    is_deeply statuses(@many), { 200 => 10, 403 => 10 }, 'all that were redirected are answered, but those who left';
    my $c = $h->client;
    my $ask = sub { my ($method, $path, @more) = @_; my $r = $c->ask($method, $path, Host => 'slow', @more); $r->status . ' ' . $r->body };
    is $ask->(GET => "/$_?s=0.3&n=5"), '200 01234', "/$_: the connection goes on" for qw(once twice);
    is $ask->(POST => '/twice?s=0.3', body => 'hello'), '200 5 ' . sha1_hex('hello'), '... with a body';
    is $ask->(GET => '/twice?s=0.3&status=409+No&n=5'), '409 no tea', '... with an error page';
    is $ask->(GET => '/once?s=0.3&status=404+No&n=5'), '404 ' . substr('0123456789' x 41, 0, 404), '... of the application';
    is $ask->(HEAD => '/once?s=0.3&n=5'), '200 ', '... HEAD';
    is $ask->(GET => '/private?x'), '403 ' . substr('0123456789' x 41, 0, 403), 'an error page: the connection goes on';
    is $ask->(POST => '/private', body => 'x' x 5000), '403 ' . substr('0123456789' x 41, 0, 403), '... after a body that nobody wanted';
    is $ask->(GET => '/?n=3'), '200 012', '... and on';
    my %logged;
    soon { %logged = (); $logged{$_}++ for split /\n/, slurp("$h->{root}/logs/own_log"); ($logged{'/twice 200 gzip'} // 0) == 1 && $logged{'/twice 409 -'} && $logged{'/once 404 -'} }
        'each is logged once, under the name that was asked for' or diag explain \%logged;
    waitpid $h2, 0;
    is slurp("$h->{root}/h2"), '2:200:500', 'a stream of HTTP/2 is answered';
    soon { $busy->() == 1 } 'all threads are free again';
}

# Rounds of more requests than threads, from connections that stay, that close and that leave: nothing is lost, and no descriptor.
sub lives {
    my $h = server();
    my $fds = sub { my $n = 0; $n += Proc::fds($_->{pid}) for children($h); $n };
    free($h, 'in the beginning');
    my ($before, $bad) = ($fds->(), 0);
    for my $round (1 .. 12) {
        my @c = at_once($h, 50, '/?n=20&s=0.002', $round % 2 ? (Connection => 'close') : ());
        $_->close for splice @c, 40;
        $bad += grep { my $r = $_->read_response('GET'); $r->status != 200 || $r->body ne '01234567890123456789' } @c;
    }
    is $bad, 0, 'every request is answered';
    soon { $fds->() <= $before + 8 } 'the descriptors are given back', 15 or diag $fds->() . " instead of $before";
}

# Apache's listener may fall asleep with all threads idle when two things are ready at once, as here (mod_passenger/README.md, "A listener that sleeps").
sub bursts {
    my $h = Harness->new(mpm => 'event', workers => 8);
    my $port = Harness::free_port();
    my $app = $h->make_app('app', { 'passenger_wsgi.py' => $source });
    spew("$app/public/file", 'x' x 20);
    $h->start(conf => "Listen 127.0.0.1:$port\nServerLimit 1\nStartServers 1\nThreadsPerChild 8\nDocumentRoot $app/public");
    $h->allow_log('AH00484');
    my ($worst, $bad) = (0, 0);
    for my $burst (1 .. 25) {
        my $begin = time;
        my @c = map { my $c = Client->new(port => $_ % 2 ? $port : $h->{port}, timeout => 20); $c->write_request('GET', '/file', Connection => 'close'); $c } 1 .. 200;
        $bad += grep { $_->read_response('GET')->status != 200 } @c;
        $worst = time - $begin if time - $begin > $worst;
        last if $worst > 8;
    }
    is $bad, 0, 'bursts of connections are served';
    cmp_ok $worst, '<', 8, sprintf '... without a listener that sleeps (%.1f s)', $worst;
}
