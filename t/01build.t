# The Makefile: both compilers, rebuilding what changed and nothing else, installing and removing.
use strict;
use warnings;
use lib 't/lib';
use Cwd qw(abs_path);
use File::Find;
use File::Temp qw(tempdir);
use Test::More;
use Harness;

my $build = abs_path($ENV{PASSENGER_BUILD} // 'build');
# What make's parent told it (-s, -n, variables) is not for these.
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES)};

sub run {
    my ($command) = @_;
    my $out = `$command 2>&1`;
    return ($?, $out);
}
my $make = 'make -f Makefile.apxs --no-print-directory';

# clang has its own warnings.
{
    my $dir = tempdir(CLEANUP => 1);
    my ($status, $out) = run("$make -j2 BUILD=$dir CC=clang prefix=/opt/ours all");
    is $status, 0, 'clang builds it without a warning' or diag $out;
    like slurp("$dir/mod_passenger.so"), qr{\0/opt/ours/lib/mod_passenger/passenger-helper\0}, '... and for a prefix: configurations for Phusion Passenger name no helper';
}

# What is built is not built again; what depends on a header is.
SKIP: {
    skip 'another build is tested', 5 if $build ne abs_path('build');
    my (undef, $out) = run("$make -j2 all");
    unlike $out, qr/^(?:CC|LINK)/m, 'nothing is built twice' or diag $out;
    (undef, $out) = run("$make -n -W apr-glue/chunk.h all");
    like $out, qr{apr-glue/chunk\.c}, 'a header rebuilds its own file';
    like $out, qr{mod_passenger/body\.c}, '... and those that include it';
    unlike $out, qr{-c -o \S+ apr-glue/sock\.c}, '... and no other';
    (undef, $out) = run("$make -s print-version");
    my ($version) = slurp('apr-glue/base.h') =~ /AG_VERSION "(.*?)"/;
    is $out, "$version\n", 'print-version';
}

# Installed below DESTDIR, the module is taken by Apache as a2enmod would have it.
{
    my $dir = tempdir(CLEANUP => 1);
    my ($status, $out) = run("$make install DESTDIR=$dir BUILD=$build");
    is $status, 0, 'install' or diag $out;
    chomp(my $libexec = `apxs -q LIBEXECDIR`);
    chomp(my $sysconf = `apxs -q SYSCONFDIR`);
    my @files = files($dir);
    for my $file ("$libexec/mod_passenger.so", "$sysconf/mods-available/passenger.load", "$sysconf/mods-available/passenger.conf",
        '/usr/sbin/passenger-status', '/usr/sbin/passenger-memory-stats', '/usr/bin/passenger-config', '/usr/bin/passenger', '/usr/bin/passenger-install-apache2-module',
        (map { "/usr/share/man/man8/passenger-$_.8" } qw(status memory-stats config)),
        map { "/usr/lib/mod_passenger/$_" } 'passenger-helper', 'passenger-prestart', 'loaders/rack-loader.rb', 'loaders/ruby/phusion_passenger.rb',
            'loaders/ruby/phusion_passenger/rack/out_of_band_gc.rb', map({ "loaders/$_.py" } qw(wsgi-loader threads asgi))) {
        ok grep({ $_ eq $file } @files), "it brings $file" or diag "  @files";
    }
    ok !grep({ !m{^(?:\Q$libexec\E/mod_passenger\.so|\Q$sysconf\E/mods-available/passenger\.|/usr/lib/mod_passenger/|/usr/share/man/|/usr/sbin/passenger-(?:status|memory-stats)$|/usr/bin/passenger(?:-config|-install-apache2-module)?$)} } @files), '... and nothing elsewhere'
        or diag "  @files";
    my $config = slurp("$dir$sysconf/mods-available/passenger.load") . slurp("$dir$sysconf/mods-available/passenger.conf");
    unlike $config, qr/@/, 'no placeholder is left';
    $config =~ s{(\s)(/usr/lib/)}{$1$dir$2}g;
    my $h = Harness->new(passenger => 0);
    my ($rc, $text) = $h->configtest($config);
    is $rc, 0, 'Apache takes the installed configuration' or diag $text;
    ($status, $out) = run("$make uninstall DESTDIR=$dir");
    is $status, 0, 'uninstall' or diag $out;
    is join(' ', files($dir)), '', '... removes everything';
}
done_testing;

sub files {
    my ($dir) = @_;
    my @found;
    find({ wanted => sub { push @found, $File::Find::name =~ s/^\Q$dir\E//r if -f || -l }, no_chdir => 1 }, $dir);
    return sort @found;
}
