# Fuzzers over what others' bytes reach: each runs FUZZ_SECONDS (30) from its corpus, all at once.
use strict;
use warnings;
use File::Path qw(make_path);
use POSIX ();
use Test::More;

my $seconds = $ENV{FUZZ_SECONDS} // 30;
my $dir = 'build-fuzz';
my @targets = map { m{([^/]+)\.c$} } sort glob 't/fuzz/*.c';
my @sources = ((grep { !m{/(loop|child)\.c$} } glob 'apr-glue/*.c'), qw(helper/spec.c helper/head.c helper/http_out.c helper/fcgi.c helper/cgi.c helper/env.c));
chomp(my $flags = `apr-1-config --cppflags --includes | tr '\\n' ' '`);
chomp(my $libs = `apr-1-config --link-ld; apu-1-config --link-ld`);
$libs =~ tr/\n/ /;
$libs .= " -ljansson";
my $sanitize = '-g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -DAG_BUILD_ID=\'"fuzz"\'';

make_path($dir);
my $log = '';
my @objects = map { my $o = $_; $o =~ s{/}{-}g; $o =~ s/\.c$/.o/; "$dir/$o" } @sources;
for my $i (0 .. $#sources) { $log .= `clang -std=gnu11 $sanitize -I. $flags -c -o $objects[$i] $sources[$i] 2>&1` }
for my $name (@targets) {
    my $out = `clang -std=gnu11 -Wall -Wextra $sanitize -fsanitize=fuzzer -I. $flags -o $dir/$name t/fuzz/$name.c @objects $libs 2>&1`;
    is $?, 0, "$name builds" or diag $log . $out;
}

my %run;
for my $name (@targets) {
    make_path("$dir/found/$name", "$dir/corpus/$name");
    # Valid messages to start from, in today's form.
    system("FUZZ_SEEDS=$dir/corpus/$name timeout 10 $dir/$name -runs=0 >/dev/null 2>&1") if $name =~ /^(?:frame|values)$/;
    my $pid = $run{$name} = fork // die "fork: $!";
    next if $pid;
    open STDOUT, '>', "$dir/$name.log";
    open STDERR, '>&', \*STDOUT;
    my @kept = grep { -d } "t/fuzz/corpus/$name";
    exec "$dir/$name", "-max_total_time=$seconds", '-max_len=4096', '-timeout=10', '-rss_limit_mb=2048', '-print_final_stats=1',
        "-artifact_prefix=$dir/found/$name/", "$dir/corpus/$name", @kept or POSIX::_exit(127);
}
for my $name (@targets) {
    waitpid $run{$name}, 0;
    my $status = $?;
    my $text = do { local (@ARGV, $/) = "$dir/$name.log"; <> };
    is $status, 0, "$name: nothing found in $seconds s" or diag substr $text, -6000;
    my ($executions) = $text =~ /number_of_executed_units: (\d+)/;
    cmp_ok $executions // 0, '>', 1000, "$name ran (" . ($executions // 0) . ' times)';
}
done_testing;
