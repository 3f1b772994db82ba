# A file exports only names made of its folder's prefix and its stem; the module exports only its record; state has few homes.
use strict;
use warnings;
use Test::More;

my $build = $ENV{PASSENGER_BUILD} // 'build';
plan skip_all => 'sanitizers put symbols of their own into objects' if $build =~ /asan/;
my %tag = ('apr-glue' => 'ag', mod_passenger => 'mp', helper => 'hp');
# Writable statics: the roles' context, httpd's retained data, the log's sink.
my %stateful = map { $_ => 1 } qw(apr-glue/log helper/main mod_passenger/mod_passenger);

for my $dir (sort keys %tag) {
    for my $source (sort glob "$dir/*.c") {
        my ($stem) = $source =~ m{([^/]+)\.c$};
        my $object = "$build/$dir/$stem.o";
        my @symbols = map { [(split)[1, 2]] } grep { / [A-Za-z] / } `nm --defined-only $object 2>&1`;
        my @odd = grep { !/^$tag{$dir}_\Q$stem\E(_|$)|^main$|^passenger_module$/ } map { $_->[1] } grep { $_->[0] =~ /[TDBRC]/ } @symbols;
        ok @symbols && !@odd, "$source exports only $tag{$dir}_${stem}_*" or diag @symbols ? "  @odd" : "  no symbols in $object";
        next if $stateful{"$dir/$stem"};
        my @state = grep { !/^(__|\.|completed|_)/ } map { $_->[1] } grep { $_->[0] =~ /^[bBC]$/ } @symbols;
        ok !@state, "$source keeps no state of its own" or diag "  @state";
    }
}

SKIP: {
    skip 'no module built', 1 unless -e "$build/mod_passenger.so";
    my @exported = grep { !/^(_init|_fini|__bss_start|_edata|_end)$/ } map { (split)[2] } `nm -D --defined-only $build/mod_passenger.so`;
    is "@exported", 'passenger_module', 'mod_passenger.so exports its record only';
}
done_testing;
