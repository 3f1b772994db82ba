# Sizes: a file, a function, a list of parameters, a line. What is larger must be listed here with a reason.
use strict;
use warnings;
use Test::More;

my %limit = (c => 600, h => 150, function => 80, parameters => 6, column => 150);
# "file:lines" or "file:function" => reason
my %exception = (
);

for my $f (sort glob '{apr-glue,mod_passenger,helper,helper/tools,t/lib,t/fuzz,t/sim,t/00unit/*,conf}/*.[ch]') {
    next unless -e $f;
    my $test = $f =~ m{^t/};
    my ($ext) = $f =~ /\.(.)$/;
    open my $fh, '<', $f or die "$f: $!";
    my @lines = <$fh>;
    my @bad;
    push @bad, 'has ' . @lines . " lines, the limit is $limit{$ext}" if @lines > $limit{$ext} && !$test && !$exception{"$f:lines"};
    my @wide = grep { length($lines[$_]) - 1 > $limit{column} } 0 .. $#lines;
    push @bad, 'is too wide in line ' . join ', ', map { $_ + 1 } @wide if @wide;
    push @bad, 'has a tab or a blank at the end of a line' if grep { /\t|[ \r]$/m } @lines;
    push @bad, 'has a label that is not leave' if !$test && grep { /^\s*(\w+):\s*$/ && $1 !~ /^(leave|default)$/ } @lines;
    push @bad, functions($f, $test);
    ok !@bad, $f or diag map { "  $_\n" } @bad;
}
ok -e (split /:/)[0], "the exception $_ is still needed" for keys %exception;
done_testing;

sub functions {
    my ($f, $test) = @_;
    my @bad;
    for (`ctags -x --_xformat='%N\t%n\t%{end}\t%S' --kinds-C=f --fields=+neS -o - $f`) {
        chomp;
        my ($name, $start, $end, $signature) = split /\t/;
        next if $exception{"$f:$name"};
        my $lines = $end - $start + 1;
        my $parameters = 1 + ($signature =~ tr/,//);
        push @bad, "$name has $lines lines, the limit is $limit{function}" if $lines > $limit{function} && !$test;
        push @bad, "$name has $parameters parameters, the limit is $limit{parameters}" if $parameters > $limit{parameters};
    }
    return @bad;
}
