# Every name that Phusion Passenger has, had or sells is accepted where users may have written it, works with the values that it takes, and refuses
# others in a sentence with its place. The names are listed here, not taken from our own list.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;
use JSON::PP;

# name => type. Upper case: where it may stand. G: the whole server; A: applications; L: requests.
my %names = (
    G => {
        flag => [qw(PassengerDisableLogPrefix PassengerUserSwitching PassengerShowVersionInHeader RailsUserSwitching)],
        int  => [qw(PassengerLogLevel:0 PassengerSocketBacklog:0 PassengerMaxPoolSize:1 PassengerMaxInstancesPerApp:0 PassengerPoolIdleTime:0
            PassengerResponseBufferHighWatermark:0 PassengerStatThrottleRate:0 PassengerAnalyticsCollectionRate:0 RailsMaxPoolSize:1 RailsMaxInstancesPerApp:0
            RailsPoolIdleTime:0)],
        text => [qw(PassengerDefaultRuby PassengerLogFile PassengerDataBufferDir PassengerInstanceRegistryDir PassengerDumpConfigManifest PassengerDebugLogFile)],
        user => [qw(PassengerDefaultUser PassengerDefaultGroup RailsDefaultUser)],
        url  => [qw(PassengerPreStart)],
        any  => [qw(PassengerRoot PassengerSpawnDir PassengerFileDescriptorLogFile PassengerDisableSecurityUpdateCheck PassengerSecurityUpdateCheckProxy
            PassengerDisableAnonymousTelemetry PassengerAnonymousTelemetryProxy PassengerAdminPanelUrl PassengerAdminPanelAuthType PassengerAdminPanelUsername
            PassengerAdminPanelPassword PassengerFlyWith PassengerTurbocaching RailsSpawnServer RailsFrameworkSpawnerIdleTime RailsAllowModRewrite PassengerAnalyticsLogUser
            PassengerAnalyticsLogGroup UnionStationGatewayAddress UnionStationGatewayPort UnionStationGatewayCert UnionStationProxyAddress PassengerTempDir)],
        pair => [qw(PassengerCtl)],
    },
    A => {
        flag => [qw(PassengerPreloadBundler PassengerLoadShellEnvvars PassengerFriendlyErrorPages PassengerRollingRestarts PassengerResistDeploymentErrors
            PassengerDebugger)],
        int => [qw(PassengerMinInstances:0 PassengerMaxRequests:0 PassengerStartTimeout:1 PassengerMaxRequestQueueSize:0 PassengerMaxPreloaderIdleTime:0
            PassengerForceMaxConcurrentRequestsPerProcess:-1 PassengerMemoryLimit:0 PassengerMaxInstances:0 PassengerThreadCount:0 PassengerHardMemoryLimit:0
            RailsAppSpawnerIdleTime:0)],
        text => [qw(PassengerRuby PassengerPython PassengerNodejs PassengerMeteorAppSettings PassengerAppRoot PassengerAppEnv PassengerAppGroupName PassengerStartupFile
            PassengerAppStartCommand PassengerCustomErrorPage PassengerRestartDir PassengerAppLogFile RailsEnv RackEnv
            RailsRuby)],
        user => [qw(PassengerUser PassengerGroup)],
        address => [qw(PassengerDirectInstanceRequestAddress)],
        type   => [qw(PassengerAppType)],
        method => [qw(PassengerSpawnMethod RailsSpawnMethod)],
        model  => [qw(PassengerConcurrencyModel)],
        uri    => [qw(PassengerBaseURI RailsBaseURI RackBaseURI)],
        any    => [qw(PassengerMonitorLogFile PassengerLveMinUid PassengerUseGlobalQueue UnionStationKey UnionStationSupport RailsAutoDetect RackAutoDetect
            PassengerResolveSymlinksInDocumentRoot PassengerUploadBufferDir PassengerAnalytics)],
    },
    L => {
        flag => [qw(PassengerEnabled PassengerHighPerformance PassengerErrorOverride PassengerBufferUpload PassengerBufferResponse PassengerStickySessions
            PassengerAllowEncodedSlashes)],
        int  => [qw(PassengerMaxRequestTime:0 PassengerMaxRequestQueueTime:0)],
        text => [qw(PassengerStickySessionsCookieName PassengerStickySessionsCookieAttributes)],
        any  => [qw(UnionStationFilter)],
    },
);
# What each type takes, and what it does not, with the sentence that says so.
my %type = (
    flag    => ['On', ['maybe', 'must be On or Off'], ['', 'takes one argument']],
    text    => ['/x', ["\"a\tb\"", 'must not contain control characters'], ['x' x 9000, 'must not be longer than']],
    user    => ['nobody', ["\"a\tb\"", 'must not contain control characters']],
    address => ['127.0.0.1'],
    url     => ['https://shop.example/', ['shop.example', 'must']],
    type    => ['python'],
    method  => ['smart-lv2', ['clever', 'must be one of: smart smart-lv2 direct conservative']],
    model   => ['thread', ['fibre', 'must be one of: process thread']],
    uri     => ['/x', ['x', 'must begin with a slash'], ['/x/', 'must not end with a slash']],
    pair    => ['default_python python3', ['one', 'takes two arguments'], ['max_pool_size none', 'must be a number from 1 to 65535']],
    any     => ['some thing'],
);
my %alias = (RailsEnv => 'PassengerAppEnv', RackEnv => 'PassengerAppEnv', RailsBaseURI => 'PassengerBaseURI', RackBaseURI => 'PassengerBaseURI', RailsRuby => 'PassengerRuby',
    RailsSpawnMethod => 'PassengerSpawnMethod', RailsAppSpawnerIdleTime => 'PassengerMaxPreloaderIdleTime', PassengerDebugLogFile => 'PassengerLogFile');
