package Harness;
# A real Apache with mod_passenger for one test: starts it, talks to it, looks at its processes, stops it and judges what it left.
#
#   for my $mpm (Harness->mpms) {
#       my $h = Harness->new(mpm => $mpm);
#       my $app = $h->make_app('shop', { 'passenger_wsgi.py' => $source });
#       $h->start(conf => "DocumentRoot $app/public");
#       is $h->get('/')->status, 200, 'answers';
#   }
#
# At the end of its scope a harness stops Apache and adds its verdict as tests: exit, error log, processes, zombies, files.
use strict;
use warnings;
use Cwd qw(abs_path getcwd);
use Exporter 'import';
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Test::More;
use Time::HiRes qw(time);
use Client;
use Proc;

our @EXPORT = qw(wait_for soon slurp spew);

my $apache = $ENV{APACHE} // '/usr/sbin/apache2';
my $build = abs_path($ENV{PASSENGER_BUILD} // 'build');
my $libasan = `ldd $build/mod_passenger.so 2>/dev/null` =~ /(\S*lib[at]san\S*) \(/ ? join ':', $1, grep { -e } "$build/tsan.so" : undef; # of either sanitizer
my %live;

# Pairs of an MPM and a part of a test, for parts to which the MPM does not matter: they take turns, so that each MPM has some.
sub turns {
    my ($class, @parts) = @_;
    my @mpms = mpms();
    return map { [$mpms[$_ % @mpms], $parts[$_]] } 0 .. $#parts;
}

sub mpms { $ENV{MPM} ? split /[ ,]+/, $ENV{MPM} : qw(event worker prefork) }

# Polls `$cond->()` until it is true; returns its value, or fails a test with `$what` after `$seconds`.
sub wait_for(&;$$) {
    my ($cond, $what, $seconds) = @_;
    my $deadline = time + ($seconds // 10);
    while (1) {
        my $value = $cond->();
        return $value if $value;
        last if time > $deadline;
        select undef, undef, undef, 0.02;
    }
    fail "waited for: $what" if $what;
    return;
}

# A test: the condition becomes true within `$seconds`.
sub soon(&$;$) {
    my ($cond, $name, $seconds) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok scalar(&wait_for($cond, undef, $seconds)), $name;
}

sub slurp { my ($file) = @_; open my $fh, '<:raw', $file or return ''; local $/; return scalar(<$fh>) // '' }

sub spew {
    my ($file, $text) = @_;
    open my $fh, '>:raw', $file or die "$file: $!";
    print $fh $text;
    close $fh or die "$file: $!";
}

# mpm, log_level (info), user (www-data), modules => [more], env => {}, passenger => 0 for an Apache without us, workers (64), daemon => 1 for an
# Apache that detaches itself as in production.
sub new {
    my ($class, %arg) = @_;
    my $self = bless {
        mpm => (mpms())[0], log_level => 'info', user => 'www-data', modules => [], env => {}, passenger => 1, workers => 64, allow => [],
        %arg
    }, $class;
    die "$build/mod_passenger.so is not there: make -f Makefile.apxs\n" if $self->{passenger} && !-e "$build/mod_passenger.so";
    my $root = $self->{root} = tempdir('psg-XXXXXXXX', DIR => '/tmp');
    chmod 0755, $root;
    make_path(map { "$root/$_" } qw(logs run htdocs apps lib registry));
    spew("$root/mime.types", "text/html html\ntext/css css\ntext/plain txt\napplication/javascript js\nimage/png png\n");
    # A copy, because those who apps run as may be unable to look into the tree that was built.
    if ($self->{passenger}) {
        system('cp', '-rL', (grep { -e } map { "$build/$_" } qw(passenger-helper passenger-prestart loaders errors)), "$root/lib") == 0 or die 'cp';
        system('chmod', '-R', 'go+rX', "$root/lib");
        $self->{helper} = $libasan ? $self->_asan_helper : "$root/lib/passenger-helper";
    }
    $self->{owner} = $$;
    $live{$self} = $root;
    return $self;
}

# Only Apache needs the runtime preloaded. Leaks are counted in the unit tests alone: what lives as long as a process hangs in APR's pools, which
# the leak checker cannot see into.
sub _asan_helper {
    my ($self) = @_;
    my $file = "$self->{root}/lib/helper-asan";
    # No shell: dash does not survive libtsan.
    spew($file, "#!/usr/bin/perl\ndelete \$ENV{LD_PRELOAD};\n\$ENV{ASAN_OPTIONS} = 'detect_leaks=0:abort_on_error=1';\n"
        . "exec '$self->{root}/lib/passenger-helper', \@ARGV;\n");
    chmod 0755, $file;
    return $file;
}

# Another user than root and Apache's, for applications.
sub app_user { my ($self, $n) = @_; (grep { defined getpwnam $_ } qw(games man mail news backup))[$n // 0] }

# Writes an application: name, { file => text } and owner => user name. Returns its root, apps/<name>.
sub make_app {
    my ($self, $name, $files, %arg) = @_;
    my $dir = "$self->{root}/apps/$name";
    make_path("$dir/public", "$dir/tmp");
    for my $file (keys %$files) {
        my ($folder) = "$dir/$file" =~ m{^(.*)/};
        make_path($folder);
        spew("$dir/$file", $files->{$file});
    }
    $self->own($dir, $arg{owner} // $self->app_user);
    return $dir;
}

# A copy of t/apps/<kind>.
sub copy_app {
    my ($self, $kind, $name, %arg) = @_;
    my $dir = $self->make_app($name // $kind, {});
    system('cp', '-r', "t/apps/$kind/.", $dir) == 0 or die "t/apps/$kind";
    $self->own($dir, $arg{owner} // $self->app_user);
    return $dir;
}

sub own {
    my ($self, $path, $user) = @_;
    return if $>;
    my ($uid, $gid) = (getpwnam $user)[2, 3];
    system('chown', '-R', "$uid:$gid", $path) == 0 or die 'chown';
}

# The lines that load us, as this test's Apache has them.
sub load_lines {
    my ($self) = @_;
    return '' unless $self->{passenger};
    my $module = $self->{module} // "$build/mod_passenger.so";
    my $park = ($ENV{PARK} // '') eq 'off' ? "PassengerAsyncRequests Off\n" : '';
    return <<"END";
LoadModule passenger_module $module
${park}PassengerHelper $self->{helper}
PassengerInstanceRegistryDir $self->{root}/registry
END
}

sub write_config {
    my ($self, $conf) = @_;
    my ($root, $mpm) = @$self{qw(root mpm)};
    my @modules = qw(authz_core authz_host authn_core dir mime env setenvif alias rewrite autoindex headers filter deflate);
    my $load = join '', map { "LoadModule ${_}_module /usr/lib/apache2/modules/mod_$_.so\n" } "mpm_$mpm", @modules, @{ $self->{modules} };
    my $user = $> ? '' : "User $self->{user}\nGroup " . getgrgid((getpwnam $self->{user})[3]) . "\n";
    my $size = $mpm eq 'prefork' ? "ServerLimit $self->{workers}\nStartServers 4\nMinSpareServers 2\nMaxSpareServers $self->{workers}\n"
        : "ServerLimit 4\nStartServers 2\nThreadsPerChild " . $self->{workers} / 2 . "\nMinSpareThreads 1\nMaxSpareThreads $self->{workers}\n";
    spew("$root/httpd.conf", <<"END");
ServerRoot $root
ServerName localhost
Listen 127.0.0.1:$self->{port}
PidFile $root/run/httpd.pid
DefaultRuntimeDir $root/run
ErrorLog $root/logs/error_log
$load
LogLevel $self->{log_level}
Mutex file:$root/run default
$user${size}MaxRequestWorkers $self->{workers}
Timeout 20
KeepAliveTimeout 5
GracefulShutdownTimeout 10
TypesConfig $root/mime.types
DocumentRoot $root/htdocs
<Directory />
    AllowOverride None
    Require all denied
</Directory>
<Directory $root>
    Require all granted
</Directory>
@{[ $self->load_lines ]}
$conf
END
}

sub free_port {
    my $sock = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or die "listen: $@";
    return $sock->sockport;
}

# Runs Apache with arguments until it ends; returns (exit status, output).
sub apachectl {
    my ($self, @args) = @_;
    local %ENV = $self->_env;
    my $out = "$self->{root}/logs/apachectl";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>', $out;
        open STDERR, '>&', \*STDOUT;
        exec $apache, '-d', $self->{root}, '-f', "$self->{root}/httpd.conf", @args or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    return ($?, slurp($out));
}

# `apache2 -t` over this text; (exit status, output).
sub configtest {
    my ($self, $conf, @args) = @_;
    $self->{port} //= free_port();
    $self->write_config($conf);
    return $self->apachectl(@args ? @args : '-t');
}

sub _env {
    my ($self) = @_;
    my %env = (PATH => '/usr/sbin:/usr/bin:/sbin:/bin', %{ $self->{env} });
    @env{qw(LD_PRELOAD ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS)}
        = ($libasan, 'detect_leaks=0:abort_on_error=1', 'print_stacktrace=1',
           'die_after_fork=0:ignore_noninstrumented_modules=1') if $libasan;
    return %env;
}

# conf => text for the end of httpd.conf. Returns when Apache accepts connections; dies when it does not.
sub start {
    my ($self, %arg) = @_;
    $self->{conf} = $arg{conf} // '';
    # Tests may bring a helper of their own.
    die "$build/passenger-helper is not there: make -f Makefile.apxs\n"
        if $self->{passenger} && $self->{helper} =~ m{^\Q$self->{root}\E/lib/(?:passenger-helper|helper-asan)$} && !-e "$self->{root}/lib/passenger-helper";
    for my $try (1 .. 3) {
        $self->{port} = free_port();
        $self->write_config($self->{conf});
        return $self if $self->_launch;
        last unless slurp("$self->{root}/logs/start") =~ /AH00072/;
    }
    die "Apache did not start:\n" . slurp("$self->{root}/logs/start") . slurp("$self->{root}/logs/error_log");
}

sub _launch {
    my ($self) = @_;
    my $root = $self->{root};
    if ($self->{daemon}) {
        my ($status, $out) = $self->apachectl('-k', 'start');
        spew("$root/logs/start", $out);
        return 0 if $status;
    } else {
        local %ENV = $self->_env;
        my $pid = $self->{child} = fork // die "fork: $!";
        if (!$pid) {
            # prefork signals its whole process group, which must not be ours.
            POSIX::setsid();
            open STDIN, '<', '/dev/null';
            open STDOUT, '>', "$root/logs/start";
            open STDERR, '>&', \*STDOUT;
            exec $apache, '-d', $root, '-f', "$root/httpd.conf", '-DFOREGROUND' or POSIX::_exit(127);
        }
    }
    my $up = wait_for { $self->_gone || (slurp("$root/run/httpd.pid") =~ /^(\d+)\n/ && $self->started && $1) } undef, 30;
    return 0 if !$up || $self->_gone;
    $self->{pid} = $up;
    return 1;
}

# How often Apache has said that it is ready.
sub started { my ($self) = @_; scalar(() = slurp("$self->{root}/logs/error_log") =~ /resuming normal operations/g) }

# True once the Apache that we started is over; keeps its wait status.
sub _gone {
    my ($self) = @_;
    return 1 if defined $self->{exit};
    if ($self->{child}) {
        return 0 unless waitpid($self->{child}, WNOHANG) == $self->{child};
        $self->{exit} = $?;
    } else {
        return 0 if !$self->{pid} || Proc::alive($self->{pid});
        $self->{exit} = 0;
    }
    return 1;
}

# -- talking to it

sub client { my ($self, %arg) = @_; Client->new(port => $self->{port}, %arg) }

# One request on a connection of its own.
sub ask {
    my ($self, $method, $path, %field) = @_;
    return $self->client->ask($method, $path, Connection => 'close', %field);
}
sub get  { my ($self, $path, %field) = @_; $self->ask('GET', $path, %field) }
sub post { my ($self, $path, $body, %field) = @_; $self->ask('POST', $path, body => $body, %field) }

# Bytes to a fresh connection; everything that comes back until the server closes.
sub request { my ($self, $bytes, %arg) = @_; my $c = $self->client(%arg); $c->send($bytes); $c->read_all }

# Starts wrk and returns an object whose finish gives { requests, rate, bad (all failures together), out }.
sub wrk {
    my ($self, $path, %arg) = @_;
    my ($c, $d, $t) = ($arg{connections} // 32, $arg{duration} // 5, $arg{threads} // 1);
    my @close = $arg{close} ? ('-H', 'Connection: close') : ();
    my $pid = open my $out, '-|', 'wrk', "-c$c", "-d${d}s", "-t$t", @close, '--latency', '--timeout', '10s', "http://127.0.0.1:$self->{port}$path";
    return bless { out => $out, pid => $pid }, 'Harness::Wrk';
}

# -- its processes

# Every process of this test: whatever runs a file below our folder, works in it, or names it.
sub processes { my ($self) = @_; Proc::below($self->{root}) }
sub helpers {
    my ($self, $role, @all) = @_;
    my @pids = sort { $a <=> $b } map { $_->{pid} } grep { $_->{helper} && ($_->{cmdline}[1] // '') eq $role } Proc::below($self->{root}, @all);
    return @pids;
}
sub watchdog  { ($_[0]->helpers('watchdog'))[0] }
sub core      { ($_[0]->helpers('core'))[0] }

# Application processes: children of a watchdog that do not run the helper's file, nor are Ruby's preloaders.
sub apps {
    my ($self) = @_;
    my @all = Proc::all();
    my %dog = map { $_ => 1 } $self->helpers('watchdog', @all);
    my @pids = sort { $a <=> $b } map { $_->{pid} } grep { !$_->{helper} && $dog{ $_->{ppid} } && $_->{state} ne 'Z' && ($_->{cmdline}[0] // '') !~ /^Passenger AppPreloader: / }
        @all;
    return @pids;
}

sub kill_core { my ($self, $signal) = @_; my $pid = $self->core; kill $signal // 'KILL', $pid; return $pid }

# Notes the descriptors of watchdog and core; check_baseline tests that they are not more, once what is idle has been closed.
sub baseline { my ($self) = @_; $self->{baseline} = { map { $_ => scalar Proc::fds($self->$_) } qw(watchdog core) } }

sub check_baseline {
    my ($self, $slack) = @_;
    for my $role (qw(watchdog core)) {
        my $most = $self->{baseline}{$role} + ($slack // 0);
        wait_for { scalar(Proc::fds($self->$role)) <= $most } undef, 8;
        my @fds = Proc::fds($self->$role);
        cmp_ok scalar(@fds), '<=', $most, "$self->{mpm}: descriptors of the $role are back" or diag "  @fds";
    }
}

# -- lifetimes

sub _control {
    my ($self, $verb) = @_;
    my $before = $self->started;
    my ($status, $out) = $self->apachectl('-k', $verb);
    is $status, 0, "$self->{mpm}: apachectl $verb" or diag $out;
    return $before;
}
sub graceful { my ($self) = @_; my $n = $self->_control('graceful'); wait_for { $self->started > $n } 'graceful', 30 }
sub restart  { my ($self) = @_; my $n = $self->_control('restart');  wait_for { $self->started > $n } 'restart', 30 }

# Another configuration for the next graceful.
sub reconfigure { my ($self, $conf) = @_; $self->{conf} = $conf; $self->write_config($conf) }

# Ends Apache ('stop', 'graceful-stop', or 'TERM', ...) and waits until it is over. True when it was in time.
sub stop {
    my ($self, $how) = @_;
    $how //= 'stop';
    return 1 if $self->_gone;
    $how =~ /^[A-Z]+$/ ? kill $how, $self->{pid} : $self->_control($how);
    return wait_for { $self->_gone } 'the end of Apache', 30;
}

# -- the error log, an oracle

sub log_text { slurp("$_[0]{root}/logs/error_log") }

# Lines that this test accepts: patterns, or tags such as PSG0123.
sub allow_log { my ($self, @patterns) = @_; push @{ $self->{allow} }, map { ref $_ ? $_ : qr/\b\Q$_\E\b/ } @patterns }

# Waits for a line, accepts it, and returns it; a failed test if it does not come.
sub expect_log {
    my ($self, $pattern, $what) = @_;
    $pattern = qr/\b\Q$pattern\E\b/ unless ref $pattern;
    $self->allow_log($pattern);
    my $line = wait_for { (grep { /$pattern/ } split /\n/, $self->log_text)[0] };
    ok defined $line, "$self->{mpm}: log says " . ($what // $pattern);
    return $line;
}

# Lines that nobody expected.
sub bad_log_lines {
    my ($self) = @_;
    return grep { my $line = $_; !grep { $line =~ $_ } @{ $self->{allow} } } grep { _suspect($_) } split /\n/, $self->log_text;
}

sub _suspect {
    my ($line) = @_;
    return 1 if $line =~ /exit signal|Sanitizer|runtime error:|AH00052|Assertion .* failed|stack smashing|free\(\)|malloc\(\)|pool concurrency/;
    return 0 if $line =~ /^$|App \d+ output: |AH00094|AH00558/;
    return $line =~ /^\[[^\]]+\] \[[^\]:]*:(\w+)\]/ ? $1 =~ /^(?:warn|error|crit|alert|emerg)$/ : 1;
}

# -- the end

# Stops Apache and adds the verdict. Called at the end of the scope, or by a test that goes on afterwards.
sub finish {
    my ($self) = @_;
    return if $self->{finished}++;
    my $name = $self->{mpm};
    if ($self->{pid}) {
        $self->_zombies;
        my $alive = !$self->_gone;
        my @before = $self->processes;
        push @before, grep { my $a = $_; !grep { $_->{pid} == $a->{pid} } @before } map { Proc::get($_) // () } $self->apps;
        $self->stop if $alive;
        ok defined $self->{exit} && $self->{exit} == 0, "$name: Apache ended cleanly" or diag '  wait status ' . ($self->{exit} // 'none');
        $self->_nobody_left(@before);
        my @files = grep { !m{/\.\.?$} } glob "$self->{root}/registry/{*,.*}";
        ok !@files, "$name: no instance directory left" or diag map { "  $_\n" } @files;
        my @cores = glob "$self->{root}/core* $self->{root}/run/core*";
        ok !@cores, "$name: no core file" or diag "  @cores";
    }
    my @bad = $self->bad_log_lines;
    ok !@bad, "$name: nothing unexpected in the error log" or diag map { "  $_\n" } @bad > 40 ? @bad[0 .. 39] : @bad;
    $self->cleanup;
}

sub _zombies {
    my ($self) = @_;
    # One that just died may not have been noticed yet: Apache looks once a second.
    my @zombies = grep { $_->{state} eq 'Z' } Proc::descendants($self->{pid});
    my $find = sub { grep { my $now = Proc::get($_->{pid}); $now && $now->{state} eq 'Z' } @zombies };
    wait_for { !$find->() } undef, 4;
    @zombies = $find->();
    ok !@zombies, "$self->{mpm}: no zombie" or diag map { "  $_->{pid} child of $_->{ppid}\n" } @zombies;
}

sub _nobody_left {
    my ($self, @before) = @_;
    my $left = sub { my %seen; grep { !$seen{ $_->{pid} }++ } grep({ Proc::same($_) } @before), $self->processes };
    wait_for { !$left->() } undef, 10;
    my @left = $left->();
    ok !@left, "$self->{mpm}: no process left" or diag map { "  $_->{pid} $_->{state} @{ $_->{cmdline} }\n" } @left;
    kill KILL => map { $_->{pid} } @left if @left;
}

sub cleanup {
    my ($self) = @_;
    delete $live{$self};
    return diag "kept: $self->{root}" if $ENV{KEEP};
    remove_tree($self->{root}, { safe => 0 });
}

sub DESTROY {
    my ($self) = @_;
    local ($@, $?, $!);
    $self->finish if ($self->{owner} // 0) == $$ && !$self->{finished};
}

# A test that died or was interrupted in the middle leaves no process either.
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP PIPE);
END {
    my $status = $?;
    for my $root (values %live) {
        kill KILL => map { $_->{pid} } Proc::below($root);
        remove_tree($root) unless $ENV{KEEP};
    }
    $? = $status;
}

package Harness::Wrk;
use strict;
use warnings;

sub finish {
    my ($self) = @_;
    my $fh = $self->{out};
    my $text = do { local $/; <$fh> };
    close $fh;
    my %r = (out => $text, requests => 0, rate => 0, bad => 0);
    $r{requests} = $1 if $text =~ /(\d+) requests in/;
    $r{rate} = $1 if $text =~ m{Requests/sec:\s*([\d.]+)};
    $r{bad} += $1 + $2 + $3 + $4 if $text =~ /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/;
    $r{bad} += $1 if $text =~ /Non-2xx or 3xx responses: (\d+)/;
    return \%r;
}

1;
