# Processes of applications that die, stop, lie and stay: what visitors see, what the log says, and that nothing is left of them.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;
use Fault;
use Proc;

# Does what the path says, to itself.
my $odd = <<'END';
import atexit, os, signal, sys, threading, time

def daemons(count):
    """Each in a session of its own, with a child in another, deaf to whatever can be ignored."""
    for i in range(count):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for name in ("SIGTERM", "SIGHUP", "SIGINT"):
                    signal.signal(getattr(signal, name), signal.SIG_IGN)
                if os.fork() == 0:
                    os.setsid()
                os.execvp("tail", ["tail", "-f", "/dev/null"])
            os._exit(0)
        os.wait()

def deaf():
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)

def raises():
    raise RuntimeError("at the end")

def mute():
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)

deeds = {
    "/flood": lambda: [os.write(2, b"f" * 999 + b"\n") for _ in range(2000)],
    "/mute": mute,
    "/killgroup": lambda: os.kill(0, signal.SIGKILL),
    "/killall": lambda: os.kill(-1, signal.SIGKILL),
    "/daemons": lambda: daemons(50),
    "/thread": lambda: threading.Thread(target=lambda: time.sleep(1000)).start(),
    "/atexit": lambda: atexit.register(raises),
    "/deaf": deaf,
}

def application(environ, start_response):
    deeds.get(environ["PATH_INFO"], lambda: None)()
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
END

my $ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

for my $mpm (Harness->mpms) {
    subtest "$mpm: killed" => sub { killed($mpm) };
}
for my $part (qw(stopped sockets output strangers ends)) {
    subtest $part => sub { no strict 'refs'; &$part((Harness->mpms)[0]) };
}
done_testing;

sub orders { '/raw?' . join '&', map { my ($name, $value) = split /=/, $_, 2; defined $value ? "$name=" . $value =~ s/([^A-Za-z0-9.,:\/-])/sprintf '%%%02X', ord $1/ger : $name } @_ }

