# Watchdog and core are killed, stopped and misled: what visitors see, what the log says, and that everything is back afterwards (33faults.t lists
# where each row of the fault matrix is tested).
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;
use Fault;

for my $mpm (Harness->mpms) {
    for my $part (qw(core_killed core_killed_busy watchdog_killed parent_killed)) {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
    }
}
for my $part (qw(core_flaps core_stopped core_hangs watchdog_stopped both_killed memory parent_stopped signals leftovers)) {
    subtest $part => sub { no strict 'refs'; &$part((Harness->mpms)[0]) };
}
done_testing;

sub serve {
    my ($mpm, %arg) = @_;
    my $conf = delete $arg{conf} // '';
    my $n = delete $arg{processes} // 1;
    my $h = Harness->new(mpm => $mpm, %arg);
    my $app = $h->copy_app('wsgi');
    # Prefork starts its children one by one, and requests would wait before Apache.
    $h->start(conf => ($mpm eq 'prefork' ? "StartServers 16\nMinSpareServers 16\n" : '')
        . "PassengerLogLevel 4\nDocumentRoot $app/public\nPassengerMaxInstances $n\nPassengerMinInstances $n\n$conf");
    is $h->get('/')->status, 200, 'it serves' or diag $h->log_text;
    wait_for { $n == (() = $h->log_text =~ /PSG0112: app\.ready/g) } "$n processes";
    return $h;
}

# F01, F07: the core dies while nobody waits; who comes in the gap waits, and is served by the same applications.
sub core_killed {
    my ($mpm) = @_;
    my $h = serve($mpm);
    quiet($h);
    my @apps = $h->apps;
    my %tag = (KILL => 9, SEGV => 11, ABRT => 6);
    for my $signal (sort keys %tag) {
        my $core = $h->kill_core($signal);
        my @r = within 2, "$signal: ... within a second or two", sub { join ' ', answers(at_once($h, 10, '/')) };
        is "@r", join(' ', (200) x 10), "$signal: who comes in the gap is served";
        like $h->expect_log(qr/PSG0013: helper\.died: core $core /), qr/signal=$tag{$signal}\b/, '... and the signal';
    }
    is join(' ', $h->apps), "@apps", 'the application processes are the same';
    calm($h);
    # Whoever does not exist any more wrote no memory anywhere.
    ok !glob("$h->{root}/{,run/,registry/*/}core*[0-9]"), 'no core file';
}

# F02: with requests in flight: those that had begun look broken, those that had not are 502, none hangs, and nobody else notices.
sub core_killed_busy {
    my ($mpm) = @_;
    my $h = serve($mpm, processes => 3);
    $h->allow_log(qr/PSG0(?:013|683|688)/);
    quiet($h);
    my @apps = $h->apps;
    my ($begun) = at_once($h, 1, '/stream?n=20&size=100&wait=0.1');
    $begun->_more(time + 5) until $begun->{in} =~ /0{100}/ || $begun->{eof};
    my ($waiting) = at_once($h, 1, '/slow?s=1.5');
    wait_for { counted($h, 'slow begins') } 'a request in an application';
    my $visitor = Fault::Visitor->new($h, '/');
    $h->kill_core;
    my $begin = time;
    my $r = $begun->read_response('GET');
    is $r->status, 200, 'a response that had begun';
    ok !$r->complete, '... looks broken';
    is $waiting->read_response('GET')->status, 502, 'a request that had not been answered is a 502';
    cmp_ok time - $begin, '<', 2, '... and neither waits';
    wait_for { counted($h, 'slow begins') == 1 && time - $begin > 1.6 } undef, 3;
    is counted($h, 'slow begins'), 1, '... nor is sent again';
    my $seen = $visitor->finish;
    # One of them may have been in the core, too.
    cmp_ok $seen->{bad}, '<=', 1, "others are served ($seen->{n} requests, the slowest $seen->{worst} s)" or diag $seen->{text};
    is join(' ', $h->apps), "@apps", 'busy processes are kept like idle ones';
    $r = wait_for { my @r = answers(at_once($h, 3, '/slow?s=0.1')); "@r" eq '200 200 200' } undef, 5;
    ok $r, '... and serve';
    calm($h);
}

