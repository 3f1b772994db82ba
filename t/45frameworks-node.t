# Frameworks for Node.js as npm has them, unmodified, each behind a virtual host.
use strict;
use warnings;
use lib 't/lib';
use File::Temp qw(tempdir);
use Test::More;
use Harness;

my ($npm) = grep { -x } map { "$_/npm" } qw(/usr/local/bin /usr/bin);
plan skip_all => 'there is no npm' unless $npm;
my ($major) = `node --version` =~ /^v(\d+)/;
my $store = tempdir('npm-XXXXXXXX', DIR => '/tmp', CLEANUP => 1);
spew("$store/package.json", '{"name": "store", "version": "1.0.0", "private": true}');
my @packages = ('express', 'koa', $major < 20 ? 'fastify@4' : 'fastify', 'socket.io');
my $out = `cd $store && timeout 240 $npm install --ignore-scripts --no-audit --no-fund --loglevel=error @packages 2>&1`;
plan skip_all => 'npm cannot install ' . join(', ', @packages) . ': ' . ($out =~ /^(.*\w.*)$/m ? $1 : 'no reason given') if $?;
chmod 0755, $store;

my %app = (
    express => { 'app.js' => <<'END' },
const express = require('express');
const path = require('path');
const app = express();
app.set('trust proxy', 1);
app.use(express.json({ limit: '2mb' }));
app.use(express.urlencoded({ extended: false }));
app.get('/', (req, res) => res.send('Express, ' + req.protocol + '://' + req.get('host') + ' to ' + req.ip));
app.post('/json', (req, res) => res.json({ got: req.body }));
app.post('/form', (req, res) => res.json(req.body));
app.get('/cookie', (req, res) => res.cookie('name', 'value').redirect('/seen'));
app.get('/seen', (req, res) => res.send(req.headers.cookie));
app.get('/file', (req, res) => res.sendFile(path.join(__dirname, 'data.txt')));
app.get('/stream', async (req, res) => { for (let i = 0; i < 50; i++) { res.write('line ' + i + '\n'); await new Promise(setImmediate); } res.end(); });
app.get('/error', () => { throw new Error('express was told to fail'); });
const server = app.listen(process.env.PORT || 3000, () => { const { address, port } = server.address(); console.log('http://%s:%s', address, port); });
END
    koa => { 'app.js' => <<'END' },
const Koa = require('koa');
const app = new Koa({ proxy: true });
app.use(async (ctx, next) => { await next(); ctx.set('X-Url', ctx.url); });
app.use(async (ctx) => {
    if (ctx.path === '/error') ctx.throw(418, 'teapot');
    ctx.body = { framework: 'Koa', ip: ctx.ip, query: ctx.query };
});
app.listen(3000);
END
    fastify => { 'app.js' => <<'END' },
const fastify = require('fastify')({ logger: false });
fastify.get('/', async () => ({ framework: 'Fastify' }));
fastify.post('/echo', { schema: { body: { type: 'object', required: ['n'] } } }, async (request) => request.body);
fastify.addHook('onClose', async () => console.log('Fastify closes'));
fastify.listen({ port: 3000 }, (error, address) => { if (error) throw error; console.log('Fastify at', address); });
END
    'fastify-esm' => { 'package.json' => '{"type": "module"}', 'app.js' => <<'END' },
import Fastify from 'fastify';
const app = Fastify();
app.get('/', async () => ({ framework: 'Fastify, ESM' }));
const address = await app.listen({ host: '0.0.0.0', port: Number(process.env.PORT) });
console.log('listens at', address);
END
    socketio => { 'app.js' => <<'END' },
const http = require('http');
const { Server } = require('socket.io');
const server = http.createServer((req, res) => res.end('not socket.io'));
const io = new Server(server, { transports: ['polling'], pingInterval: 500 });
io.on('connection', (socket) => socket.on('shout', (text, answer) => answer(text.toUpperCase())));
server.listen(3000);
END
    start => { 'package.json' => '{"name": "start", "version": "1.0.0", "scripts": {"start": "node server.js"}}', 'server.js' => <<'END' },
const express = require('express');
const app = express();
app.get('/', (req, res) => res.send('npm start, ' + process.env.npm_lifecycle_event));
app.listen(process.env.PORT, '127.0.0.1');
END
);

