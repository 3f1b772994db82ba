# The manual is what its generator says now, and every directive has a sentence.
use strict;
use warnings;
use Test::More;

my $build = $ENV{PASSENGER_BUILD} // 'build';
my $log = `make -f Makefile.apxs --no-print-directory BUILD=build build/directives 2>&1`;
is $?, 0, 'the generator builds' or diag $log;
my $now = `build/directives`;
my $kept = do { local (@ARGV, $/) = 'conf/DIRECTIVES.md'; <> };
ok $now eq $kept, 'conf/DIRECTIVES.md is current (make -f Makefile.apxs docs)';

my @names = $kept =~ /\b(Passenger[A-Z]\w+|Rails\w+|Rack\w+)\b/g;
my %names = map { $_ => 1 } @names;
cmp_ok scalar(keys %names), '>', 100, 'it knows the directives';
my @bare = grep { /^\| `/ && /\|\s*\|\s*$/ } split /\n/, $kept;
ok !@bare, 'every directive has a sentence' or diag map { "  $_\n" } @bare;
# Each of ours has a section with everything that users need.
my @sections = split /^### /m, $kept;
shift @sections;
cmp_ok scalar(@sections), '>', 50, 'it describes the directives';
for my $section (@sections) {
    my ($name) = $section =~ /\A(\w+)/;
    my @missing = grep { $section !~ /^- $_: *\S/m } qw(default values where example);
    push @missing, 'sentence' unless $section =~ /\A\w+\n\n\S[^\n]*\.\n/;
    ok !@missing, "$name: a sentence, default, values, where, example" or diag "  missing: @missing (examples: conf/examples.def)";
}
done_testing;
