# The soak (t/soak) for a short time, with milder harm: that it runs, and finds nothing. SOAK_SECONDS=1800 for the long one.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

my $seconds = $ENV{SOAK_SECONDS} // 20;
for my $mpm ((Harness->mpms)[0]) {
    local %ENV = (%ENV, SECONDS => $seconds, MPM => $mpm, HARM => 'touch,looker,graceful', EVERY => $seconds < 100 ? 1.5 : 4);
    my $text = `$^X t/soak 2>&1`;
    is $?, 0, "$mpm: $seconds s of load and harm" or diag $text;
    my ($requests) = $text =~ /^  requests (\d+) /m;
    cmp_ok $requests // 0, '>', 2 * $seconds, '... of many requests';
    like $text, qr/^  foreign answers 0, short ones 0$/m, '... none of which got another\'s answer';
    like $text, qr/^  \w+ killed \d+ times/m, '... though processes were killed';
    note $text =~ /(\nsoak: .*?)\nok /s;
}
done_testing;
