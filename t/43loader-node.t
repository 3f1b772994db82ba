# Node.js applications behind a real Apache: how they are found and loaded, what they see, what comes back, how they end.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use Test::More;
use Time::HiRes qw(time);
use Harness;

# NODE=/path/to/node names another interpreter.
my ($major) = `@{[ $ENV{NODE} // 'node' ]} --version` =~ /^v(\d+)/;
sub node { $ENV{NODE} ? "PassengerNodejs $ENV{NODE}\n" : '' }

plan skip_all => 'there is no node' unless $ENV{NODE} || grep { -x "$_/node" } qw(/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin);

for my $mpm (Harness->mpms) {
    subtest "$mpm: basics" => sub { basics($mpm) };
}
my $mpm = (Harness->mpms)[0];
for my $part (qw(bodies fields broken starts failures errors_later ends connections processes busy restart)) {
    subtest $part => sub { no strict 'refs'; &$part() };
}
done_testing;

# A virtual host for each application: name => files.
sub hosts {
    my ($h, $options, %app) = @_;
    my $conf = '';
    for my $name (sort keys %app) {
        my $dir = $h->make_app($name, $app{$name});
        $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\n" . ($options->{$name} // '') . "\n</VirtualHost>\n";
    }
    return $conf;
}

sub chunked { join('', map { sprintf "%x\r\n%s\r\n", length, $_ } @_) . "0\r\n\r\n" }

sub basics {
    my ($kind) = @_;
    my $h = Harness->new(mpm => $kind);
    my $app = $h->copy_app('node');
    spew("$app/public/file.txt", "static\n");
    $h->start(conf => &node . "DocumentRoot $app/public\nSetEnv FROM_APACHE yes");
    my $r = $h->get('/a/b%20c?d=e%20f', 'X-Forwarded-For' => '198.51.100.7', 'X-Two' => 'ä', Cookie => 'a=b; c=d');
    is $r->status, 200, 'it answers';
    my $seen = $r->json;
    is $seen->{url}, '/a/b%20c?d=e%20f', '... to the target as it was sent';
    is $seen->{method}, 'GET', '... the method';
    is $seen->{version}, '1.1', '... in HTTP/1.1';
    is $seen->{headers}{'x-forwarded-for'}, '198.51.100.7, 127.0.0.1', '... knowing the client';
    is $seen->{headers}{cookie}, 'a=b; c=d', '... its cookies';
    is $seen->{headers}{host}, 'localhost', '... the host';
    is $seen->{remote}, '127.0.0.1', '... and a peer';
    ok !grep({ /passenger|!~|from.apache/i } keys %{ $seen->{headers} }), '... without fields that nobody sent';
    is $h->get('/file.txt')->body, "static\n", 'public files are Apache\'s';
    is $h->post('/', 'abc' x 1000)->json->{sha1}, sha1_hex('abc' x 1000), 'a body';
    my $process = $h->get('/process')->json;
    is $process->{env}{FROM_APACHE}, 'yes', 'SetEnv is in the environment';
    is $process->{env}{NODE_ENV}, 'production', '... and the name of that';
    like $process->{env}{PORT}, qr/^\d+$/, '... and a port';
    is_deeply $process->{argv}, [ $process->{argv}[0], "$app/app.js" ], 'the arguments are those of node app.js';
    ok $process->{main}, '... and it is the main module';
    is_deeply $process->{cached}, ["$app/app.js"], '... alone';
    is $process->{fds}{0}, '/dev/null', '... with an empty input';
    like $process->{title}, qr/^Passenger NodeApp: \Q$app\E/, '... and a title';
    is getpwuid($h->get('/')->json->{uid}), $h->app_user, '... as its owner' unless $>;
    $h->finish;

    # Below a path the application sees all of it.
    my $below = Harness->new(mpm => $kind);
    my $dir = $below->copy_app('node', 'sub');
    $below->start(conf => &node . "Alias /sub $dir/public\n<Location /sub>\nPassengerBaseURI /sub\nPassengerAppRoot $dir\n</Location>");
    is $below->get('/sub/a/b?c=d')->json->{url}, '/sub/a/b?c=d', 'a base URI is part of the target';
    is $below->get('/sub')->json->{url}, '/sub', '... alone too';
}

