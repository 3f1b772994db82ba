package Loader;
# The core's half of the conversation with one loader: starts it with a pipe on 0, a pipe on 1 and 2 and a listening socket on 3, and sends
# requests as helper/loaders/PROTOCOL.md says.
#
#   Loader::use('/usr/bin/python3', $loader, $root, 'passenger_wsgi.py');
#   $app = start();
#   is ask('/')->{body}, 'hello', 'it answers';
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::UNIX;
use POSIX qw(:sys_wait_h dup2 mkfifo);
use Socket qw(SOCK_STREAM);
use Test::More;
use Time::HiRes qw(time);

our ($app, $link);      # what ask() talks to
our @EXPORT = qw($app $link $top launch say_to parameters start wait_log drain forget wait_exit stop link_to pairs put answer closed ask
    is_answer is_ahead fifo let_go alive eventually app_with forked);
our $top = abs_path(tempdir(CLEANUP => 1));
my ($interpreter, $loader, $default_root, $startup);
my $limit = 20;
my $count = 0;
my %running;
my $test_pid = $$;
$SIG{PIPE} = 'IGNORE';
END {
    if ($$ == $test_pid) {
        local $?;
        for my $pid (keys %running) { kill KILL => $pid, -$pid; waitpid $pid, 0 }   # with what the application forked
    }
}

sub use { ($interpreter, $loader, $default_root, $startup) = @_ }

# The test has waited for the process itself.
sub forked { delete $running{ $_[0]{pid} } }

# The core's half. A hash of pid, in (pipe to fd 0), out (pipe from 1 and 2), log (all that came), path (of the socket).

