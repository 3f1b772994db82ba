# Configuration: every directive name is accepted where users write it; what is wrong is refused with its place; checking starts nothing.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

my $h = Harness->new;
my @rows = rows();
cmp_ok scalar(@rows), '>', 100, 'the list of directives is long';

# The lines that load this tree, as the Makefile prints them.
{
    (my $build = $ENV{PASSENGER_BUILD} // 'build') =~ s{.*/}{};
    chomp(my @lines = `make -s -f Makefile.apxs print-config BUILD=$build`);
    is scalar(@lines), 2, 'print-config prints two lines';
    local $h->{passenger} = 0;
    my ($status, $out) = $h->configtest(join "\n", @lines);
    is $status, 0, 'Apache takes them' or diag $out;
}

my @all = map { "$_->{name} $_->{value}" } @rows;
my @inner = map { "$_->{name} $_->{value}" } grep { $_->{scope} ne 'GLOBAL' } @rows;
my @anywhere = map { "$_->{name} $_->{value}" } grep { $_->{scope} =~ /LOCATION/ } @rows;

accepted('the server', @all);
accepted('a virtual host', '<VirtualHost *:80>', @all, '</VirtualHost>');
accepted('<Directory>', "<Directory $h->{root}/htdocs>", @inner, '</Directory>');
accepted('<Location>', '<Location /x>', @inner, '</Location>');
accepted('<LocationMatch>', '<LocationMatch "^/y">', @inner, '</LocationMatch>');
accepted('<If>, what is about requests', '<If "true">', @anywhere, '</If>');
accepted('any case', map { /^(\S+)(.*)/ ? lc($1) . $2 : () } @all);
accepted('values in quotes', map { /^(\S+) ([^ ]+)$/ ? qq{$1 "$2"} : $_ } @all);

for my $row (grep { $_->{refused} } @rows) {
    for my $value (@{ $row->{refused} }) {
        my ($status, $out) = $h->configtest("$row->{name} $value");
        ok $status != 0 && $out =~ /line \d+ of .*httpd\.conf/ && $out =~ /\Q$row->{named}\E/i, "$row->{name} $value is refused, with its place"
            or diag $out;
    }
}
refused('a misspelt directive', 'PassengerAppRoto /srv');
refused('a flag without a value', 'PassengerEnabled');
refused('a flag that is neither', 'PassengerEnabled maybe');

# A helper that tells when it is started.
{
    my $witness = "$h->{root}/started";
    spew("$h->{root}/lib/witness", "#!/bin/sh\ntouch $witness\n");
    chmod 0755, "$h->{root}/lib/witness";
    local $h->{helper} = "$h->{root}/lib/witness";
    for my $args (['-t'], ['-S'], ['-M'], ['-v'], ['-V'], ['-t', '-DDUMP_RUN_CFG'], ['-t', '-DDUMP_VHOSTS']) {
        my ($status, $out) = $h->configtest('', @$args);
        ok !-e $witness && !glob("$h->{root}/registry/*"), "apache2 @$args starts nothing of ours" or diag $out;
        ok !$h->processes, "apache2 @$args leaves no process";
    }
}
$h->finish;

# .htaccess: every name, in a folder that Apache serves itself; the request is answered and the log says what had no effect.
for my $mpm (Harness->mpms) {
    my $h = Harness->new(mpm => $mpm);
    spew("$h->{root}/htdocs/x.html", 'static');
    mkdir "$h->{root}/htdocs/$_" for qw(all options);
    spew("$h->{root}/htdocs/$_/x.html", 'static') for qw(all options);
    spew("$h->{root}/htdocs/all/.htaccess", join "\n", 'PassengerEnabled off', (grep { !/^PassengerEnabled/ } @all), '');
    spew("$h->{root}/htdocs/options/.htaccess", "PassengerAppRoot /srv/shop\nPassengerPython /usr/bin/python3\nRailsEnv staging\n");
    my %found = found_in_the_wild();
    for my $name (keys %found) {
        mkdir "$h->{root}/htdocs/$name";
        spew("$h->{root}/htdocs/$name/x.html", 'static');
        spew("$h->{root}/htdocs/$name/.htaccess", $found{$name});
    }
    $h->start(conf => "<Directory $h->{root}/htdocs>\nAllowOverride All\n</Directory>\n"
        . "<Directory $h->{root}/htdocs/options>\nAllowOverride FileInfo\n</Directory>");
    is $h->get('/x.html')->status, 200, "$mpm: a file without .htaccess";
    is $h->get('/all/x.html')->status, 200, "$mpm: .htaccess may hold every name" or diag $h->log_text;
    is $h->get('/options/x.html')->status, 200, "$mpm: .htaccess with AllowOverride FileInfo";
    is $h->get("/$_/x.html")->status, 200, "$mpm: .htaccess as written by $_" for sort keys %found;
    my @warnings = grep { /PassengerMaxPoolSize/ } split /\n/, $h->log_text;
    ok @warnings >= 1, "$mpm: a directive for the server in .htaccess is a warning";
    like $warnings[0] // '', qr/\.htaccess/, "$mpm: ... that names the file";
    $h->allow_log(qr/\[\w+:warn\].*\.htaccess/);
}

# Thousands of virtual hosts, each with a user of its own: all of them are granted.
{
    my $h = Harness->new;
    my $app = $h->copy_app('wsgi', 'last');
    my $user = $h->app_user(2);
    my $root = "$h->{root}/a/folder/as/they/are/in/shared/hosting";
    my $hosts = join '', map { "<VirtualHost *>\nServerName host$_\nDocumentRoot $root/customer-$_/public\nPassengerUser $user\n</VirtualHost>\n" } 1 .. 4000;
    $h->start(conf => "$hosts<VirtualHost *>\nServerName last\nDocumentRoot $app/public\nPassengerUser $user\n</VirtualHost>");
    $h->allow_log('AH00112');
    my $who = sub { scalar getpwuid($h->get('/', Host => 'last')->json->{uid} // 0) };
    is $who->(), $user, '4000 virtual hosts with a user each: the last one has its own';
    my ($core, $watchdog) = ($h->core, $h->watchdog);
    $h->graceful;
    is $who->(), $user, '... after graceful';
    is $h->watchdog, $watchdog, '... with the same helper';
    $h->kill_core;
    $h->allow_log('PSG0013');
    wait_for { ($h->core // $core) != $core } 'another core';
    is $who->(), $user, '... and with another core';
}

done_testing;

# What panels and their users write.
sub found_in_the_wild {
    return (
        'cloudlinux-node' => <<'END',
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION BEGIN
PassengerAppRoot "/home/u/app"
PassengerBaseURI "/"
PassengerNodejs "/home/u/nodevenv/app/22/bin/node"
PassengerAppType node
PassengerStartupFile server.js
# DO NOT REMOVE. CLOUDLINUX PASSENGER CONFIGURATION END
PassengerAppEnv development
PassengerFriendlyErrorPages on
PassengerAppLogFile "/home/u/logs/app.log"
END
        'cloudlinux-python' => <<'END',
PassengerAppRoot "/home/u/app"
PassengerBaseURI "/api"
PassengerPython "/home/u/virtualenv/app/3.11/bin/python3.11"
# DO NOT REMOVE OR MODIFY. CLOUDLINUX ENV VARS CONFIGURATION BEGIN
<IfModule Litespeed>
SetEnv NAME value
</IfModule>
END
        'litespeed-style' => <<'END',
PassengerAppRoot /home/u/app
PassengerAppType node
PassengerNodejs /opt/alt/alt-nodejs22/root/bin/node
PassengerStartupFile dist/main.js
PassengerBaseURI /
PassengerRestartDir /home/u/app/tmp
SetEnv TOKIO_WORKER_THREADS 2
RewriteRule ^\.builds - [F,L]
DirectoryIndex disabled
END
        'shared-hosting' => <<'END',
PassengerEnabled On
PassengerAppRoot /home/u/app/current
PassengerAppEnv production
PassengerMinInstances 1
PassengerMaxPoolSize 2
PassengerRestartDir tmp
END
        'kitchen-sink' => <<'END',
PassengerMinInstances 2
PassengerMaxPoolSize 4
PassengerPoolIdleTime 0
PassengerMaxRequestQueueSize 200
PassengerStatThrottleRate 5
PassengerStartTimeout 60
PassengerPreStart https://example.org/
RailsEnv production
RackBaseURI /redmine
PassengerHighPerformance on
PassengerUseGlobalQueue off
<IfModule mod_passenger.c>
PassengerSpawnMethod smart-lv2
</IfModule>
<IfModule passenger_module>
PassengerRuby /usr/bin/ruby
</IfModule>
END
    );
}

sub accepted {
    my ($where, @lines) = @_;
    my ($status, $out) = $h->configtest(join "\n", @lines);
    ok $status == 0 && $out =~ /Syntax OK/, "accepted: $where" or diag $out;
}

sub refused {
    my ($what, @lines) = @_;
    my ($status, $out) = $h->configtest(join "\n", @lines);
    isnt $status, 0, "refused: $what" or diag $out;
}

# The rows of the list, with a value that each accepts and some that it refuses: { name, scope, value, refused }.
sub rows {
    my $text = slurp('apr-glue/options.def');
    $text =~ s{/\*.*?\*/}{}gs;
    my (@rows, %row);
    while ($text =~ /^(GLOBAL|OPTION|ALIAS|IGNORED)\((\w+),\s*([^"]*?)(?:"|\)$)/gm) {
        my ($kind, $name, @cell) = ($1, $2, split /\s*,\s*/, $3);
        my $start = $-[0];
        my $source = substr($text, $start) =~ /\A(.*?\))\n/s ? $1 : '';
        my $row = { name => $name, kind => $kind, scope => 'GLOBAL', value => 'x y', source => $source };
        if ($kind eq 'GLOBAL') {
            @$row{qw(field type)} = @cell;
        } elsif ($kind eq 'OPTION') {
            @$row{qw(field type scope)} = @cell;
        } elsif ($kind eq 'ALIAS') {
            @$row{qw(scope meant)} = @cell;
        } else {
            $row->{scope} = $cell[0];
        }
        push @rows, $row;
        $row{$name} = $row;
    }
    for my $row (@rows) {
        my $meant = $row->{meant} ? $row{ $row->{meant} } : $row;
        $row->{named} = $meant->{name};
        next unless $meant->{type};
        my ($type, $source) = @$meant{qw(type source)};
        if    ($meant->{field} =~ /^(?:default_)?(user|group)$/) { $row->{value} = $1 eq 'user' ? 'nobody' : 'nogroup' }
        elsif ($type eq 'FLAG')   { $row->{value} = 'On' }
        elsif ($type eq 'KEYVAL') { $row->{value} = 'name value' }
        elsif ($source =~ /ONE_OF\("(\S+?)[ "]/) { @$row{qw(value refused)} = ($1, ['nonsense']) }
        elsif ($source =~ /KINDS/) { @$row{qw(value refused)} = ('wsgi', ['pyhton', 'generic']) }
        elsif ($source =~ /URLS/) { @$row{qw(value refused)} = ('https://a:b@x.example:444/y?z', ['/x', 'x.example', 'ftp://x/', 'http://x:0/', '"http://x/ y"']) }
        elsif ($source =~ /URIS/) { @$row{qw(value refused)} = ('/x', ['x', '/x/']) }
        elsif ($source =~ /RANGE\((-?\d+), (\d+)\)/) {
            $row->{value} = $1;
            $row->{refused} = [$1 - 1, 'many', '3x', $2 + 1];
            pop @{ $row->{refused} } if $2 >= 2147483647;
        } else { $row->{value} = '/x' }
    }
    return @rows;
}
