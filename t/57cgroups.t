# Limits by control groups, which few test machines delegate: so all of this runs in a kernel of its own (User-mode Linux), with this machine's
# files, whose Apache is in a service of a systemd that delegates, or in none. One MPM: limits are the helper's.
use strict;
use warnings;
use lib 't/lib';
use Cwd qw(getcwd);
use File::Temp qw(tempdir);
use POSIX qw(_exit);
use Test::More;
use Harness;

outside() if !$ENV{CGROUPS_INSIDE};
my $top = '/sys/fs/cgroup';
my $source = <<'PY';
import json, os, sys, time

def hog():
    if os.fork() == 0:
        kept = []
        while True:
            kept.append(b'x' * (4 << 20))
    time.sleep(60)

def bomb():
    children = 0
    try:
        while children < 100:
            if os.fork() == 0:
                time.sleep(60)
            children += 1
    except OSError:
        pass
    return children

def stray():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()
    os._exit(1)

kept = []
def grow():
    kept.append(b'x' * (60 << 20))
    return os.getpid()

def where():
    return {'pid': os.getpid(), 'group': open('/proc/self/cgroup').read().split('::')[1].strip()}

def application(environ, start_response):
    body = json.dumps(globals()[environ['PATH_INFO'][1:]]()).encode()
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [body]
PY

