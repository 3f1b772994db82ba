# A request's way to an application and its response's way back, on each MPM.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use Test::More;
use Time::HiRes qw(time);
use Harness;

for my $mpm (Harness->mpms) {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi', 'main');
    my $sub = $h->copy_app('wsgi', 'sub', owner => $h->app_user(1));
    my $raw = $h->copy_app('raw');
    publish($h, $app, $sub);
    $h->start(conf => config($h, $app, $sub, $raw));
    for my $part (qw(shapes bodies framing statics places targets headers_in keep_alive responses streams aborts app_errors raw_responses)) {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($h) };
    }
}
done_testing;

# How long a request is, is not a matter of opinion. Each is [first status, status of what the rest may be taken for].
sub framing {
    my ($h) = @_;
    my $next = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    my $post = sub { my ($fields, $body) = @_; "POST /x HTTP/1.1\r\nHost: localhost\r\n$fields\r\n\r\n" . ($body // "0\r\n\r\n") };
    my %refused = (
        (map { ("Transfer-Encoding: $_" => $post->("Transfer-Encoding: $_")) } 'gzip, chunked', 'chunked, gzip', 'xchunked', "chunked\r\nTransfer-Encoding: identity", "\x0bchunked"),
        (map { ("Content-Length: $_" => $post->("Content-Length: $_", 'x' x 5)) } '+5', '0x5', '', '5,5', "5\r\nContent-Length: 6", '9' x 20, '-1', '5 5'),
        (map { ("chunk $_" => $post->('Transfer-Encoding: chunked', "$_\r\nhello\r\n0\r\n\r\n")) } '+5', '0x5', 'F' x 17, '5 5', 'g'),
        'no end of a chunk' => $post->('Transfer-Encoding: chunked', "5\r\nhelloworld\r\n0\r\n\r\n"),
        'HTTP/1.11' => "GET /x HTTP/1.11\r\nHost: localhost\r\n\r\n", 'bare LF' => "GET /x HTTP/1.1\nHost: localhost\n\n",
    );
    for my $name (sort keys %refused) {
        my $c = $h->client;
        $c->send($refused{$name} . $next);
        my $r = $c->read_response('POST');
        like $r->status, qr/^(?:400|413|501)$/, "refused: $name" or diag $r->head;
        ok $c->closed, '... and the connection is closed' or diag $c->{in};
    }
    my $c = $h->client;
    $c->send($post->("Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG"));
    my $r = $c->read_response('POST');
    is $r->json->{length}, 0, 'chunks win over a length';
    ok $c->closed, '... and the connection is closed';
    is $h->client->ask('POST', '/x', body => "5;a=b\r\nhello\r\n0\r\n\r\n", 'Transfer-Encoding' => 'chunked')->json->{length}, 5, 'an extension of a chunk';
    for my $end ("5\r\nhel", "5\r\nhello\r\n") {
        $c = $h->client;
        $c->send($post->('Transfer-Encoding: chunked', $end));
        $c->shutdown;
        isnt $c->read_response('POST')->status, 200, 'chunks that end early are no request';
    }
}

# Files that Apache serves by itself.
sub publish {
    my ($h, $app, $sub) = @_;
    mkdir "$app/public/dir";
    mkdir "$app/public/empty";
    mkdir "$app/public/noslash";
    spew("$app/public/style.css", 'css');
    spew("$app/public/cached.html", 'from the page cache');
    spew("$app/public/dir/index.html", 'index of dir');
    spew("$app/public/noslash/index.html", 'index of noslash');
    spew("$app/public/with space.txt", 'space');
    spew("$app/secret.txt", 'secret');
    symlink "$sub/public", "$app/public/linked";
}

sub config {
    my ($h, $app, $sub, $raw) = @_;
    return <<"END";
PassengerMaxPoolSize 10
PassengerMaxInstances 1
<VirtualHost *>
    ServerName localhost
    DocumentRoot $app/public
    Options +FollowSymLinks
    Alias /aliased $sub/public
    <Location /aliased>
        PassengerBaseURI /aliased
        PassengerAppRoot $sub
        PassengerAppGroupName aliased
    </Location>
    PassengerBaseURI /linked
    <Location /linked>
        PassengerAppRoot $sub
    </Location>
    <Location /noslash>
        DirectorySlash Off
    </Location>
    <Location /off>
        PassengerEnabled off
    </Location>
    <Location /environment>
        SetEnv FROM_APACHE yes
        SetEnv PATH_INFO wrong
        SetEnv REMOTE_USER mallory
    </Location>
    RewriteEngine on
    RewriteRule ^/rewritten/(.*)\$ /target/\$1 [PT]
    RewriteRule ^/forbidden - [F]
    <Location /hop>
        RequestHeader set X-Admin of-apache
        RequestHeader append X-Both of-apache
        RequestHeader add X-Two of-apache
        SetEnv HTTP_X_MINE of-apache
    </Location>
    <Location /page>
        Require all denied
        ErrorDocument 403 /error/page?a=b
    </Location>
    RewriteRule ^/moved http://localhost/there [R=302]
</VirtualHost>
<VirtualHost *>
    ServerName raw.test
    DocumentRoot $raw/public
</VirtualHost>
END
}

sub environ { my ($r) = @_; $r->json->{environ} // {} }

sub shapes {
    my ($h) = @_;
    my $r = $h->get('/some/path?a=1&b=%20');
    is $r->status, 200, 'GET' or diag $h->log_text;
    my $got = $r->json;
    my $e = environ($r);
    my %want = (
        REQUEST_METHOD => 'GET', PATH_INFO => '/some/path', SCRIPT_NAME => '', QUERY_STRING => 'a=1&b=%20', REQUEST_URI => '/some/path?a=1&b=%20',
        SERVER_PROTOCOL => 'HTTP/1.1', SERVER_NAME => 'localhost', REMOTE_ADDR => '127.0.0.1', HTTP_HOST => 'localhost', 'wsgi.url_scheme' => 'http',
    );
    is $e->{$_}, $want{$_}, $_ for sort keys %want;
    is $e->{SERVER_PORT}, 80, 'SERVER_PORT is what Host implies';
    is environ($h->get('/', Host => "localhost:$h->{port}"))->{SERVER_PORT}, $h->{port}, '... or says';
    ok !defined $e->{HTTPS}, 'no HTTPS on a plain connection';
    is $got->{length}, 0, 'no body';
    # Fields that Connection names end here, as with mod_proxy, but neither those of Apache's configuration nor those that tell who asks.
    my @named = ('X-Mine' => 'mine', 'X-Admin' => 'mine', 'X-Both' => 'mine', 'X-Two' => 'mine', 'X-Forwarded-For' => '192.0.2.1', Authorization => 'Basic eA==', 'X-Other' => 'mine');
    $e = environ($h->get('/hop', @named, Connection => 'close, x-mine , X-Admin,X-Both,X-Two, X-Forwarded-For, Authorization,Host'));
    is_deeply { map { $_ => $e->{"HTTP_$_"} } qw(X_ADMIN X_BOTH X_TWO X_FORWARDED_FOR X_OTHER HOST CONNECTION) }, { X_ADMIN => 'of-apache', X_BOTH => 'mine, of-apache',
        X_TWO => 'of-apache', X_FORWARDED_FOR => '192.0.2.1', X_OTHER => 'mine', HOST => 'localhost', CONNECTION => undef }, 'of the fields that Connection names those of others stay';
    is $e->{HTTP_X_MINE}, undef, '... and the client\'s own does not, nor does SetEnv speak for it';
    $e = environ($h->get('/rewritten/x', 'X-Mine' => 'mine', Connection => 'close, X-Mine'));
    is_deeply [@$e{qw(PATH_INFO HTTP_X_MINE)}], ['/target/x', undef], '... after a rewrite, too';
    unless ($>) {
        is getpwuid($got->{uid}), $h->app_user, 'runs as the owner';
        isnt $got->{gid}, 0, 'not with group 0';
        ok !grep({ $_ == 0 } @{ $got->{groups} }), 'nor with it as one of its groups';
    }

    my $head = $h->ask('HEAD', '/big?n=12345');
    is $head->status, 200, 'HEAD';
    is $head->header('Content-Length'), 12345, '... has the length';
    is $h->request("HEAD /big?n=100 HTTP/1.0\r\n\r\n") =~ s/.*?\r\n\r\n//sr, '', '... and no body';

    for my $method (qw(POST PUT PATCH DELETE OPTIONS PROPFIND FOO get)) {
        my $r = $h->ask($method, '/x', $method =~ /POST|PUT|PATCH|FOO/ ? (body => "body of $method") : ());
        is environ($r)->{REQUEST_METHOD}, $method, $method or diag $r->head, $r->body;
        is $r->json->{length}, length "body of $method", "$method: body" if $method =~ /POST|PUT|PATCH|FOO/;
    }
    my $old = $h->request("GET /old HTTP/1.0\r\nHost: localhost\r\n\r\n");
    like $old, qr{^HTTP/1\.1 200}, 'HTTP/1.0';
    unlike $old, qr/Transfer-Encoding/i, '... without chunks';
}

sub bodies {
    my ($h) = @_;
    my %type = ('Content-Type' => 'application/x-www-form-urlencoded');
    my $r = $h->post('/form', 'a=b', %type);
    is environ($r)->{CONTENT_TYPE}, $type{'Content-Type'}, 'CONTENT_TYPE';
    is environ($r)->{CONTENT_LENGTH}, 3, 'CONTENT_LENGTH';
    ok !exists environ($r)->{"HTTP_$_"}, "no HTTP_$_" for qw(CONTENT_TYPE CONTENT_LENGTH);
    is $r->json->{sha1}, sha1_hex('a=b'), 'a small body';

    is $h->post('/empty', '')->json->{length}, 0, 'an empty body';
    for my $size (8191, 8192, 65536, 131072, 131073, 5 << 20) {
        my $body = join '', map { chr(($_ * 7 + $size) % 256) } 1 .. 8191;
        $body = substr $body x ($size / length($body) + 1), 0, $size;
        my $r = $h->post('/upload', $body, 'Content-Type' => 'application/octet-stream');
        is $r->json->{sha1}, sha1_hex($body), "a body of $size bytes";
    }

    my $chunked = join '', map { sprintf "%x;ext=1\r\n%s\r\n", length, $_ } 'one', 'two' x 3000, 'three';
    $r = $h->post('/chunked', $chunked . "0\r\nX-Auth-User: trailer\r\n\r\n", 'Transfer-Encoding' => 'chunked');
    is $r->json->{sha1}, sha1_hex('one' . 'two' x 3000 . 'three'), 'a chunked body arrives without chunks';
    ok !exists environ($r)->{HTTP_X_AUTH_USER}, 'a trailer is no header';
    ok !exists environ($r)->{CONTENT_LENGTH} || environ($r)->{CONTENT_LENGTH} =~ /^(|9008)$/, '... with a true length, if any';

    my $c = $h->client;
    $c->write_request('POST', '/continue', Expect => '100-continue', 'Content-Length' => 5);
    my $interim = $c->read_response('POST', interim => 1);
    is $interim->status, 100, '100 Continue comes before the body';
    $c->send('hello');
    $r = $c->read_response('POST');
    is $r->json->{sha1}, sha1_hex('hello'), '... which then arrives';
    is $c->get('/after')->status, 200, '... and the connection goes on';

    # The body comes in pieces, slowly, and the request is whole.
    $c = $h->client;
    $c->write_request('POST', '/pieces', 'Content-Length' => 10);
    for my $piece (qw(ab cde f ghij)) { select undef, undef, undef, 0.05; $c->send($piece) }
    is $c->read_response('POST')->json->{sha1}, sha1_hex('abcdefghij'), 'a body in pieces';

    # A client that goes in the middle of its body leaves nothing behind.
    $c = $h->client;
    $c->write_request('POST', '/gone', 'Content-Length' => 100000);
    $c->send('x' x 1000);
    $c->close;
    is $h->get('/alive')->status, 200, 'a client that goes in the middle of its body';
}

sub statics {
    my ($h) = @_;
    $h->allow_log(qr{AH10244: invalid URI path \(/(?:\.\.|%2e%2e)/secret});
    my $count = $h->get('/count')->json->{count};
    my $r = $h->get('/style.css');
    is $r->body, 'css', 'a file in public';
    is $r->header('Content-Type'), 'text/css', '... has its type';
    ok $r->header('ETag') || $r->header('Last-Modified'), '... and comes from Apache';
    is $h->ask('HEAD', '/style.css')->header('Content-Length'), 3, '... HEAD too';
    is $h->get('/with%20space.txt')->body, 'space', 'a file with a blank in its name';
    is $h->get('/cached.html')->body, 'from the page cache', 'a page';
    is $h->get('/cached')->body, 'from the page cache', '... without .html';
    is environ($h->post('/cached', 'x'))->{PATH_INFO}, '/cached', '... but a POST is for the application';
    is $h->get('/dir/')->body, 'index of dir', 'a folder with an index';
    is $h->get('/dir')->status, 301, '... is redirected to its slash';
    is environ($h->post('/dir', 'x'))->{PATH_INFO}, '/dir', '... but a POST is for the application';
    is environ($h->get('/noslash'))->{PATH_INFO}, '/noslash', 'so is a folder with DirectorySlash Off';
    is $h->get('/noslash/')->body, 'index of noslash', '... whose index is there all the same';
    is environ($h->get('/empty'))->{PATH_INFO}, '/empty', 'a folder without an index is for the application, not redirected';
    is environ($h->get('/empty/'))->{PATH_INFO}, '/empty/', '... nor listed';
    is environ($h->get('/'))->{PATH_INFO}, '/', 'so is the root';
    is environ($h->get('/none.css'))->{PATH_INFO}, '/none.css', 'a file that is not there is for the application';
    unlike $h->request("GET /../secret.txt HTTP/1.0\r\nHost: localhost\r\n\r\n"), qr/secret$/, 'nothing outside public is served';
    unlike $h->get('/%2e%2e/secret.txt')->body, qr/^secret$/, '... encoded neither';
    is $h->get('/count')->json->{count}, $count + 8, 'the application was asked for the rest only';
}

sub places {
    my ($h) = @_;
    my %place = ('/aliased' => '/aliased', '/linked' => '/linked');
    for my $base (sort keys %place) {
        for my $path ('', '/', '/a/b', '/a%20b') {
            my $r = $h->get("$base$path?q");
            my $e = environ($r);
            is $e->{SCRIPT_NAME}, $base, "$base$path: SCRIPT_NAME" or diag $r->head, $r->body;
            is $e->{PATH_INFO}, $path =~ s/%20/ /r || '/', "$base$path: PATH_INFO";
            like $r->json->{cwd}, qr{/apps/sub$}, "$base$path: the other application";
        }
    }
    is environ($h->get('/aliasedx'))->{SCRIPT_NAME}, '', 'a longer name is not below it';
    my ($one, $two) = map { $h->get($_)->json } '/aliased/x', '/x';
    isnt $one->{pid}, $two->{pid}, 'applications have their own processes';
    isnt $one->{uid}, $two->{uid}, '... and users' unless $>;

    is $h->get('/off/x')->status, 404, 'PassengerEnabled off';
    is environ($h->get('/rewritten/a?b=c'))->{PATH_INFO}, '/target/a', 'mod_rewrite chooses the path';
    is $h->get('/forbidden')->status, 403, '... may forbid';
    is $h->get('/moved')->header('Location'), 'http://localhost/there', '... and redirect';

    $h->allow_log(qr/AH01630: client denied by server configuration: \S+\/page\b/);
    my $c = $h->client;
    for my $size (0, 3, 200_000) {
        my $r = $c->ask('POST', '/page', body => 'x' x $size);
        is $r->status, 403, "an error with a page of the application (body of $size)";
        is environ($r)->{PATH_INFO}, '/error/page', '... which is asked for it' or diag $r->body;
        is environ($r)->{REQUEST_URI}, '/error/page?a=b', '... and sees its own URI';
        is environ($r)->{REDIRECT_STATUS}, 403, '... and why';
        is environ($r)->{REQUEST_METHOD}, 'GET', '... as a GET';
        is $r->json->{length}, $size, '... with the body, which nobody else has read';
        is environ($c->get('/next'))->{PATH_INFO}, '/next', '... and the connection goes on';
    }

    my $e = environ($h->get('/environment'));
    is $e->{FROM_APACHE}, 'yes', 'SetEnv arrives';
    is $e->{PATH_INFO}, '/environment', '... and replaces nothing that the server computed';
}

# What is sent as request target, and what the application sees of it.
sub targets {
    my ($h) = @_;
    my %path = ('/a%3fb' => '/a?b', '/a%23b' => '/a#b', '/%252e' => '/%2e', '/a%20b' => '/a b', '/%e4%f6' => "/\xe4\xf6", '/x//y' => undef,
        '/%0d%0aX:y' => "/\r\nX:y", '/a;b=c' => '/a;b=c', '/a+b' => '/a+b');
    for my $target (sort keys %path) {
        my $e = environ($h->get($target));
        is $e->{REQUEST_URI}, $target, "$target is passed on as it was sent";
        is $e->{PATH_INFO}, $path{$target}, '... and decoded once' if defined $path{$target};
    }
    is $h->get('/a%2fb')->status, 404, '%2f is refused without AllowEncodedSlashes';
    is $h->get('/%00')->status, 404, 'so is %00';
    is environ($h->get('/q?%00%0a=%zz'))->{QUERY_STRING}, '%00%0a=%zz', 'the query stays as it was';
    my $long = ('/' . 'a' x 200) x 18; # Apache asks the file system for it, which has limits
    is environ($h->get($long))->{PATH_INFO}, $long, 'a long path';
    is environ($h->get('http://localhost/absolute?x'))->{PATH_INFO}, '/absolute', 'an absolute target';
}

sub headers_in {
    my ($h) = @_;
    my @odd = ('X_Auth_User: evil', 'X.Auth.User: evil', 'X!Auth-User: evil', 'X-Auth_User: evil', 'Content_Length: 7', "X-Gr\xfc\xdfe: evil");
    for my $fields ([@odd, 'X-Auth-User: good'], ['X-Auth-User: good', @odd]) {
        my $r = $h->request("GET /h01 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" . join('', map { "$_\r\n" } @$fields) . "\r\n");
        if ($r =~ m{^HTTP/1.1 200}) {
            like $r, qr/"HTTP_X_AUTH_USER": "good"/, 'a header whose name is safe arrives';
            unlike $r, qr/evil/, '... and no other can look like it';
        } else {
            like $r, qr{^HTTP/1.1 400}, 'odd names are refused by Apache';
        }
    }
    # Apache refuses some of these names itself; one at a time shows what becomes of the others.
    for my $field (@odd) {
        my $r = $h->request("GET /h01 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Auth-User: good\r\n$field\r\n\r\n");
        ok $r =~ m{^HTTP/1.1 400} || ($r =~ /"HTTP_X_AUTH_USER": "good"/ && $r !~ /evil/ && $r !~ /"CONTENT_LENGTH": "7"/), "not passed on: $field"
            or diag $r;
    }

    my $e = environ($h->get('/h02', Proxy => 'http://evil', 'Script-Name' => '/s', 'Path-Info' => '/p', 'Remote-User' => 'u', Https => 'on',
        'Document-Root' => '/d', 'X-Forwarded-For' => '1.2.3.4', 'X-Sendfile-Type' => 'X-Accel-Redirect', 'X-Accel-Mapping' => '/=/', 'X-Forwarded-Proto' => 'https'));
    ok !exists $e->{HTTP_PROXY}, 'Proxy is dropped';
    is $e->{HTTP_SCRIPT_NAME}, '/s', 'a header named like a variable is a header';
    is $e->{SCRIPT_NAME}, '', '... and not the variable';
    is $e->{PATH_INFO}, '/h02', '... nor is Path-Info';
    is $e->{REMOTE_USER}, undef, '... nor Remote-User';
    is $e->{REMOTE_ADDR}, '127.0.0.1', 'the address is the connection\'s';
    is $e->{HTTP_X_FORWARDED_FOR}, '1.2.3.4', 'X-Forwarded-For is passed on';
    is $e->{'wsgi.url_scheme'}, 'http', 'the scheme is the connection\'s';
    ok !exists $e->{$_}, "$_ is dropped" for qw(HTTP_X_SENDFILE_TYPE HTTP_X_ACCEL_MAPPING);

    $e = environ($h->get('/h05', Connection => 'close, X-Named, Content-Length, X-Forwarded-For', 'X-Named' => 'n', 'X-Kept' => 'k'));
    is $e->{HTTP_X_KEPT}, 'k', 'Connection names no other header away';
    ok !exists $e->{$_}, "no $_" for qw(HTTP_TRANSFER_ENCODING HTTP_KEEP_ALIVE);
    is environ($h->get('/h11', 'X-Latin' => "\xe4\xf6"))->{HTTP_X_LATIN}, "\xe4\xf6", 'bytes above ASCII';
    is environ($h->get('/h11', 'X-Long' => 'v' x 8000))->{HTTP_X_LONG}, 'v' x 8000, 'a long value';
    is environ($h->get('/h11', 'X-Empty' => ''))->{HTTP_X_EMPTY}, '', 'an empty value';

    my $twice = $h->request("GET /twice HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Two: a\r\nX-Two: b\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n");
    like $twice, qr/"HTTP_X_TWO": "a, ?b"/, 'a repeated header is one';
    like $twice, qr/"HTTP_COOKIE": "a=1[;,] b=2"/, 'cookies too';
}

sub keep_alive {
    my ($h) = @_;
    my $c = $h->client;
    my %pid;
    for my $i (1 .. 100) {
        my $r = $i % 3 ? $c->get("/ka/$i") : $c->ask('POST', "/ka/$i", body => 'x' x $i);
        is environ($r)->{PATH_INFO}, "/ka/$i", "request $i on one connection";
        $pid{ $r->json->{pid} }++;
    }
    is scalar(keys %pid), 1, 'one process served them';

    $c = $h->client;
    $c->send(join '', map { "GET /pipelined/$_ HTTP/1.1\r\nHost: localhost\r\n\r\n" } 1 .. 5);
    is environ($c->read_response('GET'))->{PATH_INFO}, "/pipelined/$_", "pipelined $_" for 1 .. 5;

    # Apache ends a connection with 400, 500 and 503, whoever said it; other errors end none.
    $h->allow_log(qr/PSG01(?:02|50)\b.*\/apps\/main\b/);
    for my $error (qw(/crash=500 /status?s=503+Busy=503 /status?s=400+Bad=400)) {
        my ($path, $status) = $error =~ /(.*)=(.*)/;
        my $r = $c->get($path);
        is $r->status, $status, "$path is a $status";
        is $r->header('Connection'), 'close', '... that says that it is the last';
        ok $c->closed, '... and is';
        $c = $h->client;
    }
    for my $error (qw(/die=502 /status?s=404+None=404 /%2f=404 /forbidden=403)) {
        my ($path, $status) = $error =~ /(.*)=(.*)/;
        is $c->get($path)->status, $status, "$path is a $status";
        is environ($c->get('/next'))->{PATH_INFO}, '/next', '... and the connection goes on';
    }
    is $c->ask('POST', '/status?s=404+None', body => 'x' x 200_000)->status, 404, 'an error and an upload that was not read';
    is environ($c->get('/next'))->{PATH_INFO}, '/next', '... and the connection goes on';

    # A body that the application does not read must not become a request.
    $c = $h->client;
    my $smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    $c->write_request('POST', '/status?s=413+Too+Large', body => $smuggled);
    is $c->read_response('POST')->status, 413, 'an early answer';
    $c->write_request('GET', '/next', Connection => 'close');
    my $r = eval { $c->read_response('GET') };
    ok !$r || $r->error || environ($r)->{PATH_INFO} eq '/next', '... and its body is no request';
}

sub responses {
    my ($h) = @_;
    for my $status ('201 Created', '404 Gone away', '418 I am a teapot', '500 Broken', '599 Own') {
        my $r = $h->get('/status?s=' . $status =~ tr/ /+/r);
        is "$r->{status} $r->{reason}", $status, "status $status";
        is $r->body, "status\n", '... with the application\'s body';
    }
    my $c = $h->client;
    for my $status ('204 No Content', '304 Not Modified', '205 Reset Content') {
        my $r = $c->get('/bare?s=' . $status =~ tr/ /+/r);
        is $r->status, substr($status, 0, 3), $status;
        is $r->body, '', '... without a body';
    }
    is $c->get('/after')->status, 200, '... and the connection goes on';

    my $r = $h->get('/headers?h=Set-Cookie:a=1&h=Set-Cookie:b=2&h=X-One:1&h=WWW-Authenticate:Basic+realm=x,+Digest+y=z&h=WWW-Authenticate:Other');
    is join('|', $r->headers('Set-Cookie')), 'a=1|b=2', 'cookies stay apart';
    is join('|', $r->headers('WWW-Authenticate')), 'Basic realm=x, Digest y=z|Other', 'so does every other header';
    is scalar(my @all = $r->headers('X-One')), 1, 'one is one';
    is scalar(@all = $r->headers('Date')), 1, 'one Date';
    is scalar(@all = $r->headers('Server')), 1, 'one Server';
    is $h->get('/headers?h=' . join '&h=', map { "Set-Cookie:c$_=1" } 1 .. 40)->headers('Set-Cookie'), 40, 'forty cookies';
    for my $local ('X-Sendfile:/etc/passwd', 'X-Accel-Redirect:/style.css', 'Location:/style.css') {
        my $r = $h->get("/headers?h=$local");
        is $r->body, "headers\n", "$local serves no local file";
    }
    my $size = 3 << 20;
    $r = $h->get("/big?n=$size");
    ok $r->complete && length $r->body == $size, 'a large response';
    ok $r->{framed} eq 'length', '... has its length';
}

sub streams {
    my ($h) = @_;
    my $r = $h->get('/stream?n=5&size=10');
    is $r->body, join('', map { $_ x 10 } 0 .. 4), 'a response of unknown length';
    ok $r->complete && $r->{framed} ne 'close', '... ends as its framing says'; # what httpd sees all at once it counts
    $r = $h->get('/stream?n=300&size=10000');
    is length $r->body, 3_000_000, 'a large one';
    ok $r->complete && $r->{framed} eq 'chunked', '... ends with its last chunk';

    my $c = $h->client;
    my $begin = time;
    $c->write_request('GET', '/stream?n=3&size=5&wait=0.6');
    $c->_more(time + 5) until $c->{in} =~ /00000/;
    cmp_ok time - $begin, '<', 0.6, 'the first block does not wait for the next';
    is $c->read_response('GET')->body, '000001111122222', '... and the rest follows';

    is $h->request("GET /stream?n=3&size=5 HTTP/1.0\r\nHost: localhost\r\n\r\n") =~ s/.*?\r\n\r\n//sr, '000001111122222', 'to an old client until the end';

    # The process is free when it has said all, however slow the client is.
    my $sum = sha1_hex(join '', map { ($_ % 10) x 100_000 } 0 .. 299);
    for my $n (1 .. 3) {
        $c = $h->client;
        $c->write_request('GET', '/stream?n=300&size=100000');
        $begin = time;
        is $h->get('/x')->status, 200, 'a client that reads nothing keeps no process';
        cmp_ok time - $begin, '<', 5, '... for long';
        $r = $c->read_response('GET');
        ok $r->complete && sha1_hex($r->body) eq $sum, '... and gets everything when it reads';
    }
}

sub app_errors {
    my ($h) = @_;
    $h->allow_log($_) for qw(PSG0102 PSG0150 PSG0156 PSG0688);
    my $r = $h->get('/crash');
    is $r->status, 500, 'an exception is a 500';
    unlike $r->body, qr/Traceback|RuntimeError|passenger_wsgi/, '... that tells nothing';
    soon { $h->log_text =~ /App \d+ output: .*RuntimeError: crashed, as it was told/ } 'the log has the traceback';

    $r = $h->get('/stream?n=5&size=1000&fail=2');
    ok $r->status == 502 || !$r->complete, 'an exception in the middle of a body looks broken';
    my $c = $h->client;
    $c->write_request('GET', '/stream?n=5&size=1000&wait=0.2&fail=1');
    $c->_more(time + 5) until $c->{in} =~ /0{1000}/ || $c->{eof};
    is $c->read_response('GET')->error, 'truncated', '... to a client that has a piece of it, too';

    $h->get("/log?text=hello%1b[31mred");
    my $line = wait_for { (grep { /App \d+ output: hello/ } split /\n/, $h->log_text)[0] } 'the application\'s line in the log';
    unlike $line, qr/\x1b/, 'control characters are escaped';

    my $pid = $h->get('/pid')->json->{pid};
    $r = $h->get('/die');
    is $r->status, 502, 'a process that dies in a request is a 502';
    $r = $h->get('/pid');
    is $r->status, 200, '... and is replaced';
    isnt $r->json->{pid}, $pid, '... by another';
}

# Clients that leave cost nobody anything: their responses stop, their places in the queue are free, the process serves others.
sub aborts {
    my ($h) = @_;
    my $pid = $h->get('/x')->json->{pid};
    $h->baseline;
    for my $path ('/big?n=50000000', '/stream?n=1000&size=100000', '/stream?n=100&size=5&wait=0.05', '/stream?n=2&size=5&wait=0.3') {
        my $c = $h->client;
        $c->write_request('GET', $path);
        $c->_more(time + 5);
        $c->close;
        my $begin = time;
        is $h->get('/x')->json->{pid}, $pid, "a client that goes in the middle of $path";
        cmp_ok time - $begin, '<', 2, '... is no hindrance';
    }
    my $count = $h->get('/x')->json->{count};
    my @clients = map { $h->client } 1 .. 5;
    my $slow = () = $h->log_text =~ /output: slow begins/g;
    for my $c (@clients) {
        $c->write_request('GET', '/slow?s=0.5');
        wait_for { (() = $h->log_text =~ /output: slow begins/g) > $slow } 'the first to be served' if $c == $clients[0];
    }
    $_->close for @clients;
    is $h->get('/x')->json->{count}, $count + 2, 'of clients that leave the queue nothing reaches the application';
    for my $n (0, 1000, 200_000) {
        my $c = $h->client;
        $c->write_request('POST', '/x', 'Content-Length' => 500_000);
        $c->send('x' x $n);
        $c->close;
    }
    is $h->get('/x')->json->{count}, $count + 3, '... nor of those that leave an upload';
    $h->check_baseline(1);
}

# The application's bytes, one order at a time.
sub raw {
    my ($h, $orders, $method, %field) = @_;
    my $query = join '&', map { my ($name, $value) = split /=/, $_, 2; defined $value ? "$name=" . escape($value) : $name } @$orders;
    return $h->ask($method // 'GET', "/raw?$query", Host => 'raw.test', %field);
}
sub escape { my ($bytes) = @_; $bytes =~ s/([^A-Za-z0-9.,:\/-])/sprintf '%%%02X', ord $1/ger }

sub raw_responses {
    my ($h) = @_;
    $h->allow_log($_) for qw(PSG0102 PSG0150 PSG0151 PSG0152 PSG0156 PSG0688);
    my $ok = "HTTP/1.1 200 OK\r\n";
    is raw($h, ["send=${ok}Content-Length: 5\r\n\r\nhello"])->body, 'hello', 'a plain response';
    is raw($h, ["send=${ok}Content-Length: 5\n\nhello" =~ s/\r//gr])->body, 'hello', 'line ends without CR';
    is raw($h, ["send=$ok", 'wait=0.05', 'send=Content-Le', 'wait=0.05', "send=ngth: 5\r\n\r\nhe", 'wait=0.05', 'send=llo'])->body, 'hello', 'in pieces';
    is raw($h, ["send=${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"])->body, 'hello', 'chunked';
    for my $case (['Content-Length: 5', 'he', 'llo', 206, 'ell'], ['Transfer-Encoding: chunked', "2\r\nhe\r\n", "3\r\nllo\r\n0\r\n\r\n", 206, 'ell'],
        ['Content-Length: 60002', 'he', 'x', 200, 'he' . 'x' x 60_000, 60_000]) {
        my ($framing, $first, $rest, $status, $body, $times) = @$case;
        for my $wait (0, 0.05) {
            my $r = raw($h, ["send=$ok$framing\r\n\r\n$first", "wait=$wait", 'times=' . ($times // 1), "send=$rest"], 'GET', Range => 'bytes=1-3');
            ok $r->status == $status && $r->body eq $body && $r->complete, "a range of $framing, $wait s between its parts" or diag $r->status, ' ', length $r->body;
        }
    }
    is raw($h, ["send=${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", 'wait=0.05', "send=0\r\n\r\n"], 'GET', Range => 'bytes=0-')->status, 200,
        '... but a stream that somebody plays does not wait';
    is raw($h, ["send=${ok}\r\nhello", 'close'])->body, 'hello', 'until the end of the connection';
    is raw($h, ["send=HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${ok}Content-Length: 5\r\n\r\nhello"])->body, 'hello', '103 is not the response';

    my $r = raw($h, ["send=${ok}Connection: keep-alive, X-Hop, Set-Cookie\r\nX-Hop: 1\r\nSet-Cookie: a=b\r\nX-End: 2\r\nContent-Length: 5\r\n\r\nhello"]);
    is_deeply [ map { scalar $r->header($_) } qw(X-Hop Set-Cookie X-End) ], [undef, 'a=b', 2], 'a field that Connection names ends here, but no cookie';
    is $r->body, 'hello', '... and the body is whole';

    # Never a response.
    my %garbage = (
        'CR in a value' => "${ok}A: b\rc\r\n\r\n", 'NUL in a value' => "${ok}A: b\0c\r\n\r\n", '0x01 in a value' => "${ok}A: \1\r\n\r\n",
        'a folded value' => "${ok}A: b\r\n c\r\n\r\n", 'a blank in a name' => "${ok}A b: c\r\n\r\n", 'no name' => "${ok}: c\r\n\r\n",
        'length and chunks' => "${ok}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        'gzip, chunked' => "${ok}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 'two lengths' => "${ok}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        'length -1' => "${ok}Content-Length: -1\r\n\r\n", 'length 1,2' => "${ok}Content-Length: 1,2\r\n\r\n", 'length abc' => "${ok}Content-Length: abc\r\n\r\n",
        'status 99' => "HTTP/1.1 99 Low\r\n\r\n", 'status 600' => "HTTP/1.1 600 High\r\n\r\n", 'no status' => "HTTP/1.1\r\n\r\n", 'HTML' => "<html>hello</html>\n",
        'another protocol' => "220 smtp ready\r\n\r\n", 'HTTP/2' => "HTTP/2 200\r\n\r\n", 'nothing' => '',
    );
    for my $name (sort keys %garbage) {
        my $r = raw($h, ["send=$garbage{$name}", 'close']);
        is $r->status, 502, "$name is a 502";
        unlike $r->head, qr/^(?:A|A b):/m, '... with nothing of it on the wire' if $garbage{$name} =~ /^HTTP.*\nA/;
    }

    # What ends early looks broken; if nothing has been sent to the client yet, there is a better answer.
    my $broken = sub { my ($r) = @_; $r->status == 502 || !$r->complete };
    my $begin = time;
    $r = raw($h, ["send=${ok}Content-Length: 1000\r\n\r\nhello", 'close']);
    ok $broken->($r), 'a body that is too short is broken';
    cmp_ok time - $begin, '<', 2, '... at once';
    for my $end (['close'], ['reset']) {
        $r = raw($h, ["send=${ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", @$end]);
        ok $broken->($r), "chunks without a last one (@$end) are broken";
        $r = raw($h, ["send=${ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhe", @$end]);
        ok $broken->($r), "half a chunk (@$end) is broken";
    }
    $r = raw($h, ["send=${ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 'wait=0.2', 'kill']);
    ok !$r->complete, 'chunks of a process that is killed are broken';
    $r = raw($h, ["send=${ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", 'close']);
    ok $broken->($r), 'a chunk with a wrong size is broken';

    # What is too much goes no further, and nowhere else.
    is raw($h, ["send=${ok}Content-Length: 5\r\n\r\nhello, world"])->body, 'hello', 'a body that is too long is cut';
    is raw($h, ["send=${ok}Content-Length: 2\r\n\r\nok"])->body, 'ok', '... and its rest is in no other response';
    for my $status (204, 304) {
        my $c = $h->client;
        my $query = escape("HTTP/1.1 $status X\r\nContent-Length: 5\r\n\r\nhello");
        is $c->get("/raw?send=$query", Host => 'raw.test')->status, $status, "$status with a body";
        is $c->get('/raw?send=' . escape("${ok}Content-Length: 2\r\n\r\nok"), Host => 'raw.test')->body, 'ok', '... which is in no other response';
    }
    my $c = $h->client;
    is $c->ask('HEAD', '/raw?send=' . escape("${ok}Content-Length: 5\r\n\r\n"), Host => 'raw.test')->header('Content-Length'), 5, 'HEAD';
    is $c->get('/raw?send=' . escape("${ok}Content-Length: 2\r\n\r\nok"), Host => 'raw.test')->body, 'ok', '... and the next request';

    # Limits.
    is raw($h, ["send=${ok}Content-Length: 0\r\nA: ", 'times=60000', 'send=x', "send=\r\n\r\n"])->status, 200, 'a field of 60 kB';
    is raw($h, ["send=${ok}A: ", 'times=70000', 'send=x', "send=\r\n\r\n"])->status, 502, 'a field of 70 kB';
    is raw($h, ["send=${ok}Content-Length: 0\r\n", 'times=400', "send=A: b\r\n", "send=\r\n"])->status, 200, '400 fields';
    is raw($h, ["send=$ok", 'times=600', "send=A: b\r\n", "send=\r\n"])->status, 502, '600 fields';
    is raw($h, ["send=$ok", 'times=100000', "send=Aaaa: bbb\r\n"])->status, 502, 'a head without an end';

    # P12: an answer before the body was read.
    my $big = 'x' x (3 << 20);
    $r = raw($h, ['noread', "send=HTTP/1.1 413 Too large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig", 'close'], 'POST', body => $big);
    is $r->status, 413, 'an answer before the body was read';
    is raw($h, ["send=${ok}Content-Length: 2\r\n\r\nok"])->body, 'ok', 'it still works after all that';
}
