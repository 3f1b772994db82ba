# The instance directory as others see it: who may go where, what tools find, and what comes back when it is removed.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::UNIX;
use JSON::PP;
use Test::More;
use Attack qw(as_user);
use Harness;

plan skip_all => 'there is nobody to become without root' if $>;

my $h = Harness->new(mpm => (Harness->mpms)[0]);
my $app = $h->copy_app('wsgi');
$h->start(conf => "DocumentRoot $app/public");
is $h->get('/')->status, 200, 'it serves';
my ($dir) = glob "$h->{root}/registry/instance-*";

is sprintf('%o', (stat $dir)[2] & 0777), '711', 'the directory can be passed, not listed';
is sprintf('%o', (stat "$dir/admin")[2] & 0777), '666', 'everybody may knock at the administrators\' socket';
is sprintf('%o', (stat "$dir/core.sock")[2] & 0777), '600', '... and only Apache\'s user at that for requests';
is sprintf('%o', (stat "$dir/properties.json")[2] & 0777), '644', 'everybody may read what the instance is';
my %may = ('properties.json' => 0644, admin => 0666);
my %mode = map { s{.*/}{}r => (lstat)[2] & 0777 } glob "$dir/*";
is join(' ', grep { $mode{$_} & 077 & ~($may{$_} // 0) } sort keys %mode), '', '... and nothing else can be reached';
for my $user ('nobody', $h->app_user) {
    is as_user($user, sub { connects("$dir/admin") }), 'connected', "$user can ask";
    is as_user($user, sub { connects("$dir/core.sock") }), 'refused', '... and send no request';
    is as_user($user, sub { opendir(my $d, $dir) ? 'listed' : 'refused' }), 'refused', '... and not look around';
}

sub described { my $text = slurp("$dir/properties.json"); $text ? decode_json($text) : {} }
my $is = described();
is $is->{watchdog_pid}, $h->watchdog, 'properties.json: the watchdog';
is $is->{core_pid}, $h->core, '... the core';
is "instance-$is->{instance_id}", $dir =~ s{.*/}{}r, '... the id';
is $is->{name}, substr($is->{instance_id}, 0, 8), '... the name';
is $is->{integration_mode}, 'apache', '... the kind';
like $is->{server_software}, qr{^Apache/2\.\d+\.\d+ .*mod_passenger/|^Apache/2}, '... the server';
like `$h->{root}/lib/passenger-helper --version`, qr/\b\Q$is->{passenger_version}\E\b/, '... the version';
is $is->{instance_dir}{major_version}, 4, '... the version of the directory';
cmp_ok abs(time - $is->{instance_dir}{created_at}), '<', 100, '... its birth';

$h->allow_log('PSG0013', 'PSG0019');
my $core = $h->core;
$h->kill_core;
soon { ; my $now = described()->{core_pid} // $core; $now != $core && $now == ($h->core // 0) } 'a new core is named';
is connects("$dir/admin"), 'connected', '... and serves administrators';
is described()->{instance_dir}{created_at}, $is->{instance_dir}{created_at}, '... of the same instance';

for my $what ('admin', 'properties.json', 'core.sock', 'lock', '') {
    system 'rm', '-rf', $what ? "$dir/$what" : $dir;
    soon { ; -e "$dir/admin" && -e "$dir/core.sock" && -e "$dir/properties.json" && -e "$dir/lock" && connects("$dir/admin") eq 'connected' }
        ($what || 'the directory') . ' comes back', 5;
    soon { ; my $r = eval { $h->get('/') }; $r && $r->status == 200 } '... and requests are served', 3;
}
$h->graceful;
is connects("$dir/admin"), 'connected', 'the socket is there after graceful';
$h->finish;
done_testing;

sub connects { my ($path) = @_; IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path) ? 'connected' : 'refused' }