# F20 to F24: killed or ended while idle, in a request, in the head, in the body.
sub killed {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my ($app, $raw) = ($h->copy_app('wsgi'), $h->copy_app('raw'));
    $h->start(conf => "PassengerMaxPoolSize 4\n" . vhost('app', $app, 'PassengerMaxInstances 1') . vhost('raw', $raw, 'PassengerMaxInstances 1'));
    my $pid = sub { $h->get('/', Host => 'app')->json->{pid} // 0 };
    ok $pid->(), 'it serves' or diag $h->log_text;
    is $h->get('/', Host => 'raw')->status, 200, '... and so does the other';
    quiet($h);
    my $now = $pid->();
    for my $signal (qw(KILL SEGV KILL TERM KILL)) {
        my $old = $now;
        kill $signal => $old;
        my $r = $h->get('/', Host => 'app');
        is $r->status, 200, "idle, $signal: the very next request is served" or diag $r->body;
        $now = $r->json->{pid} // 0;
        return unless $now;
        next if $signal eq 'TERM'; # that is a way to ask, and may be answered first
        isnt $now, $old, '... by another';
        # With one in flight, if that came before the news.
        like $h->expect_log(qr/PSG0102: app\.exited: process $old /), qr/ended by signal=\d+ .*inflight=[01]$/, '... and the log says what became of the first';
    }
    $h->allow_log(qr/PSG0(?:102|103|150|151|156|688)/);
    my $old = wait_for { $pid->() } 'a process' or return;
    kill KILL => $old;
    soon { grep { $_->{pid} != $old && "@{ $_->{cmdline} }" =~ /wsgi/i && $_->{cwd} eq $app } map { Proc::get($_) // () } $h->apps } 'another is started though nobody asks', 5;

    my %broken = (
        'killed in a request' => [qw(kill)], 'ended in a request' => ['exit=0'], 'killed in the head' => ["send=HTTP/1.1 200 OK\r\nContent-Le", 'wait=0.05', 'kill'],
        'killed in a chunk' => ["send=HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe", 'wait=0.3', 'kill'],
        'killed in the body' => ["send=HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello", 'wait=0.3', 'kill'],
        'ended in a body of unknown length' => ["send=HTTP/1.1 200 OK\r\n\r\nhello", 'wait=0.3', 'kill'],
    );
    for my $what (sort keys %broken) {
        my $r = $h->get(orders(@{ $broken{$what} }), Host => 'raw');
        if ($what =~ /bod|chunk/) { ok $r->status == 200 && !$r->complete, "$what: looks broken" or diag explain $r }
        else { is $r->status, 502, "$what: 502" or diag explain $r }
        is $h->get(orders("send=$ok"), Host => 'raw')->body, 'ok', '... and the next is served';
    }
    is $h->get(orders("send=$ok", 'wait=0.05', 'exit=0'), Host => 'raw')->body, 'ok', 'one that ends after its response';
    is $h->get(orders("send=$ok"), Host => 'raw')->body, 'ok', '... costs nobody anything';
    calm($h);
}

# F25b: stopped in a request, and idle.
sub stopped {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxInstances 1");
    my $pid = $h->get('/')->json->{pid};
    quiet($h);
    my ($in) = at_once($h, 1, '/slow?s=0.2');
    wait_for { counted($h, 'slow begins') } 'a request in the application';
    kill STOP => $pid;
    my ($after) = at_once($h, 1, '/big?n=7');
    my $begin = time;
    wait_for { time - $begin > 1 } undef, 2;
    kill CONT => $pid;
    is $in->read_response('GET')->body, "slow\n", 'a process that was stopped gives its own answer when it goes on';
    is $after->read_response('GET')->body, 'x' x 7, '... and so does one who came meanwhile';
    kill STOP => $pid;
    my ($idle) = at_once($h, 1, '/');
    $begin = time;
    wait_for { time - $begin > 0.5 } undef, 2;
    kill CONT => $pid;
    is $idle->read_response('GET')->json->{pid}, $pid, 'stopped while idle: the same';
    calm($h);
}

# F27, F30: sockets that are closed, and bytes that nobody asked for.
sub sockets {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $raw = $h->copy_app('raw');
    $h->start(conf => "DocumentRoot $raw/public\nPassengerMaxInstances 1");
    my $json = $h->get('/')->json;
    ok $json->{pid}, 'it serves' or diag $h->log_text;
    quiet($h);
    is $h->get(orders('unlisten', "send=HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 'close'))->body, 'ok', 'it closes its listening socket';
    my $r = $h->get('/');
    is $r->status, 200, '... the next request is served';
    isnt $r->json->{pid}, $json->{pid}, '... by another process';
    $h->expect_log(qr/PSG0104: app\.unreachable: process $json->{pid}\b/, 'app.unreachable');
    soon { !Proc::alive($json->{pid}) } '... and it is ended', 5;

    $h->allow_log(qr/PSG015[012]/);
    for my $n (1 .. 3) {
        is $h->get(orders("send=$ok", 'wait=0.2', 'send=HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong'))->body, 'ok', 'bytes that come while the connection is idle';
        my $begin = time;
        wait_for { time - $begin > 0.15 * $n } undef, 1;
        is $h->get(orders("send=$ok"))->body, 'ok', '... are in no other response';
    }
    is $h->get(orders("send=$ok$ok"))->body, 'ok', 'two responses: the first is one';
    is $h->get('/')->json->{length}, 0, '... the second is none';
    calm($h);
}

# F28: its output.
sub output {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('odd', { 'passenger_wsgi.py' => $odd });
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxInstances 1");
    my $pid = $h->get('/')->body;
    quiet($h);
    within 5, '2 MB of output in one request', sub { is $h->get('/flood')->body, $pid, 'it is served' };
    soon { counted($h, qr/App $pid output: f{999}$/m) == 2000 } '... and every line is in the log';
    is $h->get('/mute')->body, $pid, 'it closes its output';
    is $h->get('/')->body, $pid, '... and goes on';
    calm($h);
}

# F31, F32: what an application does to others. A user that nobody else has, because it kills all that are its own.
sub strangers {
    my ($mpm) = @_;
    plan skip_all => 'needs a user of its own' if $>;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('odd', { 'passenger_wsgi.py' => $odd });
    my ($user) = grep { my $uid = getpwnam $_; defined $uid && !grep { (Proc::ids($_->{pid}) // { uid => [-1] })->{uid}[0] == $uid } Proc::all() } qw(uucp irc list gnats lp proxy);
    plan skip_all => 'every such user has processes' unless $user;
    my $uid = getpwnam $user;
    $h->own($app, $user);
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxInstances 1");
    my $pid = $h->get('/')->body;
    like $pid, qr/^\d+$/, 'it serves' or diag $h->log_text;
    is Proc::ids($pid)->{uid}[0], $uid, '... as a user who has nothing else' ;
    return unless Proc::ids($pid)->{uid}[0] == $uid;
    my %score = map { $_ => slurp('/proc/' . ($_ eq 'application' ? $pid : $h->$_) . '/oom_score_adj') + 0 } qw(watchdog core application);
    SKIP: {
        skip 'nobody may lower a score here', 1 if $score{watchdog} == 0;
        ok $score{watchdog} < -800 && $score{core} < -800 && $score{application} == 0, 'without memory applications go first' or diag explain \%score;
    }
    quiet($h);
    my $pids = join ' ', $h->watchdog, $h->core;
    $h->allow_log(qr/PSG0(?:102|150|156)/);
    # kill(-1) spares the one who calls.
    my %lost = ('/killgroup' => 502, '/killall' => 200);
    for my $path (sort keys %lost) {
        is $h->get($path)->status, $lost{$path}, "$path: $lost{$path}";
        is $h->get('/')->status, 200, '... and the next is served';
        is join(' ', $h->watchdog, $h->core), $pids, '... and it got nobody else';
    }
    calm($h);
    my $mine = sub { grep { $_->{state} ne 'Z' && (Proc::ids($_->{pid}) // { uid => [-1] })->{uid}[0] == $uid } Proc::all() };
    is $h->get('/daemons')->status, 200, 'fifty daemons';
    wait_for { $mine->() > 100 } 'all of them';
    within 12, 'stop is over soon', sub { $h->stop };
    soon { !$mine->() } '... and nobody is left', 3;
    kill KILL => map { $_->{pid} } $mine->();
}

# F33, F33c: those that do not want to end.
sub ends {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $conf = join '', map { vhost($_, $h->make_app($_, { 'passenger_wsgi.py' => $odd })) } qw(thread atexit deaf);
    $h->start(conf => "PassengerStatThrottleRate 0\n$conf");
    $h->allow_log(qr/PSG0(?:101|102|103|150|156)|PassengerStatThrottleRate/);
    my %old = map { $_ => $h->get("/$_", Host => $_)->body } qw(thread atexit deaf);
    spew("$h->{root}/apps/atexit/tmp/restart.txt", '');
    wait_for { my $pid = $h->get('/', Host => 'atexit')->body; $pid =~ /^\d+$/ && $pid != $old{atexit} } 'a new process', 10;
    soon { !Proc::alive($old{atexit}) } 'a failure in the last moment keeps no process', 6;
    my $begin = time;
    $h->stop;
    cmp_ok time - $begin, '<', 9, 'Apache stops though one application ignores TERM and another has a thread without end';
    ok !Proc::alive($old{$_}), "... and the process is gone: $_" for qw(thread deaf);
}