my $h = Harness->new;
my $conf = "PassengerMaxPoolSize 20\n";
for my $name (sort keys %app) {
    my $dir = $h->make_app($name, { %{ $app{$name} }, 'data.txt' => "data\n" });
    symlink "$store/node_modules", "$dir/node_modules";
    $conf .= "<VirtualHost *>\nServerName $name\nDocumentRoot $dir/public\n" . ($name eq 'start' ? "PassengerAppStartCommand \"npm start\"\n" : '') . "</VirtualHost>\n";
}
$h->start(conf => $conf);

subtest express => sub {
    my @host = (Host => 'express');
    is $h->get('/', @host, 'X-Forwarded-For' => '198.51.100.7')->body, 'Express, http://express to 127.0.0.1', 'it knows the client that Apache knows';
    is_deeply $h->post('/json', '{"a": [1, "ä"]}', @host, 'Content-Type' => 'application/json')->json->{got}{a}[0], 1, 'JSON';
    is_deeply $h->post('/form', 'a=1&b=two+words', @host, 'Content-Type' => 'application/x-www-form-urlencoded')->json, { a => 1, b => 'two words' }, 'a form';
    my $large = '{"x": "' . 'y' x 1_000_000 . '"}';
    is length $h->post('/json', $large, @host, 'Content-Type' => 'application/json')->json->{got}{x}, 1_000_000, 'a large one';
    my $r = $h->get('/cookie', @host);
    is $r->status . ' ' . $r->header('Location'), '302 /seen', 'a redirect';
    like $r->header('Set-Cookie'), qr/^name=value/, '... with a cookie';
    is $h->get('/seen', @host, Cookie => 'name=value')->body, 'name=value', '... which comes back';
    is $h->get('/file', @host)->body, "data\n", 'a file';
    my $etag = $h->get('/file', @host)->header('ETag');
    is $h->get('/file', @host, 'If-None-Match' => $etag)->status, 304, '... not modified';
    is $h->get('/file', @host, Range => 'bytes=1-2')->body, 'at', '... a part of it';
    is $h->get('/stream', @host)->body, join('', map { "line $_\n" } 0 .. 49), 'a stream';
    is $h->get('/nothing', @host)->status, 404, 'what is not there';
    is $h->get('/error', @host)->status, 500, 'an exception';
    $h->expect_log(qr/express was told to fail/, 'which one');
    is $h->ask('OPTIONS', '/json', @host)->header('Allow'), 'POST', 'OPTIONS';
};

subtest koa => sub {
    my $r = $h->get('/a?b=c', Host => 'koa');
    is_deeply $r->json, { framework => 'Koa', ip => '127.0.0.1', query => { b => 'c' } }, 'it answers';
    is $r->header('X-Url'), '/a?b=c', '... with a field';
    is $h->get('/error', Host => 'koa')->status, 418, 'an error';
};

subtest fastify => sub {
    is $h->get('/', Host => 'fastify')->json->{framework}, 'Fastify', 'it answers';
    is $h->post('/echo', '{"n": 1}', Host => 'fastify', 'Content-Type' => 'application/json')->json->{n}, 1, '... to JSON';
    is $h->post('/echo', '{}', Host => 'fastify', 'Content-Type' => 'application/json')->status, 400, '... as its schema says';
    like $h->log_text, qr{Fastify at http://\S+:3000}, 'it knows its address';
    is $h->get('/', Host => 'fastify-esm')->json->{framework}, 'Fastify, ESM', 'as an ES module';
    like $h->log_text, qr{listens at http://\S+:\d+}, '... with its address';
};

subtest 'socket.io' => sub {
    my $path = '/socket.io/?EIO=4&transport=polling';
    my @host = (Host => 'socketio');
    is $h->get('/', @host)->body, 'not socket.io', 'what is not its own';
    my ($sid) = $h->get($path, @host)->body =~ /"sid":"([^"]+)"/;
    ok $sid, 'a session by polling';
    is $h->post("$path&sid=$sid", '40', @host, 'Content-Type' => 'text/plain')->body, 'ok', '... opened';
    like $h->get("$path&sid=$sid", @host)->body, qr/^40\{"sid"/, '... and confirmed';
    $h->post("$path&sid=$sid", '420["shout","hello"]', @host, 'Content-Type' => 'text/plain');
    my $answer = wait_for { my $text = $h->get("$path&sid=$sid", @host)->body; $text =~ /HELLO/ && $text } 'an answer';
    like $answer // '', qr/430\["HELLO"\]/, 'an event is answered';
};

is $h->get('/', Host => 'start')->body, 'npm start, start', 'npm start';
# What it starts is not left behind: the harness looks.
$h->finish;
done_testing;
