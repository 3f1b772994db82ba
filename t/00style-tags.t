# A tag names one message of ours: unique, never shared, in its folder's range.
use strict;
use warnings;
use Test::More;

my %range = ('helper' => [1, 499], 'helper/tools' => [1, 499], 'mod_passenger' => [500, 799], 'apr-glue' => [800, 899]);
my %seen;
for my $dir (sort keys %range) {
    my ($low, $high) = @{ $range{$dir} };
    for my $f (sort glob "$dir/*.[ch] $dir/*.def") {
        my $text = do { local (@ARGV, $/) = $f; <> };
        $text =~ s{(/\*.*?\*/)}{ $1 =~ tr/\n//cdr }gse;
        my ($line, @bad) = (0);
        for (split /\n/, $text) {
            $line++;
            push @bad, "line $line: a log call without a tag" if /\bag_log\(AG_LOG_(?!TRACE)\w+,\s*(?:NULL|"(?!PSG\d{4}"))/;
            while (/PSG(\d+)/g) {
                my ($tag, $number) = ("PSG$1", $1);
                push @bad, "$tag is not four digits" if length $number != 4;
                push @bad, "$tag is outside $low to $high" if $number < $low || $number > $high;
                push @bad, "$tag is used at $seen{$tag} too" if $seen{$tag};
                $seen{$tag} = "$f:$line";
            }
        }
        ok !@bad, $f or diag map { "  $_\n" } @bad;
    }
}
done_testing;
