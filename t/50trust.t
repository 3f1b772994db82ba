# Who owns an Apache child can send the core anything. It gets what root's configuration grants, and nothing else.
use strict;
use warnings;
use lib 't/lib';
use POSIX ();
use Test::More;
use Attack;
use Harness;

plan skip_all => 'there is nobody to become without root' if $>;

my $h = Harness->new;
my $victim = $h->copy_app('wsgi', 'victim');
my $granted = $h->copy_app('wsgi', 'granted', owner => $h->app_user(1));
my $roots = $h->copy_app('wsgi', 'roots', owner => 'root');
my ($owner, $other, $third) = map { $h->app_user($_) } 0 .. 2;
mkdir "$h->{root}/evil";
my $marker = "$h->{root}/evil/marker";
# An interpreter of the attacker's own.
spew("$h->{root}/evil/python3", "#!/bin/sh\nid >>$marker\nexec /usr/bin/python3 \"\$@\"\n");
chmod 0755, "$h->{root}/evil/python3";
$h->own("$h->{root}/evil", 'www-data');
chmod 0777, "$h->{root}/evil";

$h->start(conf => <<"END");
PassengerDefaultUser nobody
<VirtualHost *>
    ServerName granted
    DocumentRoot $granted/public
    PassengerUser $third
</VirtualHost>
<VirtualHost *>
    ServerName victim
    DocumentRoot $victim/public
</VirtualHost>
END
is getpwuid($h->get('/', Host => 'granted')->json->{uid}), $third, 'what the configuration grants is done';
is getpwuid($h->get('/', Host => 'victim')->json->{uid}), $owner, '... and an owner needs no grant';
ok defined core_socket($h), 'the core has its socket in the registry';
my $core = $h->core;
$h->allow_log(qr/PSG01(?:13|41|42|43|55):/, qr/App \d+/);

# The core's socket is for Apache's user.
for my $user ($owner, 'nobody') {
    is as_user($user, sub { connected() ? 'connected' : 'refused' }), 'refused', "$user cannot connect to the core";
}
is as_user('www-data', sub { connected() ? 'connected' : 'refused' }), 'connected', 'Apache\'s user can';

# What runs at most, as whom.
my $control = attack(app_root => $victim);
is user_of($control), $owner, 'the plain request works' or diag $control;
for my $user ('root', '0', '#0', $other, 'www-data', '') {
    my $r = attack(app_root => $victim, options => { user => $user });
    ok user_of($r) =~ /^(?:none|$owner)$/, "user \"$user\" is not to be had" or diag user_of($r), $r;
}
ok user_of(attack(app_root => $victim, options => { user => $third })) =~ /^(?:none|$owner)$/, 'what is granted to one application is not for another';
for my $root ("$granted/../victim", "$granted/..", "$granted/public/../../victim", "/proc/self/root$victim") {
    my $r = attack(app_root => $root, options => { user => $third });
    isnt user_of($r), $third, "nor through $root" or diag $r;
}
for my $group ('root', '0', 'shadow', 'www-data') {
    my $r = attack(app_root => $victim, options => { group => $group });
    my ($gid) = $r =~ /"gid": (\d+)/;
    ok !defined $gid || $gid == (getpwnam $owner)[3], "group $group is not to be had" or diag $r;
}
is user_of(attack(app_root => $roots)) =~ /^(?:none|nobody)$/ ? 'not root' : 'root', 'not root', 'what root owns does not run as root';
attack(app_root => $victim, options => { python => "$h->{root}/evil/python3" });
unlike slurp($marker), qr/\($owner\)|uid=0/, 'an interpreter that nobody named does not run as the owner';
attack(app_root => $victim, options => { app_start_command => "id >>$marker" });
attack(app_root => $victim, kind => 'generic', options => { app_start_command => "id >>$marker" });
unlike slurp($marker), qr/\($owner\)|uid=0/, 'nor does a command';
attack(app_root => $victim, startup => "$h->{root}/evil/x.py");
attack(app_root => $victim, startup => '../../evil/x.py');
attack(app_root => "$h->{root}/nowhere");
attack(app_root => 'relative');
attack(app_root => '');
attack(app_root => $victim, kind => 'nonsense');
attack(app_root => $victim, startup => '');
attack(app_root => $victim, kind => 'generic');
attack(app_root => $victim, kind => 'generic', startup => "$h->{root}/evil/python3", options => { app_start_command => 'id' });
unlike $h->log_text, qr/output: uid=/, 'nothing of that runs';