sub launch {
    my (%arg) = @_;
    my $app = { path => "$top/s" . ++$count, log => '' };
    my $listener = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $app->{path}, Listen => 64) or die "listen: $!";
    pipe(my $in_read, $app->{in}) && pipe($app->{out}, my $out_write) or die "pipe: $!";
    my $root = $arg{root} // $default_root;
    $app->{root} = $root;
    $app->{startup} = $arg{startup} // "$root/$startup";
    $app->{pid} = fork // die "fork: $!";
    if (!$app->{pid}) {
        POSIX::setsid();
        # High numbers first: a descriptor may have one of the numbers that are wanted.
        dup2(fileno $listener, 50);
        dup2(fileno $in_read, 51);
        dup2(fileno $out_write, 52);
        dup2($_->[0], $_->[1]) for [51, 0], [52, 1], [52, 2], [50, 3];
        POSIX::close($_) for 4 .. 1023;
        $SIG{$_} = 'IGNORE' for @{ $arg{ignore} // [] };
        POSIX::sigprocmask(POSIX::SIG_BLOCK(), POSIX::SigSet->new(@{ $arg{block} })) if $arg{block};
        chdir $root;
        %ENV = (PATH => '/usr/bin:/bin', LANG => 'C.UTF-8', %{ $arg{env} // {} });
        exec { $arg{python} // $interpreter } $arg{python} // $interpreter, $arg{loader} // $loader or POSIX::_exit(127);
    }
    $running{ $app->{pid} } = 1;
    return $app;
}

sub say_to { my ($app, $text) = @_; syswrite $app->{in}, $text }

sub parameters {
    my ($app, @more) = @_;
    return "You have control 1.0\npassenger_root: /nowhere\npassenger_version: 1.0\napp_root: $app->{root}\nstartup_file: $app->{startup}\n"
        . join('', map { "$_\n" } @more) . "unknown_key: a: b\ngeneration: 1\nsocket_fd: 3\n\n";
}

# keys => lines of the handshake, concurrency => what the loader must answer, and launch's: root, startup, env, ignore, block.
sub start {
    my (%arg) = @_;
    my $app = launch(%arg);
    my $concurrency = $arg{concurrency} // 1;
    wait_log($app, qr/^!> I have control 1\.0\n/) or return $app;
    say_to($app, parameters($app, @{ $arg{keys} // [] }));
    wait_log($app, qr/^!> Ready\n!> socket: main;fd:3;session;$concurrency\n!> \n/m) or diag "not ready: $app->{log}";
    return $app;
}

# Reads output until it matches, or for as long as the process writes.
sub wait_log {
    my ($app, $pattern, $seconds) = @_;
    my $end = time + ($seconds // $limit);
    while ($app->{log} !~ $pattern) {
        my $left = $end - time;
        return 0 if $left <= 0 || !IO::Select->new($app->{out})->can_read($left);
        sysread($app->{out}, $app->{log}, 65536, length $app->{log}) or return $app->{log} =~ $pattern;
    }
    return 1;
}

# What was written before the last answer is in the pipe by now.
sub drain {
    my ($app) = @_;
    while (IO::Select->new($app->{out})->can_read(0)) { sysread($app->{out}, $app->{log}, 65536, length $app->{log}) or last }
}
sub forget { drain($_[0]); $_[0]{log} = '' }

# The exit status, or undef when it does not come in time. Goes on reading the output meanwhile.
sub wait_exit {
    my ($app) = @_;
    my $end = time + $limit;
    while (time < $end) {
        if (waitpid($app->{pid}, WNOHANG) == $app->{pid}) {
            my $status = $?;
            delete $running{ $app->{pid} };
            while (IO::Select->new($app->{out})->can_read(0)) { sysread($app->{out}, $app->{log}, 65536, length $app->{log}) or last }
            return $status;
        }
        if (IO::Select->new($app->{out})->can_read(0.02)) {
            sysread($app->{out}, $app->{log}, 65536, length $app->{log}) or select undef, undef, undef, 0.01;
        }
    }
    return;
}

sub stop {
    my ($app) = @_;
    close $app->{in};
    return wait_exit($app);
}

sub link_to { IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $_[0]{path}) or die "connect: $!" }

sub pairs {
    my ($path, %more) = @_;
    (my $route = $path) =~ s/\?(.*)//s;
    my %pair = (
        REQUEST_URI => $path, PATH_INFO => $route, SCRIPT_NAME => '', QUERY_STRING => $1 // '', REQUEST_METHOD => 'GET',
        SERVER_NAME => 'localhost', SERVER_PORT => 80, SERVER_SOFTWARE => 'Test', SERVER_PROTOCOL => 'HTTP/1.1',
        REMOTE_ADDR => '127.0.0.1', REMOTE_PORT => 40000, HTTP_HOST => 'localhost', %more,
    );
    my $block = join '', map { defined $pair{$_} ? "$_\0$pair{$_}\0" : '' } sort keys %pair;
    return pack('N', length $block) . $block;
}

sub put {
    my ($link, $bytes) = @_;
    while (length $bytes) { my $n = syswrite $link, $bytes; defined $n or return 0; substr($bytes, 0, $n, '') }
    return 1;
}

# One response: a hash of status, reason, head, body, framing (length, chunked, close, none), whole, closed (by the peer, known so far).
sub answer {
    my ($link, $method) = @_;
    my ($bytes, $end) = ('', time + $limit);
    my $more = sub {
        my $left = $end - time;
        die "no answer in time, so far: " . substr($bytes, 0, 200) if $left <= 0 || !IO::Select->new($link)->can_read($left);
        return sysread($link, $bytes, 1 << 20, length $bytes) || 0;
    };
    while ($bytes !~ /\r\n\r\n/) { $more->() or return { status => 0, closed => 1, body => $bytes, head => '', whole => 0, framing => 'none' } }
    my ($head, $body) = $bytes =~ /^(.*?\r\n)\r\n(.*)$/s;
    my %r = (head => $head, body => '', whole => 1, closed => 0);
    ($r{status}, $r{reason}) = $head =~ m{^HTTP/1\.1 (\d{3}) ([^\r]*)\r\n};
    my ($length) = $head =~ /^Content-Length: (\d+)\r$/m;
    $r{framing} = $head =~ /^Transfer-Encoding: chunked\r$/m ? 'chunked' : defined $length ? 'length' : 'none';
    $bytes = $body;
    if (($method // 'GET') eq 'HEAD' || $r{status} =~ /^(204|304)$/) { $r{body} = $bytes; return \%r }
    if ($r{framing} eq 'length') {
        while (length $bytes < $length) { $more->() or do { @r{qw(whole closed)} = (0, 1); last } }
        $r{body} = $bytes;
        $r{whole} = 0 if length $bytes != $length;
    } elsif ($r{framing} eq 'chunked') {
        while (1) {
            if ($bytes =~ s/^([0-9a-f]+)\r\n//) {
                my $size = hex $1;
                while (length $bytes < $size + 2) { $more->() or do { @r{qw(whole closed)} = (0, 1); return \%r } }
                $r{body} .= substr $bytes, 0, $size, '';
                push @{ $r{chunks} }, $size;
                $bytes =~ s/^\r\n// or die 'a chunk without its end';
                last if !$size;
            } else { $more->() or do { @r{qw(whole closed)} = (0, 1); last } }
        }
        $r{whole} = 0 if length $bytes;
    }
    return \%r;
}

sub closed {
    my ($link) = @_;
    return 0 unless IO::Select->new($link)->can_read($limit);
    my $n = sysread $link, my $bytes, 1;
    return !$n;
}

# A request on the kept link; a new one where that was closed.
sub ask {
    my ($path, %arg) = @_;
    my $body = delete $arg{body};
    $arg{CONTENT_LENGTH} = length $body if defined $body && !exists $arg{CONTENT_LENGTH};
    $link = link_to($app) unless $link && $link->opened;
    put($link, pairs($path, %arg) . ($body // ''));
    my $r = answer($link, $arg{REQUEST_METHOD});
    undef $link if $r->{closed};
    return $r;
}

sub is_answer {
    my ($r, $status, $body, $framing, $name) = @_;
    my $good = $r->{status} == $status && $r->{whole} && (ref $body ? $r->{body} =~ $body : $r->{body} eq $body) && $r->{framing} eq $framing;
    ok $good, $name or diag explain { %$r, body => substr $r->{body}, 0, 500 }, $app->{log};
}

sub fifo { my $path = "$top/fifo" . ++$count; mkfifo($path, 0600) or die "mkfifo: $!"; return $path }

# Writes to a fifo once its reader has come.
sub let_go {
    my ($path) = @_;
    open my $fifo, '>', $path or die "$path: $!";
    syswrite $fifo, 'go';
    close $fifo;
}

sub alive { my ($pid) = @_; open my $fh, '<', "/proc/$pid/stat" or return 0; return <$fh> =~ /\) [^ZX]/ ? 1 : 0 }
sub eventually(&) { my $end = time + $limit; until ($_[0]->()) { return 0 if time > $end; select undef, undef, undef, 0.01 } return 1 }

# What an application has written of a large body when nobody reads, on a new link.
sub is_ahead {
    my ($path, $name) = @_;
    my ($link, $there) = (link_to($app), 0);
    put($link, pairs($path));
    my $enough = eventually { my $n = pack 'i', 0; ioctl $link, 0x541b, $n; ($there = unpack 'i', $n) > 300_000 }; # FIONREAD
    ok $enough, $name or diag "only $there bytes wait";
    my $r = answer($link);
    ok $r->{whole}, '... and it goes on when it is read';
}

sub app_with {
    my ($source, $name) = @_;
    my $root = "$top/app" . ++$count;
    make_path($root);
    if (defined $source) { open my $fh, '>', "$root/" . ($name // $startup) or die $!; print $fh $source; close $fh }
    return (root => $root, startup => "$root/" . ($name // $startup));
}

1;
