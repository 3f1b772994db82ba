# Next.js as npm has it, built with "output: 'standalone'" as its documentation says, served by the file that it makes.
use strict;
use warnings;
use lib 't/lib';
use File::Temp qw(tempdir);
use JSON::PP ();
use Test::More;
use Harness;

my ($npm) = grep { -x } map { "$_/npm" } qw(/usr/local/bin /usr/bin);
plan skip_all => 'there is no npm' unless $npm;
my ($major, $minor) = `node --version` =~ /^v(\d+)\.(\d+)/;
plan skip_all => 'Next.js 14 wants Node.js 18.17' if $major < 18 || ($major == 18 && $minor < 17);

my $site = tempdir('next-XXXXXXXX', DIR => '/tmp', CLEANUP => 1);
chmod 0755, $site;
my %file = (
    'package.json' => '{"name": "site", "version": "1.0.0", "private": true}',
    'next.config.js' => "module.exports = { output: 'standalone' };\n",
    'public/robots.txt' => "User-agent: *\n",
    'pages/index.js' => <<'END',
import { useState } from 'react';
export async function getServerSideProps({ req, query }) {
    return { props: { host: req.headers.host, client: req.headers['x-forwarded-for'], query, pid: process.pid } };
}
export default function Home({ host, client, query, pid }) {
    const [n, setN] = useState(0);
    return <main><p id="facts">{JSON.stringify({ host, client, query, pid })}</p><button onClick={() => setN(n + 1)}>{n}</button></main>;
}
END
    'pages/api/echo.js' => "export default function handler(req, res) { res.setHeader('Set-Cookie', ['a=1', 'b=2']); res.status(201).json({ method: req.method, got: req.body }); }\n",
    'pages/api/stream.js' => <<'END',
export default async function handler(req, res) {
    res.writeHead(200, { 'Content-Type': 'text/plain' });
    for (let i = 0; i < 5; i++) { res.write('line ' + i + '\n'); await new Promise(setImmediate); }
    res.end();
}
END
    'middleware.js' => "import { NextResponse } from 'next/server';\nexport function middleware(request) { const r = NextResponse.next(); r.headers.set('x-middleware', request.nextUrl.pathname); return r; }\n"
        . "export const config = { matcher: '/api/:path*' };\n",
);
for my $name (keys %file) {
    my ($folder) = "$site/$name" =~ m{^(.*)/};
    system 'mkdir', '-p', $folder;
    spew("$site/$name", $file{$name});
}
# The build is neither ours nor what is tested: where it cannot be done (no registry, no binary of its compiler for this machine) there is nothing to test.
my $step = sub {
    my ($what, $command) = @_;
    my $out = `cd $site && NEXT_TELEMETRY_DISABLED=1 timeout 280 $command 2>&1`;
    plan skip_all => "$what does not work here: " . ($out =~ /^(.*\w.*)$/m ? $1 : 'no reason given') if $?;
};
$step->('npm install next', "$npm install --ignore-scripts --no-audit --no-fund --loglevel=error next\@14 react\@18 react-dom\@18");
$step->('next build', './node_modules/.bin/next build');

my $h = Harness->new;
my $app = $h->make_app('site', {});
system("cp -r $site/.next/standalone/. $app && mkdir -p $app/.next/static && cp -r $site/.next/static/. $app/.next/static && cp -r $site/public/. $app/public") == 0 or die 'cp';
$h->own($app, $h->app_user);
$h->start(conf => "DocumentRoot $app/public\nPassengerAppRoot $app\nPassengerAppType node\nPassengerStartupFile server.js\nPassengerStartTimeout 60");

my $facts = sub { my ($text) = $h->get($_[0] // '/')->body =~ m{<p id="facts">(.*?)</p>} or return {}; $text =~ s/&quot;/"/g; JSON::PP::decode_json($text) };
my $seen = $facts->('/?a=b');
is_deeply [ @$seen{qw(host client query)} ], [ 'localhost', '127.0.0.1', { a => 'b' } ], 'a page that is made for each request';
is_deeply [ $seen->{pid} ], [ $h->apps ], '... by the process that was started';
my $r = $h->post('/api/echo', '{"n": 1}', 'Content-Type' => 'application/json');
is $r->status, 201, 'an API route';
is_deeply $r->json, { method => 'POST', got => { n => 1 } }, '... with a body';
is_deeply [ $r->headers('Set-Cookie') ], [qw(a=1 b=2)], '... and cookies';
is $r->header('X-Middleware'), '/api/echo', '... through the middleware';
is $h->get('/api/stream')->body, join('', map { "line $_\n" } 0 .. 4), 'a stream';
my ($script) = $h->get('/')->body =~ m{src="(/_next/static/[^"]+\.js)"};
my $static = $h->get($script);
is $static->status, 200, 'its scripts';
like $static->header('Cache-Control'), qr/immutable/, '... with its own caching';
is $h->get('/robots.txt')->body, "User-agent: *\n", 'public files are Apache\'s';
$r = $h->get('/nowhere');
is $r->status, 404, 'what is not there';
like $r->body, qr/This page could not be found/, '... is told by its own page';
is $h->get('/', 'Accept-Encoding' => 'gzip')->header('Content-Encoding'), 'gzip', 'it packs what the client takes packed';
# A deployment.
spew("$app/tmp/restart.txt", '');
soon { my $now = $facts->(); $now->{pid} && $now->{pid} != $seen->{pid} } 'a restart', 30;
soon { !Proc::alive($seen->{pid}) } '... ends the process before', 15;
$h->finish;
done_testing;
