# Under load: nobody is starved by somebody else's visitors, and nothing is done for those who have left.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Harness;
use Fault;

for my $part (qw(fairness gone)) {
    subtest $part => sub { no strict 'refs'; &$part((Harness->mpms)[0]) };
}
done_testing;

sub percentile { my ($p, $times) = @_; @$times ? $times->[int($p * $#$times)] : 0 }

# A pool of ten; one application is flooded by fifty visitors at a time, the other has a visitor now and then. A third one is asked for the first time
# in the middle of it.
sub fairness {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm, workers => 128);
    my %app = map { $_ => $h->copy_app('wsgi', $_) } qw(flooded calm late);
    $h->start(conf => "PassengerMaxPoolSize 10\n" . join '', map { vhost($_, $app{$_}) } sort keys %app);
    my $visit = sub {
        my ($seconds) = @_;
        my $visitor = Fault::Visitor->new($h, '/big?n=1000', host => 'calm', every => 0.05);
        my $begin = time;
        wait_for { time - $begin > $seconds } undef, $seconds + 1;
        return $visitor->finish;
    };
    $h->get('/', Host => 'calm');
    my $idle = $visit->(3);
    is $idle->{bad}, 0, 'a visitor in quiet times' or diag $idle->{text};
    quiet($h);

    my $flood = open my $out, '-|', 'wrk', '-c50', '-d7s', '-t1', '-H', 'Host: flooded', '--timeout', '10s', "http://127.0.0.1:$h->{port}/slow?s=0.02";
    ok $flood, 'a flood' or return;
    wait_for { grep { (Proc::get($_) // {})->{cwd} eq $app{flooded} } $h->apps } 'processes for the flood', 10;
    my $begin = time;
    my $busy = $visit->(3);
    is $busy->{bad}, 0, 'a visitor beside the flood' or diag $busy->{text};
    my ($before, $now) = map { percentile(0.99, $_->{took}) } $idle, $busy;
    # The flood also takes the processors, which idle times do not measure: what is promised holds for applications that wait, as here.
    cmp_ok $now, '<', 2 * $before + 0.05, sprintf 'timing: p99 is %.1f ms beside the flood, %.1f ms without', 1000 * $now, 1000 * $before;
    within 5, '... soon', sub { is $h->get('/', Host => 'late')->status, 200, 'an application\'s first process starts beside the flood' };
    cmp_ok scalar(my @apps = $h->apps), '<=', 10, 'the pool is as large as it may be';
    { local $/; my $text = <$out>; unlike $text, qr/Non-2xx|connect [1-9]|read [1-9]|timeout [1-9]/, 'the flood is served too' or diag $text; }
    close $out;
    calm($h, apps => 10);
}

# Sixty visitors ask for a page that takes a second, of a pool of four, and leave after 0.3 s. The next one is answered as if they had never come, but
# for the four whose requests had begun.
sub gone {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm, workers => 128);
    my $app = $h->copy_app('wsgi');
    $h->start(conf => "DocumentRoot $app/public\nPassengerMaxPoolSize 4\nPassengerMinInstances 4");
    $h->get('/');
    wait_for { $h->apps == 4 } 'four processes', 10;
    my @r = answers(at_once($h, 4, '/slow?s=0.3'));
    quiet($h);
    my $asked = counted($h, 'slow begins');
    my @clients = at_once($h, 60, '/slow?s=1');
    my $begin = time;
    wait_for { time - $begin > 0.3 && counted($h, 'slow begins') >= $asked + 4 } undef, 5;
    $_->close for @clients;
    $begin = time;
    is $h->get('/')->status, 200, 'who comes next is answered';
    my $took = time - $begin;
    cmp_ok $took, '<', 1.2 + 0.8, sprintf '... after %.2f s', $took; # 1.2 s on a quiet machine
    is counted($h, 'slow begins'), $asked + 4, '... and of the others nothing reached the application';
    calm($h);
}
