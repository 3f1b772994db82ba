# .htaccess: what hosting panels and users write there works; what one tenant writes reaches no other.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

plan skip_all => 'there is nobody to become without root' if $>;

my $python = '/usr/bin/python3';

snippets($_) for Harness->mpms;
tenants();
limits();
closed();
done_testing;

# A user's home: app/ and public_html/, which have the same owner.
sub home {
    my ($h, $kind, $name, %arg) = @_;
    my $owner = $arg{owner} // $h->app_user;
    my $app = $h->copy_app($kind, "$name/app", owner => $owner);
    my $docroot = "$h->{root}/apps/$name/public_html";
    mkdir $docroot;
    spew("$docroot/public-asset.css", "/* $name */");
    spew("$docroot/.htaccess", $arg{htaccess}) if defined $arg{htaccess};
    $h->own($docroot, $owner);
    return ($app, $docroot);
}

sub host {
    my ($name, $docroot, $rest, $override) = @_;
    $override //= 'All';
    return "<VirtualHost *>\nServerName $name\nDocumentRoot $docroot\n<Directory $docroot>\nAllowOverride $override\n</Directory>\n"
        . ($rest // '') . "</VirtualHost>\n";
}

# What panels write into .htaccess, with places of this test in it: { name, kind, text, override }.
sub panels {
    my ($home) = @_;
    return (
        { name => 's1-node', kind => 'node', text => <<"END" },
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION BEGIN
PassengerAppRoot "$home/s1-node/app"
PassengerBaseURI "/"
PassengerNodejs "/usr/bin/node"
PassengerAppType node
PassengerStartupFile app.js
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION END
END
        { name => 's1-api', kind => 'node', path => '/api', text => <<"END" },
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION BEGIN
PassengerAppRoot "$home/s1-api/app"
PassengerBaseURI "/api"
PassengerNodejs "/usr/bin/node"
PassengerAppType node
PassengerStartupFile app.js
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION END
END
        { name => 's2-python', kind => 'wsgi', text => <<"END" },
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION BEGIN
PassengerAppRoot "$home/s2-python/app"
PassengerBaseURI "/"
PassengerPython "$python"
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION END
# DO NOT REMOVE OR MODIFY. CLOUDLINUX ENV VARS CONFIGURATION BEGIN
<IfModule Litespeed>
SetEnv NAME value
</IfModule>
# DO NOT REMOVE OR MODIFY. CLOUDLINUX ENV VARS CONFIGURATION END
END
        { name => 's4-litespeed', kind => 'node', override => 'Options FileInfo Indexes', text => <<"END" },
PassengerAppRoot $home/s4-litespeed/app
PassengerAppType node
PassengerNodejs /usr/bin/node
PassengerStartupFile app.js
PassengerBaseURI /
PassengerRestartDir $home/s4-litespeed/app/tmp
SetEnv NODE_OPTIONS "--require $home/s4-litespeed/preload-timestamp.js"
SetEnv LSNODE_CONSOLE_LOG console.log
SetEnv TOKIO_WORKER_THREADS 2
RewriteRule ^\\.builds - [F,L]
DirectoryIndex disabled
END
        { name => 's5-additions', kind => 'wsgi', text => <<"END" },
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION BEGIN
PassengerAppRoot "$home/s5-additions/app"
PassengerBaseURI "/"
PassengerPython "$python"
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION END
PassengerAppEnv development
PassengerFriendlyErrorPages on
PassengerEnabled on
END
        { name => 's6-shared', kind => 'node', text => <<"END" },
PassengerEnabled on
PassengerAppRoot $home/s6-shared/app
PassengerAppType node
PassengerStartupFile app.js
PassengerNodejs /usr/bin/node
PassengerAppEnv production
PassengerMinInstances 1
PassengerMaxPoolSize 2
PassengerRestartDir tmp
END
        { name => 's7-small', kind => 'wsgi', text => <<"END" },
PassengerEnabled On
PassengerPython $home/s7-small/app/venv/bin/python3
PassengerAppRoot $home/s7-small/app
END
        { name => 's8-kitchen-sink', kind => 'wsgi', text => <<"END" },
PassengerAppRoot $home/s8-kitchen-sink/app
PassengerMinInstances 1
PassengerMaxPoolSize 4
PassengerPoolIdleTime 0
PassengerMaxRequestQueueSize 200
PassengerStatThrottleRate 5
PassengerStartTimeout 60
PassengerPreStart https://example.org/
RewriteRule ^(.*)\$ /passenger_wsgi.py/\$1 [QSA,L]
RewriteRule ^(.*)\$ /wsgi.py/\$1 [QSA,L]
END
        { name => 's9-chroot', kind => 'wsgi', text => <<"END" },
PassengerAppRoot $home/s9-chroot/app
Cgroup site42
SetEnvIf Host . SITE_ROOT=/home/virtual/site42/fst
END
        { name => 's10-old', kind => 'wsgi', path => '/redmine', text => <<"END" },
RackBaseURI /redmine
RailsEnv production
PassengerAppRoot $home/s10-old/app
PassengerHighPerformance on
PassengerUseGlobalQueue off
# the end
END
    );
}

sub snippets {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my @panels = panels("$h->{root}/apps");
    my $conf = "PassengerMaxPoolSize 30\n";
    for my $panel (@panels) {
        my (undef, $docroot) = home($h, $panel->{kind}, $panel->{name}, htaccess => $panel->{text});
        $conf .= host("all.$panel->{name}", $docroot);
        $conf .= host("some.$panel->{name}", "$docroot-2", '', $panel->{override} // 'Options FileInfo');
        system 'cp', '-a', $docroot, "$docroot-2";
    }
    my $venv = "$h->{root}/apps/s7-small/app/venv";
    mkdir $_ for $venv, "$venv/bin";
    symlink $python, "$venv/bin/python3" or die "symlink: $!";
    $h->own($venv, $h->app_user);
    $h->start(conf => $conf . in_server($h));
    for my $panel (@panels) {
        for my $which (qw(all some)) {
            my $path = $panel->{path} // '';
            my $r = $h->get("$path/", Host => "$which.$panel->{name}");
            my $facts = eval { $r->json } // {};
            is $facts->{cwd}, "$h->{root}/apps/$panel->{name}/app", "$mpm: $panel->{name} ($which): the application answers" or diag $r->status, ' ', $r->body;
            is getpwuid($facts->{uid} // 0), $h->app_user, "$mpm: ... as its owner";
            $r = $h->get('/public-asset.css', Host => "$which.$panel->{name}");
            is $r->body, "/* $panel->{name} */", "$mpm: ... and a file is a file";
        }
    }
    is $h->get('/sub/', Host => 'cpanel')->json->{environ}{SCRIPT_NAME}, '/sub', "$mpm: s3: a panel's include in a virtual host";
    is $h->get('/redmine/', Host => 'suburi')->json->{environ}{SCRIPT_NAME}, '/redmine', "$mpm: s10: an application at a base URI, by Alias";
    is $h->get('/', Host => 'whole')->status, 200, "$mpm: s11: a virtual host of its own";
    warned_once($h, $mpm, 'PassengerMaxPoolSize', 's6-shared/public_html/.htaccess:8');
    $h->allow_log('PSG0501', 'PSG0503', qr{PSG2801: \S+ /(?:opt/cpanel|home/u)/}, qr/NODE_OPTIONS was not put into the process environment/);
}

# However often the file is read, each child says it once.
sub warned_once {
    my ($h, $mpm, $directive, $place) = @_;
    $h->get('/', Host => 'all.s6-shared') for 1 .. 3;
    my @lines = grep { /PSG0501: $directive at \S*\Q$place\E / } split /\n/, $h->log_text;
    my %pids;
    $pids{$_}++ for map { /\[pid (\d+)/ } @lines;
    ok @lines > 0, "$mpm: $directive in .htaccess is a warning with file and line";
    ok !(grep { $_ > 1 } values %pids), "$mpm: ... once in each child" or diag @lines;
}

# What panels, packages and configuration management write into the server's own files: s3, s10, s11, s12, s13.
sub in_server {
    my ($h) = @_;
    my ($panel, $alias, $whole) = map { $h->copy_app('wsgi', $_) } qw(panel alias whole);
    mkdir "$h->{root}/htdocs/sub";
    return <<"END";
<IfModule mod_passenger.c>
  PassengerRoot /usr/lib/ruby/vendor_ruby/phusion_passenger/locations.ini
  PassengerDefaultRuby /usr/bin/ruby
</IfModule>
<IfModule passenger_module>
  PassengerRoot "$h->{root}"
</IfModule>
PassengerHighPerformance Off
PassengerPoolIdleTime 1500
PassengerMaxRequests 1000
PassengerStatThrottleRate 120
PassengerShowVersionInHeader Off
PassengerDisableSecurityUpdateCheck On
PassengerDisableAnonymousTelemetry on
PassengerAnonymousTelemetryProxy http://proxy.example.org:3128
PassengerSecurityUpdateCheckProxy http://proxy.example.org:3128
PassengerAdminPanelUrl wss://example.org/
PassengerAdminPanelAuthType basic
PassengerAdminPanelUsername u
PassengerAdminPanelPassword p
PassengerSpawnDir /tmp
PassengerAppGroupName foreman
RackAutoDetect On
RailsAutoDetect On
PassengerUploadBufferDir /tmp
PassengerTempDir /tmp
PassengerLogLevel 3
PassengerUserSwitching on
<VirtualHost *>
ServerName cpanel
<Location "/sub">
    <IfModule mod_env.c>
        SetEnv "N" "V"
    </IfModule>
    <IfModule mod_passenger.c>
        PassengerAppEnv "production"
        PassengerEnabled on
        PassengerBaseURI "/sub"
        PassengerAppRoot "$panel"
        PassengerAppGroupName "u - shop"
        PassengerRuby /opt/cpanel/ea-ruby27/root/usr/libexec/passenger-ruby27
        PassengerPython $python
        PassengerNodejs /opt/cpanel/ea-nodejs22/bin/node
    </IfModule>
</Location>
<Directory "$panel">
    Options -MultiViews
    Options -Indexes
    Require all granted
</Directory>
</VirtualHost>
<VirtualHost *>
ServerName suburi
Alias /redmine $alias/public
<Location /redmine>
  PassengerBaseURI /redmine
  PassengerAppRoot $alias
  SetEnv RAILS_RELATIVE_URL_ROOT /redmine
</Location>
<Directory $alias/public>
  Require all granted
  # Apache 2.4
  Options -MultiViews
  # the end
</Directory>
</VirtualHost>
<VirtualHost *>
ServerName whole
DocumentRoot $whole/public
PassengerRuby /home/u/.rbenv/shims/ruby
PassengerUser @{[ $h->app_user ]}
PassengerAppEnv production
PassengerMinInstances 1
</VirtualHost>
END
}

# Two users of one machine. What the first one's .htaccess file says about the second one's things is refused for the first alone.
sub tenants {
    my $h = Harness->new;
    my ($eve, $bob) = map { $h->app_user($_) } 0, 1;
    my $home = "$h->{root}/apps";
    my ($theirs, $bobs) = home($h, 'wsgi', 'bob', owner => $bob, htaccess => "PassengerAppRoot $home/bob/app\nPassengerAppGroupName bobs\n");
    my ($app, $docroot) = home($h, 'wsgi', 'eve', owner => $eve, htaccess => '');
    chmod 0755, $app;
    mkdir "$home/bob/bin";
    # Whoever starts this is noticed.
    my $marker = "$h->{root}/marker";
    spew($marker, '');
    chmod 0666, $marker;
    for my $who ("bob", "eve") {
        mkdir "$home/$who/bin";
        spew("$home/$who/bin/python3", "#!/bin/sh\nid -un >>$marker\nexec $python \"\$@\"\n");
        spew("$home/$who/bin/evil.py", "import os\nopen('$marker', 'a').write('evil as %d\\n' % os.getuid())\napplication = None\n");
        chmod 0755, "$home/$who/bin/python3";
        $h->own("$home/$who/bin", $who eq 'bob' ? $bob : $eve);
    }
    symlink $theirs, "$home/eve/link" or die "symlink: $!";
    symlink "$theirs/public", "$docroot/shop" or die "symlink: $!";
    system 'chown', '-h', $eve, "$home/eve/link", "$docroot/shop";
    $h->start(conf => host('bob', $bobs) . host('eve', $docroot) . host('plain', "$theirs/public", "PassengerAppGroupName granted\n"));
    my $before = $h->get('/', Host => 'bob')->json;
    is getpwuid $before->{uid}, $bob, 'one user\'s application runs';
    is getpwuid $h->get('/', Host => 'plain')->json->{uid}, $bob, '... also where the server\'s configuration alone names it';
    my $own = "PassengerAppRoot $app\n";
    my %attack = (
        'another\'s application'               => "PassengerAppRoot $theirs\n",
        '... through a link of one\'s own'      => "PassengerAppRoot $home/eve/link\n",
        '... through a link in the site'       => "PassengerBaseURI /shop\n",
        '... upwards'                          => "PassengerAppRoot $home/eve/../bob/app\n",
        '... with its name'                    => "PassengerAppRoot $theirs\nPassengerAppGroupName bobs\n",
        '... with its default name'            => "PassengerAppRoot $theirs\nPassengerAppGroupName \"$theirs (production)\"\n",
        '... with a command'                   => "PassengerAppRoot $theirs\nPassengerAppStartCommand \"id -un >>$marker\"\n",
        '... with an interpreter of one\'s own' => "PassengerAppRoot $theirs\nPassengerPython $home/eve/bin/python3\n",
        '... with a file of one\'s own'         => "PassengerAppRoot $theirs\nPassengerAppType python\nPassengerStartupFile $home/eve/bin/evil.py\n",
        '... with its user\'s name'             => "PassengerAppRoot $theirs\nPassengerUser $bob\n",
        'another\'s interpreter'               => $own . "PassengerPython $home/bob/bin/python3\n",
        'another\'s startup file'              => $own . "PassengerAppType python\nPassengerStartupFile $home/bob/bin/evil.py\n",
        'another\'s user'                      => $own . "PassengerUser $bob\n",
        'root'                                 => $own . "PassengerUser root\n",
        'another\'s group'                     => $own . 'PassengerGroup ' . getgrgid((getpwnam $bob)[3]) . "\n",
        'a command'                            => $own . "PassengerAppStartCommand \"id -un >>$marker; $python -m http.server \$PORT\"\n",
    );
    for my $what (sort keys %attack) {
        spew("$docroot/.htaccess", $attack{$what});
        my $r = $h->get($what =~ /in the site/ ? '/shop/' : '/', Host => 'eve');
        cmp_ok $r->status, '>=', 403, "$what is refused" or diag $r->body;
        unlike $r->body, qr/"uid"/, '... without an answer of an application';
    }
    $h->expect_log(qr{PSG2500: the symbolic link \Q$docroot/shop\E belongs}, 'whose link leads to another\'s application');
    $h->expect_log(qr/an \.htaccess file or symbolic link of uid \d+ says what is to be run, but that belongs to uid \d+/, 'whose file it is and whose application');
    $h->allow_log(qr/PSG01\d\d:/);
    is slurp($marker), '', 'nothing of that ran';

    # A name is only a name.
    for my $name ('bobs', 'granted', "$theirs (production)") {
        spew("$docroot/.htaccess", "$own PassengerAppGroupName \"$name\"\n");
        is getpwuid($h->get('/', Host => 'eve')->json->{uid}), $eve, "a group called like another's ($name) is a group of one's own";
    }
    for my $host ('bob', 'plain') {
        is getpwuid($h->get('/', Host => $host)->json->{uid}), $bob, "... and the visitors of $host meet who they should" for 1 .. 2;
    }
    is $h->get('/', Host => 'bob')->json->{pid}, $before->{pid}, 'the other user\'s process has seen nothing of it';

    # What ownership implies may be said.
    my $group = getgrgid((getpwnam $eve)[3]);
    spew("$docroot/.htaccess", "$own PassengerUser $eve\nPassengerGroup $group\nPassengerPython $home/eve/bin/python3\n");
    is getpwuid($h->get('/', Host => 'eve')->json->{uid}), $eve, 'one\'s own user, group and interpreter';
    is slurp($marker), "$eve\n", '... which was run, as oneself';

    # Files of the machine's administrator count for everybody; those of two others for nobody.
    spew("$docroot/.htaccess", $own . "PassengerUser $eve\n");
    $h->own("$docroot/.htaccess", 'root');
    is $h->get('/', Host => 'eve')->status, 200, 'an .htaccess file of root\'s';
    $h->own("$docroot/.htaccess", $bob);
    cmp_ok $h->get('/', Host => 'eve')->status, '>=', 403, 'an .htaccess file of somebody else\'s in a folder of one\'s own';
    mkdir "$docroot/two";
    spew("$docroot/two/.htaccess", "PassengerAppEnv staging\n");
    $h->own("$docroot/two", $eve);
    is $h->get('/two/', Host => 'eve')->status, 403, 'two files of two users';
    $h->expect_log('PSG1702');
}

# Numbers: a tenant may lower them. Where the administrator's value stands does not matter.
sub limits {
    my $h = Harness->new;
    my (undef, $docroot) = home($h, 'wsgi', 'shop');
    my $app = "$h->{root}/apps/shop/app";
    my $write = sub { spew("$docroot/.htaccess", "PassengerAppRoot $app\n@_") };
    $h->start(conf => "PassengerMaxRequestQueueSize 50\n" . host('shop', $docroot, "PassengerMaxInstances 2\n<Location />\nPassengerMinInstances 2\n</Location>\n"));
    $write->("PassengerMaxInstances 10\nPassengerMaxRequestQueueSize 0\n");
    is $h->get('/', Host => 'shop')->status, 200, 'the site answers';
    $h->expect_log(qr/PSG1701: PassengerMaxInstances at \S+htaccess:2 is more than the server's configuration allows, which is 2; that is used/, 'a virtual host\'s limit');
    $h->expect_log(qr/PSG1701: PassengerMaxRequestQueueSize at \S+htaccess:3 .* which is 50/, 'no limit at all is more than the server\'s limit');
    my @busy = map { my $c = $h->client; $c->send("GET /slow?s=3 HTTP/1.1\r\nHost: shop\r\n\r\n"); $c } 1 .. 5;
    soon { $h->apps >= 2 } 'processes are started';
    $_->read_all for @busy[0, 1];
    is scalar($h->apps), 2, '... but no more than the administrator allows';
    undef @busy;
    $write->("PassengerMaxInstances 1\n");
    is $h->get('/', Host => 'shop')->status, 200, 'fewer may be asked for';
    soon { $h->apps <= 2 } 'the limit holds';
    unlike $h->log_text, qr/PassengerMaxInstances at \S+ is more than .* which is 1/, '... without a warning';
}

# What the administrator does not want is ignored, with a warning; the site goes on.
sub closed {
    my $h = Harness->new;
    my %class = (
        none => ['None', 0, 0], app => ['App', 1, 0], requests => ['Requests', 0, 1], both => ['App Requests', 1, 1], all => ['all', 1, 1], limits => ['Limits', 0, 0],
    );
    my $conf = '';
    for my $name (sort keys %class) {
        my (undef, $docroot) = home($h, 'wsgi', $name, htaccess => "PassengerAppEnv special\nPassengerStickySessions on\nPassengerAllowOverride All\n");
        my $app = "$h->{root}/apps/$name/app";
        $conf .= host($name, $docroot, "PassengerAllowOverride $class{$name}[0]\nPassengerAppRoot $app\n");
    }
    # In <Location>, which httpd merges last; and for one folder.
    my (undef, $docroot) = home($h, 'wsgi', 'location', htaccess => "PassengerAppEnv special\n");
    $conf .= host('location', $docroot, "PassengerAppRoot $h->{root}/apps/location/app\n<Location />\nPassengerAllowOverride None\n</Location>\n");
    $h->start(conf => "PassengerMaxPoolSize 20\n$conf");
    for my $name (sort keys %class) {
        my (undef, $app, $requests) = @{ $class{$name} };
        my $r = $h->get('/process', Host => $name);
        is $r->json->{env}{RACK_ENV}, $app ? 'special' : 'production', "PassengerAllowOverride $class{$name}[0]: the application's environment";
        is !!grep({ /_passenger_route/ } $r->headers('Set-Cookie')), !!$requests, '... sticky sessions';
    }
    is $h->get('/process', Host => 'location')->json->{env}{RACK_ENV}, 'production', 'it holds in <Location> too';
    $h->expect_log(qr/PSG1700: PassengerAppEnv at \S+none\S+htaccess:1 is ignored/);
    $h->expect_log(qr/PSG0501: PassengerAllowOverride at \S+htaccess:3 is for administrators/);
    $h->allow_log('PSG1700');
    $h->finish;
    my ($status, $out) = Harness->new->configtest("PassengerAllowOverride FileInfo\n");
    ok $status != 0 && $out =~ /PassengerAllowOverride must be one of: None All App Limits Requests/, 'another word is refused' or diag $out;
}