sub bodies {
    my $h = Harness->new(mpm => $mpm);
    my ($kept, $passed) = map { $h->copy_app('node', $_) } qw(kept passed);
    $h->start(conf => &node . "<VirtualHost *>\nServerName kept\nDocumentRoot $kept/public\n</VirtualHost>\n"
        . "<VirtualHost *>\nServerName passed\nDocumentRoot $passed/public\nPassengerBufferUpload off\n</VirtualHost>");
    for my $host (qw(kept passed)) {
        for my $size (0, 1, 5, 70_000, 6_000_000) {
            my $body = substr 'abcdefg' x ($size / 7 + 1), 0, $size;
            my $r = $h->post('/', $body, Host => $host)->json;
            is "$r->{length} $r->{sha1}", "$size " . sha1_hex($body), "$host: a body of $size bytes";
            is $r->{headers}{'content-length'}, $size, '... whose length is known';
            $r = $h->post('/', chunked(unpack '(A50000)*', $body), Host => $host, 'Transfer-Encoding' => 'chunked')->json;
            is "$r->{length} $r->{sha1}", "$size " . sha1_hex($body), '... and in chunks';
            # The module counts what it can hold.
            is $r->{headers}{'transfer-encoding'}, $host eq 'kept' || $size < 10 ? undef : 'chunked', '... that are rebuilt, or counted';
        }
        my $slow = $h->client;
        $slow->write_request('POST', '/', Host => $host, 'Transfer-Encoding' => 'chunked', Trailer => 'X-Sum');
        $slow->send(sprintf "%x\r\n%s\r\n", length, $_) for 'x' x 150_000, 'y';
        my $links = $host eq 'passed' && wait_for { $h->get('/links', Host => $host)->json->{links} > 1 } 'the beginning to be there', 5;
        $slow->send("3\r\nzzz\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n");
        my $r = $slow->read_response('POST')->json;
        is $r->{sha1}, sha1_hex('x' x 150_000 . 'yzzz'), "$host: a body that comes slowly";
        is_deeply $r->{trailers}, {}, '... without what follows it';
        is $r->{headers}{host}, $host, '... which changes no field';
        # Nothing of one request is left for the next on the same connection.
        my $first = $h->post('/early', chunked('x' x 300_000), Host => $host, 'Transfer-Encoding' => 'chunked');
        is $first->status, 413, "$host: an answer before the body is read";
        is $h->get('/', Host => $host)->json->{length}, 0, '... and a clean connection after it';
    }
    $h->allow_log(qr/PSG0156/);
    my $gone = $h->client;
    $gone->write_request('POST', '/', Host => 'passed', 'Content-Length' => 100_000);
    $gone->send('x' x 50_000);
    wait_for { $h->get('/links', Host => 'passed')->json->{links} > 1 } 'half of a body to be there', 5;
    $gone->close;
    soon { $h->get('/', Host => 'passed')->json->{aborted} == 1 } 'a client that leaves is noticed by the application';
}

