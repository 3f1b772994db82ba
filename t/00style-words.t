# What must not stand in the tree: names of places that only one machine knows, leftovers, and calls that belong to one file.
use strict;
use warnings;
use Test::More;

my @files = grep { -T && !/^LICENSE$|^t\/00style-words\.t$|^t\/fuzz\/corpus\// } map { chomp; $_ } `git ls-files 2>/dev/null`;
@files = grep { -T } glob '{apr-glue,mod_passenger,helper,helper/loaders,helper/tools,conf,t,t/lib}/* *' unless @files;

my %word = (
    'a package registry'       => qr/\b(?:pypi\.org|rubygems\.org|registry\.npmjs|npmjs\.com|proxy\.golang)/,
    'an issue number'          => qr/\b(?:issue|bug|ticket) ?#?\d+|\bgh-\d+/i,
    'a path of a workplace'    => qr{/work/|(?<!\w)/root/\w|\bworkplace},
    'a leftover'               => qr/\b(?:TODO|FIXME|XXX|HACK)\b/,
);
for my $f (@files) {
    open my $fh, '<', $f or next;
    my @bad;
    while (my $line = <$fh>) {
        for my $what (sort keys %word) { push @bad, "line $.: $what" if $line =~ $word{$what} }
    }
    ok !@bad, $f or diag map { "  $_\n" } @bad;
}

# A call => the files that may make it.
my %home = (
    'fork('              => [qw(apr-glue/child.c)],
    'vfork('             => [],
    'exec'               => [qw(apr-glue/child.c mod_passenger/helper.c)],
    'waitpid('           => [qw(apr-glue/child.c)],
    'apr_proc_wait'      => [qw(apr-glue/child.c)],
    'apr_proc_create'    => [qw(mod_passenger/helper.c)],
    'sleep('             => [],
    'poll('              => [qw(apr-glue/sock.c mod_passenger/link.c)],
    'setuid('            => [],
    'system('            => [],
    'popen('             => [],
    'strcpy('            => [],
    'strcat('            => [],
    'sprintf('           => [],
    'gets('              => [],
    'alloca('            => [],
    'mktemp('            => [],
    'access('            => [qw(helper/hints.c helper/interpreter.c apr-glue/path.c helper/prepare.c helper/upgrade.c mod_passenger/mistake.c)],
    'rand('              => [],
    # Time that passes is measured by ag_clock_now; these are for dates, which an administrator may set.
    'apr_time_now('      => [qw(helper/report.c helper/status.c helper/tools/status.c helper/tools/memory.c)],
    'gettimeofday('      => [qw(apr-glue/log.c)],
    'time(NULL)'         => [qw(helper/instance.c)],
    'CLOCK_REALTIME'     => [],
);
my %pattern = ('exec' => qr/\bf?exec(?:v|ve|vp|vpe|l|lp|le|veat)\s*\(/, 'sleep(' => qr/\b(?:u|nano|apr_)?sleep\s*\(/);
for my $call (sort keys %home) {
    my $pattern = $pattern{$call} // qr/\b\Q$call\E/;
    my %may = map { $_ => 1 } @{ $home{$call} };
    my @bad;
    for my $f (grep { !$may{$_} } sort glob '{apr-glue,mod_passenger,helper,helper/tools}/*.[ch]') {
        my $text = do { local (@ARGV, $/) = $f; <> };
        # Comments and strings speak about calls; they do not make them. Line ends stay.
        $text =~ s{(/\*.*?\*/|"(?:\\.|[^"\\\n])*")}{ $1 =~ tr/\n//cdr }gse;
        my $n = 0;
        for (split /\n/, $text) { $n++; push @bad, "$f:$n" if $_ =~ $pattern }
    }
    ok !@bad, "$call is called " . (@{ $home{$call} } ? "only in @{ $home{$call} }" : 'nowhere') or diag map { "  $_\n" } @bad;
}

# Tests wait for conditions, never for time.
for my $f (sort glob 't/*.t') {
    my $text = do { local (@ARGV, $/) = $f; <> };
    ok $f eq 't/00style-words.t' || $text !~ /^[^#\n]*(?<!time\.)\bsleep\b\s*[\d(]/m, "$f does not sleep";
}
done_testing;
