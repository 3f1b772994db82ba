# Starts that fail, in every way that a loader, an application or the system has: the answer, one line in the log, no storm of attempts, and no harm to
# applications that run.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;
use Fault;
use Proc;

# Every application of one server is asked at the same time, and what became of each is looked at afterwards.
my %script = (
    garbage   => ['print "\x00\xff\xfe\r\r\n" x 200; exit 0', 500, qr/exited with code 0/],
    version   => ['print "!> I have control 9.0\n"; stay(60)', 500, qr/spawn\.protocol: the loader did not begin/],
    partial   => ['print "!> I have control 1.0\n!> Rea"; exit 0', 500, qr/spawn\.protocol: the loader said neither/],
    nonsense  => ['print "!> I have control 1.0\n!> Ready\n!> socket: main;fd:3;nonsense;1\n!> \n"; stay(60)', 500, qr/spawn\.protocol: the loader's socket speaks/],
    nosocket  => ['print "!> I have control 1.0\n!> Ready\n!> \n"; stay(60)', 500, qr/spawn\.protocol: the loader is ready but has named no main socket/],
    error     => ['print "!> I have control 1.0\n!> Error\n\nout of cheese\nredo from start\n"; exit 1', 500, qr/: out of cheese \(error id/],
    exits     => ['exit 0', 500, qr/exited with code 0/],
    killed    => ['kill 9, $$', 500, qr/ended by signal 9/],
    never     => ['if (!fork) { exec qw(tail -f /dev/null) } exec qw(tail -f /dev/null)', 500, qr/spawn\.timeout/],
    late      => ['stay(2); begin(); ready(); serve()', 500, qr/spawn\.timeout/],
    twice     => ['begin(); ready(); ready(); print "!> Error\n\nnot really\n"; serve()', 200],
    eager     => ['print "!> I have control 1.0\n"; ready(); serve()', 200],
    chatty    => ['print STDERR "x" x 1000, "\n" for 1 .. 5000; exit 1', 500, qr/exited with code 1/],
    nonewline => ['print STDERR "y" x 3_000_000; exit 1', 500, qr/exited with code 1/],
    nowhere   => ['begin(); print "!> Ready\n!> socket: main;unix:/nonexistent/socket;session;1\n!> \n"; stay(60)', 500, qr/app\.unreachable/ ],
);
# A part of the interpreter's name => what is wrong with it.
my %program = (missing => [undef, qr/cannot be run: No such file/], forbidden => ["#!/bin/sh\n", qr/cannot be run: Permission denied/],
    binary => ["\x7fELF nonsense", qr/cannot be run: Exec format error/], busy => ["#!/bin/sh\n", qr/cannot be run: Text file busy/]);

for my $part (qw(loaders storm crash_loop limits together system_faults)) {
    subtest $part => sub { no strict 'refs'; &$part() };
}
done_testing;

# What a script needs to be a loader, in a language that starts in no time.
sub interpreter {
    my ($h, $name, $code) = @_;
    my $file = "$h->{root}/lib/$name";
    spew($file, <<'END' . $code . "\n");
#!/usr/bin/perl
$| = 1;
sub begin { print "!> I have control 1.0\n"; while (<STDIN>) { last if $_ eq "\n" } }
sub ready { print "!> Ready\n!> socket: main;fd:3;session;1\n!> \n" }
sub stay { select undef, undef, undef, shift }
# Ends with its standard input, as loaders do.
sub serve {
    open my $listener, '+<&=', 3 or die;
    my %link;
    while (1) {
        my $bits = '';
        vec($bits, $_, 1) = 1 for 0, 3, keys %link;
        select $bits, undef, undef, undef;
        exit 0 if vec($bits, 0, 1) && !sysread STDIN, my $x, 100;
        if (vec($bits, 3, 1)) { accept my $link, $listener; $link{fileno $link} = $link }
        for my $fd (grep { vec $bits, $_, 1 } keys %link) {
            sysread($link{$fd}, my $length, 4) == 4 or do { delete $link{$fd}; next };
            for (my $left = unpack 'N', $length; $left > 0;) { $left -= sysread($link{$fd}, my $pairs, $left) || die }
            syswrite $link{$fd}, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
        }
    }
}
END
    chmod 0755, $file;
    return $file;
}

# An application whose code is not read: its interpreter is the application.
sub wsgi_app { my ($h, $name) = @_; $h->make_app($name, { 'passenger_wsgi.py' => "# not read\n" }) }

# F14 to F18.
sub loaders {
    my $h = Harness->new(workers => 64);
    my $conf = vhost('good', $h->copy_app('wsgi'));
    $conf .= vhost($_, wsgi_app($h, $_), 'PassengerStartTimeout 1', 'PassengerPython ' . interpreter($h, "loader-$_", $script{$_}[0])) for sort keys %script;
    my $open;
    for my $name (sort keys %program) {
        my $file = "$h->{root}/lib/program-$name";
        if (defined $program{$name}[0]) { spew($file, $program{$name}[0]); chmod $name eq 'forbidden' ? 0644 : 0755, $file }
        open $open, '>>', $file if $name eq 'busy';
        $conf .= vhost($name, wsgi_app($h, $name), "PassengerPython $file");
    }
    $h->start(conf => "PassengerMaxPoolSize 40\n$conf");
    $h->allow_log(qr/PSG0(?:113|150|102|103|104|105)\b/);
    $h->expect_log(qr/PSG2801: PassengerPython \S+program-missing at .*there is no/, 'what is missing');
    is $h->get('/', Host => 'good')->status, 200, 'it serves' or diag $h->log_text;
    quiet($h);
    my $visitor = Fault::Visitor->new($h, '/', host => 'good', every => 0.05);
    my @names = (sort(keys %script), sort keys %program);
    my %client = map { my ($c) = at_once($h, 1, '/', Host => $_); ($_ => $c) } @names;
    my $begin = time;
    my %status = map { $_ => (answers($client{$_}))[0] } @names;
    cmp_ok time - $begin, '<', 10, 'all are answered in time';
    my $seen = $visitor->finish;
    is $seen->{bad}, 0, "the application that runs is served all the while ($seen->{n} requests, the slowest $seen->{worst} s)" or diag $seen->{text};
    close $open;
    my @log = split /\n/, $h->log_text;
    for my $name (sort keys %script) {
        my ($code, $status, $sentence) = @{ $script{$name} };
        is $status{$name}, $status, "$name: $status" or diag map { "$_\n" } grep { m{/$name\b} } @log;
        my @lines = grep { /PSG0(?:113|104): .*\Q$h->{root}\E\/apps\/$name\b/ } @log;
        like $lines[0] // '', $sentence, '... and the log says why' if $sentence;
        is scalar(@lines), $sentence ? 1 : 0, '... once';
    }
    for my $name (sort keys %program) {
        is $status{$name}, 500, "an interpreter that is $name: 500";
        like $h->log_text, qr{PSG0113: spawn\.failed: \S+/apps/$name .*$program{$name}[1]}, '... and the log says why';
    }
    my $left = sub { grep { "@{ $_->{cmdline} }" =~ /^tail -f/ && $_->{cwd} =~ m{^\Q$h->{root}\E} } Proc::all() };
    wait_for { !$left->() } undef, 6;
    is scalar(my @left = $left->()), 0, 'the process group of a start that was given up is gone';
    calm($h, apps => 3); # good, twice, eager
}

# A start that fails at once, asked for all the time: few attempts, everybody answered from the failure that is remembered.
sub storm {
    my $h = Harness->new;
    my $count = "$h->{root}/run/attempts";
    spew($count, '');
    chmod 0666, $count;
    my $python = interpreter($h, 'loader', qq(require Time::HiRes; open my \$f, '>>', '$count'; syswrite \$f, Time::HiRes::time() . "\\n"; print STDERR "z" x 200, "\\n" for 1 .. 1000; exit 1));
    $h->start(conf => vhost('bad', wsgi_app($h, 'bad'), "PassengerPython $python"));
    $h->allow_log('PSG0113', 'PSG0105');
    my $begin = time;
    my @visitors = map { Fault::Visitor->new($h, '/', host => 'bad', every => 0.03) } 1 .. 3;
    wait_for { time - $begin > 3.5 } undef, 5;
    my ($n, $worst, %status) = (0, 0);
    for (map { $_->finish } @visitors) { $n += $_->{n}; $worst = $_->{worst} if $_->{worst} > $worst; $status{$_}++ for keys %{ $_->{status} } }
    my $seconds = time - $begin;
    my @at = sort { $a <=> $b } split /\n/, slurp($count);
    my $bursts = grep { $_ == 0 || $at[$_] - $at[$_ - 1] > 0.4 } 0 .. $#at;
    # At 0, 1, 3, 7 seconds.
    cmp_ok $bursts, '<=', $seconds < 7 ? 3 : $seconds < 15 ? 4 : 5, sprintf '%d requests in %.1f s: attempts at the steps of the back-off', $n, $seconds;
    is join(' ', keys %status), 500, '... and everybody is answered';
    cmp_ok $worst, '<', 3, '... soon';
    is counted($h, 'PSG0113: spawn\.failed'), scalar(@at), '... with one line per attempt';
    my $said = 0;
    $said += length for $h->log_text =~ /output: (z+\n)/g;
    cmp_ok $said, '>', 0, '... which the log knows';
    cmp_ok $said, '<=', 64 * 1024 * @at, '... and no more than 64 KiB of what each said';
    cmp_ok $n, '>', 20, '... however many there are';
}

# An application that starts, and ends: not started again at full speed.
sub crash_loop {
    my $h = Harness->new;
    my $count = "$h->{root}/run/attempts";
    spew($count, '');
    chmod 0666, $count;
    my $python = interpreter($h, 'loader', qq(open my \$f, '>>', '$count'; syswrite \$f, "x"; begin(); ready(); select undef, undef, undef, 0.1; exit 0));
    $h->start(conf => vhost('bad', wsgi_app($h, 'bad'), "PassengerPython $python", 'PassengerMinInstances 2'));
    $h->allow_log(qr/PSG0(?:103|104|113|150|156)/);
    my ($status) = answers(at_once($h, 1, '/', Host => 'bad'));
    like $status, qr/^50[023]$/, 'a request that no process lives long enough for';
    my $begin = time;
    wait_for { time - $begin > 3 } undef, 4;
    cmp_ok length slurp($count), '<=', 12, 'starts are not repeated without a pause';
    cmp_ok cpu_ticks($h->core) + cpu_ticks($h->watchdog), '<', 100, '... and cost the helper little';
}

# No limit is exceeded, not for a moment, when everything is asked for at once.
sub limits {
    my $h = Harness->new;
    my $conf = join '', map { vhost("app$_", wsgi_app($h, "app$_"), 'PassengerPython ' . interpreter($h, "loader$_", 'begin(); ready(); serve()')) } 1 .. 5;
    $h->start(conf => "PassengerMaxPoolSize 4\nPassengerMaxInstancesPerApp 3\nPassengerMinInstances 2\n$conf");
    my $watchdog = $h->watchdog;
    my @clients = map { at_once($h, 8, '/', Host => "app$_") } 1 .. 5;
    my ($most, %of, @status) = (0);
    my %left = map { $_ => 1 } @clients;
    my $begin = time;
    # A process counts from its fork to its end.
    while (%left && time - $begin < 20) {
        my @now = grep { $_->{ppid} == $watchdog && $_->{state} ne 'Z' && @{ $_->{cmdline} } && ($_->{cmdline}[1] // '') !~ /^(?:core|looker)$/ } Proc::all();
        $most = @now if @now > $most;
        my %app;
        $app{ $_->{cwd} }++ for grep { $_->{cwd} =~ m{/apps/} } @now;
        for (keys %app) { $of{$_} = $app{$_} if $app{$_} > ($of{$_} // 0) }
        for my $c (grep { $left{$_} } @clients) {
            my $bits = '';
            vec($bits, fileno $c->{sock}, 1) = 1;
            next unless select $bits, undef, undef, 0;
            push @status, answers($c);
            delete $left{$c};
        }
    }
    is scalar(grep { $_ eq '200' } @status), 40, 'five applications of eight visitors each, in a pool of four: all are served' or diag "@status";
    cmp_ok $most, '<=', 4, "... by no more than four processes at any time ($most seen)";
    ok !grep({ $_ > 3 } values %of), '... and three of an application' or diag explain \%of;
}

# F19c: many applications are asked for the first time in the same moment.
sub together {
    my $h = Harness->new(workers => 128);
    my ($n, $log) = (50, "$h->{root}/run/starts");
    spew($log, '');
    chmod 0666, $log;
    my $say = sub { qq(syswrite \$f, sprintf("%.3f $_[0]\\n", Time::HiRes::time()); ) };
    my $python = interpreter($h, 'loader', "require Time::HiRes; open my \$f, '>>', '$log'; " . $say->('1')
        . 'begin(); select undef, undef, undef, 0.05; ' . $say->('-1') . 'ready(); serve()');
    my $conf = vhost('running', $h->copy_app('wsgi'));
    $conf .= vhost("app$_", wsgi_app($h, "app$_"), "PassengerPython $python") for 1 .. $n;
    $h->start(conf => "PassengerMaxPoolSize 60\n$conf");
    $h->get('/', Host => 'running');
    my $visitor = Fault::Visitor->new($h, '/', host => 'running', every => 0.05);
    my $begin = time;
    my @status = answers(map { at_once($h, 1, '/', Host => "app$_", timeout => 60) } 1 .. $n);
    my $took = time - $begin;
    is scalar(grep { $_ eq '200' } @status), $n, "$n applications that start at once are all served" or diag "@status";
    cmp_ok $took, '<', 90, sprintf '... within 90 s (%.1f)', $took;
    my $seen = $visitor->finish;
    is $seen->{bad}, 0, '... and one that runs goes on' or diag $seen->{text};
    cmp_ok $seen->{worst}, '<', 3, sprintf '... without a long wait (%.2f s at most)', $seen->{worst};
    my ($now, $most) = (0, 0);
    for (sort { (split ' ', $a)[0] <=> (split ' ', $b)[0] } split /\n/, slurp($log)) { $now += (split)[1]; $most = $now if $now > $most }
    my $processors = () = slurp('/proc/cpuinfo') =~ /^processor/mg;
    cmp_ok $most, '<=', 2 * $processors, "... with few starts at once ($most on $processors processors)";
}

# F16, F39, F39d: what only the C library shows.
sub system_faults {
    my $h = Harness->new;
    my $faults = "$h->{root}/run/faults";
    my $shim = "$h->{root}/lib/faults.so";
    SKIP: {
        skip 'a sanitizer\'s runtime must be loaded first', 1 if $h->{helper} =~ /asan/;
        skip 'no compiler', 1 if system("cc -shared -fPIC -O1 -o $shim t/lib/faults.c 2>/dev/null");
        mkdir $faults;
        chmod 0755, "$h->{root}/run";
        $h->{env} = { LD_PRELOAD => $shim, FAULTS => $faults };
        with_faults($h, $faults);
    }
}

sub with_faults {
    my ($h, $faults) = @_;
    my $good = $h->copy_app('wsgi', 'good');
    my @apps = map { $h->copy_app('wsgi', "app$_") } 1 .. 2;
    my $marker = "$h->{root}/marker";
    spew($marker, '');
    chmod 0666, $marker;
    my @steps = qw(initgroups1 setresgid1 setresgid0 setresuid1 setresuid11 setresuid0 chdir1);
    my $steps = join '', map { vhost($_, $h->make_app($_, { 'passenger_wsgi.py' => "import os\nopen('$marker', 'a').write('$_ %d\\n' % os.getuid())\n" })) } @steps;
    $h->start(conf => "PassengerMaxPoolSize 10\nPassengerPoolIdleTime 300\n$steps"
        . vhost('rack', $h->make_app('rack', { 'config.ru' => 'run ->(env) { [200, {}, ["pid #{$$}"]] }' }))
        . vhost('good', $good, 'PassengerMaxInstances 1', 'PassengerMaxRequestQueueTime 1') . join '', map { vhost("app$_", $apps[$_ - 1]) } 1 .. 2);
    is $h->get('/', Host => 'good')->status, 200, 'it serves' or diag $h->log_text;
    quiet($h);

    spew("$faults/fork", '');
    my $none = $h->get('/', Host => 'app1');
    is $none->status, 503, 'no process can be had: the visitor is told';
    like $none->header('Retry-After') // '', qr/^\d+$/, '... when to come again';
    like $h->expect_log('PSG0113'), qr/spawn\.failed: \S+app1 .*could not start a process: Resource temporarily unavailable/, '... and why';
    is $h->get('/', Host => 'good')->status, 200, '... and what runs goes on';
    unlink "$faults/fork";
    soon { $h->get('/', Host => 'app1')->status == 200 } '... and later it starts', 5;

    # That is no fault of new code: it gets its process later, without another restart; Ruby's from a preloader.
    my $pid = sub { $h->get('/', Host => $_[0])->body =~ /(?:"pid": |^pid )(\d+)/ ? $1 : 0 };
    my %before = map { $_ => $pid->($_) } qw(app1 rack);
    spew("$faults/fork", '');
    spew("$h->{root}/apps/$_/tmp/restart.txt", '') for sort keys %before;
    for my $app (sort keys %before) {
        ok((wait_for { $h->get('/', Host => $app); counted($h, qr/spawn\.failed: \S+$app .*could not start/) > ($app eq 'app1') } 'a start that fails'), "no process can be had for new code of $app");
        is $h->get('/', Host => $app)->status, 200, '... and the old code goes on';
    }
    unlink "$faults/fork";
    for my $app (sort keys %before) {
        soon { my $now = $pid->($app); $now && $now != $before{$app} } "$app gets its new process when there is one to be had", 20;
    }

    spew("$faults/passwd", '2');
    my $begin = time;
    my ($slow) = at_once($h, 1, '/', Host => 'app2');
    my $visitor = Fault::Visitor->new($h, '/', host => 'good');
    is join('', answers($slow)), 200, 'looking up the user takes two seconds: the start waits';
    cmp_ok time - $begin, '>', 1.9, '... for it';
    my $seen = $visitor->finish;
    is $seen->{bad}, 0, '... and nobody else does' or diag $seen->{text};
    cmp_ok $seen->{worst}, '<', 1.5, '... at all';
    unlink "$faults/passwd";

    # A right that cannot be given up, or a step that only seems to have been taken: nothing of the application's runs.
    my %told = (initgroups => 'the groups of user', setresgid => 'could not become user', setresuid => 'could not become user', chdir => 'PassengerAppRoot|folder');
    for my $step (sort keys %told) {
        for my $errno ($step eq 'setresuid' ? (1, 11, 0) : $step eq 'setresgid' ? (1, 0) : (1)) {
            spew("$faults/$step", $errno);
            is $h->get('/', Host => "$step$errno")->status, 500, "$step " . ($errno ? "fails with errno $errno" : 'does nothing') . ': the visitor is told';
            like $h->expect_log(qr/PSG0113: spawn\.failed: \S+$step$errno /), $errno ? qr/$told{$step}/ : qr/could not give up root's rights|did not become user/, '... and why';
            unlink "$faults/$step";
        }
    }
    is slurp($marker), '', '... and nothing of theirs ran';
    is $h->get('/', Host => 'good')->status, 200, '... while others are served';

    # The wall clock jumps: no process goes, no time limit fires early or late.
    my $pids = join ' ', $h->watchdog, $h->core, $h->apps;
    my $ticks = cpu_ticks($h->core) + cpu_ticks($h->watchdog);
    for my $jump (3600, -3600, 315_360_000, 2_147_483_647 - time, -1_000_000_000) {
        my ($busy) = at_once($h, 1, '/slow?s=0.6', Host => 'good');
        wait_for { counted($h, 'slow begins') } undef, 2;
        spew("$faults/clock.new", int $jump);
        rename "$faults/clock.new", "$faults/clock";
        is join('', answers($busy)), 200, 'the clock jumps by ' . int($jump) . ' s: a request in flight is finished';
        is $h->get('/', Host => 'good')->status, 200, '... and others are served';
        is join(' ', $h->watchdog, $h->core, $h->apps), $pids, '... by the same processes';
    }
    my @clients = at_once($h, 2, '/slow?s=1.6', Host => 'good');
    $begin = time;
    $h->allow_log('PSG0110');
    like join(' ', sort(answers(@clients))), qr/^200 50[34]$/, 'a limit in seconds is kept whatever the clock says';
    cmp_ok time - $begin, '<', 4, '... in time';
    cmp_ok cpu_ticks($h->core) + cpu_ticks($h->watchdog) - $ticks, '<', 100, 'nothing runs in circles';
    unlink "$faults/clock";
    $h->kill_core;
    $h->expect_log('PSG0013');
    is $h->get('/', Host => 'good')->status, 200, 'the clock is right again, and a new core serves';
    calm($h, apps => 6);
}
