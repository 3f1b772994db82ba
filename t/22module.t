# The module alone, against a core that answers to order: t/lib/fake-helper.
use strict;
use warnings;
use lib 't/lib';
use Cwd qw(abs_path);
use Digest::MD5 qw(md5_hex);
use Test::More;
use Time::HiRes qw(time);
use Harness;
use Proc;

my $large = join '', map { pack 'N', $_ * 2654435761 % 4294967296 } 1 .. 1_000_000;

for my $mpm (Harness->mpms) {
    my $h = Harness->new(mpm => $mpm, log_level => 'info passenger:debug', modules => ['include']);
    $h->{helper} = abs_path('t/lib/fake-helper');
    my $app = $h->make_app('main', { 'passenger_wsgi.py' => "secret\n", 'public/s.shtml' => '[<!--#include virtual="/ssi?a=b" -->]' });
    my $ruby = $h->make_app('ruby', { 'config.ru' => "secret\n", 'here.txt' => 'here' });
    symlink "$ruby/public", "$app/public/linked";
    $h->start(conf => config($h, $app, $ruby));
    for my $part (qw(framing early_ends uploads answers_before_the_end lost_links options environment subrequests sources pauses)) {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($h) };
    }
}
done_testing;

sub config {
    my ($h, $app, $ruby) = @_;
    return <<"END";
<VirtualHost *>
    ServerName localhost
    DocumentRoot $app/public
    PassengerBaseURI /linked
    SetEnv ADMIN yes
    SetEnv PATH_INFO wrong
    SetEnv REMOTE_USER root
    SetEnv HTTP_X_SENT wrong
    SetEnv HTTP_X_OWN mine
    <Directory $app/public>
        AllowOverride All
        Options +Includes +FollowSymLinks
        AddOutputFilter INCLUDES .shtml
        RewriteEngine on
        RewriteRule ^rewritten/(.*) /to/\$1?by=us [QSA,L]
    </Directory>
    <Location /override>
        PassengerErrorOverride on
        ErrorDocument 404 "our page"
    </Location>
</VirtualHost>
<VirtualHost *>
    ServerName open.test
    DocumentRoot $ruby
    PassengerAppRoot $ruby
</VirtualHost>
<VirtualHost *>
    ServerName closed.test
    DocumentRoot $h->{root}/htdocs
    PassengerAppRoot $h->{root}/closed/app
</VirtualHost>
END
}

