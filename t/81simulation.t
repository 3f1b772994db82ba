# The whole pool in a world of its own (t/sim), with sanitizers: ten million events, and everything that must hold is looked at after each.
# What is wrong is shown with the seed: SEED=n EVENTS=1 build-asan/simulation does it again.
use strict;
use warnings;
use Test::More;

my $events = $ENV{SIMULATION_EVENTS} // 10_000_000;
my $program = 'build-asan/simulation';
my $log = `make -f Makefile.apxs --no-print-directory -j2 asan-simulation 2>&1`;
is $?, 0, 'the simulation builds' or diag $log;

$ENV{ASAN_OPTIONS} = 'detect_leaks=1:abort_on_error=0:exitcode=99';
$ENV{UBSAN_OPTIONS} = 'print_stacktrace=1';
delete @ENV{qw(TRACE AGAIN)};

my @runs = ([1, $events * 0.4], [1_000_000, $events * 0.4], [2_000_000, $events * 0.2]);
my $seen = 0;
for (@runs) {
    my ($seed, $n) = @$_;
    my @lines = run($seed, $n);
    is $?, 0, "seed $seed: every property holds" or diag map { "$_\n" } @lines[0 .. ($#lines < 150 ? $#lines : 150)];
    my @bad = grep { /^not ok/ } @lines;
    ok !@bad, "seed $seed: all that can happen has happened" or diag map { "$_\n" } @bad;
    $seen += $1 if "@lines" =~ /(\d+) events in \d+ episodes/;
}
cmp_ok $seen, '>=', $events, "$seen events";

my @same = map { join(' ', run(7, 1)) =~ /digest (\w+)/ } 1 .. 2;
ok @same == 2 && $same[0] eq $same[1], 'the same seed is the same story';
done_testing;

sub run {
    my ($seed, $n) = @_;
    local @ENV{qw(SEED EVENTS)} = ($seed, int $n);
    return map { chomp; $_ } `timeout 300 $program 2>&1`;
}
