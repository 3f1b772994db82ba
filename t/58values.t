# Every directive that .htaccess files may use, as options.def has them, with every hostile value, and every name of the link's own fields as a header:
# what comes of it is the owner's process or a refusal. 12htaccess.t and 55attacks.t have what is meant by single ones. One MPM: Apache's threads
# have no part in it.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use POSIX ();
use Test::More;
use Harness;

plan skip_all => 'there is nobody to become without root' if $>;

my $h = Harness->new(mpm => (Harness->mpms)[0]);
my ($alice, $eve) = map { $h->app_user($_) } 0, 1;
my ($alice_uid, $eve_uid) = map { scalar getpwnam $_ } $alice, $eve;
my $secret = 'alice knows the word';
my $shop = $h->copy_app('wsgi', 'shop', owner => $alice);
my $app = $h->copy_app('wsgi', 'eve', owner => $eve);
my ($marker, $root_file) = ("$h->{root}/marker", "$h->{root}/root.env");
spew($marker, '');
chmod 0666, $marker;
my @kept = ("$shop/secret.env", $root_file);
for my $file (@kept) {
    spew($file, "WORD=$secret\n");
    chmod 0600, $file;
}
mkdir "$shop/bin";
spew("$shop/bin/python3", "#!/bin/sh\nid -u >>$marker\nexec /usr/bin/python3 \"\$@\"\n");
chmod 0755, "$shop/bin/python3";
$h->own($shop, $alice);
# Whoever reads one of them leaves a trace, where the file system notes that.
utime 1000, 2000, @kept;
my $before = join "\n", map { join ' ', (stat)[2, 4, 5, 7, 8, 9] } @kept;

