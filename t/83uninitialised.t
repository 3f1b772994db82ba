# What writes bytes for other processes, run by its unit tests under valgrind: a byte that nobody has set is reported as soon as anything
# depends on it or a system call sends it. Without sanitizers: the two exclude each other.
use strict;
use warnings;
use Test::More;

my @encoders = qw(apr-glue/frame apr-glue/options apr-glue/settings helper/http_out helper/fcgi helper/env helper/head);
my $log = `make -s -f Makefile.apxs -j2 BUILD=build @{[map { "build/unit/$_" } @encoders]} 2>&1`;
is $?, 0, 'they build' or diag $log;
for my $name (@encoders) {
    my $out = `timeout 120 valgrind -q --error-exitcode=99 --track-origins=yes build/unit/$name 2>&1`;
    is $?, 0, "$name: no byte that nobody has set" or diag substr $out, -3000;
    like $out, qr/^1\.\.[1-9]\d*$/m, '... to its end';
}
done_testing;