my @rows;
for my $class (sort keys %names) {
    for my $type (sort keys %{ $names{$class} }) {
        for my $word (@{ $names{$class}{$type} }) {
            my ($name, $least) = split /:/, $word;
            my ($value, @wrong) = defined $least
                ? ($least + 1, ['many', 'must be a number'], [$least - 1, $least == 1 || $least < 1 ? 'must be a number' : ''], ['1.5', 'must be a number'], ['7x', 'must be a number'],
                ['99999999999', 'must be a number'])
                : @{ $type{$type} };
            $value = 'nogroup' if $name =~ /Group$/ && $type eq 'user';
            push @rows, { name => $name, class => $class, type => $type, value => $value, wrong => \@wrong };
        }
    }
}
cmp_ok scalar(@rows), '>=', 105, 'all names are here: ' . @rows;
my $h = Harness->new;

# Valid values, alone, in each place.
my %place = (
    server      => ["%s\n", 'GAL'],
    host        => ["<VirtualHost *>\n%s\n</VirtualHost>\n", 'GAL'],
    directory   => ["<Directory /x>\n%s\n</Directory>\n", 'AL'],
    location    => ["<Location /x>\n%s\n</Location>\n", 'AL'],
    'directory match' => ["<DirectoryMatch ^/x>\n%s\n</DirectoryMatch>\n", 'AL'],
    'if module' => ["<IfModule mod_passenger.c>\n%s\n</IfModule>\n", 'GAL'],
    if          => ["<If true>\n%s\n</If>\n", 'L'],
    files       => ["<Files x>\n%s\n</Files>\n", 'L'],
);
for my $where (sort keys %place) {
    my ($frame, $classes) = @{ $place{$where} };
    my $conf = join '', map { sprintf $frame, "$_->{name} $_->{value}" } grep { index($classes, $_->{class}) >= 0 } @rows;
    my ($status, $out) = $h->configtest($conf);
    is $status, 0, "$where: every name is accepted" or diag $out;
    for my $class (grep { index($classes, $_) < 0 } qw(G A)) {
        my ($row) = grep { $_->{class} eq $class && $_->{type} eq 'flag' } @rows;
        ($status, $out) = $h->configtest(sprintf $frame, "$row->{name} $row->{value}");
        ok $status != 0 && $out =~ /Syntax error on line \d+ of \S+httpd\.conf:\n$row->{name} (?:not allowed|cannot occur)/, "$where: $row->{name} is refused, with its place" or diag $out;
    }
}

