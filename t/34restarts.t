# How code and processes are replaced: restarts that nobody notices, code that does not start, limits that are reached, room that is scarce.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;

my @everywhere = split " ", $ENV{PARTS} // "deploy held quiet blocking";
my @once = $ENV{PARTS} ? () : qw(unvisited symlink alone lingering recycle memory loop_busy);
for my $mpm (Harness->mpms) {
    for my $part (@everywhere, $mpm eq (Harness->mpms)[0] ? @once : ()) {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
    }
}
done_testing;

# An application that takes a while to start, and tells its version and pid.
sub source {
    my ($version, $boot) = @_;
    return <<"END";
import os, time
from urllib.parse import parse_qs
time.sleep($boot)
kept = []

def application(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    time.sleep(float(query.get("s", ["0"])[0]))
    if "grow" in query:
        kept.append(bytearray(os.urandom(1)) * (int(query["grow"][0]) << 20))
    end = time.process_time() + float(query.get("burn", ["0"])[0])
    while time.process_time() < end:
        pass
    body = ("$version %d" % os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
END
}

# Another harness with an application in it, started with `$conf`; returns both.
sub start {
    my ($mpm, $conf, %arg) = @_;
    my $h = Harness->new(mpm => $mpm, %arg);
    my $app = $h->make_app('shop', { 'passenger_wsgi.py' => source('old', 0) });
    $h->start(conf => "DocumentRoot $app/public\n$conf");
    return ($h, $app);
}

sub rewrite { my ($h, $app, $text) = @_; spew("$app/passenger_wsgi.py", $text); $h->own($app, $h->app_user) }

my $tick = time;
sub touch { my ($file) = @_; spew($file, '') if !-e $file; $tick++; utime $tick, $tick, $file or die $file }

sub version { my ($h) = @_; (split ' ', $h->get('/')->body // '')[0] // '' }

# Lets time pass where time is what is tested.
sub pause { select undef, undef, undef, $_[0] }

# p99 in milliseconds out of wrk's table.
sub p99 { my ($wrk) = @_; my ($n, $unit) = $wrk->{out} =~ /99%\s+([\d.]+)(us|ms|s)/ or return; $n * { us => 0.001, ms => 1, s => 1000 }->{$unit} }

sub deploy {
    my ($mpm) = @_;
    my ($h, $app) = start($mpm, "PassengerMaxPoolSize 4\nPassengerMaxRequestQueueSize 0");
    $h->wrk('/?s=0.01', connections => 16, duration => 1, close => 1)->finish;
    my $steady = $h->wrk('/?s=0.01', connections => 16, duration => 2, close => 1)->finish;
    my @before = $h->apps;
    rewrite($h, $app, source('new', 1.5));
    my $load = $h->wrk('/?s=0.01', connections => 16, duration => 8, close => 1);
    pause(0.5);
    touch("$app/tmp/restart.txt");
    my ($most, %seen, %first) = (0);
    my $begin = time;
    while (time < $begin + 7) {
        my $version = version($h);
        $seen{$version}++;
        $first{$version} //= time - $begin;
        my @now = $h->apps;
        $most = @now if @now > $most;
        pause(0.02);
    }
    $load = $load->finish;
    is $load->{bad}, 0, "no request of $load->{requests} failed";
    is_deeply [ sort keys %seen ], [ 'new', 'old' ], 'old code answers, then new code';
    cmp_ok $first{new}, '>', 1.4, '... which took its time to start';
    cmp_ok $first{new}, '<', 6, '... and took over when it was ready';
    is version($h), 'new', 'in the end it is the new code';
    cmp_ok $most, '<=', 4, 'there were never more processes than allowed';
    my %before = map { $_ => 1 } @before;
    soon { !grep { $before{$_} } $h->apps } 'all old processes have gone', 10;
    my ($p, $q) = (p99($steady), p99($load));
    cmp_ok $q, '<', 2 * $p + 100, "99 of 100 requests are answered in time: in $q ms, before in $p";
}

sub held {
    my ($mpm) = @_;
    my ($h, $app) = start($mpm, "PassengerMaxPoolSize 3\nPassengerMinInstances 2");
    is version($h), 'old', 'it runs';
    wait_for { $h->apps == 2 } 'two processes', 10;
    $h->get('/?s=0.3') for 1, 2; # both are ready
    my @before = $h->apps;
    rewrite($h, $app, "this is no Python\n");
    touch("$app/tmp/restart.txt");
    $h->expect_log(qr/PSG0113: spawn\.failed.*SyntaxError/);
    $h->expect_log(qr/PSG0117: app\.held/);
    is version($h), 'old', 'old code answers for new code that does not start';
    pause(2);
    is scalar(() = $h->log_text =~ /spawn\.failed/g), 1, '... which is tried once';
    is version($h), 'old', '... and old code goes on';
    is_deeply [ $h->apps ], \@before, '... in the same processes';
    kill KILL => $before[0];
    $h->expect_log(qr/PSG0102: app\.exited/);
    wait_for { $h->apps < 2 } 'one fewer', 5;
    is version($h), 'old', 'one of them is enough';
    rewrite($h, $app, source('mended', 0));
    touch("$app/tmp/restart.txt");
    soon { version($h) eq 'mended' } 'mended code is tried at the next restart', 5;
    soon { my %old = map { $_ => 1 } @before; !grep { $old{$_} } $h->apps } '... and old processes go', 5;
}

# One visitor who restarts and looks sees the new code at once.
sub quiet {
    my ($mpm) = @_;
    my ($h, $app) = start($mpm, "PassengerStatThrottleRate 0");
    is version($h), 'old', 'the first code';
    for my $i (1 .. 3) {
        rewrite($h, $app, source("v$i", 0));
        touch("$app/tmp/restart.txt");
        is version($h), "v$i", "the request after touch $i sees new code";
    }
    rewrite($h, $app, source('slow', 3));
    touch("$app/tmp/restart.txt");
    my $begin = time;
    is version($h), 'v3', 'but nobody waits for code that is slow to start';
    cmp_ok time - $begin, '<', 2.5, '... for long';
    soon { version($h) eq 'slow' } '... and gets it when it is there', 8;
}

sub blocking {
    my ($mpm) = @_;
    for my $conf ('PassengerRollingRestarts off', 'PassengerAppEnv development') {
        my ($h, $app) = start($mpm, "PassengerStatThrottleRate 0\n$conf");
        is version($h), 'old', "$conf: the first code";
        rewrite($h, $app, source('new', 1.5));
        touch("$app/tmp/restart.txt");
        is version($h), 'new', '... after a restart only new code answers';
        rewrite($h, $app, "this is no Python\n");
        touch("$app/tmp/restart.txt");
        $h->expect_log(qr/PSG0113: spawn\.failed/);
        is $h->get('/')->status, 500, '... even if it does not start';
    }
}

sub unvisited {
    my ($mpm) = @_;
    my ($h, $app) = start($mpm, "PassengerMinInstances 1");
    is version($h), 'old', 'it runs';
    my ($old) = $h->apps;
    pause(1.2);
    rewrite($h, $app, source('new', 0));
    touch("$app/tmp/restart.txt");
    my $begin = time;
    soon { $h->log_text =~ /app\.restart/ } 'a restart is noticed though nobody visits', 5;
    cmp_ok time - $begin, '<', 2.3, '... within two seconds';
    soon { my @now = $h->apps; @now == 1 && $now[0] != $old } '... and done', 5;
    is version($h), 'new', '... so that the first visitor finds new code running';
}

# Capistrano's layout: what a path leads to changes, not the path.
sub symlink {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $root = $h->make_app('site', {});
    $h->make_app("site/releases/$_", { 'passenger_wsgi.py' => source("release$_", 0) }) for 1, 2;
    CORE::symlink "releases/1", "$root/current" or die $!;
    $h->own($root, $h->app_user);
    system('chown', '-h', $h->app_user, "$root/current") == 0 or die;
    $h->start(conf => "DocumentRoot $root/current/public\nPassengerMinInstances 2\nPassengerMaxPoolSize 2");
    is version($h), 'release1', 'the first release';
    wait_for { $h->apps == 2 } 'two processes';
    my %old = map { ($_ => 1) } $h->apps;
    CORE::symlink "releases/2", "$root/next" or die $!;
    system('chown', '-h', $h->app_user, "$root/next") == 0 or die;
    rename "$root/next", "$root/current" or die $!;
    touch("$root/current/tmp/restart.txt");
    soon { version($h) eq 'release2' } 'the second, after a restart', 8;
    soon { my @now = $h->apps; @now == 2 && !grep { $old{$_} } @now } '... and for good', 20;
    kill KILL => ($h->apps)[0];
    $h->expect_log(qr/PSG0102: app\.exited/);
    for (1 .. 20) { is version($h), 'release2', 'what replaces a killed process is the second' or last }
}

# Where there is room for one process only, the successor comes after it.
sub alone {
    my ($mpm) = @_;
    my ($h, $app) = start($mpm, "PassengerMaxPoolSize 1");
    is version($h), 'old', 'it runs';
    rewrite($h, $app, source('new', 0.5));
    my $load = $h->wrk('/', connections => 8, duration => 5, close => 1);
    pause(0.3);
    touch("$app/tmp/restart.txt");
    my $most = 0;
    my $begin = time;
    while (time < $begin + 4.5) { my @now = $h->apps; $most = @now if @now > $most; pause(0.02) }
    $load = $load->finish;
    is $load->{bad}, 0, "no request of $load->{requests} failed";
    is $most, 1, 'there was never more than one process';
    is version($h), 'new', 'new code answers';
}

# ... but not for ever: somebody may read a stream for days, and a thread may never end.
sub lingering {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $code = <<'END';
import os, threading, time
%s
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/event-stream')])
    yield b'data: %s %%d\n\n' %% os.getpid()
    while environ['PATH_INFO'] == '/events':
        time.sleep(0.1)
        yield b'data: more\n\n'
END
    my %root = map { $_ => $h->make_app($_, {}) } qw(stream thread);
    my $write = sub {
        my ($version) = @_;
        for (sort keys %root) {
            spew("$root{$_}/passenger_wsgi.py", sprintf $code, $_ eq 'thread' && $version eq 'old' ? 'threading.Thread(target=threading.Event().wait).start()' : '', $version);
            $h->own($root{$_}, $h->app_user);
        }
    };
    $write->('old');
    $h->start(conf => join '', map { <<"END" } sort keys %root);
<VirtualHost *>
    ServerName $_
    DocumentRoot $root{$_}/public
    PassengerMaxInstances 1
    PassengerConcurrencyModel thread
    PassengerThreadCount 4
</VirtualHost>
END
    my $reader = $h->client(timeout => 30);
    $reader->write_request('GET', '/events', Host => 'stream');
    my $more = sub { $reader->{in} = ''; my $end = time + 10; 1 while $reader->{in} !~ /data: more/ && $reader->_more($end); return $reader->{in} };
    like $more->(), qr/data: old/, 'a stream of events that does not end';
    my ($pid) = $h->get('/', Host => 'thread')->body =~ /old (\d+)/;
    ok $pid, 'an application with a thread that does not end';
    $write->('new');
    touch("$root{$_}/tmp/restart.txt") for sort keys %root;
    for my $name (sort keys %root) {
        soon { $h->client(timeout => 40)->ask('GET', '/', Host => $name, Connection => 'close')->body =~ /new/ } "$name: new code answers while the old process is there", 40;
    }
    $h->expect_log(qr/PSG3900: .* of \Q$root{stream}\E .*inflight=1/, 'that requests keep it');
    $h->expect_log(qr/PSG3901: .* process $pid of \Q$root{thread}\E /, 'that something else keeps it');
    like $more->(), qr/data: more/, 'the stream goes on';
    is kill(KILL => $pid), 1, 'the thread is still there';
    $reader->close;
    soon { $h->apps == 2 } 'who has nothing more to do goes', 20;
}

sub recycle {
    my ($mpm) = @_;
    my ($h, $app) = start($mpm, "PassengerMaxPoolSize 4\nPassengerMaxRequests 100\nPassengerMaxRequestQueueSize 0");
    rewrite($h, $app, source('old', 0.7));
    $h->wrk('/?s=0.01', connections => 8, duration => 2, close => 1)->finish;
    my $load = $h->wrk('/?s=0.01', connections => 8, duration => 8, close => 1);
    my ($most, %pid) = (0);
    my $begin = time;
    while (time < $begin + 7.5) {
        my @now = $h->apps;
        $pid{$_}++ for @now;
        $most = @now if @now > $most;
        pause(0.07);
    }
    $load = $load->finish;
    is $load->{bad}, 0, "no request of $load->{requests} failed";
    cmp_ok scalar(keys %pid), '>', 6, 'while processes were replaced: ' . keys %pid;
    cmp_ok $most, '<=', 4, '... within the limit';
}

sub memory {
    my ($mpm) = @_;
    my ($h, $app) = start($mpm, "PassengerMemoryLimit 60\nPassengerHardMemoryLimit 300\nPassengerMinInstances 1");
    my ($first) = $h->get('/')->body =~ /(\d+)/;
    my ($grown) = $h->get('/?grow=80')->body =~ /(\d+)/;
    is $grown, $first, 'a process grows';
    $h->expect_log(qr/PSG0118: app\.memory: process $first of .* uses \d+ MB after GET \/\?grow=80, more than PassengerMemoryLimit 60/);
    my ($second) = $h->get('/')->body =~ /(\d+)/;
    isnt $second, $first, '... and is replaced before the next request';
    my $r = $h->get('/?grow=400&s=0&burn=6');
    is $r->status, 502, 'one that grows beyond the hard limit is killed in the middle';
    $h->expect_log(qr/PSG0119: app\.memory_hard: process $second of .*PassengerHardMemoryLimit 300.* GET \/\?grow=400/);
    $h->expect_log(qr/PSG0150: request\.failed/);
    is version($h), 'old', '... and the next request is served';
}

# A process that takes any number of requests is never full; its processor is.
sub loop_busy {
    my ($mpm) = @_;
    my ($h, $app) = start($mpm, "PassengerForceMaxConcurrentRequestsPerProcess 0\nPassengerMaxPoolSize 2\nPassengerMaxRequestQueueSize 0");
    is version($h), 'old', 'it runs';
    $h->wrk('/?s=0.2', connections => 4, duration => 3)->finish;
    is scalar($h->apps), 1, 'waiting is no reason for another process';
    my $load = $h->wrk('/?burn=0.05', connections => 4, duration => 8);
    soon { $h->apps == 2 } 'computing is', 7;
    is $load->finish->{bad}, 0, '... and nothing fails';
}
