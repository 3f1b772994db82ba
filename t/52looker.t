# Who looks at restart.txt, with whose rights, and what becomes of everybody else when a file system does not answer.
use strict;
use warnings;
use lib 't/lib';
use Fcntl qw(F_SETFD FD_CLOEXEC);
use Test::More;
use Time::HiRes qw(time);
use Harness;

my $mpm = (Harness->mpms)[0];
my $unmount; # what is mounted
for my $part (qw(places rights roots_own stopped hanging killed)) {
    subtest $part => sub { no strict 'refs'; &$part };
}
done_testing;

sub unmount { my $dir = $unmount // return; undef $unmount; return system('timeout', 10, 'umount', $dir) == 0 }
END { my $status = $?; unmount(); $? = $status }

# A server with one application for each line of configuration, each a virtual host of its own.
sub serve {
    my ($h, %conf) = @_;
    my $conf = "PassengerStatThrottleRate 0\nPassengerMaxPoolSize 8\nPassengerDefaultUser nobody\n";
    for my $name (sort keys %conf) {
        $h->copy_app('wsgi', $name, $name eq 'roots' ? (owner => 'root') : ());
        $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $h->{root}/apps/$name/public\nPassengerMaxInstances 1\n$conf{$name}\n</VirtualHost>\n";
    }
    $h->allow_log(qr/PassengerStatThrottleRate/);
    $h->start(conf => $conf);
}

sub pid { my ($h, $name) = @_; $h->get('/', Host => $name)->json->{pid} // 0 }

my $later = 0;
sub touch { my ($file) = @_; spew($file, '') unless -e $file; $later += 10; utime time + $later, time + $later, $file or die "$file: $!" }

# Whether touching a file gives the application another process.
sub restarts {
    my ($h, $name, $file) = @_;
    my $pid = pid($h, $name);
    touch($file);
    pid($h, $name) for 1 .. 2;
    return wait_for { pid($h, $name) != $pid } undef, 1.5;
}

sub places {
    my $h = Harness->new(mpm => $mpm);
    my $apps = "$h->{root}/apps";
    mkdir "$h->{root}/deploy";
    serve($h, plain => '', relative => 'PassengerRestartDir ops', up => 'PassengerRestartDir ../plain/tmp', absolute => "PassengerRestartDir $h->{root}/deploy");
    mkdir "$apps/relative/ops";
    ok restarts($h, 'plain', "$apps/plain/tmp/restart.txt"), 'tmp/restart.txt restarts';
    ok restarts($h, 'relative', "$apps/relative/ops/restart.txt"), '... in a folder that PassengerRestartDir names';
    ok !restarts($h, 'relative', "$apps/relative/tmp/restart.txt"), '... and only there';
    ok restarts($h, 'absolute', "$h->{root}/deploy/restart.txt"), '... with an absolute path too';
    ok restarts($h, 'up', "$apps/plain/tmp/restart.txt"), '... or beside the application';

    unlink "$apps/plain/tmp/restart.txt";
    pid($h, 'plain');
    my $pid = pid($h, 'plain');
    system('mkfifo', "$apps/plain/tmp/restart.txt") == 0 or die 'mkfifo';
    my $begin = time;
    soon { pid($h, 'plain') != $pid } 'a FIFO of that name is a file like others';
    cmp_ok time - $begin, '<', 5, '... which nobody opens';
    $pid = pid($h, 'plain');
    spew("$apps/plain/tmp/always_restart.txt", '');
    pid($h, 'plain');
    soon { pid($h, 'plain') != $pid } 'always_restart.txt';
}

sub rights {
    plan skip_all => 'there is nobody to become without root' if $>;
    my $h = Harness->new(mpm => $mpm);
    my ($apps, $secret, $shared) = ("$h->{root}/apps", "$h->{root}/secret", "$h->{root}/shared");
    mkdir $_ or die "$_: $!" for $secret, $shared;
    chmod 0700, $secret;
    my %link = (secret => $secret, other => "$apps/closed/tmp", shared => $shared, self => '/proc/self/root' . $shared);
    serve($h, closed => '', map { $_ => '' } keys %link);
    chmod 0700, "$apps/closed";
    $h->own("$apps/closed", $h->app_user(1));
    for my $name (sort keys %link) {
        rmdir "$apps/$name/tmp" or die "tmp: $!";
        symlink $link{$name}, "$apps/$name/tmp" or die "symlink: $!";
        system('chown', '-h', $h->app_user, "$apps/$name/tmp") == 0 or die 'chown';
    }
    ok restarts($h, 'shared', "$shared/restart.txt"), 'tmp may be a symbolic link';
    ok !restarts($h, 'secret', "$secret/restart.txt"), '... but not to a folder that the application\'s owner may not enter';
    chmod 0755, $secret;
    ok restarts($h, 'secret', "$secret/restart.txt"), '... unlike one that everybody may';
    ok !restarts($h, 'other', "$apps/closed/tmp/restart.txt"), '... nor to a folder in somebody else\'s application';
    ok !restarts($h, 'self', "$shared/restart.txt"), '... nor through what the kernel shows of our process';

    my ($looker) = $h->helpers('looker');
    my $status = slurp("/proc/$looker/status");
    my ($caps) = $status =~ /^CapPrm:\s*(\w+)/m;
    is hex($caps), 1 << 2 | 1 << 6 | 1 << 7, 'the looker may look everywhere and become others, nothing else';
    like $status, qr/^NoNewPrivs:\s*1/m, '... and can get no more';
    like $status, qr/^Groups:\s*$/m, '... and is in no group';
}

# Root's own folder has no other owner to look for it, so links are judged by who made them.
sub roots_own {
    plan skip_all => 'there is nobody to become without root' if $>;
    my $h = Harness->new(mpm => $mpm);
    my ($tmp, $deploy) = ("$h->{root}/apps/roots/tmp", "$h->{root}/deploy");
    mkdir $deploy;
    serve($h, roots => '');
    ok restarts($h, 'roots', "$tmp/restart.txt"), 'restart.txt in an application of root\'s';
    unlink "$tmp/restart.txt";
    rmdir $tmp or die "tmp: $!";
    symlink $deploy, $tmp or die "symlink: $!";
    ok restarts($h, 'roots', "$deploy/restart.txt"), '... by a link of root\'s';
    system('chown', '-h', $h->app_user, $tmp) == 0 or die 'chown';
    pid($h, 'roots') for 1 .. 2;
    ok !restarts($h, 'roots', "$deploy/restart.txt"), '... but not by a stranger\'s';
}

# As if every file system hung.
sub stopped {
    my $h = Harness->new(mpm => $mpm);
    serve($h, one => '', two => '');
    my %pid = map { $_ => pid($h, $_) } qw(one two);
    my @ours = ($h->watchdog, $h->core);
    my ($looker) = $h->helpers('looker');
    $h->allow_log(qr/PSG0116: stat\.slow/); # should this machine be slow, too
    kill STOP => $looker;
    touch("$h->{root}/apps/one/tmp/restart.txt");
    my $begin = time;
    is pid($h, $_), $pid{$_}, "$_ is served while nobody can look" for qw(one two one);
    cmp_ok time - $begin, '<', 3, '... without much delay';
    kill CONT => $looker;
    soon { pid($h, 'one') != $pid{one} } 'then the restart is noticed', 5;
    is pid($h, 'two'), $pid{two}, '... of the one that was touched';
    is join(' ', $h->watchdog, $h->core), "@ours", '... by the same helper';
}

# A mounted file system whose server never answers.
sub hanging {
    my $h = Harness->new(mpm => $mpm);
    my $dir = "$h->{root}/dead";
    mkdir $dir;
    open my $fuse, '+<', '/dev/fuse' or plan skip_all => "/dev/fuse: $!";
    serve($h, alive => '', map { $_ => "PassengerRestartDir $dir" } qw(hung1 hung2 hung3 hung4));
    is pid($h, $_) ? 'serves' : 'does not', 'serves', $_ for qw(alive hung1 hung2 hung3 hung4);
    # Nobody but mount gets the descriptor: with its last copy the file system begins to answer.
    fcntl $fuse, F_SETFD, 0;
    my $mounted = system('timeout', 10, 'mount', '-i', '-t', 'fuse', '-o', 'fd=' . fileno($fuse) . ",rootmode=40000,user_id=$>,group_id=0,allow_other", 'dead', $dir) == 0;
    fcntl $fuse, F_SETFD, FD_CLOEXEC;
    $unmount = $dir if $mounted;
    if (!$mounted) {
        $h->finish;
        plan skip_all => 'no file system can be mounted here';
    }
    my %pid = map { $_ => pid($h, $_) } qw(hung1 hung2 hung3 hung4);
    ok $pid{$_}, "$_ is served though its file system hangs" for sort keys %pid;
    my $begin = time;
    ok restarts($h, 'alive', "$h->{root}/apps/alive/tmp/restart.txt"), 'another application is restarted as ever';
    cmp_ok time - $begin, '<', 5, '... soon';
    $h->expect_log(qr/PSG0116: stat\.slow: .*hung/);
    is Proc::get($h->watchdog)->{state}, 'S', 'the watchdog waits for events only';
    my ($looker) = $h->helpers('looker');
    my @threads = glob "/proc/$looker/task/*";
    pid($h, $_) for (sort keys %pid) x 3;
    is scalar(() = glob "/proc/$looker/task/*"), scalar(@threads), 'a folder that hangs is looked at by one, not by more and more';
    $h->allow_log('PSG0013');
    my $core = $h->core;
    $h->kill_core;
    wait_for { ($h->core // $core) != $core } 'another core';
    ok restarts($h, 'alive', "$h->{root}/apps/alive/tmp/restart.txt"), 'a new core has somebody who looks too';
    close $fuse;
    ok unmount(), 'the file system goes away';
    pid($h, 'hung1') for 1 .. 2;
    ok restarts($h, 'hung1', "$dir/restart.txt"), 'when a file system answers again a restart is noticed';
}

sub killed {
    my $h = Harness->new(mpm => $mpm);
    serve($h, one => '');
    my $pid = pid($h, 'one');
    my @ours = ($h->watchdog, $h->core);
    $h->allow_log(qr/PSG0013: helper\.died: looker/);
    for my $i (1 .. 2) {
        my ($looker) = $h->helpers('looker');
        kill KILL => $looker;
        soon { my @now = $h->helpers('looker'); @now == 1 && $now[0] != $looker } 'looker killed: another';
        is pid($h, 'one'), $pid, '... and the same process';
    }
    ok restarts($h, 'one', "$h->{root}/apps/one/tmp/restart.txt"), '... whose restart is noticed';
    is join(' ', $h->watchdog, $h->core), "@ours", '... by the same watchdog and core';
}