# Wrong values.
for my $row (@rows) {
    my $meant = $alias{ $row->{name} } // ($row->{name} =~ s/^Rails/Passenger/r);
    for my $wrong (@{ $row->{wrong} }) {
        my ($value, $sentence) = @$wrong;
        my ($status, $out) = $h->configtest("\n$row->{name} $value");
        ok $status != 0 && $out =~ /Syntax error on line (\d+) of \S+httpd\.conf:\n(?:$row->{name}|$meant|PassengerCtl|PassengerMaxPoolSize)[ ,].*\Q$sentence/i,
            "$row->{name} does not take " . (length $value > 20 ? 'that much' : "\"$value\"") or diag $out;
    }
}
my ($status, $out) = $h->configtest("PassengerAppRoto /x\n");
ok $status != 0 && $out =~ /Invalid command 'PassengerAppRoto'/, 'a name that nobody has is an error';

# The manual: its examples are accepted where it says so.
{
    my ($manual, %conf) = slurp('conf/DIRECTIVES.md');
    my $n = 0;
    while ($manual =~ /^### (\w+)\n.*?^- where: ([^\n]+)\n- example: `([^\n]+)`$/gms) {
        my ($name, $where, $example) = ($1, $2, $3);
        $n++;
        next if $name =~ /^Passenger(?:Default)?(?:User|Group)$|^PassengerHelper$/;
        $conf{server} .= "$example\n";
        $conf{host} .= "<VirtualHost *>\n$example\n</VirtualHost>\n" if $where =~ /host/;
        $conf{folder} .= "<Directory /x>\n$example\n</Directory>\n<Location /x>\n$example\n</Location>\n" if $where =~ /folder/;
        $conf{files} .= "<Files x>\n$example\n</Files>\n<If true>\n$example\n</If>\n" if $where =~ /files/;
    }
    cmp_ok $n, '>', 60, 'the manual has examples';
    for my $where (sort keys %conf) {
        ($status, $out) = $h->configtest($conf{$where});
        is $status, 0, "... which are accepted: $where" or diag $out;
    }
}

# .htaccess: each name alone.
{
    my $conf = '';
    for my $row (@rows) {
        my $dir = "$h->{root}/htdocs/$row->{name}";
        mkdir $dir;
        spew("$dir/x.txt", 'here');
        spew("$dir/.htaccess", "\n$row->{name} $row->{value}\n");
    }
    my ($eve) = $h->app_user;
    $h->own("$h->{root}/htdocs", $eve);
    $h->start(conf => "<Directory $h->{root}/htdocs>\nAllowOverride FileInfo Options\n</Directory>\n");
    for my $row (@rows) {
        my $r = $h->get("/$row->{name}/x.txt");
        is $r->status . $r->body, '200here', ".htaccess with $row->{name}" or diag $h->log_text;
        like $h->log_text, qr/$row->{name} at \S+\/$row->{name}\/\.htaccess:2 is for the whole server/, '... has no effect, and that is said'
            if $row->{class} eq 'G' && $row->{type} ne 'any';
    }
    $h->allow_log('PSG0501', 'PSG0503');
    $h->finish;
}

