# One request's life when something is wrong around it: no room on the disk.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;

for my $mpm (Harness->mpms) {
    for my $part (qw(disk_full)) {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
    }
}
done_testing;

# Sends requests at once on connections of their own; returns the clients.
sub at_once {
    my ($h, $n, $path, %field) = @_;
    return map { my $c = $h->client(timeout => 30); $c->write_request('GET', $path, Connection => 'close', %field); $c } 1 .. $n;
}

# Puts shell commands before the helper.
sub wrap {
    my ($h, $commands) = @_;
    my $file = "$h->{root}/lib/wrapped";
    spew($file, "#!/bin/sh\n$commands\nexec $h->{helper} \"\$@\"\n");
    chmod 0755, $file;
    $h->{helper} = $file;
}

# A full disk (here: files of 1 MiB at most) makes applications wait for slow clients; it cuts nothing.
sub disk_full {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    wrap($h, 'ulimit -f 2048');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 3\nPassengerMinInstances 3\nPassengerResponseBufferHighWatermark 100000000");
    is $h->get('/')->status, 200, 'it serves';
    wait_for { $h->apps == 3 } 'three processes';
    my $core = $h->core;
    my $memory = sub { slurp("/proc/$core/status") =~ /VmRSS:\s*(\d+)/ ? $1 : die 'no memory' };
    my $before = $memory->();
    my @slow = at_once($h, 3, '/big?n=40000000');
    $h->expect_log(qr/PSG0140: spool\.full/);
    my @r = map { $_->read_response('GET') } @slow;
    is_deeply [ map { $_->status, $_->complete, length $_->body } @r ], [ (200, 1, 40_000_000) x 3 ], 'slow clients get all of it';
    my $peak = slurp("/proc/$core/status") =~ /VmHWM:\s*(\d+)/ ? $1 : 0;
    cmp_ok $peak, '<', $before + 8 * 1024, '... through little memory' unless $ENV{PASSENGER_BUILD} && $ENV{PASSENGER_BUILD} =~ /asan/;
    is scalar(() = $h->log_text =~ /PSG0140/g), 1, '... and one line in the log';

    my $r = $h->post('/', 'x' x 6_000_000);
    is $r->status, 503, 'a body that cannot be kept is refused';
    is $h->post('/', 'x' x 100_000)->json->{length}, 100_000, '... and others are not';
    is $h->core, $core, 'the core lives';
}