sub fields {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('node');
    $h->start(conf => &node . "DocumentRoot $app/public\nSetEnvIf X-Tls yes HTTPS=on\nSetEnv HTTP_X_SET evil\nSetEnv REQUEST_URI /evil");
    my $seen = sub { $h->get('/', @_)->json->{headers} };
    ok !exists $seen->()->{'x-set'}, 'SetEnv makes no header fields';
    is $seen->('X-Tls' => 'yes', 'X-Forwarded-Proto' => 'gopher')->{'x-forwarded-proto'}, 'https', 'https is told';
    is $seen->('X-Forwarded-Proto' => 'https')->{'x-forwarded-proto'}, 'https', 'what a proxy told is passed on';
    ok !exists $seen->()->{'x-forwarded-proto'}, '... and nothing else';
    my $fields = $seen->('X_Evil' => 1, 'X.Evil' => 1, Proxy => 'evil', TE => 'trailers', 'Keep-Alive' => 'x', 'X-A-1' => 'y');
    is_deeply [ sort keys %$fields ], [qw(connection host x-a-1 x-forwarded-for)], 'only names that cannot be mistaken, and none of this hop';
    my $r = $h->get('/fields');
    is_deeply [ $r->headers('Set-Cookie') ], [ 'a=1', 'b=2' ], 'two cookies come back';
    like $r->head, qr/^X-Case-Kept: yes\r/m, '... with names as they were written';
    like $r->head, qr{^HTTP/1\.1 200 Fine by me\r}, '... and the reason';
    is $h->get('/hints')->body, "hinted\n", 'early hints are no response';
    is $h->get('/trailers')->body, "body\n", 'trailers end here';
    for my $s (204, 304, 404, 500, 299) { is $h->get("/bare?s=$s")->status, $s, "status $s" }
    is $h->ask('HEAD', '/big?n=12')->header('Content-Length'), 12, 'HEAD has the length';
    is length $h->get('/big?n=3000000')->body, 3_000_000, 'a large response';
    is $h->get('/stream?n=20&size=1000')->body, join('', map { ($_ % 10) x 1000 } 0 .. 19), 'one without a length';
    for my $method (qw(PUT DELETE PATCH OPTIONS PROPFIND)) { is $h->ask($method, '/')->json->{method}, $method, "method $method" }
    like $h->request("GET / HTTP/1.0\r\n\r\n"), qr/"host":"localhost/, 'HTTP/1.0 without a host';
    my $c = $h->client;
    $c->send(join '', map { "GET /$_ HTTP/1.1\r\nHost: x\r\n\r\n" } 1 .. 5);
    is_deeply [ map { $c->read_response('GET')->json->{url} } 1 .. 5 ], [ map { "/$_" } 1 .. 5 ], 'pipelined requests';
    my $expect = $h->client;
    $expect->write_request('POST', '/', Expect => '100-continue', 'Content-Length' => 3);
    $expect->send('abc');
    $r = $expect->read_response('POST');
    is $r->json->{length}, 3, 'Expect: 100-continue';
    ok !exists $r->json->{headers}{expect}, '... is between client and Apache';
}

sub broken {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('node');
    $h->start(conf => &node . "DocumentRoot $app/public");
    $h->allow_log(qr/PSG015[0126]/, qr/PSG0688/);
    is $h->get('/garbage')->status, 502, 'what is no HTTP is a 502';
    for my $bytes ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 200") {
        (my $q = $bytes) =~ s/(\W)/sprintf '%%%02x', ord $1/ge;
        is $h->get("/raw?bytes=$q")->status, 502, '... ' . ($bytes =~ /^(.*?)\r\n\r\n/s ? $1 : $bytes) =~ s/\r\n/, /gr;
    }
    ok !$h->get('/stream?n=10&fail=4')->complete, 'a response that breaks off looks so';
    is $h->get('/')->status, 200, 'it serves on';
}


