# Requests that ask for another protocol: which of them are passed on, and what passes both ways after 101; over TLS too. The application is a
# scripted peer (t/apps/tunnel).
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use IO::Select;
use Socket;
use Test::More;
use Time::HiRes qw(time);
use Client;
use Harness;
use Proc;

for my $mpm (Harness->mpms) {
    subtest "$mpm: tunnels" => sub { tunnels($mpm) };
}
# What follows is the core's, whatever MPM asks it.
my $mpm = (Harness->mpms)[0];
for my $part (qw(offers answers limits restarts)) {
    subtest $part => sub { no strict 'refs'; &$part() };
}
done_testing;

my ($key, $cert);

sub app_conf { my ($h, $app, $more) = @_; "DocumentRoot $app/public\n" . ($more // '') }

# A connection on which the application has taken up the protocol; `more` goes in the same write as the request.
sub open_tunnel {
    my ($h, $path, $more, %arg) = @_;
    my $c = $arg{client} // $h->client(timeout => 20);
    my $host = $arg{host} // 'localhost';
    $c->send("GET $path HTTP/1.1\r\nHost: $host\r\nConnection: keep-alive, Upgrade\r\nUpgrade: $host-chat/1\r\n\r\n" . ($more // ''));
    my $r = $c->read_response;
    is $r->status, 101, "$path: 101" or diag $r->error, $r->body;
    return wantarray ? ($c, $r) : $c;
}

sub gets {
    my ($c, $want, $what) = @_;
    my $deadline = time + 10;
    1 while length $c->{in} < length $want && $c->_more($deadline);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is substr($c->{in}, 0, length $want, ''), $want, $what;
}

sub echoes { my ($c, $what) = @_; $c->send("ping\n"); local $Test::Builder::Level = $Test::Builder::Level + 1; gets($c, "ping\n", $what) }

# Writes and reads at the same time.
sub pump {
    my ($c, $data) = @_;
    my ($in, $done, $deadline) = ('', 0, time + 30);
    $c->{sock}->blocking(0);
    while (length $in < length $data && time < $deadline) {
        my ($r, $w) = ('', '');
        vec($r, fileno $c->{sock}, 1) = 1;
        vec($w, fileno $c->{sock}, 1) = 1 if $done < length $data;
        select $r, $w, undef, 1;
        my $n = syswrite $c->{sock}, $data, 262144, $done if $done < length $data;
        $done += $n // 0;
        $n = sysread $c->{sock}, $in, 262144, length $in;
        last if defined $n && $n == 0;
    }
    $c->{sock}->blocking(1);
    return $in;
}

sub requests { my ($h) = @_; my $c = $h->core; Proc::alive($c) ? `$ENV{PASSENGER_BUILD}/passenger-status --show=requests 2>&1` : '' }

# Processor time of Apache, the helper and the application.
sub ticks {
    my ($h) = @_;
    my $sum = 0;
    for my $pid ($h->{pid}, map { $_->{pid} } Proc::descendants($h->{pid})) {
        my @field = split ' ', slurp("/proc/$pid/stat") =~ s/^.*\) //r;
        $sum += ($field[11] // 0) + ($field[12] // 0);
    }
    return $sum;
}

# A client of TLS that is a child of ours at the other end of a socket pair.
sub tls_client {
    my ($port) = @_;
    socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "socketpair: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN, '<&', $theirs;
        open STDOUT, '>&', $theirs;
        open STDERR, '>', '/dev/null';
        exec 'openssl', 's_client', '-quiet', '-connect', "127.0.0.1:$port" or POSIX::_exit(127);
    }
    return bless { sock => IO::Handle->new_from_fd($ours, 'r+'), timeout => 20, in => '', eof => 0, pid => $pid, keep => $ours }, 'Client';
}

sub tunnels {
    my ($kind) = @_;
    my $h = Harness->new(mpm => $kind, modules => [qw(reqtimeout socache_shmcb ssl)]);
    my $app = $h->copy_app('tunnel');
    my $tls = Harness->free_port;
    ($key, $cert) = ("$h->{root}/key.pem", "$h->{root}/cert.pem");
    my $out = `openssl req -x509 -newkey rsa:2048 -nodes -keyout $key -out $cert -days 2 -subj /CN=tls -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:tls 2>&1`;
    is $?, 0, 'a certificate' or diag $out;
    # mod_ssl of a newer OpenSSL than the one that is installed; slots and time that children need for their tunnels; our killing
    $h->allow_log('AH01882', 'AH03490', 'AH00045', 'PSG0013');
    my $format = 'LogFormat "%>s %B %r" tunnel' . "\nCustomLog $h->{root}/logs/tunnel tunnel\n";
    # Places for new children beside old ones; on event ServerLimit says how many.
    my $places = $kind eq 'worker' ? 'MaxRequestWorkers ' . 2 * $h->{workers} . "\n" : '';
    $h->start(conf => "${places}Listen 127.0.0.1:$tls\nSSLSessionCache shmcb:$h->{root}/run/ssl(65536)\nTimeout 1\nRequestReadTimeout header=2 body=1\n$format"
        . app_conf($h, $app, "ErrorDocument 400 /page\n<Location /sink>\nPassengerWebSocketGracefulTimeout 1\n</Location>\n")
        . "<VirtualHost *>\nServerName localhost\n</VirtualHost>\n<VirtualHost *>\nServerName raw\nDocumentRoot " . $h->copy_app('raw') . "/public\n</VirtualHost>\n"
        . "<VirtualHost *:$tls>\nServerName tls\nDocumentRoot $app/public\nSSLEngine on\nSSLCertificateFile $cert\nSSLCertificateKeyFile $key\n</VirtualHost>\n");

    my ($c, $r) = open_tunnel($h, '/echo', "sent\nbefore\n");
    is $r->header('Upgrade'), 'localhost-chat/1', '... to what was asked for';
    is $r->header('Connection'), 'Upgrade', '... in the words of HTTP';
    is $r->header('X-Extra'), 'yes', '... with the application\'s fields';
    is $r->header('Content-Length'), undef, '... without a body';
    gets($c, "sent\nbefore\n", 'what was sent before 101 is not lost');
    echoes($c, 'an echo');
    my $peers = sprintf ':%04X 0100007F:%04X', $h->{port}, $c->{sock}->sockport;
    soon { slurp('/proc/net/tcp') =~ /$peers 01 \S+ 02:(\S+)/ && hex $1 <= 30_000 } 'a client that vanishes is asked for after five minutes (1/100 s)';
    my @quiet = map { scalar open_tunnel($h, $_) } '/last', '/sink', '/sink';
    gets($quiet[0], "last words\n", 'an application that ends its half');
    $quiet[1]->shutdown;
    my $ticks = ticks($h);
    is $c->closed(1.7), 0, 'neither Timeout nor RequestReadTimeout ends it';
    cmp_ok ticks($h) - $ticks, '<', 40, 'tunnels that wait, closed to one half or not, take no time (1/100 s)';
    $h->get('/drain');
    undef @quiet;
    echoes($c, '... it is still there');
    my $big = join '', map { pack 'N', $_ } 1 .. 4 << 20;
    ok pump($c, $big) eq $big, '16 MiB both ways at once';
    $c->shutdown;
    gets($c, 'bye:' . (length($big) + 22) . "\n", 'the client\'s end reaches the application, whose answer comes');
    is $c->closed, 1, '... and its end';
    soon { slurp("$h->{root}/logs/tunnel") =~ m{^101 \d{8} GET /echo HTTP/1.1$}m } 'the access log has the status and the bytes';

    $c = open_tunnel($h, '/early');
    gets($c, "early\n", 'what comes together with 101');
    echoes($c, '... and more');
    $c->close;
    $c = open_tunnel($h, '/last');
    gets($c, "last words\n", 'the application may end its half');
    is $c->closed, 1, '... which the client sees';
    $c->send('x' x 1000);
    $c->shutdown;
    $h->expect_log(qr/output: 1000 bytes came after the last words/, 'that the client could still send');
    is open_tunnel($h, '/close')->closed, 1, 'it may close';

    # Other answers: the connection goes on as it is used to.
    for my $case ([200, '/other-page'], [404, '/page?404'], [426, '/page?426']) {
        my ($status, $path) = @$case;
        $c = $h->client;
        $c->send("GET $path HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n");
        my $first = $c->read_response;
        is $first->status, $status, "$status instead of 101";
        is $first->json->{pairs}{HTTP_UPGRADE}, 'websocket', '... to a question that was passed on';
        is $first->json->{pairs}{HTTP_CONNECTION}, 'Upgrade', '... whole';
        is $c->read_response->json->{pairs}{REQUEST_URI}, '/second', '... what follows is the next request';
    }

    hostile($h);
    my $t = open_tunnel($h, '/echo', "hello\n", client => tls_client($tls));
    gets($t, "hello\n", 'over TLS');
    echoes($t, '... both ways');
    ok pump($t, $big) eq $big, '... 16 MiB';
    is $t->closed(1.7), 0, '... without a limit';
    echoes($t, '... still');
    kill TERM => $t->{pid};
    waitpid $t->{pid}, 0;
    $t = open_tunnel($h, '/last', undef, client => tls_client($tls));
    gets($t, "last words\n", 'the application ends a tunnel over TLS');
    is $t->closed, 1, '... and the connection';
    waitpid $t->{pid}, 0;
    $h->expect_log(qr/output: 0 bytes came after the last words/, '... as does the application\'s half');

    # A new generation of Apache's children, a core that dies.
    my $one = open_tunnel($h, '/echo');
    my $brief = open_tunnel($h, '/sink');
    $h->graceful;
    echoes($one, 'a tunnel survives a graceful restart');
    is $brief->closed(20), 1, '... unless its time is limited (PassengerWebSocketGracefulTimeout)';
    echoes($one, '... when the other still goes on');
    is open_tunnel($h, '/sink')->closed(1.5), 0, '... and new ones have no limit';
    my $two = open_tunnel($h, '/echo');
    my $pid = $h->get('/')->json->{pid};
    $h->kill_core;
    is $_->closed, 1, 'a tunnel ends with its core' for $one, $two;
    $two->close;
    $one->close;
    is $h->get('/')->json->{pid}, $pid, '... and the application lives on';
    my @open = map { scalar open_tunnel($h, '/echo') } 1 .. 3;
    kill KILL => $pid;
    is $_->closed, 1, 'a tunnel ends with its process' for @open;
    $h->expect_log(qr/app\.exited/, 'that the process was killed');
    scalar open_tunnel($h, '/echo') for 1 .. 3;
    push @open, scalar open_tunnel($h, '/echo');
    ok $h->stop, 'Apache ends while there are tunnels';
}

# Applications and clients that do not keep to the rules, each at once and (on event) when the request has been parked. The application does what
# the query says (t/apps/raw).
sub hostile {
    my ($h) = @_;
    my $go = "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: raw-chat/1\r\n";
    my @table = (
        ['a length', ["$go" . "Content-Length: 2\r\n\r\nhello"], 'hello'],
        ['chunks', ["$go" . "Transfer-Encoding: chunked\r\n\r\nhello"], 'hello'],
        ['another 101 behind it', ["$go\r\n$go\r\n"], "$go\r\n"],
        ['HTTP/1.0', [$go =~ s/1\.1/1.0/r . "\r\nx"], 'x'],
        ['no Connection', [$go =~ s/Connection: Upgrade\r\n//r . "\r\nx"], 'x'],
        ['100 before it', ["HTTP/1.1 100 Continue\r\n\r\n$go\r\nx"], 'x'],
        ['a head in pieces', [substr($go, 0, 20), substr($go, 20) . "\r", "\nx"], 'x'],
        ['bytes of any kind', ["$go\r\n\0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\xff"], "\0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\xff"],
    );
    for my $first ('', $h->{mpm} eq 'event' ? 'wait=0.08&' : ()) {
        my $ask = sub {
            my ($pieces, $more, $before) = @_;
            my $orders = ($before // '') . join '&wait=0.02&', map { 'send=' . s/([^!-~]|[&%+])/sprintf '%%%02X', ord $1/ger } @$pieces;
            my $c = $h->client(timeout => 20);
            $c->send("GET /?$first$orders$more HTTP/1.1\r\nHost: raw\r\nConnection: Upgrade\r\nUpgrade: raw-chat/1\r\n\r\n");
            return $c;
        };
        for my $case (@table) {
            my $c = $ask->($case->[1], '&close');
            is $c->read_response->status, 101, "101 with $case->[0]";
            gets($c, $case->[2], '... what follows is the tunnel\'s');
            is $c->closed, 1, '... and no more';
        }
        is $ask->(@$_)->read_response->status, 502, 'no answer' for [[substr $go, 0, 30], '&close'], [["$go" . "no field\r\n\r\n"], '&close'], [[], 'reset'];
        is $ask->(["$go\r\n"], '&reset')->read_response->status, 101, '101 from one that breaks off';
        my $c = $ask->(["$go\r\n"], '&hang&log=left', 'wait=0.1&');
        $c->close;
        $h->expect_log(qr/output: left/, 'that the application knows when a client left before 101');
    }
    my $failed = () = $h->log_text =~ /PSG0150/g;
    is $failed, $h->{mpm} eq 'event' ? 6 : 3, 'each failure is a line of the log';
    $h->allow_log('PSG0150', 'PSG0152');
    is $h->get('/', Host => 'raw')->status, 200, 'others are served';
}

# What is passed on as a question, and what is not.
sub offers {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('tunnel');
    $h->start(conf => app_conf($h, $app));
    my $ask = sub {
        my ($head, $body) = @_;
        my $c = $h->client;
        $c->send("$head\r\nHost: x\r\n\r\n" . ($body // ''));
        return $c->read_response($head =~ /^HEAD/ ? 'HEAD' : 'GET')->json->{pairs};
    };
    my $upgrade = "Connection: Upgrade\r\nUpgrade";
    is $ask->("GET / HTTP/1.1\r\n$upgrade: $_")->{HTTP_UPGRADE}, $_, "\"$_\" is passed on" for qw(websocket WebSocket foo/2.0 x);
    is $ask->("GET / HTTP/1.1\r\nConnection: a, upgrade ,b\r\nUpgrade: x\r\nContent-Length: 0")->{HTTP_UPGRADE}, 'x', '... and with an empty body';
    my %not = (
        (map { ("Upgrade: $_" => "GET / HTTP/1.1\r\n$upgrade: $_") }
            'h2c', 'H2C', 'h2', 'h3', 'HTTP/2.0', 'HTTP/1.1', 'TLS/1.0', 'websocket, h2c', 'h2c,websocket', 'websocket,', 'a b', '', '/', 'a/', 'a/b/c', 'x' x 65),
        'two fields' => "GET / HTTP/1.1\r\n$upgrade: websocket\r\nUpgrade: x",
        'HTTP/1.0' => "GET / HTTP/1.0\r\n$upgrade: websocket",
        'no Connection' => "GET / HTTP/1.1\r\nUpgrade: websocket",
        'another Connection' => "GET / HTTP/1.1\r\nConnection: upgraded\r\nUpgrade: websocket",
        (map { ($_ => "$_ / HTTP/1.1\r\n$upgrade: websocket") } qw(POST PUT OPTIONS DELETE)),
    );
    for my $name (sort keys %not) {
        my $pairs = $ask->($not{$name});
        is $pairs->{HTTP_UPGRADE}, undef, "not passed on: $name";
        is $pairs->{HTTP_CONNECTION}, undef, "... nor that there was a question: $name";
        ok $pairs->{REQUEST_METHOD}, "... but served: $name";
    }
    for my $body ([ 'Content-Length: 5', 'hello' ], [ 'Transfer-Encoding: chunked', "5\r\nhello\r\n0\r\n\r\n" ]) {
        is $ask->("GET / HTTP/1.1\r\n$upgrade: websocket\r\n$body->[0]", $body->[1])->{HTTP_UPGRADE}, undef, "not with a body: $body->[0]";
    }
    is $ask->("GET / HTTP/1.1\r\nHTTP_UPGRADE: h2c\r\nHTTP-Upgrade: h2c")->{HTTP_UPGRADE}, undef, 'nor by another name';
}

# Applications that are wrong.
sub answers {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('tunnel');
    $h->start(conf => app_conf($h, $app, "PassengerErrorOverride on\nErrorDocument 400 \"Apache's page\"\n"));
    my $ask = sub {
        my ($path, $fields) = @_;
        my $c = $h->client;
        $c->send("GET $path HTTP/1.1\r\nHost: x\r\n$fields\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
        return map { $c->read_response } 1, 2;
    };
    for my $case (['/wrong', '101 that does not say to what'], ['/other', '101 to something else'], ['/always', '101 that nobody asked for', '']) {
        my ($first, $second) = $ask->($case->[0], $case->[2] // "Connection: Upgrade\r\nUpgrade: websocket\r\n");
        is $first->status, 502, "502 for $case->[1]";
        is $second->json->{pairs}{REQUEST_URI}, '/next', '... and the next request is one';
    }
    $h->allow_log('PSG0150');
    my ($r) = $ask->('/page?400', "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    is $r->body, "Apache's page", 'Apache\'s own page for a refusal, where that is wanted';
    # Nobody but Apache's children can reach the core, but they may be lying.
    my ($sock) = glob "$h->{root}/registry/instance-*/core.sock";
    ok $sock, 'the core\'s socket';
}

sub kilobytes { my ($pid) = @_; slurp("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : 0 }

sub limits {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('tunnel');
    my $short = $h->copy_app('tunnel', 'short');
    local $ENV{PASSENGER_INSTANCE_REGISTRY_DIR} = "$h->{root}/registry";
    $h->start(conf => "<VirtualHost *>\nServerName other\nDocumentRoot $app/public\nPassengerMaxRequestTime 1\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName short\nDocumentRoot $short/public\nPassengerWebSocketIdleTimeout 1\n</VirtualHost>\n");
    my $core = $h->core;
    my $idle = open_tunnel($h, '/echo', '', host => 'short');
    my $kept = open_tunnel($h, '/echo');
    like requests($h), qr/"state": "tunnel"/, 'the status tells of tunnels';
    for (1 .. 15) {
        echoes($idle, 'one with a time-out that is used');
        is $idle->closed(0.1), 0, '... does not end';
    }
    is $idle->closed, 1, '... but does when it is not used';
    echoes($kept, 'PassengerMaxRequestTime is not for tunnels');

    # Sides that do not read.
    my $before = kilobytes($core);
    my @sink = map { scalar open_tunnel($h, '/sink') } 1 .. 3;
    my $data = 'x' x 65536;
    my @sent = (0) x @sink;
    for my $i (0 .. $#sink) {
        $sink[$i]{sock}->blocking(0);
        while (IO::Select->new($sink[$i]{sock})->can_write(0.5)) {
            my $n = syswrite $sink[$i]{sock}, $data;
            last unless $n;
            $sent[$i] += $n;
        }
        $sink[$i]{sock}->blocking(1);
    }
    my @flood = map { scalar open_tunnel($h, '/flood') } 1 .. 3;
    is $h->get('/')->status, 200, 'others are served meanwhile';
    cmp_ok kilobytes($core) - $before, '<', 6 * 1024, 'the core\'s memory is bounded (kB)';
    ok !grep({ /#\d+ \(deleted\)|passenger\./ } Proc::fds($core)), '... and nothing is on the disk' or diag join ' ', Proc::fds($core);
    $h->get('/drain');
    for my $i (0 .. $#sink) {
        $sink[$i]->shutdown;
        gets($sink[$i], "bye:$sent[$i]\n", 'all of it comes when it is wanted');
    }
    for (@flood) {
        1 while length $_->{in} < 1 << 20 && $_->_more(time + 10);
        cmp_ok length $_->{in}, '>=', 1 << 20, 'the same the other way';
        ok $_->{in} !~ /[^\0]/, '... byte for byte';
        $_->close;
    }
    soon { requests($h) !~ m{"/flood"} } 'a client that leaves ends its tunnel';
}

sub restarts {
    my $h = Harness->new(mpm => $mpm);
    my ($app, $waits) = map { $h->copy_app('tunnel', $_) } qw(cut waits);
    $h->start(conf => "PassengerStatThrottleRate 0\n<VirtualHost *>\nServerName cut\nDocumentRoot $app/public\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName waits\nDocumentRoot $waits/public\nPassengerAbortWebsocketsOnProcessShutdown off\n</VirtualHost>\n");
    for my $host (qw(cut waits)) {
        my @tunnel = map { scalar open_tunnel($h, '/echo', '', host => $host) } 1, 2;
        my $pid = $h->get('/', Host => $host)->json->{pid};
        spew("$h->{root}/apps/$host/tmp/restart.txt", '');
        soon { $h->get('/', Host => $host)->json->{pid} != $pid } "$host: the application is restarted";
        if ($host eq 'cut') {
            is $_->closed, 1, '... and tunnels into the old process end' for @tunnel;
        } else {
            is $_->closed(1), 0, '... and tunnels into the old process go on' for @tunnel;
            echoes($_, '... indeed') for @tunnel;
            ok Proc::alive($pid), '... with it';
            $_->close for @tunnel;
        }
        soon { !Proc::alive($pid) } '... which ends with the last of them';
        echoes(scalar open_tunnel($h, '/echo', '', host => $host), '... new ones are served by the new one');
    }
}
