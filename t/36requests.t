# One request's life when something is wrong around it: applications that never answer, no room on the disk.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;

# Links and retries are the module's, everything else happens in the core.
my @turns = Harness->turns(qw(disk_full stuck spared held_up sticky));
for my $mpm (Harness->mpms) {
    push @turns, [$mpm, $_] for qw(few_descriptors undelivered handed_over);
}
for (@turns) {
    my ($mpm, $part) = @$_;
    next if $ENV{PART} && !grep { $_ eq $part } split ' ', $ENV{PART};
    subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
}
done_testing;

# Sends requests at once on connections of their own; returns the clients.
sub at_once {
    my ($h, $n, $path, %field) = @_;
    return map { my $c = $h->client(timeout => 30); $c->write_request('GET', $path, Connection => 'close', %field); $c } 1 .. $n;
}

# Puts shell commands before the helper.
sub wrap {
    my ($h, $commands) = @_;
    my $file = "$h->{root}/lib/wrapped";
    spew($file, "#!/bin/sh\n$commands\nexec $h->{helper} \"\$@\"\n");
    chmod 0755, $file;
    $h->{helper} = $file;
}

# A full disk (here: files of 1 MiB at most) makes applications wait for slow clients; it cuts nothing.
sub disk_full {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    wrap($h, 'ulimit -f 2048');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 3\nPassengerMinInstances 3\nPassengerResponseBufferHighWatermark 100000000");
    is $h->get('/')->status, 200, 'it serves';
    wait_for { $h->apps == 3 } 'three processes';
    my $core = $h->core;
    my $memory = sub { slurp("/proc/$core/status") =~ /VmRSS:\s*(\d+)/ ? $1 : die 'no memory' };
    my $before = $memory->();
    my @slow = at_once($h, 3, '/big?n=40000000');
    $h->expect_log(qr/PSG0140: spool\.full/);
    my @r = map { $_->read_response('GET') } @slow;
    is_deeply [ map { $_->status, $_->complete, length $_->body } @r ], [ (200, 1, 40_000_000) x 3 ], 'slow clients get all of it';
    my $peak = slurp("/proc/$core/status") =~ /VmHWM:\s*(\d+)/ ? $1 : 0;
    cmp_ok $peak, '<', $before + 8 * 1024, '... through little memory' unless $ENV{PASSENGER_BUILD} && $ENV{PASSENGER_BUILD} =~ /asan/;
    is scalar(() = $h->log_text =~ /PSG0140/g), 1, '... and one line in the log';

    my $r = $h->post('/', 'x' x 6_000_000);
    is $r->status, 507, 'a body that cannot be kept is refused';
    is $h->post('/', 'x' x 100_000)->json->{length}, 100_000, '... and others are not';
    is $h->core, $core, 'the core lives';
}

sub stuck_app { return <<'END' }
import os, time
from urllib.parse import parse_qs
def sleeping_for_ever():
    child = os.fork()
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    print("child %d" % child, flush=True)
    time.sleep(1000)
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/sleep"):
        sleeping_for_ever()
    if path == "/late":
        start_response("200 OK", [])
        return trickle()
    if path == "/stop":
        import signal
        os.kill(os.getpid(), signal.SIGSTOP)
    if path == "/read":
        environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
def trickle():
    while True:
        yield b"drop"
        time.sleep(0.05)
END

