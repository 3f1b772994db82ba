# Apache's other modules find an application to be a handler like any other; and a server without applications does not notice us.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

my @modules = qw(asis auth_basic authn_file authz_user userdir vhost_alias remoteip socache_shmcb ssl include negotiation proxy proxy_http cache cache_socache status
    unique_id expires allowmethods security2);

my $source = <<'END';
import json, os
count = 0
def application(environ, start_response):
    global count
    count += 1
    path = environ["PATH_INFO"]
    status, headers = "200 OK", [("X-App", "1")]
    if path.startswith("/status/"):
        status = path[8:11] + " Said So"
    if environ["QUERY_STRING"].startswith("status="):
        status = environ["QUERY_STRING"][7:] + " Said So"
    if path.startswith("/cached"):
        headers.append(("Cache-Control", "max-age=60"))
    size = len(environ["wsgi.input"].read())
    body = json.dumps({"environ": {k: v for k, v in environ.items() if isinstance(v, str)}, "count": count, "size": size, "pid": os.getpid()}).encode()
    start_response(status, headers + [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
END

for my $mpm (Harness->mpms) {
    my $h = Harness->new(mpm => $mpm, modules => [@modules, $mpm eq 'prefork' ? () : 'http2']);
    my %file = files();
    my $app = $h->make_app('fit', { 'passenger_wsgi.py' => $source, map { ("public/$_" => $file{$_}) } keys %file });
    $h->make_app('virtual.test', { 'passenger_wsgi.py' => $source });
    my $home = $h->make_app('home', { 'passenger_wsgi.py' => $source, 'public_html/here.txt' => 'at home',
        'public_html/.htaccess' => "PassengerBaseURI /~home\nPassengerAppRoot $h->{root}/apps/home\n" });
    system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout $h->{root}/key -out $h->{root}/cert >/dev/null 2>&1") == 0 or die 'openssl';
    spew("$h->{root}/passwords", 'alice:{SHA}' . "5en6G6MezRroT3XKqkdPOmY/BfQ=\n"); # "secret"
    chmod 0644, "$h->{root}/passwords";
    @$h{qw(tls back)} = map { Harness::free_port() } 1, 2;
    $h->start(conf => config($h, $app));
    plain_requests($h, $mpm);
    others_win($h, $mpm);
    access($h, $mpm);
    errors($h, $mpm);
    filters($h, $mpm);
    transports($h, $mpm);
    $h->allow_log(qr/AH01630|AH01617|AH01618|AH01797|AH01276|AH00026|ModSecurity|AH01906|AH01909|AH10034|AH00124|AH01882|AH01873|AH01623/);
}
unnoticed($_) for Harness->mpms;
my $itk = $ENV{MPM_ITK} // '/usr/lib/apache2/modules/mpm_itk.so';
SKIP: {
    # Its package changes the MPM of the Apache that is installed, so no test asks for it.
    skip 'there is no mpm_itk', 1 unless -e $itk && !$> && grep { $_ eq 'prefork' } Harness->mpms;
    subtest 'mpm_itk' => sub { other_users($itk) };
}
done_testing;

# Processes of Apache that run as somebody else can't have applications, and say so.
sub other_users {
    my ($itk) = @_;
    my $h = Harness->new(mpm => 'prefork');
    my $app = $h->make_app('fit', { 'passenger_wsgi.py' => $source });
    my ($other) = $h->app_user(1);
    $h->start(conf => "LoadModule mpm_itk_module $itk\nDocumentRoot $app/public\n<VirtualHost *>\nServerName apache\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName other\nAssignUserId $other @{[ scalar getgrgid((getpwnam $other)[3]) ]}\n</VirtualHost>\n");
    is $h->get('/', Host => 'apache')->status, 200, 'a site without AssignUserId';
    is $h->get('/', Host => 'other')->status, 503, 'a site with it';
    $h->expect_log(qr/PSG0681: .*for Apache's User alone: leave AssignUserId/, 'what to do');
    $h->finish;
}

sub files {
    return (
        'static.txt' => "static\n", 'index.asis' => "Status: 200 As Is\nContent-Type: text/plain\n\nas it is\n", 'as-is.txt' => "Status: 200 As Is\nContent-Type: text/plain\n\nas it is\n", 'dir/index.html' => 'index of dir', 'list/one.txt' => 'one',
        'page.html.en' => 'in English', 'page.html.de' => 'auf deutsch', 'ssi.shtml' => '[<!--#include virtual="/included?x=1" -->][<!--#include virtual="/static.txt" -->]',
        'ht/.htaccess' => "RewriteEngine On\nRewriteRule ^blog/ /index.asis [L]\nRewriteRule ^app/(.*) /to/\$1?by=rule [QSA,L]\nRewriteRule ^file\$ /static.txt [L]\n",
        'ht/x.txt' => 'x', 'denied/x.txt' => 'x', 'multi/page.html.en' => 'multi',
    );
}

sub config {
    my ($h, $app) = @_;
    return <<"END";
PassengerMaxPoolSize 10
Listen 127.0.0.1:$h->{tls} https
Listen 127.0.0.1:$h->{back}
SSLSessionCache none
DocumentRoot $app/public
AddHandler send-as-is asis
AddLanguage en .en
AddLanguage de .de
TypesConfig /dev/null
AddType text/html .html .shtml
AddType text/plain .txt
UserDir $h->{root}/apps/*/public_html
CacheSocache shmcb
RemoteIPHeader X-Real-IP
RemoteIPInternalProxy 127.0.0.1
ProxyPass /proxied/no !
ProxyPass /proxied http://127.0.0.1:$h->{back}/static.txt
Alias /aliased $app/public/list
Redirect /old /new
Header set X-Ours yes
Header always set X-Always yes
RequestHeader set X-Told no-more
AddOutputFilterByType DEFLATE application/json
SecRuleEngine On
SecRule ARGS "\@contains evil" "id:1,phase:2,deny,status:406"
<Directory $app/public>
    AllowOverride All
    Options +Includes +MultiViews
    AddOutputFilter INCLUDES .shtml
    <Files *.refused>
        Require all denied
    </Files>
</Directory>
<Directory $h->{root}/apps/home/public_html>
    AllowOverride All
</Directory>
<Location /denied>
    Require all denied
</Location>
<Location /some>
    Require ip 192.0.2.9
</Location>
<Location /members>
    AuthType Basic
    AuthName members
    AuthUserFile $h->{root}/passwords
    Require valid-user
</Location>
<Location /readonly>
    AllowMethods GET HEAD
</Location>
Alias /mount $app/public/list
<Location /mount>
    PassengerBaseURI /mount
    PassengerAppRoot $app
</Location>
<Location /list>
    Options +Indexes
</Location>
<Location /list/plain>
    PassengerEnabled Off
</Location>
<Location /server-status>
    SetHandler server-status
</Location>
<Location /override>
    PassengerErrorOverride On
    ErrorDocument 404 "ours"
    ErrorDocument 503 /static.txt
</Location>
<Location /fails>
    Require all denied
    ErrorDocument 403 /error-page
</Location>
<Location /fails-200>
    Require all denied
    ErrorDocument 403 /status/410
</Location>
<Location /late>
    ExpiresActive On
    ExpiresDefault "access plus 1 hour"
</Location>
<Location /unzipped>
    SetInputFilter DEFLATE
</Location>
<If "%{QUERY_STRING} =~ /special/">
    Header set X-Special yes
    SetEnv SPECIAL yes
</If>
<If "%{QUERY_STRING} =~ /switched-off/">
    PassengerEnabled Off
</If>
<If "%{QUERY_STRING} =~ /refused/">
    Require all denied
</If>
<IfModule http2_module>
Protocols h2c h2 http/1.1
</IfModule>
<VirtualHost *>
ServerName localhost
RewriteEngine On
RewriteRule ^/s\$ /static.txt [L]
RewriteRule ^/pt/(.*)\$ /echo/\$1?by=pt [PT,QSA]
RewriteRule ^/forbidden - [F]
RewriteRule ^/p2\$ http://127.0.0.1:$h->{back}/static.txt [P]
RewriteRule ^/with-env - [E=FROM_RULE:yes]
RewriteRule ^/by-handler\$ /as-is.txt [PT,H=send-as-is]
</VirtualHost>
<VirtualHost *>
    ServerName virtual.test
    VirtualDocumentRoot $h->{root}/apps/%0/public
</VirtualHost>
<VirtualHost *>
    ServerName slashes
    AllowEncodedSlashes On
</VirtualHost>
<VirtualHost *>
    ServerName raw
    AllowEncodedSlashes NoDecode
    PassengerAllowEncodedSlashes On
</VirtualHost>
<VirtualHost *>
    ServerName undecoded
    AllowEncodedSlashes NoDecode
</VirtualHost>
<VirtualHost *>
    ServerName noindex
    DirectoryIndex disabled
</VirtualHost>
<VirtualHost *>
    ServerName caching
    CacheEnable socache /
    Header unset X-Ours
</VirtualHost>
<VirtualHost *:$h->{back}>
    PassengerEnabled Off
</VirtualHost>
<VirtualHost *:$h->{tls}>
    ServerName localhost
    SSLEngine On
    SSLCertificateFile $h->{root}/cert
    SSLCertificateKeyFile $h->{root}/key
    SSLOptions +StdEnvVars
</VirtualHost>
END
}

sub env { my ($r) = @_; my $facts = eval { $r->json }; return $facts ? $facts->{environ} : {} }

# Paths as the application sees them.
sub plain_requests {
    my ($h, $mpm) = @_;
    my $long = 'l' x 300;
    my @table = (
        ['/', 'localhost', PATH_INFO => '/'], ['/a/b?c=d', 'localhost', PATH_INFO => '/a/b', QUERY_STRING => 'c=d', REQUEST_URI => '/a/b?c=d'],
        ['/pt/x?y=z', 'localhost', PATH_INFO => '/echo/x', QUERY_STRING => 'by=pt&y=z', REQUEST_URI => '/echo/x?by=pt&y=z'],
        ['/ht/app/1?q', 'localhost', PATH_INFO => '/to/1', QUERY_STRING => 'by=rule&q'],
        ['/with-env', 'localhost', FROM_RULE => 'yes'], ['/list/', 'localhost', PATH_INFO => '/list/'], ['/list', 'localhost', PATH_INFO => '/list'],
        ['/~home/x', 'localhost', SCRIPT_NAME => '/~home', PATH_INFO => '/x'], ['/x', 'virtual.test', PATH_INFO => '/x', SERVER_NAME => 'virtual.test'],
        ['/a%2fb', 'slashes', PATH_INFO => '/a/b'], ['/a%2Fb?x', 'raw', REQUEST_URI => '/a%2Fb?x'], ['/nothing/', 'noindex', PATH_INFO => '/nothing/'],
        ['/list/', 'noindex', PATH_INFO => '/list/'], ['/proxied/no', 'localhost', PATH_INFO => '/proxied/no'], ['/x', 'localhost', HTTP_X_TOLD => 'no-more'],
        ['/a%2Fb%20c', 'undecoded', REQUEST_URI => '/a%2Fb%20c', PATH_INFO => '/a%2Fb c'],
        map({ ["$_?q", 'localhost', PATH_INFO => $_, REQUEST_URI => "$_?q"] } "/$long", "/$long/x", "/list/$long", "/a/$long", '/' . 'l' x 255, '/' . 'l' x 7000, '/aaaaaaa' x 900),
        map({ ["$_/$long", 'localhost', SCRIPT_NAME => $_, PATH_INFO => "/$long"] } '/~home', '/mount'),
        ['/?special', 'localhost', SPECIAL => 'yes'], ['/multi/none', 'localhost', PATH_INFO => '/multi/none'], ['/by-handler2', 'localhost', PATH_INFO => '/by-handler2'],
    );
    for my $row (@table) {
        my ($path, $host, %want) = @$row;
        my $r = $h->get($path, Host => $host);
        my $env = env($r);
        is $env->{$_}, $want{$_}, "$mpm: $host$path: $_" or diag $r->status, substr $r->body, 0, 300 for sort keys %want;
    }
    is env($h->get('/', 'X-Real-IP' => '192.0.2.7'))->{REMOTE_ADDR}, '192.0.2.7', "$mpm: mod_remoteip says who the client is";
    like env($h->get('/'))->{UNIQUE_ID} // '', qr/^[\w@-]{20,}$/, "$mpm: mod_unique_id";
    is $h->get('/a%2fb')->status, 404, "$mpm: encoded slashes are refused by default";
    is $h->get('/?special')->header('X-Special'), 'yes', "$mpm: <If>";
}

# What others serve: files, folders, handlers.
sub others_win {
    my ($h, $mpm) = @_;
    my @table = (
        ['/static.txt', 200, qr/^static$/m], ['/s', 200, qr/^static$/m], ['/ht/blog/x', 200, qr/as it is/], ['/ht/file', 200, qr/^static$/m], ['/index.asis', 200, qr/as it is/],
        ['/by-handler', 200, qr/as it is/], ['/proxied', 200, qr/^static$/m], ['/p2', 200, qr/^static$/m], ['/aliased/one.txt', 200, qr/^one$/], ['/old', 302, undef],
        ['/dir/', 200, qr/index of dir/], ['/dir', 301, undef], ['/server-status?auto', 200, qr/^Total Accesses|ServerUptime/m], ['/page', 200, qr/in English/],
        ['/multi/page', 200, qr/multi/], ['/page.html', 200, qr/in English/], ['/list/plain', 404, undef], ['/ssi.shtml', 200, qr/\[\{.*"QUERY_STRING": "x=1".*\}\]\[static/s],
        ['/~home/here.txt', 200, qr/at home/], ['/none?switched-off', 404, undef], map({ ["$_?switched-off", 403, undef] } '/' . 'l' x 300, '/aaaaaaa' x 900), ['/forbidden', 403, undef],
    );
    for my $row (@table) {
        my ($path, $status, $body) = @$row;
        my $r = $h->get($path);
        is $r->status, $status, "$mpm: $path" or diag $r->body;
        like $r->body, $body, "$mpm: ... its body" if $body;
        ok !defined $r->header('X-App'), "$mpm: ... not from the application";
    }
    is $h->get('/page', 'Accept-Language' => 'de')->body, 'auf deutsch', "$mpm: MultiViews negotiates";
}

sub access {
    my ($h, $mpm) = @_;
    my $long = 'l' x 300;
    my $basic = 'Basic YWxpY2U6c2VjcmV0';
    my @table = (
        ['GET', '/denied/x.txt', 403], ['GET', '/denied/app', 403], ['GET', '/some/app', 403], ['GET', '/some/app', 200, 'X-Real-IP' => '192.0.2.9'], ['GET', '/members/x', 401],
        ['GET', '/members/x', 401, Authorization => 'Basic YWxpY2U6d3Jvbmc='], ['GET', '/members/x', 200, Authorization => $basic], ['POST', '/readonly/x', 405],
        ['GET', '/readonly/x', 200], ['GET', '/x?a=evil', 406], ['GET', '/x?a=good', 200], ['GET', '/x?refused', 403], ['TRACE', '/x', 200],
        map { ['GET', $_, 403] } "/denied/$long", "/$long.refused", '/x.refused', '/denied' . '/aaaaaaa' x 900,
    );
    for my $row (@table) {
        my ($method, $path, $status, %field) = @$row;
        is $h->ask($method, $path, %field)->status, $status, "$mpm: $method $path " . join ' ', %field;
    }
    my $env = env($h->get('/members/x', Authorization => $basic));
    is "@$env{qw(REMOTE_USER AUTH_TYPE)}", 'alice Basic', "$mpm: the application knows who it is";
    ok !exists env($h->get('/x', Authorization => $basic))->{REMOTE_USER}, "$mpm: ... where Apache has asked";
}

sub errors {
    my ($h, $mpm) = @_;
    my $r = $h->get('/status/404');
    ok $r->status == 404 && $r->header('X-App'), "$mpm: an error of the application's is its own";
    is $h->get('/override/x')->status, 200, "$mpm: PassengerErrorOverride leaves what is no error";
    is $h->get('/override/x?status=404')->body, 'ours', "$mpm: ... and lets ErrorDocument say what is one";
    $r = $h->get('/override/x?status=503');
    is $r->status . $r->body, "503static\n", "$mpm: ... with a page";
    $r = $h->get('/fails');
    is $r->status, 403, "$mpm: an application's page for an error of Apache's keeps the status";
    is env($r)->{PATH_INFO}, '/error-page', "$mpm: ... and is the application's";
    is env($r)->{REDIRECT_STATUS}, 403, "$mpm: ... which knows why";
    is $h->get('/fails-200')->status, 410, "$mpm: ... unless it says another error itself";
}

sub filters {
    my ($h, $mpm) = @_;
    my $r = $h->get('/x', 'Accept-Encoding' => 'gzip');
    is $r->header('Content-Encoding'), 'gzip', "$mpm: mod_deflate compresses";
    ok !defined $r->header('Content-Length') || $r->header('Content-Length') == length $r->body, "$mpm: ... and the length is that of what is sent";
    is $h->get('/x')->header($_), 'yes', "$mpm: mod_headers: $_" for qw(X-Ours X-Always);
    ok defined $h->get('/late')->header('Expires'), "$mpm: mod_expires";
    my $zipped = `printf '%01000d' 0 | gzip -c`;
    is $h->post('/unzipped', $zipped, 'Content-Encoding' => 'gzip')->json->{size}, 1000, "$mpm: mod_deflate decompresses";
    # It is stored a moment after it was sent.
    soon { my @count = map { $h->get('/cached/x', Host => 'caching')->json->{count} } 1, 2; $count[0] == $count[1] } "$mpm: mod_cache keeps what may be kept";
    my ($first, $second) = map { $h->get('/not-cached', Host => 'caching')->json } 1, 2;
    isnt $second->{count}, $first->{count}, "$mpm: ... and nothing else";
}

sub transports {
    my ($h, $mpm) = @_;
    my $curl = sub { my $out = `curl -sk --max-time 20 @_`; require JSON::PP; eval { JSON::PP::decode_json($out) } // { environ => {}, out => $out } };
    my $env = $curl->("https://localhost:$h->{tls}/x --resolve localhost:$h->{tls}:127.0.0.1 --http1.1")->{environ};
    is $env->{HTTPS}, 'on', "$mpm: TLS is told";
    like $env->{SSL_PROTOCOL} // '', qr/^TLSv1/, "$mpm: mod_ssl's variables arrive";
    like $env->{SSL_CIPHER} // '', qr/\w/, "$mpm: ... the cipher";
    is $env->{SERVER_PORT}, $h->{tls}, "$mpm: ... the port";
    return if $mpm eq 'prefork';
    my $facts = $curl->("--http2-prior-knowledge http://localhost:$h->{port}/h2?x=y");
    is $facts->{environ}{PATH_INFO}, '/h2', "$mpm: HTTP/2 without TLS" or diag $facts->{out};
    is $facts->{environ}{SERVER_PROTOCOL}, 'HTTP/2.0', "$mpm: ... which is told";
    $facts = $curl->("--http2 https://localhost:$h->{tls}/h2 --data-binary \@$h->{root}/httpd.conf");
    is $facts->{size}, -s "$h->{root}/httpd.conf", "$mpm: an upload over HTTP/2 and TLS" or diag $facts->{out};
}

# Without any application every byte is what it would be without us. Both servers serve the same files.
sub unnoticed {
    my ($mpm) = @_;
    my $docs = Harness->new(mpm => $mpm);
    my %file = files();
    $file{'large.bin'} = join '', map { chr($_ * 7 % 251) } 1 .. 100_000;
    $file{$_} = "$_\n" for qw(.env .hidden/x passenger.txt package.json app.jsx node_modules/x.js sub/config.ru.txt a%b.txt restart.txt);
    $file{'ht/.htaccess'} .= "ErrorDocument 404 \"gone\"\nHeader set X-Ht yes\n";
    for my $name (sort keys %file) {
        my ($folder) = "$docs->{root}/htdocs/$name" =~ m{^(.*)/};
        system 'mkdir', '-p', $folder;
        spew("$docs->{root}/htdocs/$name", $file{$name});
    }
    system('find', "$docs->{root}/htdocs", '-exec', 'touch', '-d', '@1000000000', '{}', '+') == 0 or die 'touch'; # what is of this second has a weak ETag
    my @requests = map { my $line = $_; $line =~ /\n/ ? $line : "$line HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" } requests();
    cmp_ok scalar(@requests), '>=', 40, "$mpm: many requests";
    my @answers;
    for my $with (0, 1) {
        my $h = Harness->new(mpm => $mpm, passenger => $with, modules => [qw(asis include negotiation auth_basic authn_file authz_user)]);
        spew("$h->{root}/passwords", '');
        $h->start(conf => <<"END");
ServerTokens Prod
UseCanonicalName On
UseCanonicalPhysicalPort Off
ServerName localhost:80
DocumentRoot $docs->{root}/htdocs
<Directory $docs->{root}/htdocs>
Require all granted
AllowOverride All
Options +Indexes +Includes +MultiViews
AddOutputFilter INCLUDES .shtml
</Directory>
AddHandler send-as-is asis
AddType text/html .html .shtml
AddOutputFilterByType DEFLATE text/html text/plain
AddLanguage en .en
AddLanguage de .de
<Location /members>
AuthType Basic
AuthName members
AuthUserFile $h->{root}/passwords
Require valid-user
</Location>
ErrorDocument 403 /static.txt
Redirect /old /new
END
        # Tags of files that are less than a second old are weak.
        push @answers, [map { my $text = whole($h, $_); $text =~ s/^Date: .*\r\n|^ETag: \KW\///mg; $text =~ s/^Allow: (.*)\r$/'Allow: ' . join ',', sort split m{,}, $1/gme; $text =~ s/127\.0\.0\.1:\d+/HERE/g; $text } @requests];
        $h->allow_log(qr/AH\d{5}|unable to include/);
        $h->finish;
    }
    my @different = grep { $answers[0][$_] ne $answers[1][$_] || !length $answers[0][$_] } 0 .. $#requests;
    ok !@different, "$mpm: every byte is the same with us" or diag map { "$requests[$_]--- without\n$answers[0][$_]--- with\n$answers[1][$_]\n" } @different[0 .. ($#different > 2 ? 2 : $#different)];
}

# A reset after a refused request may cut off what was answered: the longer of two answers is whole.
sub whole { my ($h, $request) = @_; (sort { length $b <=> length $a } map { $h->request($request) } 1, 2)[0] }

sub requests {
    my $head = "Host: localhost\r\nConnection: close\r\n";
    return (
        map({ "GET $_" } qw(/ /static.txt /none /none/x /dir /dir/ /list /list/ /list/one.txt /page /page.html /page.html.en /ssi.shtml /index.asis /ht/blog/x /ht/file
            /ht/app/1 /ht/none /denied/x.txt /large.bin /.env /.hidden/x /.htaccess /ht/.htaccess /passenger.txt /package.json /node_modules/x.js /a%25b.txt /a%2fb /%2e%2e/x
            /../x //static.txt /./static.txt /static.txt/x /static.txt/ /members/x /old /list/?C=M;O=D /?x /restart.txt /app.jsx /%00 /%zz http://localhost/static.txt)),
        'HEAD /static.txt', 'HEAD /none', 'HEAD /dir', 'OPTIONS /static.txt', 'OPTIONS *', 'OPTIONS /none', 'TRACE /static.txt', 'DELETE /static.txt', 'BREW /static.txt', 'PUT /x',
        "GET /static.txt HTTP/1.0\r\n\r\n", "GET /static.txt HTTP/1.1\r\nConnection: close\r\n\r\n", "GET /static.txt HTTP/1.1\r\n${head}Range: bytes=0-2\r\n\r\n",
        "GET /static.txt HTTP/1.1\r\n${head}Range: bytes=100-\r\n\r\n", "GET /static.txt HTTP/1.1\r\n${head}Accept-Encoding: gzip\r\n\r\n",
        "GET /static.txt HTTP/1.1\r\n${head}If-Modified-Since: Fri, 01 Jan 2038 00:00:00 GMT\r\n\r\n", "GET /page HTTP/1.1\r\n${head}Accept-Language: de\r\n\r\n",
        "GET /page HTTP/1.1\r\n${head}Accept-Language: fr;q=0.1\r\nAccept: text/none\r\n\r\n", "POST /static.txt HTTP/1.1\r\n${head}Content-Length: 3\r\n\r\nabc",
        "POST /none HTTP/1.1\r\n${head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "GET /static.txt HTTP/1.1\r\n${head}Upgrade: websocket\r\n\r\n",
        "GET /static.txt HTTP/1.1\r\n${head}Expect: 100-continue\r\n\r\n", "GET /static.txt HTTP/1.1\r\n${head}X_Y: 1\r\nProxy: x\r\n\r\n", "GARBAGE\r\n\r\n",
        "GET /static.txt HTTP/1.1\r\nHost: localhost\r\n\r\nGET /none HTTP/1.1\r\n$head\r\n",
    );
}