# Every way to begin.
sub starts {
    my $h = Harness->new(mpm => $mpm);
    my $serve = sub { "const http = require('http');\nconst server = http.createServer((q, r) => r.end('served'));\n$_[0]\n" };
    my %app = (
        bare => { 'app.js' => $serve->('server.listen();') },
        port => { 'app.js' => $serve->('server.listen(3000);') },
        portenv => { 'app.js' => $serve->('server.listen(process.env.PORT);') },
        low => { 'app.js' => $serve->('server.listen(80, "0.0.0.0", 511, () => console.log("up"));') },
        name => { 'app.js' => $serve->('server.listen("passenger");') },
        slashname => { 'app.js' => $serve->('server.listen("/passenger", () => console.log("up"));') },
        options => { 'app.js' => $serve->('server.listen({ port: 3000, host: "localhost" });') },
        pathname => { 'app.js' => $serve->('server.listen({ path: "passenger" });') },
        unix => { 'app.js' => $serve->('server.listen("/nowhere/at/all.sock");') },
        late => { 'app.js' => $serve->('setTimeout(() => server.listen(3000), 300);') },
        half => { 'app.js' => $serve->('process.stdout.write("half a line"); server.listen(3000);') },
        chained => { 'app.js' => 'require("http").Server((q, r) => r.end("served")).listen(3000).on("listening", () => console.log("up"));' },
        'express-like' => { 'app.js' => $serve->('const a = server.address(); server.listen(3000, () => { const { address, port } = server.address(); console.log(address, port, a); });') },
        idiom => { 'app.js' => $serve->(<<'END') },
if (typeof(PhusionPassenger) !== 'undefined') {
    PhusionPassenger.configure({ autoInstall: false });
}
http.createServer((q, r) => r.end('another')).listen(0, () => {
    if (typeof(PhusionPassenger) !== 'undefined') server.listen('passenger'); else server.listen(3000);
});
END
        second => { 'app.js' => $serve->(<<'END') },
server.listen(3000, () => {
    const other = http.createServer((q, r) => r.end('other'));
    other.listen(0, '127.0.0.1', () => {
        const port = other.address().port;
        server.removeAllListeners('request');
        server.on('request', (q, r) => http.get({ port, host: '127.0.0.1' }, (s) => s.on('data', (d) => r.end(d + ' served'))));
    });
});
END
        # Fastify does this.
        again => { 'app.js' => $serve->(<<'END') },
server.listen(3000, () => {
    const other = http.createServer();
    other.listen({ port: server.address().port, host: '::1' }, () => { console.log('again', other.address().port, other.listening); other.close(); });
});
END
        main => { 'app.js' => $serve->('if (require.main === module) server.listen(3000);') },
        cluster => { 'app.js' => $serve->('const cluster = require("cluster"); cluster.fork(); if (cluster.isWorker) server.listen(3000);') },
        mjs => { 'server.mjs' => 'import http from "http"; await new Promise((r) => setTimeout(r, 100)); http.createServer((q, r) => r.end("served")).listen(3000);' },
        type => { 'package.json' => '{"type": "module"}', 'app.js' => 'import { createServer } from "node:http"; import { name } from "./name.js"; '
            . 'createServer((q, r) => r.end(name)).listen(3000);', 'name.js' => 'export const name = await Promise.resolve("served");' },
        cjs => { 'package.json' => '{"type": "module"}', 'app.cjs' => $serve->('server.listen(3000);') },
        nested => { 'dist/main.js' => $serve->('server.listen(3000);') },
        koa => { 'app.js' => "const http = require('http'); class App { callback() { return (q, r) => r.end('served'); } "
            . "listen(...args) { return http.createServer(this.callback()).listen(...args); } }\nnew App().listen(3000);" },
    );
    delete @app{qw(mjs type)} if $major < 14;   # top-level await
    my %options = (mjs => 'PassengerAppType node' . "\nPassengerStartupFile server.mjs", cjs => "PassengerAppType node\nPassengerStartupFile app.cjs",
        nested => "PassengerAppType nodejs\nPassengerStartupFile dist/main.js");
    $options{$_} .= "\nPassengerAppRoot $h->{root}/apps/$_" for keys %options;
    delete $options{mjs} if !$app{mjs};
    $h->start(conf => &node . "PassengerMaxPoolSize 40\nPassengerStartTimeout 20\n" . hosts($h, \%options, %app));
    for my $name (sort keys %app) {
        my $r = $h->get('/', Host => $name);
        is $r->body, $name eq 'second' ? 'other served' : 'served', $name;
    }
    like $h->log_text, qr/127\.0\.0\.1 3000 null/, 'an address that can be taken apart';
    $h->expect_log(qr/App \d+ output: again 3000 true/, 'that the same port was listened on once more');
    like $h->log_text, qr/cluster\.fork\(\) does nothing here/, 'who asks for workers is told';
    like $h->log_text, qr/output: half a line$/m, 'half a line of output is one';
}