# What an owner has written down is run as it stands there, with the owner's rights, and from nowhere else.
my $own = $h->make_app('own', { 'Passengerfile.json' => "{\"app_start_command\": \"id -un >$h->{root}/apps/own/ran\"}", 'a.py' => "id -un\n",
    '.meteor/release' => "METEOR\@2.16\n" });
attack(app_root => $own, kind => 'generic', startup => 'Passengerfile.json', options => { app_start_command => "id >>$marker" });
ok !-e "$own/ran", 'a command of a request\'s is not mistaken for it';
attack(app_root => $own, kind => 'generic', startup => 'Passengerfile.json');
is slurp("$own/ran"), "$owner\n", 'Passengerfile.json is run by its owner';
unlink "$own/ran";
attack(app_root => $own, kind => 'generic', startup => 'a.py');
unlike $h->log_text, qr/output: $owner/, 'no other file is taken for a script';
spew("$h->{root}/evil/Passengerfile.json", "{\"app_start_command\": \"id >>$marker\"}");
mkdir "$h->{root}/evil/borrowed";
symlink "$own/Passengerfile.json", "$h->{root}/evil/borrowed/Passengerfile.json" or die "symlink: $!";
mkdir "$h->{root}/evil/linked";
link "$own/Passengerfile.json", "$h->{root}/evil/linked/Passengerfile.json" or die "link: $!";
system('chown', '-h', 'www-data', map { "$h->{root}/evil/$_" } qw(borrowed borrowed/Passengerfile.json linked)) == 0 or die 'chown';
attack(app_root => "$h->{root}/evil/$_", kind => 'generic', startup => 'Passengerfile.json') for qw(borrowed linked);
attack(app_root => $own, kind => 'generic', startup => "$h->{root}/evil/Passengerfile.json");
attack(app_root => "$h->{root}/evil", kind => 'generic', startup => 'Passengerfile.json', options => { user => $owner });
attack(app_root => $own, kind => 'meteor', startup => '.meteor', options => { meteor_app_settings => "$h->{root}/evil/Passengerfile.json" });
$h->expect_log(qr/PSG0113: .*The settings \S+ \(PassengerMeteorAppSettings\) were not used/, 'that settings of a stranger are not used');
ok !-e "$own/ran", '... nor by others, nor elsewhere';
unlike slurp($marker), qr/\($owner\)|uid=0/, '... nor is another of those';

# What leads elsewhere a moment later: the attacker's links, to somebody's application and to a harmless interpreter.
symlink $victim, "$h->{root}/evil/link" or die "symlink: $!";
symlink '/usr/bin', "$h->{root}/evil/bin" or die "symlink: $!";
$h->own("$h->{root}/evil", 'www-data');
mkdir "$h->{root}/evil/folder";
is user_of(attack(app_root => "$h->{root}/evil/link")), 'none', 'an application is not reached through a stranger\'s link';
is user_of(attack(app_root => '/', startup => "$h->{root}/evil/link/passenger_wsgi.py")), 'none', '... nor is a startup file';
is user_of(attack(app_root => '/', startup => "$h->{root}/evil/folder/../../apps/victim/passenger_wsgi.py")), 'none', '... nor through a folder and back';
is user_of(attack(app_root => $victim, options => { python => "$h->{root}/evil/bin/python3" })), 'none', '... nor an interpreter';