# F08: the watchdog dies; Apache's parent has another within a second, and nobody who came meanwhile is turned away.
sub watchdog_killed {
    my ($mpm) = @_;
    my $h = serve($mpm, conf => 'GracefulShutdownTimeout 3');
    my ($watchdog, @apps) = ($h->watchdog, $h->apps);
    $h->allow_log(qr/PSG0(?:164|514|511)|PSG010[23]|AH00052: child pid $watchdog exit signal Segm/);
    my ($slow) = at_once($h, 1, '/slow?s=0.8');
    wait_for { counted($h, 'slow begins') } 'a request in an application';
    my $visitor = Fault::Visitor->new($h, '/');
    kill SEGV => $watchdog;
    my $new = wait_for { my ($now) = grep { $_ != $watchdog } $h->helpers('watchdog'); $now } 'another watchdog', 5;
    wait_for { my $r = eval { $h->get('/') }; $r && $r->status == 200 } 'an answer', 5;
    my $seen = $visitor->finish;
    # One may have waited in the core for the only process when that went.
    cmp_ok $seen->{bad}, '<=', 1, "nobody is turned away ($seen->{n} requests, the slowest $seen->{worst} s)" or diag $seen->{text};
    ok !grep({ !/^(?:200|503)$/ } keys %{ $seen->{status} }), '... without a word' or diag $seen->{text};
    cmp_ok $seen->{worst}, '<', 4, '... nor waits for long';
    # The application was told to end (its parent is gone) and finishes the request that it has.
    is join('', answers($slow)), 200, 'the request in flight is finished';
    $h->expect_log('PSG0514', 'that the helper died');
    wait_for { !grep { Proc::alive($_) } @apps } 'the end of the old application processes', 10;
    wait_for { $h->helpers('core') == 1 } 'the end of the old core', 15;
    quiet($h);
    is $h->get('/')->status, 200, 'it serves';
    calm($h);
}

# F10: Apache's parent is killed. Helper and applications go, busy ones too; Apache's own children stay (its way), say 503 and let their clients go;
# when they are gone a fresh start works.
sub parent_killed {
    my ($mpm) = @_;
    my $h = serve($mpm, processes => 2);
    $h->allow_log(qr/\[[\w-]+:\w+\]/);
    my @ours = ($h->watchdog, $h->core, $h->apps);
    my @children = grep { !$_->{helper} && $_->{exe} =~ /apache2/ } Proc::descendants($h->{pid});
    my ($busy) = at_once($h, 1, '/slow?s=300', timeout => 15);
    wait_for { counted($h, 'slow begins') } 'a busy process';
    my $begin = time;
    kill KILL => $h->{pid};
    wait_for { $h->_gone } 'the end of the parent';
    soon { !grep { Proc::alive($_) } @ours } 'helper and applications go, the busy one too', 10;
    cmp_ok time - $begin, '<', 8, '... in time';
    like join('', answers($busy)), qr/^50[023]!?$|^0$/, '... and its visitor is told';
    my $c = eval { $h->client };
    SKIP: {
        skip 'no child of Apache is left', 2 unless $c && grep { Proc::same($_) } @children;
        $c->write_request('GET', '/');
        my $r = $c->read_response('GET');
        is $r->status, 503, 'an orphan of Apache answers 503';
        ok $c->closed, '... and closes';
    }
    kill KILL => map { $_->{pid} } grep { Proc::same($_) } @children;
    wait_for { !grep { Proc::same($_) } @children } 'the end of the orphans';
    start_again($h);
    is $h->get('/')->status, 200, 'a fresh start works';
}