# What stands in the log when it does not start.
sub failures {
    my $h = Harness->new(mpm => $mpm);
    my %app = (
        syntax => { 'app.js' => "const a = 1;\n\nconst = 2;\n" }, thrown => { 'app.js' => "\nfunction f() {\n    throw new Error('no database');\n}\nf();\n" },
        missing => { 'app.js' => "// first\nrequire('no-such-package');\n" }, rejected => { 'app.js' => "(async () => {\n    throw new TypeError('no luck');\n})();\n" },
        esm => { 'app.mjs' => "import x from 'no-such-package';\n" }, esmsyntax => { 'app.mjs' => "\nlet let = 1;\n" },
        nolisten => { 'app.js' => "console.log('done');\n" }, exits => { 'app.js' => "process.exit(3);\n" }, string => { 'app.js' => "throw 'a string';\n" },
        never => { 'app.js' => "setInterval(() => {}, 1000);\n" }, below => { 'app.js' => "require('./lib/x');\n", 'lib/x.js' => "\n\nundefinedFunction();\n" },
        https => { 'app.js' => "require('https').createServer({}, () => {}).listen(0, '127.0.0.1');\n" }, http2 => { 'app.js' => "require('http2').createServer().listen(0, '127.0.0.1');\n" },
        forks => { 'app.mjs' => "import cluster from 'cluster';\nimport http from 'http';\nif (cluster.isPrimary) cluster.fork(); else http.createServer().listen(3000);\n" },
        own => { 'app.js' => "\nrequire('./dist/main');\n" }, ownesm => { 'app.mjs' => "import './dist/main.js';\n" },
        compiler => { 'app.js' => "throw new Error('Transform failed with 1 error:\\n  app.ts:2:16: ERROR: Unexpected x\\nmore');\n" },
        gone => { 'x.js' => '' }, top => { 'app.mjs' => "await new Promise(() => {});\n" },
    );
    my %says = (
        syntax => qr{syntax/app\.js, line 3: SyntaxError: .*PassengerNodejs}, thrown => qr{thrown/app\.js, line 3: Error: no database},
        missing => qr{missing/app\.js, line 2: Error: Cannot find module 'no-such-package': .*npm install}, rejected => qr{rejected/app\.js, line 2: TypeError: no luck},
        esm => qr{esm/app\.mjs.*Cannot find package 'no-such-package'.*npm install}, esmsyntax => qr{esmsyntax/app\.mjs.*: SyntaxError},
        nolisten => qr{nolisten/app\.js: it ended with code 0 before .* it must call listen\(\)}, exits => qr{exits/app\.js: it ended with code 3},
        string => qr{string/app\.js: it threw 'a string'}, never => qr{spawn\.timeout: .*2 seconds.*listen\(\)}, below => qr{below/lib/x\.js, line 3: ReferenceError: undefinedFunction},
        https => qr{spawn\.timeout: .*2 seconds}, http2 => qr{spawn\.timeout: .*2 seconds}, forks => qr{forks/app\.mjs: it left the requests to processes of cluster\.fork\(\)},
        own => qr{own/app\.js, line 2: Error: Cannot find module '\./dist/main': correct that name, or deploy the file},
        ownesm => qr{ownesm/app\.mjs: Error: Cannot find module '/.*/ownesm/dist/main\.js' .*: correct that name, or deploy the file},
        compiler => qr{compiler/app\.js, line 1: Error: Transform failed with 1 error: app\.ts:2:16: ERROR: Unexpected x: },
        gone => qr{app\.js cannot be found}, top => qr{top/app\.mjs: it ended with code \d+ before},
    );
    delete $app{rejected} if $major < 15;   # only a warning
    delete $app{top} if $major < 14;
    my %options = map { ($_ => "PassengerAppType node\nPassengerStartupFile app.mjs\nPassengerAppRoot $h->{root}/apps/$_") } qw(esm esmsyntax ownesm top forks);
    $options{$_} = 'PassengerStartTimeout 2' for qw(never https http2);
    $options{gone} = "PassengerAppType node\nPassengerAppRoot $h->{root}/apps/gone";
    $h->start(conf => &node . "PassengerFriendlyErrorPages on\n" . hosts($h, \%options, %app));
    $h->allow_log(qr/PSG0113: spawn\.failed/);
    for my $name (sort keys %app) {
        my $r = $h->get('/', Host => $name);
        is $r->status, 500, "$name: a 500";
        my ($line) = grep { /PSG0113.*\Q\/$name \E/ } split /\n/, $h->log_text;
        like $line // '', $says{$name}, '... whose cause is in one line';
        like $r->body, qr/Error|listen|found/, '... and on the friendly page' if $name ne 'string';
    }
    like $h->log_text, qr{https/app\.js listens with a server for TLS .*http\.createServer}, 'a server for https is none';
    like $h->log_text, qr{http2/app\.js listens with a server for HTTP/2}, '... nor one for HTTP/2';
}