# PassengerMaxRequestTime: 504 in time, others go on being served, the process and whatever it has started are gone, the log says where it was.
sub stuck {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('stuck', { 'passenger_wsgi.py' => stuck_app() });
    my $children = $mpm eq 'prefork' ? "StartServers 10\nMinSpareServers 10\n" : '';
    $h->start(conf => "${children}DocumentRoot $app/public\nPassengerMaxPoolSize 4\nPassengerMinInstances 4\nPassengerMaxRequestTime 2\n"
        . "<Location /sleep/long>\nPassengerMaxRequestTime 4\n</Location>");
    is $h->get('/')->status, 200, 'it serves';
    wait_for { $h->apps == 4 } 'four processes', 20;
    $h->allow_log(qr/PSG0158: request\.timeout/);
    my $begin = time;
    my @c = at_once($h, 4, '/sleep?x=1');
    wait_for { (() = $h->log_text =~ /child \d+/g) == 4 } 'four that sleep';
    my ($fifth) = at_once($h, 1, '/');
    my @status = map { $_->read_response('GET')->status } @c;
    my $took = time - $begin;
    is "@status", '504 504 504 504', 'four that never end are answered 504';
    cmp_ok $took, '>=', 1.9, '... not before the limit';
    cmp_ok $took, '<', 5, '... and soon after it';
    is $fifth->read_response('GET')->status, 200, 'the fifth is answered';
    like $h->log_text, qr{PSG0158: request\.timeout: GET http://localhost/sleep\?x=1: process \d+ of \S+, 2 s \(PassengerMaxRequestTime\) \(error id},
        'the log says which request';
    soon { (() = $h->log_text =~ /in sleeping_for_ever/g) == 4 } '... and where each was';
    my @children = $h->log_text =~ /child (\d+)/g;
    soon { !grep { Proc::alive($_) } @children } '... and what they have started is gone';
    cmp_ok scalar($h->apps), '<=', 4, 'never more processes than allowed';

    my $long = $h->client(timeout => 30);
    $begin = time;
    is $long->get('/sleep/long')->status, 504, 'a limit of its own for a location';
    cmp_ok time - $begin, '>', 3.9, '... is not the server\'s';
    $h->allow_log('PSG0688');
    my ($late) = at_once($h, 1, '/late');
    my $r = $late->read_response('GET');
    is $r->status, 200, 'a response that trickles for ever';
    ok !$r->complete, '... is cut';
    like $h->expect_log(qr/request\.timeout: GET \S+late/), qr/the response was cut/, '... and the log says so';
    is $h->get('/stop')->status, 504, 'an application that was stopped is answered for';
    is $h->get('/')->status, 200, '... and replaced';
}

# The other requests in a stuck process are finished.
sub spared {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('raw');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 2\nPassengerForceMaxConcurrentRequestsPerProcess 3\n"
        . "<Location /stuck>\nPassengerMaxRequestTime 1\n</Location>");
    my $pid = $h->get('/')->json->{pid};
    $h->allow_log(qr/PSG0158: request\.timeout/);
    my $ok = 'send=HTTP/1.1%20200%20OK%0d%0aContent-Length:%202%0d%0a%0d%0aok';
    my @others = at_once($h, 2, "/other?log=begun&wait=2.5&$ok");
    wait_for { (() = $h->log_text =~ /output: begun/g) == 2 } 'two others';
    is $h->get('/stuck?log=stuck&hang')->status, 504, 'one of three never ends';
    my $next = $h->get('/')->json->{pid};
    isnt $next, $pid, 'its process gets no more requests';
    ok Proc::alive($pid), '... but lives';
    is join(' ', map { my $r = $_->read_response('GET'); $r->status . $r->body } @others), '200ok 200ok', '... until the others are served';
    soon { !Proc::alive($pid) } '... and is ended then';
}

# Clients that are slow themselves cost no process.
sub held_up {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('stuck', { 'passenger_wsgi.py' => stuck_app() });
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxInstances 1\nPassengerMaxRequestTime 1\nPassengerBufferUpload off");
    my $pid = $h->get('/')->body;
    $h->allow_log(qr/PSG0158: request\.timeout/);
    my $c = $h->client;
    $c->write_request('POST', '/read', 'Content-Length' => 100_000);
    $c->send('x' x 5000);
    is $c->read_response('POST')->status, 504, 'a body that never ends is answered 504';
    is $h->get('/')->body, $pid, '... and the process serves on';
    like $h->log_text, qr/the client sends the body too slowly/, '... and the log names the guilty';
    $c = $h->client;
    $c->write_request('POST', '/sleep', 'Content-Length' => 100_000);
    $c->send('x' x 5000);
    is $c->read_response('POST')->status, 504, 'a process that does not read';
    $h->expect_log(qr/in sleeping_for_ever/);
    isnt $h->get('/')->body, $pid, '... is replaced';
}

