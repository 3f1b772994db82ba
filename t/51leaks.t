# Where the document root is the application's folder, or lies above it, nobody gets the application's own files; assets are sent.
# The rule is applied to names, before any MPM has a part in it: one MPM is enough.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

my $h = Harness->new(mpm => (Harness->mpms)[0], modules => [qw(include negotiation allowmethods)]);
my $secret = 'this is for nobody';

my @secrets = qw(
    .env .git/config .htpasswd .Env .venv/x.txt package.json Package.JSON package-lock.json yarn.lock composer.json composer.lock Gemfile Gemfile.lock
    requirements.txt requirements-dev.txt Pipfile Pipfile.lock pyproject.toml poetry.lock stderr.log logs/app.log log/production.log tmp/restart.txt
    node_modules/x/index.js node_modules/x/style.css venv/activate vendor/autoload.php config/database.yml config.json settings.yml db.sqlite3 dump.sql
    sub/Passengerfile.json Dockerfile Procfile Makefile sub/.env sub/deeper/package.json old.bak
);
my @assets = qw(public-asset.css public-asset.js app.css js/app.js js/server.js robots.txt favicon.ico img/logo.svg data.json sub/config.json manifest.json
    public/x.css .well-known/acme-challenge/token fonts/a.woff2 page.html sub/tmp/x.css);
my %own = (
    wsgi => [qw(passenger_wsgi.py helpers.py sub/views.py templates/page.html __pycache__/x.pyc old.wsgi)],
    node => [qw(app.js server.js next.config.js routes/index.js src/db.js worker.cjs views/page.ejs)],
    ruby => [qw(config.ru app.rb app/models/user.rb lib/x.rb views/page.erb)],
);
# What is source in one language is none in another.
my %not_own = (wsgi => [qw(server.js src/db.js)], node => [qw(sub/views.py)], ruby => [qw(server.js)]);