# What they do. PassengerCtl, PassengerDumpConfigManifest, PassengerBufferResponse, PassengerHighPerformance.
for my $mpm (Harness->mpms) {
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi', 'app');
    mkdir "$app/public/dir";
    spew("$app/public/static.txt", 'static');
    spew("$app/public/.htaccess", "Require all denied\n");
    spew("$app/public/cached.html", 'cached');
    $h->own($app, $h->app_user);
    my $host = sub { "<VirtualHost *>\nServerName $_[0]\nDocumentRoot $app/public\n$_[1]</VirtualHost>\n" };
    my $manifest = "$h->{root}/logs/manifest.json";
    $h->start(conf => <<"END" . $host->('plain', '') . $host->('buffered', "PassengerBufferResponse On\n") . $host->('fast', "PassengerHighPerformance On\n<Location /closed>\nRequire all denied\n</Location>\n"));
PassengerCtl default_sticky_sessions_cookie_name our_cookie
PassengerCtl max_pool_size 7
PassengerCtl default_sticky_sessions true
PassengerCtl controller_threads 4
PassengerDumpConfigManifest $manifest
<Directory $app/public>
    AllowOverride AuthConfig
</Directory>
<Location /sticky>
    PassengerAppEnv "a \\"b\\""
</Location>
END
    # The .htaccess file closes all of it to whoever reads it.
    is $h->get('/', Host => 'plain')->status, 403, "$mpm: an .htaccess file forbids";
    is $h->get('/echo', Host => 'fast')->status, 200, "$mpm: PassengerHighPerformance does not look into it";
    is $h->get('/static.txt', Host => 'fast')->status, 403, "$mpm: ... for what is no file";
    is $h->get('/cached', Host => 'fast')->status, 403, "$mpm: ... or page";
    is $h->get('/closed', Host => 'fast')->status, 403, "$mpm: ... but into <Location>";
    unlink "$app/public/.htaccess";
    is $h->get('/static.txt', Host => 'fast')->body, 'static', "$mpm: files are files";
    is $h->get('/cached', Host => 'fast')->body, 'cached', "$mpm: pages are pages";
    is $h->get('/dir', Host => 'fast')->json->{environ}{PATH_INFO}, '/dir', "$mpm: folders are the application's";
    my $r = $h->get('/echo', Host => 'plain');
    like join(' ', $r->headers('Set-Cookie')), qr/\bour_cookie=/, "$mpm: PassengerCtl names the cookie";
    $h->allow_log('AH01630');
    $h->expect_log(qr/PSG1703: PassengerCtl controller_threads at \S+httpd\.conf:\d+ is ignored/, 'what PassengerCtl has no meaning for');
    my $said = eval { decode_json(slurp($manifest)) };
    my ($pool) = grep { $_->{directive} eq 'PassengerMaxPoolSize' } @{ $said->{directives} };
    is $pool->{value}, 7, "$mpm: the manifest has what PassengerCtl means";
    like "$pool->{file}:$pool->{line}", qr/httpd\.conf:\d+$/, "$mpm: ... and where it stands";
    my ($env) = grep { $_->{directive} eq 'PassengerAppEnv' } @{ $said->{directives} };
    is $env->{value}, 'a "b"', "$mpm: ... values as they are";
    like $env->{context}, qr{^<Location /sticky>}, "$mpm: ... and sections";
    is((stat $manifest)[2] & 0777, 0600, "$mpm: ... for its owner's eyes");

    # Three blocks, with pauses: with a length if they were collected, in chunks if not.
    my $slow = '/stream?n=3&size=1000&wait=0.2';
    ok !defined $h->get($slow, Host => 'plain')->header('Content-Length'), "$mpm: a response of unknown length has none";
    $r = $h->get($slow, Host => 'buffered');
    is $r->header('Content-Length'), length $r->body, "$mpm: PassengerBufferResponse finds it";
    cmp_ok length $r->body, '>=', 3000, "$mpm: ... with all of the body";
    $r = $h->get('/stream?n=3000&size=1000&wait=0', Host => 'buffered');
    ok length $r->body >= 3_000_000 && $r->complete, "$mpm: ... and larger ones pass too" or diag length $r->body;
}
done_testing;