# The pairs that the fake core got, by name; control pairs and body as '!x' and BODY.
sub pairs { my ($r) = @_; my %pairs; /^([^=]+)=(.*)$/ && ($pairs{$1} //= $2) for split /\n/, $r->body; return \%pairs }

# The connections of the fake core, one process each.
sub link_processes {
    my ($h) = @_;
    my @ours = grep { "@{ $_->{cmdline} }" =~ m{t/lib/fake-helper watchdog} } Proc::all();
    my ($main) = grep { $_->{ppid} == $h->{pid} } @ours;
    return map { $_->{pid} } grep { $_->{ppid} == $main->{pid} && $_->{state} ne 'Z' } @ours;
}

sub sleepers { my ($h) = @_; scalar(() = $h->log_text =~ /App \d+ output: sleeps/g) }

sub framing {
    my ($h) = @_;
    my $c = $h->client;
    for my $n (0, 1, 8000, 20_000, 300_000) {
        is length $c->get("/len/$n")->body, $n, "$n bytes with a length";
        is length $c->get("/chunked/$n")->body, $n, "$n bytes in chunks";
    }
    is $c->ask('HEAD', '/len/10')->header('Content-Length'), 10, 'HEAD keeps the length';
    for my $status (204, 304) {
        my $r = $c->get("/status/$status");
        is $r->status . $r->body, $status, "$status has no body";
    }
    my $r = $c->get('/status/599');
    is "$r->{status} $r->{reason}", '599 Very Special', 'an unknown status and its phrase';
    is $r->header('Status'), '599 Very Special', '... as a field too';
    is join('|', $r->headers('Set-Cookie')), 'a=1|b=2', 'cookies stay apart';
    is $h->get('/override/status/404')->body, 'our page', 'PassengerErrorOverride';
    is $h->get('/override/status/200')->body, "status 200\n", '... is for errors';
}

sub early_ends {
    my ($h) = @_;
    $h->allow_log($_) for qw(PSG0660 PSG0661 PSG0683 PSG0686 PSG0688);
    for my $how (qw(short cut cutchunk)) {
        my $c = $h->client;
        my $r = $c->get("/$how");
        ok $r->error eq 'truncated' || $r->status == 502, "/$how looks broken";
        ok $r->status == 502 || $c->closed, '... and ends the connection, if anything was sent';
    }
    is $h->get('/nohead')->status, 502, 'no response';
    is $h->get('/status/101')->status, 502, 'status 101';
    is $h->get('/raw/' . unpack 'H*', "HTTP/1.1 200 OK\r\n\r\n")->status, 502, 'a body without framing';
    is $h->get('/raw/' . unpack 'H*', "hello\r\n")->status, 502, 'no HTTP';
}

sub uploads {
    my ($h) = @_;
    for my $body ('', 'abc', substr($large, 0, 65_536), substr($large, 0, 70_000), $large) {
        my $n = length $body;
        is pairs($h->post('/up', $body))->{BODY}, "$n " . md5_hex($body), "$n bytes with a length";
        my $chunks = join('', map { sprintf "%x\r\n%s\r\n", length $_, $_ } $body =~ /(.{1,9000})/gs) . "0\r\n\r\n";
        my $c = $h->client;
        $c->send("POST /up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n$chunks");
        my $pairs = pairs($c->read_response('POST'));
        is $pairs->{BODY}, "$n " . md5_hex($body), '... in chunks';
        is $pairs->{'!c'} // 0, $n > 65_535 ? 1 : 0, '... which the link sees only if it is large';
    }
    my $c = $h->client;
    $c->send("POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    $c->_more(time + 5) until $c->{in} =~ /\r\n\r\n/ || $c->{eof};
    $c->send('abc');
    my $r = $c->read_response('POST');
    is scalar @{ $r->{interim} }, 1, 'one 100 Continue';
    is pairs($r)->{BODY}, '3 ' . md5_hex('abc'), '... and the body';
    $c = $h->client;
    $c->send("POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" . 'x' x 80_000);
    $c->close;
    is $h->get('/after')->status, 200, 'a client that leaves while it uploads';
}

sub answers_before_the_end {
    my ($h) = @_;
    my $c = $h->client;
    $c->send("POST /early/413 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n" . 'x' x 100_000);
    my $begin = time;
    my $r = $c->read_response('POST');
    is $r->status, 413, 'an answer before the body has come';
    cmp_ok time - $begin, '<', 2, '... is not kept back';
    like $r->header('Connection') // '', qr/close/, '... and ends the connection, since too much is left';
    $c = $h->client;
    $c->send("POST /early/403 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" . 'x' x 80_000);
    is $c->read_response('POST')->status, 403, 'the same with little left';
    $c->send('x' x 20_000);
    is $c->get('/next')->status, 200, '... and the connection goes on';
}

sub lost_links {
    my ($h) = @_;
    $h->get('/a') for 1 .. 3;
    for my $body (undef, 'abc', $large) {
        my @links = link_processes($h);
        ok @links, 'there are idle links';
        kill 'KILL', @links;
        wait_for { !grep { Proc::alive($_) } @links };
        my @status = map { defined $body ? $h->post('/a', $body)->status : $h->get('/a')->status } 1 .. 4;
        is "@status", '200 200 200 200', 'they die unnoticed' . (defined $body ? ', before a body of ' . length $body : '');
    }
    my $c = $h->client;
    $c->write_request('GET', '/sleep/5000');
    wait_for { sleepers($h) == 1 } 'the request in the core';
    kill 'KILL', link_processes($h);
    is $c->read_response('GET')->status, 502, 'a request that was read is not sent twice';

    # A client that leaves: the core is told, and not waited for.
    $c = $h->client;
    $c->write_request('GET', '/sleep/500');
    wait_for { sleepers($h) == 2 } 'the request in the core';
    $c->close;
    $h->expect_log('PSG0689');
    is $h->get('/after')->status, 200, 'a client that leaves while it waits';
}

sub options {
    my ($h) = @_;
    my $c = $h->client;
    my @sent = map { exists pairs($c->get('/x'))->{'!o'} ? 1 : 0 } 1 .. 40;
    is $sent[-1], 0, 'options are sent once per link';
    like $c->get('/need')->body, qr/^requests on this link: \d+$/, 'a core that has forgotten them gets them again';
}

sub environment {
    my ($h) = @_;
    my $p = pairs($h->get('/a%20b/c%2Bd?x=%20y', 'X-Sent' => 'sent', 'X_Sent' => 'spoof', Proxy => 'evil', Cookie => 'a=b', Te => 'x', Upgrade => 'h2c'));
    is $p->{REQUEST_URI}, '/a%20b/c%2Bd?x=%20y', 'REQUEST_URI is as sent';
    is $p->{PATH_INFO}, '/a b/c+d', 'PATH_INFO is decoded for Python';
    is $p->{QUERY_STRING}, 'x=%20y', 'QUERY_STRING';
    is $p->{HTTP_X_SENT}, 'sent', 'a name in which a hyphen is an underscore is dropped, and SetEnv replaces no field';
    is $p->{HTTP_X_OWN}, 'mine', '... but may add one';
    is $p->{ADMIN}, 'yes', 'SetEnv';
    is $p->{HTTP_COOKIE}, 'a=b', 'Cookie';
    ok !exists $p->{$_}, "no $_" for qw(HTTP_PROXY REMOTE_USER HTTP_TE HTTP_UPGRADE HTTP_CONNECTION);
    is $p->{SERVER_PORT}, 80, 'SERVER_PORT is what Host implies';
    is pairs($h->get('/', Host => '[::1]:8080'))->{SERVER_NAME}, '[::1]', 'an IPv6 Host';
    is pairs($h->get('/', Host => '[::1]:8080'))->{SERVER_PORT}, 8080, '... and its port';

    $p = pairs($h->get('/linked/a%20b'));
    is $p->{'!k'}, 'ruby', 'an application behind a link';
    like $p->{'!r'}, qr{/apps/ruby$}, '... its root';
    is $p->{SCRIPT_NAME}, '/linked', 'SCRIPT_NAME';
    is $p->{PATH_INFO}, '/a%20b', 'PATH_INFO is as sent for Ruby';
    is pairs($h->get('/linked'))->{PATH_INFO}, '/', '... and never empty';
    is pairs($h->get('/linkedx'))->{'!k'}, 'python', 'a base URI ends at a slash';

    is pairs($h->get('/x/../y'))->{REQUEST_URI}, '/y', 'dot segments do not reach the application';
    is pairs($h->get('//x'))->{REQUEST_URI}, '//x', 'slashes do';
    is pairs($h->get('/rewritten/a%20b?c=d'))->{REQUEST_URI}, '/to/a%20b?by=us&c=d', 'mod_rewrite is obeyed';
}

sub subrequests {
    my ($h) = @_;
    like $h->get('/s.shtml')->body, qr/^\[.*REQUEST_URI=\/ssi\?a=b\n.*\]$/s, 'an include';
    my $r = $h->post('/s.shtml', 'abc');
    like $r->body, qr/REQUEST_METHOD=GET\n.*BODY=0 /s, '... never gets the body';
}

sub sources {
    my ($h) = @_;
    unlike $h->get('/config.ru', Host => 'open.test')->body, qr/secret/, 'the source of an application is no static file';
    $h->expect_log('PSG1710', 'what to do about it');
    is $h->get('/here.txt', Host => 'open.test')->body, 'here', '... others are';
    mkdir "$h->{root}/closed", 0700;
    mkdir "$h->{root}/closed/app";
    $h->allow_log('PSG0600', 'PSG2801');
    SKIP: {
        skip 'Apache runs as root or as us', 2 if $>;
        is $h->get('/x', Host => 'closed.test')->status, 500, 'a root that may not be looked into';
        like $h->expect_log('PSG0600'), qr{no search permission \(x\) on the folder \S+/closed: chmod a\+x}, '... is named';
    }
}

sub pauses {
    my ($h) = @_;
    my $c = $h->client;
    my $begin = time;
    $c->write_request('GET', '/pieces/3/500');
    $c->_more(time + 5) until $c->{in} =~ /\n1\n/;
    cmp_ok time - $begin, '<', 0.45, 'a piece reaches the client before the next is there';
    is $c->read_response('GET')->body, "1\n2\n3\n", '... and so do the others';
}
