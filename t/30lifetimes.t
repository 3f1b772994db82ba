# Who lives how long: the helper's processes and the applications' over graceful, restart, stop, crashes, and what else befalls a server.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;

my $gracefuls = $ENV{GRACEFULS} // 5;

for my $mpm (Harness->mpms) {
    for my $part (qw(kept upgrade crashes directory rotation options descendants parent_killed broken_config graceful_stop detached no_helper)) {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
    }
}
done_testing;

# A server with one application.
sub serve {
    my ($mpm, %arg) = @_;
    my $conf = delete $arg{conf} // '';
    my $h = Harness->new(mpm => $mpm, %arg);
    my $app = $h->copy_app('wsgi');
    $h->{app} = $app;
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxInstances 2\n$conf");
    is $h->get('/')->status, 200, 'it serves' or diag $h->log_text;
    return $h;
}

# The processes as one string, to be compared.
sub pids { my ($h) = @_; join ' ', 'watchdog', $h->watchdog // 0, 'core', $h->core // 0, 'apps', $h->apps }
sub pid_of { my ($h) = @_; $h->get('/')->json->{pid} // 0 }

# Waits until a request is answered 200; the seconds that took.
sub back {
    my ($h, $limit, $what) = @_;
    my $begin = time;
    my $r = wait_for { my $r = eval { $h->get('/') }; $r && $r->status == 200 && $r } "$what: an answer", 15;
    my $took = time - $begin;
    cmp_ok $took, '<', $limit, sprintf '%s: answers again after %.2f s', $what, $took;
    return $r;
}

sub kept {
    my ($mpm) = @_;
    my $h = serve($mpm, conf => 'PassengerMaxPoolSize 1');
    my $before = pids($h);
    is scalar($h->helpers('watchdog')), 1, 'one watchdog';
    is scalar($h->helpers('core')), 1, 'one core';
    unless ($>) {
        is Proc::ids($h->watchdog)->{uid}[0], 0, 'the watchdog is root';
        ok !grep({ $_ == 0 } @{ Proc::ids($h->core)->{uid} }, @{ Proc::ids($h->core)->{gid} }, @{ Proc::ids($h->core)->{groups} }),
            'the core has nothing of root';
    }
    $h->baseline;
    # New connections: Apache itself closes idle kept ones at a graceful restart, now and then under a request (so it does with a plain file).
    my $wrk = $h->wrk('/', connections => 8, close => 1, duration => 2 + 0.6 * $gracefuls);
    $h->graceful for 1 .. $gracefuls;
    my $load = $wrk->finish;
    is $load->{bad}, 0, "no request failed over $gracefuls times graceful ($load->{requests} served)" or diag $load->{out};
    like pids($h), qr/^\Q$before\E/, '... which kept all processes';
    my $after = pids($h);
    $h->restart;
    is $h->get('/')->status, 200, 'it serves after a restart';
    is pids($h), $after, '... which kept all processes too';
    $h->check_baseline;
}

# Module and helper are replaced by another build, as a package's upgrade does it; then Apache is reloaded.
sub upgrade {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my ($id) = `$h->{root}/lib/passenger-helper --version` =~ /build (\w{16})/;
    (my $other = $id // '') =~ tr/0-9a-f/1-9a-f0/;
    my $replace = sub {
        my ($from, $to) = @_;
        (my $bytes = slurp($from)) =~ s/\Q$id\E/$other/g;
        spew("$to.new", $bytes);
        chmod 0755, "$to.new";
        rename "$to.new", $to or die "$to: $!";
    };
    $h->{module} = "$h->{root}/lib/mod_passenger.so";
    system('cp', ($ENV{PASSENGER_BUILD} // 'build') . '/mod_passenger.so', $h->{module}) == 0 or die 'cp';
    my $app = $h->copy_app('wsgi');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxInstances 2");
    is $h->get('/')->status, 200, 'it serves' or diag $h->log_text;
    my ($watchdog, $core, @apps) = ($h->watchdog, $h->core, $h->apps);
    my $wrk = $h->wrk('/', connections => 4, close => 1, duration => 3);
    $replace->($h->{module}, $h->{module});
    $replace->("$h->{root}/lib/passenger-helper", "$h->{root}/lib/passenger-helper");
    $h->graceful;
    wait_for { my $now = $h->core; $now && $now != $core } 'the new core', 10;
    my $load = $wrk->finish;
    is $load->{bad}, 0, "no request failed ($load->{requests} served)" or diag $load->{out};
    like `/proc/${\$h->watchdog}/exe --version`, qr/build \Q$other\E/, 'the watchdog runs the new program';
    is $h->watchdog, $watchdog, '... under its old number';
    ok !(grep { my $pid = $_; !grep { $_ == $pid } $h->apps } @apps), '... with the same application processes';
    is $h->get('/')->status, 200, '... and serves';
    kill KILL => $h->core;
    $h->allow_log('PSG0013');
    back($h, 1, 'new core killed');
}

sub crashes {
    my ($mpm) = @_;
    my $h = serve($mpm);
    my ($watchdog, $core, @apps) = ($h->watchdog, $h->core, $h->apps);

    $h->allow_log(qr/PSG0\d{3}.*(?:core|link|signal)/i);
    $h->kill_core;
    my $r = back($h, 1, 'core killed');
    isnt $h->core, $core, 'a new core';
    is $h->watchdog, $watchdog, '... the same watchdog';
    is join(' ', $h->apps), "@apps", '... the same application processes';
    is $r->json->{pid}, $apps[0], '... and they serve' if @apps == 1;

    # Several at once, so that every descriptor and pid has to be right again.
    for my $i (1 .. 3) { $core = $h->core; $h->kill_core; wait_for { my $now = $h->core; $now && $now != $core } 'another core' }
    back($h, 1, 'core killed three times');
    is join(' ', $h->apps), "@apps", '... the same application processes';

    kill KILL => $apps[0];
    $h->allow_log(qr/App \d+|\[\w+:\w+\].*$apps[0]/);
    $r = back($h, 2, 'application killed');
    isnt $r->json->{pid}, $apps[0], '... by another process';

    @apps = $h->apps;
    $h->allow_log(qr/\[\w+:\w+\].*(?:watchdog|helper|instance)/i);
    kill KILL => $watchdog;
    back($h, 2, 'watchdog killed');
    my $new = wait_for { my $now = $h->watchdog; $now && $now != $watchdog && $now } 'a new watchdog', 5;
    ok !(grep { my $pid = $_; grep { $_ == $pid } @apps } $h->apps), '... with new application processes';
    wait_for { !grep { Proc::alive($_) } @apps } 'the end of the old application processes', 10;
    wait_for { $h->helpers('core') == 1 } 'the end of the old core', 15;
    is scalar($h->helpers($_)), 1, "one $_" for qw(watchdog core);
}

sub directory {
    my ($mpm) = @_;
    my $h = serve($mpm);
    my @apps = $h->apps;
    my $watchdog = $h->watchdog;
    my ($dir) = glob "$h->{root}/registry/*";
    ok -d $dir, 'the instance directory is in the registry';
    $h->allow_log(qr/PSG0019: instance\.recreated/);
    system 'rm', '-rf', $dir;
    back($h, 2, 'instance directory deleted');
    soon { glob "$h->{root}/registry/*" } '... and there is one again', 5;
    changed($h, $dir) if $mpm eq (Harness->mpms)[0];
    $h->graceful;
    is $h->get('/')->status, 200, '... and graceful works';
    is $h->watchdog, $watchdog, '... with the same watchdog';
    is join(' ', $h->apps), "@apps", '... and the same application processes';
}

# Owner, mode or kind of what is in the instance directory.
sub changed {
    my ($h, $dir) = @_;
    # Those who have a connection keep it: it is new ones that cannot be made.
    $h->allow_log('PSG0681');
    my $games = (getpwnam 'games')[2];
    for my $harm ($> ? ([0700, sub { chmod 0, "$dir/core.sock" }]) : ([0711, sub { chmod 0, "$dir/core.sock" }], [0711, sub { chmod 0, $dir }],
        [0711, sub { chown $games, -1, $dir, "$dir/core.sock", "$dir/admin" }], [0711, sub { unlink "$dir/core.sock"; spew("$dir/core.sock", '') }],
        [0711, sub { link "$dir/core.sock", "$dir/old"; unlink "$dir/core.sock"; soon { -e "$dir/core.sock" } 'a socket is back'; rename "$dir/old", "$dir/core.sock" }])) {
        my ($mode, $do) = @$harm;
        my $told = () = $h->log_text =~ /PSG0019/g;
        $do->();
        soon { (() = $h->log_text =~ /PSG0019/g) > $told } 'the log says that somebody changed the folder or a socket in it';
        my $want = sprintf '%o %d 600 %d 666 %d', $mode, $>, $> || (getpwnam $h->{user})[2], $>;
        soon { join(' ', map { my @st = stat "$dir$_"; @st ? sprintf('%o %d', $st[2] & 07777, $st[4]) : 'none' } '', '/core.sock', '/admin') eq $want } '... and it is as it was';
        $h->graceful; # new children need new connections
        is $h->get('/')->status, 200, '... for whoever comes';
    }
}

sub rotation {
    my ($mpm) = @_;
    my $h = serve($mpm);
    my $log = "$h->{root}/logs/error_log";
    my $started = $h->started;
    rename $log, "$log.1";
    is(($h->apachectl('-k', 'graceful'))[0], 0, 'graceful after the log was renamed');
    wait_for { $h->started >= 1 } 'a line in the new log', 15;
    $h->get('/log?text=after+rotation');
    soon { $h->log_text =~ /App \d+ output: after rotation/ } 'the applications write to the new log';
    unlike slurp("$log.1"), qr/after rotation/, '... and not to the old one';
    ok !grep({ my $pid = $_; grep { /error_log\.1/ } Proc::fds($pid) } $h->watchdog, $h->core, $h->apps), 'nobody holds the old one'
        or diag map { my $pid = $_; map { "  $pid $_\n" } grep { /error_log/ } Proc::fds($pid) } $h->watchdog, $h->core, $h->apps;
}

# A configuration that changes one of two applications, a touch of restart.txt.
sub options {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my ($one, $two) = map { $h->copy_app('wsgi', $_) } qw(one two);
    my $conf = sub {
        my ($env) = @_;
        return "<VirtualHost *>\nServerName one\nDocumentRoot $one/public\nPassengerAppEnv $env\nPassengerStatThrottleRate 0\n</VirtualHost>\n"
            . "<VirtualHost *>\nServerName two\nDocumentRoot $two/public\n</VirtualHost>\n";
    };
    $h->allow_log(qr/PassengerStatThrottleRate/);
    $h->start(conf => $conf->('production'));
    my $pid = sub { $h->get('/', Host => $_[0])->json->{pid} // 0 };
    my %before = map { $_ => $pid->($_) } qw(one two);
    $h->reconfigure($conf->('staging'));
    $h->graceful;
    wait_for { $pid->('one') != $before{one} } 'a new process for what changed', 10;
    is $pid->('two'), $before{two}, 'the other application is kept';
    is $h->get('/process', Host => 'one')->json->{env}{PASSENGER_APP_ENV}, 'staging', 'the new one has the new value';

    my $old = $pid->('one');
    spew("$one/tmp/restart.txt", '');
    my $new = $pid->('one');
    isnt $new, $old, 'restart.txt: a new process';
    is $pid->('one'), $new, '... once';
    wait_for { !Proc::alive($old) } 'the end of the old one', 10;
    utime time + 100, time + 100, "$one/tmp/restart.txt";
    isnt $pid->('one'), $new, '... and again when it is touched';
}

# Applications start processes of their own; they go too.
sub descendants {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('children', { 'passenger_wsgi.py' => <<'END' });
import os, subprocess, sys
child = subprocess.Popen(["sleep", "1000"])
if os.fork() == 0:
    os.setsid()
    os.execvp("sleep", ["sleep", "1001"])
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(child.pid).encode()]
END
    $h->start(conf => "DocumentRoot $app/public");
    my $child = $h->get('/')->body;
    like $child, qr/^\d+$/, 'an application with a process of its own' or diag $h->log_text;
    ok Proc::alive($child), '... which is there';
    my $begin = time;
    $h->stop;
    cmp_ok time - $begin, '<', 12, 'stop is over soon';
    ok !Proc::alive($child), '... and the process gone';
}

sub parent_killed {
    my ($mpm) = @_;
    my $h = serve($mpm);
    my @ours = ($h->watchdog, $h->core, $h->apps);
    my @children = grep { !$_->{helper} && $_->{exe} =~ /apache2/ } Proc::descendants($h->{pid});
    kill KILL => $h->{pid};
    wait_for { $h->_gone } 'the end of the parent';
    soon { !grep { Proc::alive($_) } @ours } 'parent killed: the helper and all applications go', 15;
    # Apache's own children stay behind; that is Apache's way.
    kill KILL => map { $_->{pid} } grep { Proc::same($_) } @children;
    $h->{exit} = 0;
    $h->allow_log(qr/\[\w+:\w+\]|AH0/);
}

sub broken_config {
    my ($mpm) = @_;
    my $h = serve($mpm);
    my @ours = ($h->watchdog, $h->core, $h->apps);
    $h->reconfigure('NoSuchDirective on');
    kill USR1 => $h->{pid};
    wait_for { $h->_gone } 'the end of Apache', 15;
    soon { !grep { Proc::alive($_) } @ours } 'Apache gave up over its configuration: nothing of ours stays', 15;
    $h->{exit} = 0;
    $h->allow_log(qr/\[\w+:\w+\]|AH0|Syntax error|NoSuchDirective/);
}

sub graceful_stop {
    my ($mpm) = @_;
    my $h = serve($mpm);
    my $c = $h->client;
    $c->write_request('GET', '/slow?s=1', Connection => 'close');
    wait_for { $h->log_text =~ /slow begins/ } 'the request to arrive', 5;
    $h->stop('graceful-stop');
    is $c->read_response('GET')->body, "slow\n", 'graceful-stop: the request in flight is finished';
}

# As in production: Apache reads its configuration twice and detaches itself.
sub detached {
    my ($mpm) = @_;
    my $h = serve($mpm, daemon => 1);
    is scalar($h->helpers('watchdog')), 1, 'one watchdog';
    my $before = pids($h);
    $h->graceful;
    is $h->get('/')->status, 200, 'it serves after graceful';
    is pids($h), $before, '... with the same processes';
}

# Apache starts whatever becomes of the helper.
sub no_helper {
    my ($mpm) = @_;
    my %helper = ('is not there' => undef, 'ends at once' => "#!/bin/sh\nexit 3\n", 'is no program' => "nonsense\n");
    for my $what (sort keys %helper) {
        my $h = Harness->new(mpm => $mpm);
        my $app = $h->copy_app('wsgi');
        spew("$app/public/x.css", 'css');
        $h->{helper} = "$h->{root}/lib/other";
        if (defined $helper{$what}) { spew($h->{helper}, $helper{$what}); chmod 0755, $h->{helper} }
        $h->start(conf => "DocumentRoot $app/public");
        $h->expect_log('PSG0510', "that the helper $what");
        $h->allow_log(qr/PSG0681/);
        is $h->get('/x.css')->body, 'css', "the helper $what: Apache serves files";
        is $h->get('/')->status, 503, '... and 503 for applications';
    }
}
