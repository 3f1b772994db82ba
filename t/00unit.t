# C unit tests: each program under t/00unit includes the source that it tests, is built with ASan and UBSan, and prints TAP.
use strict;
use warnings;
use Test::More;

my $build = 'build-asan';
my $log = `make -f Makefile.apxs --no-print-directory -k -j2 asan-unit 2>&1`;
my $built = $? == 0;
ok $built, 'every unit test builds' or diag $log;

$ENV{ASAN_OPTIONS} = 'detect_leaks=1:abort_on_error=0:exitcode=99';
$ENV{UBSAN_OPTIONS} = 'print_stacktrace=1';

for my $source (sort glob 't/00unit/*/*.c') {
    (my $name = $source) =~ s{^t/00unit/(.*)\.c$}{$1};
    subtest $name => sub { run("$build/unit/$name") };
}
done_testing;

# Forwards one program's TAP as tests of ours. A program that dies, leaks or ends early fails.
sub run {
    my ($program) = @_;
    return ok 0, "$program was built" unless -x $program;
    my @lines = split /\n/, `timeout 120 $program 2>&1`;
    my $status = $?;
    my ($seen, $plan, $last) = (0, undef, 1);
    for (@lines) {
        if    (/^(not )?ok \d+ - (.*)/) { $seen++; $last = !$1; ok $last, $2 }
        elsif (/^1\.\.(\d+)$/)          { $plan = $1 }
        elsif (!$last || $status)       { diag $_ }
    }
    is $plan, $seen, 'ran to its end';
    is $status, 0, 'exited with 0';
}