# Once it is up, an exception ends it as it ends node.
sub errors_later {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('node');
    $h->start(conf => &node . "DocumentRoot $app/public");
    $h->allow_log(qr/PSG0150: request\.failed/, qr/PSG0103: app\.exited/);
    is $h->get('/throw')->status, 502, 'an exception that nobody catches';
    $h->expect_log(qr/output: Error: thrown as it was told/, 'which one');
    $h->expect_log(qr/PSG0103: app\.exited: .*code=1/, 'that it has ended');
    is $h->get('/')->status, 200, '... and another process serves';
    is $h->get('/reject')->status, 502, 'a rejection that nobody catches' unless $major < 15;
    is $h->get('/exit?code=7')->status, 502, 'an exit in the middle';
    $h->expect_log(qr/PSG0103: app\.exited: .*code=7/, 'with which code');
    is $h->get('/')->status, 200, '... and another process serves';
}

# How it is told to go: nothing is cut, nothing waits for idle connections.
sub ends {
    my $h = Harness->new(mpm => $mpm);
    my $say = 'console.log("TOLD");';
    my $serve = sub { "const server = require('http').createServer((q, r) => { if (q.url === '/slow') console.log('slow begins'); setTimeout(() => r.end('' + process.pid), q.url === '/slow' ? 700 : 0); }).listen(3000);\n$_[0]\n" };
    my %app = (
        plain => { 'app.js' => $serve->('process.on("exit", (code) => console.log("exit with", code)); setInterval(() => {}, 1000);') },
        event => { 'app.js' => $serve->("PhusionPassenger.on('exit', () => { console.log('TOLD by event'); process.exit(0); });") },
        message => { 'app.js' => $serve->("process.on('message', (m) => { if (m === 'shutdown') { console.log('TOLD by message'); process.exit(0); } });") },
        term => { 'app.js' => $serve->("process.on('SIGTERM', () => { require('fs').appendFileSync('told', 'x'); console.log('TOLD by signal'); server.close(() => process.exit(0)); });") },
    );
    $h->start(conf => &node . "PassengerRollingRestarts off\n" . hosts($h, {}, %app));
    my %pid = map { ($_ => $h->get('/', Host => $_)->body) } sort keys %app;
    # By the core.
    spew("$h->{root}/apps/$_/tmp/restart.txt", '') for sort keys %app;
    for my $name (sort keys %app) {
        soon { $h->get('/', Host => $name)->body != $pid{$name} } "$name: replaced", 10;
        soon { !Proc::alive($pid{$name}) } '... and gone', 10;
    }
    is scalar(() = $h->log_text =~ /output: TOLD by $_/g), 1, "told once by $_" for qw(event message signal);
    like $h->log_text, qr/output: exit with 0/, '... or by its exit';
    # By somebody's signal, in the middle of a request.
    %pid = map { ($_ => $h->get('/', Host => $_)->body) } sort keys %app;
    $h->allow_log(qr/PSG0103: app\.exited: .*code=0/);
    my $c = $h->client;
    $c->write_request('GET', '/slow', Host => 'plain');
    wait_for { $h->log_text =~ /output: slow begins/ } 'it to be served';
    my $begin = time;
    kill TERM => $pid{plain};
    is $c->read_response('GET')->body, $pid{plain}, 'SIGTERM lets the request be answered';
    soon { !Proc::alive($pid{plain}) } '... before it goes', 5;
    cmp_ok time - $begin, '<', 4, '... soon';
    # By the end of everything.
    my $end = time;
    ok $h->stop, 'stop';
    cmp_ok time - $end, '<', 5, '... is quick';
    is slurp("$h->{root}/apps/term/told"), 'xx', 'a handler of SIGTERM runs once more, once';
}