# directive => type, scope, what is allowed
my %row;
for (split /^(?=[A-Z]+\()/m, slurp('apr-glue/options.def') =~ s{/\*.*?\*/}{}gsr =~ s{^#.*$}{}gmr) {
    s/\s+/ /g;
    my ($kind, $name, $rest) = /^(GLOBAL|OPTION|ALIAS|IGNORED)\((\w+), (.*)/ or next;
    my @part = split /, /, $rest;
    $row{$name} = { kind => $kind, type => $kind =~ /GLOBAL|OPTION/ ? $part[1] : 'NONE', scope => $kind eq 'GLOBAL' ? 'GLOBAL' : $kind eq 'OPTION' ? $part[2] : $part[0], rest => $rest };
}
cmp_ok scalar(keys %row), '>', 100, scalar(keys %row) . ' directives';
is scalar(grep { $_->{kind} eq 'OPTION' } values %row), scalar(() = slurp('apr-glue/options.def') =~ /^OPTION\(Passenger/gm), '... no option is overlooked';

my $docroot = "$h->{root}/apps/site";
mkdir $docroot;
mkdir "$docroot/parse";
spew("$docroot/parse/file", 'a file');
$h->own($docroot, $eve);
$h->start(conf => "PassengerStatThrottleRate 0\nPassengerMaxPoolSize 12\nPassengerFriendlyErrorPages on\n<VirtualHost *>\nServerName site\nDocumentRoot $docroot\n<Directory $docroot>\nAllowOverride All\n</Directory>\n</VirtualHost>\n"
    . "<VirtualHost *>\nServerName shop\nDocumentRoot $shop/public\n</VirtualHost>\n<VirtualHost *>\nServerName eve\nDocumentRoot $app/public\n</VirtualHost>\n");
$h->allow_log(qr/PSG\d\d\d\d:|App \d+ output|AH\d+|core:alert.*htaccess|PassengerStatThrottleRate/);
is $h->get('/process', Host => 'shop')->json->{uids}[0], $alice_uid, 'alice is served';
my @roles = map { $h->$_ } qw(watchdog core);
sub settled { my ($file, $text) = @_; spew("$file.new", $text); chmod 0644, "$file.new"; chown $eve_uid, -1, "$file.new"; rename "$file.new", $file or die "rename: $!" }

# What the words are: refused as a whole (500), or taken or ignored, and the file is sent. Nothing is run yet.
my %value = (
    root => 'root', zero => '0', other => $alice, file => "$shop/secret.env", upwards => '../shop/secret.env', roots => $root_file, folder => $shop, everything => '/', shadow => '/etc/shadow', program => "$shop/bin/python3",
    command => "\"\$(id -u >>$marker)\"", pipe => "\"|id -u >>$marker\"", nul => "x\0y", long => 'x' x 1_000_000, none => '""', negative => '-1', most => '2147483647', beyond => '2147483648', endless => '9' x 40,
    fraction => '1.5', blank => '" 5 5"', hex => '0x10', on => 'on', off => 'off', pair => "LD_PRELOAD $shop/evil.so", two => "A\tb c", controls => "\"a\x01\x1b[2J\x7f\"", control => "\"a\\\nb\"", format => '%s%n%{X}e', high => "\xff\xfe",
);
my %taken;
{
    my ($c, %status) = $h->client(timeout => 60);
    for my $name (sort keys %row) {
        for my $what (sort keys %value) {
            settled("$docroot/parse/.htaccess", ($name eq 'PassengerEnabled' ? '' : "PassengerEnabled off\n") . "$name $value{$what}\n");
            my $r = eval { $c->ask('GET', '/parse/file', Host => 'site') };
            $c = $h->client(timeout => 60) if !$r || ($r->header('Connection') // '') eq 'close';
            my $status = $r ? $r->status : 'none';
            $status{$status}++;
            fail "$name with the value \"$what\": $status" unless $status eq '500' || ($status eq '200' && $r->body eq 'a file');
            push @{ $taken{$name} }, $what if $status eq '200';
        }
    }
    is join(' ', sort keys %status), '200 500', "directives and values: refused $status{500} times, taken or ignored $status{200} times";
}
unlike $h->log_text, qr/exit signal|PSG3200/, 'Apache has met all of them';
for my $name (sort keys %row) {
    next unless $row{$name}{kind} ne 'IGNORED' && $row{$name}{scope} =~ /^(?:GLOBAL|ADMIN)$/;
    my @lines = grep { /\Q$name\E\b/ && /\.htaccess/ } split /\n/, $h->log_text;
    ok @lines > 0, "$name, which is the server's own, is not obeyed, and the log says so";
}

# What is made of those that are taken: the owner's process, or none. Numbers and switches all at once, words one by one.
my (@try, %all);
for my $name (sort grep { $row{$_}{kind} eq 'OPTION' && $row{$_}{scope} !~ /GLOBAL|ADMIN/ } keys %row) {
    for my $what (@{ $taken{$name} // [] }) {
        if ($row{$name}{type} =~ /INT|FLAG/) {
            push @{ $all{$what} }, "$name $value{$what}" unless "$name $what" eq 'PassengerEnabled off';
        } elsif ($row{$name}{rest} !~ /\b(?:ONE_OF|KINDS)\b/ && $what =~ /^(?:root|other|file|upwards|folder|everything|program|command|pair)$/) {
            push @try, ["$name: $what", "$name $value{$what}"] unless $what eq 'everything' && $name eq 'PassengerBaseURI';
        }
    }
}
push @try, map { ["all numbers and switches: $_", join "\n", @{ $all{$_} }] } sort keys %all;
for my $i (0 .. $#try) {
    mkdir "$docroot/d$i";
    my $text = $try[$i][1];
    my $lines = join '', map { $text =~ /^(?:$_) /m ? '' : { 'PassengerAppRoot' => "PassengerAppRoot $app\n", 'PassengerBaseURI' => "PassengerBaseURI /d$i\n", 'PassengerAppGroupName' => "PassengerAppGroupName g$i\n" }->{$_} }
        qw(PassengerAppRoot PassengerBaseURI PassengerAppGroupName);
    # Numbers of seconds that are that low end everything.
    $text .= "\nPassengerStartTimeout 20\nPassengerMaxRequestTime 0\nPassengerHardMemoryLimit 0\nPassengerTaskLimit 0" if $try[$i][0] =~ /^all/;
    settled("$docroot/d$i/.htaccess", "$lines$text\n");
}
# Two ask at once.
my @told;
for my $half (0, 1) {
    my $child = open(my $told, '-|') // die "fork: $!";
    if (!$child) {
        my %result;
        for my $i (grep { $_ % 2 == $half } 0 .. $#try) {
            my $r = eval { $h->get("/d$i/process", Host => 'site') };
            my $facts = $r && eval { $r->json };
            $result{$i} = { status => $r ? $r->status : 'none', uids => $facts ? join(' ', @{ $facts->{uids} // [] }, @{ $facts->{gids} // [] }, @{ $facts->{groups} // [] }) : '',
                told => $r && $r->body =~ /\Q$secret\E|root:[*!\$]/ ? 1 : 0, env => $facts ? join ' ', grep { /^(?:LD_|BASH_ENV|PYTHONPATH)/ } keys %{ $facts->{env} } : '' };
        }
        syswrite STDOUT, JSON::PP->new->encode(\%result);
        POSIX::_exit(0);
    }
    push @told, $told;
}
my %result = map { local $/; %{ JSON::PP->new->decode(scalar(readline $_) || '{}') } } @told;
my @own = ($eve_uid, (getpwnam $eve)[3]);
my ($ran, @bad) = (0);
for my $i (0 .. $#try) {
    my $got = $result{$i} // { status => 'none', uids => '', told => 0, env => '' };
    my %ids = map { $_ => 1 } split ' ', $got->{uids};
    delete @ids{@own};
    $ran++ if $got->{uids};
    push @bad, "$try[$i][0]: status $got->{status}, ids $got->{uids}, environment $got->{env}" if $got->{status} eq 'none' || %ids || $got->{told} || $got->{env};
}
is_deeply \@bad, [], scalar(@try) . " values: eve's process or none" or diag map { "$_\n" } @bad;
cmp_ok $ran, '>', 20, "... $ran of them with a process";
cmp_ok $ran, '<', @try, '... but not all';
unlike slurp($marker), qr/^(?:0|$alice_uid|(?!$eve_uid\b)\d+)$/m, 'nothing of what they name ran as anybody but eve';
is join("\n", map { join ' ', (stat)[2, 4, 5, 7, 8, 9] } @kept), $before, 'what only others may read was not read, nor changed';
unlike $h->log_text, qr/\Q$secret/, '... nor is it in the log';
is $h->get('/process', Host => 'shop')->json->{uids}[0], $alice_uid, 'alice is served still, by her own process';
is join(' ', map { $h->$_ } qw(watchdog core)), "@roles", '... and the helper is the same';

# Headers: the names of the link's own fields, as link.h has them, of its responses, of CGI's variables, and names that others would mix up.
my @private = slurp('apr-glue/link.h') =~ /^#define AG_LINK_\w+\s+"([^"\/]+)"/gm;
cmp_ok scalar(@private), '>', 12, 'the link has ' . @private . ' fields of its own';
my @cgi = qw(SCGI CONTENT_TYPE CONTENT_LENGTH REQUEST_METHOD REQUEST_URI SCRIPT_NAME SCRIPT_FILENAME PATH_INFO PATH_TRANSLATED QUERY_STRING SERVER_NAME SERVER_PORT SERVER_PROTOCOL REMOTE_ADDR REMOTE_USER
    AUTH_TYPE DOCUMENT_ROOT HTTPS REDIRECT_STATUS GATEWAY_INTERFACE HTTP_PROXY HTTP_HOST PHP_VALUE PHP_ADMIN_VALUE UWSGI_FILE PASSENGER_APP_ROOT PASSENGER_CONNECT_PASSWORD PASSENGER_MAX_REQUESTS UNION_STATION_SUPPORT);
my @names = (@private, (map { "~$_" } @private), (map { substr($_, 0, 1) eq '!' ? '!~' . substr $_, 1 : () } @private), qw(!~ !~PASSENGER !~PASSENGER_APP_ROOT !~OPTIONS !~FLAGS), @cgi, (map { tr/_/-/r } @cgi),
    (map { "X-Passenger-$_" } qw(App-Root User Start-Command)), qw(Proxy proxy X_Forwarded_For X-Sendfile-Type X-Accel-Mapping Passenger-App-Root));
{
    my $plain = $h->get('/', Host => 'eve')->json;
    my $c = $h->client(timeout => 30);
    my @changed;
    for my $name (@names) {
        next if $name =~ /^(?:Content-Length|Content-Type|Host|HTTP-HOST)$/i;
        for my $field ([$name => '/root'], [$name => "x, $shop"]) {
            my $r = eval { $c->ask('GET', '/', Host => 'eve', @$field) };
            $c = $h->client(timeout => 30) if !$r || $r->status == 400 || ($r->header('Connection') // '') eq 'close';
            next if $r && $r->status == 400;
            my $facts = $r && eval { $r->json };
            my %environ = %{ $facts->{environ} // {} };
            delete $environ{ 'HTTP_' . uc($name) =~ tr/-/_/r } if $name =~ /^[A-Za-z0-9-]+$/ && $name !~ /^Proxy$/i;
            $facts->{$_} = $plain->{$_} for qw(count length sha1);
            my ($now, $then) = map { JSON::PP->new->canonical->encode($_) } [\%environ, @$facts{qw(pid uid gid cwd)}], [$plain->{environ}, @$plain{qw(pid uid gid cwd)}];
            $then =~ s/"REMOTE_PORT":"\d+"/"REMOTE_PORT":""/, $now =~ s/"REMOTE_PORT":"\d+"/"REMOTE_PORT":""/;
            $now =~ s/"HTTP_CONNECTION":"[^"]*",?//, $then =~ s/"HTTP_CONNECTION":"[^"]*",?//;
            push @changed, "$name: $field->[1]: " . ($r ? $r->status : 'none') . "\n  $now\n  $then" if $now ne $then;
        }
    }
    is_deeply \@changed, [], scalar(@names) . ' names of headers change nothing but HTTP_ variables of their own' or diag map { "$_\n" } @changed[0 .. ($#changed > 3 ? 3 : $#changed)];
    for my $case (['twice', "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"], ['twice the same, with an underscore', "Content-Length: 1\r\nContent_Length: 2\r\n\r\na"], ['a list', "Content-Length: 1, 1\r\n\r\na"],
        ['beside chunks', "Content-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"], ['NUL', "!r\0: /root\r\n\r\n"], ['a folded line', "X-A: b\r\n !r: /root\r\nContent-Length: 0\r\n\r\n"]) {
        my $raw = $h->request("POST / HTTP/1.1\r\nHost: eve\r\nConnection: close\r\n$case->[1]");
        my ($length, $cwd) = map { $raw =~ /"$_": "?([^",}]+)/ ? $1 : '' } qw(length cwd);
        ok $raw =~ m{^HTTP/1\.1 400} || ($raw =~ m{^HTTP/1\.1 200} && $length =~ /^[01]$/ && $cwd eq $app), "$case->[0]: refused, or no more than was meant" or diag $raw;
    }
}
$h->finish;
done_testing;