# A group of somebody else's cannot be joined by its name, and who wrote an .htaccess file is said in vain.
my $eves = $h->copy_app('wsgi', 'eves', owner => $other);
{
    my $group = "$victim (production)";
    my $before = $h->get('/', Host => 'victim')->json->{pid};
    is user_of(attack(app_root => $eves, group => $group)), $other, 'the name of another\'s application is only a name';
    is user_of(attack(app_root => $eves, group => $group, options => { app_group_name => $group })), $other, '... also as PassengerAppGroupName';
    is $h->get('/', Host => 'victim')->json->{pid}, $before, '... and its visitors still meet its own process';
    is user_of(attack(app_root => $victim, author => (getpwnam $other)[2])), 'none', 'an author who is somebody else gets nothing';
    is user_of(attack(app_root => $victim, author => (getpwnam $owner)[2])), $owner, 'the owner may be the author';
    attack(app_root => $victim, author => $_) for -1, 'root', 4294967295, 99999999999;
}
# A user who is granted to one folder runs what is there, not what another user has elsewhere.
is user_of(attack(app_root => $granted, startup => "$victim/passenger_wsgi.py", options => { user => $third })), 'none', 'nobody\'s file runs as a granted user';

# More than a message to the watchdog holds.
for my $size (100_000, 180_000, 250_000) {
    attack(app_root => $victim, group => "large $size", env => { map { ("V$_" => 'x' x 1000) } 1 .. $size / 1010 });
    is user_of(attack(app_root => $victim)), $owner, "applications are started after variables of $size bytes";
}

# Variables for the process come from the configuration's part of the request; dangerous ones are refused there too.
{
    my $r = attack(app_root => $victim, group => 'environment', path => '/process', env => { LD_PRELOAD => '/evil.so', PYTHONPATH => '/evil', PYTHONSTARTUP => '/evil', BASH_ENV => '/evil',
        LD_LIBRARY_PATH => '/evil', PATH => '/evil', HOME => '/evil', 'BASH_FUNC_x%%' => '() { evil; }', FINE => 'fine' });
    unlike $r, qr{"(?:LD_PRELOAD|LD_LIBRARY_PATH|BASH_ENV|BASH_FUNC_x%%|PYTHONSTARTUP)": }, 'variables that load code are not passed to a process';
}

# What is no request at all.
my %garbage = (
    'a length beyond all limits' => '99999999999999999999:', 'a large length' => '268435457:x', 'a negative length' => '-1:', 'no length' => ':,', 'no comma' => '4:a\0b\0;',
    'no NUL' => '10:abcdefghij,', 'another hello' => "PASSENGER/9 x y\n", 'an endless hello' => 'PASSENGER/1 ' . 'x' x 100_000, 'HTTP' => "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    'noise' => join('', map { chr(($_ * 167 + 13) % 256) } 1 .. 5000), 'nothing' => '',
);
for my $what (sort keys %garbage) {
    as_user('www-data', sub { my $s = connected() or return; print $s $garbage{$what}; shutdown $s, 1; local $SIG{ALRM} = sub { POSIX::_exit(0) }; alarm 3; local $/; my $all = <$s>; '' });
    is $h->core, $core, "$what does not end the core";
}
for my $at (1, 2, 15, 1_000_000) {
    as_user('www-data', sub { my $s = connected() or return; print $s hello() . message(app_root => $victim, env_at => $at); shutdown $s, 1; local $/; my $all = <$s>; '' });
    is $h->core, $core, "variables said to be at $at do not end the core";
}
for my $cut (1, 10, 40, 100, 200) {
    as_user('www-data', sub { my $s = connected() or return; print $s substr hello() . message(app_root => $victim), 0, $cut; close $s; '' });
}
is $h->get('/', Host => 'victim')->status, 200, 'it serves after all that';
is $h->core, $core, '... with the same core';
$h->finish;
done_testing;
