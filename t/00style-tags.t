# A tag names one message of ours: unique, never shared, in its folder's range; those from 1000 are for all folders.
use strict;
use warnings;
use Test::More;

my %range = ('helper' => '0[0-4]|[123]', 'helper/tools' => '0[0-4]|[123]', 'mod_passenger' => '0[5-7]|[123]', 'apr-glue' => '0[89]|[123]');
my %seen;
for my $dir (sort keys %range) {
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
                push @bad, "$tag is no $dir tag" if $number !~ /^(?:$range{$dir})/;
                push @bad, "$tag is used at $seen{$tag} too" if $seen{$tag};
                $seen{$tag} = "$f:$line";
            }
        }
        ok !@bad, $f or diag map { "  $_\n" } @bad;
    }
}
done_testing;
