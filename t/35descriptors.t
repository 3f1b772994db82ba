# Descriptors run out: in the core, in the watchdog. What must go on goes on: adoption, logs, restarts, administrators.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(time);
use Harness;

my $mpm = (Harness->mpms)[0];
for my $part (qw(core watchdog)) {
    subtest $part => sub { no strict 'refs'; &$part };
}
done_testing;

# The helper is started with so few.
sub few {
    my ($h, $n) = @_;
    my $file = "$h->{root}/lib/few";
    spew($file, "#!/bin/sh\nulimit -n $n\nexec $h->{helper} \"\$@\"\n");
    chmod 0755, $file;
    $h->{helper} = $file;
}

sub cpu { my ($pid) = @_; my @f = split ' ', slurp("/proc/$pid/stat") =~ s/.*\) //sr; return ($f[11] + $f[12]) / 100 }

sub administrators {
    my ($h) = @_;
    my ($path) = glob "$h->{root}/registry/*/admin";
    my $s = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path) or return '';
    print $s "GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    my $bits = '';
    vec($bits, fileno $s, 1) = 1;
    my $line = '';
    sysread $s, $line, 8 if select $bits, undef, undef, 5;
    return $line;
}

sub core {
    my $h = Harness->new(mpm => $mpm, workers => 96);
    my $app = $h->copy_app('wsgi');
    few($h, 40);
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 2\nPassengerMinInstances 2\nPassengerStatThrottleRate 0");
    is $h->get('/')->status, 200, 'it serves';
    $h->allow_log(qr/PSG0\d\d\d: fd\.exhausted/, qr/PassengerStatThrottleRate/, 'PSG0013', 'PSG0683');
    my ($core, $begin) = ($h->core, time);
    my $before = cpu($core);
    my %status;
    my @c = map { my $c = $h->client(timeout => 30); $c->write_request('GET', '/slow?s=0.2', Connection => 'close'); $c } 1 .. 60;
    like administrators($h), qr{^HTTP/1\.1}, 'administrators are answered meanwhile';
    $status{ eval { $_->read_response('GET')->status } // 'none' }++ for @c;
    is join(' ', grep { !/^(?:200|503)$/ } keys %status), '', 'sixty at once: each is served or told to come later' or diag explain \%status;
    cmp_ok $status{200} // 0, '>=', 20, '... and many are served';
    cmp_ok cpu($core) - $before, '<', 0.2 * (time - $begin) + 0.2, '... without haste';
    is $h->get('/')->status, 200, 'afterwards it serves';
    is $h->core, $core, '... with the same core';

    my @apps = $h->apps;
    @c = map { my $c = $h->client(timeout => 30); $c->write_request('GET', '/slow?s=0.2', Connection => 'close'); $c } 1 .. 60;
    $h->kill_core;
    eval { $_->read_response('GET') } for @c;
    wait_for { ($h->core // $core) != $core } 'another core';
    is $h->get('/')->status, 200, 'a core that died among them is followed by one that serves';
    is join(' ', $h->apps), "@apps", '... with the same processes';
    my $pid = $h->get('/')->json->{pid};
    spew("$app/tmp/restart.txt", '');
    soon { ; $h->get('/')->json->{pid} != $pid } '... and notices restarts';
}

# Each application costs the watchdog some.
sub watchdog {
    my $h = Harness->new(mpm => $mpm);
    my @names = map { "app$_" } 1 .. 14;
    my $conf = "PassengerMaxPoolSize 14\n";
    for my $name (@names) {
        $h->copy_app('wsgi', $name);
        $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $h->{root}/apps/$name/public\nPassengerMaxInstances 1\nPassengerMinInstances 0\n</VirtualHost>\n";
    }
    few($h, 44);
    $h->start(conf => $conf);
    $h->allow_log(qr/PSG0\d\d\d: fd\.exhausted/, qr/PSG01\d\d: spawn\.failed/, qr/PSG0013/);
    my ($watchdog, $core) = ($h->watchdog, $h->core);
    my (%pid, %failed);
    for my $name (@names) {
        my $r = $h->get('/', Host => $name);
        $r->status == 200 ? $pid{$name} = $r->json->{pid} : push @{ $failed{ $r->status } }, $name;
    }
    cmp_ok scalar(keys %pid), '>=', 3, 'some applications start';
    ok scalar(keys %failed), 'the others do not, for want of descriptors';
    is join(' ', grep { $_ != 500 && $_ != 503 } keys %failed), '', '... which visitors are told';
    my $same = sub { scalar(grep { ($h->get('/', Host => $_)->json->{pid} // 0) == $pid{$_} } keys %pid) };
    is $same->(), scalar(keys %pid), 'what runs goes on';

    $h->kill_core;
    wait_for { my $now = $h->core; $now && $now != $core } 'another core';
    is $same->(), scalar(keys %pid), 'a new core takes over all of it';
    my ($looker) = $h->helpers('looker');
    kill KILL => $looker;
    soon { my @now = $h->helpers('looker'); @now == 1 && $now[0] != $looker } '... there is a new looker';
    like administrators($h), qr{^HTTP/1\.1}, '... administrators are answered';

    rename "$h->{root}/logs/error_log", "$h->{root}/logs/error_log.1";
    is(($h->apachectl('-k', 'graceful'))[0], 0, 'graceful after the log was renamed');
    wait_for { $h->started >= 1 } 'a line in the new log', 15;
    my ($name) = sort keys %pid;
    $h->get('/log?text=after+rotation', Host => $name);
    soon { $h->log_text =~ /App \d+ output: after rotation/ } '... the new log is written to';
    is $same->(), scalar(keys %pid), '... by the same processes';
    is $h->watchdog, $watchdog, 'the watchdog lives';
    cmp_ok scalar(Proc::fds($watchdog)), '<=', 44, '... within its limit';

    my @gone = (sort keys %pid)[0 .. 2];
    $h->allow_log(map { qr/\b$pid{$_}\b/ } @gone);
    kill TERM => @pid{@gone};
    my ($late) = map { @$_ } values %failed;
    soon { ; $h->get('/', Host => $late)->status == 200 } 'when others go, an application that was refused starts', 20;
}