my $conf = "PassengerMaxPoolSize 20\n";
my %site;
for my $kind (sort keys %own) {
    my $app = $kind eq 'ruby'
        ? $h->make_app('ruby', { 'config.ru' => q{run lambda { |env| [200, { 'content-type' => 'text/plain' }, ["application #{env['PATH_INFO']}"]] }} . "\n" })
        : $h->copy_app($kind, $kind);
    for my $file (@secrets, @assets, @{ $own{$kind} }, @{ $not_own{$kind} }) {
        next if -e "$app/$file";
        my ($folder) = "$app/$file" =~ m{^(.*)/};
        system 'mkdir', '-p', $folder;
        spew("$app/$file", "$secret: $file\n");
    }
    spew("$app/page.shtml", qq(<!--#include virtual="/.env" --><!--#include file="package.json" --><!--#include virtual="/public-asset.css" -->\n));
    spew("$app/.htaccess", "PassengerAppRoot $app\n" . ($kind eq 'node' ? "PassengerAppType node\nPassengerStartupFile app.js\n" : ''));
    $h->own($app, $h->app_user);
    $site{$kind} = $app;
    $conf .= site($kind, $app);
}
my $app = $site{wsgi};
# The same folder by other ways, and what other configurations make of it.
symlink $app, "$h->{root}/apps/link" or die "symlink: $!";
mkdir "$h->{root}/apps/above";
system 'cp', '-a', $site{node}, "$h->{root}/apps/above/shop";
spew("$h->{root}/apps/above/shop/.htaccess", "PassengerAppRoot $h->{root}/apps/above/shop\nPassengerBaseURI /shop\nPassengerAppType node\n");
spew("$h->{root}/apps/above/$_", 'beside') for qw(package.json outside.py);
spew("$app/public/$_", 'public') for qw(package.json app.js x.py);
$conf .= site('link', "$h->{root}/apps/link") . site('above', "$h->{root}/apps/above") . site('public', "$app/public", "PassengerAppRoot $app\n")
    . site('open', $app, "PassengerProtectAppFiles Off\n") . site('off', $app, "PassengerEnabled Off\n")
    . site('alias', "$h->{root}/htdocs", "Alias /shop $app\n<Location /shop>\nPassengerBaseURI /shop\nPassengerAppRoot $app\n</Location>\n")
    . site('files', $app, "<FilesMatch .>\nSetHandler default-handler\nAcceptPathInfo On\n</FilesMatch>\n")
    . site('rewritten', $app, <<'END');
RewriteEngine On
RewriteRule ^/leak$ /.env [PT]
RewriteRule ^/leak-last$ /package.json [L]
RewriteRule ^/asset$ /public-asset.css [L]
END
# An application of any kind.
my $any = "$h->{root}/apps/any";
system 'cp', '-a', $site{ruby}, $any;
spew("$any/Passengerfile.json", '{"app_start_command": "exec python3 -m http.server $PORT"}');
spew("$any/$_", "$secret: $_") for qw(x.py app.js);
spew("$any/.htaccess", "PassengerAppRoot $any\n");
$h->own($any, $h->app_user);
$conf .= site('any', $any);
my %dead = (
    off  => "RewriteRule ^(.*)\$ /passenger_wsgi.py/\$1 [QSA,L]\nRewriteRule ^(.*)\$ /wsgi.py/\$1 [QSA,L]\n",
    on   => "RewriteEngine On\nRewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^(.*)\$ /passenger_wsgi.py/\$1 [QSA,L]\n",
    page => "RewriteEngine On\nRewriteCond %{REQUEST_URI} !^/api\nRewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule . /page.html [L]\n",
);
for my $name (sort keys %dead) {
    system 'cp', '-a', $app, "$h->{root}/apps/dead-$name";
    spew("$h->{root}/apps/dead-$name/.htaccess", "PassengerAppRoot $h->{root}/apps/dead-$name\n$dead{$name}");
    $conf .= site("dead-$name", "$h->{root}/apps/dead-$name");
}

# Apache's own rule for .ht* must not be what saves us.
$h->start(conf => $conf);
for my $kind (sort keys %own) {
    refused($kind, "/$_") for @secrets, @{ $own{$kind} };
    sent($kind, "/$_") for @assets, @{ $not_own{$kind} };
}
for my $path ('//.env', '/./.env', '/sub/../.env', '/%2eenv', '/.%65nv', '/%2Fpackage.json', '/node_modules//x/index.js', '/sub//.env', '/.env?x', '/.env?x=.css', '/.git/./config',
    '/package%2ejson', '/.well-known/../.env')
{
    my $r = $h->get($path, Host => 'wsgi');
    unlike $r->body, qr/\Q$secret/, "$path gives nothing away" or diag $r->status;
}
for my $method (qw(HEAD POST PUT DELETE OPTIONS PROPFIND PATCH)) {
    my $r = $h->ask($method, '/.env', Host => 'wsgi');
    cmp_ok $r->status, '>=', 403, "$method /.env is refused";
    unlike $r->body, qr/\Q$secret/, '... without a word of it';
}
is $h->get('/.env', Host => 'wsgi', Range => 'bytes=0-5')->status, 403, 'a part of it is refused too';
unlike $h->get('/.env/x', Host => 'wsgi')->body, qr/\Q$secret/, 'so is what stands behind its name';
unlike $h->get('/.env/x', Host => 'files')->body, qr/\Q$secret/, '... also with AcceptPathInfo';
refused('files', '/.env');
refused('link', '/.env');
refused('link', '/passenger_wsgi.py');
sent('link', '/public-asset.css');
refused('alias', '/shop/.env');
sent('alias', '/shop/public-asset.js');
refused('above', '/shop/.env');
refused('above', '/shop/app.js');
sent('above', '/shop/js/app.js');
is $h->get("/$_", Host => 'above')->body, 'beside', "$_ beside the application is none of it" for qw(package.json outside.py);
is $h->get("/$_", Host => 'public')->body, 'public', "$_ in a public folder is for the public" for qw(package.json app.js x.py);
sent('open', "/$_") for qw(.env package.json helpers.py node_modules/x/index.js);
unlike $h->get('/passenger_wsgi.py', Host => 'open')->body, qr/import/, 'the startup file is not even sent then';
sent('off', '/.env');
unlike $h->get($_, Host => 'rewritten')->body, qr/\Q$secret/, "a rule for $_ changes nothing" for qw(/leak /leak-last);
like $h->get('/asset', Host => 'rewritten')->body, qr/public-asset\.css/, 'a rule for an asset works';
{
    my $page = $h->get('/page.shtml', Host => 'wsgi')->body;
    unlike $page, qr/: \.env|: package/, 'a page includes none of it';
    like $page, qr/public-asset\.css/, '... but assets';
}
refused('any', "/$_") for qw(Passengerfile.json x.py config.ru .env lib/x.rb);
sent('any', "/$_") for qw(app.js public-asset.css);
# Rules that panels' users write for servers of other kinds.
for my $name (sort keys %dead) {
    my $host = "dead-$name";
    refused($host, "/$_") for qw(.env passenger_wsgi.py package.json stderr.log tmp/restart.txt node_modules/x/index.js);
    sent($host, '/public-asset.css');
}
for my $host (qw(dead-off dead-on)) {
    my $r = $h->get('/some/page?a=b', Host => $host);
    is eval { $r->json->{environ}{PATH_INFO} }, '/some/page', "$host: the application is asked for what the visitor wants" or diag $r->status, $r->body;
    is eval { $r->json->{environ}{REQUEST_URI} }, '/some/page?a=b', '... as it was sent';
}
like $h->get('/some/page', Host => 'dead-page')->body, qr/: page\.html/, 'a page for everything is sent for everything';
is $h->get('/api/x', Host => 'dead-page')->json->{environ}{PATH_INFO}, '/api/x', '... but what is the application\'s';

my @told = grep { /PSG1710: .* \Q$app\E, / } split /\n/, $h->log_text;
ok @told >= 1, 'the log says what to do';
like $told[0] // '', qr{Let DocumentRoot \(or Alias\) be the application's public folder, \Q$app\E/public}, '... in words';
my %pids;
$pids{$_}++ for map { /\[pid (\d+)/ } @told;
ok !(grep { $_ > 1 } values %pids), '... once in each child';
$h->allow_log('PSG1710', qr/AH01374|unable to include/);
$h->finish;
done_testing;

sub site {
    my ($name, $root, $rest) = @_;
    return "<VirtualHost *>\nServerName $name\nDocumentRoot $root\n<Directory $root>\nAllowOverride All\nOptions +Includes\n"
        . "AddType text/html .shtml\nAddOutputFilter INCLUDES .shtml\n</Directory>\n" . ($rest // '') . "</VirtualHost>\n";
}

sub refused {
    my ($host, $path) = @_;
    my $r = $h->get($path, Host => $host);
    is $r->status, 403, "$host: $path is refused";
    unlike $r->body, qr/\Q$secret/, '... without a word of it';
}

sub sent {
    my ($host, $path) = @_;
    my $r = $h->get($path, Host => $host);
    ok $r->status == 200 && $r->body =~ /\Q$secret/, "$host: $path is sent" or diag $r->status;
}