# Connections are kept, and closed when either side says so.
sub connections {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('node');
    $h->start(conf => &node . "DocumentRoot $app/public");
    my $links = sub { $h->get('/links')->json->{links} };
    is $h->get('/')->status, 200, 'one request';
    is $links->(), 1, 'one connection serves requests that follow each other';
    $h->post('/', chunked('abc'), 'Transfer-Encoding' => 'chunked');
    is $links->(), 1, '... with bodies';
    $h->get('/stream');
    is $links->(), 1, '... and chunked responses';
    my @c = map { my $c = $h->client; $c->write_request('GET', '/slow?s=0.5'); $c } 1 .. 20;
    is scalar(grep { $_->read_response('GET')->status == 200 } @c), 20, 'twenty at once';
    is scalar($h->apps), 1, '... in one process';
    is $h->get('/close')->status, 200, 'an answer that closes the connection';
    is $h->get('/')->status, 200, '... and the next on another';
}

sub processes {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('node');
    $h->start(conf => &node . "DocumentRoot $app/public\nPassengerMaxPoolSize 2\nPassengerForceMaxConcurrentRequestsPerProcess 1");
    my @c = map { my $c = $h->client; $c->write_request('GET', '/slow?s=1'); $c } 1 .. 4;
    soon { $h->apps == 2 } 'a limit of requests makes two processes', 10;
    is scalar(grep { $_->read_response('GET')->status == 200 } @c), 4, '... which serve all';
    # A dead core's heir knows how to talk to them.
    my @before = $h->apps;
    $h->allow_log(qr/PSG001[34]/);
    $h->kill_core;
    soon { my $r = $h->get('/'); $r->status == 200 && grep { $_ == $r->json->{pid} } @before } 'they outlive the core', 10;
    is $h->post('/', 'abc')->json->{length}, 3, '... and are understood';
}

# A process whose event loop is busy gets help.
sub busy {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('node');
    $h->start(conf => &node . "DocumentRoot $app/public\nPassengerMaxPoolSize 2");
    is $h->get('/')->status, 200, 'one process';
    my @c = map { my $c = $h->client(timeout => 40); $c->write_request('GET', '/busy?s=2'); $c } 1 .. 4;
    soon { my @apps = $h->apps; @apps == 2 } '... becomes two', 20;
    is scalar(grep { $_->read_response('GET')->status == 200 } @c), 4, '... and all is answered';
}

sub restart {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('versions', { 'app.js' => "require('http').createServer((q, r) => r.end('one')).listen(3000);\n" });
    $h->start(conf => &node . "DocumentRoot $app/public");
    is $h->get('/')->body, 'one', 'version one';
    spew("$app/app.js", "require('http').createServer((q, r) => r.end('two')).listen(3000);\n");
    spew("$app/tmp/restart.txt", '');
    soon { $h->get('/')->body eq 'two' } 'version two', 10;
    is $h->get('/app.js')->body, 'two', 'its source is not to be had';
}
