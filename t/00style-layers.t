# Includes point down the list in t/LAYERS, name their folder, and keep system headers where they belong.
use strict;
use warnings;
use Test::More;

my (%rank, %sees, %fence, %only, $n);
open my $fh, '<', 't/LAYERS' or die "t/LAYERS: $!";
while (<$fh>) {
    next if /^#|^\s*$/;
    if    (/^> (\S+):\s*(.*)/) { $sees{$1}{$_} = 1 for $1, split ' ', $2 }
    elsif (/^! (\S+):\s*(.*)/) { $fence{$1}{$_} = 1 for split ' ', $2 }
    elsif (/^= (.*):\s*(\S+)/) { my ($names, $place) = ($1, $2); $only{$_} = $place for split ' ', $names }
    elsif (/^(\S+):\s*(.*)/)   { my ($dir, $names) = ($1, $2); $rank{"$dir/$_"} = ++$n for split ' ', $names }
}

my %seen;
for my $f (sort glob '{apr-glue,mod_passenger,helper,helper/tools}/*.[ch]') {
    my ($dir, $stem) = $f =~ m{^(.*)/([^/]+)\.[ch]$};
    $seen{"$dir/$stem"} = 1;
    my @bad = defined $rank{"$dir/$stem"} ? () : 'not listed in t/LAYERS';
    open my $in, '<', $f or die "$f: $!";
    while (<$in>) {
        next unless /^\s*#\s*include\s*([<"])([^>"]+)/;
        my ($sys, $inc) = ($1 eq '<', $2);
        if ($sys) {
            push @bad, map { "<$inc> belongs to $only{$_}" } grep { index($inc, $_) == 0 && index($f, $only{$_}) != 0 } keys %only;
            next;
        }
        my ($to) = $inc =~ m{^(.*)/};
        (my $key = $inc) =~ s/\.(h|def)$//;
        my $below = ($rank{$key} // 1e9) < ($rank{"$dir/$stem"} // 0);
        if    (!defined $to)                                     { push @bad, "\"$inc\" must name its folder" }
        elsif (!$sees{$dir}{$to})                                { push @bad, "$dir must not see $to ($inc)" }
        elsif ($fence{$dir}{$inc} || $fence{"$dir/$stem"}{$inc}) { push @bad, "$inc is fenced off" }
        elsif ($inc =~ /\.h$/ && $key ne "$dir/$stem" && !$below) { push @bad, "$inc stands above $stem" }
    }
    ok !@bad, $f or diag map { "  $_\n" } @bad;
}

# A folder's README has a row for each file, and the list has no file that is gone.
my %rows;
for my $file (sort keys %rank) {
    my ($dir, $stem) = $file =~ m{^(.*)/([^/]+)$};
    $rows{$dir} //= do { local (@ARGV, $/) = "$dir/README.md"; join "\n", <> =~ /^\|([^|]*)\|/gm };
    ok $seen{$file} && $rows{$dir} =~ /`\Q$stem\E[`.]/, "$file is there, and in a row of $dir/README.md";
}
done_testing;
