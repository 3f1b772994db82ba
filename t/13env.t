# The environment of application processes: what the configuration says at the application's base URI, whichever request starts them; files of
# variables; what may not pass.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

my ($first, @others) = Harness->mpms;
for my $part (split ' ', $ENV{PARTS} // 'everywhere changes refused file shell') {
    subtest "$first: $part" => sub { no strict 'refs'; &$part($first) };
}
for my $mpm (@others) {
    subtest "$mpm: everywhere" => sub { everywhere($mpm) };
}
done_testing;

sub env { my ($h, $path) = @_; my $r = $h->get($path // '/process'); $r->status == 200 ? $r->json : {} }

# A variable of each kind of section, and a request that starts the process from where others hold too.
sub everywhere {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm, env => { FROM_OUTSIDE => 'outside' });
    my $app = $h->copy_app('wsgi');
    spew("$app/public/.htaccess", "SetEnv IN_FILE file\nSetEnv OVER file\n");
    $h->own($app, $h->app_user);
    $h->start(conf => <<"END");
SetEnv IN_SERVER server
SetEnv OVER server
SetEnv GONE server
PassEnv FROM_OUTSIDE
SetEnv QUOTED "two words"
SetEnvIf Request_URI . PER_REQUEST=yes
DocumentRoot $app/public
PassengerEnvVar DIRECTIVE here
PassengerMinInstances 2
PassengerMaxInstances 2
<Directory $app/public>
    AllowOverride All
    Require all granted
    SetEnv IN_DIRECTORY directory
</Directory>
<Location />
    SetEnv IN_LOCATION location
    UnsetEnv GONE
</Location>
<Location /inner>
    SetEnv IN_INNER inner
    SetEnv OVER inner
</Location>
END
    my $inner = $h->get('/inner/echo')->json;
    is $inner->{environ}{IN_INNER}, 'inner', 'a request below a location has its variable';
    is $inner->{environ}{OVER}, 'inner', '... in place of an outer one';
    soon { $h->apps == 2 } 'a second process starts without any request';
    my %seen;
    my $load = $h->wrk('/slow?s=0.01', connections => 4, duration => 2);
    wait_for { my $r = env($h); $seen{ $r->{pid} // 0 } = $r->{env}; delete $seen{0}; keys %seen == 2 } 'both processes answer';
    $load->finish;
    for my $pid (sort keys %seen) {
        my $e = $seen{$pid};
        is join(' ', map { $e->{$_} // '-' } qw(IN_SERVER IN_DIRECTORY IN_LOCATION IN_FILE FROM_OUTSIDE DIRECTIVE)),
            'server directory location file outside here', "process $pid has what every section says";
        is $e->{QUOTED}, 'two words', 'with blanks';
        is $e->{OVER}, 'file', 'the innermost that covers the application counts';
        ok !exists $e->{$_}, "$_ is not in the process" for qw(IN_INNER GONE PER_REQUEST UNIQUE_ID);
    }
    is $h->get('/')->json->{environ}{PER_REQUEST}, 'yes', 'what is set for a request is in the request';
    my @pids = sort $h->apps;
    $h->graceful;
    $h->get($_) for '/inner/x', '/';
    is join(' ', sort $h->apps), "@pids", 'requests from both sides, after a reload too, replace no process';
}

sub changes {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    spew("$app/public/.htaccess", "SetEnv COLOUR red\n");
    my $conf = "DocumentRoot $app/public\n<Directory $app/public>\nAllowOverride FileInfo\nRequire all granted\n</Directory>\n";
    $h->start(conf => $conf . "PassengerEnvVar SIZE 1");
    my $before = env($h);
    is "$before->{env}{COLOUR} $before->{env}{SIZE}", 'red 1', 'both are there';
    spew("$app/public/.htaccess", "SetEnv COLOUR blue\n");
    soon { (env($h)->{env}{COLOUR} // '') eq 'blue' } 'an edited .htaccess takes effect';
    isnt env($h)->{pid}, $before->{pid}, '... in another process';
    $h->expect_log(qr/its configuration changed/);
    my $load = $h->wrk('/process', connections => 8, duration => 4, close => 1);
    $h->reconfigure($conf . "PassengerEnvVar SIZE 2");
    $h->graceful;
    soon { (env($h)->{env}{SIZE} // '') eq '2' } 'so does the directive';
    is $load->finish->{bad}, 0, '... and no request fails';
}

# Names that decide what code runs are root's to set, not those of a file that visitors' requests depend on.
sub refused {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    spew("$app/public/.htaccess", "SetEnv PYTHONPATH /tmp/evil\nSetEnv LD_PRELOAD /tmp/evil.so\nSetEnv IN_PASSENGER no\nSetEnv FINE yes\n");
    $h->start(conf => <<"END");
DocumentRoot $app/public
PassengerEnvVar PYTHONDONTWRITEBYTECODE 1
SetEnv PATH "/srv/none:/usr/bin:/bin"
SetEnv PYTHONWARNINGS ignore
<Directory $app/public>
    AllowOverride FileInfo
    Require all granted
</Directory>
END
    my $e = env($h)->{env};
    is $e->{FINE}, 'yes', 'an ordinary variable of .htaccess';
    is $e->{PATH}, '/srv/none:/usr/bin:/bin', 'the server may set PATH';
    is $e->{PYTHONWARNINGS}, 'ignore', '... and what else it likes';
    is $e->{IN_PASSENGER}, '1', 'what we say stays';
    ok !exists $e->{$_}, "$_ from .htaccess does not pass" for qw(PYTHONPATH LD_PRELOAD);
    $h->expect_log(qr/variable $_ was not put into the process environment/) for qw(PYTHONPATH LD_PRELOAD);
    for (['PassengerEnvVar 1A x', qr/does not begin with a digit/], ['PassengerEnvVar A', qr/takes two arguments/]) {
        my ($status, $text) = $h->configtest("DocumentRoot $app/public\n$_->[0]");
        isnt $status, 0, "$_->[0]: an error in the configuration";
        like $text, $_->[1], '... that says what is wrong';
    }
    $h->write_config($h->{conf});
}

sub file {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    spew("$app/.env", "# comment\nexport SECRET='a b'\nPYTHONPATH=$app/lib\nBOTH=file\n");
    $h->own($app, $h->app_user);
    $h->start(conf => "DocumentRoot $app/public\nPassengerEnvFile .env\nSetEnv BOTH directive\nPassengerStatThrottleRate 0");
    my $before = env($h);
    is $before->{env}{SECRET}, 'a b', 'a variable of the file';
    is $before->{env}{PYTHONPATH}, "$app/lib", 'its owner may set what runs';
    is $before->{env}{BOTH}, 'directive', 'a directive wins';
    spew("$app/.env", "SECRET=new\n");
    $h->own($app, $h->app_user);
    soon { (env($h)->{env}{SECRET} // '') eq 'new' } 'a change of the file takes effect';
    $h->expect_log(qr/the environment file changed/);
    $h->kill_core;
    $h->expect_log('PSG0013');
    my $pid = env($h)->{pid};
    is env($h)->{pid}, $pid, 'a new core has no reason to replace anything';

    for my $case (['a stranger\'s file', sub { $h->own("$app/.env", $h->app_user(1)) }, qr/belongs to somebody who is neither root/],
                  ['one that all may write', sub { chmod 0666, "$app/.env" }, qr/others may write to it/],
                  ['a wrong line', sub { spew("$app/.env", "A=1\nwhat\n") }, qr/line 2 is not of the form NAME=value/],
                  ['no file', sub { unlink "$app/.env" }, qr/No such file or directory/]) {
        my ($what, $do, $like) = @$case;
        unlink "$app/.env";
        $h->own($app, $h->app_user);
        spew("$app/.env", "SECRET=new\n");
        chmod 0644, "$app/.env";
        $do->();
        spew("$app/tmp/restart.txt", '');
        utime 1000 + ++$main::n, 1000 + $main::n, "$app/tmp/restart.txt";
        $h->get('/');
        $h->expect_log(qr/The environment file \S+ \(PassengerEnvFile\) was not read: .*$like/);
        $h->allow_log(qr/PSG0113|PSG0117|spawn\.failed/);
    }
}

# What the configuration says stays, whatever a profile does; the rest of the profile counts.
sub shell {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $user = 'passenger-env-test';
    plan skip_all => 'needs root and useradd' if $> || system("useradd -M -d $h->{root}/home -s /bin/bash $user 2>/dev/null");
    my $app = $h->copy_app('wsgi');
    mkdir "$h->{root}/home";
    spew("$h->{root}/home/.profile", "export FROM_PROFILE=yes RAILS_ENV=development COLOUR=grey PATH=\"$h->{root}/bin:\$PATH\"\n");
    $h->own($_, $user) for $app, "$h->{root}/home";
    $h->start(conf => "DocumentRoot $app/public\nSetEnv COLOUR \"it's \\\"red\\\" \$x\"");
    my $p = env($h);
    is $p->{env}{FROM_PROFILE}, 'yes', 'a variable of the profile';
    like $p->{env}{PATH}, qr{^$h->{root}/bin:}, 'its PATH';
    is $p->{env}{COLOUR}, 'it\'s "red" $x', 'SetEnv wins over the profile, as it is written';
    is $p->{env}{RAILS_ENV}, 'production', 'so does PassengerAppEnv';
    is_deeply [grep { /^PASSENGER_TOLD/ } keys %{ $p->{env} }], [], 'nothing is left of how that is done';
    undef $h;
    system("userdel $user 2>/dev/null");
}
