# What an application's process leaves behind: daemons in sessions of their own, deaf ones, ones without an environment, a whole family.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;

# Starts a daemon for each word of the query string, at the first request.
my $source = <<'END';
import os, signal, subprocess, sys, time
def daemon(kind):
    r, w = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if kind == "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if kind == "family":
                for i in range(3):
                    if os.fork():
                        break
                    os.setsid()
            os.write(w, b"%d\n" % os.getpid())
            os.close(r), os.close(w)
            name = os.path.basename(os.getcwd()) + "-" + kind
            env = {} if kind == "bare" else os.environ
            code = "import time\nwhile True: time.sleep(1)"
            if kind == "deaf" or kind == "family":
                code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)"
            os.execve(sys.executable, [sys.executable, "-c", code, name], env)
        os._exit(0)
    os.wait()
    os.close(w)
    lines = b""
    want = 4 if kind == "family" else 1
    while lines.count(b"\n") < want:
        lines += os.read(r, 1000)
    os.close(r)
    return lines.decode().split()
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    query = environ["QUERY_STRING"]
    pids = [str(os.getpid())]
    for kind in query.split("+") if query else []:
        pids += daemon(kind)
    return [" ".join(pids).encode()]
END

my $h = Harness->new(mpm => (Harness->mpms)[0]);
my $conf = "PassengerStatThrottleRate 0\nPassengerMaxPoolSize 4\nPassengerRollingRestarts off\n";
for my $name (qw(ended kept)) {
    my $app = $h->make_app($name, { 'passenger_wsgi.py' => $source });
    $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $app/public\nPassengerMaxInstances 1\n</VirtualHost>\n";
}
$h->allow_log(qr/PassengerStatThrottleRate/);
$h->start(conf => $conf);
my @kinds = qw(plain deaf bare family);
my $others = [start($h, 'kept')];

for my $how ('its restart', 'its violent end') {
    my ($process, @daemons) = start($h, 'ended');
    is scalar(grep { Proc::alive($_) } @daemons), 7, "$how: seven daemons of one process" or next;
    my $begin = time;
    if ($how eq 'its restart') {
        spew("$h->{root}/apps/ended/tmp/restart.txt", '');
        $h->get('/', Host => 'ended');
    } else {
        $h->allow_log(qr/\bApp $process\b|\b$process\b/);
        kill KILL => $process;
    }
    soon { ; !Proc::alive($process) } "$how: it is gone", 10;
    soon { ; !grep { Proc::alive($_) } @daemons } '... and so are they', 5
        or diag map { my $p = Proc::get($_); $p ? "  $p->{pid} child of $p->{ppid} @{ $p->{cmdline} }\n" : () } @daemons;
    diag sprintf 'after %.1f s', time - $begin if $ENV{VERBOSE};
    is scalar(grep { Proc::alive($_) } @$others), scalar(@$others), '... another application\'s are not touched';
}
my ($process) = @$others;
my $core = $h->core;
$h->allow_log('PSG0013');
$h->kill_core;
wait_for { ($h->core // $core) != $core } 'another core';
is +(split ' ', $h->get('/', Host => 'kept')->body)[0], $process, 'a core that died changes nothing';
is scalar(grep { Proc::alive($_) } @$others), scalar(@$others), '... for them neither';
$h->stop;
soon { ; !grep { Proc::alive($_) } @$others } 'at the end all are gone', 10;
$h->finish;
done_testing;

# The process, then its daemons.
sub start { my ($server, $name) = @_; my $r = $server->get("/?" . join("+", @kinds), Host => $name); diag $r->body if $r->status != 200 || $r->body !~ m{^[\d ]+$}; return split " ", $r->body }
