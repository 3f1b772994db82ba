package Fault;
# What tests of faults share: applications in virtual hosts, requests at once, a steady visitor, the state that everything must come back to.
use strict;
use warnings;
use Exporter 'import';
use POSIX ();
use Test::More;
use Time::HiRes qw(time);
use Harness;
use Proc;

our @EXPORT = qw(vhost at_once answers within counted cpu_ticks start_again quiet calm);

# A virtual host for an application: its name is the Host that asks for it.
sub vhost { my ($name, $app, @lines) = @_; join("\n", "<VirtualHost *>", "ServerName $name", "DocumentRoot $app/public", @lines, '</VirtualHost>') . "\n" }

# Sends requests at once, each on a connection of its own; the clients. Connections that cannot be made are left out.
sub at_once {
    my ($h, $n, $path, %field) = @_;
    my $timeout = delete $field{timeout} // 20;
    return map { my $c = eval { $h->client(timeout => $timeout) }; $c && $c->write_request('GET', $path, Connection => 'close', %field); $c // () } 1 .. $n;
}

# Statuses of what these clients get, in order: "200", "0" for none, "200!" for one that ended early.
sub answers { map { my $r = $_->read_response('GET'); $r->status && $r->status != 0 && !$r->complete ? $r->status . '!' : $r->status } @_ }

# The code's value; fails a test when it took longer.
sub within {
    my ($seconds, $name, $code) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $begin = time;
    my $value = $code->();
    cmp_ok time - $begin, '<', $seconds, $name;
    return $value;
}

# How many lines of the log match.
sub counted { my ($h, $pattern) = @_; scalar(() = $h->log_text =~ /$pattern/g) }

# User and system time of a process, in clock ticks.
sub cpu_ticks {
    my ($pid) = @_;
    my ($fields) = Harness::slurp("/proc/$pid/stat") =~ /\) (.*)/s or return 0;
    my @f = split ' ', $fields;
    return $f[11] + $f[12];
}

# The descriptors of a process without the links of Apache's children, which are as many as were needed at once.
sub own_fds {
    my ($pid) = @_;
    my %link = map { my @f = split ' '; ($f[7] // '') =~ m{/core\.sock$} && $f[5] eq '03' ? ($f[6] => 1) : () } split /\n/, Harness::slurp('/proc/net/unix');
    return grep { !(/socket:\[(\d+)\]/ && $link{$1}) } Proc::fds($pid);
}

# Apache is gone with everything else; another is started in the same place, with the same configuration.
sub start_again {
    my ($h) = @_;
    rename "$h->{root}/logs/error_log", "$h->{root}/logs/error_log.1";
    delete @$h{qw(exit pid child)};
    $h->start(conf => $h->{conf});
}

# Notes what must be the same when a fault is over.
sub quiet {
    my ($h) = @_;
    $h->{calm} = { apps => scalar(my @apps = $h->apps), map { $_ => scalar(my @fds = own_fds($h->$_)) } qw(watchdog core) };
}

# What must be true soon after a fault's end: one watchdog, one core, no more application processes, no zombie, no more descriptors (but for a few
# connections to applications). apps => how many processes may be left, slack => how many connections.
sub calm {
    my ($h, %arg) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $most = $arg{apps} // $h->{calm}{apps};
    wait_for { $h->helpers('core') == 1 && $h->helpers('watchdog') == 1 && $h->apps <= $most } undef, 8;
    is join(' ', map { scalar(my @p = $h->helpers($_)) } qw(watchdog core)), '1 1', 'one watchdog and one core';
    cmp_ok scalar(my @apps = $h->apps), '<=', $most, "no more than $most application processes";
    # Apache looks for children of its own that have ended once a second; others end meanwhile.
    my @zombies = grep { $_->{state} eq 'Z' } Proc::descendants($h->{pid});
    my $left = sub { grep { my $now = Proc::get($_->{pid}); $now && $now->{state} eq 'Z' && $now->{start} eq $_->{start} } @zombies };
    wait_for { !$left->() } undef, 8;
    ok !$left->(), 'no zombie';
    for my $role (qw(watchdog core)) {
        my $limit = $h->{calm}{$role} + ($arg{slack} // $most) + 4 * ($most - $h->{calm}{apps}); # three pipes or two and a connection, and a folder
        wait_for { own_fds($h->$role) <= $limit } undef, 8;
        my @fds = own_fds($h->$role);
        cmp_ok scalar(@fds), '<=', $limit, "descriptors of the $role are back" or diag "  @fds";
    }
}

package Fault::Visitor;
# One visitor in a process of its own, who asks one thing after the other, each on a new connection, until finish.
use strict;
use warnings;
use Time::HiRes qw(time);
use Client;

# every => seconds between requests' begins, host, timeout.
sub new {
    my ($class, $h, $path, %arg) = @_;
    pipe(my $read, my $write) or die "pipe: $!";
    pipe(my $end, my $stop) or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $read;
        close $stop;
        $write->autoflush(1);
        eval { _visit($h->{port}, $path, $write, $end, %arg) };
        POSIX::_exit(0);
    }
    close $write;
    close $end;
    return bless { pid => $pid, read => $read, stop => $stop }, $class;
}

sub _visit {
    my ($port, $path, $write, $end, %arg) = @_;
    my $every = $arg{every} // 0.02;
    my $bits = '';
    vec($bits, fileno $end, 1) = 1;
    while (1) {
        my $begin = time;
        my $r = eval {
            my $c = Client->new(port => $port, timeout => $arg{timeout} // 20);
            $c->write_request('GET', $path, Host => $arg{host} // 'localhost', Connection => 'close');
            $c->read_response('GET');
        };
        my $took = time - $begin;
        printf $write "%s %.4f %.3f\n", !$r ? 'refused' : !$r->status ? 'none' : $r->complete ? $r->status : "$r->{status}!", $took, $begin;
        my $left = $every - $took;
        return if select(my $ready = $bits, undef, undef, $left > 0 ? $left : 0);
    }
}

# { n, status => { '200' => n, ... }, bad (other than 200), worst (seconds), took => [sorted] }
sub finish {
    my ($self) = @_;
    # Later visitors hold copies of it, so that closing it would not do.
    syswrite $self->{stop}, 'x';
    my $fh = $self->{read};
    my %r = (n => 0, status => {}, bad => 0, worst => 0, took => [], text => '');
    while (my $line = <$fh>) {
        my ($status, $took, $at) = split ' ', $line;
        $r{n}++;
        $r{status}{$status}++;
        $r{bad}++ if $status ne '200';
        $r{text} .= sprintf "  %s after %.2f s\n", $status, $took if $status ne '200' && length $r{text} < 2000;
        $r{worst} = $took if $took > $r{worst};
        push @{ $r{took} }, $took;
    }
    $r{took} = [sort { $a <=> $b } @{ $r{took} }];
    waitpid $self->{pid}, 0;
    return \%r;
}

1;