# F04: a core that dies again and again is not started in a tight loop; who asks meanwhile waits, files are served, and it comes back by itself.
sub core_flaps {
    my ($mpm) = @_;
    my $h = serve($mpm);
    spew("$h->{root}/apps/wsgi/public/x.css", 'css');
    quiet($h);
    my @apps = $h->apps;
    $h->allow_log(qr/PSG001[35]/);
    my $killed = 0;
    for my $i (1 .. 7) {
        my $core = wait_for { my $pid = $h->core; $pid && slurp("/proc/$pid/comm") && $pid } 'a core', 5 or last;
        kill KILL => $core;
        $killed++;
        wait_for { ($h->core // 0) != $core } undef, 5;
        last if counted($h, 'PSG0015');
    }
    ok counted($h, 'PSG0015: helper\.flapping'), "helper.flapping after $killed deaths";
    is $h->get('/x.css')->body, 'css', 'files are served meanwhile';
    is $h->get('/')->status, 200, 'an application\'s visitor waits, and is served';
    is join(' ', $h->apps), "@apps", '... by the same processes';
    calm($h);
}

# F05: a core that never goes on: it is replaced, and who came in the meantime is served by the next.
sub core_hangs {
    my ($mpm) = @_;
    my $h = serve($mpm);
    my @apps = $h->apps;
    my $core = $h->core;
    kill STOP => $core;
    my ($waiting) = at_once($h, 1, '/', timeout => 60);
    wait_for { $h->log_text =~ /PSG0050: helper\.unresponsive/ } 'helper.unresponsive', 10;
    wait_for { ($h->core // $core) != $core } 'another core', 40;
    $h->allow_log(qr/PSG0050/, qr/PSG0013: helper\.died/);
    is $h->get('/')->status, 200, 'the next core serves';
    is_deeply [ $h->apps ], \@apps, '... with the same applications';
    like join('', answers($waiting)), qr/^(?:200|502)/, '... and who waited has an answer';
}

# F05: a core that is stopped: nobody is refused, and all is well when it goes on.
sub core_stopped {
    my ($mpm) = @_;
    my $h = serve($mpm);
    quiet($h);
    my $core = $h->core;
    kill STOP => $core;
    my @waiting = at_once($h, 5, '/');
    my $begin = time;
    wait_for { time - $begin > 1 } undef, 2;
    kill CONT => $core;
    is join(' ', answers(@waiting)), '200 200 200 200 200', 'requests wait for a core that is stopped';
    is $h->core, $core, '... which is not replaced for a second of it';
    calm($h);
}

# F08: with the watchdog stopped nothing that runs is the worse for it.
sub watchdog_stopped {
    my ($mpm) = @_;
    my $h = serve($mpm, processes => 2);
    quiet($h);
    $h->allow_log(qr/PSG0116: stat\.slow/);
    my ($watchdog, @apps) = ($h->watchdog, $h->apps);
    kill STOP => $watchdog;
    my $visitor = Fault::Visitor->new($h, '/', every => 0.05);
    my $begin = time;
    wait_for { time - $begin > 1.5 } undef, 3;
    kill CONT => $watchdog;
    my $seen = $visitor->finish;
    is $seen->{bad}, 0, "nobody notices ($seen->{n} requests, the slowest $seen->{worst} s)" or diag $seen->{text};
    cmp_ok $seen->{worst}, '<', 1, '... nor waits';
    is join(' ', $h->watchdog, $h->apps), "$watchdog @apps", 'all processes are the same';
    calm($h);
}

# F09: both at once.
sub both_killed {
    my ($mpm) = @_;
    my $h = serve($mpm);
    my @apps = $h->apps;
    my ($watchdog, $core) = ($h->watchdog, $h->core);
    $h->allow_log(qr/PSG0(?:013|164|514|511|683|001)/);
    my $visitor = Fault::Visitor->new($h, '/');
    kill KILL => $watchdog, $core;
    wait_for { my $now = $h->watchdog; $now && $now != $watchdog && ($h->core // $core) != $core } 'another pair', 6;
    within 4, 'an answer within two seconds or so', sub { wait_for { my $r = eval { $h->get('/') }; $r && $r->status == 200 } 'an answer', 8 };
    my $seen = $visitor->finish;
    # One of its requests may have been in the core.
    cmp_ok $seen->{bad}, '<=', 1, "who came in the gap is served ($seen->{n} requests, the slowest $seen->{worst} s)" or diag $seen->{text};
    wait_for { !grep { Proc::alive($_) } @apps } 'the end of the old application processes', 10;
    quiet($h);
    $h->get('/');
    calm($h);
}

# F36: no more memory for the core, then for the watchdog: each says so, and another takes its place.
sub memory {
    my ($mpm) = @_;
    plan skip_all => 'sanitizers live on address space' if $ENV{PASSENGER_BUILD} && $ENV{PASSENGER_BUILD} =~ /san/;
    my $h = serve($mpm, processes => 2);
    $h->allow_log(qr/PSG0(?:013|1\d\d|514|511|68[1358])|PSG3800|AH00052/);
    quiet($h);
    for my $role (qw(core watchdog)) {
        my $pid = $h->$role;
        my ($uid, $gid, $size) = slurp("/proc/$pid/status") =~ /^Uid:\s+(\d+).*^Gid:\s+(\d+).*^VmSize:\s+(\d+)/ms;
        my @as = $> ? () : ('setpriv', "--reuid=$uid", "--regid=$gid", '--clear-groups');
        is system(@as, 'prlimit', "--pid=$pid", '--as=' . $size * 1024 . ':'), 0, "the $role gets no more memory";
        my $told = wait_for {
            # Each wants some: bodies in the core, processes to start in the watchdog.
            answers(at_once($h, 8, '/big?n=3000000'));
            kill KILL => ($h->apps)[0] if $role eq 'watchdog';
            (grep { /PSG3800: mem\.exhausted/ && /\[pid $pid\]/ } split /\n/, $h->log_text)[0];
        } "mem.exhausted of the $role", 20;
        like $told // '', qr/passenger-$role:crit/, '... says so';
        soon { my $now = $h->$role; $now && $now != $pid } '... and ends: there is another', 10;
        soon { my $r = eval { $h->get('/') }; $r && $r->status == 200 } '... and all is well', 15;
    }
    soon { $h->apps == 2 } 'two processes', 15;
    calm($h, slack => 8);
}

# F10b: Apache's parent is stopped. Nothing happens; and a watchdog that dies meanwhile is replaced when it goes on.
sub parent_stopped {
    my ($mpm) = @_;
    my $h = serve($mpm);
    spew("$h->{root}/apps/wsgi/public/x.css", 'css');
    $h->allow_log(qr/PSG0(?:164|514|511|68[13])|PSG010[23]/);
    my ($watchdog, $core) = ($h->watchdog, $h->core);
    kill STOP => $h->{pid};
    is join(' ', answers(at_once($h, 5, '/'))), '200 200 200 200 200', 'the parent is stopped: it serves';
    $h->allow_log('PSG0013');
    kill KILL => $core;
    wait_for { ($h->core // $core) != $core } 'another core';
    is $h->get('/')->status, 200, '... even without its core';
    kill KILL => $watchdog;
    wait_for { !Proc::alive($watchdog) } 'the end of the watchdog';
    is $h->get('/x.css')->body, 'css', 'without a watchdog files are served';
    my ($waiting) = at_once($h, 1, '/');
    kill CONT => $h->{pid};
    my $begin = time;
    wait_for { my ($now) = grep { $_ != $watchdog } $h->helpers('watchdog'); $now } 'another watchdog once the parent goes on', 5;
    cmp_ok time - $begin, '<', 3, '... in about a second';
    like join('', answers($waiting)), qr/^(?:200|503)$/, 'who asked meanwhile was served or told';
    soon { my $r = eval { $h->get('/') }; $r && $r->status == 200 } 'it serves again', 8;
    wait_for { $h->helpers('core') == 1 } 'one core', 10;
}

# F13: signals that mean nothing to us are no reason to die; TERM to the watchdog is an order that Apache does not share.
sub signals {
    my ($mpm) = @_;
    my $h = serve($mpm);
    quiet($h);
    my $before = join ' ', $h->watchdog, $h->core, $h->apps;
    for my $role (qw(watchdog core)) {
        kill $_ => $h->$role for qw(HUP USR1 USR2 PIPE ALRM WINCH);
    }
    is join(' ', answers(at_once($h, 5, '/'))), '200 200 200 200 200', 'HUP, USR1, USR2, PIPE, ALRM and WINCH: it serves';
    is join(' ', $h->watchdog, $h->core, $h->apps), $before, '... with the same processes';
    my ($slow) = at_once($h, 1, '/slow?s=0.5');
    wait_for { counted($h, 'slow begins') } 'a request in an application';
    $h->allow_log(qr/PSG0(?:013|014|019|514|511|164|683)|PSG010[23]/);
    my $core = $h->kill_core('TERM');
    wait_for { ($h->core // $core) != $core } 'another core';
    like join('', answers($slow)), qr/^(?:200|502)$/, 'TERM to the core: another takes its place';
    is $h->get('/')->status, 200, '... and serves';
    my $watchdog = $h->watchdog;
    kill TERM => $watchdog;
    wait_for { my ($now) = grep { $_ != $watchdog } $h->helpers('watchdog'); $now } 'TERM to the watchdog: another takes its place', 15;
    soon { my $r = eval { $h->get('/') }; $r && $r->status == 200 } '... and serves', 8;
}

# F39c: what a machine that went down in the middle of everything left in the registry is removed, what is not ours stays.
sub leftovers {
    my ($mpm) = @_;
    my $h = serve($mpm);
    $h->allow_log(qr/./);
    my @left = glob "$h->{root}/registry/*";
    kill KILL => map { $_->{pid} } Proc::descendants($h->{pid});
    kill KILL => $h->{pid};
    wait_for { $h->_gone && !Proc::below($h->{root}) } 'the end of everything', 10;
    is scalar(grep { -e } @left), 1, 'the instance directory is left';
    mkdir "$h->{root}/registry/of-somebody-else";
    start_again($h);
    is $h->get('/')->status, 200, 'it starts and serves';
    like $h->log_text, qr/PSG0001: instance\.stale_removed: \Q$left[0]\E/, 'instance.stale_removed is told';
    ok !-e $left[0], '... and done';
    ok -e "$h->{root}/registry/of-somebody-else", 'what is not ours is not removed';
    rmdir "$h->{root}/registry/of-somebody-else";
}