sub value { my ($group, $file) = @_; return slurp("$top$group/$file") =~ s/\s+\z//r }
sub enter { my ($group, $delegated) = @_; system('mkdir', '-p', "$top$group") == 0 or die; xattr("$top$group") if $delegated; spew("$top$group/cgroup.procs", $$) }
sub xattr { syscall 188, my $path = $_[0], my $name = 'trusted.delegate', my $value = '1', 1, 0 } # setxattr(2)
sub way { my ($h) = @_; return ($h->log_text =~ /PSG2600: (.*)/g)[-1] // '' }
sub groups { my ($h) = @_; return grep { -d } glob "$top/system.slice/apache2.service/passenger-[0-9]*" }

delegated();
refused();
contained();
done_testing;

sub delegated {
    my $h = Harness->new(mpm => 'event', workers => 8);
    my $conf = "PassengerMaxPoolSize 20\nPassengerMaxInstances 1\nPassengerLogLevel 4\n";
    my %lines = (
        hog => "PassengerHardMemoryLimit 60", bomb => "PassengerTaskLimit 8\nPassengerCPUWeight 40", stray => '', soft => 'PassengerMemoryLimit 50',
        smart => "PassengerSpawnMethod smart\nPassengerHardMemoryLimit 80\nPassengerTaskLimit 30",
    );
    for my $name (sort keys %lines) {
        my $dir = $h->make_app($name, { 'passenger_wsgi.py' => $source });
        $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\n$lines{$name}\n</VirtualHost>\n";
    }
    my $unit = '/system.slice/apache2.service';
    enter($unit, 1);
    $h->start(conf => $conf);
    my $get = sub { my ($name, $path) = @_; my $c = $h->client(timeout => 60); $c->write_request('GET', "/$path", Host => $name, Connection => 'close'); $c->read_response('GET') };
    my $where = sub { my $r = $get->($_[0], 'where'); is $r->status, 200, "$_[0] answers"; return $r->status == 200 ? $r->json : die $h->log_text };

    like way($h), qr{by cgroup v2 at $top$unit/passenger-\d+$}, 'the log says what keeps the limits';
    is value($unit, 'cgroup.procs'), '', 'the delegated group is empty';
    like value("$unit/passenger-main", 'cgroup.procs'), qr/^${\ $$}$/m, '... since who was in it has gone aside';
    my $bomb = $where->('bomb');
    like $bomb->{group}, qr{^$unit/passenger-\d+/[\w-]*bomb[\w-]*/p-\d+$}, 'a process has a group';
    my ($app) = $bomb->{group} =~ m{(.*)/};
    is value($app, 'cpu.weight'), 40, '... its application its weight';
    is value($bomb->{group}, 'pids.max'), 8, '... the process its tasks';
    is value($bomb->{group}, 'memory.max'), 'max', '... and any memory, for nothing else was said';
    like slurp("/proc/$bomb->{pid}/limits"), qr/^Max processes +(?!5\d )/m, '... by no other means';
    my $hog = $where->('hog');
    is value($hog->{group}, 'memory.max'), 60 << 20, 'another one has its memory';

    my $smart = $where->('smart');
    like $smart->{group}, qr{smart[\w-]*/p-\d+$}, 'who was forked by a preloader';
    is value($smart->{group}, 'memory.max'), 80 << 20, '... has a group of its own';
    is value($smart->{group}, 'pids.max'), 30, '... with its limits';
    is value($smart->{group}, 'cgroup.procs'), $smart->{pid}, '... and without its preloader';

    my $stray = $where->('stray');
    my %slow = map { my $c = $h->client(timeout => 60); $c->write_request('GET', "/$_", Host => $_, Connection => 'close'); ($_ => $c) } qw(hog bomb stray);
    my %answer = map { ($_ => $slow{$_}->read_response('GET')) } sort keys %slow;
    is $answer{hog}->status, 502, 'what takes memory without end is killed';
    $h->expect_log(qr{PSG2603: app\.memory_hard: it used \d+ MB and needed more, which PassengerHardMemoryLimit 60 forbids; the kernel killed process $hog->{pid} of .* in GET /hog, inflight=1});
    $h->expect_log(qr{PSG0150: request\.failed: .*app\.memory_hard: it used \d+ MB});
    $h->allow_log(qr/PSG0102: app\.exited: process $hog->{pid} /);
    is $answer{bomb}->body, 7, 'a bomb has as many tasks as its limit says';
    $h->expect_log(qr{PSG2300: app\.tasks_limit: process $bomb->{pid} of .*bomb.* its limit is PassengerTaskLimit 8});
    is $answer{stray}->status, 502, 'one leaves another process behind';
    $h->expect_log(qr/PSG0103: app\.exited: process $stray->{pid} /);
    $h->expect_log(qr/PSG0150: request\.failed: .*stray/);
    $h->expect_log(qr/PSG2601: stray\.ended/);
    soon { !-d "$top$stray->{group}" && !-d "$top$hog->{group}" } '... which is ended, and groups are removed', 20;
    is $where->('bomb')->{pid}, $bomb->{pid}, '... while others go on';

    my $soft = $get->('soft', 'grow')->body;
    $h->expect_log(qr{PSG0118: app\.memory: process $soft of .*soft.* uses \d\d MB after GET /grow, more than PassengerMemoryLimit 50});
    isnt $where->('soft')->{pid}, $soft, 'one beyond its soft limit is replaced';

    my $watchdog = $h->watchdog;
    $h->graceful;
    is $h->watchdog, $watchdog, 'graceful keeps the helper';
    is $where->('smart')->{pid}, $smart->{pid}, '... and processes';
    $h->kill_core;
    $h->allow_log(qr/core/);
    soon { my $r = $get->('smart', 'where'); $r->status == 200 && $r->json->{pid} == $smart->{pid} } 'another core takes them over';
    is $get->('smart', 'hog')->status, 502, '... and knows their groups';
    $h->expect_log(qr{PSG2603: .*PassengerHardMemoryLimit 80 forbids; the kernel killed process $smart->{pid}});
    $h->expect_log(qr{PSG0150: request\.failed: .*smart.*app\.memory_hard});
    $h->allow_log(qr/PSG0102: app\.exited: process $smart->{pid} /);

    my ($old) = groups($h);
    kill KILL => $watchdog;
    $h->allow_log(qr/helper/, qr/watchdog/);
    soon { my $r = $get->('bomb', 'where'); $r->status == 200 && $r->json->{pid} != $bomb->{pid} } 'another watchdog starts', 30;
    soon { !-d $old } '... and removes what the dead one left', 20;
    is scalar(groups($h)), 1, '... but not its own';
    $h->finish;
    is_deeply [groups($h)], [], 'at the end there are none';
}

sub refused {
    my $h = Harness->new(mpm => 'event', workers => 8);
    my $dir = $h->make_app('plain', { 'passenger_wsgi.py' => $source });
    my $conf = "DocumentRoot $dir/public\nPassengerTaskLimit 20\n";
    enter('/system.slice/other.service', 0);
    $h->start(conf => $conf);
    like way($h), qr{by rlimits and sampling: $top/system\.slice/other\.service is systemd's; "Delegate=yes" in the unit other\.service delegates it},
        'nothing is taken from systemd';
    is $h->get('/where')->json->{group}, '/system.slice/other.service', '... and applications run';
    $h->finish;
    $h = Harness->new(mpm => 'event', workers => 8);
    enter('/system.slice/third.service', 1);
    system('mount', '-o', 'remount,bind,ro', $top) == 0 or die;
    $h->start;
    like way($h), qr{by rlimits and sampling: $top/system\.slice/third\.service is read-only}, 'a read-only tree';
    $h->finish;
}

# As a container has it: a part of the tree looks like all of it, and no systemd is there.
sub contained {
    my $h = Harness->new(mpm => 'event', workers => 8);
    my $dir = $h->make_app('plain', { 'passenger_wsgi.py' => $source });
    $h->{module} = "$h->{root}/lib/mod_passenger.so"; # a copy, to be replaced
    system('cp', "$ENV{PASSENGER_BUILD}/mod_passenger.so", $h->{module}) == 0 or die;
    rmdir '/run/systemd/system';
    system('mount', '-o', 'remount,bind,rw', $top) == 0 or die;
    enter('/jobs/web', 0);
    syscall 272, 0x02000000; # unshare(CLONE_NEWCGROUP)
    system('umount', $top) == 0 && system('mount', '-t', 'cgroup2', 'cgroup2', $top) == 0 or die;
    $h->start(conf => "DocumentRoot $dir/public\nPassengerTaskLimit 20\nPassengerCPUWeight 50\n");
    like way($h), qr{by cgroup v2 at $top/passenger-\d+, as far as there are controllers for them: memory pids$}, 'a container\'s tree is ours';
    my $app = $h->get('/where')->json;
    like $app->{group}, qr{^/passenger-\d+/[\w-]*plain[\w-]*/p-\d+$}, '... and has the applications\' groups';
    is value($app->{group}, 'pids.max'), 20, '... with their limits';
    is slurp("/proc/$app->{pid}/stat") =~ /^\S+ \(.*\)(?: \S+){16} (\S+)/ ? $1 : '', 3, '... and a priority, for there is no controller of processors';
    upgrade($h);
    is $h->get('/where')->body =~ /"pid": (\d+)/ && $1, $app->{pid}, 'a helper that has become a new program keeps processes';
    spew("$top/memory.max", 150 << 20);
    my $c = $h->client(timeout => 60);
    $c->write_request('GET', '/hog', Connection => 'close');
    is $c->read_response('GET')->status, 502, 'when the container\'s memory ends, so does who has most of it';
    $h->expect_log(qr{PSG2603: app\.memory_short: the memory of the machine, or of Apache's control group, ran out while it used \d+ MB; .* killed process $app->{pid} .* in GET /hog});
    $h->expect_log(qr{PSG0150: request\.failed: .*app\.memory_short});
    $h->allow_log(qr/PSG0102: app\.exited/);
    $h->finish;
}

# Another build takes over in place.
sub upgrade {
    my ($h) = @_;
    my ($id) = `$h->{helper} --version` =~ /build (\w{16})/;
    (my $other = $id) =~ tr/0-9a-f/1-9a-f0/;
    for my $file ($h->{module}, $h->{helper}) {
        spew("$file.new", slurp($file) =~ s/\Q$id\E/$other/gr);
        chmod 0755, "$file.new";
        rename "$file.new", $file or die "$file: $!";
    }
    my $core = $h->core;
    $h->graceful;
    soon { my $now = $h->core; $now && $now != $core } 'another build has taken over', 30;
}

# -- the machine around it --

sub inside {
    my ($tree, $build) = @_;
    return <<"END";
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mkdir -p /run/tree /run/build /run/systemd/system /dev/shm
mount --bind $tree /run/tree
mount --bind $build /run/build
mount -t tmpfs tmp /tmp
mkdir -p $tree $build
mount --bind /run/tree $tree
mount --bind /run/build $build
mount -t tmpfs var /var/tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo '+memory +pids +cpu' >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/system.slice
echo '+memory +pids +cpu' >/sys/fs/cgroup/system.slice/cgroup.subtree_control
mkdir /sys/fs/cgroup/jobs
echo '+memory +pids' >/sys/fs/cgroup/jobs/cgroup.subtree_control
perl -MSocket -e 'socket S, AF_INET, SOCK_DGRAM, 0; \$lo = pack "a16 s x22", "lo", 65; ioctl S, 0x8914, \$lo or die "lo: \$!\\n"'
cd $tree
echo 'KERNEL runs'
CGROUPS_INSIDE=1 PASSENGER_BUILD=$build PATH=/usr/sbin:/usr/bin:/sbin:/bin perl t/57cgroups.t 2>&1 | sed 's/^/INSIDE /'
halt -f
END
}

sub outside {
    my ($uml) = grep { -x } map { "$_/linux.uml" } split /:/, $ENV{PATH};
    plan skip_all => 'needs root' if $>;
    plan skip_all => 'needs linux.uml (user-mode-linux)' unless $uml;
    my $build = Cwd::abs_path($ENV{PASSENGER_BUILD} // 'build');
    plan skip_all => 'the address sanitizer takes more addresses than User-mode Linux has' if `ldd $build/mod_passenger.so` =~ /libasan/;
    my $folder = tempdir('psg-uml-XXXXXXXX', DIR => '/tmp', CLEANUP => 1);
    spew("$folder/init", inside(getcwd(), $build));
    chmod 0755, "$folder/init";
    local $ENV{HOME} = $folder;
    # Its memory is a file, which a small /dev/shm does not hold.
    local $ENV{TMPDIR} = $folder if ((`df -Pk /dev/shm 2>/dev/null` =~ /(\d+) +\d+% /)[0] // 0) < 600_000;
    my @lines = split /\r?\n/, `timeout -k 5 400 $uml quiet mem=512M root=/dev/root rootfstype=hostfs rootflags=/ rw uml_dir=$folder init=$folder/init con=null con0=fd:0,fd:1 </dev/null 2>&1`;
    plan skip_all => 'User-mode Linux does not boot here: ' . ($lines[-1] // 'it says nothing') unless grep { /^KERNEL runs/ } @lines;
    my @tap = map { /^INSIDE (.*)/ ? $1 : () } @lines;
    print "$_\n" for @tap;
    print "not ok - the tests came to their end\n" unless grep { /^1\.\.\d+$/ } @tap;
    File::Path::remove_tree($folder);
    _exit(grep({ /^not ok/ } @tap) || !grep({ /^1\.\.\d+$/ } @tap) ? 1 : 0) if close STDOUT;
}