# A cookie leads back to the process that served before.
sub sticky {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    my $plain = $h->copy_app('wsgi', 'plain');
    $h->start(conf => "PassengerMaxPoolSize 8\nPassengerMinInstances 3\n"
        . "<VirtualHost *>\nServerName sticky\nDocumentRoot $app/public\nPassengerStickySessions on\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName named\nDocumentRoot $h->{root}/htdocs\nAlias /shop $app/public\nPassengerStickySessions on\n"
        . "PassengerStickySessionsCookieName route\nPassengerStickySessionsCookieAttributes HttpOnly\n"
        . "<Location /shop>\nPassengerBaseURI /shop\nPassengerAppRoot $app\n</Location>\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName plain\nDocumentRoot $plain/public\n</VirtualHost>");
    my $r = $h->get('/headers?h=Set-Cookie:own%3d1', Host => 'sticky');
    is $r->status, 200, 'it serves';
    my ($own, $cookie) = sort { ($a =~ /^_/) <=> ($b =~ /^_/) } $r->headers('Set-Cookie');
    is $own, 'own=1', 'the application\'s own cookie stays';
    like $cookie, qr{^_passenger_route=[1-9]\d*; Path=/; SameSite=Lax; Secure;$}, 'a visitor gets one of ours';
    my ($pair) = $cookie =~ /^([^;]+)/;
    my $first = $h->get('/', Host => 'sticky', Cookie => "a=b; $pair");
    my $pid = $first->json->{pid};
    is scalar($first->headers('Set-Cookie')), 0, '... and no other as long as it is right';
    my @load = at_once($h, 6, '/slow?s=0.3', Host => 'sticky');
    my %seen;
    $seen{ $h->get('/', Host => 'sticky', Cookie => $pair)->json->{pid} }++ for 1 .. 50;
    is_deeply \%seen, { $pid => 50 }, 'it leads to one process, whatever the others do';
    $_->read_response('GET') for @load;

    $r = $h->get('/', Host => 'sticky', Cookie => '_passenger_route=1');
    is $r->status, 200, 'a cookie of a process that there is not';
    like $r->header('Set-Cookie'), qr/^_passenger_route=(?!1;)/, '... is replaced';
    like $h->get('/', Host => 'sticky', Cookie => '_passenger_route=x')->header('Set-Cookie'), qr/^_passenger_route=/, '... and one that makes no sense';
    $r = $h->get('/shop/', Host => 'named');
    is $r->status, 200, 'an application below another';
    like $r->header('Set-Cookie'), qr{^route=[1-9]\d*; Path=/shop; HttpOnly$}, '... with names of its own';
    ($pair) = ($r->header('Set-Cookie') // '') =~ /^([^;]+)/;
    is $h->get('/shop/', Host => 'named', Cookie => $pair)->header('Set-Cookie'), undef, '... that count';
    is $h->get('/', Host => 'plain')->header('Set-Cookie'), undef, 'without PassengerStickySessions there is no cookie';
}

# With few descriptors requests wait for each other; nobody starves, nothing spins, and the log is not flooded.
sub few_descriptors {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    wrap($h, 'ulimit -n 48');
    my $children = $mpm eq 'prefork' ? "StartServers 50\nMinSpareServers 1\n" : '';
    $h->start(conf => "${children}DocumentRoot $app/public\nPassengerMaxPoolSize 2\nPassengerMinInstances 2\nPassengerMaxRequestQueueSize 0");
    is $h->get('/')->status, 200, 'it serves';
    $h->allow_log(qr/PSG0161: fd\.exhausted/);
    my $core = $h->core;
    my $cpu = sub { my @f = split ' ', slurp("/proc/$core/stat") =~ s/.*\) //sr; ($f[11] + $f[12]) / 100 };
    for my $round (1 .. 2) {
        my $begin = time;
        my $before = $cpu->();
        my %status;
        $status{ $_->read_response('GET')->status }++ for at_once($h, 55, '/slow?s=0.1');
        is_deeply \%status, { 200 => 55 }, "round $round: fifty-five at once through some twenty links";
        cmp_ok time - $begin, '<', 12, '... in time';
        cmp_ok $cpu->() - $before, '<', 0.2 * (time - $begin), '... without haste';
    }
    cmp_ok scalar(Proc::fds($core)), '<=', 48, 'all within the limit';
    is scalar(() = $h->log_text =~ /PSG0161/g), 1, 'one line in the log';
    is $h->core, $core, 'the core lives';
}

# A core that dies takes the request with it that an application has, and no other; nothing is done twice.
sub undelivered {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('raw');
    my $children = $mpm eq 'prefork' ? "StartServers 30\nMinSpareServers 1\n" : '';
    $h->start(conf => "${children}DocumentRoot $app/public\nPassengerMaxPoolSize 1");
    $h->allow_log(qr/PSG0013/, qr/PSG0683/);
    my $ok = 'send=HTTP/1.1%20200%20OK%0d%0aContent-Length:%202%0d%0a%0d%0aok';
    my $pid = $h->get('/')->json->{pid};
    for my $round (1 .. 2) {
        my $core = $h->core;
        my ($served) = at_once($h, 1, "/served?round=$round&log=begun$round&wait=1&$ok");
        wait_for { $h->log_text =~ /output: begun$round/ } 'the first to be served';
        my $links = Proc::fds($core);
        my @get = map { at_once($h, 1, "/get?round=$round&n=$_&$ok") } 1 .. 20;
        my @post = map { my $c = $h->client(timeout => 30); $c->write_request('POST', "/post?round=$round&n=$_&$ok", body => 'x' x 3000); $c } 1 .. 5;
        # Later ones come on links that are there already.
        wait_for { Proc::fds($core) >= $links + 20 } 'the others to be in the core' if $round == 1;
        $h->kill_core;
        my $status = $served->read_response('GET')->status;
        ok $status == 502 || $status == 200, "round $round: the one in service is answered, $status";
        my %status;
        $status{ $_->read_response('GET')->status }++ for @get, @post;
        is_deeply \%status, { 200 => 25 }, '... those that waited are served';
    }
    my %times;
    $times{ $_->[1] =~ s/&send=.*//r }++ for @{ $h->get('/requests')->json };
    is scalar(grep { /get|post/ } keys %times), 50, 'all of them were executed';
    is_deeply [ grep { $times{$_} > 1 } keys %times ], [], '... once each';
    is $h->get('/')->json->{pid}, $pid, 'by the same process';
}

# A core that ends gives what waits in it to the next one, and says so once.
sub handed_over {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $late = "import time\ntime.sleep(1)\n" . slurp('t/apps/wsgi/passenger_wsgi.py');
    my $app = $h->make_app('late', { 'passenger_wsgi.py' => $late });
    my $children = $mpm eq 'prefork' ? "StartServers 16\nMinSpareServers 1\n" : '';
    $h->start(conf => "${children}DocumentRoot $app/public\nPassengerMaxPoolSize 1");
    $h->allow_log(qr/PSG0(?:164|514|511)|PSG010[23]/);
    my $core = $h->core;
    my $idle = Proc::fds($core);
    my @c = at_once($h, 10, '/');
    wait_for { Proc::fds($core) >= $idle + 10 && $h->apps } 'ten that wait for the first process';
    kill KILL => $h->watchdog;
    my %status;
    $status{ $_->read_response('GET')->status }++ for @c;
    is_deeply \%status, { 200 => 10 }, 'all are served';
    is scalar(() = $h->log_text =~ /PSG0159: core\.stopping: 10 requests/g), 1, '... and the log has one line about them';
    soon { $h->helpers('core') == 1 } 'the old core is gone', 15;
}
