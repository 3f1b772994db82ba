# Virtual hosts as newcomers get them wrong, where nothing of ours is started and Apache answers by itself: the log, and with PassengerFriendlyErrorPages
# the page, name the folder, the directive's place, what is missing and what to do, once for each reading of the configuration. On prefork, whose
# children must not say it each; otherwise the MPM does not matter. What fails when it is started is in 49broken.t.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

my $h = Harness->new(mpm => (grep { $_ eq 'prefork' } Harness->mpms)[0] // (Harness->mpms)[0]);
my $r = $h->{root};
my $app = $h->make_app('shop', { 'passenger_wsgi.py' => "def application(e, s):\n    s('200 OK', [])\n    return [b'shop']\n", 'public/logo.txt' => 'logo' });
my $bare = $h->make_app('bare', {});
my %empty = map { $_ => $h->make_app("empty-$_", {}) } qw(startup group);
$h->make_app('closed/app', {});
my $site = $h->make_app('site', { 'public/app.js' => '/* for browsers */' });
my %named = (wsgi => $h->make_app('named-wsgi', { 'wsgi.py' => '', 'requirements.txt' => '' }), node => $h->make_app('named-node', { 'server.js' => '' }),
    django => $h->make_app('named-django', { 'manage.py' => '' }), built => $h->make_app('named-built', { 'server.js' => '', 'public/index.html' => 'built' }));
$h->make_app("hidden/$_", { 'passenger_wsgi.py' => '' }) for qw(home gone);
rmdir "$r/apps/hidden/gone/public" or die "rmdir: $!";
symlink "$r/apps/shop/releases/7", "$r/apps/current" or die "symlink: $!";

# name, document root, directive with its value, what is said
my @wrong = (
    ['nowhere', "$app/public", "PassengerAppRoot $r/nowhere/at/all", qr{there is no \Q$r\E/nowhere\. Create}],
    ['dangling', "$app/public", "PassengerAppRoot $r/apps/current", qr{\Q$r\E/apps/current is a symbolic link to \Q$app\E/releases/7, which does not exist}],
    ['file', "$app/public", "PassengerAppRoot $app/passenger_wsgi.py", qr{\Q$app\E/passenger_wsgi\.py is no folder}],
    ['relative', "$app/public", 'PassengerAppRoot shop', qr/that is no absolute path/],
    ['deep', "$app/public", "PassengerAppRoot $app/public", qr{in \Q$app\E/public is no application, that is, none of .*config\.ru.*The folder above it has passenger_wsgi\.py}],
    ['bare', "$bare/public", "PassengerAppRoot $bare", qr{in \Q$bare\E is no application, that is, none of Passengerfile\.json, passenger_wsgi\.py, .*PassengerAppType}],
    ['uri', "$r/htdocs", 'PassengerBaseURI /cart', qr{there is no \Q$r\E/htdocs/cart\. Let \S+ be a symbolic link}, '/cart/x'],
    ['startup', "$empty{startup}/public", 'PassengerStartupFile main.py', qr/has to be said with PassengerAppType/],
    ['group', "$empty{group}/public", 'PassengerAppGroupName shop', qr{in \Q$empty{group}\E is no application.*DocumentRoot}],
    ['wsgi', "$named{wsgi}/public", undef, qr{document root \Q$named{wsgi}\E/public .*but in \Q$named{wsgi}\E is no application.* It has wsgi\.py: rename that, or say PassengerAppType python and PassengerStartupFile wsgi\.py}],
    ['node', "$named{node}/public", undef, qr{It has server\.js: rename that, or say PassengerAppType node and PassengerStartupFile server\.js}],
    ['django', "$named{django}/public", undef, qr{It has manage\.py: .*write a passenger_wsgi\.py}],
    ['root', $app, undef, qr{the document root \Q$app\E has passenger_wsgi\.py in it.*let DocumentRoot be \Q$app\E/public}],
);
sub conf {
    my ($name, $documents, $directive) = @_;
    return join '', map { "<VirtualHost *>\nServerName $name$_->[0]\nDocumentRoot $documents\n" . ($directive ? "$directive\n" : '') . "$_->[1]</VirtualHost>\n" }
        ['', ''], ['.friendly', "PassengerFriendlyErrorPages on\n"];
}
my $conf = "<VirtualHost *>\nServerName static\nDocumentRoot $site/public\n</VirtualHost>\n"
    . join('', map { "<VirtualHost *>\nServerName $_\nDocumentRoot $r/apps/hidden/$_/public\n</VirtualHost>\n" } qw(home gone))
    . "<Directory $r/apps/hidden>\nRequire all denied\n</Directory>\n<Directory $r/apps/hidden/*/public/>\nRequire all granted\n</Directory>\n"
    . "<VirtualHost *>\nServerName built\nDocumentRoot $named{built}/public\n</VirtualHost>\n"
    . "<VirtualHost *>\nServerName closed\nDocumentRoot $r/htdocs\nPassengerAppRoot $r/apps/closed/app\nPassengerAppEnv development\n</VirtualHost>\n" . join '', map { conf(@$_) } @wrong;

# Where the lines stand, first ones.
sub line_of {
    my ($text) = @_;
    my $n = 0;
    for (split /\n/, slurp("$r/httpd.conf")) { $n++; return $n if $_ eq $text }
    return 0;
}

# What a look at the configuration shows is a warning: deployment makes some folders later.
my ($status, $out) = $h->configtest($conf);
is $status, 0, 'apachectl configtest takes them all' or diag $out;
for (@wrong[0 .. 3]) {
    my ($name, undef, $directive, $said) = @$_;
    my $line = line_of($directive);
    (my $why) = "$said" =~ /^\(\?\^:(.*?)(?:\\\. Create)?\)$/;
    like $out, qr{passenger:warn.*PSG2801: \Q$directive\E at \Q$r\E/httpd\.conf:$line: $why}, "... and warns of $name";
}
unlike $out, qr/PSG2801: \S+ \Q$bare\E /, '... but of no folder that is there';

# Files by their path, those that are written by their folder; what is relative is an application's.
(undef, $out) = $h->configtest("PassengerCustomErrorPage $app/sorry.html\nPassengerEnvFile $app/passenger_wsgi.py\nPassengerAppLogFile $app/log/app.log\n"
    . "<Location /a>\nPassengerAppLogFile log/app.log\nPassengerCustomErrorPage sorry.html\n</Location>\n<Location /b>\nPassengerAppLogFile $app/app.log\n</Location>\n");
my @missing = $out =~ /PSG2801: (\S+ \S+) at \S+: (.*)/g;
is_deeply \@missing, ["PassengerCustomErrorPage $app/sorry.html", "there is no $app/sorry.html", "PassengerAppLogFile $app/log/app.log", "there is no $app/log"],
    'configtest names a missing page, and the missing folder of a log';

$h->start(conf => $conf);
$h->allow_log('PSG2801', 'AH01276');
like $h->log_text, qr/PSG2801: PassengerAppRoot \S+nowhere/, 'Apache\'s start writes that into its log';
for (@wrong) {
    my ($name, $documents, $directive, $said, $path) = @$_;
    $path //= '/x';
    is $h->get($path, Host => $name)->status, 404, "$name: Apache answers" for 1 .. 6;
    my $place = $directive ? qr/\Q$directive\E \(\Q$r\E\/httpd\.conf:@{[ line_of($directive) ]}\): / : qr//;
    like $h->expect_log(qr/PSG2800: $place.*$said/, "$name is named"), qr/passenger:warn/, '... as a warning';
    my $page = $h->get($path, Host => "$name.friendly");
    is $page->status, 404, "... where errors are shown";
    (my $text = $page->body) =~ s/&amp;/&/g;
    like $text, $said, '... the page says it, too';
    unlike $h->get($path, Host => $name)->body, qr/\Q$r\E|Passenger/, '... and no other page';
    is scalar(() = $h->log_text =~ /PSG2800: $place.*$said/g), 1, '... but once';
}
is $h->get('/logo.txt', Host => 'nowhere')->body, 'logo', 'files are served';
is $h->get('/x', Host => 'static')->status, 404, 'a site of files';
unlike $h->log_text, qr/PSG2800: [^\n]*\Q$site\E/, '... has nothing that would be said, with an app.js either';
is $h->get('/x', Host => 'built')->status, 404, 'a site of files that a program makes';
unlike $h->log_text, qr/PSG2800: [^\n]*\Q$named{built}\E/, '... has nothing, either';

# What Apache refuses by itself.
$h->allow_log('AH01630', 'AH00035', 'AH00112');
is $h->get('/x', Host => 'gone')->status, 403, 'a document root that is not there' for 1 .. 3;
$h->expect_log(qr{PSG3904: .*document root (\Q$r\E/apps/hidden/gone/public) can't be seen: there is no \1\. It must be there, even if it is empty}, 'what is missing');
is scalar(() = $h->log_text =~ /PSG3904/g), 1, '... once';
my @said = $h->log_text =~ /PSG2800/g;
symlink $app, "$r/nowhere" and mkdir "$app/at" and symlink $app, "$app/at/all" or die "symlink: $!";
soon { $h->get('/x', Host => 'nowhere')->body eq 'shop' } 'a folder that has come is an application';
$h->graceful;
is $h->get('/x', Host => 'bare')->status, 404, 'after a reload';
soon { (() = $h->log_text =~ /PSG2800/g) == @said + 1 } '... it is said again';

SKIP: {
    skip 'Apache runs as us', 4 if $>;
    chmod 0700, "$r/apps/hidden";
    is $h->get('/x', Host => 'home')->status, 403, 'a home that nobody else may enter';
    $h->expect_log(qr{PSG3904: .*user www-data, .*on the folder (\Q$r\E/apps/hidden): chmod a\+x \1}, 'which folder it is');
    chmod 0700, "$r/apps/closed";
    my $page;
    soon { $page = $h->get('/x', Host => 'closed'); $page->status == 500 } 'what Apache may not look into, in development';
    like $page->body, qr{user www-data, as whom Apache runs, has no search permission \(x\) on the folder (\Q$r\E/apps/closed): chmod a\+x \1, or, .*setfacl -m u:www-data:x \1}, '... is named';
    $h->get('/x', Host => 'closed') for 1 .. 6;
    $h->expect_log('PSG0600', 'it is in the log');
    is scalar(() = $h->log_text =~ /PSG0600/g), 1, '... but once';
}
$h->finish;
done_testing;
