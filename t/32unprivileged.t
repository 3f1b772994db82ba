# Apache without root: one user for everything, no switching, and the same life: start, requests, graceful, a crash, stop.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Temp qw(tempdir);
use POSIX ();

# Root becomes nobody before anything else happens, with copies of what that user may be unable to read.
my $copies;
BEGIN {
    if (!$>) {
        my $build = abs_path($ENV{PASSENGER_BUILD} // 'build');
        my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
        $copies = tempdir('psg-copies-XXXXXXXX', DIR => '/tmp', CLEANUP => 1);
        mkdir "$copies/$_" for qw(t build);
        system('cp', '-rL', 't/lib', 't/apps', "$copies/t") == 0 or die 'cp';
        system('cp', '-rL', (grep { -e } map { "$build/$_" } qw(mod_passenger.so passenger-helper passenger-status loaders errors)), "$copies/build") == 0 or die 'cp';
        system('chown', '-R', "$uid:$gid", $copies) == 0 or die 'chown';
        chdir $copies or die "chdir: $!";
        $ENV{PASSENGER_BUILD} = "$copies/build";
        $ENV{HOME} = $copies;
        $( = $gid;
        $) = "$gid $gid";
        POSIX::setuid($uid);
        die "still root\n" if !$> || !$<;
    }
}
use lib 't/lib';
use Test::More;
use Harness;

for my $mpm (Harness->mpms) {
    subtest $mpm => sub { life($mpm) };
}
# File::Temp leaves what another user made.
chdir '/';
system('rm', '-rf', $copies) if $copies;
done_testing;

sub life {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    # What only root could do is in the configuration, and is no obstacle.
    $h->start(conf => "PassengerUserSwitching on\nPassengerDefaultUser root\nDocumentRoot $app/public\nPassengerUser root\nPassengerGroup root\n"
        . "PassengerMaxPoolSize 2");
    my $r = $h->get('/');
    is $r->status, 200, 'an application is served' or diag $h->log_text;
    is $r->json->{uid}, $>, '... by the user who started Apache';
    my $pid = $r->json->{pid};
    my ($watchdog, $core) = ($h->watchdog, $h->core);
    ok $watchdog && $core, 'the helper runs';
    my ($instance) = glob "$h->{root}/registry/*";
    is sprintf('%o', (stat $instance)[2] & 0777), '700', 'its folder is for this user only';
    my $status = `PASSENGER_INSTANCE_REGISTRY_DIR=$h->{root}/registry ASAN_OPTIONS=detect_leaks=0 $ENV{PASSENGER_BUILD}/passenger-status`;
    like $status, qr/App groups    : 1\n.*PID: $pid /s, 'who sees what runs there' or diag $status;
    is $h->post('/echo', 'x' x 300_000)->status, 200, 'a body of 300 kB';
    $h->graceful;
    is $h->get('/')->json->{pid}, $pid, 'the same process after graceful';
    $h->restart;
    is $h->get('/')->json->{pid}, $pid, '... and after restart';
    is join(' ', $h->watchdog, $h->core), "$watchdog $core", '... with the same helper';
    $h->allow_log('PSG0013', 'PSG0164', 'PSG0514');
    $h->kill_core;
    wait_for { ($h->core // $core) != $core } 'another core';
    is $h->get('/')->json->{pid}, $pid, 'the same process after a crash of the core';
    kill KILL => $watchdog;
    wait_for { ($h->watchdog // $watchdog) != $watchdog } 'another watchdog';
    $r = wait_for { my $r = eval { $h->get('/') }; $r && $r->status == 200 && $r } 'an answer';
    isnt $r->json->{pid}, $pid, 'another process after a crash of the watchdog';
    $h->stop;
}
